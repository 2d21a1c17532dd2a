"""submitit from PyPI, unmodified: what it submits, how it watches through its own sacct calls, and its loop of checkpoint and requeue.

The functions are pickled by value, so that the jobs need nothing of this module.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cloudpickle
import pytest
import submitit
from conftest import Cluster, wait_for
from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

cloudpickle.register_pickle_by_value(sys.modules[__name__])
MANY = 5
LEAD_S = 55
"""The checkpoint signal of a job of one minute comes 5 s after its start."""


@pytest.fixture
def executor(configured: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., submitit.AutoExecutor]]:
    """Makes executors whose commands reach the cluster; a job's state is asked for anew each time (submitit's own pace is 10 minutes)."""
    for name, value in configured.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(configured.work)
    monkeypatch.setattr(SlurmJob, "watcher", SlurmInfoWatcher(delay_s=0))

    def make(**parameters: object) -> submitit.AutoExecutor:
        made = submitit.AutoExecutor(folder=configured.work / "submitit" / "%j", cluster="slurm")
        made.update_parameters(**{"timeout_min": 5, "mem_gb": 0.2, "cpus_per_task": 1, **parameters})
        return made

    yield make


def add(first: int, second: int) -> int:
    return first + second


def fail() -> None:
    raise ValueError("what went wrong")


def rank() -> tuple[int, int, int, str]:
    environment = submitit.JobEnvironment()
    return environment.global_rank, environment.num_tasks, environment.node, os.environ["CUDA_VISIBLE_DEVICES"]


class Training:
    """Says that it runs, then waits; after its checkpoint it goes on at the next step and ends."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step = step
        self.mark = mark

    def __call__(self) -> tuple[int, str, str]:
        if self.step == 0:
            self.mark.write_text("runs")
            time.sleep(120)
        return self.step, os.environ["SLURM_RESTART_COUNT"], os.environ["SLURM_JOB_ID"]

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        return submitit.helpers.DelayedSubmission(Training(self.step + 1, self.mark))


def test_a_result(executor):
    job = executor(name="sum", slurm_comment="from submitit", slurm_wckey="key").submit(add, 2, 3)
    assert job.result() == 5
    assert wait_for(lambda: job.state == "COMPLETED", "the state")
    assert job.done()
    assert job.get_info()["NodeList"] in ("node0", "node1")


def test_an_array(configured: Cluster, executor):
    jobs = executor(slurm_array_parallelism=2).map_array(add, range(MANY), range(MANY))
    array_id = jobs[0].job_id.partition("_")[0]
    assert [job.job_id for job in jobs] == [f"{array_id}_{task}" for task in range(MANY)]
    assert {job.state for job in jobs} <= {"PENDING", "RUNNING", "COMPLETED", "COMPLETING"}
    assert [job.result() for job in jobs] == [2 * number for number in range(MANY)]
    assert wait_for(lambda: {job.state for job in jobs} == {"COMPLETED"}, "the states")


def test_several_tasks_with_gpus(executor):
    job = executor(nodes=2, tasks_per_node=2, gpus_per_node=2, slurm_additional_parameters={"nice": 5}).submit(rank)
    assert job.results() == [(0, 4, 0, "0,1"), (1, 4, 0, "0,1"), (2, 4, 1, "0,1"), (3, 4, 1, "0,1")]


def test_an_exception(executor):
    job = executor().submit(fail)
    with pytest.raises(FailedJobError, match="what went wrong"):
        job.result()
    assert isinstance(job.exception(), FailedJobError)
    assert wait_for(lambda: job.done(), "the end")


def test_cancel(executor):
    job = executor().submit(time.sleep, 120)
    assert wait_for(lambda: job.state == "RUNNING", "the start")
    job.cancel()
    assert wait_for(lambda: job.state.startswith("CANCELLED"), "the end")
    assert job.done()


@pytest.mark.parametrize("how", ["as at preemption", "as at a time limit", "by --signal"])
def test_checkpoint_and_requeue(configured: Cluster, executor, tmp_path: Path, how: str):
    """Its signals reach the task, the task's `scontrol requeue` ends this run, and the next one gives the result under the same id."""
    job = executor(timeout_min=1, slurm_signal_delay_s=LEAD_S).submit(Training(0, tmp_path / "mark"))
    wait_for((tmp_path / "mark").exists, "the first run")
    if how != "by --signal":
        job._interrupt(timeout=how == "as at a time limit")
    seen = {}

    def ended() -> bool:
        seen[job.state] = None
        return job.done()

    wait_for(ended, "the end of the second run")
    assert job.result() == (1, "1", job.job_id)
    assert set(seen) <= {"RUNNING", "REQUEUED", "COMPLETING", "PENDING", "COMPLETED"}
    configured.wait_state(job.job_id, "COMPLETED")
    rows = configured.run("sacct", "-nXPD", "-j", job.job_id, "-o", "State,Restarts").split()
    assert rows == ["REQUEUED|0", "COMPLETED|1"]
