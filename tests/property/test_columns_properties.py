"""columns == rebuild: whatever the changes and their order, the view is that of a fresh Columns with the survivors."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import NOW_S, World, draw_node, draw_pending, draw_request, draw_world

from penstock.core.columns import Columns, PartitionRecord
from penstock.core.cycle import plan_now
from penstock.sim.columns import canonical


def shuffled(random: Random, world: World) -> Columns:
    parts = [list(part.items()) for part in (world.nodes, world.partitions, world.running, world.pending)]
    for part in parts:
        random.shuffle(part)
    return World(*(dict(part) for part in parts), licenses=world.licenses, held=world.held).columns()


def change(random: Random, world: World, columns: Columns) -> None:
    """One change to both."""
    choice = random.randint(0, 9)
    names, parts = list(world.nodes), list(world.partitions)
    held = {share.node: None for _, shares in world.running.values() for share in shares}
    if choice == 0:
        free = [index for index in range(12) if f"n{index}" not in world.nodes]
        if free:
            node = draw_node(random, random.choice(free))
            world.nodes[node.name] = node
            columns.upsert_node(node)
    elif choice == 1:
        old = world.nodes[random.choice(names)]
        node = replace(draw_node(random, old.index), up=not old.up)
        world.nodes[node.name] = node
        columns.upsert_node(node)
    elif choice == 2:
        idle = [name for name in names if name not in held]
        if idle and len(names) > 1:
            name = random.choice(idle)
            del world.nodes[name]
            columns.remove_node(name)
    elif choice == 3:
        record = PartitionRecord(
            random.choice(("p", "q", "r")), tuple(random.sample(names, len(names))[:4]), priority_tier=random.randint(1, 3)
        )
        world.partitions[record.name] = record
        columns.upsert_partition(record)
    elif choice == 4 and len(parts) > 1:
        name = random.choice(parts)
        del world.partitions[name]
        columns.remove_partition(name)
    elif choice == 5 and world.running:
        job_id = random.choice(list(world.running))
        del world.running[job_id]
        world.held.pop(job_id, None)
        columns.end_running(job_id)
    elif choice == 6 and world.running:
        job_id = random.choice(list(world.running))
        world.running[job_id] = (NOW_S + random.randint(0, 50), world.running[job_id][1])
        columns.change_end(job_id, world.running[job_id][0])
    elif choice == 7 and world.pending:
        job_id = random.choice(list(world.pending))
        del world.pending[job_id]
        columns.remove_pending(job_id)
    elif choice == 8 and world.pending:
        old_record = random.choice(list(world.pending.values()))
        record_new = replace(old_record, count=3, startable=random.choice((None, 0, 2)))
        world.pending[record_new.job_id] = record_new
        columns.upsert_pending(record_new)
    else:
        record_new = draw_pending(random, random.randint(1, 200), draw_request(random, names), parts)
        world.pending[record_new.job_id] = record_new
        columns.upsert_pending(record_new)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32))
def test_columns_equal_a_rebuild_after_any_changes(seed):
    random = Random(seed)
    world = draw_world(random)
    columns = world.columns()
    number = 1_000
    for step in range(40):
        change(random, world, columns)
        if step % 10 == 9:
            plan = plan_now(columns.view(step, NOW_S))
            for start in plan.starts[:3]:
                if columns.refusal(start.partition, start.shares, start.licenses) is None:
                    number += 1
                    world.running[number] = (NOW_S + 20, start.shares)
                    world.held[number] = start.licenses
                    columns.start_running(number, NOW_S + 20, start.shares, start.licenses)
        if random.random() < 0.5:
            assert canonical(columns.view(step, NOW_S)) == canonical(shuffled(random, world).view(step, NOW_S))
            assert {record.job_id: record for record in columns.pending_records()} == world.pending
    rebuilt = shuffled(random, world)
    one, other = plan_now(columns.view(1, NOW_S)), plan_now(rebuilt.view(1, NOW_S))
    assert (one.starts, one.reservations, one.waiting_job_id.tolist()) == (other.starts, other.reservations, other.waiting_job_id.tolist())


@pytest.mark.parametrize("extra", [1, 50, 100, 500])
def test_a_merged_tail_is_in_the_same_order_as_a_sorted_whole(extra):
    random = Random(extra)
    world = draw_world(random)
    names = list(world.nodes)
    request = draw_request(random, names)
    for job_id in range(1, 300):
        world.pending[job_id] = draw_pending(random, job_id, request, ["p"])
    columns = world.columns()
    columns.view(1, NOW_S)
    for job_id in random.sample(range(1, 300), 20):
        del world.pending[job_id]
        columns.remove_pending(job_id)
    for job_id in range(1_000, 1_000 + extra):
        world.pending[job_id] = draw_pending(random, job_id, request, ["p"])
        columns.upsert_pending(world.pending[job_id])
    pending = columns.view(2, NOW_S).pending
    wanted = sorted(world.pending.values(), key=lambda record: (-record.priority, record.order, record.job_id))
    assert pending.job_id.tolist() == [record.job_id for record in wanted]


def test_a_view_never_changes_after_it_was_made():
    random = Random(5)
    world = draw_world(random)
    columns = world.columns()
    views = []
    for step in range(60):
        view = columns.view(step, NOW_S)
        views.append((view, canonical(view)))
        change(random, world, columns)
    for view, picture in views:
        assert canonical(view) == picture
        for array in (view.nodes.free, view.nodes.total, view.nodes.up, view.pending.job_id, view.running.end_s):
            assert not array.flags.writeable
