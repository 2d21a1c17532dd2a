"""How fast the commands answer: on an empty cluster down to the bare start of a program, and with many pending jobs."""

import threading
from collections.abc import Callable
from dataclasses import replace

from processes import Failed, Run, run_once
from rows import Figure, Measure, Row, at_most, ceiling
from systems import System

STARTS = 30
BARE_ALLOWANCE_MS = 4.0
CPU_LIMIT_MS = 15.0


def best(runs: list[Run]) -> tuple[float, float]:
    """Least wall time and least CPU time of some runs, in ms. Each is the minimum by itself."""
    return 1000 * min(run.wall_s for run in runs), 1000 * min(run.cpu_s for run in runs)


def with_servers(serving: Callable[[], float], arguments: list[str], system: System) -> Run:
    """A run whose CPU contains what the processes that serve the command took for it."""
    before = serving()
    run = run_once(arguments, system.environment, system.work)
    return replace(run, cpu_s=run.cpu_s + serving() - before)


def start_of(*command: str) -> Measure:
    def measure(system: System) -> Figure:
        arguments = list(command)
        if command[0] == "sbatch":
            script = system.work / "held.sh"
            script.write_text("#!/bin/sh\ntrue\n")
            arguments.append(str(script))
        serving = system.serving_cpu()
        runs = [with_servers(serving, arguments, system) for _ in range(STARTS)]
        codes = {run.code for run in runs} - {0}
        if codes:
            raise Failed(f"{' '.join(command)} exited with {sorted(codes)}")
        wall, cpu = best(runs)
        python = system.interpreter()
        if python is None:
            return Figure(wall, f"{cpu:.1f} ms of CPU")
        bare_wall, bare_cpu = best([run_once([python, "-c", "pass"], system.environment, system.work) for _ in range(STARTS)])
        faults = []
        if cpu > CPU_LIMIT_MS:
            faults.append(f"{cpu:.1f} ms of CPU, more than {CPU_LIMIT_MS:.0f}")
        if cpu > bare_cpu + BARE_ALLOWANCE_MS:
            faults.append(f"{cpu - bare_cpu:.1f} ms of CPU above a bare Python, more than {BARE_ALLOWANCE_MS:.0f}")
        return Figure(wall, f"{cpu:.1f} ms of CPU; python -c pass: {bare_wall:.1f} ms, {bare_cpu:.1f} ms of CPU", tuple(faults))

    return measure


def squeue(system: System) -> Figure:
    runs = [run_once(["squeue"], system.environment, system.work) for _ in range(5)]
    if any(run.code for run in runs):
        raise Failed("squeue failed")
    shown = system.active_count()
    return Figure(1000 * sorted(run.wall_s for run in runs)[2], f"{shown} jobs shown, {1000 * runs[0].cpu_s:.0f} ms of CPU in squeue")


def sbatch_p99(system: System) -> Figure:
    """sbatch, one after the other, while another client lists the whole queue again and again and each submission asks for a pass."""
    script = system.work / "more.sh"
    script.write_text("#!/bin/sh\ntrue\n")
    over = threading.Event()
    lists = 0

    def list_queue() -> None:
        nonlocal lists
        while not over.is_set():
            system.run("squeue", "-h")
            lists += 1

    lister = threading.Thread(target=list_queue)
    lister.start()
    try:
        runs = []
        while len(runs) < 300 or lists < 3:
            runs.append(run_once(["sbatch", "--output=/dev/null", str(script)], system.environment, system.work))
            if len(runs) > 5000:
                raise Failed("squeue did not end three times during 5,000 sbatch")
    finally:
        over.set()
        lister.join()
    system.pending += len(runs)
    walls = sorted(1000 * run.wall_s for run in runs)
    refused = sum(run.code != 0 for run in runs)
    evidence = f"{len(runs)} sbatch during {lists} squeue; median {walls[len(walls) // 2]:.1f} ms, longest {walls[-1]:.0f} ms"
    return Figure(walls[len(walls) * 99 // 100], evidence, (f"{refused} sbatch failed",) if refused else ())


def always(*_: object) -> bool:
    """The bar of a command's start is in its faults: CPU at most CPU_LIMIT_MS and at most a bare Python plus BARE_ALLOWANCE_MS."""
    return True


START_BAR = f"CPU ≤ {CPU_LIMIT_MS:.0f} ms, ≤ python -c pass + {BARE_ALLOWANCE_MS:.0f} ms"

ROWS = [
    Row("start-sbatch", f"sbatch --hold, minimum of {STARTS}", "ms", START_BAR, always, start_of("sbatch", "--hold"), repeat=1, digits=1),
    Row("start-squeue", f"squeue, minimum of {STARTS}", "ms", START_BAR, always, start_of("squeue"), repeat=1, digits=1),
    Row("start-sinfo", f"sinfo, minimum of {STARTS}", "ms", START_BAR, always, start_of("sinfo"), repeat=1, digits=1),
    Row(
        "start-scancel",
        f"scancel of a job that is not there, minimum of {STARTS}",
        "ms",
        START_BAR,
        always,
        start_of("scancel", "60000000"),
        repeat=1,
        digits=1,
    ),
]


def pending_rows(small: int, large: int) -> list[Row]:
    return [
        Row("squeue-small", f"squeue with {small:,} pending", "ms", "≤ 1/3 of Slurm", at_most(1 / 3), squeue, pending=small, repeat=1),
        Row("squeue-large", f"squeue with {large:,} pending", "ms", "≤ 1/3 of Slurm", at_most(1 / 3), squeue, pending=large, repeat=1),
        Row(
            "p99", f"p99 of sbatch during passes and squeue of {large:,}", "ms", "≤ 50 ms", ceiling(50), sbatch_p99, pending=large, repeat=1
        ),
    ]
