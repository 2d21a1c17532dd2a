"""Random clusters whose GPUs are shared: no device is ever over-allocated, whole and in parts never at once, whatever the weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_planner_properties import fingerprint, peak_excess, windows_of
from worlds import NOW_S, World, draw_world

from penstock.core.columns import Columns
from penstock.core.cycle import Budget, plan_now
from penstock.core.plan import Plan, Share
from penstock.core.request import Request, gres_name
from penstock.core.slots import slot_key, split_slot
from penstock.core.weights import MOST_WEIGHT, NAMES, check_weights

SHARES = 4
thorough = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
budgets = st.sampled_from((Budget(), Budget(reservations=0), Budget(reservations=3)))
weights = st.dictionaries(st.sampled_from(NAMES), st.integers(0, MOST_WEIGHT)).map(check_weights)


def shared(seed: int) -> World:
    """A world of which most nodes' GPUs are slots, and some requests ask for parts."""
    random = Random(seed)
    world = draw_world(random)
    for name, node in world.nodes.items():
        if random.random() < 0.8:
            gres = {slot_key(pool, at): SHARES for pool, count in node.gres for at in range(count)}
            world.nodes[name] = replace(node, gres=tuple(sorted(gres.items())))
    free = {(name, key): count for name, node in world.nodes.items() for key, count in node.gres}
    for job_id, (end_s, shares) in list(world.running.items()):
        world.running[job_id] = (end_s, tuple(held_on(random, share, free) for share in shares))
    for job_id, record in world.pending.items():
        if random.random() < 0.5:
            world.pending[job_id] = replace(record, request=in_parts(record.request))
    return world


def held_on(random: Random, share: Share, free: dict[tuple[str, str], int]) -> Share:
    """One device in part, or what was held whole; never more than is left."""
    left = {key: count for (node, key), count in free.items() if node == share.node and count}
    gres = {}
    if left and random.random() < 0.7:
        key = random.choice(sorted(left))
        gres = {key: random.randint(1, left[key])}
    for key, count in gres.items():
        free[share.node, key] -= count
    return share._replace(gres=tuple(sorted(gres.items())))


def in_parts(request: Request) -> Request:
    def shards(counts):
        return (("shard", 1 + sum(count for _, count in counts) % SHARES),) if counts else ()

    fields = ("gres_per_node", "gres_per_task", "gres_total")
    return replace(request, **{field: shards(getattr(request, field)) for field in fields})


def plan_of(world: World, budget: Budget, weights: tuple[tuple[str, int], ...]) -> Plan:
    columns = world.columns()
    columns.weights = weights
    return plan_now(columns.view(1, NOW_S), budget)


worlds = st.integers(0, 1 << 40).map(shared)


@thorough
@given(worlds, budgets, weights)
def test_no_device_is_over_allocated_at_any_reserved_second(world, budget, weights):
    assert peak_excess(world, windows_of(world, plan_of(world, budget, weights))) == {}


@thorough
@given(worlds, budgets, weights)
def test_a_part_is_of_one_device_and_a_whole_gpu_is_all_of_one(world, budget, weights):
    plan = plan_of(world, budget, weights)
    for start in (*plan.starts, *plan.reservations):
        request = world.pending[start.job_id].request
        for share in start.shares:
            slots = {key: count for key, count in share.gres if split_slot(key)[1] >= 0}
            if request.exclusive or not slots:
                continue
            asked = Counter(dict(request.gres_per_node))
            asked.update({key: count * share.ntasks for key, count in request.gres_per_task})
            if any(gres_name(key) == "shard" for key in (*asked, *dict(request.gres_total))):
                assert len(slots) == 1
                assert request.gres_total or list(slots.values()) == list(asked.values())
            else:
                assert all(count == SHARES for count in slots.values())
                plain = sum(count for key, count in share.gres if split_slot(key)[1] < 0)
                assert request.gres_total or len(slots) + plain == sum(asked.values())


@thorough
@given(worlds, weights)
@example(shared(16268747), check_weights({"best_fit": 0, "fragmentation": 1}))  # a total of shares, split over devices of two nodes
def test_the_applier_takes_what_is_planned_and_the_columns_stay_exact(world, weights):
    plan = plan_of(world, Budget(), weights)
    columns = world.columns()
    for number, start in enumerate(plan.starts):
        assert columns.refusal(start.partition, start.shares) is None
        columns.start_running(2_000_000 + number, NOW_S + 1, start.shares)
    rebuilt = Columns()
    for node in world.nodes.values():
        rebuilt.upsert_node(node)
    for job_id, (end_s, shares) in world.running.items():
        rebuilt.start_running(job_id, end_s, shares)
    for number, start in enumerate(plan.starts):
        rebuilt.start_running(2_000_000 + number, NOW_S + 1, start.shares)
    assert (columns.view(1, NOW_S).nodes.free == rebuilt.view(1, NOW_S).nodes.free).all()


@thorough
@given(worlds, weights)
def test_the_same_view_gives_the_same_plan(world, weights):
    assert fingerprint(plan_of(world, Budget(), weights)) == fingerprint(plan_of(world, Budget(), weights))
