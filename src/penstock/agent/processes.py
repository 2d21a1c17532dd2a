"""Finding and ending the processes of a run, through /proc.

While its shepherd lives, every process of a run descends from it: the shepherd is a child subreaper, so that what forks away comes back to
it. Once a shepherd was killed, its orphans are found by their v2 cgroup, by the berth's name in the environment that they were started
with, and by the launcher, which is a subreaper too. Nothing here trusts a process group or a session alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36
ROUND_S = 0.02
"""Pause between two rounds of killing."""
UNKILLABLE_S = 60
"""Processes that survive SIGKILL this long (in uninterruptible sleep) are reported and left."""
BERTH_VARIABLE = "PENSTOCK_BERTH"
"""Environment variable that names the shepherd's berth in every process of a run."""


def become_subreaper() -> None:
    """Adopt the orphans of our descendants. OSError if the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def in_groups(groups: tuple[str, ...]) -> list[str] | None:
    """The processes of these cgroups, as names below /proc; None where there is no group or one cannot be read. Costs what a run has
    processes, where `table` alone costs what the machine has (10 ms with 200)."""
    found: list[str] = []
    for group in groups:
        try:
            with open(f"{group}/cgroup.procs", encoding="ascii") as file:
                found += file.read().split()
        except OSError:
            return None
    return found if groups else None


def table(names: list[str] | None = None) -> dict[int, tuple[int, int, str]]:
    """pid → (parent, session, state) of `names`, else of every process that can be seen; zombies (state Z) included."""
    found: dict[int, tuple[int, int, str]] = {}
    for name in os.listdir("/proc") if names is None else names:
        if not name.isdecimal():
            continue
        try:
            fd = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue
        try:
            raw = os.read(fd, 1024)
        except OSError:
            continue
        finally:
            os.close(fd)
        fields = raw[raw.rfind(b")") + 2 :].split(b" ", 4)
        found[int(name)] = (int(fields[1]), int(fields[3]), fields[0].decode())
    return found


def descendants(roots: list[int], processes: dict[int, tuple[int, int, str]] | None = None) -> list[int]:
    """The living processes below `roots`, without the roots, parents before children."""
    if processes is None:
        processes = table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, state) in processes.items():
        if state not in "ZX":
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = list(roots)
    while queue:
        below = children.pop(queue.pop(), ())
        found += below
        queue += below
    return found


def kill_each(pids: list[int], number: int) -> int:
    """Send a signal to each; how many there were to take it."""
    sent = 0
    for pid in pids:
        try:
            os.kill(pid, number)
            sent += 1
        except (ProcessLookupError, PermissionError):
            pass
    return sent


def read_environment(pid: int) -> bytes:
    """The environment that a process was started with; empty if it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def with_variable(name: str, value: str) -> list[int]:
    """Living processes that were started with NAME=value."""
    needle = b"\0" + f"{name}={value}".encode() + b"\0"
    own = os.getpid()
    return [
        pid
        for pid, (_, _, state) in table().items()
        if pid != own and state not in "ZX" and needle in b"\0" + read_environment(pid) + b"\0"
    ]


def kill_orphans(berth: str, cgroups: tuple[str, ...]) -> list[int]:
    """Kill what a dead shepherd left, until nothing is found any more; the pids that could not be killed within UNKILLABLE_S.

    `cgroups`: the folders of the run's groups; their processes are killed too.
    """
    give_up = time.monotonic() + UNKILLABLE_S
    while True:
        found = set(with_variable(BERTH_VARIABLE, berth))
        for group in cgroups:
            found.update(members(group))
        if not found or time.monotonic() >= give_up:
            return sorted(found)
        # The descendants too: one of them may have cleaned its environment.
        found.update(descendants(list(found)))
        kill_each(sorted(found), signal.SIGKILL)
        time.sleep(ROUND_S)


def members(group: str) -> list[int]:
    """The living processes of a cgroup; zombies that nobody reaps do not count."""
    try:
        with open(f"{group}/cgroup.procs", encoding="ascii") as file:
            pids = [int(line) for line in file]
    except OSError:
        return []
    if not pids:
        return []
    processes = table()
    return [pid for pid in pids if pid in processes and processes[pid][2] not in "ZX"]


def resident_kib(pids: list[int]) -> int:
    """Resident memory of these processes together, shared pages counted in each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total += int(file.read().split(b" ", 2)[1])
        except (OSError, IndexError, ValueError):
            continue
    return total * os.sysconf("SC_PAGESIZE") // 1024
