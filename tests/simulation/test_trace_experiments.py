"""Experiments on logs: exact numbers, the textbook's schedule, memory that does not grow with the log."""

from __future__ import annotations

import pathlib

import pytest
from textbook import starts

import penstock.controller.service
import penstock.engine.reactor
from penstock.core.policies import POLICIES
from penstock.sim import virtual
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.experiment import Experiment
from penstock.sim.metrics import Metrics
from penstock.sim.workload.limits import limits_by
from penstock.sim.workload.reader import open_trace

KTH = str(pathlib.Path(__file__).parent / "data" / "kth-sp2-3000.swf.gz")


def replay(policy: str, jobs: int, limits: str = "log", cluster: str = "1*sp2[cpu:100]") -> Metrics:
    with open_trace(KTH, most=jobs) as trace:
        return Experiment(parse_cluster(cluster), POLICIES[policy], limits_by(limits, 0, 0)).run(trace)


def test_the_controllers_cycle_applier_and_apply_move_the_virtual_cluster():
    assert virtual.cycle is penstock.controller.service.cycle
    assert virtual.apply_plan is penstock.engine.reactor.apply_plan
    assert virtual.apply is penstock.engine.reactor.apply


@pytest.mark.parametrize(
    ("policy", "limits", "backfill", "shortest_first"),
    [("fifo", "log", False, False), ("easy", "log", True, False), ("easy", "oracle", True, False), ("easy-sjbf", "log", True, True)],
)
def test_the_schedule_is_the_textbooks_job_by_job(policy, limits, backfill, shortest_first):
    with open_trace(KTH, most=700) as trace:
        jobs = [(job.submit_s, job.run_s, max(1, job.run_s) if limits == "oracle" else job.limit_s, job.cpus) for job in trace]
    metrics = replay(policy, len(jobs), limits)
    ours = sorted(zip(metrics.submit_s, metrics.start_s, metrics.size, strict=True))
    textbook = sorted((job[0], begun, job[3]) for job, begun in zip(jobs, starts(jobs, 100, backfill, shortest_first), strict=True))
    assert ours == textbook


GOLDEN = {
    # policy, limits: bounded slowdown in thousandths, sum of waits in seconds, last end
    ("fifo", "log"): (418522, 15176171, 1493735),
    ("greedy", "log"): (25292, 1825001, 1493735),
    ("easy", "log"): (47745, 2574830, 1493735),
    ("easy", "oracle"): (43300, 2643734, 1493735),
    ("easy-sjbf", "log"): (38111, 2311216, 1493735),
    ("ssf-easy", "oracle"): (40476, 2156159, 1493735),
}


def test_the_first_jobs_of_the_log_give_exactly_these_numbers():
    for (policy, limits), numbers in GOLDEN.items():
        metrics = replay(policy, 1_000, limits)
        summary = metrics.summary()
        waits_s = sum(metrics.start_s) - sum(metrics.submit_s)
        assert (round(summary.avebsld * 1_000), waits_s, max(metrics.end_s)) == numbers, (policy, limits)
