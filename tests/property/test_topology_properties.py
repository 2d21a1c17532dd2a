"""What every plan must satisfy where nodes have a topology, counted node by node from the records, without the planner's arrays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_planner_properties import budgets, check_partition, check_shares, fingerprint, peak_excess, plan_of, windows_of
from worlds import NOW_S, World, draw_near_world, draw_topology

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord, TopologyRecord
from penstock.core.cycle import Budget, plan_now
from penstock.core.request import Request
from penstock.sim.columns import canonical

worlds = st.integers(0, 1 << 40).map(lambda seed: draw_near_world(Random(seed)))
thorough = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))


def domains_of(topology: TopologyRecord, level: int, names: list[str]) -> dict[str, str]:
    """Each node's domain at a level: its own, else what it had at the level below, else the node alone."""
    found = {name: f"node {name}" for name in names}
    for _, domains in topology.levels[: level + 1]:
        found.update({name: domain for domain, members in domains for name in members})
    return found


def problem(topology: TopologyRecord | None, request: Request, names: list[str]) -> str:
    """Which rule these nodes break, or ""."""
    if topology is None:
        return "level" if request.level else ""
    if len(names) == 1:
        return ""
    titles = [title for title, _ in topology.levels]
    if request.level and request.level not in titles:
        return "level"
    widest = titles.index(request.level) if request.level else len(titles) - 1
    at_widest = domains_of(topology, widest, names)
    if len(dict.fromkeys(at_widest[name] for name in names)) > 1:
        return "required level"
    leaves = domains_of(topology, 0, names)
    per_leaf = Counter(leaves[name] for name in names)
    if request.switches and len(per_leaf) > request.switches:
        return "switches"
    if request.segment > 1 and any(count % request.segment for count in per_leaf.values()):
        return "segment"
    return ""


def topology_of(world: World, partition: str) -> TopologyRecord | None:
    return next((topology for topology in world.topologies if topology.name == world.partitions[partition].topology), None)


@thorough
@given(worlds, budgets)
def test_starts_and_reservations_keep_to_the_topology_and_over_allocate_nothing(world, budget):
    plan = plan_of(world, budget)
    assert peak_excess(world, windows_of(world, plan)) == {}
    for job_id, partition, shares in (
        *((start.job_id, start.partition, start.shares) for start in plan.starts),
        *((entry.job_id, entry.partition, entry.shares) for entry in plan.reservations),
    ):
        record = world.pending[job_id]
        check_partition(world.partitions[partition], record, shares)
        check_shares(world, record.request, shares)
        assert problem(topology_of(world, partition), record.request, [share.node for share in shares]) == ""


def level_used(topology: TopologyRecord, names: list[str]) -> int:
    """The narrowest level one domain of which holds these nodes."""
    for level in range(len(topology.levels)):
        found = domains_of(topology, level, names)
        if len(dict.fromkeys(found[name] for name in names)) == 1:
            return level
    return len(topology.levels)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 1 << 40))
def test_a_gang_starts_exactly_where_some_set_of_nodes_would_do_in_the_narrowest_level_and_the_fewest_leaves(seed):
    """Equal nodes, some busy: every set of free nodes is tried."""
    random = Random(seed)
    names = [f"n{number}" for number in range(random.randint(2, 9))]
    topology = draw_topology(random, "ib", names)
    nodes = random.randint(2, 4)
    request = Request(
        nodes_min=nodes,
        nodes_max=nodes,
        cpus_per_task=4,
        required_nodes=tuple(random.sample(names, random.choice((0, 0, 0, 1, min(2, len(names)))))),
        switches=random.choice((0, 0, 1, 2)),
        segment=random.choice([size for size in (0, 0, 1, 2, 3) if not size or nodes % size == 0]),
        level=random.choice(("", "", *[title for title, _ in topology.levels])),
    )
    free = [name for name in names if random.random() < 0.8]
    world = World(topologies=(topology,))
    for number, name in enumerate(names):
        world.nodes[name] = NodeRecord(name, number, 4, 100, up=name in free)
    world.partitions["p"] = PartitionRecord("p", tuple(names), topology="ib")
    world.pending[1] = PendingRecord(1, request, ("p",), 0, 1, 60)
    able = [
        group
        for group in map(list, combinations(free, nodes))
        if all(name in group for name in request.required_nodes) and problem(topology, request, group) == ""
    ]
    starts = plan_of(world).starts
    assert bool(starts) == bool(able)
    if starts:
        chosen = [share.node for share in starts[0].shares]
        assert chosen in able
        level = level_used(topology, chosen)
        assert level == min(level_used(topology, group) for group in able)
        if level == 1 and not request.required_nodes:  # hierarchies of two levels leave one way to count
            leaves = domains_of(topology, 0, names)
            inside = [group for group in able if level_used(topology, group) == 1]
            assert len({leaves[name] for name in chosen}) == min(len({leaves[name] for name in group}) for group in inside)


