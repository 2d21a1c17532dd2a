"""Consolidation: what a search for moves costs on large clusters, and how many of the plans that exist it finds on small ones.

    python benchmarks/consolidation.py             both tables
    python benchmarks/consolidation.py --quick     small clusters only

Large: N nodes with 8 GPUs, on each some jobs of 1 and 2 GPUs that may move, and a gang of four whole nodes that waits. Times are
milliseconds of CPU; the longest slice is the longest time between two yields, at which the controller serves others.

Small: 3 to 8 nodes, seeds 0 to 199. Every set of up to MOST_MOVES jobs is tried, by the same test that the search has to pass.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from random import Random

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord
from penstock.core.consolidation import Consolidation, consolidate
from penstock.core.cycle import plan_now
from penstock.core.plan import Share
from penstock.core.request import Request
from penstock.core.statement import Statement, Waiter, waiter_of
from penstock.core.view import View

NOW_S = 10_000
LARGE = (100, 1_000, 5_000)
SMALL_SEEDS = 200
MOST_MOVES = 5


class Cluster:
    """Columns, and how each running job that may move would wait."""

    def __init__(self, nodes: int, gpus: int) -> None:
        self.columns = Columns()
        self.records: dict[int, PendingRecord] = {}
        names = tuple(f"n{at}" for at in range(nodes))
        for at, name in enumerate(names):
            self.columns.upsert_node(NodeRecord(name, at, 64, 1_000, (("gpu", gpus),)))
        self.columns.upsert_partition(PartitionRecord("main", names))

    def run(self, job_id: int, node: str, gpus: int, limit_s: int, movable: bool) -> None:
        self.columns.start_running(job_id, NOW_S + limit_s, (Share(node, 1, 1, 0, (("gpu", gpus),)),))
        if movable:
            self.records[job_id] = PendingRecord(job_id, Request(gres_per_node=(("gpu", gpus),)), ("main",), 1, job_id, limit_s)

    def wait(self, job_id: int, nodes: int, gpus: int, limit_s: int) -> None:
        request = Request(nodes_min=nodes, nodes_max=nodes, gres_per_node=(("gpu", gpus),))
        self.columns.upsert_pending(PendingRecord(job_id, request, ("main",), 1, job_id, limit_s))

    def waiters(self, job_ids: Sequence[int]) -> list[Waiter]:
        chosen = [self.records[job_id] for job_id in job_ids]
        return [waiter_of(record, place) for record, place in zip(chosen, self.columns.places_of(chosen), strict=True)]

    def view(self) -> View:
        return self.columns.view(1, NOW_S)

    def search(self) -> Iterator[object]:
        return consolidate(self.view(), dict.fromkeys(self.records, 600), self.waiters)


def crowded(random: Random, nodes: int, gpus: int, most_jobs: int, movable: float) -> Cluster:
    cluster = Cluster(nodes, gpus)
    number = 0
    for at in range(nodes):
        left = gpus
        for _ in range(random.randint(1, most_jobs)):
            number += 1
            wanted = random.randint(1, gpus // 2)
            if wanted <= left:
                left -= wanted
                cluster.run(number, f"n{at}", wanted, random.randint(1_000, 50_000), random.random() < movable)
    return cluster


def large() -> None:
    print(f"{'nodes':>6} {'running':>8} {'ms':>8} {'longest slice':>14} {'moves':>6}")
    for nodes in LARGE:
        cluster = crowded(Random(nodes), nodes, 8, 4, 0.8)
        cluster.wait(1_000_000, 4, 8, 7_200)
        running = len(set(cluster.view().running.job_id.tolist()))
        work, found = cluster.search(), None
        gc.freeze()  # as the controller does with what it has loaded
        begun_s = last_s = time.process_time()
        longest_s = 0.0
        while True:
            try:
                next(work)
            except StopIteration as done:
                found = done.value
                break
            finally:
                now_s = time.process_time()
                longest_s, last_s = max(longest_s, now_s - last_s), now_s
        moves = len(found.moves) if isinstance(found, Consolidation) else found.why
        spent_ms = 1_000 * (last_s - begun_s)
        print(f"{nodes:6} {running:8} {spent_ms:8.1f} {1_000 * longest_s:14.1f} {moves:>6}")


def exists(cluster: Cluster) -> bool:
    """Whether some set of jobs can move."""
    view = cluster.view()
    before = plan_now(view)
    waiters = cluster.waiters(list(cluster.records))
    for size in range(1, MOST_MOVES + 1):
        for chosen in combinations(waiters, size):
            statement = Statement(view)
            for target in before.reservations:
                row = int((view.pending.job_id == target.job_id).argmax())
                statement.rollback()
                for waiter in chosen:
                    statement.evict(waiter._replace(place=max(waiter.place, row + 1)))
                after = plan_now(statement.view())
                starts = {start.job_id for start in after.starts}
                reserved = {one.job_id: one.start_s for one in reversed(after.reservations)}
                kept = all(one.job_id in starts or reserved.get(one.job_id, one.start_s + 1) <= one.start_s for one in before.reservations)
                if kept and {target.job_id, *(waiter.job_id for waiter in chosen)} <= starts:
                    return True
    return False


def small() -> None:
    found = there = 0
    for seed in range(SMALL_SEEDS):
        random = Random(seed)
        gpus = random.choice((4, 8))
        cluster = crowded(random, random.randint(3, 8), gpus, 3, 0.7)
        for job_id in range(1_000, 1_000 + random.randint(1, 3)):
            cluster.wait(job_id, random.randint(1, 2), random.randint(gpus // 2 + 1, gpus), random.randint(100, 20_000))
        for start in plan_now(cluster.view()).starts:  # what starts anyway has started
            cluster.columns.remove_pending(start.job_id)
            cluster.columns.start_running(start.job_id, NOW_S + 20_000, start.shares)
        work = cluster.search()
        while True:
            try:
                next(work)
            except StopIteration as done:
                finds = isinstance(done.value, Consolidation)
                break
        found += finds
        there += finds or exists(cluster)
    print(f"of {there} random small clusters with a plan of up to {MOST_MOVES} moves, a plan is found on {found}")


if __name__ == "__main__":
    if "--quick" not in sys.argv[1:]:
        large()
    small()
