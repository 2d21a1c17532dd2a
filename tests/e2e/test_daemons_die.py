"""Jobs go on while the daemons are dead; what waits for them is told the truth afterwards. (Random deaths under load: test_crash.)"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cluster, processes_of, running, wait_for

DAEMONS = ("controller", "agent", "launcher")


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("e2e") / "mortal", "--nodes", "2", "--cpus", "4") as made:
        yield made


def kill(cluster: Cluster, *roles: str) -> None:
    for _, pid in cluster.processes(*roles):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not cluster.processes(*roles), f"{roles} are dead")


def test_a_job_that_ends_while_every_daemon_is_dead_keeps_its_code(mortal: Cluster) -> None:
    job = mortal.submit("-o", "alone.out", "--wrap", "until [ -e alone.go ]; do sleep 0.05; done; echo once >> alone.runs; exit 7")
    wait_for(lambda: processes_of(mortal, job), "the script runs")
    kill(mortal, *DAEMONS)
    (mortal.work / "alone.go").touch()
    mortal.wait_file("alone.runs", "once")
    mortal.up()
    mortal.wait_state(job, "FAILED")
    assert mortal.field(job, "ExitCode") == "7:0"
    assert (mortal.work / "alone.runs").read_text() == "once\n"


def test_a_job_goes_on_through_the_death_of_each_daemon_in_turn(mortal: Cluster) -> None:
    job = mortal.submit("-o", "/dev/null", "--wrap", "until [ -e turn.go ]; do sleep 0.05; done; exit 0")
    pids = set(wait_for(lambda: processes_of(mortal, job), "the script runs"))
    for role in DAEMONS:
        kill(mortal, role)
        mortal.up()
        assert mortal.state(job) == "RUNNING"
    assert pids & set(processes_of(mortal, job))
    (mortal.work / "turn.go").touch()
    mortal.wait_state(job, "COMPLETED")


def test_a_cancel_that_nobody_heard_is_carried_out_after_the_agent_returns(mortal: Cluster) -> None:
    job = mortal.submit("-o", "/dev/null", "--wrap", "sleep 100")
    wait_for(lambda: processes_of(mortal, job), "the script runs")
    kill(mortal, "agent")
    mortal.run("scancel", job)
    assert processes_of(mortal, job)
    mortal.up()
    wait_for(lambda: not processes_of(mortal, job), "it is ended")
    wait_for(lambda: not mortal.live(job), "it has left the queue")
    assert mortal.state(job).startswith("CANCELLED")


def test_srun_learns_of_the_death_of_the_shepherd(mortal: Cluster) -> None:
    with mortal.start("srun", "-J", "orphan", "sh", "-c", "echo $SLURM_JOB_ID; exec sleep 100") as process:
        job = process.stdout.readline().strip()
        tasks = processes_of(mortal, job)
        kill(mortal, "shepherd")
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0, errors
    assert errors
    wait_for(lambda: mortal.state(job) not in ("RUNNING", "PENDING"), "the job is over")
    assert not [pid for pid in tasks if pid != process.pid and Path(f"/proc/{pid}").exists()]


def test_a_step_goes_on_through_the_death_of_controller_and_agent(mortal: Cluster) -> None:
    command = "echo $SLURM_JOB_ID; until [ -e step.go ]; do sleep 0.05; done; echo late; exit 3"
    with mortal.start("srun", "sh", "-c", command) as process:
        assert process.stdout.readline().strip().isdecimal()
        kill(mortal, "controller", "agent")
        mortal.up()
        (mortal.work / "step.go").touch()
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (3, "late\n"), errors


def test_waiting_clients_come_back_to_a_new_controller(mortal: Cluster) -> None:
    with mortal.start("sbatch", "--wait", "-o", "/dev/null", "--wrap", "until [ -e wait.go ]; do sleep 0.05; done; exit 4") as process:
        wait_for(lambda: mortal.run("squeue", "-h", "-t", "R", "-n", "wrap"), "it runs")
        kill(mortal, "controller")
        mortal.up()
        (mortal.work / "wait.go").touch()
        process.communicate(timeout=30)
    assert process.returncode == 4


def test_an_agent_starts_the_controller_again_until_the_cluster_is_taken_down(tmp_path: Path) -> None:
    with running(tmp_path / "watched", "--nodes", "2", "--cpus", "2") as watched:
        (first,) = [pid for _, pid in watched.processes("controller")]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: [pid for _, pid in watched.processes("controller") if pid != first], "an agent starts another controller")
        job = watched.submit("-o", "/dev/null", "--wrap", "true")  # the command waits until it answers
        watched.wait_state(job, "COMPLETED")
        assert len(watched.processes("controller")) == 1
        assert json.loads(watched.run("penstock", "status", "--json", status=None))["controller_restarts"] == 1
        assert "started again 1 times" in watched.run("penstock", "status", status=None)
        watched.run("penstock", "down")
        assert watched.processes() == []
        assert not (watched.folder / "wanted").exists()
