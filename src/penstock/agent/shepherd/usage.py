"""What processes consumed: from wait4 for those that ended, from /proc for those that run.

The kernel's ru_maxrss of a child also counts what it had in memory before exec, as a copy of the shepherd (11 MB): a peak that is not
above the shepherd's own is therefore not the user's, and samples are taken for it instead.
"""

from __future__ import annotations

import os
import resource

from penstock.agent import processes
from penstock.wire.messages import Usage

TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """Sums of a batch script or of a step's tasks on this node."""

    __slots__ = ("_system_us", "_user_us", "disk_read", "disk_write", "peak_kib", "vmsize_kib")

    def __init__(self) -> None:
        self._user_us = 0
        self._system_us = 0
        self.peak_kib = 0
        self.vmsize_kib = 0
        self.disk_read = 0
        self.disk_write = 0

    def add(self, rusage: resource.struct_rusage) -> None:
        """A process was reaped (with what it waited for itself)."""
        self._user_us += int(rusage.ru_utime * 1_000_000)
        self._system_us += int(rusage.ru_stime * 1_000_000)
        self.disk_read += rusage.ru_inblock * 512
        self.disk_write += rusage.ru_oublock * 512
        if rusage.ru_maxrss > _own_peak_kib():
            self.peak_kib = max(self.peak_kib, rusage.ru_maxrss)

    def sample(self, pids: list[int]) -> None:
        """Look at the living processes."""
        if pids:
            self.peak_kib = max(self.peak_kib, processes.resident_kib(pids))
            self.vmsize_kib = max(self.vmsize_kib, _vmsize_kib(pids))

    def settle(self, group_peak_kib: int) -> None:
        """At the end: processes that were too small and too quick for any other way had at most what their control group had (0: unknown),
        page cache included, and no more than we have."""
        if not self.peak_kib:
            self.peak_kib = min(group_peak_kib, _own_peak_kib())

    def usage(self) -> Usage:
        return Usage(self._user_us, self._system_us, self.peak_kib, self.vmsize_kib, self.disk_read, self.disk_write)

    def now(self, pids: list[int]) -> Usage:
        """With what the living have used so far."""
        self.sample(pids)
        user_us = system_us = 0
        for pid in pids:
            user, system = _cpu_ticks(pid)
            user_us += user * 1_000_000 // TICKS
            system_us += system * 1_000_000 // TICKS
        return Usage(self._user_us + user_us, self._system_us + system_us, self.peak_kib, self.vmsize_kib, self.disk_read, self.disk_write)


def _own_peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _cpu_ticks(pid: int) -> tuple[int, int]:
    """User and system time of a process and of the children it waited for, in clock ticks."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
        return int(fields[11]) + int(fields[13]), int(fields[12]) + int(fields[14])
    except (OSError, IndexError, ValueError):
        return 0, 0


def _vmsize_kib(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total += int(file.read().split(b" ", 1)[0])
        except (OSError, ValueError):
            continue
    return total * os.sysconf("SC_PAGESIZE") // 1024
