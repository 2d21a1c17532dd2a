"""What the planner is told by the engine, and what becomes of a plan when the state moves on."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, ROOT, EngineCluster

from penstock.core.cycle import plan_now
from penstock.core.request import UNLIMITED_S
from penstock.engine.reactor import BrokenEvent

WHOLE = {"cpus_per_task": 4}
BOTH = {"nodes_min": 2, "nodes_max": 2, "ntasks_per_node": 1, **WHOLE}


def test_a_large_job_does_not_starve_where_nobody_sets_limits():
    cluster = EngineCluster(n0=4, n1=4)
    first = cluster.submit(**WHOLE)
    cluster.plan()
    cluster.tick(60)
    large = cluster.submit(**BOTH)
    small = [cluster.submit(**WHOLE) for _ in range(3)]
    cluster.plan()
    assert [cluster.word(job) for job in (first, large, *small)] == ["RUNNING", *["PENDING"] * 4]
    assert cluster.reactor.notes.expected_start_ms(large) == cluster.job(first).start_ms + UNLIMITED_S * 1000


def test_a_job_that_surely_ends_before_goes_ahead():
    cluster = EngineCluster(n0=4, n1=4)
    cluster.submit(**WHOLE)
    cluster.plan()
    cluster.submit(**BOTH)
    small = cluster.submit(time_limit_s=3600, **WHOLE)
    cluster.plan()
    assert cluster.word(small) == "RUNNING"


@pytest.mark.parametrize(("limit_s", "left_s"), [(600, 540), (None, UNLIMITED_S - 60)])
def test_a_suspended_job_has_its_time_left_from_whenever_it_goes_on(limit_s, left_s):
    cluster = EngineCluster(n0=4, n1=4)
    suspended = cluster.submit(**WHOLE, **({"time_limit_s": limit_s} if limit_s else {}))
    cluster.plan()
    cluster.tick(60)
    cluster.ask("suspend", ROOT, jobs=[str(suspended)])
    large = cluster.submit(**BOTH)
    for later_s in (0, 3600):
        cluster.tick(later_s)
        small = cluster.submit(**WHOLE)
        cluster.plan()
        assert cluster.word(small) == "PENDING"
        assert cluster.reactor.notes.expected_start_ms(large) == cluster.now_ms + left_s * 1000
    cluster.ask("resume", ROOT, jobs=[str(suspended)])
    cluster.plan()
    assert cluster.reactor.notes.expected_start_ms(large) == cluster.now_ms + left_s * 1000


@pytest.mark.parametrize("key", ["ExcNodeList=n0", "NumNodes=2", "TimeLimit=5"])
def test_what_is_no_longer_asked_for_does_not_start(key):
    cluster = EngineCluster(n0=4, n1=4)
    job = cluster.submit()
    plan = plan_now(cluster.reactor.view(cluster.now_ms))
    cluster.ask("update_job", ALICE, jobs=[str(job)], keys=[key])
    cluster.reactor.planned(plan, cluster.now_ms)
    assert cluster.word(job) == "PENDING"
    assert cluster.reactor.needs_plan
    cluster.plan()
    assert cluster.word(job) == "RUNNING"
    assert "n0" not in cluster.job(job).nodes_left or key != "ExcNodeList=n0"


def test_a_mistake_behind_an_event_is_not_told_as_the_clients(monkeypatch):
    cluster = EngineCluster(n0=4)

    def broken(changes: object) -> None:
        raise ValueError("an index that cannot follow")

    monkeypatch.setattr(type(cluster.reactor.indexes), "follow", lambda self, changes: broken(changes))
    with pytest.raises(BrokenEvent, match="cannot follow"):
        cluster.submit()


def test_a_start_that_was_promised_to_a_job_that_is_gone_delays_nobody():
    cluster = EngineCluster(n0=4, n1=4)
    cluster.submit(time_limit_s=3600, **WHOLE)
    cluster.plan()
    large = cluster.submit(time_limit_s=3600, **BOTH)
    cluster.plan()
    assert cluster.reactor.notes.expected_start_ms(large)
    for job in (1, large):
        cluster.ask("cancel", jobs=[str(job)])
    cluster.end(1, 15, "Cancelled")
    assert f"to start at {_stamp(cluster.now_ms)} " in cluster.ask("test_only", time_limit_s=7200, **BOTH)


def test_a_held_job_has_no_expected_start():
    cluster = EngineCluster(n0=4)
    cluster.submit(time_limit_s=3600, **WHOLE)
    cluster.plan()
    waiting = cluster.submit(**WHOLE)
    cluster.plan()
    assert cluster.reactor.notes.expected_start_ms(waiting)
    cluster.ask("hold", jobs=[str(waiting)])
    assert cluster.reactor.notes.expected_start_ms(waiting) == 0


def test_a_begin_time_counts_before_the_queue():
    cluster = EngineCluster(n0=4, n1=4)
    cluster.submit(time_limit_s=600, **WHOLE)
    cluster.submit(time_limit_s=7200, **WHOLE)
    cluster.plan()
    begin_s = cluster.now_ms // 1000 + 3600
    assert f"to start at {_stamp(begin_s * 1000)} a using 4 processors on nodes n0" in cluster.ask("test_only", begin_s=begin_s, **WHOLE)
    later_ms = cluster.job(2).end_limit_ms
    assert f"to start at {_stamp(later_ms)} " in cluster.ask("test_only", begin_s=begin_s, **BOTH)


def _stamp(now_ms: int) -> str:
    from penstock.spec.times import format_time

    return format_time(now_ms // 1000)
