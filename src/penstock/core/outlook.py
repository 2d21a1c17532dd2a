"""When jobs could start: one that is not in the queue (``outlook``), and all that wait (``forecast``).

``outlook`` is the answer of ``sbatch --test-only``: when the job could start behind the expected starts of those that are ahead of it, as a
real Slurm 22.05 answers (measured).

``forecast`` is what ``squeue --start`` shows. The jobs to which the plan promised a start come first and keep them; behind them
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
from penstock.core.slices import finish
from penstock.core.view import Batch, Int64, Pending, View, rows_where
from penstock.core.weights import preference_of

HYPOTHETICAL = 0
"""The job id in an outlook."""
RECORDS_MAX = 500
"""Waiting records that a forecast looks at (as many as Slurm's backfill tests by default, bf_max_job_test)."""
TESTS_MAX = 20_000
"""Placement attempts of a forecast: a large array uses up many."""


def outlook(view: View, batch: Batch, ahead: Sequence[Reservation] = ()) -> Reservation | Reason:
    """Where and when (``start_s`` is now at the earliest) a job of this batch could start without delaying those ``ahead``, whose starts a
    plan or a forecast of this state tells, or why it cannot."""
    policy = Backfill(view, reservations=1)
    for expected in ahead:
        policy.hold(expected)
    return finish(policy.would(batch, HYPOTHETICAL))


def as_of(view: View, when_s: int) -> View:
    """The view as it will be, if until then every running job ends by its limit and nobody starts."""
    running, nodes, licenses = view.running, view.nodes, view.licenses
    free, counts = nodes.free.copy(), licenses.free.copy()
    over, returned = running.end_s <= when_s, licenses.running.end_s <= when_s
    for row, amounts in zip(free, running.amount[:, over], strict=True):
        np.add.at(row, running.node[over], amounts)
    np.add.at(counts, licenses.running.node[returned], licenses.running.amount[0, returned])
    return replace(
        view,
        now_s=when_s,
        nodes=replace(nodes, free=free),
        running=rows_where(running, ~over),
        licenses=replace(licenses, free=counts, running=rows_where(licenses.running, ~returned)),
    )


def forecast(
    view: View,
    promised: Sequence[Reservation] = (),
    records: int = RECORDS_MAX,
    reporter: Reporter | None = None,
    preference: Callable[[View], Preference] = preference_of,
    budget: Budget | None = None,
) -> Generator[int, None, Plan]:
    """A plan in which every record that was looked at starts now or has a reservation; ``promised`` are the reservations of the cycle,
    in its order, ``budget`` is its own. Yields as ``cycle`` does. Not ``complete``: a bound was met."""
    queue, waiting = promised_first(view, promised, records)
    everyone = replace(
        budget or Budget(), max_tests=TESTS_MAX, reservations=EVERY, window_s=0, max_jobs=0, max_user_jobs=0, max_partition_jobs=0
    )
    plan = yield from cycle(queue, everyone, reporter, preference)
    return replace(plan, complete=plan.complete and waiting <= records)


def promised_first(view: View, promised: Sequence[Reservation], records: int) -> tuple[View, int]:
    """The view with the elements that have a promise in front, each a row of its own that wants the promised partition alone, cut to so
    many rows; and how many there would be."""
    pending = view.pending
    at = np.flatnonzero(np.isin(pending.job_id, np.array([one.job_id for one in promised], np.int64)))
    row_of = dict(zip(pending.job_id[at].tolist(), at.tolist(), strict=True))
    known = [one for one in promised if one.job_id in row_of]
    if not known:
        return with_rows(view, np.arange(min(records, len(pending)))), len(pending)
    first = np.array([row_of[one.job_id] for one in known], np.int64)
    shapes = list(view.shapes)
    wanted: list[int] = []
    for row, one in zip(first.tolist(), known, strict=True):
        shape = shapes[int(pending.shape[row])]
        assert shape is not None, f"job {one.job_id} has no shape"
        wanted.append(int(pending.shape[row]))
        if shape.partitions != (one.partition,):
            wanted[-1] = len(shapes)
            shapes.append(shape._replace(partitions=(one.partition,)))
    taken = np.bincount(first, minlength=len(pending))
    rest = np.flatnonzero(pending.count > taken)
    waiting = len(first) + len(rest)
    first, rest = first[:records], rest[: max(0, records - len(first))]
    columns = {column.name: getattr(pending, column.name)[np.concatenate((first, rest))] for column in fields(Pending)}
    columns["shape"][: len(first)] = wanted[: len(first)]
    for name in ("count", "startable"):
        left = np.maximum(getattr(pending, name)[rest] - taken[rest], 0)
        columns[name] = np.concatenate((np.ones(len(first), np.int64), left))
    return replace(view, pending=Pending(**columns), shapes=tuple(shapes)), waiting


def with_rows(view: View, rows: Int64) -> View:
    """The view as if these were all that wait, in this order."""
    kept = {column.name: getattr(view.pending, column.name)[rows] for column in fields(Pending)}
    return replace(view, pending=Pending(**kept))


def batch_at(view: View, row: int) -> Batch:
    """What the record in this row asks."""
    shape = view.shapes[int(view.pending.shape[row])]
    assert shape is not None, f"job {view.pending.job_id[row]} has no shape"
    return Batch(shape.request, shape.partitions, int(view.pending.time_limit_s[row]), shape.time_min_s, shape.deadline_s)