@thorough
@given(worlds)
def test_the_first_blocked_job_starts_no_later_because_of_what_started_behind_it(world):
    plan = plan_of(world)
    again = plan_of(world.after(plan))
    moved = {start.job_id for start in again.starts}
    for entry in plan.reservations:
        record = world.pending[entry.job_id]
        request = record.request
        if len(record.partitions) > 1 or request.gres_total or (request.ntasks and (request.switches or request.segment)):
            continue  # the stated limit of placement: sums over few unequal nodes are met greedily
        later = again.expected_start_s(entry.job_id)
        assert entry.job_id in moved or (later is not None and later <= entry.start_s)


@thorough
@given(worlds, st.integers(0, 1 << 20))
def test_columns_with_topologies_equal_a_rebuild(world, seed):
    random = Random(seed)
    columns = world.columns()
    columns.view(1, NOW_S)
    for number in range(6):
        names = list(world.nodes)
        choice = random.randint(0, 3)
        if choice == 0:
            world.topologies = tuple(draw_topology(random, name, names) for name in random.sample(("ib", "nvlink", "ring"), 2))
            columns.set_topologies(world.topologies)
        elif choice == 1 and f"n{20 + number}" not in world.nodes:
            world.nodes[f"n{20 + number}"] = NodeRecord(f"n{20 + number}", random.choice((-50, 50)) + number, 4, 100)
            columns.upsert_node(world.nodes[f"n{20 + number}"])
        elif choice == 2:
            partition = replace(random.choice(list(world.partitions.values())), topology=random.choice(("ib", "ring", "")))
            world.partitions[partition.name] = partition
            columns.upsert_partition(partition)
        else:
            idle = [name for name in names if name not in {share.node for _, shares in world.running.values() for share in shares}]
            if len(names) > 1 and idle:
                del world.nodes[idle[0]]
                columns.remove_node(idle[0])
        assert canonical(columns.view(number, NOW_S)) == canonical(world.columns().view(number, NOW_S))


def test_the_plan_does_not_depend_on_the_hash_seed():
    here = Path(__file__).parent
    source = Path(sys.modules["penstock"].__file__ or "").parent.parent
    outputs = []
    for seed in ("1", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{source}:{here}"}
        done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=60, check=True)
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count("Start(") > 150


def test_a_view_keeps_its_topology_when_the_columns_change():
    columns = Columns()
    for number in range(4):
        columns.upsert_node(NodeRecord(f"n{number}", number, 4, 100))
    columns.upsert_partition(PartitionRecord("p", tuple(f"n{number}" for number in range(4)), topology="ib"))
    columns.set_topologies((TopologyRecord("ib", "tree", (("leaf", (("a", ("n0", "n1")), ("b", ("n2", "n3")))),)),))
    before = columns.view(1, NOW_S)
    picture = canonical(before)
    columns.set_topologies(())
    columns.upsert_node(NodeRecord("n9", -1, 4, 100))
    assert canonical(before) == picture
    assert canonical(columns.view(2, NOW_S)) != picture
    assert plan_now(before).complete


if __name__ == "__main__":
    for number in range(200):
        print(fingerprint(plan_of(draw_near_world(Random(number)), Budget(reservations=1 + number % 3))))
