"""One scheduling pass as a generator: it yields to its caller after every bounded amount of work and returns the Plan.

The caller decides what happens between two slices (answer a command, look at the clock, give up): the planner reads no
clock. The view does not change meanwhile; the applier checks the plan against the state as it is at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from penstock.core.backfill import Backfill
from penstock.core.grounds import Memory
from penstock.core.plan import Plan, Reason, Reservation, Share, Start
from penstock.core.priority import LONGEST_S, Queue, places_within
from penstock.core.request import UNLIMITED_S, GresCounts
from penstock.core.scores import Preference
from penstock.core.slices import Result, finish
from penstock.core.view import Batch, Int64, View
from penstock.core.weights import preference_of


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of one pass.

    slice_cells    yield after about so many matrix cells (nodes times resources, summed over tests); 2**19 is about two milliseconds
    max_starts     at most so many starts in one plan; then the plan is not ``complete``
    max_tests      at most so many placement attempts; then the plan is not ``complete``
    reservations   blocked jobs of each partition that get a reservation: 1 is EASY, ``EVERY`` is conservative, 0 is none
    strict         nothing starts behind a blocked job of its partition: first come first served without backfill
    window_s       no reservation begins later than so many seconds from now; 0: no bound (Slurm's bf_window)
    resolution_s   ends are rounded up to a multiple of it, which makes the profile coarser; 1: exact (Slurm's bf_resolution)
    max_jobs       records that are looked at; 0: all (Slurm's bf_max_job_test, default_queue_depth)
    max_user_jobs, max_partition_jobs  so many of each user and of each partition (the first that a record names); 0: all
    """

    slice_cells: int = 1 << 19
    max_starts: int = 4_096
    max_tests: int = 100_000
    reservations: int = 1
    strict: bool = False
    window_s: int = 0
    resolution_s: int = 1
    max_jobs: int = 0
    max_user_jobs: int = 0
    max_partition_jobs: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("slice_cells", self.slice_cells, 1),
            ("max_starts", self.max_starts, 1),
            ("max_tests", self.max_tests, 1),
            ("reservations", self.reservations, 0),
            ("window_s", self.window_s, 0),
            ("resolution_s", self.resolution_s, 1),
            ("max_jobs", self.max_jobs, 0),
            ("max_user_jobs", self.max_user_jobs, 0),
            ("max_partition_jobs", self.max_partition_jobs, 0),
        ):
            if value < least:
                raise ValueError(f"Budget.{name} is {value}: at least {least} is allowed")


class Reporter:
    """Hears what the cycle decides, for counters and explanations; the default hears nothing. It must not raise."""

    def started(self, job_id: int, count: int) -> None:
        """So many elements of this record start."""

    def blocked(self, job_id: int, records: int, reason: Reason) -> None:
        """This record and the ``records - 1`` behind it in its batch wait."""

    def reserved(self, reservation: Reservation) -> None:
        """This blocked job got a reservation."""

    def ended(self, policy: Backfill) -> None:
        """The pass is over. The policy knows all that was decided and may be asked what it would do with other requests."""


