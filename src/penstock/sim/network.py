"""Connections: two ordered streams of messages that may be slow, and may be cut at any point.

Within a connection nothing overtakes and nothing is lost but at its end: when it is cut, each direction still delivers some of what was
on its way, then tells its end. A process that died says nothing more, but what it had written is still read by the other side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from penstock.sim.timeline import Timeline

MAX_IN_FLIGHT = 10_000
"""Messages on one connection; more is a runaway sender, and an error of the simulated program."""


class End:
    """One side of a connection: what it hears, and what it says."""

    __slots__ = ("_arrivals", "_closed", "_heard", "_link", "_over", "other", "token")

    def __init__(self, link: Link, heard: Callable[[Any], None], closed: Callable[[], None]) -> None:
        self._link = link
        self._heard = heard
        self._closed = closed
        self._over = False
        self._arrivals: deque[tuple[int, Any]] = deque()
        """On the way to this end."""
        self.other: End
        self.token: object = None

    @property
    def open(self) -> bool:
        return not self._over and self._link.open

    def send(self, message: Any) -> None:
        """To the other side; lost silently when the connection is over."""
        if self.open:
            self.other._expect(message)

    def _expect(self, message: Any) -> None:
        timeline = self._link.timeline
        arrivals = self._arrivals
        at_ms = timeline.now_ms + timeline.between(*self._link.latency_ms)
        if arrivals:
            at_ms = max(at_ms, arrivals[-1][0])
        arrivals.append((at_ms, message))
        if len(arrivals) > MAX_IN_FLIGHT:
            raise OverflowError(f"{len(arrivals)} messages wait on one connection")
        timeline.at(at_ms, self._arrive)

    def _arrive(self) -> None:
        if self._arrivals and not self._over:
            at_ms, message = self._arrivals[0]
            if at_ms <= self._link.timeline.now_ms:
                self._arrivals.popleft()
                self._heard(message)

    def steal(self, wanted: Callable[[Any], bool]) -> list[Any]:
        """Take out of the stream what is on its way to this end and wanted."""
        taken = [message for _, message in self._arrivals if wanted(message)]
        if taken:
            self._arrivals = deque(item for item in self._arrivals if item[1] not in taken)
        return taken

    def die(self) -> None:
        """This side's process is gone, or closes at once: it hears nothing more; what it wrote is still read."""
        if not self._over:
            self._over = True
            self._arrivals.clear()
            self._link.close(lost=False, spare=self)

    def _end(self, lost: bool, silent_ms: int) -> None:
        """The stream to this end is over: some of what was on its way arrives, then the end is noticed."""
        if self._over:
            return
        timeline = self._link.timeline
        if lost:
            for _ in range(timeline.random.randint(0, len(self._arrivals))):
                self._arrivals.pop()
        at_ms = self._arrivals[-1][0] if self._arrivals else timeline.now_ms
        timeline.at(at_ms + silent_ms, self._finish)

    def _finish(self) -> None:
        if not self._over:
            self._over = True
            self._arrivals.clear()
            self._closed()


class Link:
    """A connection between two ends."""

    __slots__ = ("latency_ms", "left", "open", "right", "timeline")

    def __init__(
        self,
        timeline: Timeline,
        latency_ms: tuple[int, int],
        left: tuple[Callable[[Any], None], Callable[[], None]],
        right: tuple[Callable[[Any], None], Callable[[], None]],
    ) -> None:
        self.timeline = timeline
        self.latency_ms = latency_ms
        self.open = True
        self.left, self.right = End(self, *left), End(self, *right)
        self.left.other, self.right.other = self.right, self.left

    def close(self, *, lost: bool, spare: End | None = None, silent_ms: tuple[int, int] = (0, 0)) -> None:
        """Cut it. `lost`: what is on its way may be lost (the network), else it arrives (a process that died). `silent_ms`: how long each
        side may fail to notice."""
        if not self.open:
            return
        self.open = False
        for end, at_most_ms in ((self.left, silent_ms[0]), (self.right, silent_ms[1])):
            if end is not spare:
                end._end(lost, self.timeline.between(0, at_most_ms) if at_most_ms else 0)
