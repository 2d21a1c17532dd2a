"""What a published figure rests on: each assumption that a table leaves open, changed alone.

    python benchmarks/assumptions.py kth curie venus

The tables are made by a simulator of its own: first come first served and EASY on identical processors, strict first come first served
on nodes with GPUs. It shares nothing with the planner but the reader of the Venus log, so it also checks the planner: under the planner's
own rules it must give the planner's figure (the exit code is 1 where it does not). Deterministic; draws are seeded 1 to DRAWS.
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import os
import statistics
import sys
from bisect import insort
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from penstock.core.policies import POLICIES
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.experiment import Experiment
from penstock.sim.workload.limits import limits_by
from penstock.sim.workload.reader import open_trace

TRACES = Path(os.environ.get("PENSTOCK_TRACES", Path(__file__).resolve().parents[2] / "shared" / "traces"))
DRAWS = 20
TAU_S = 10
FOREVER_S = 1 << 60

EASY_COLUMNS = ("EASY", "EASY, clairvoyant", "SJBF", "SJBF, clairvoyant")
VENUS = "helios/venus_gpu_jobs_48hclamp.csv.gz"
VENUS_WINDOW_S = (14_414_455, 16_660_742)
VENUS_FIFO_S = 19_830
"""The mean completion time that is compared with; of 23,859 of the 24,171 jobs, and nobody has said which."""
NODES, GPUS_EACH = 96, 8
LEFT_OUT = 312
LEFT_OUT_MEAN_S, LEFT_OUT_WITHIN_S = 2_449, 100
"""Mean run time of the jobs that the table leaves out: from its mean run time, 8,492 s, and ours, 8,414 s."""
LEFT_OUT_WORK = 0.0014
"""Their share of the work is at most this, as both tables have 676 GPUs' worth of it when rounded."""
LIGHT_GPU_S = 200_000
"""What is drawn from: the share above, spread over LEFT_OUT jobs, is 7,000 GPU-seconds each; a few may be much heavier."""


class Job(NamedTuple):
    submit_s: int
    run_s: int
    limit_s: int
    size: int


def easy(jobs: Sequence[Job], processors: int, shortest_first: bool, all_that_end: bool) -> float:
    """Mean bounded slowdown. At the shadow time more processors may be free than the first job needs, and a job that ends later may take
    those. ``all_that_end``: they are counted after all that end in that second by their limits; else after as many as are enough."""
    ends: list[tuple[int, int]] = []
    by_limit: list[tuple[int, int]] = []
    queue: list[int] = []
    limit_of: dict[int, int] = {}
    free, coming, slowdowns = processors, 0, 0.0

    def start(number: int) -> None:
        nonlocal free, slowdowns
        job = jobs[number]
        run_s = min(job.run_s, job.limit_s)
        free -= job.size
        heapq.heappush(ends, (now_s + run_s, number))
        limit_of[number] = now_s + job.limit_s
        insort(by_limit, (limit_of[number], number))
        slowdowns += max(1.0, (now_s - job.submit_s + run_s) / max(TAU_S, run_s))

    while coming < len(jobs) or ends:
        now_s = min(*(end_s for end_s, _ in ends[:1]), *(job.submit_s for job in jobs[coming : coming + 1]), FOREVER_S)
        while ends and ends[0][0] <= now_s:
            _, number = heapq.heappop(ends)
            by_limit.remove((limit_of.pop(number), number))
            free += jobs[number].size
        while coming < len(jobs) and jobs[coming].submit_s <= now_s:
            queue.append(coming)
            coming += 1
        while queue and jobs[queue[0]].size <= free:
            start(queue.pop(0))
        if len(queue) < 2 or not free:
            continue
        shadow_s, extra = _shadow(jobs, by_limit, jobs[queue[0]].size, free, all_that_end)
        behind = sorted(queue[1:], key=lambda number: (jobs[number].limit_s, number)) if shortest_first else queue[1:]
        begun = set()
        for number in behind:
            size, in_time = jobs[number].size, now_s + jobs[number].limit_s <= shadow_s
            if size <= free and (in_time or size <= extra):
                extra -= 0 if in_time else size
                start(number)
                begun.add(number)
        queue = [number for number in queue if number not in begun]
    return slowdowns / len(jobs)


def _shadow(jobs: Sequence[Job], by_limit: list[tuple[int, int]], size: int, free: int, all_that_end: bool) -> tuple[int, int]:
    at_s = 0
    for limit_s, number in by_limit:
        if free >= size and (limit_s > at_s or not all_that_end):
            break
        free += jobs[number].size
        at_s = limit_s
    return at_s, free - size


