"""The planner at the size of a supercomputer: bars B6 and B6x. Memory is planner_memory.py's.

    python benchmarks/planner_scale.py [--seed N] [--rows b6,gangs,b6x] [--cycles N] [--mix training|held-out]

b6       5,000 nodes of 8 GPUs below leaf switches of 20, pods of 200 and spines of 1,000; 10,000 mixed jobs wait. A cycle is what the
         controller does: a view, a plan, the check and start of each placement. Between two cycles jobs end and as many arrive as started.
gangs    the same machine, empty; only gangs of 2 to 64 nodes, until nothing more fits: topology-aware placements a second.
b6x      10,000 nodes, 100,000 pending: a cold full pass (the first view and every cycle until the plan is complete), all busy and all idle.

Times are CPU seconds of this one process (time.process_time), one thread. Exit code 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from typing import NamedTuple

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord, TopologyRecord
from penstock.core.cycle import Budget, cycle
from penstock.core.plan import Plan, Share
from penstock.core.request import Request
from penstock.core.view import View

CPUS, MEMORY_MIB, GPUS = 96, 1 << 20, 8
LEAF, POD, SPINE = 20, 200, 1_000
HOUR_S = 3_600
CYCLE_BAR_S = 1.0
PLACEMENTS_BAR = 400
COLD_BAR_S = 3.0
CYCLE_S = 30
"""Between two cycles of b6: so long that dozens of jobs end, so that a cycle has more to do than one event's worth."""


class Mix(NamedTuple):
    """Weights of kinds of jobs: GPUs of jobs of one node, nodes of gangs; hours of time limits."""

    gpus: tuple[tuple[int, int], ...]
    nodes: tuple[tuple[int, int], ...]
    gangs: float
    hours: tuple[float, ...]


MIXES = {
    "training": Mix(
        gpus=((1, 50), (2, 15), (4, 15), (8, 20)),
        nodes=((2, 40), (4, 30), (8, 15), (16, 10), (32, 4), (64, 1)),
        gangs=0.25,
        hours=(0.5, 1, 2, 4, 8, 24, 48),
    ),
    "held-out": Mix(
        gpus=((1, 25), (3, 25), (4, 25), (8, 25)),
        nodes=((2, 20), (3, 20), (6, 20), (12, 20), (50, 20)),
        gangs=0.5,
        hours=(0.25, 3, 6, 12, 72),
    ),
}


