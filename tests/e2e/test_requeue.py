"""Jobs that run a second time, and jobs that must not."""

import os
import signal

from conftest import Cluster, wait_for

SCRIPT = """#!/bin/sh
echo "run $SLURM_RESTART_COUNT"
echo "run $SLURM_RESTART_COUNT $$" >> {evidence}
{first}
"""
WAIT_THE_FIRST_TIME = '[ "$SLURM_RESTART_COUNT" = 0 ] && exec sleep 60; exit 0'


def start(cluster: Cluster, name: str, *words: str, first: str = WAIT_THE_FIRST_TIME) -> str:
    """A job that stands in its first run when this returns."""
    script = cluster.work / f"{name}.sh"
    script.write_text(SCRIPT.format(evidence=f"{name}.runs", first=first))
    job = cluster.submit("-o", f"{name}.out", *words, str(script))
    cluster.wait_file(f"{name}.runs", "run 0")
    return job


def shepherd_of(cluster: Cluster, job: str) -> int:
    """The process that owns the job's run."""
    from penstock.cluster.processes import find

    return next(process.pid for process in find(str(cluster.folder)) if process.role == "shepherd" and process.words[-1] == job)


def test_scontrol_requeue_runs_it_again_under_the_same_id(impatient: Cluster) -> None:
    job = start(impatient, "again", "--open-mode=append")
    impatient.run("scontrol", "requeue", job)
    impatient.wait_state(job, "COMPLETED")
    assert (impatient.work / "again.runs").read_text().split()[1::3] == ["0", "1"]
    text = (impatient.work / "again.out").read_text()
    assert text.startswith("run 0\n") and text.endswith("run 1\n") and "DUE TO JOB REQUEUE" in text
    assert impatient.field(job, "State", "-D") == "REQUEUED\nCOMPLETED"
    assert impatient.field(job, "State") == "COMPLETED"
    assert "Restarts=1" in impatient.run("scontrol", "show", "job", job)


def test_the_output_of_the_first_run_is_cut_unless_it_is_appended(impatient: Cluster) -> None:
    job = start(impatient, "cut", "--open-mode=truncate")
    impatient.run("scontrol", "requeue", job)
    impatient.wait_state(job, "COMPLETED")
    assert (impatient.work / "cut.out").read_text() == "run 1\n"


def test_requeuehold_waits_for_release(impatient: Cluster) -> None:
    job = start(impatient, "held")
    impatient.run("scontrol", "requeuehold", job)
    wait_for(lambda: impatient.run("squeue", "-h", "-o", "%T %r", "-j", job).strip() == "PENDING JobHeldUser", "it is held")
    impatient.run("scontrol", "release", job)
    impatient.wait_state(job, "COMPLETED")
    assert len((impatient.work / "held.runs").read_text().splitlines()) == 2


def test_a_finished_job_can_be_requeued(impatient: Cluster) -> None:
    job = start(impatient, "done", first="exit 3")
    impatient.wait_state(job, "FAILED")
    impatient.run("scontrol", "requeue", job)
    impatient.wait_file("done.runs", "run 1")
    impatient.wait_state(job, "FAILED")
    assert impatient.field(job, "State,ExitCode", "-D") == "FAILED|3:0\nFAILED|3:0"


def test_a_job_that_may_not_be_requeued_is_not(impatient: Cluster) -> None:
    job = start(impatient, "never", "--no-requeue")
    done = impatient.attempt("scontrol", "requeue", job)
    assert done.returncode == 1
    assert "Requested operation is presently disabled" in done.stderr
    assert impatient.state(job) == "RUNNING"
    impatient.run("scancel", job)


def test_the_death_of_its_shepherd_fails_a_job(impatient: Cluster) -> None:
    job = start(impatient, "lost", "--no-requeue")
    pid = (impatient.work / "lost.runs").read_text().split()[2]
    os.kill(shepherd_of(impatient, job), signal.SIGKILL)
    impatient.wait_state(job, "FAILED")
    assert not os.path.exists(f"/proc/{pid}")
    assert impatient.field(job, "ExitCode") == "0:9"
    assert "ShepherdKilled" in impatient.run("scontrol", "show", "job", job)
    assert len((impatient.work / "lost.runs").read_text().splitlines()) == 1


def test_the_death_of_its_shepherd_runs_a_job_again_if_it_said_requeue(impatient: Cluster) -> None:
    job = start(impatient, "revived", "--requeue")
    first = (impatient.work / "revived.runs").read_text().split()[2]
    os.kill(shepherd_of(impatient, job), signal.SIGKILL)
    impatient.wait_state(job, "COMPLETED")
    assert not os.path.exists(f"/proc/{first}")
    assert (impatient.work / "revived.runs").read_text().split()[1::3] == ["0", "1"]
    assert len(impatient.field(job, "State", "-D").split("\n")) == 2


def test_an_element_is_requeued_by_its_own_name(impatient: Cluster) -> None:
    script = impatient.work / "element.sh"
    script.write_text(SCRIPT.format(evidence="element.$SLURM_ARRAY_TASK_ID", first=WAIT_THE_FIRST_TIME))
    array = impatient.submit("-a", "1-2", "-o", "/dev/null", str(script))
    for task in (1, 2):
        impatient.wait_file(f"element.{task}", "run 0")
    impatient.run("scontrol", "requeue", f"{array}_1")
    impatient.wait_state(f"{array}_1", "COMPLETED")
    assert impatient.state(f"{array}_2") == "RUNNING"
    impatient.run("scancel", array)
