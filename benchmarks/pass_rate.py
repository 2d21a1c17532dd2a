"""How often the live controller plans on a busy supercomputer, and what a slower rhythm would cost.

    python benchmarks/pass_rate.py [--nodes N] [--pending N] [--ends N] [--passes N] [--seed N]

10,000 nodes of 8 GPUs are full, 100,000 jobs wait, 500 jobs end a second and as many arrive. The controller plans as soon as something
changed, but rests after a pass as long as the pass took (`controller/planner.py`), so a pass finds what ended in the meantime. With a fixed
interval instead (Slurm's bf_interval) fewer passes find more. A pass is the view, the plan, and the check and start of each placement.

CPU seconds of this process stand for seconds of a controller that has a processor of its own; the idle time of an end is counted to the end
of the pass that could give its GPUs away again.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import sys
import time

from planner_scale import MIXES, Cluster

RESTS = (None, 1.0, 30.0)
"""Seconds between the begins of passes; None: a rest as long as the pass."""
LONG_S = 10.0
"""Of a rhythm this slow FEW passes are enough: each finds thousands of ends."""
FEW = 2
WARM_UP = 2


def fill(cluster: Cluster) -> None:
    while cluster.step().starts:
        pass


def rhythm(cluster: Cluster, ends_per_s: int, interval_s: float | None, passes: int) -> tuple[float, float, float]:
    """Medians: CPU seconds of a pass, seconds between passes, starts of a pass."""
    taken: list[float] = []
    between: list[float] = []
    starts: list[int] = []
    gap_s = interval_s or 0.1
    for _ in range(WARM_UP + passes):
        for _ in range(min(round(ends_per_s * gap_s), len(cluster.ends))):
            cluster.columns.end_running(heapq.heappop(cluster.ends)[1])
        cluster.now_s += max(1, round(gap_s))
        begun_s = time.process_time()
        started = len(cluster.step().starts)
        pass_s = time.process_time() - begun_s
        for _ in range(started):
            cluster.arrive()
        gap_s = max(interval_s or 2 * pass_s, pass_s)
        taken.append(pass_s)
        between.append(gap_s)
        starts.append(started)
    return statistics.median(taken[WARM_UP:]), statistics.median(between[WARM_UP:]), statistics.median(starts[WARM_UP:])


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="how often the live controller plans on a busy supercomputer")
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--pending", type=int, default=100_000)
    parser.add_argument("--ends", type=int, default=500, help="jobs that end in a second")
    parser.add_argument("--passes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    cluster = Cluster(options.nodes, options.pending, options.seed, MIXES["training"])
    fill(cluster)
    print("| passes begin | a pass takes | passes a second | planning's share | starts a pass | an ended job's GPUs wait |")
    print(f"|{' --- |' * 6}")
    for interval_s in RESTS:
        passes = FEW if interval_s is not None and interval_s >= LONG_S else options.passes
        pass_s, gap_s, starts = rhythm(cluster, options.ends, interval_s, passes)
        name = "after a rest as long as the last" if interval_s is None else f"every {interval_s:g} s"
        cells = f"{pass_s * 1000:.0f} ms | {1 / gap_s:.1f} | {pass_s / gap_s:.0%} | {starts:.0f} | {gap_s / 2 + pass_s:.2f} s"
        print(f"| {name} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