def draw(source: random.Random, mix: Mix) -> tuple[Request, int]:
    """One job: what it asks for and its time limit in seconds. A fifth of the gangs insists on a pod or on few leaf switches."""
    limit_s = int(source.choice(mix.hours) * HOUR_S)
    if source.random() >= mix.gangs:
        gpus = source.choices([size for size, _ in mix.gpus], [weight for _, weight in mix.gpus])[0]
        return Request(
            cpus_per_task=gpus * source.choice((4, 8, 12)), memory_per_node_mib=gpus << 16, gres_per_node=(("gpu", gpus),)
        ), limit_s
    nodes = source.choices([size for size, _ in mix.nodes], [weight for _, weight in mix.nodes])[0]
    wish = source.random()
    return Request(
        nodes_min=nodes,
        nodes_max=nodes,
        cpus_per_task=source.choice((64, 96)),
        memory_per_node_mib=source.choice((1 << 18, 1 << 19)),
        gres_per_node=(("gpu", GPUS),),
        level="pod" if wish < 0.1 else "",
        switches=-(-nodes // LEAF) if 0.1 <= wish < 0.2 else 0,
    ), limit_s


def machine(nodes: int) -> Columns:
    columns = Columns()
    names = tuple(f"n{number}" for number in range(nodes))
    levels = tuple(
        (level, tuple((f"{level}{at // size}", names[at : at + size]) for at in range(0, nodes, size)))
        for level, size in (("leaf", LEAF), ("pod", POD), ("spine", SPINE), ("fabric", nodes))
    )
    columns.set_topologies((TopologyRecord("fabric", "tree", levels),))
    for number, name in enumerate(names):
        columns.upsert_node(NodeRecord(name, number, CPUS, MEMORY_MIB, (("gpu:h100", GPUS),)))
    columns.upsert_partition(PartitionRecord("main", names, topology="fabric"))
    return columns


class Cluster:
    """A queue, a clock and what runs. Jobs end at a drawn part of their limit."""

    def __init__(self, nodes: int, pending: int, seed: int, mix: Mix) -> None:
        self.source = random.Random(seed)
        self.mix = mix
        self.columns = machine(nodes)
        self.now_s = HOUR_S
        self.waiting: dict[int, PendingRecord] = {}
        self.ends: list[tuple[int, int]] = []
        self.next_id = 1
        self.starts = self.gangs = 0
        for _ in range(pending):
            self.arrive()

    def arrive(self) -> None:
        request, limit_s = draw(self.source, self.mix)
        record = PendingRecord(self.next_id, request, ("main",), self.source.randrange(1_000), self.next_id, limit_s)
        self.next_id += 1
        self.waiting[record.job_id] = record
        self.columns.upsert_pending(record)

    def step(self) -> Plan:
        """One cycle as the controller makes it."""
        plan = planned(self.columns.view(1, self.now_s))
        for start in plan.starts:
            if self.columns.refusal(start.partition, start.shares) is not None:
                raise AssertionError("the planner gave what is not free")
            record = self.waiting.pop(start.job_id)
            self.columns.remove_pending(start.job_id)
            self.columns.start_running(start.job_id, self.now_s + record.time_limit_s, start.shares)
            heapq.heappush(self.ends, (self.now_s + max(1, int(record.time_limit_s * self.source.random())), start.job_id))
            self.gangs += len(start.shares) > 1
        self.starts += len(plan.starts)
        return plan

    def live(self, seconds: int, arrivals: int) -> None:
        """So much time goes by, jobs end, others arrive."""
        self.now_s += seconds
        while self.ends and self.ends[0][0] <= self.now_s:
            self.columns.end_running(heapq.heappop(self.ends)[1])
        for _ in range(arrivals):
            self.arrive()


def planned(view: View, budget: Budget | None = None) -> Plan:
    passes = cycle(view, budget)
    while True:
        try:
            next(passes)
        except StopIteration as done:
            plan: Plan = done.value
            return plan


def b6(seed: int, mix: Mix, cycles: int) -> list[tuple[str, str, bool]]:
    cluster = Cluster(5_000, 10_000, seed, mix)
    began = time.process_time()
    while not cluster.step().complete:
        pass
    cold_s = time.process_time() - began
    cold_starts = cluster.starts
    times: list[float] = []
    cluster.starts = cluster.gangs = 0
    for _ in range(cycles):
        cluster.live(CYCLE_S, 10_000 - len(cluster.waiting))
        began = time.process_time()
        cluster.step()
        times.append(time.process_time() - began)
    times.sort()
    p99 = times[min(len(times) - 1, len(times) * 99 // 100)]
    return [
        ("5,000 nodes filled from a cold start", f"{cold_starts:,} starts in {cold_s:.2f} s", True),
        (f"{cycles} cycles: p99 (median, longest)", f"{p99:.3f} s ({times[len(times) // 2]:.3f}, {times[-1]:.3f})", p99 < CYCLE_BAR_S),
        ("starts in them, gangs among them", f"{cluster.starts:,}, {cluster.gangs:,} in {sum(times):.1f} s", True),
    ]


def gangs(seed: int, mix: Mix) -> list[tuple[str, str, bool]]:
    cluster = Cluster(5_000, 3_000, seed, mix._replace(gangs=1.0))
    began = time.process_time()
    while not cluster.step().complete:
        pass
    taken_s = time.process_time() - began
    rate = cluster.gangs / taken_s
    return [(f"{cluster.gangs:,} gangs placed on an empty machine", f"{rate:,.0f} placements/s", rate >= PLACEMENTS_BAR)]


def b6x(seed: int, mix: Mix) -> list[tuple[str, str, bool]]:
    rows = []
    for name, busy in (("all busy", True), ("all idle", False)):
        cluster = Cluster(10_000, 100_000, seed, mix)
        for number in range(10_000 if busy else 0):
            share = Share(f"n{number}", 1, CPUS, MEMORY_MIB, (("gpu:h100", GPUS),))
            cluster.columns.start_running(10_000_000 + number, cluster.now_s + 60 + number % 97 * 60, (share,))
        passes = 0
        began = time.process_time()
        complete = False
        while not complete:
            complete = cluster.step().complete
            passes += 1
        taken_s = time.process_time() - began
        text = f"{taken_s:.2f} s ({passes} cycles, {cluster.starts:,} starts, {cluster.gangs:,} of them gangs)"
        rows.append((f"10,000 nodes, 100,000 pending, {name}: cold full pass", text, taken_s < COLD_BAR_S))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", default="b6,gangs,b6x")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--mix", choices=sorted(MIXES), default="training")
    options = parser.parse_args()
    mix = MIXES[options.mix]
    missed = False
    rows = {
        "b6": lambda: b6(options.seed, mix, options.cycles),
        "gangs": lambda: gangs(options.seed, mix),
        "b6x": lambda: b6x(options.seed, mix),
    }
    for row in options.rows.split(","):
        for what, figure, reached in rows[row]():
            print(f"{row:8} {what:60} {figure:50} {'' if reached else 'MISSED'}", flush=True)
            missed |= not reached
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
