"""squeue's options, each by what it changes in the output, and its refusals."""

from __future__ import annotations

import os

import msgspec
import pytest

from penstock.cli import squeue

ACTIVE = ["5_[4-19:3%2]", "7", "8", "4", "2", "9", "3"]


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = squeue.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


def ids(capfdbinary, *arguments: str) -> list[str]:
    status, out, err = run(capfdbinary, "-h", "-o", "%i", *arguments)
    assert (status, err) == (0, "")
    return out.split()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), ACTIVE),
        (("-a",), ACTIVE),
        (("-t", "all"), ["5_[4-19:3%2]", "7", "8", "4", "2", "1", "9", "10", "5_1", "3"]),
        (("-t", "CD,F"), ["1", "5_1"]),
        (("-t", "completing"), ["9"]),
        (("-j", "2,3"), ["2", "3"]),
        (("-j5",), ["5_[4-19:3%2]"]),
        (("-j", "5_[1,7-9]"), ["5_[7%2]"]),
        (("--jobs=5_7",), ["5_[7%2]"]),
        (("-j", "2,999"), ["2"]),
        (("-p", "big"), ["3"]),
        (("-n", "held,after"), ["7", "4"]),
        (("-u", "1001"), ["4"]),
        (("--users=1001",), ["4"]),
        (("-A", "none"), []),
        (("-q", "normal", "-n", "held"), ["4"]),
        (("-q", "high"), []),
        (("-R", "maint"), []),
        (("-L", "matlab,none"), ["4"]),
        (("--licenses=none",), []),
        (("-w", "n2"), ["2"]),
        (("--nodes=n[3-4]",), ["9"]),
        (("--start", "-S", "i"), ["3", "4", "5_[4-19:3%2]", "7", "8"]),
        (("-S", "-p,i"), ["2", "3", "5_[4-19:3%2]", "7", "8", "9", "4"]),
        (("-S", "#P,i"), ["2", "3", "4", "5_[4-19:3%2]", "7", "8", "9"]),
        (("-S", "j"), ["7", "4", "8", "9", "5_[4-19:3%2]", "2", "3"]),
        (("-r", "-n", "sweep"), ["5_4", "5_7", "5_10", "5_13", "5_16", "5_19"]),
        (("-r", "-j", "5_7"), ["5_7"]),
    ],
)
def test_filters_and_order(arguments, expected, cluster, capfdbinary):
    assert ids(capfdbinary, *arguments) == expected


