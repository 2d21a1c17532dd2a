"""When jobs could start: one that is not in the queue (``outlook``), and all that wait (``forecast``).

``outlook`` is the answer of ``sbatch --test-only``: as Slurm's, it looks at running jobs and their time limits and not at those that
wait: it is when the job could start if it were first.

``forecast`` is what ``squeue --start`` shows. The jobs to which the plan promised a start come first and start no later; behind them
every other waiting job gets, in the order of the queue, the earliest start that delays none before it (conservative backfill in the
plan's own profile). Nothing is promised to these: a job may start earlier where one ends before its limit or backfill finds a hole, and
later where a job of higher priority arrives. Bounds: RECORDS_MAX records and TESTS_MAX placement attempts; what lies behind them gets no
start.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import fields, replace

import numpy as np

from penstock.core.backfill import EVERY, Backfill
from penstock.core.cycle import Budget, Reporter, cycle
from penstock.core.plan import Plan, Reason, Reservation
from penstock.core.scores import Preference
from penstock.core.view import Batch, Int64, Pending, View

HYPOTHETICAL = 0
"""The job id in an outlook."""
RECORDS_MAX = 500
"""Waiting records that a forecast looks at (as many as Slurm's backfill tests by default, bf_max_job_test)."""
TESTS_MAX = 20_000
"""Placement attempts of a forecast: a large array uses up many."""


def outlook(view: View, batch: Batch) -> Reservation | Reason:
    """Where and when (``start_s`` is now at the earliest) a job of this batch could start, or why it cannot."""
    return Backfill(view, reservations=1).would(batch, HYPOTHETICAL)


def forecast(
    view: View,
    promised: Sequence[int] = (),
    records: int = RECORDS_MAX,
    reporter: Reporter | None = None,
    preference: Callable[[View], Preference] = Preference,
    budget: Budget | None = None,
) -> Generator[int, None, Plan]:
    """A plan in which every record that was looked at starts now or has a reservation; ``promised`` are the jobs that the cycle gave a
    reservation, in its order, ``budget`` is its own. Yields as ``cycle`` does. Not ``complete``: a bound was met."""
    order = forecast_order(view.pending, promised)
    bounded = with_rows(view, order[:records])
    everyone = replace(budget or Budget(), max_tests=TESTS_MAX, reservations=EVERY, window_s=0, max_jobs=0)
    plan = yield from cycle(bounded, everyone, reporter, preference)
    return replace(plan, complete=plan.complete and len(order) <= records)


def forecast_order(pending: Pending, promised: Sequence[int]) -> Int64:
    """Rows in the order in which they take from the profile: the promised ones first."""
    first = {job_id: at for at, job_id in enumerate(promised)}
    rank = [first.get(job_id, len(first)) for job_id in pending.job_id.tolist()] if first else [0] * len(pending)
    order: Int64 = np.argsort(np.array(rank, np.int64), kind="stable")
    return order


def with_rows(view: View, rows: Int64) -> View:
    """The view as if these were all that wait, in this order."""
    kept = {column.name: getattr(view.pending, column.name)[rows] for column in fields(Pending)}
    return replace(view, pending=Pending(**kept))
