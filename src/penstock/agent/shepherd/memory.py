"""Looking at the memory of a run: peaks for its record, and the limit where no control group holds it.

A run is looked at FIRST_SAMPLE_MS after it began, then every SAMPLE_MS; every WATCH_MS where somebody must hold a limit by hand: the job's
where no group can, and always the share of a step that may have less than its job. Guarantees that a step over its share is killed before
its job is, and that a job is killed for memory once.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from penstock.agent import processes

if TYPE_CHECKING:
    from penstock.agent.shepherd.run import Run

FIRST_SAMPLE_MS = 500
SAMPLE_MS = 10_000
WATCH_MS = 1_000
"""This is how soon too much memory is seen where no cgroup limits it."""


class MemoryWatch:
    def __init__(self, run: Run, now_ms: int) -> None:
        self.at_ms = now_ms + FIRST_SAMPLE_MS
        """When it is looked next."""
        self.kills = 0
        """How often the run had more than its limit and was killed for it by hand: at most once."""
        self._run = run

    def tick(self, now_ms: int) -> None:
        if now_ms >= self.at_ms:
            self.at_ms = now_ms + (WATCH_MS if self._by_hand() else SAMPLE_MS)
            self._look()

    def _by_hand(self) -> bool:
        """Somebody must look: no group limits the job's memory, or a step may have less than the job."""
        run = self._run
        limit_mib = run.assign.memory_mib
        job = limit_mib > 0 and not run.groups.limits_memory
        return job or any(0 < step.message.memory_mib < (limit_mib or step.message.memory_mib + 1) for step in run.going())

    def _look(self) -> None:
        run = self._run
        table = processes.table()
        everything = processes.descendants([os.getpid()], table)
        theirs: set[int] = set()
        relieved = False  # a step was killed just now: what the job has without it is seen next time
        for step in run.going():
            pids = step.tree(table)
            step.meter.sample(pids)
            relieved |= step.watch_memory(pids)
            theirs.update(pids)
        run.meter.sample([pid for pid in everything if pid not in theirs])
        limit_kib = run.assign.memory_mib * 1024
        watched = bool(limit_kib) and not (run.groups.limits_memory or self.kills or relieved)
        if watched and processes.resident_kib(everything) > limit_kib:
            self.kills = 1
            for step in run.going():
                step.cause = step.cause or "OutOfMemory"
            processes.kill_each(everything, signal.SIGKILL)
