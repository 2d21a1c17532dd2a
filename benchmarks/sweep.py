"""Policies over offered load, with how sure each figure is: what one point of one log cannot tell.

    python benchmarks/sweep.py kth venus [--loads 0.8,0.9,1.0,1.1] [--jobs N]

The times between submissions are divided by the load; run times stay. Intervals hold 95 % of a bootstrap over blocks of days
(``penstock.sim.confidence``), ratios are to EASY on the same drawn days. Deterministic; the CPU seconds are not.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

from traces import TABLES, TRACES

from penstock.core.policies import POLICIES
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.confidence import LEAST_DAYS, Days, Interval, by_day
from penstock.sim.experiment import Experiment
from penstock.sim.workload.limits import limits_by
from penstock.sim.workload.reader import open_trace

SEED = 1


class Sweep(NamedTuple):
    """Of a log of ``traces``: (policy, limits), EASY first."""

    table: str
    rows: tuple[tuple[str, str], ...]


FIXED = ("fifo", "greedy", "conservative", "slurm")
SWEEPS = {
    "kth": Sweep("v1", (("easy", "log"), *((name, "log") for name in (*FIXED, "easy-sjbf", "easy++")), ("easy", "oracle"))),
    "venus": Sweep(
        "venus",
        (("easy", "partition"), *((name, "partition") for name in FIXED), ("easy", "modal"), ("easy", "oracle"), ("aged-sjf", "oracle")),
    ),
}


def measure(sweep: Sweep, policy: str, limits: str, load: float, most: int) -> tuple[Days, float]:
    """The schedule day by day, and the utilisation."""
    table = TABLES[sweep.table]
    experiment = Experiment(parse_cluster(table.cluster), POLICIES[policy], limits_by(limits, table.max_s, SEED))
    begin_s, end_s = table.window_s
    with open_trace(str(TRACES / table.log), from_s=begin_s, until_s=end_s, most=most, load=load) as jobs:
        metrics = experiment.run(jobs)
    return by_day(metrics), metrics.summary().utilisation


def shown(interval: Interval, decimals: int) -> str:
    return f"{interval.value:,.{decimals}f} ({interval.low:,.{decimals}f} to {interval.high:,.{decimals}f})"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="policies over offered load, with intervals")
    parser.add_argument("sweeps", nargs="*", default=["kth"], choices=[*SWEEPS], metavar="LOG", help="kth, venus (default kth)")
    parser.add_argument("--loads", default="0.8,0.9,1.0,1.1", metavar="F[,F]", help="(default %(default)s)")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="only the first N jobs of the log")
    parser.add_argument("--rows", default="", metavar="NAME[,NAME]", help="EASY and the rows of these policies")
    options = parser.parse_args(argv)
    wanted = options.rows.split(",") if options.rows else []
    known = {policy: None for name in options.sweeps for policy, _ in SWEEPS[name].rows}
    if not known.keys() >= set(wanted):
        parser.error(f"--rows {options.rows}: {', '.join(known)} are allowed")
    for name in options.sweeps:
        sweep = SWEEPS[name]
        print(f"\n{TABLES[sweep.table].title}{f', the first {options.jobs:,} jobs' if options.jobs else ''}\n")
        print(
            "| load | policy | limits | use | wait s | AVEbsld | wait, to EASY | AVEbsld, to EASY | CPU s |\n|" + " --- |" * 9, flush=True
        )
        for load in (float(word) for word in options.loads.split(",")):
            easy: Days | None = None
            for policy, limits in sweep.rows:
                if wanted and easy is not None and policy not in wanted:
                    continue
                begun_s = time.process_time()
                days, use = measure(sweep, policy, limits, load, options.jobs)
                means = days.means()
                if not means:
                    raise SystemExit(f"{len(days.jobs)} days are too few for intervals: {LEAST_DAYS} are needed")
                ratios = days.against(easy) if easy is not None else {}
                easy = easy or days
                cells = [shown(means["wait_s"], 0), shown(means["avebsld"], 1)]
                cells += [shown(ratios[figure], 2) if figure in ratios else "" for figure in ("wait_s", "avebsld")]
                seconds = time.process_time() - begun_s
                print(f"| {load:g} | {policy} | {limits} | {use:.1%} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
