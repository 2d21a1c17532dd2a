"""sstat's options and refusals."""

from __future__ import annotations

import pytest

from penstock.cli import sstat
from penstock.controller.views import sstat as sstat_view
from penstock.spec.errors import SlurmError
from penstock.wire.messages import Usage, UsageReport


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = sstat.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-n", "-P", "-o", "jobid", "-j", "2"), "2.0\n"),
        (("-n", "-P", "-a", "-o", "jobid", "2"), "2.batch\n2.0\n"),
        (("-nP", "--steps=2.batch", "-o", "jobid,ntasks"), "2.batch|1\n"),
        (("-np", "-o", "jobid,maxrss", "2.0"), "2.0|20M|\n"),
        (("-nP", "--noconvert", "-o", "maxrss", "2.0"), "20480K\n"),
        (("-o", "jobid%6,pids%12", "2.0"), " JobID         Pids \n------ ------------ \n   2.0  101,102,201 \n"),
        (("-nP", "-i", "2"), "2.0|n[1-2]|101,102,201\n"),
    ],
)
def test_output(arguments, text, cluster, capfdbinary):
    assert run(capfdbinary, *arguments) == (0, text, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "sstat: error: You didn't give me any jobs to stat."),
        (("-j", "999"), "sstat: error: couldn't get steps for job 999"),
        (("-j", "3"), "sstat: error: No steps running for job 3"),
        (("-j", "2.9"), "sstat: error: StepId=2.9 not found running."),
        (("-j", "2", "-o", "foo"), 'sstat: error: Invalid field requested: "foo"'),
        (("-j", "x"), "sstat: error: invalid job id 'x': expected a number from 1 to 67108863, such as 123, 123_4 or 123.0"),
    ],
)
def test_refusals(arguments, line, cluster, capfdbinary):
    status, out, err = run(capfdbinary, *arguments)
    assert (status, out, err) == (1, "", line + "\n")


def test_helpformat(cluster, capfdbinary):
    assert run(capfdbinary, "-e")[1].startswith("JobID               AllocTRES           ")


def test_reports_of_several_nodes_belong_to_the_job_at_their_position(cluster):
    fields = {"fields": ["jobid", "maxrss", "pids"], "jobs": ["2.0"], "all_steps": False}
    jobs = sstat_view.jobs_to_ask(cluster.state, fields, 1000)
    assert jobs == [2]
    told = [("n2", UsageReport(3000, ((0, Usage(max_rss_kib=2048), (7,)),))), ("n1", UsageReport(3001, ((0, Usage(max_rss_kib=9), (8,)),)))]
    chunk = sstat_view.answer(cluster.state, cluster.notes, fields, 1000, jobs, told, 1000)
    assert chunk == b"2.0\x1e2M\x1e7"


def test_another_users_job_is_refused(cluster):
    with pytest.raises(SlurmError, match="Access/permission denied"):
        sstat_view.jobs_to_ask(cluster.state, {"jobs": ["2"]}, 1001)


def test_a_job_that_ended_while_its_nodes_were_asked_leaves_no_row(cluster):
    cluster.state.jobs.pop(2)
    assert sstat_view.answer(cluster.state, cluster.notes, {"fields": ["jobid"], "jobs": ["2"]}, 0, [2], [], 10) == b""
