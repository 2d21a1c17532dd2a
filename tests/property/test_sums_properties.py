"""Tasks and devices in total on a few unequal nodes: an element starts exactly where some nodes have all of it. Every set is tried."""

from __future__ import annotations

from itertools import combinations
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_planner_properties import plan_of
from worlds import World

from penstock.core.columns import NodeRecord, PartitionRecord, PendingRecord
from penstock.core.request import Request
from penstock.core.sums import search

SEEDS = st.integers(0, 1 << 40)


def draw(random: Random) -> tuple[World, Request]:
    names = [f"n{number}" for number in range(random.randint(2, 8))]
    world = World()
    for number, name in enumerate(names):
        gres = [(pool, random.randint(1, 4)) for pool, share in (("gpu:a", 0.9), ("gpu:b", 0.6)) if random.random() < share]
        world.nodes[name] = NodeRecord(name, number, random.randint(1, 8), 100, tuple(gres))
    world.partitions["p"] = PartitionRecord("p", tuple(names))
    least = random.randint(1, 4)
    most = least if random.random() < 0.7 else random.randint(least, 5)
    facts: dict[str, object] = {"nodes_min": least, "nodes_max": most}
    kind = random.randint(0, 2)
    if kind != 1:
        facts["ntasks"] = random.randint(most, 16)
    pools = (("gpu",), ("gpu:a", "gpu:b"), ("gpu:a",))[kind]
    facts["gres_total"] = tuple((pool, random.randint(least, 12 if pool == "gpu" else 8)) for pool in pools)
    if random.random() < 0.2:
        facts["required_nodes"] = (random.choice(names),)
    request = Request(**facts)  # type: ignore[arg-type]
    world.pending[1] = PendingRecord(1, request, ("p",), 0, 1, 60)
    return world, request


def has_all(request: Request, group: tuple[NodeRecord, ...]) -> bool:
    """Whether these nodes, each with a task and a device of each kind at least, have what is asked in total."""
    if request.ntasks and not len(group) <= request.ntasks <= sum(node.cpus for node in group):
        return False
    for key, asked in request.gres_total:
        have = [sum(count for pool, count in node.gres if pool == key or ":" not in key) for node in group]
        if min(have) < 1 or not len(group) <= asked <= sum(have):
            return False
    return all(name in [node.name for node in group] for name in request.required_nodes)


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_an_element_starts_exactly_where_some_nodes_have_all_that_it_asks_in_total(seed):
    world, request = draw(Random(seed))
    sizes = range(request.nodes_min, request.nodes_max + 1)
    able = [group for size in sizes for group in combinations(world.nodes.values(), size) if has_all(request, group)]
    starts = plan_of(world).starts
    assert bool(starts) == bool(able)
    if starts:
        assert [share.node for share in starts[0].shares] in [[node.name for node in group] for group in able]


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_a_search_finds_as_few_nodes_as_there_are_and_the_forced_ones_among_them(seed):
    random = Random(seed)
    count, kinds = random.randint(1, 9), random.randint(1, 3)
    needs = [(np.array([random.randint(0, 5) for _ in range(count)], np.int64), random.randint(1, 15)) for _ in range(kinds)]
    order = np.array(random.sample(range(count), count), np.int64)
    forced, least = random.randint(0, min(2, count)), random.randint(1, 3)
    most = random.randint(least, 5)
    first = set(order[:forced].tolist())
    able = [
        size
        for size in range(max(least, forced), min(most, count) + 1)
        for group in combinations(range(count), size)
        if first <= set(group) and all(have[list(group)].sum() >= asked for have, asked in needs)
    ]
    found = search(needs, order, forced, least, most)
    assert (found is None) == (not able)
    if found is not None:
        assert (len(set(found.tolist())), first <= set(found.tolist())) == (min(able), True)
        assert all(have[found].sum() >= asked for have, asked in needs)
