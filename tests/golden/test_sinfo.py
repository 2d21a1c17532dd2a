"""sinfo's options, each by what it changes in the output, and its refusals."""

from __future__ import annotations

import msgspec
import pytest

from penstock.cli import sinfo


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = sinfo.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


def nodes(capfdbinary, *arguments: str) -> list[str]:
    status, out, err = run(capfdbinary, "-h", "-p", "main", "-o", "%N", *arguments)
    assert (status, err) == (0, "")
    return out.split()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ["n[1-5]"]),
        (("-a",), ["n[1-5]"]),
        (("-N",), ["n1", "n2", "n3", "n4", "n5"]),
        (("-N", "-S", "-N"), ["n5", "n4", "n3", "n2", "n1"]),
        (("-n", "n[1,4]"), ["n[1,4]"]),
        (("-t", "mix,alloc"), ["n[1-2]"]),
        (("-t", "drained"), ["n4"]),
        (("-t", "draining"), []),
        (("-t", "down&no_respond"), ["n5"]),
        (("-t", "~drain,down"), ["n[1-3]"]),
        (("-t", "all"), ["n[1-5]"]),
        (("-d",), ["n5"]),
        (("-r",), ["n[1-4]"]),
        (("-R",), ["n[4-5]"]),
    ],
)
def test_filters(arguments, expected, cluster, capfdbinary):
    assert nodes(capfdbinary, *arguments) == expected


def test_partition_filter_and_order(cluster, capfdbinary):
    assert run(capfdbinary, "-h", "-o", "%P %D")[1] == "main* 5\nbig 2\n"
    assert run(capfdbinary, "-h", "-o", "%P %D", "-S", "P")[1] == "big 2\nmain* 5\n"
    assert run(capfdbinary, "-h", "-o", "%R", "-p", "nope")[1] == ""


def test_environment(cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv("SINFO_PARTITION", "big")
    monkeypatch.setenv("SINFO_FORMAT", "%R %D")
    monkeypatch.setenv("SINFO_SORT", "P")
    assert run(capfdbinary, "-h") == (0, "big 2\n", "")
    assert run(capfdbinary, "-hs")[1].startswith("big ")


def test_nodes_that_differ_share_a_line_unless_exact(cluster, capfdbinary):
    cluster.state.nodes["n1"].memory_mib = 16_000
    cluster.state.nodes["n1"].weight = 5
    assert run(capfdbinary, "-h", "-p", "main", "-o", "%N %m %w")[1] == "n[1-5] 8000+ 1+\n"
    assert run(capfdbinary, "-he", "-p", "main", "-o", "%N %m %w")[1] == "n1 16000 5\nn[2-5] 8000 1\n"


def test_partition_limits(cluster, capfdbinary):
    big = msgspec.structs.replace(cluster.state.config.partitions[1], max_nodes=2, allow_groups=("lab",), priority_tier=3, state="DRAIN")
    cluster.state.config = msgspec.structs.replace(cluster.state.config, partitions=(big,))
    assert run(capfdbinary, "-h", "-o", "%a %s %g %p %L %l")[1] == "drain 1-2 lab 3 10:00 10:00:00\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-n", "nodex"), "sinfo: error: Invalid node name nodex"),
        (("-o", "%+"), "sinfo: error: Invalid job format specification: +"),
        (("-O", "gress"), "sinfo: error: Invalid job format specification: gress (the nearest known field is gres)"),
        (("-S", "?"), "sinfo: error: Invalid sort specification: ?"),
        (("-o", "%N", "-O", "gres"), "sinfo: fatal: -o and -O are incompatible"),
        (("-T",), "sinfo: error: option --reservation is not supported by this version of Penstock (there are no reservations yet)"),
        (("-t", "foo"), 'sinfo: error: Bad state string: "foo"'),
        (("word",), "sinfo: error: Unrecognized option: word"),
    ],
)
def test_refusals(arguments, line, cluster, capfdbinary):
    status, out, err = run(capfdbinary, *arguments)
    assert (status, out) == (1, "")
    assert err.splitlines()[0] == line


def test_iterate(cluster, capfdbinary, monkeypatch):
    def stop(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", stop)
    assert run(capfdbinary, "-h", "-i", "2", "-o", "%R")[:2] == (130, "Thu Jan 01 12:00:00 2026\nmain\nbig\n\n")
