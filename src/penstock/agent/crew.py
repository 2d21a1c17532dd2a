"""The shepherds of a node: those that are here, those that were asked for, and the runs that wait for one.

Guarantees: a shepherd has one run at a time and only runs of one user; runs get theirs in the order in which they were enlisted; at most
MAX_STARTING shepherds are asked for and not yet here, and one that does not come within FORK_TIMEOUT_MS is no longer counted on; a shepherd
without a run is dismissed after IDLE_SHEPHERD_MS.

Which run waits, and what becomes of it after, is for `reconcile` to know. No clock, no input or output: `commands` is where it appends what
the shell is to do.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

from penstock.agent.events import Command, RunKey, SendShepherd, StartShepherd
from penstock.agent.runs import Run
from penstock.agent.shepherd.protocol import SHEPHERD_PROTOCOL, Announce, Dismiss

FORK_TIMEOUT_MS = 10_000
"""A shepherd that was asked for and has not come by then is asked for again."""
FORK_RETRY_MS = 500
IDLE_SHEPHERD_MS = 30_000
"""A standing shepherd without a run is dismissed after this time."""
MAX_STARTING = 32
"""Shepherds asked for and not yet here."""


class Shepherd:
    """A connected shepherd. `uid` is None until its first run; `run` is the one it owns or still has to forget."""

    __slots__ = ("idle_since_ms", "leaving", "number", "run", "uid")

    def __init__(self, number: int, uid: int | None, now_ms: int) -> None:
        self.number = number
        self.uid = uid
        self.run: RunKey | None = None
        self.idle_since_ms = now_ms
        self.leaving = False

    @property
    def free(self) -> bool:
        return self.run is None and not self.leaving

    def rest(self, now_ms: int) -> None:
        """It has no run any more."""
        self.run = None
        self.idle_since_ms = now_ms


class Crew:
    """`runs` are all that the agent knows; an acknowledged one is no longer among them."""

    def __init__(self, runs: Mapping[RunKey, Run], commands: list[Command]) -> None:
        self.shepherds: dict[int, Shepherd] = {}
        self.fork_error = ""
        """What the launcher said last when it could not start one."""
        self._runs = runs
        self._waiting: collections.deque[Run] = collections.deque()
        self._commands = commands
        self._asked_ms: collections.deque[int] = collections.deque()
        self._ask_after_ms = 0

    def came(self, number: int, announce: Announce, now_ms: int) -> Shepherd:
        """A shepherd connected: one that was asked for, or one that comes back to a new agent with its run."""
        shepherd = self.shepherds[number] = Shepherd(number, announce.uid, now_ms)
        shepherd.run = announce.run
        if announce.run is None:
            if self._asked_ms:
                self._asked_ms.popleft()
            if announce.protocol != SHEPHERD_PROTOCOL:
                self._dismiss(shepherd)
        return shepherd

    def left(self, number: int) -> Shepherd | None:
        """Its connection ended."""
        return self.shepherds.pop(number, None)

    def enlist(self, run: Run) -> None:
        """The run waits for a shepherd until its phase is another."""
        self._waiting.append(run)

    def match(self, now_ms: int) -> list[Run]:
        """Give waiting runs to free shepherds and ask for the shepherds that are missing; returns the runs that have one now."""
        if not self._waiting:
            return []
        free = [shepherd for shepherd in self.shepherds.values() if shepherd.free]
        matched: list[Run] = []
        left: collections.deque[Run] = collections.deque()
        for run in self._waiting:
            if run.phase != "waiting":
                continue
            chosen = _choose(free, run.uid)
            if chosen is None:
                left.append(run)
                continue
            chosen.run = run.key
            chosen.uid = run.uid
            run.phase = "starting"
            run.shepherd = chosen.number
            self._commands.append(SendShepherd(chosen.number, run.assign))
            matched.append(run)
        self._waiting = left
        # A shepherd whose run is acknowledged is about to be free.
        soon = sum(1 for shepherd in self.shepherds.values() if shepherd.run is not None and shepherd.run not in self._runs)
        self._ask_for(len(left) - soon, now_ms)
        return matched

    def _ask_for(self, missing: int, now_ms: int) -> None:
        if now_ms >= self._ask_after_ms:
            for _ in range(min(missing, MAX_STARTING) - len(self._asked_ms)):
                self._asked_ms.append(now_ms)
                self._commands.append(StartShepherd())

    def fork_failed(self, error: str, now_ms: int) -> None:
        if self._asked_ms:
            self._asked_ms.popleft()
        self.fork_error = error
        self._ask_after_ms = now_ms + FORK_RETRY_MS

    def tick(self, now_ms: int) -> None:
        while self._asked_ms and now_ms - self._asked_ms[0] >= FORK_TIMEOUT_MS:
            self._asked_ms.popleft()
        for shepherd in self.shepherds.values():
            if shepherd.free and now_ms - shepherd.idle_since_ms >= IDLE_SHEPHERD_MS:
                self._dismiss(shepherd)

    def _dismiss(self, shepherd: Shepherd) -> None:
        shepherd.leaving = True
        self._commands.append(SendShepherd(shepherd.number, Dismiss()))


def _choose(free: list[Shepherd], uid: int) -> Shepherd | None:
    """One for a run of this user, taken off the list: a shepherd that served the user before, else a fresh one."""
    chosen = next((shepherd for shepherd in free if shepherd.uid == uid), None) or next((s for s in free if s.uid is None), None)
    if chosen is not None:
        free.remove(chosen)
    return chosen
