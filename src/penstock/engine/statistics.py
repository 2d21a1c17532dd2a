"""What the controller has done since it started or since the last reset: the counters of `sdiag`.

Volatile by design, like `Notes`: nobody's job depends on it, so it costs no event and no commit, and it begins anew with each controller
and each `sdiag --reset`. Durations are told by the shell, which has a clock.

One pass does what Slurm's main and backfill schedulers do, so both sections of sdiag count the same passes: the main one all of them, the
backfill one those in which some job was blocked, and as backfilled the starts behind a blocked job of the same pass.
Bounds: USERS_MAX users and OPERATIONS_MAX operations are counted by name, all further ones together.
"""

from __future__ import annotations

from penstock.core.cycle import Reporter
from penstock.core.plan import Plan, Reason
from penstock.engine import events as e
from penstock.engine.state import CANCELLED, COMPLETED, Job
from penstock.spec import arrays

USERS_MAX = 1_000
OPERATIONS_MAX = 100
OTHERS = "OTHERS"
"""Where what is beyond the bounds is counted."""


class Series:
    """Last, greatest and sum of a figure, and how many there were."""

    __slots__ = ("count", "last", "most", "total")

    def __init__(self) -> None:
        self.last = self.most = self.total = self.count = 0

    def add(self, value: int) -> None:
        self.last = value
        self.most = max(self.most, value)
        self.total += value
        self.count += 1

    @property
    def mean(self) -> int:
        return self.total // self.count if self.count else 0

    def reset(self) -> None:
        """The last one stays: it is still the last one."""
        self.most = self.total = self.count = 0


class Calls:
    """How often something was asked, and the microseconds that it took."""

    __slots__ = ("count", "total_us")

    def __init__(self) -> None:
        self.count = self.total_us = 0

    def add(self, spent_us: int) -> None:
        self.count += 1
        self.total_us += spent_us

    @property
    def mean_us(self) -> int:
        return self.total_us // self.count if self.count else 0


class Statistics(Reporter):
    """Hears the passes (`Reporter`), the events, and how long things took."""

    def __init__(self, now_ms: int = 0) -> None:
        self.since_ms = now_ms
        self.submitted = self.started_jobs = self.completed = self.cancelled = self.failed = 0
        self.pass_us = Series()
        self.depth = Series()
        self.queue = Series()
        self.backfill_us = Series()
        self.backfill_depth = Series()
        self.backfill_tests = Series()
        self.backfill_queue = Series()
        self.backfill_when_ms = 0
        self.promised = Series()
        """Reservations of a pass: the holds in its profile."""
        self.backfilled = self.backfilled_since_start = 0
        self.by_operation: dict[str, Calls] = {}
        self.by_user: dict[str, tuple[int, Calls]] = {}
        """Name -> (uid, calls)."""
        self._seen = self._backfilled = 0
        self._blocked = False

    def reset(self, now_ms: int) -> None:
        """`sdiag --reset`: everything counts from now on, but the total that Slurm keeps since its start too."""
        self.since_ms = now_ms
        self.submitted = self.started_jobs = self.completed = self.cancelled = self.failed = self.backfilled = 0
        for series in (self.pass_us, self.depth, self.queue, self.backfill_us, self.backfill_depth, self.backfill_tests):
            series.reset()
        for series in (self.backfill_queue, self.promised):
            series.reset()
        self.by_operation.clear()
        self.by_user.clear()

    # --- passes ---

    def pass_begins(self, waiting: int) -> None:
        """So many records are in the queue."""
        self.queue.add(waiting)
        self._seen = self._backfilled = 0
        self._blocked = False

    def started(self, job_id: int, count: int) -> None:
        self._seen += 1
        if self._blocked:
            self._backfilled += count

    def blocked(self, job_id: int, records: int, reason: Reason) -> None:
        self._seen += records
        self._blocked = True

    def pass_ended(self, plan: Plan, spent_us: int, now_ms: int) -> None:
        self.pass_us.add(spent_us)
        self.depth.add(self._seen)
        if self._blocked:
            self.backfill_us.add(spent_us)
            self.backfill_depth.add(self._seen)
            self.backfill_tests.add(plan.tests)
            self.backfill_queue.add(self.queue.last)
            self.promised.add(len(plan.reservations))
            self.backfill_when_ms = now_ms
        self.backfilled += self._backfilled
        self.backfilled_since_start += self._backfilled

    # --- events ---

    def follow(self, event: e.Event) -> None:
        if type(event) is e.JobSubmitted:
            self.submitted += arrays.count(event.tasks) or 1
        elif type(event) is e.JobStarted:
            self.started_jobs += 1

    def finished(self, job: Job) -> None:
        elements = arrays.count(job.pending_tasks) or 1
        if job.state == COMPLETED:
            self.completed += elements
        elif job.state == CANCELLED:
            self.cancelled += elements
        else:
            self.failed += elements

    # --- requests ---

    def served(self, operation: str, user: str, uid: int, spent_us: int) -> None:
        """A request was answered after so much work."""
        if operation not in self.by_operation and len(self.by_operation) >= OPERATIONS_MAX:
            operation = OTHERS
        self.by_operation.setdefault(operation, Calls()).add(spent_us)
        if user not in self.by_user and len(self.by_user) >= USERS_MAX:
            user, uid = OTHERS, -1
        self.by_user.setdefault(user, (uid, Calls()))[1].add(spent_us)
