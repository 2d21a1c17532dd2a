"""Virtual time: a heap of things to come, and a short memory of what happened.

Guarantees: equal times happen in the order in which they were asked for, so one seed gives one history; time never goes back. Nothing
here or in any other module of the simulation reads a clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

BEGIN_MS = 1_800_000_000_000
TRACE_LINES = 60
"""The last happenings that a failure shows."""

Action = Callable[..., None]


class Timeline:
    """`now_ms` is true time; a process may have a clock of its own that differs from it."""

    __slots__ = ("_heap", "_number", "events", "now_ms", "random", "trace")

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now_ms = BEGIN_MS
        self.events = 0
        self.trace: deque[tuple[int, str]] = deque(maxlen=TRACE_LINES)
        self._heap: list[tuple[int, int, Action, tuple[Any, ...]]] = []
        self._number = 0

    def at(self, at_ms: int, action: Action, *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._heap, (max(at_ms, self.now_ms), self._number, action, arguments))

    def after(self, delay_ms: int, action: Action, *arguments: Any) -> None:
        self.at(self.now_ms + delay_ms, action, *arguments)

    def step(self) -> bool:
        """The next thing happens; False if nothing is to come."""
        if not self._heap:
            return False
        self.now_ms, _, action, arguments = heapq.heappop(self._heap)
        self.events += 1
        action(*arguments)
        return True

    def note(self, text: str) -> None:
        """A line for the reader of a failure."""
        self.trace.append((self.now_ms - BEGIN_MS, text))

    def between(self, low_ms: int, high_ms: int) -> int:
        """A delay: mostly short, at times long."""
        return low_ms + int((high_ms - low_ms) * self.random.random() ** 3)

    def lines(self) -> list[str]:
        return [f"  {at_ms / 1000:9.3f}  {text}" for at_ms, text in self.trace]
