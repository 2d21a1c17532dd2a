"""scontrol's keywords: what is asked of the controller, what is printed, and the refusals."""

from __future__ import annotations

import pytest

from penstock.cli import scontrol
from penstock.wire import lite


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = scontrol.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


NOT_HERE = "is not supported by this version of Penstock"

CHANGES = {
    "hold 12": {"op": "hold", "jobs": ["12"], "user_hold": False},
    "uhold 12_3": {"op": "hold", "jobs": ["12_3"], "user_hold": True},
    "holdu 12": {"op": "hold", "jobs": ["12"], "user_hold": True},
    "HOLD jobname=night": {"op": "hold", "jobs": ["jobname=night"], "user_hold": False},
    "rel 12": {"op": "release", "jobs": ["12"]},
    "requeue 12_[1-3]": {"op": "requeue", "jobs": ["12_[1-3]"]},
    "requeuehold State=SpecialExit 12": {"op": "requeue_hold", "jobs": ["12"], "special": True},
    "requeueh 12": {"op": "requeue_hold", "jobs": ["12"]},
    "suspend 12": {"op": "suspend", "jobs": ["12"]},
    "resume 12": {"op": "resume", "jobs": ["12"]},
    "update jobid=12 timelimit=10 Nice+=5": {"op": "update_job", "jobs": ["12"], "keys": ["TimeLimit=10", "Nice+=5"]},
    "update JobId=12 ArrayTask=4": {"op": "update_job", "jobs": ["12"], "keys": ["ArrayTaskThrottle=4"]},
    "update NodeName=n[1-2] State=DRAIN Reason=disk": {"op": "update_node", "nodes": ["n[1-2]"], "keys": ["State=DRAIN", "Reason=disk"]},
    "update nodename=n1 state=resume": {"op": "update_node", "nodes": ["n1"], "keys": ["State=resume"]},
}


@pytest.mark.parametrize("line", CHANGES)
def test_what_is_asked(line, cluster, capfdbinary):
    op = str(CHANGES[line]["op"])
    cluster.answers[op] = ""
    assert run(capfdbinary, *line.split()) == (0, "", "")
    (sent,) = cluster.sent
    assert len(bytes.fromhex(sent.pop("id"))) == 16
    assert sent == CHANGES[line]


def test_each_job_is_a_request_of_its_own(cluster, capfdbinary, monkeypatch):
    asked = []

    def refuse(fields, **_):
        asked.append(fields["jobs"])
        if fields["jobs"] == ["2"]:
            raise lite.Refused(2017, "Invalid job id specified")
        return ""

    monkeypatch.setattr(lite, "request", refuse)
    status, out, err = run(capfdbinary, "hold", "1,2", "3")
    assert (status, out) == (1, "")
    assert err == "Invalid job id specified for job 2\nslurm_suspend error: Invalid job id specified\n"
    assert asked == [["1"], ["2"], ["3"]]
    assert run(capfdbinary, "requeue", "2") == (1, "", "Invalid job id specified for job 2\n")
    assert run(capfdbinary, "-Q", "requeue", "2") == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ((), ["scontrol: error: the interactive mode is not supported by this version of Penstock: give a command"]),
        (("foo",), ["invalid keyword: foo"]),
        (("hold",), ["too few arguments for keyword:hold"]),
        (("show",), ["too few arguments for keyword:show"]),
        (("show", "foo"), ["invalid entity:foo for keyword:show"]),
        (("re", "1"), ["scontrol: error: re is ambiguous: reconfigure, release, requeue, requeuehold, resume, reboot"]),
        (
            ("top", "2"),
            [f"scontrol: error: top {NOT_HERE} (use scontrol update JobId=... Nice=... or Priority=...)"],
        ),
        (
            ("show", "reservation"),
            [f"scontrol: error: show reservations {NOT_HERE} (there are no reservations yet)"],
        ),
        (("show", "job", "999"), ["slurm_load_jobs error: Invalid job id specified"]),
        (("show", "job", "5_99"), ["slurm_load_jobs error: Invalid job id specified"]),
        (("show", "node", "nodex"), ["Node nodex not found"]),
        (("show", "part", "nope"), ["Partition nope not found"]),
        (("show", "step", "2.7"), ["Job step 2.7 not found"]),
        (("show", "config", "--json"), ["scontrol: error: --json is supported for show job, node and partition"]),
        (("update", "jobid=2", "foo=1"), ["Update of this parameter is not supported: foo=1", "Request aborted"]),
        (("update", "jobid=2"), ["No changes specified"]),
        (
            ("update", "foo=2"),
            [
                "No valid entity in update command",
                'Input line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"',
            ],
        ),
        (("update", "nodename=n2", "state=drain"), ["You must specify a reason when DOWNING or DRAINING a node. Request denied"]),
        (
            ("update", "partitionname=main", "state=down"),
            ["scontrol: error: update of partitionname " + NOT_HERE + " (partitions come from the configuration)"],
        ),
        (("requeue", "incomplete", "2"), ["scontrol: error: incomplete is not supported by this version of Penstock"]),
        (("requeuehold", "State=Other", "2"), ["scontrol: error: State=Other: only SpecialExit is allowed"]),
        (("hold", "x"), ["scontrol: error: invalid job id 'x': expected a number from 1 to 67108863, such as 123, 123_4 or 123.0"]),
        (("write", "foo", "1"), ["invalid entity:foo for keyword:write"]),
        (("wait_job", "999"), ["scontrol: Problem running job 999"]),
        (("show", "hostnames"), ["scontrol: error: host list is empty"]),
    ],
)
def test_refusals(arguments, lines, cluster, capfdbinary):
    assert run(capfdbinary, *arguments) == (1, "", "".join(line + "\n" for line in lines))


