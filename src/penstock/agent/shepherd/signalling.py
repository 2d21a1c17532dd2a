"""Signals to the processes of a run: to whom, and which one follows.

    end       SIGCONT, the signal, and after kill_wait_s SIGKILL, to everything
    suspend   SIGTSTP, and after STOP_AFTER_MS SIGSTOP, to everything; resume: SIGCONT

Guarantees: a later end never moves SIGKILL back; an end takes a suspension's SIGSTOP back. Whoever left the run's process group or session
is reached all the same: processes are found below the shepherd. Times are milliseconds of boot time.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from penstock.agent import processes
from penstock.agent.shepherd.limits import STOP_AFTER_MS

if TYPE_CHECKING:
    from penstock.agent.shepherd.run import Run


class RunSignals:
    def __init__(self, run: Run) -> None:
        self.kill_at_ms: int | None = None
        self.stop_at_ms: int | None = None
        self._run = run

    def deliver(self, number: int, scope: str, step_id: int = 0) -> str:
        """Send one signal; the reason if it cannot be. Scopes: batch (the script), step (one), steps, full (what is no step's), all."""
        run = self._run
        if scope == "batch":
            if not run.batch.going:
                return "there is no batch script on this node"
            processes.kill_each([run.batch.pid], number)
            return ""
        table = processes.table()
        if scope == "step":
            step = run.steps.get(step_id)
            if step is None or step.record is not None:
                return f"step {step_id} does not run on this node"
            step.signal(number, table)
        elif scope == "steps":
            for step in run.going():
                step.signal(number, table)
        elif scope == "full":
            theirs = {pid for step in run.going() for pid in step.tree(table)}
            processes.kill_each([pid for pid in processes.descendants([os.getpid()], table) if pid not in theirs], number)
        elif scope == "all":
            processes.kill_each(processes.descendants([os.getpid()], table), number)
        else:
            return f"unknown scope {scope!r}: steps, batch, full, all or step"
        return ""

    def warn(self, number: int, scope: str) -> None:
        """A signal that a process is to handle. Who does not stand still needs no SIGCONT; with one just before the signal that matters,
        the kernel gives that signal to another thread, and a Python process whose main thread sleeps does not notice it."""
        table = processes.table()
        if any(table[pid][2] == "T" for pid in processes.descendants([os.getpid()], table)):
            self.deliver(signal.SIGCONT, scope)
        self.deliver(number, scope)

    def end(self, number: int, kill_wait_s: int, now_ms: int) -> None:
        self.stop_at_ms = None
        self.deliver(signal.SIGCONT, "all")
        self.deliver(number, "all")
        kill_at_ms = now_ms + kill_wait_s * 1000
        self.kill_at_ms = kill_at_ms if self.kill_at_ms is None else min(self.kill_at_ms, kill_at_ms)

    def suspend(self, now_ms: int) -> None:
        self.deliver(signal.SIGTSTP, "all")
        self.stop_at_ms = now_ms + STOP_AFTER_MS

    def resume(self) -> None:
        self.stop_at_ms = None
        self.deliver(signal.SIGCONT, "all")

    def tick(self, now_ms: int) -> None:
        if self.stop_at_ms is not None and now_ms >= self.stop_at_ms:
            self.stop_at_ms = None
            self.deliver(signal.SIGSTOP, "all")
        if self.kill_at_ms is not None and now_ms >= self.kill_at_ms:
            self.kill_at_ms = None
            self.deliver(signal.SIGKILL, "all")
