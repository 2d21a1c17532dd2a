"""`python -m penstock.sim --seeds N [--seed S] [-v]`: simulate the whole system, many seeds on all processors, or one again.

Prints totals. A seed that fails prints what rule it broke and its last events; `--seed S` repeats it exactly. Exit status 1 if any failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.sim.simulation import Report

FAILURES_SHOWN = 5
SEEDS_A_TURN = 5


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.sim", description="The whole system, simulated from a seed.")
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="so many seeds (default 1000)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first of them (default 0)")
    parser.add_argument("--seed", type=int, metavar="S", help="only this one, with its last events")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="processes (default: one a processor)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line a seed; with --seed its last events even if it passes")
    options = parser.parse_args(argv)
    seeds = range(options.first, options.first + options.seeds) if options.seed is None else range(options.seed, options.seed + 1)
    begun_s = time.monotonic()
    totals = Totals()
    for report in reports(seeds, options.jobs):
        totals.add(report)
        if options.verbose:
            print(f"seed {report.seed}: {report.events} events, {sum(report.faults.values())} faults, {report.failure or 'passed'}")
        if report.failure and len(totals.failed) <= FAILURES_SHOWN:
            print(f"seed {report.seed} FAILED: {report.failure}", *report.trace, sep="\n")
            print(f"  again: python -m penstock.sim --seed {report.seed}", flush=True)
        elif options.seed is not None and options.verbose:
            print(*report.trace, sep="\n")
    print(totals.text(time.monotonic() - begun_s))
    return 1 if totals.failed else 0


def reports(seeds: range, processes: int) -> Iterator[Report]:
    """The reports of these seeds, in their order."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from penstock.sim.simulation import simulate

    if processes <= 1 or len(seeds) == 1:
        yield from map(simulate, seeds)
        return
    with get_context("fork").Pool(processes) as pool:
        yield from pool.imap(simulate, seeds, chunksize=SEEDS_A_TURN)


class Totals:
    """Sums over the seeds."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failed: list[int] = []
        self.events = 0
        self.fewest_events = self.fewest_faults = 1 << 60
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.events += report.events
        self.counts.update(report.counts)
        self.faults.update(report.faults)
        if report.failure:
            self.failed.append(report.seed)
        else:
            self.fewest_events = min(self.fewest_events, report.events)
            self.fewest_faults = min(self.fewest_faults, sum(report.faults.values()))

    def text(self, wall_s: float) -> str:
        lines = [
            f"{self.seeds} seeds, {self.events} events (at least {self.fewest_events} a seed), {sum(self.faults.values())} faults "
            f"(at least {self.fewest_faults} a seed), in {wall_s:.1f} s: {self.seeds / wall_s:.1f} seeds/s",
            "  " + ", ".join(f"{number} {name}" for name, number in sorted(self.counts.items())),
            *(f"  {number:7} x {name}" for name, number in self.faults.most_common()),
            f"{len(self.failed)} failed" + (f": {', '.join(map(str, self.failed[:20]))}" if self.failed else ""),
        ]
        return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