def test_hosts(cluster, capfdbinary, monkeypatch):
    assert run(capfdbinary, "show", "hostnames", "n[1-2],m1") == (0, "n1\nn2\nm1\n", "")
    assert run(capfdbinary, "show", "hostlist", "n3,n1,n2") == (0, "n[3,1-2]\n", "")
    assert run(capfdbinary, "show", "hostlistsorted", "n3,n1,n2") == (0, "n[1-3]\n", "")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[08-09]")
    assert run(capfdbinary, "show", "hostn") == (0, "n08\nn09\n", "")


def test_batch_script(cluster, capfdbinary, monkeypatch, tmp_path):
    cluster.answers["batch_script"] = "#!/bin/sh\necho \udcff\n"
    monkeypatch.chdir(tmp_path)
    assert run(capfdbinary, "write", "batch_script", "2") == (0, "batch script for job 2 written to slurm-2.sh\n", "")
    assert (tmp_path / "slurm-2.sh").read_bytes() == b"#!/bin/sh\necho \xff\n"
    assert (tmp_path / "slurm-2.sh").stat().st_mode & 0o777 == 0o700
    assert scontrol.main(["write", "batch_script", "2", "-"]) == 0
    assert capfdbinary.readouterr().out == b"#!/bin/sh\necho \xff\n"


def test_ping_and_version_and_errnumstr(cluster, capfdbinary, monkeypatch):
    cluster.answers["ping"] = "Slurmctld(primary) at box is UP\n"
    assert run(capfdbinary, "ping") == (0, "Slurmctld(primary) at box is UP\n", "")
    assert run(capfdbinary, "version") == (0, "slurm 26.05.5\n", "")
    assert run(capfdbinary, "errnumstr", "2017") == (0, "Invalid job id specified\n", "")

    def unreachable(*_, **__):
        raise lite.Unreachable("no cluster runs")

    monkeypatch.setattr(lite, "request", unreachable)
    status, out, _ = run(capfdbinary, "ping")
    assert (status, out.endswith(" is DOWN\n")) == (1, True)
    assert run(capfdbinary, "show", "job", "1") == (
        1,
        "",
        "scontrol: error: no cluster runs\nslurm_load_jobs error: Unable to contact slurm controller (connect failure)\n",
    )


def test_wait_job_returns_once_the_job_runs(cluster, capfdbinary, monkeypatch):
    assert run(capfdbinary, "wait_job", "2") == (0, "", "")
    assert run(capfdbinary, "wait_job", "1") == (1, "", "Job 1 is no longer running\n")
    monkeypatch.setattr("time.sleep", lambda seconds: setattr(cluster.state.jobs[3], "state", 1))
    assert run(capfdbinary, "wait_job", "3") == (0, "", "")


def test_no_jobs_and_no_steps(cluster, capfdbinary):
    cluster.state.jobs.clear()
    cluster.state.steps.clear()
    assert run(capfdbinary, "show", "job") == (0, "No jobs in the system\n", "")
    assert run(capfdbinary, "show", "step") == (0, "No job steps in the system\n", "")


def test_a_users_text_cannot_pretend_to_be_a_time(cluster, capfdbinary):
    cluster.state.jobs[2].extra = "\x1f0\x1f"
    assert "Extra=?0?\n" in run(capfdbinary, "show", "job", "2")[1]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("show hostlist /nosuch/hosts", "scontrol: error: the host list /nosuch/hosts cannot be read: No such file or directory\n"),
        ("wait_job 1,2", "scontrol: error: one job id is needed: 1,2\n"),
        ("wait_job ,", "scontrol: error: one job id is needed: ,\n"),
        ("write batch_script 1,2", "scontrol: error: one job id is needed: 1,2\n"),
    ],
)
def test_arguments_that_name_no_file_or_not_one_job_are_told_by_name(line, error, cluster, capfdbinary):
    assert run(capfdbinary, *line.split()) == (1, "", error)
    assert cluster.sent == []
