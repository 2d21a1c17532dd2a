"""What is left after the controller was killed in the middle of a burst of submissions, and how soon it answers again.

A job counts as acknowledged when sbatch has printed its id. Lost is an acknowledged job that the restarted cluster does not know, doubled
an id that was printed twice. The times of the kills come from a fixed seed.
"""

import random
import signal
import time

from pending import memory
from processes import client_lines, start_loops, wait_until
from rows import Figure, Row, at_most, ceiling
from systems import System

CLIENTS = 4
KILLS = 5
BURST_S = 4.0
"""A controller lives for half to one and a half of this before it is killed."""


def kill_burst(system: System) -> Figure:
    (system.work / "held.sh").write_text("#!/bin/sh\ntrue\n")
    dice = random.Random(7)
    # A refused sbatch waits a moment: a client that hammers a dead controller would only measure its own retries.
    command = "[ -e stop ] && exit; sbatch --parsable --hold held.sh || sleep 0.2"
    clients = start_loops(CLIENTS, 1_000_000, command, system.environment, system.work)
    try:
        for _ in range(KILLS):
            time.sleep(BURST_S * (0.5 + dice.random()))
            system.stop_controller(signal.SIGKILL)
            system.start_controller()
        time.sleep(BURST_S / 2)
    finally:
        (system.work / "stop").touch()
        for client in clients:
            client.wait(180)
    printed = [line for line in client_lines(system.work, CLIENTS) if line.isdigit()]
    wait_until("squeue to answer", lambda: system.run("squeue", "-h", check=False).returncode == 0, limit_s=120)
    known = set(system.run("squeue", "-h", "-r", "-o", "%A").stdout.split())
    lost = len(set(printed) - known)
    doubled = len(printed) - len(set(printed))
    evidence = f"{len(printed)} acknowledged, {KILLS} SIGKILLs, {lost} lost, {doubled} ids printed twice"
    return Figure(lost + doubled, evidence)


def restart(system: System) -> Figure:
    """From starting the controller of a stopped cluster to the first answer about a job.

    The stop is an orderly one, in which Slurm saves its state.
    """
    known = int(system.run("squeue", "-h", "-r", "-t", "PD", "-o", "%A").stdout.split()[-1])
    system.stop_controller(signal.SIGTERM)
    began = time.perf_counter()
    system.start_controller()
    answered = system.first_answer(known)
    queued = system.active_count()
    faults = () if queued >= system.pending else (f"{queued} jobs after the start, {system.pending} pending before",)
    return Figure(answered - began, f"{queued} jobs after the start", faults)


def pending_rows(large: int) -> list[Row]:
    title = f"controller-side memory (PSS), {large:,} pending, 5 KB environment each"
    return [
        Row("memory", title, "MiB", "≤ 1/2 of Slurm", at_most(1 / 2), memory, pending=large, repeat=1),
        Row(
            "restart",
            f"start to first answer with {large:,} pending",
            "s",
            "≤ 3 s, aim below Slurm",
            ceiling(3),
            restart,
            pending=large,
            repeat=1,
            digits=2,
        ),
    ]


ROWS = [
    Row("sigkill", f"{KILLS} SIGKILLs in a burst of {CLIENTS} clients: lost or doubled", "jobs", "0", ceiling(0), kill_burst, repeat=1),
]
