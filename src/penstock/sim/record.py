"""What a picture of an experiment needs, in bounded memory whatever the length of the log.

Series: time averages in at most BUCKETS buckets, whose width doubles when the time outgrows them. Bars: where and when each job ran, lane
by lane (a lane is one device of one node); when there are twice BARS_MAX the smallest half is forgotten, which at that scale is too small
to be seen.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

BUCKETS = 800
FIRST_WIDTH_S = 64
BARS_MAX = 20_000


class Series:
    """A step function of time as averages of ``columns`` values over equal buckets."""

    def __init__(self, columns: int) -> None:
        self.width_s = FIRST_WIDTH_S
        self.begin_s: int | None = None
        self._columns = columns
        self._sums = [[0.0] * columns]
        self._now_s = 0
        self._values: tuple[int, ...] = (0,) * columns

    def step(self, now_s: int, *values: int) -> None:
        """From now on these are the values."""
        if self.begin_s is None:
            self.begin_s = self._now_s = now_s
        at_s = self._now_s
        while at_s < now_s:
            bucket = (at_s - self.begin_s) // self.width_s
            if bucket >= BUCKETS:
                self._double()
                continue
            until_s = min(now_s, self.begin_s + (bucket + 1) * self.width_s)
            while len(self._sums) <= bucket:
                self._sums.append([0.0] * self._columns)
            sums = self._sums[bucket]
            for column, value in enumerate(self._values):
                sums[column] += value * (until_s - at_s)
            at_s = until_s
        self._now_s = now_s
        self._values = values

    def _double(self) -> None:
        sums = self._sums
        if len(sums) % 2:
            sums.append([0.0] * self._columns)
        self._sums = [[a + b for a, b in zip(sums[at], sums[at + 1], strict=True)] for at in range(0, len(sums), 2)]
        self.width_s *= 2

    def averages(self, column: int) -> list[float]:
        lasted_s = [self.width_s] * len(self._sums)
        if self.begin_s is not None and self._now_s > self.begin_s:
            lasted_s[-1] = (self._now_s - self.begin_s - 1) % self.width_s + 1
        return [sums[column] / seconds for sums, seconds in zip(self._sums, lasted_s, strict=True)]


class Bar(NamedTuple):
    """A job on ``lanes`` neighbouring lanes from ``lane`` on."""

    area: int
    lane: int
    lanes: int
    start_s: int
    end_s: int
    user: int
    job_id: int


class Bars:
    """Gives each part of a job the lowest free lanes of its node."""

    def __init__(self, lanes: list[int]) -> None:
        self.first: list[int] = []
        """The first lane of each node."""
        self._free: list[list[int]] = []
        total = 0
        for count in lanes:
            self.first.append(total)
            self._free.append(list(range(total, total + count)))
            total += count
        self.lanes = total
        self.bars: list[Bar] = []
        self.forgotten = 0
        self._held: dict[int, list[tuple[int, list[int]]]] = {}

    def start(self, job_id: int, parts: list[tuple[int, int]]) -> None:
        """``parts`` are (node, devices on it)."""
        self._held[job_id] = [(node, [heapq.heappop(self._free[node]) for _ in range(count)]) for node, count in parts]

    def end(self, job_id: int, start_s: int, end_s: int, user: int) -> None:
        for node, lanes in self._held.pop(job_id):
            lanes.sort()
            first = 0
            for at in range(1, len(lanes) + 1):
                if at == len(lanes) or lanes[at] != lanes[at - 1] + 1:
                    count = at - first
                    self.bars.append(Bar(count * (end_s - start_s), lanes[first], count, start_s, end_s, user, job_id))
                    first = at
            for lane in lanes:
                heapq.heappush(self._free[node], lane)
        if len(self.bars) > 2 * BARS_MAX:
            self.trim()

    def trim(self) -> list[Bar]:
        """At most BARS_MAX bars, the largest, in order of their starts."""
        if len(self.bars) > BARS_MAX:
            self.bars.sort(reverse=True)
            self.forgotten += len(self.bars) - BARS_MAX
            del self.bars[BARS_MAX:]
        return sorted(self.bars, key=lambda bar: (bar.start_s, bar.lane))


class Recorder:
    """Told by the experiment."""

    def __init__(self, lanes: list[int]) -> None:
        self.series = Series(2)
        """Waiting jobs, devices in use."""
        self.bars = Bars(lanes)
