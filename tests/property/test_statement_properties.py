"""Suppositions leave no trace, and a consolidation keeps what it says: over random clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.worlds import World, draw_world

from penstock.core.columns import Columns
from penstock.core.consolidation import Consolidation, NoPlan, consolidate, holds
from penstock.core.cycle import plan_now
from penstock.core.plan import Share
from penstock.core.records import NodeRecord, PartitionRecord, PendingRecord
from penstock.core.request import Request
from penstock.core.statement import Statement, Waiter, waiter_of
from penstock.core.view import View

SEEDS = st.integers(0, 2**32 - 1)


def crowded(random: Random) -> tuple[World, dict[int, PendingRecord]]:
    """A world in which the planner has started some of the jobs, and how each of those would wait again."""
    world = draw_world(random)
    before = world.pending
    plan = plan_now(world.columns().view(1, 10_000))
    world = world.after(plan)
    records = {}
    for number, start in enumerate(plan.starts):
        old = before[start.job_id]
        job_id = 1_000_000 + number
        limits = (old.priority, old.order, old.time_limit_s, 1, None, old.time_min_s, old.deadline_s, old.user)
        records[job_id] = PendingRecord(job_id, old.request, old.partitions, *limits)
    return world, records


def same(one: View, other: View) -> bool:
    running = [
        sorted(zip(v.running.job_id.tolist(), v.running.node.tolist(), v.running.amount.T.tolist(), strict=True)) for v in (one, other)
    ]
    return (
        bool((one.nodes.free == other.nodes.free).all())
        and bool((one.licenses.free == other.licenses.free).all())
        and running[0] == running[1]
        and one.pending.job_id.tolist() == other.pending.job_id.tolist()
        and [one.shapes[at] for at in one.pending.shape] == [other.shapes[at] for at in other.pending.shape]
    )


@settings(max_examples=80)
@given(SEEDS)
def test_what_is_taken_back_leaves_no_trace(seed: int) -> None:
    random = Random(seed)
    world, records = crowded(random)
    columns = world.columns()
    view = columns.view(1, 10_000)
    statement = Statement(view)
    marks = [(statement.checkpoint(), statement.view())]
    gone: list[int] = []
    for _ in range(random.randint(1, 20)):
        if gone and random.random() < 0.3:
            statement.restore(gone.pop(random.randrange(len(gone))))
        elif random.random() < 0.7:
            left = [job_id for job_id in records if job_id not in gone]
            if left:
                gone.append(random.choice(left))
                statement.evict(waiter_of(records[gone[-1]], columns.places_of([records[gone[-1]]])[0]))
        elif records:
            shares = world.running[random.choice(list(records))][1]
            statement.take(shares)
        marks.append((statement.checkpoint(), statement.view()))
    for mark, then in reversed(marks):
        statement.rollback(mark)
        assert same(statement.view(), then)
    assert same(statement.view(), view)


@settings(max_examples=80)
@given(SEEDS)
def test_a_supposed_view_is_the_view_of_such_a_cluster(seed: int) -> None:
    random = Random(seed)
    world, records = crowded(random)
    columns = world.columns()
    statement = Statement(columns.view(1, 10_000))
    gone = [job_id for job_id in records if random.random() < 0.5]
    for job_id in gone:
        statement.evict(waiter_of(records[job_id], columns.places_of([records[job_id]])[0]))
    supposed = statement.view()
    for job_id in gone:
        columns.end_running(job_id)
        columns.upsert_pending(records[job_id])
    real = columns.view(1, 10_000)
    if real.nodes.pools == supposed.nodes.pools:  # a pool that no node has and only a job kept alive goes with the job
        assert same(supposed, real)
        assert plan_now(supposed).starts == plan_now(real).starts


def fragmented(random: Random) -> tuple[World, dict[int, PendingRecord]]:
    """Small jobs all over the nodes, some of them movable, and large jobs that wait."""
    count, size = random.randint(3, 8), random.choice((4, 8))
    nodes = {f"n{at}": NodeRecord(f"n{at}", at, 64, 1000, (("gpu", size),)) for at in range(count)}
    world = World(nodes, {"main": PartitionRecord("main", tuple(nodes))})
    left = dict.fromkeys(nodes, size)
    records = {}
    for number in range(random.randint(count, 3 * count)):
        gpus = random.randint(1, size // 2)
        node = random.choice(list(nodes))
        if left[node] < gpus:
            continue
        left[node] -= gpus
        limit_s = random.randint(1_000, 50_000)
        world.running[number] = (10_000 + limit_s, (Share(node, 1, 1, 0, (("gpu", gpus),)),))
        if random.random() < 0.7:
            request = Request(gres_per_node=(("gpu", gpus),), required_nodes=(node,) if random.random() < 0.1 else ())
            records[number] = PendingRecord(number, request, ("main",), random.randint(0, 3), number, limit_s)
    for job_id in range(100, 100 + random.randint(1, 4)):
        wanted = random.randint(1, 2)
        request = Request(nodes_min=wanted, nodes_max=wanted, gres_per_node=(("gpu", random.randint(size // 2, size)),))
        world.pending[job_id] = PendingRecord(job_id, request, ("main",), random.randint(0, 3), job_id, random.randint(100, 20_000))
    return world.after(plan_now(world.columns().view(1, 10_000))), records


def waiters_of(columns: Columns, records: dict[int, PendingRecord], job_ids: Sequence[int]) -> list[Waiter]:
    chosen = [records[job_id] for job_id in job_ids]
    return [waiter_of(record, place) for record, place in zip(chosen, columns.places_of(chosen), strict=True)]


def consolidation_of(columns: Columns, records: dict[int, PendingRecord], random: Random) -> Consolidation | NoPlan:
    ran_s = {job_id: random.randint(0, 5_000) for job_id in records}
    work = consolidate(columns.view(1, 10_000), ran_s, partial(waiters_of, columns, records))
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value


def behind(record: PendingRecord, target: PendingRecord) -> PendingRecord:
    """As the engine has it wait: behind the job for which it moved."""
    if record.priority < target.priority:
        return record
    return replace(record, priority=target.priority, order=max(record.order, target.order + 1))


@settings(max_examples=150)
@given(SEEDS)
def test_a_consolidation_keeps_what_it_says(seed: int) -> None:
    random = Random(seed)
    world, records = fragmented(random)
    columns = world.columns()
    view = columns.view(1, 10_000)
    found = consolidation_of(columns, records, random)
    if not isinstance(found, Consolidation):
        return
    waiters = waiters_of(columns, records, [move.job_id for move in found.moves])
    assert holds(view, found, waiters)
    before = plan_now(view)
    assert found.start.job_id in {one.job_id for one in before.reservations}
    target = world.pending[found.start.job_id]
    for move in found.moves:
        columns.end_running(move.job_id)
        columns.upsert_pending(behind(records[move.job_id], target))
    after = plan_now(columns.view(2, 10_000))
    starts = {start.job_id for start in after.starts}
    assert {found.start.job_id, *(move.job_id for move in found.moves)} <= starts
    assert {start.job_id for start in before.starts} <= starts
    reserved = {one.job_id: one.start_s for one in reversed(after.reservations)}
    for one in before.reservations:
        if one.job_id != found.start.job_id:
            assert one.job_id in starts or reserved[one.job_id] <= one.start_s


def test_plans_are_found() -> None:
    """The property above is not about an empty set."""
    found = 0
    for seed in range(100):
        world, records = fragmented(Random(seed))
        found += isinstance(consolidation_of(world.columns(), records, Random(seed)), Consolidation)
    assert found >= 20
