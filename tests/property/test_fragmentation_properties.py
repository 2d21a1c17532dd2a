"""Expected fragments, and their growth, against arithmetic written down device by device."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.columns import Columns, NodeRecord, PartitionRecord
from penstock.core.fragmentation import MIX_WEIGHT, Fragments
from penstock.core.plan import Share
from penstock.core.request import Request
from penstock.core.resources import resolve
from penstock.core.slots import slot_key

devices = st.lists(st.integers(0, 10), min_size=0, max_size=4)
nodes = st.lists(st.tuples(st.integers(0, 8), devices), min_size=1, max_size=4)
wishes = st.one_of(
    st.tuples(st.integers(1, 8), st.just("shard"), st.integers(1, 9)),
    st.tuples(st.integers(1, 8), st.just("gpu"), st.integers(1, 4)),
    st.tuples(st.integers(1, 8), st.just(""), st.just(0)),
)


def request_of(wish: tuple[int, str, int]) -> Request:
    cpus, name, count = wish
    return Request(nodes_max=1, cpus_per_task=cpus, gres_per_node=((name, count),) if name else ())


def view_of(nodes: list[tuple[int, list[int]]]):
    """Nodes of 8 CPUs and devices of ten shares, with so much free; the last has GPUs that are not shared."""
    columns = Columns()
    for index, (cpus, free) in enumerate(nodes):
        gres = tuple((slot_key("gpu", device), 10) for device in range(len(free)))
        columns.upsert_node(NodeRecord(f"n{index}", index, 8, 100, gres))
        taken = tuple((slot_key("gpu", device), 10 - have) for device, have in enumerate(free) if have < 10)
        if cpus < 8 or taken:
            columns.start_running(index, 10, (Share(f"n{index}", 1, 8 - cpus, 0, taken),))
    columns.upsert_node(NodeRecord("plain", len(nodes), 8, 100, (("gpu", 2),)))
    columns.upsert_partition(PartitionRecord("p", tuple(f"n{index}" for index in range(len(nodes)))))
    return columns.view(1, 0)


def fragment(cpus: int, free: list[int], wish: tuple[int, str, int]) -> int:
    """In tenths of a device."""
    need, name, count = wish
    least, number = (count, 1) if name == "shard" else (10, count)
    usable = [have for have in free if have >= least]
    if not name or cpus < need or len(usable) < number:
        return sum(free)
    return sum(free) - sum(usable)


def expected(cpus: int, free: list[int], mix: dict[tuple[int, str, int], int]) -> int:
    weights = {wish: weight * MIX_WEIGHT // sum(mix.values()) for wish, weight in mix.items()}
    named = sum(weight for (_, name, _), weight in weights.items() if name)
    return 100 * (
        sum(weight * fragment(cpus, free, wish) for wish, weight in weights.items() if wish[1]) + (MIX_WEIGHT - named) * sum(free)
    )


@settings(max_examples=60, deadline=None)
@given(nodes, st.dictionaries(wishes, st.integers(1, 5), min_size=1, max_size=5))
def test_the_expected_fragment_is_the_sum_over_the_mix(nodes, mix):
    view = view_of(nodes)
    fragments = Fragments(view, {request_of(wish): weight for wish, weight in mix.items()})
    at = np.arange(len(view.nodes))
    nodes = [*nodes, (8, [10, 10])]
    parts_only = [wish for wish in mix if wish[1] == "shard"]
    found = fragments.expected(view.nodes.free, at).tolist()
    assert found[:-1] == [expected(cpus, free, mix) for cpus, free in nodes[:-1]]
    if not parts_only:
        assert found[-1] == expected(8, [10, 10], mix)


@settings(max_examples=60, deadline=None)
@given(nodes, st.dictionaries(wishes, st.integers(1, 5), min_size=1, max_size=5), wishes)
def test_the_gradient_is_the_growth_where_it_is_least(nodes, mix, wish):
    view = view_of(nodes)
    fragments = Fragments(view, {request_of(one): weight for one, weight in mix.items()})
    need, name, count = wish
    able = [sum(1 for have in free if have >= (count if name == "shard" else 10)) for _, free in nodes]
    fits = [cpus >= need and (not name or here >= (1 if name == "shard" else count)) for (cpus, _), here in zip(nodes, able, strict=True)]
    at = np.flatnonzero(np.array([*fits, False]))
    if not len(at):
        return
    demand = resolve(request_of(wish), view.nodes.pools)
    grown, device = fragments.gradient(view.nodes.free[:, at], at, demand)
    for position, node in enumerate(at.tolist()):
        cpus, free = nodes[node]
        before = expected(cpus, free, mix)
        if name == "shard":
            after = {
                slot: expected(cpus - need, [have - count * (slot == other) for other, have in enumerate(free)], mix)
                for slot, have in enumerate(free)
                if have >= count
            }
            assert grown[position] == min(after.values()) - before
            assert device[position] == min(after, key=lambda slot: (after[slot], slot))
        else:
            left = count if name else 0
            rest = []
            for have in free:
                take = left and have == 10
                left -= take
                rest.append(0 if take else have)
            assert grown[position] == expected(cpus - need, rest, mix) - before
            assert device[position] == -1
