"""The processes of a cluster, found by the title that each gives itself: `penstock ROLE --dir DIR ...`."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

ROLES = ("controller", "commands", "agent", "launcher", "shepherd")
STOP_TIMEOUT_S = 15.0
POLL_S = 0.02


class Process(NamedTuple):
    pid: int
    role: str
    words: tuple[str, ...]

    @property
    def node(self) -> str:
        """The node that an agent or a shepherd serves; empty for others."""
        return self.words[self.words.index("--node") + 1] if "--node" in self.words[:-1] else ""


def find(directory: str) -> list[Process]:
    """All of this cluster, by role and pid."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = tuple(file.read().decode("utf-8", "replace").replace("\0", " ").split())
        except OSError:
            continue
        if len(words) >= 4 and words[0] == "penstock" and words[1] in ROLES and "--dir" in words:
            at = words.index("--dir")
            if words[at + 1 : at + 2] == (directory,):
                found.append(Process(int(entry), words[1], words))
    return sorted(found, key=lambda process: (ROLES.index(process.role), process.node, process.pid))


def stop(processes: list[Process], timeout_s: float = STOP_TIMEOUT_S) -> list[Process]:
    """SIGTERM, wait, SIGKILL what is left; returns those that had to be killed."""
    for process in processes:
        _kill(process.pid, signal.SIGTERM)
    deadline_s = time.monotonic() + timeout_s
    left = list(processes)
    while left and time.monotonic() < deadline_s:
        left = [process for process in left if alive(process.pid)]
        if left:
            time.sleep(POLL_S)
    for process in left:
        _kill(process.pid, signal.SIGKILL)
    return left


def alive(pid: int) -> bool:
    """Running, not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
