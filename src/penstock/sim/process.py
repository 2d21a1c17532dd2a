"""A simulated process: it can be killed, and it can be stopped for a while, as by SIGSTOP or a slow disk.

What reaches a stopped process waits in order and is handled when it goes on. What reaches a dead one is lost.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from penstock.sim.timeline import Action, Timeline


class Process:
    """Base of controller, agent and shepherd."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.alive = True
        self._stopped_until_ms = 0
        self._inbox: deque[tuple[Action, tuple[Any, ...]]] = deque()

    @property
    def going(self) -> bool:
        """Alive, and not stopped."""
        return self.alive and self._stopped_until_ms <= self.timeline.now_ms

    def take(self, action: Action, *arguments: Any) -> None:
        """Something reaches the process: handled now, later, or never."""
        if not self.alive:
            return
        if self._inbox or self._stopped_until_ms > self.timeline.now_ms:
            self._inbox.append((action, arguments))
        else:
            action(*arguments)

    def later(self, delay_ms: int, action: Action, *arguments: Any) -> None:
        """The process's own timer."""
        self.timeline.after(delay_ms, self.take, action, *arguments)

    def stop(self, duration_ms: int) -> None:
        self._stopped_until_ms = max(self._stopped_until_ms, self.timeline.now_ms + duration_ms)
        self._inbox.append((lambda: None, ()))
        self.timeline.at(self._stopped_until_ms, self._go_on)

    def _go_on(self) -> None:
        if self._stopped_until_ms > self.timeline.now_ms:
            return
        while self._inbox and self.alive:
            action, arguments = self._inbox.popleft()
            action(*arguments)
            if self._stopped_until_ms > self.timeline.now_ms:
                return

    def kill(self) -> None:
        self.alive = False
        self._inbox.clear()