def cycle(
    view: View,
    budget: Budget | None = None,
    reporter: Reporter | None = None,
    preference: Callable[[View], Preference] = preference_of,
    behind: Int64 | None = None,
    memory: Memory | None = None,
) -> Generator[int, None, Plan]:
    """Yields the number of placement attempts so far; returns the Plan. ``preference`` makes the placement policy of the pass.

    ``behind`` holds rows of ``view.pending`` in the order in which those are tried for which no reservation is left; without it that
    is the queue's own order, in one walk. ``memory`` carries what depends on nodes and requests alone from pass to pass.
    """
    budget = budget or Budget()
    reporter = reporter or Reporter()
    policy = Backfill(view, budget.reservations, preference, budget.strict, budget.window_s, budget.resolution_s, memory)
    bounds = depths(view, budget)
    queue = Queue(view.pending, np.flatnonzero(np.all([place < most for _, place, most in bounds], axis=0)) if bounds else None)
    book = Book(view)
    pace = Pace(policy, budget.slice_cells)
    complete = True
    aside: list[Int64] = []
    yield policy.tests
    while queue or aside:
        if policy.tests >= budget.max_tests or len(book.starts) >= budget.max_starts:
            complete = False
            break
        if not queue and behind is not None:
            queue = Queue(view.pending, behind[np.isin(behind, np.concatenate(aside))])
            behind = None
            aside.clear()
            continue
        run = queue.next_run()
        shape = view.shapes[run.shape]
        if shape is None:
            raise ValueError(f"pending records refer to shape {run.shape}, which the view does not have")
        batch = Batch(shape.request, shape.partitions, run.time_limit_s, shape.time_min_s, shape.deadline_s)
        refusal = policy.refusal(batch)
        if refusal is None and policy.closed(batch):
            rows = queue.drop()
            reporter.blocked(int(view.pending.job_id[rows[0]]), book.refuse(rows, policy.behind(batch)), policy.behind(batch))
            continue
        if refusal is None and behind is not None and not policy.may_reserve(batch):
            aside.append(queue.drop())
            continue
        settled = 0
        if refusal is None:
            wanted = min(int(book.left[run.rows].sum()), budget.max_starts - len(book.starts))
            placed: list[Placed] = []
            for fit in policy.start(batch, wanted):
                limit_s = 0 if fit.time_limit_s >= min(run.time_limit_s, UNLIMITED_S) else fit.time_limit_s
                shares = fit.placement.shares(view.nodes)
                placed.append(Placed(fit.site.partition.name, shares, fit.elements, fit.site.licenses, limit_s))
                if pace.due():
                    yield policy.tests
            started = sum(item.elements for item in placed)
            settled = book.start(run.rows, placed, started, reporter)
            queue.advance(settled)
            if started == wanted:
                continue
            refusal = policy.stuck(batch)
        row = int(run.rows[settled])
        job_id = int(view.pending.job_id[row])
        if refusal is not None:
            alone = refusal.what == "time_limit_s"  # the reason quotes the limit; whatever else it is, longer jobs share it
            rows = queue.drop(batch.time_limit_s, batch.time_limit_s if alone else LONGEST_S)
            reporter.blocked(job_id, book.refuse(rows, refusal), refusal)
        else:
            reason = policy.waits(batch, job_id)
            least_s = policy.fails_from(batch)
            book.refuse(run.rows[settled : settled + 1], reason)
            reservation = None
            if policy.may_reserve(batch):
                reservation = yield from pace.through(policy.reserve(batch, job_id))
            if reservation is not None:
                book.reserve(row, reservation)
                reporter.reserved(reservation)
            if reservation is not None and policy.may_reserve(batch):
                queue.advance(int(book.left[row] == 0))
                reporter.blocked(job_id, 1, reason)
            else:
                reporter.blocked(job_id, 1 + book.refuse(queue.drop(least_s), policy.behind(batch)), reason)
        if pace.due():
            yield policy.tests
    for what, place, most in bounds if complete else ():
        book.refuse(np.flatnonzero((place >= most) & (view.pending.startable > 0)), Reason("Priority", "policy", what, 0, most))
    reporter.ended(policy)
    return book.plan(complete, policy.tests)


class Pace:
    """Says when so many cells have been looked at since the last slice."""

    def __init__(self, policy: Backfill, cells: int) -> None:
        self._policy = policy
        self._cells = cells
        self._seen = 0

    def due(self) -> bool:
        if self._policy.cells - self._seen < self._cells:
            return False
        self._seen = self._policy.cells
        return True

    def through(self, work: Generator[int, None, Result]) -> Generator[int, None, Result]:
        """The result of work that yields more often."""
        while True:
            try:
                next(work)
            except StopIteration as done:
                result: Result = done.value
                return result
            if self.due():
                yield self._policy.tests


LOOKED_AT = "jobs looked at in a pass"
LOOKED_AT_OF_USER = "jobs of a user looked at in a pass"
LOOKED_AT_OF_PARTITION = "jobs of a partition looked at in a pass"


