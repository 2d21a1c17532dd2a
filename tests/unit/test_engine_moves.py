"""Consolidation carried out by the engine: who may move, all or none, together, and behind the job for which they had to."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, ROOT, EngineCluster, Refused

from penstock.core.consolidation import Consolidation, NoPlan, consolidate
from penstock.core.cycle import plan_now
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.indexes import Indexes
from penstock.engine.moves import PLANS_KEPT
from penstock.engine.reactor import REQUEUE_LEAD_MS
from penstock.engine.rows import decode_job
from penstock.engine.state import PREEMPTED
from penstock.spec import errors as err
from penstock.wire import messages as m

SPOT = Partition("spot", preempt_mode="REQUEUE")


def a_cluster() -> EngineCluster:
    """Three nodes of four CPUs."""
    return EngineCluster(ClusterConfig(partitions=(Partition("main", default=True), SPOT)), n0=4, n1=4, n2=4)


def started(cluster: EngineCluster, node: str, cpus: int = 2, **fields: object) -> int:
    """A job of spot that was free in its choice, on this node: the others are full for the moment it takes."""
    others = [name for name in ("n0", "n1", "n2") if name != node]
    for name in others:
        cluster.ask("update_node", ROOT, nodes=[name], keys=["State=DRAIN", "Reason=x"])
    job = cluster.submit(**{"cpus_per_task": cpus, "partition": "spot", **fields})
    cluster.plan()
    assert cluster.job(job).nodes_left == (node,)
    for name in others:
        cluster.ask("update_node", ROOT, nodes=[name], keys=["State=RESUME"])
    return job


def crowded(**fields: object) -> tuple[EngineCluster, list[int], int]:
    """Two CPUs of each node are taken by jobs that may move, and a job that needs two whole nodes waits."""
    cluster = a_cluster()
    movable = [started(cluster, "n0", **fields), started(cluster, "n1", cpus=1, **fields), started(cluster, "n2", cpus=1, **fields)]
    cluster.tick(60)
    waiting = cluster.submit(nodes_min=2, nodes_max=2, ntasks_per_node=1, cpus_per_task=4)
    cluster.plan()
    assert cluster.word(waiting) == "PENDING"
    return cluster, movable, waiting


def proposed(cluster: EngineCluster) -> Consolidation | NoPlan:
    reactor = cluster.reactor
    view = reactor.indexes.columns.view(reactor.state.seq, cluster.now_ms // 1000)
    work = consolidate(view, reactor.moves.movable(cluster.now_ms), reactor.moves.waiters, 0, reactor.budget)
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def kept(cluster: EngineCluster) -> int:
    found = proposed(cluster)
    assert isinstance(found, Consolidation), found
    return cluster.reactor.moves.keep(found)


def carried_out(cluster: EngineCluster) -> None:
    cluster.ask("consolidate", ROOT, number=kept(cluster))
    cluster.tick(REQUEUE_LEAD_MS / 1000)


def law(cluster: EngineCluster) -> None:
    cluster.check_law()
    reactor = cluster.reactor
    assert Indexes(reactor.state, cluster.now_ms, cluster.history).summary() == reactor.indexes.summary()


def test_all_that_move_end_before_any_starts_and_the_waiting_job_is_first():
    cluster, (stays, *moved), waiting = crowded()
    carried_out(cluster)
    assert [cluster.job(job).state for job in moved] == [PREEMPTED, PREEMPTED]
    assert {one.job_id for one in cluster.messages(m.Terminate)} == set(moved)
    assert all("DUE TO PREEMPTION" in one.notice for one in cluster.messages(m.Terminate))
    law(cluster)
    cluster.end(moved[0], 15, "Cancelled")
    cluster.tick(1)
    cluster.plan()
    assert (cluster.word(moved[0]), cluster.word(waiting)) == ("PENDING", "PENDING"), "it would take the room that it made"
    law(cluster)
    cluster.end(moved[1], 15, "Cancelled")
    law(cluster)
    cluster.plan()
    assert cluster.job(waiting).nodes_left == ("n1", "n2")
    assert [cluster.job(job).nodes_left for job in moved] == [("n0",), ("n0",)]
    assert [cluster.job(job).attempt for job in moved] == [1, 1]
    assert cluster.job(stays).attempt == 0
    assert cluster.reactor.indexes.moved_for == {}
    assert decode_job(cluster.store.disk.jobs[f"{moved[0]}.0"][0]).state == PREEMPTED
    law(cluster)


def test_a_controller_that_dies_meanwhile_goes_on():
    cluster, (stays, *moved), waiting = crowded()
    carried_out(cluster)
    cluster.end(moved[0], 15, "Cancelled")
    runs = {name: [job for job in (stays, *moved) if name in cluster.job(job).nodes_left] for name in ("n0", "n1", "n2")}
    cluster.crash()
    for name, jobs in runs.items():
        cluster.node(name, runs=tuple(m.RunReport(job, 0) for job in jobs))
    cluster.end(moved[1], 15, "Cancelled")
    cluster.plan()
    assert cluster.word(waiting) == "RUNNING"
    assert [cluster.word(job) for job in moved] == ["RUNNING", "RUNNING"]
    law(cluster)


def test_who_is_cancelled_while_it_moves_does_not_come_back_and_the_others_do_not_wait_for_it():
    cluster, (_, *moved), waiting = crowded()
    carried_out(cluster)
    cluster.end(moved[0], 15, "Cancelled")
    cluster.ask("cancel", jobs=[str(moved[1])])
    cluster.end(moved[1], 15, "Cancelled")
    assert cluster.word(moved[1]) == "PREEMPTED"
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.plan()
    assert (cluster.word(waiting), cluster.word(moved[0])) == ("RUNNING", "RUNNING")
    law(cluster)


def test_when_the_waiting_job_is_gone_the_others_take_their_own_places():
    cluster, (_, *moved), waiting = crowded()
    carried_out(cluster)
    for job in moved:
        cluster.end(job, 15, "Cancelled")
    records = cluster.reactor.indexes.columns
    assert [records.pending_record(job).order for job in moved] == [waiting + 1, waiting + 1]
    cluster.ask("cancel", jobs=[str(waiting)])
    assert [records.pending_record(job).order for job in moved] == moved
    law(cluster)
    cluster.plan()
    assert [cluster.word(job) for job in moved] == ["RUNNING", "RUNNING"]


def test_a_plan_that_does_not_hold_any_more_moves_nobody():
    cluster, movable, _ = crowded()
    number = kept(cluster)
    cluster.submit()
    cluster.reactor.planned(plan_now(cluster.reactor.view(cluster.now_ms)), cluster.now_ms)
    for _ in range(2):
        cluster.submit()
    cluster.plan()
    with pytest.raises(Refused, match="has changed since consolidation"):
        cluster.ask("consolidate", ROOT, number=number)
    assert [cluster.word(job) for job in movable] == ["RUNNING"] * 3


@pytest.mark.parametrize("end", ["target", "moved"])
def test_a_plan_falls_with_its_jobs(end):
    cluster, movable, waiting = crowded()
    number = kept(cluster)
    if end == "target":
        cluster.ask("hold", jobs=[str(waiting)])
    else:
        cluster.end(movable[1])
    with pytest.raises(Refused, match="has changed since consolidation"):
        cluster.ask("consolidate", ROOT, number=number)


def test_only_administrators_and_only_once():
    cluster, _, _ = crowded()
    number = kept(cluster)
    with pytest.raises(Refused) as refusal:
        cluster.ask("consolidate", ALICE, number=number)
    assert refusal.value.code == err.ESLURM_ACCESS_DENIED
    cluster.ask("consolidate", ROOT, number=number)
    with pytest.raises(Refused, match=f"no consolidation has the number {number}; known are none"):
        cluster.ask("consolidate", ROOT, number=number)


def test_old_plans_are_forgotten():
    cluster, _, _ = crowded()
    numbers = [kept(cluster) for _ in range(PLANS_KEPT + 1)]
    assert len(set(numbers)) == PLANS_KEPT + 1
    with pytest.raises(Refused, match="plan it again"):
        cluster.ask("consolidate", ROOT, number=numbers[0])
    cluster.ask("consolidate", ROOT, number=numbers[1])


@pytest.mark.parametrize("fields", [{"requeue": False}, {"partition": "main"}])
def test_who_does_not_move(fields):
    cluster, _, _ = crowded(**fields)
    assert cluster.reactor.moves.movable(cluster.now_ms) == {}


def test_who_ends_already_does_not_move():
    cluster, movable, _ = crowded()
    cluster.ask("cancel", jobs=[str(movable[0])])
    cluster.ask("suspend", ROOT, jobs=[str(movable[1])])
    cluster.now_ms += 5000
    assert cluster.reactor.moves.movable(cluster.now_ms) == {movable[2]: 65}
