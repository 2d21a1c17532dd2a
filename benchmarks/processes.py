"""Starting programs and measuring them: wall time and CPU of one run, loops of clients, memory of a set of processes.

CPU is what the kernel says of the finished child (user plus system, os.wait4), so it does not contain this program's own work.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02
WAIT_LIMIT_S = 900
"""No row waits longer than this for anything; the row then fails and says for what it waited."""


class Failed(Exception):
    """A row could not be measured; the text says why."""


class NotYet(Exception):
    """The system has no such feature; the text names it."""


@dataclass(frozen=True)
class Run:
    """One finished program."""

    wall_s: float
    cpu_s: float
    code: int


def run_once(arguments: Sequence[str], environment: dict[str, str], cwd: Path) -> Run:
    """Runs a program with its output thrown away; the wall time goes from before its creation to after its end."""
    path = arguments[0] if "/" in arguments[0] else which(arguments[0], environment)
    null = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]
    before = os.getcwd()
    os.chdir(cwd)
    try:
        began = time.perf_counter()
        pid = os.posix_spawn(path, list(arguments), environment, file_actions=null)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - began
    finally:
        os.chdir(before)
    return Run(wall, usage.ru_utime + usage.ru_stime, os.waitstatus_to_exitcode(status))


def which(name: str, environment: dict[str, str]) -> str:
    for folder in environment["PATH"].split(":"):
        if os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    raise NotYet(f"there is no command {name}")


def wait_until(what: str, true: Callable[[], bool], limit_s: float = WAIT_LIMIT_S, poll_s: float = POLL_S) -> float:
    """Waits for a condition; returns the time.perf_counter() at which it was first seen true. Raises Failed at the limit."""
    end = time.perf_counter() + limit_s
    while not true():
        if time.perf_counter() > end:
            raise Failed(f"gave up after {limit_s:.0f} s waiting for {what}")
        time.sleep(poll_s)
    return time.perf_counter()


def start_loops(clients: int, each: int, command: str, environment: dict[str, str], cwd: Path) -> list[subprocess.Popen[bytes]]:
    """Starts `clients` shells, each of which runs the shell text `command` `each` times, one after the other; its $n counts from 1.

    Output of client k goes to cwd/client-k.out, errors to cwd/client-k.err.
    """
    loop = f"n=1; while [ $n -le {each} ]; do {command}; n=$((n + 1)); done"
    started = []
    for k in range(clients):
        with (cwd / f"client-{k}.out").open("wb") as out, (cwd / f"client-{k}.err").open("wb") as err:
            started.append(
                subprocess.Popen(["/bin/sh", "-c", loop], env=environment, cwd=cwd, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
            )
    return started


def run_loops(clients: int, each: int, command: str, environment: dict[str, str], cwd: Path) -> float:
    """start_loops and wait for all; the wall time in seconds."""
    began = time.perf_counter()
    for client in start_loops(clients, each, command, environment, cwd):
        client.wait(WAIT_LIMIT_S)
    return time.perf_counter() - began


def client_lines(cwd: Path, clients: int) -> list[str]:
    """What the clients of a loop printed, client by client."""
    return [line for k in range(clients) for line in (cwd / f"client-{k}.out").read_text().splitlines()]


def client_errors(cwd: Path, clients: int) -> str:
    """The first line of error that a client of a loop printed, or nothing."""
    for k in range(clients):
        for line in (cwd / f"client-{k}.err").read_text().splitlines():
            return line
    return ""


def pss_mib(pids: Sequence[int]) -> float:
    """Proportional set size of these processes together, in MiB: shared pages are counted once, divided among their users."""
    kib = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib / 1024


def descendants(pid: int) -> list[int]:
    """The process and all its living descendants."""
    found = [pid]
    for parent in found:
        try:
            found += [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
        except OSError:
            continue
    return found
