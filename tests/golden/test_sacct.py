"""sacct's options, each by what it changes in the output, its windows and its refusals."""

from __future__ import annotations

import os

import msgspec
import pytest

from penstock.cli import sacct
from penstock.engine.state import PENDING


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = sacct.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


def ids(capfdbinary, *arguments: str) -> list[str]:
    status, out, err = run(capfdbinary, "-nXP", "-o", "jobid", *arguments)
    assert (status, err) == (0, "")
    return out.split()


TODAY = ["1", "2", "3", "4", "5_[4-19:3%2]", "5_1", "7", "8", "9", "10", "11", "12"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), TODAY),
        (("-a",), TODAY),
        (("-S", "2025-12-31"), [*TODAY, "13"]),
        (("-S", "2025-12-31", "-E", "2025-12-31T23:30:00"), ["13"]),
        (("-E", "2025-12-31T23:30:00"), ["13"]),
        (("-j", "13"), ["13"]),
        (("-j", "1,5_1,5_4"), ["1", "5_[4%2]", "5_1"]),
        (("-j", "5"), ["5_[4-19:3%2]", "5_1"]),
        (("-j", "999"), []),
        (("-s", "R"), ["2"]),
        (("-j", "1,2,11", "-s", "CD,OOM"), ["1", "11"]),
        (("-s", "TO", "-S", "00:00", "-E", "now"), ["12"]),
        (("--name", "held,oom"), ["4", "11"]),
        (("-u", "1001"), ["4"]),
        (("--uid=1001",), ["4"]),
        (("-g", "1000", "--name=held"), ["4"]),
        (("-g", "77"), []),
        (("-A", "none"), []),
        (("-r", "big"), ["3"]),
        (("-q", "high"), []),
        (("-W", "key"), []),
        (("-N", "n2"), ["2"]),
    ],
)
def test_filters(arguments, expected, cluster, capfdbinary):
    assert ids(capfdbinary, *arguments) == expected


def test_a_plain_user_sees_his_own_unless_he_names_jobs(cluster, capfdbinary, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    assert ids(capfdbinary) == ["4"]
    assert ids(capfdbinary, "-a") == TODAY
    assert ids(capfdbinary, "-j", "1") == ["1"]


def test_earlier_runs_of_a_requeued_job_show_with_duplicates(cluster, capfdbinary):
    first = cluster.state.jobs[1]
    again = msgspec.structs.replace(first, attempt=1, state=PENDING, allocs=(), batch=None, start_ms=0, end_ms=0)
    cluster.accounts._jobs.append(again)
    assert run(capfdbinary, "-nP", "-j", "1", "-o", "jobid,state,restarts")[1] == "1|PENDING|1\n"
    shown = run(capfdbinary, "-nPD", "-j", "1", "-o", "jobid,state")[1].splitlines()
    assert shown == ["1|COMPLETED", "1.batch|COMPLETED", "1.0|COMPLETED", "1|PENDING"]


def test_a_run_that_is_being_requeued_is_not_cancelled(cluster, capfdbinary):
    """Tools take CANCELLED for the end of the job."""
    cluster.state.jobs[9].requeue_after = "requeue"
    assert run(capfdbinary, "-nXP", "-j", "9", "-o", "state")[1] == "REQUEUED\n"


def test_format_of_the_environment(cluster, capfdbinary, monkeypatch):
    monkeypatch.setenv("SACCT_FORMAT", "jobid%4,exitcode")
    assert run(capfdbinary, "-Xj", "1")[1] == "JobI ExitCode \n---- -------- \n   1      0:0 \n"
    assert run(capfdbinary, "-nXj", "1", "-o", "state%-12,elap")[1] == "COMPLETED      00:25:00 \n"


def test_units(cluster, capfdbinary):
    assert run(capfdbinary, "-nP", "-j", "1.0", "-o", "maxrss", "--noconvert")[1] == "1048576K\n"
    assert run(capfdbinary, "-nP", "-j", "1.0", "-o", "maxrss", "--units=K")[1] == "1048576K\n"
    assert run(capfdbinary, "-nP", "-j", "1.0", "-o", "maxrss", "--units=G")[1] == "1G\n"


def test_helpformat(cluster, capfdbinary):
    status, out, _ = run(capfdbinary, "-e")
    assert status == 0
    assert out.splitlines()[0] == "Account             AdminComment        AllocCPUS           AllocNodes          "


def test_a_job_of_this_second_is_inside_the_default_window(cluster, capfdbinary):
    cluster.state.jobs[7].submit_ms = cluster.notes.now_ms + 900
    assert "7" in ids(capfdbinary)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("-o", "foo"), 'sacct: error: Invalid field requested: "foo"'),
        (("-o", "jobidx"), 'sacct: error: Invalid field requested: "jobidx" (the nearest known field is JobID)'),
        (("-j", "abc"), "sacct: fatal: Bad job/step specified: abc"),
        (("-s", "foo"), "sacct: fatal: unrecognized job state value 'foo'"),
        (("-s", "CG"), "sacct: fatal: job state value 'CG' is a flag: accounting records base states only"),
        (("-u", "nobody-here"), "sacct: fatal: Invalid user id: nobody-here"),
        (("-g", "no-group-here"), "sacct: fatal: Invalid group id: no-group-here"),
        (("--units=X",), "sacct: fatal: Invalid --units: X (K, M, G, T or P is allowed)"),
        (("-S", "2026-01-02", "-E", "2026-01-01"), "sacct: error: Start time (1767312000) requested is after end time (1767225600)."),
        (("word",), "sacct: error: Unknown arguments:"),
        (("-T",), "sacct: error: option --truncate is not supported by this version of Penstock (not in this version)"),
    ],
)
def test_refusals(arguments, line, cluster, capfdbinary):
    status, out, err = run(capfdbinary, *arguments)
    assert (status, out) == (1, "")
    assert err.splitlines()[0] == line
