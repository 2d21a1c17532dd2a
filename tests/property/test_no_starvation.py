"""A promised start never moves later, so nobody starves: whole random histories through cycle, applier and apply.

The bound that follows: whoever is first in the queue starts within the longest time limit there is, whatever comes behind.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.cycle import Budget
from penstock.core.plan import Plan
from penstock.core.policies import POLICIES
from penstock.core.policies.policy import Policy
from penstock.core.view import Int64, View
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.experiment import Experiment
from penstock.sim.virtual import VirtualCluster
from penstock.sim.workload.job import TraceJob
from penstock.sim.workload.limits import limits_by

thorough = settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
LONGEST_S = 60
seeds = st.integers(0, 1 << 40)


class Watched(VirtualCluster):
    """Keeps, for each pass, when it was, who was first in the queue, and what was promised to whom."""

    def __init__(self, *groups) -> None:
        super().__init__(groups)
        self.passes: list[tuple[int, int, dict[int, int]]] = []
        self.started: dict[int, int] = {}

    def plan(self, view: View, budget: Budget, behind: Int64 | None = None) -> Plan:
        plan = super().plan(view, budget, behind)
        first = min(plan.waiting_job_id.tolist(), default=0)
        self.passes.append((view.now_s, first, {promise.job_id: promise.start_s for promise in plan.reservations}))
        self.started |= {start.job_id: view.now_s for start in plan.starts}
        return plan


def history(seed: int, policy: Policy, cluster: str, exact: bool) -> Watched:
    random = Random(seed)
    groups = parse_cluster(cluster)
    widest = sum(group.count * group.cpus for group in groups)
    jobs, second = [], 0
    for number in range(20):
        second += random.choice((0, 0, 1, 3, 10))
        limit_s = random.randint(1, LONGEST_S)
        run_s = limit_s if exact else random.randint(1, limit_s)
        jobs.append(TraceJob(str(number), second, run_s, limit_s, random.choice((1, 1, 2, 3, widest // 2, widest)), 0))
    experiment = Experiment(groups, policy, limits_by("log", 0, 0))
    watched = experiment.cluster = Watched(*groups)
    experiment.run(iter(jobs))
    assert len(watched.started) == len(jobs)
    return watched


@pytest.mark.parametrize(
    "policy", [POLICIES["easy"], POLICIES["easy-sjbf"], POLICIES["conservative"], Policy("three", "", Budget(reservations=3))]
)
@given(seed=seeds)
@thorough
def test_whoever_is_first_never_starts_later_than_promised_and_within_the_longest_limit(policy, seed):
    watched = history(seed, policy, "3*a[cpu:2],1*b[cpu:3]", exact=False)
    promised: dict[int, int] = {}
    for now_s, first, promises in watched.passes:
        if first:
            assert promises[first] <= promised.get(first, now_s + LONGEST_S), f"job {first} was promised {promised.get(first)}"
            promised[first] = promises[first]
    for job_id, promise in promised.items():
        assert watched.started[job_id] <= promise


@given(seed=seeds)
@thorough
def test_where_limits_are_exact_no_promise_of_conservative_backfill_moves_later(seed):
    watched = history(seed, POLICIES["conservative"], "1*n[cpu:6]", exact=True)
    promised: dict[int, int] = {}
    for _, _, promises in watched.passes:
        for job_id, start_s in promises.items():
            assert start_s <= promised.setdefault(job_id, start_s)
            promised[job_id] = start_s
    for job_id, start_s in watched.started.items():
        assert start_s <= promised.get(job_id, start_s)


def test_without_reservations_a_large_job_does_starve():
    """What the property above is worth: the greedy policy breaks it."""
    jobs = [TraceJob("wide", 1, 5, 10, 2, 0), *(TraceJob(str(at), at, 2, 2, 1, 0) for at in range(1, 500))]
    jobs = sorted([TraceJob("first", 0, 2, 2, 1, 0), *jobs], key=lambda job: job.submit_s)
    starts = {}
    for name in ("greedy", "easy"):
        metrics = Experiment(parse_cluster("1*n[cpu:2]"), POLICIES[name], limits_by("log", 0, 0)).run(iter(jobs))
        starts[name] = next(start for start, size in zip(metrics.start_s, metrics.size, strict=True) if size == 2)
    assert starts["greedy"] > 490
    assert starts["easy"] <= 2
