"""A gang on equal nodes starts exactly where some set of nodes has the shape it asks for, with all wishes together: features with counts or
a choice of them, neighbours, node lists, segments, few switches, a required level. Every set of free nodes is tried."""

from __future__ import annotations

from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_planner_properties import plan_of
from test_topology_properties import problem
from worlds import World, draw_topology

from penstock.core.columns import NodeRecord, PartitionRecord, PendingRecord
from penstock.core.request import Request

COUNTS = {
    "[a*1&b*1]": (("a", "b"), True),
    "[a*2&b*1]": (("a", "a", "b"), True),
    "[a*1&b*2]": (("a", "b", "b"), True),
    "a*1": (("a",), False),
    "a*2": (("a", "a"), False),
}
"""Constraint: the features of the slots that distinct nodes fill, and whether the other nodes carry one of them too."""
PLAIN = ("", "", "a", "a|b", "[a|b]", "a&b")


def carries(features: dict[str, tuple[str, ...]], group: tuple[str, ...], text: str) -> bool:
    """Whether these nodes meet the constraint, by trying every way to give slots to nodes."""
    if text in COUNTS:
        slots, bracketed = COUNTS[text]
        if bracketed and not all(any(feature in features[name] for feature in slots) for name in group):
            return False
        return any(
            all(slot in features[name] for slot, name in zip(slots, order, strict=True)) for order in permutations(group, len(slots))
        )
    each = {
        "a": lambda has: "a" in has,
        "a|b": lambda has: "a" in has or "b" in has,
        "a&b": lambda has: "a" in has and "b" in has,
    }
    if text == "[a|b]":
        return any(all(kind in features[name] for name in group) for kind in "ab")
    return not text or all(each[text](features[name]) for name in group)


def draw(random: Random) -> tuple[World, Request, list[str], dict[str, tuple[str, ...]]]:
    names = [f"n{number}" for number in range(random.randint(2, 9))]
    features = {name: tuple(kind for kind in "ab" if random.random() < 0.6) for name in names}
    topology = draw_topology(random, "ib", names)
    nodes = random.randint(2, 4)
    text = random.choice((*PLAIN, *COUNTS))
    if text in COUNTS:
        nodes = max(nodes, len(COUNTS[text][0]))
    listed = random.sample(names, random.choice((0, 0, 0, 1, min(2, len(names)))))
    request = Request(
        nodes_min=nodes,
        nodes_max=nodes,
        cpus_per_task=4,
        required_nodes=tuple(sorted(listed)),
        excluded_nodes=tuple(name for name in names if name not in listed and random.random() < 0.1),
        constraint=text,
        contiguous=random.random() < 0.25,
        switches=random.choice((0, 0, 0, 1, 2)),
        segment=random.choice([size for size in (0, 0, 0, 1, 2, 3) if not size or nodes % size == 0]),
        level=random.choice(("", "", *[title for title, _ in topology.levels])),
    )
    world = World(topologies=(topology,))
    free = [name for name in names if random.random() < 0.85]
    for number, name in enumerate(names):
        world.nodes[name] = NodeRecord(name, number, 4, 100, up=name in free, features=features[name])
    world.partitions["p"] = PartitionRecord("p", tuple(names), topology=random.choice(("ib", "ib", "ib", "")))
    if not world.partitions["p"].topology and request.level:
        world.partitions["p"] = PartitionRecord("p", tuple(names), topology="ib")
    world.pending[1] = PendingRecord(1, request, ("p",), 0, 1, 60)
    return world, request, free, features


def fitting(world: World, request: Request, free: list[str], features: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Every set of free nodes of the right shape."""
    near = world.topologies[0] if world.partitions["p"].topology else None
    order = list(world.nodes)
    return [
        group
        for group in combinations(free, request.nodes_min)
        if all(name in group for name in request.required_nodes)
        and not any(name in group for name in request.excluded_nodes)
        and carries(features, group, request.constraint)
        and (not request.contiguous or order.index(group[-1]) - order.index(group[0]) == len(group) - 1)
        and problem(near, request, list(group)) == ""
    ]


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 1 << 40))
def test_a_gang_starts_exactly_where_a_set_of_its_shape_is_free(seed):
    world, request, free, features = draw(Random(seed))
    able = fitting(world, request, free, features)
    starts = plan_of(world).starts
    if request.constraint not in COUNTS or request.segment < 2:  # the stated limit of ``alternatives``
        assert bool(starts) == bool(able)
    if starts:
        assert tuple(share.node for share in starts[0].shares) in able


@pytest.mark.parametrize("text", COUNTS)
def test_the_reference_knows_that_a_node_fills_one_slot(text):
    slots, _ = COUNTS[text]
    both = {f"n{number}": ("a", "b") for number in range(len(slots))}
    assert carries(both, tuple(both), text)
    assert not carries(both, tuple(both)[1:], text)
