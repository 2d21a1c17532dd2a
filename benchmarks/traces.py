"""Published results on public job logs, reproduced with the planner of the live controller.

    python benchmarks/traces.py v1 venus curie         the tables, a row when it is done; exit code 1 where a bar is missed
    python benchmarks/traces.py venus --rows easy      rows whose policy begins so

The logs are found in the folder that PENSTOCK_TRACES names (default ../shared/traces); sources and licences are in docs/results.md.
Every number is deterministic: the same log, policy and commit give the same table; the seed matters for modal limits alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from penstock.core.policies import POLICIES
from penstock.sim.clusterspec import parse_cluster
from penstock.sim.experiment import Experiment
from penstock.sim.metrics import Summary
from penstock.sim.workload.limits import limits_by
from penstock.sim.workload.reader import open_trace

TRACES = Path(os.environ.get("PENSTOCK_TRACES", Path(__file__).resolve().parents[2] / "shared" / "traces"))
SEED = 1
DAY_S = 86_400


class Row(NamedTuple):
    """``published`` figures by name; ``bar`` is the greatest difference from the one that counts (BARRED), 0: for comparison only."""

    policy: str
    limits: str
    published: dict[str, float]
    bar: float = 0.0
    keep: int = 0
    """Only so many of the jobs, drawn at random; 0: all."""
    seed: int = 1


class Table(NamedTuple):
    title: str
    log: str
    cluster: str
    window_s: tuple[int, int]
    max_s: int
    figures: tuple[str, ...]
    rows: tuple[Row, ...]


def bsld(value: float) -> dict[str, float]:
    return {"AVEbsld": value}


def venus(jct_s: float, wait_s: float, slowdown: float, p99_s: float, idle_h: float) -> dict[str, float]:
    return {"JCT s": jct_s, "wait s": wait_s, "AVEbsld": slowdown, "wait p99 s": p99_s, "idle h": idle_h}


TABLES = {
    "v1": Table(
        "KTH-SP2, 100 processors; published: Gaussier, Glesser, Reis, Trystram, SC 2015, Table 1",
        "pwa/KTH-SP2-filtered-sc15.swf.gz",
        "1*sp2[cpu:100]",
        (0, 0),
        0,
        ("AVEbsld", "wait s", "wait p99 s", "utilisation"),
        (
            Row("easy", "log", bsld(92.6), 0.01),
            Row("easy", "oracle", bsld(71.7), 0.01),
            Row("easy++", "log", bsld(63.5), 0.01),
            Row("easy-sjbf", "log", bsld(71.12)),
            Row("easy-sjbf", "oracle", bsld(49.91)),
            Row("fifo", "log", {}),
            Row("greedy", "log", {}),
            Row("conservative", "log", {}),
            Row("slurm", "log", {}),
        ),
    ),
    "curie": Table(
        "CEA-Curie, 3 weeks, 93,312 processors as its header says: held out, nothing was tuned on it",
        "pwa/CEA-curie-sample.swf.gz",
        "1*curie[cpu:93312]",
        (0, 0),
        0,
        ("AVEbsld", "wait s", "wait p99 s", "utilisation"),
        (
            Row("easy", "log", bsld(4.95)),
            Row("easy", "oracle", bsld(3.12)),
            Row("easy-sjbf", "log", bsld(3.83)),
            Row("easy-sjbf", "oracle", bsld(1.58)),
            Row("easy++", "log", bsld(2.14)),
            Row("slurm", "log", {}),
        ),
    ),
    "venus": Table(
        "Helios Venus, September 2020, pooled, 96 nodes with 8 GPUs; compared with a throw-away simulator's table",
        "helios/venus_gpu_jobs_48hclamp.csv.gz",
        "96*n[gpu:8]",
        (14_414_455, 16_660_742),
        2 * DAY_S,
        ("JCT s", "wait s", "AVEbsld", "wait p99 s", "idle h", "utilisation"),
        (
            Row("fifo", "oracle", venus(19_830, 11_338, 171.8, 42_169, 19_155), 0.02),
            Row("easy", "partition", venus(11_197, 2_705, 59.7, 33_154, 13_537), 0.02),
            Row("easy", "oracle", venus(9_846, 1_354, 33.9, 20_983, 8_700), 0.02),
            Row("sjf", "oracle", venus(9_503, 1_011, 9.4, 22_742, 13_610), 0.02),
            Row("greedy", "oracle", venus(10_083, 1_591, 80.5, 48_592, 14_378)),
            Row("ssf", "oracle", venus(9_174, 682, 18.4, 14_857, 18_484)),
            Row("ssf-easy", "oracle", venus(9_048, 556, 24.4, 17_069, 15_464)),
            Row("aged-sjf", "oracle", venus(9_002, 510, 9.1, 10_352, 8_413)),
            Row("easy-sjbf", "oracle", {}),
            Row("easy", "modal", {}),
            Row("conservative", "partition", {}),
            Row("conservative", "oracle", {}),
            Row("slurm", "partition", {}),
            Row("slurm", "modal", {}),
            Row("slurm", "oracle", {}),
        ),
    ),
}

TABLES["subsets"] = TABLES["venus"]._replace(
    title="The same with 23,859 of the 24,171 jobs, drawn at random: how much strict FIFO depends on which 312 are left out",
    rows=tuple(Row("fifo", "oracle", venus(19_830, 11_338, 171.8, 42_169, 19_155), 0.0, 23_859, seed) for seed in range(1, 6)),
)

BARRED = {"v1": "AVEbsld", "curie": "AVEbsld", "venus": "JCT s", "subsets": "JCT s"}
"""The figure that a bar is about."""


def figures(summary: Summary) -> dict[str, float]:
    return {
        "JCT s": summary.jct_s.mean,
        "wait s": summary.wait_s.mean,
        "wait p99 s": summary.wait_s.p99,
        "AVEbsld": summary.avebsld,
        "idle h": summary.idle_while_pending_h,
        "utilisation": summary.utilisation,
    }


def replay(table: Table, row: Row) -> Summary:
    experiment = Experiment(parse_cluster(table.cluster), POLICIES[row.policy], limits_by(row.limits, table.max_s, SEED))
    with open_trace(str(TRACES / table.log), from_s=table.window_s[0], until_s=table.window_s[1]) as jobs:
        if not row.keep:
            return experiment.run(jobs).summary()
        drawn = list(jobs)
        kept = sorted(Random(row.seed).sample(range(len(drawn)), row.keep))
        return experiment.run(drawn[at] for at in kept).summary()


def cell(name: str, value: float, published: float | None) -> str:
    shown = f"{value:.2f}" if name == "AVEbsld" else f"{value:.1%}" if name == "utilisation" else f"{value:,.0f}"
    return shown if published is None else f"{shown} ({100 * (value / published - 1):+.1f} % of {published:,.10g})"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description="published results on public job logs, reproduced")
    parser.add_argument(
        "tables", nargs="*", default=["v1"], choices=[*TABLES], metavar="TABLE", help=f"of {', '.join(TABLES)} (default v1)"
    )
    parser.add_argument("--rows", default="", help="rows whose policy begins so")
    parser.add_argument("--limits", default="", help="rows with these limits")
    options = parser.parse_args(argv)
    missed = 0
    for name in options.tables:
        table = TABLES[name]
        print(
            f"\n{table.title}\n\n| policy | limits | {' | '.join(table.figures)} | CPU s | |\n|{' --- |' * (len(table.figures) + 4)}",
            flush=True,
        )
        for row in table.rows:
            if not row.policy.startswith(options.rows) or (options.limits and row.limits != options.limits):
                continue
            begun_s = time.process_time()
            found = figures(replay(table, row))
            verdict = ""
            if row.bar:
                reached = abs(found[BARRED[name]] / row.published[BARRED[name]] - 1) <= row.bar
                missed += not reached
                verdict = f"within {row.bar:.0%}" if reached else f"**not within {row.bar:.0%}**"
            cells = " | ".join(cell(figure, found[figure], row.published.get(figure)) for figure in table.figures)
            print(f"| {row.policy} | {row.limits} | {cells} | {time.process_time() - begun_s:.0f} | {verdict} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
