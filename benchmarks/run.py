"""Measures Penstock and, where one is installed, a real Slurm in turn on the same machine, and prints one table.

    python benchmarks/run.py                          everything (most of the time goes into Slurm's side)
    python benchmarks/run.py --rows array1000,held8   some rows; --list names them
    python benchmarks/run.py --pending 10000          a smaller queue for the rows with many pending jobs
    python benchmarks/run.py --systems penstock       one side only
    python benchmarks/run.py --json figures.json      the figures for a program, too

Needs what a plain `penstock up` needs; for Slurm's side root, an installed Slurm, and PENSTOCK_ORACLE or the oracle beside this repository.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pending
import queries
import submission
import survival
import throughput
from processes import Failed, NotYet
from report import Outcome, print_table
from rows import Figure, Row
from systems import CPUS_A_NODE, Penstock, Slurm, System

SMALL_PENDING = 10_000


def all_rows(large: int) -> list[Row]:
    small = min(SMALL_PENDING, large)
    squeue_small, squeue_large, p99 = queries.pending_rows(small, large)
    memory, restart = survival.pending_rows(large)
    return [
        *throughput.ROWS,
        *submission.ROWS,
        *queries.ROWS,
        *survival.ROWS,
        squeue_small,
        squeue_large,
        memory,
        restart,
        p99,
        *throughput.LIMITS,
    ]


def median(figures: list[Figure]) -> Figure:
    """The middle one by value, with the faults of all and what the others were."""
    ordered = sorted(figures, key=lambda figure: figure.value)
    middle = ordered[(len(ordered) - 1) // 2]
    value = statistics.median(figure.value for figure in figures)
    spread = f"; median of {len(figures)}, {ordered[0].value:.4g} to {ordered[-1].value:.4g}" if len(figures) > 1 else ""
    return Figure(value, middle.evidence + spread, tuple(fault for figure in figures for fault in figure.faults))


def measure(row: Row, system: System, repeat: int) -> Outcome:
    """Brings the cluster into the row's state and measures; a row that fails spoils no other."""
    try:
        figures = []
        for _ in range(min(repeat, row.repeat)):
            if not row.pending or not system.pending or system.pending > row.pending:
                system.fresh()
            if row.pending:
                pending.fill(system, row.pending)
            figures.append(row.measure(system))
        return Outcome(row, system.name, median(figures))
    except NotYet as reason:
        outcome = Outcome(row, system.name, problem=f"not yet: {reason}")
    except Failed as reason:
        outcome = Outcome(row, system.name, problem=f"failed: {reason}")
    except Exception as error:  # noqa: BLE001  a row's surprise belongs into the table, not over it
        outcome = Outcome(row, system.name, problem=f"failed: {type(error).__name__}: {error}")
    system.pending = 0
    return outcome


def measure_all(rows: list[Row], system: System, repeat: int) -> list[Outcome]:
    outcomes = []
    try:
        for row in rows:
            if row.penstock_only and not isinstance(system, Penstock):
                continue
            began = time.monotonic()
            outcome = measure(row, system, repeat)
            outcomes.append(outcome)
            print(
                f"{system.name:<9} {row.key:<14} {outcome.text():>14}   {outcome.explain()}   [{time.monotonic() - began:.0f} s]",
                file=sys.stderr,
            )
    finally:
        system.stop()
    return outcomes


def machine() -> str:
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} CPUs, {memory_gib:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="KEY[,KEY...]", help="only these rows")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    parser.add_argument("--systems", default="slurm,penstock", metavar="NAME[,NAME]")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="repetitions of the short rows; the median counts (default 3)")
    parser.add_argument("--pending", type=int, default=100_000, metavar="N", help="jobs in the large queue (default 100000)")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help=f"nodes of {CPUS_A_NODE} declared CPUs on both sides (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--keep", action="store_true", help="keep the clusters' folders, and say where they are")
    options = parser.parse_args()

    rows = all_rows(options.pending)
    if options.list:
        print("\n".join(f"{row.key:<14} {row.title}" for row in rows))
        return 0
    if options.rows:
        keys = options.rows.split(",")
        unknown = set(keys) - {row.key for row in rows}
        if unknown:
            parser.error(f"no row is called {', '.join(sorted(unknown))}; --list names them")
        rows = [row for row in rows if row.key in keys]

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clusters are stopped on the way out
    folder = Path(tempfile.mkdtemp(prefix="penstock-bench-"))
    known = {"slurm": Slurm(folder / "slurm", options.nodes), "penstock": Penstock(folder / "penstock", options.nodes)}
    notes, outcomes = [], []
    try:
        for name in options.systems.split(","):
            if name not in known:
                parser.error(f"no system is called {name}; there are slurm and penstock")
            reason = known[name].missing()
            if reason:
                notes.append(f"{known[name].name} was not measured: {reason}")
                continue
            limits = [row for row in rows if row in throughput.LIMITS] if name == "penstock" or options.systems == "slurm" else []
            outcomes += measure_all([row for row in rows if row not in throughput.LIMITS] + limits, known[name], options.repeat)
            notes.append(f"{known[name].name} {known[name].version()}, {options.nodes} node(s) of {CPUS_A_NODE} declared CPUs")
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)

    print_table(rows, outcomes, [machine(), *notes])
    if options.json:
        figures = [
            {"key": outcome.row.key, "unit": outcome.row.unit, "system": outcome.system, "problem": outcome.problem} for outcome in outcomes
        ]
        for entry, outcome in zip(figures, outcomes, strict=True):
            entry |= asdict(outcome.figure) if outcome.figure else {}
        options.json.write_text(json.dumps({"machine": machine(), "notes": notes, "figures": figures}, indent=1) + "\n")
    return 1 if any(outcome.figure and outcome.figure.faults for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