def test_me_and_notme(cluster, capfdbinary, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 1001)
    assert ids(capfdbinary, "--me") == ["4"]
    assert "4" not in ids(capfdbinary, "--notme")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("SQUEUE_STATES", "CD", ["1"]),
        ("SQUEUE_PARTITION", "big", ["3"]),
        ("SQUEUE_USERS", "1001", ["4"]),
        ("SQUEUE_NAMES", "held", ["4"]),
        ("SQUEUE_QOS", "high", []),
        ("SQUEUE_ACCOUNT", "none", []),
        ("SQUEUE_LICENSES", "fluent", ["4"]),
        ("SQUEUE_SORT", "i", ["2", "3", "4", "5_[4-19:3%2]", "7", "8", "9"]),
    ],
)
def test_environment(variable, value, expected, cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv(variable, value)
    assert ids(capfdbinary) == expected


def test_environment_array(cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv("SQUEUE_ARRAY", "")
    assert "5_19" in ids(capfdbinary)


def test_a_format_of_the_environment_yields_to_shaping_options(cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv("SQUEUE_FORMAT", "%i")
    assert run(capfdbinary, "-j", "2") == (0, "JOBID\n2\n", "")
    assert "TIME_LIMI" in run(capfdbinary, "-l")[1]
    monkeypatch.delenv("SQUEUE_FORMAT")
    monkeypatch.setenv("SQUEUE_FORMAT2", "jobid:5")
    assert run(capfdbinary, "-j", "2") == (0, "JOBID\n2    \n", "")
    assert run(capfdbinary, "-h", "-j", "2", "-o", "%T")[1] == "RUNNING\n"


def test_long_array_lists_are_cut(cluster, capfdbinary, monkeypatch):
    cluster.state.jobs[5].pending_tasks = tuple((n * n, n * n, 1) for n in range(1, 50))
    assert ids(capfdbinary, "-j", "5_1") == ["5_[1%2]"]
    assert ids(capfdbinary, "-n", "sweep") == ["5_[1,4,9,16,25,36,49,64,81,100,121,144,169,196,225,256,289,324,...%2]"]
    monkeypatch.setenv("SLURM_BITSTR_LEN", "10")
    assert ids(capfdbinary, "-n", "sweep") == ["5_[1,4,9,...%2]"]


def test_steps(cluster, capfdbinary):
    assert run(capfdbinary, "-hs", "-o", "%i %A")[1] == "2.0 6\n2.batch 1\n9.batch 1\n"
    assert run(capfdbinary, "-h", "-s2.0", "-O", "stepid:.6,numcpus:4")[1] == "   2.012  \n"
    assert run(capfdbinary, "-h", "--steps", "2.batch", "-o", "%i")[1] == "2.batch\n"


def test_iterate_prints_a_date_each_time(cluster, capfdbinary, monkeypatch):
    slept = []

    def stop(seconds):
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", stop)
    status, out, _ = run(capfdbinary, "-h", "-i", "3", "-o", "%i", "-j", "2")
    assert (status, slept) == (130, [3, 3])
    assert out == "Thu Jan 01 12:00:00 2026\n2\n\n" * 2


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("-j", "999"), ["slurm_load_jobs error: Invalid job id specified"]),
        (("-j", "x"), ["squeue: error: invalid job id 'x': expected a number from 1 to 67108863, such as 123, 123_4 or 123.0"]),
        (("-w", "nodex"), ["squeue: error: Invalid node name nodex"]),
        (("-o", "%+"), ["squeue: error: Invalid job format specification: +"]),
        (("-O", "jobid,nam_e"), ["squeue: error: Invalid job format specification: nam_e (the nearest known field is name)"]),
        (("-O", "jobid:99999"), ["squeue: error: Invalid field width in 'jobid:99999': a number up to 10000 is allowed"]),
        (("-S", "+"), ["squeue: error: Invalid sort specification: +"]),
        (("-o", "%i", "-O", "jobid"), ["squeue: fatal: -o and -O are incompatible"]),
        (("-i", "0"), ["squeue: error: Invalid interval: 0 (1 to 86400 seconds are allowed)"]),
        (("--json=v0.0.39",), ["squeue: error: --json=v0.0.39: only the plain --json is supported"]),
        (("word",), ["squeue: error: Unrecognized option: word", 'Try "squeue --help" for more information']),
    ],
)
def test_refusals(arguments, lines, cluster, capfdbinary):
    assert run(capfdbinary, *arguments) == (1, "", "".join(line + "\n" for line in lines))


def test_a_bad_state_lists_the_good_ones(cluster, capfdbinary):
    status, out, err = run(capfdbinary, "-t", "foo")
    assert (status, out) == (1, "")
    assert err.startswith("squeue: error: Invalid job state specified: foo\nsqueue: error: Valid job states include: PENDING,RUNNING,")


def test_an_unknown_user_is_told_and_matches_nobody(cluster, capfdbinary):
    status, out, err = run(capfdbinary, "-h", "-u", "nobody-here")
    assert (status, out, err) == (0, "", "squeue: error: Invalid user: nobody-here\n")


def test_separators_in_a_name_do_not_break_the_table(cluster, capfdbinary):
    job = cluster.state.jobs[4]
    job.spec = msgspec.structs.replace(job.spec, name="a\x1fb\x1ec")
    assert run(capfdbinary, "-h", "-j", "4", "-o", "%j|%i")[1] == "a?b?c|4\n"


def test_the_client_time_zone_and_style_decide(cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv("SLURM_TIME_FORMAT", "%H.%M")
    assert run(capfdbinary, "-h", "-j", "2", "-o", "%S")[1] == "10.55\n"