def depths(view: View, budget: Budget) -> list[tuple[str, Int64, int]]:
    """The bounds of depth that there are: (name, int64[pending]: how many of the same kind come before each row, the bound)."""
    pending = view.pending
    found = []
    if budget.max_partition_jobs:
        number = {name: at for at, name in enumerate(view.partitions)}
        first = np.array([-1 if shape is None else number.get(shape.partitions[0], -1) for shape in view.shapes], np.int64)
        found.append((LOOKED_AT_OF_PARTITION, places_within(first[pending.shape]), budget.max_partition_jobs))
    if budget.max_user_jobs:
        found.append((LOOKED_AT_OF_USER, places_within(pending.user), budget.max_user_jobs))
    if budget.max_jobs:
        found.append((LOOKED_AT, np.arange(len(pending)), budget.max_jobs))
    return found


class Placed(NamedTuple):
    """``elements`` elements with equal shares; see ``plan.Start``."""

    partition: str
    shares: tuple[Share, ...]
    elements: int
    licenses: GresCounts
    time_limit_s: int


class Book:
    """What the pass has decided so far about each pending row."""

    def __init__(self, view: View) -> None:
        pending = view.pending
        self.starts: list[Start] = []
        self.reservations: list[Reservation] = []
        self.left = pending.startable.copy()
        """Elements of each row that may start and have neither started nor been reserved."""
        self._view = view
        self._waiting = pending.count.copy()
        self._reason = np.full(len(pending), -1, np.int32)
        self._reasons: dict[Reason, int] = {}

    def start(self, rows: Int64, placed: list[Placed], started: int, reporter: Reporter) -> int:
        """Give the placed elements to the rows in order; how many rows have nothing left to start."""
        if not started:
            return 0
        before = np.cumsum(self.left[rows]) - self.left[rows]
        rows = rows[: int(np.searchsorted(before, started))]
        take = np.minimum(self.left[rows], started - before[: len(rows)])
        self.left[rows] -= take
        self._waiting[rows] -= take
        job_ids = self._view.pending.job_id[rows]
        for job_id, count in zip(job_ids.tolist(), take.tolist(), strict=True):
            reporter.started(job_id, count)
        owners = iter(np.repeat(job_ids, take).tolist())
        for item in placed:
            self.starts += [
                Start(next(owners), item.partition, item.shares, item.licenses, item.time_limit_s) for _ in range(item.elements)
            ]
        return int((self.left[rows] == 0).sum())

    def reserve(self, row: int, reservation: Reservation) -> None:
        self.reservations.append(reservation)
        self.left[row] -= 1

    def refuse(self, rows: Int64, reason: Reason) -> int:
        """Rows without a reason get this one; how many they were."""
        rows = rows[self._reason[rows] < 0]
        if len(rows):
            self._reason[rows] = self._reasons.setdefault(reason, len(self._reasons))
        return len(rows)

    def plan(self, complete: bool, tests: int) -> Plan:
        throttled = np.flatnonzero((self.left == 0) & (self._waiting > 0))
        self.refuse(throttled, Reason("JobArrayTaskLimit", "policy", "array tasks"))
        waiting = np.flatnonzero(self._waiting > 0)
        return Plan(
            seq=self._view.seq,
            now_s=self._view.now_s,
            starts=tuple(self.starts),
            reservations=tuple(self.reservations),
            reasons=tuple(self._reasons),
            waiting_job_id=self._view.pending.job_id[waiting],
            waiting_reason=self._reason[waiting],
            complete=complete,
            tests=tests,
        )


def plan_now(
    view: View,
    budget: Budget | None = None,
    reporter: Reporter | None = None,
    preference: Callable[[View], Preference] = preference_of,
    behind: Int64 | None = None,
    memory: Memory | None = None,
) -> Plan:
    """The whole cycle in one call."""
    return finish(cycle(view, budget, reporter, preference, behind, memory))
