"""The controller's counters follow what happens, and views count as the work that they are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from engine_cluster import ALICE, ROOT, EngineCluster

from penstock.controller.reading import Reading
from penstock.core.cycle import plan_now
from penstock.spec.errors import SlurmError


def plan(cluster: EngineCluster, spent_us: int = 10) -> None:
    """As the controller's loop does it."""
    reactor = cluster.reactor
    view = reactor.view(cluster.now_ms)
    reactor.statistics.pass_begins(len(view.pending))
    made = plan_now(view, reporter=reactor.statistics)
    reactor.statistics.pass_ended(made, spent_us, cluster.now_ms)
    reactor.planned(made, cluster.now_ms)
    reactor.flush()


def test_jobs_are_counted_with_their_elements_as_they_come_start_and_end():
    cluster = EngineCluster(n0=4)
    done, bad, array = cluster.submit(), cluster.submit(), cluster.submit(array="0-4")
    plan(cluster)
    cluster.end(done)
    cluster.end(bad, status=1 << 8)
    cluster.ask("cancel", jobs=[f"{array}_[2-4]"])
    counted = cluster.reactor.statistics
    assert (counted.submitted, counted.started_jobs, counted.completed, counted.failed, counted.cancelled) == (7, 4, 1, 1, 3)


def test_a_start_behind_a_blocked_job_is_backfilled():
    cluster = EngineCluster(n0=4)
    cluster.submit(ntasks=3, time_limit_s=3600)
    plan(cluster)
    cluster.submit(ntasks=4, time_limit_s=3600)
    short = cluster.submit(ntasks=1, time_limit_s=600)
    plan(cluster)
    counted = cluster.reactor.statistics
    assert cluster.word(short) == "RUNNING"
    assert (counted.backfilled, counted.pass_us.count, counted.backfill_us.count) == (1, 2, 1)
    assert (counted.queue.last, counted.depth.last, counted.promised.last) == (2, 2, 1)


def test_views_and_refused_views_are_counted_for_their_caller():
    cluster = EngineCluster(n0=4)
    reading = Reading(cluster.reactor, cluster.store)
    client = SimpleNamespace(caller=ALICE, number=1)
    list(reading.open(client, {"op": "squeue", "fields": ["jobid"]}, cluster.now_ms))
    with pytest.raises(SlurmError):
        list(reading.open(client, {"op": "why", "job": "77"}, cluster.now_ms))
    half_read = reading.open(client, {"op": "sinfo", "fields": ["partition"]}, cluster.now_ms)
    next(half_read)
    half_read.close()
    counted = cluster.reactor.statistics
    assert {op: calls.count for op, calls in counted.by_operation.items()} == {"squeue": 1, "why": 1, "sinfo": 1}
    assert counted.by_user[ALICE.user][1].count == 3


def test_only_administrators_reset():
    cluster = EngineCluster(n0=4)
    cluster.submit()
    reading = Reading(cluster.reactor, cluster.store)
    with pytest.raises(SlurmError, match="Access/permission denied"):
        list(reading.open(SimpleNamespace(caller=ALICE, number=1), {"op": "reset_sdiag"}, cluster.now_ms))
    assert cluster.reactor.statistics.submitted == 1
    list(reading.open(SimpleNamespace(caller=ROOT, number=2), {"op": "reset_sdiag"}, cluster.now_ms))
    assert cluster.reactor.statistics.submitted == 0
