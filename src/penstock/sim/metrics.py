"""What is measured of an experiment, job by job and instant by instant.

    wait, JCT        start - submission, end - submission; mean, median, p95, p99 (nearest rank) over all jobs that ended
    AVEbsld          mean of max(1, (wait + run) / max(run, 10 s)): bounded slowdown (Feitelson and Rudolph, JSSPP 1998)
    utilisation      device-seconds in use over device-seconds there were, from the first submission to the last end
    idle while pending   device-hours free in instants at which somebody waits (after the pass at that instant)
    fragmentation    share of the free devices that sit on nodes of which others are in use, weighted by time; 0 where nothing was free
    Jain             (sum x)^2 / (n sum x^2) over users, x = mean bounded slowdown of the user's jobs: 1 is equal treatment
    makespan         first submission to last end

Memory: five numbers a job (40 MB for a million), two numbers a user, a bounded number of samples for pictures.
"""

from __future__ import annotations

from array import array
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TAU_S = 10
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Spread:
    mean: float
    median: float
    p95: float
    p99: float
    most: float

    @staticmethod
    def of(values: NDArray[np.int64]) -> Spread:
        if not len(values):
            return Spread(0.0, 0.0, 0.0, 0.0, 0.0)
        ranked = np.sort(values)
        ranks = [float(ranked[max(0, -(-len(ranked) * per_mille // 1000) - 1)]) for per_mille in (500, 950, 990)]
        return Spread(float(ranked.mean()), *ranks, float(ranked[-1]))


class Jobs(NamedTuple):
    """One entry for each job that ended, in order of their ends."""

    submit_s: NDArray[np.int64]
    wait_s: NDArray[np.int64]
    jct_s: NDArray[np.int64]
    slowdown: NDArray[np.float64]
    user: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Times in seconds; ``device`` is GPU or CPU. ``redone_h`` are device-hours of runs that were preempted and began anew; a job's wait
    is all its time but that of its last run."""

    jobs: int
    timeouts: int
    preemptions: int
    redone_h: float
    device: str
    devices: int
    jct_s: Spread
    wait_s: Spread
    avebsld: float
    utilisation: float
    idle_while_pending_h: float
    fragmentation: float
    jain: float
    users: int
    makespan_s: int
    queue_mean: float
    queue_most: int
    passes: int

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Metrics:
    """Told of every end, and of every instant at which something changed."""

    def __init__(self, device: str, devices: int) -> None:
        self.device = device
        self.devices = devices
        self.submit_s, self.start_s, self.end_s, self.size, self.user = (array("q") for _ in range(5))
        self.timeouts = self.preemptions = self.passes = 0
        self._redone = 0
        self.queue_most = 0
        self._first_s: int | None = None
        self._last_s = 0
        self._now: tuple[int, int, int] = (0, 0, 0)
        self._free = self._stranded = self._idle = self._queued = 0
        """Sums over time: free devices, those on broken nodes, those free while somebody waits, waiting jobs."""

    def instant(self, now_s: int, free: int, stranded: int, queued: int) -> None:
        """From now on, until the next instant: free devices, free ones on nodes in use, waiting jobs."""
        if self._first_s is None:
            self._first_s = self._last_s = now_s
        self._until(now_s)
        self._now = (free, stranded, queued)
        self.queue_most = max(self.queue_most, queued)

    def _until(self, now_s: int) -> None:
        lasted_s = now_s - self._last_s
        free, stranded, queued = self._now
        self._free += free * lasted_s
        self._stranded += stranded * lasted_s
        self._queued += queued * lasted_s
        if queued:
            self._idle += free * lasted_s
        self._last_s = now_s

    def ended(self, submit_s: int, start_s: int, end_s: int, size: int, user: int, timeout: bool) -> None:
        for column, value in zip(
            (self.submit_s, self.start_s, self.end_s, self.size, self.user), (submit_s, start_s, end_s, size, user), strict=True
        ):
            column.append(value)
        self.timeouts += timeout

    def moved(self, device_s: int) -> None:
        """A run of so many device-seconds was ended, to begin anew."""
        self.preemptions += 1
        self._redone += device_s

    def jobs(self) -> Jobs:
        submit_s, start_s, end_s, user = (_array(column) for column in (self.submit_s, self.start_s, self.end_s, self.user))
        jct_s = end_s - submit_s
        slowdown = np.maximum(1.0, jct_s / np.maximum(end_s - start_s, TAU_S))
        return Jobs(submit_s, start_s - submit_s, jct_s, slowdown, user)

    def summary(self) -> Summary:
        _, wait_s, jct_s, slowdown, user = self.jobs()
        makespan_s = self._last_s - (self._first_s or 0)
        there = makespan_s * self.devices
        users, place = np.unique(user, return_inverse=True)
        each = np.bincount(place, weights=slowdown) / np.maximum(1, np.bincount(place)) if len(users) else np.ones(1)
        return Summary(
            jobs=len(user),
            timeouts=self.timeouts,
            preemptions=self.preemptions,
            redone_h=self._redone / 3600,
            device=self.device,
            devices=self.devices,
            jct_s=Spread.of(jct_s),
            wait_s=Spread.of(wait_s),
            avebsld=float(slowdown.mean()) if len(user) else 1.0,
            utilisation=1 - self._free / there if there else 0.0,
            idle_while_pending_h=self._idle / HOUR_S,
            fragmentation=self._stranded / self._free if self._free else 0.0,
            jain=float(each.sum() ** 2 / (len(each) * (each**2).sum())),
            users=len(users),
            makespan_s=makespan_s,
            queue_mean=self._queued / makespan_s if makespan_s else 0.0,
            queue_most=self.queue_most,
            passes=self.passes,
        )


def _array(column: array[int]) -> NDArray[np.int64]:
    return np.frombuffer(column, np.int64) if len(column) else np.empty(0, np.int64)