class Rule(NamedTuple):
    """Where a job goes. ``prefer(free GPUs, jobs there, node)``: the node with the least of it, of those where the job fits; None: one pool
    of GPUs without nodes. ``split``: jobs larger than a node take equal parts where their size divides, else whole nodes and a rest."""

    prefer: Callable[[int, int, int], tuple[float, ...]] | None
    split: bool = False


def strict_fifo(jobs: Sequence[Job], rule: Rule) -> float:
    """Mean completion time in seconds where nothing overtakes."""
    free, there = [GPUS_EACH] * NODES, [0] * NODES
    pool = NODES * GPUS_EACH
    ends: list[tuple[int, int, list[tuple[int, int]]]] = []
    now_s = completion_s = 0

    def best(gpus: int, count: int) -> list[int]:
        prefer = rule.prefer
        assert prefer is not None
        able = [node for node in range(NODES) if free[node] >= gpus]
        return sorted(able, key=lambda node: prefer(free[node], there[node], node))[:count]

    def place(gpus: int) -> list[tuple[int, int]] | None:
        if rule.prefer is None:
            return [] if gpus <= pool else None
        whole, rest = divmod(gpus, GPUS_EACH)
        count = whole + bool(rest)
        if rest and rule.split and gpus % count == 0:
            nodes = best(gpus // count, count)
            return [(node, gpus // count) for node in nodes] if len(nodes) == count else None
        nodes = best(GPUS_EACH, whole) if whole else []
        if len(nodes) < whole:
            return None
        parts = [(node, GPUS_EACH) for node in nodes]
        if rest:
            left = [node for node in best(rest, NODES) if node not in nodes]
            if not left:
                return None
            parts.append((left[0], rest))
        return parts

    for number, job in enumerate(jobs):
        now_s = max(now_s, job.submit_s)
        while True:
            while ends and ends[0][0] <= now_s:
                _, ended, parts = heapq.heappop(ends)
                pool += jobs[ended].size
                for node, gpus in parts:
                    free[node] += gpus
                    there[node] -= 1
            found = place(job.size)
            if found is not None:
                break
            now_s = ends[0][0]
        pool -= job.size
        for node, gpus in found:
            free[node] -= gpus
            there[node] += 1
        heapq.heappush(ends, (now_s + job.run_s, number, found))
        completion_s += now_s + job.run_s - job.submit_s
    return completion_s / len(jobs)


def by_chance(seed: int) -> Rule:
    random = Random(seed)
    return Rule(lambda free, there, node: (free, random.random()))


PLANNER = Rule(lambda free, there, node: (free, -there, node), split=True)
WHOLE = Rule(lambda free, there, node: (free, -there, node))
BY_NUMBER = Rule(lambda free, there, node: (free, node))
FIRST_FIT = Rule(lambda free, there, node: (node,))
WORST_FIT = Rule(lambda free, there, node: (-free, node))
POOL = Rule(None)


class EasyTable(NamedTuple):
    """``compared`` in the order of EASY_COLUMNS; ``sizes`` are columns of SWF."""

    title: str
    log: str
    compared: tuple[float, float, float, float]
    processors: dict[int, str]
    sizes: dict[int, str]


KTH = EasyTable("KTH-SP2", "pwa/KTH-SP2-filtered-sc15.swf.gz", (92.77, 71.83, 71.12, 49.91), {100: "as the header says"}, {7: "asked for"})
CURIE = EasyTable(
    "CEA-Curie",
    "pwa/CEA-curie-sample.swf.gz",
    (4.95, 3.12, 3.83, 1.58),
    {93_312: "as the header says", 80_640: "the thin nodes", 77_248: "the largest job"},
    {7: "asked for", 4: "allocated"},
)


def backfilled(table: EasyTable) -> int:
    with gzip.open(TRACES / table.log, "rt") as file:
        rows = [[int(field) for field in line.split()] for line in file if not line.startswith(";")]
    print(f"\n{table.title}, {len(rows):,} jobs: mean bounded slowdown (difference from the table that is compared with)\n")
    print(f"| processors | size of a job | at the shadow time | {' | '.join(EASY_COLUMNS)} |\n|" + " --- |" * (3 + len(EASY_COLUMNS)))
    for processors, why in table.processors.items():
        for column, size in table.sizes.items():
            for all_that_end, counted in ((True, "all that end"), (False, "as many as needed")):
                cells = []
                for name, compared in zip(EASY_COLUMNS, table.compared, strict=True):
                    oracle = "clairvoyant" in name
                    jobs = [Job(row[1], row[3], max(1, row[3]) if oracle else row[8], row[column]) for row in rows]
                    value = easy(jobs, processors, "SJBF" in name, all_that_end)
                    cells.append(f"{value:.2f} ({100 * (value / compared - 1):+.1f} %)")
                print(f"| {processors:,}, {why} | {size} | {counted} | {' | '.join(cells)} |", flush=True)
    return 0


def venus() -> int:
    with open_trace(str(TRACES / VENUS), from_s=VENUS_WINDOW_S[0], until_s=VENUS_WINDOW_S[1]) as log:
        of_log = list(log)
    jobs = [Job(job.submit_s, job.run_s, job.run_s, job.gpus) for job in of_log]
    print(f"\nVenus, September 2020, strict FIFO on {NODES} nodes of {GPUS_EACH} GPUs: mean completion time\n")
    print(f"| changed alone | s | from {VENUS_FIFO_S:,} |\n| --- | --- | --- |")

    def say(what: str, values: Sequence[float]) -> None:
        mean = statistics.mean(values)
        spread = f" (deviation {statistics.stdev(values):,.0f}, {min(values):,.0f} to {max(values):,.0f})" if len(values) > 1 else ""
        print(f"| {what} | {mean:,.0f}{spread} | {100 * (mean / VENUS_FIFO_S - 1):+.1f} % |", flush=True)

    planner = Experiment(parse_cluster(f"{NODES}*n[gpu:{GPUS_EACH}]"), POLICIES["fifo"], limits_by("oracle", 0, 0)).run(iter(of_log))
    theirs = planner.summary().jct_s.mean
    ours = strict_fifo(jobs, PLANNER)
    say("the planner", [theirs])
    say("this simulator, the planner's rules", [ours])
    draws = [Random(seed) for seed in range(1, DRAWS + 1)]
    say(
        f"one job left out, any of {len(jobs):,} ({DRAWS} draws)",
        [strict_fifo(_without(jobs, [r.randrange(len(jobs))]), PLANNER) for r in draws],
    )
    say("the two jobs of 14 GPUs take 8 and 6, not 7 and 7", [strict_fifo(jobs, WHOLE)])
    say("and equal nodes by number, not the one with more jobs first", [strict_fifo(jobs, BY_NUMBER)])
    say(f"and equal nodes by chance ({DRAWS} draws)", [strict_fifo(jobs, by_chance(seed)) for seed in range(1, DRAWS + 1)])
    say("first fit in place of best fit", [strict_fifo(jobs, FIRST_FIT)])
    say("worst fit", [strict_fifo(jobs, WORST_FIT)])
    say("one pool of 768 GPUs, no nodes", [strict_fifo(jobs, POOL)])
    for order, sign in (("small", 1), ("large", -1)):
        ordered = [jobs[at] for _, _, at in sorted((job.submit_s, sign * job.size, at) for at, job in enumerate(jobs))]
        say(f"jobs of one second: {order} ones first", [strict_fifo(ordered, PLANNER)])
    for what, rule in (("the planner's rules", PLANNER), ("equal nodes by number, 8 and 6", BY_NUMBER)):
        values = [strict_fifo(_without(jobs, _light(jobs, Random(seed))), rule) for seed in range(1, DRAWS + 1)]
        say(f"{LEFT_OUT} light jobs left out, as the table did ({DRAWS} draws), {what}", values)
    return int(abs(ours - theirs) > 1e-6)


def _without(jobs: Sequence[Job], numbers: Sequence[int]) -> list[Job]:
    gone = set(numbers)
    return [job for number, job in enumerate(jobs) if number not in gone]


def _light(jobs: Sequence[Job], random: Random) -> list[int]:
    """Numbers of jobs that could be those left out: their mean run time and their share of the work are as the tables say."""
    light = [number for number, job in enumerate(jobs) if job.run_s * job.size < LIGHT_GPU_S]
    work = sum(job.run_s * job.size for job in jobs)
    while True:
        drawn = random.sample(light, LEFT_OUT)
        mean_s = statistics.mean(jobs[number].run_s for number in drawn)
        share = sum(jobs[number].run_s * jobs[number].size for number in drawn) / work
        if abs(mean_s - LEFT_OUT_MEAN_S) <= LEFT_OUT_WITHIN_S and share <= LEFT_OUT_WORK:
            return drawn


def main(argv: list[str]) -> int:
    tables: dict[str, Callable[[], int]] = {"kth": partial(backfilled, KTH), "curie": partial(backfilled, CURIE), "venus": venus}
    parser = argparse.ArgumentParser(description="what published figures rest on: each assumption changed alone")
    parser.add_argument("tables", nargs="*", default=[*tables], choices=[*tables], metavar="TABLE", help="kth, curie, venus (default all)")
    return max(tables[name]() for name in parser.parse_args(argv).tables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
