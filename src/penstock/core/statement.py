"""A supposition about one view: running jobs are taken off their nodes and wait again, others take their room, in memory alone.

What was supposed since a checkpoint can be taken back, so a search tries one set of jobs after the other on the same arrays, and a plan
to act on is checked as a transaction: all of it holds on the state as it is, or nothing is done. Whatever is supposed, the view itself
stays as it was; ``view()`` makes the supposed one, which the planner plans like any other.

Guaranteed: after ``rollback(mark)`` everything is as it was when ``checkpoint()`` gave that mark (a property test compares views).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import NamedTuple

import numpy as np

from penstock.core.holdings import Layout
from penstock.core.plan import Share
from penstock.core.records import PendingRecord
from penstock.core.request import GresCounts
from penstock.core.view import FIRST_POOL, Int64, Licenses, Pending, Running, Shape, View, rows_where


class Waiter(NamedTuple):
    """How a running job would wait once it was taken off its nodes: what it asks, and before which row of the queue it would stand."""

    job_id: int
    shape: Shape
    time_limit_s: int
    user: int
    place: int


def waiter_of(record: PendingRecord, place: int) -> Waiter:
    """``record``: as which the running job would wait; ``place``: see ``Columns.place_of``."""
    shape = Shape(record.request, record.partitions, record.time_min_s, record.deadline_s)
    return Waiter(record.job_id, shape, record.time_limit_s, record.user, place)


class Statement:
    """See the module's text. ``free`` is int64[resources, nodes], what is free under all suppositions; read it, do not write."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.free: Int64 = view.nodes.free.copy()
        self._licenses: Int64 = view.licenses.free.copy()
        self._waiters: dict[int, Waiter] = {}
        self._log: list[tuple[str, Waiter | None, Int64, Int64]] = []
        """What was supposed, in order: (kind, who, what it changed in ``free`` and of the licences)."""
        self._layout = layout_of(view)

    def checkpoint(self) -> int:
        """A mark to go back to."""
        return len(self._log)

    def rollback(self, mark: int = 0) -> None:
        """Take back all that was supposed since the mark."""
        while len(self._log) > mark:
            kind, waiter, amount, licenses = self._log.pop()
            self.free -= amount
            self._licenses -= licenses
            if waiter is not None:
                if kind == "evict":
                    del self._waiters[waiter.job_id]
                else:
                    self._waiters[waiter.job_id] = waiter

    def evict(self, waiter: Waiter) -> None:
        """Suppose that a running job gives back what it holds and waits again. ValueError if it holds nothing."""
        if waiter.job_id in self._waiters or not (self._view.running.job_id == waiter.job_id).any():
            raise ValueError(f"job {waiter.job_id} holds nothing that it could give back")
        amount, licenses = self._held(waiter.job_id)
        self._waiters[waiter.job_id] = waiter
        self._suppose("evict", waiter, amount, licenses)

    def restore(self, job_id: int) -> None:
        """Suppose that an evicted job stays after all."""
        waiter = self._waiters.pop(job_id)
        amount, licenses = self._held(job_id)
        self._suppose("restore", waiter, -amount, -licenses)

    def take(self, shares: Iterable[Share], licenses: GresCounts = ()) -> bool:
        """Suppose that someone starts on these shares; False, and nothing is supposed, where they do not fit."""
        amount = np.zeros_like(self.free)
        for share in shares:
            if share.node not in self._layout.column_of or any(pool not in self._layout.row_of for pool, _ in share.gres):
                return False
            amount[:, self._layout.column_of[share.node]] -= self._layout.amounts(share)
        names = self._view.licenses.names
        if any(name not in names for name, _ in licenses):
            return False
        counts: Int64 = np.zeros_like(self._licenses)
        for name, count in licenses:
            counts[names.index(name)] -= count
        if ((amount < 0) & (self.free + amount < 0)).any() or ((counts < 0) & (self._licenses + counts < 0)).any():
            return False
        self._suppose("take", None, amount, counts)
        return True

    def view(self) -> View:
        """The view as it would be. What was only taken has no owner in it: it is missing from what is free."""
        view = self._view
        free = self.free.copy()
        free.setflags(write=False)
        gone = np.array(sorted(self._waiters), np.int64)
        pending, shapes = _with_waiters(view, sorted(self._waiters.values(), key=lambda waiter: (waiter.place, waiter.job_id)))
        licenses = view.licenses
        return replace(
            view,
            nodes=replace(view.nodes, free=free),
            running=_without(view.running, gone),
            pending=pending,
            shapes=shapes,
            licenses=Licenses(licenses.names, licenses.total, self._licenses.copy(), _without(licenses.running, gone)),
        )

    def _suppose(self, kind: str, waiter: Waiter | None, amount: Int64, licenses: Int64) -> None:
        self.free += amount
        self._licenses += licenses
        self._log.append((kind, waiter, amount, licenses))

    def _held(self, job_id: int) -> tuple[Int64, Int64]:
        """(int64[resources, nodes], int64[licences]): what the job holds."""
        amount = np.zeros_like(self.free)
        running = self._view.running
        for row in np.flatnonzero(running.job_id == job_id).tolist():
            amount[:, running.node[row]] += running.amount[:, row]
        licenses: Int64 = np.zeros_like(self._licenses)
        held = self._view.licenses.running
        for row in np.flatnonzero(held.job_id == job_id).tolist():
            licenses[held.node[row]] += held.amount[0, row]
        return amount, licenses


def layout_of(view: View) -> Layout:
    """The places of a view, for shares as plans have them."""
    return Layout(view.nodes.index_of, {pool: FIRST_POOL + row for row, pool in enumerate(view.nodes.pools)})


def _without(running: Running, gone: Int64) -> Running:
    return rows_where(running, ~np.isin(running.job_id, gone))


def _with_waiters(view: View, waiters: list[Waiter]) -> tuple[Pending, tuple[Shape | None, ...]]:
    """The queue with these in their places, in which they are sorted."""
    if not waiters:
        return view.pending, view.shapes
    pending = view.pending
    shapes = list(view.shapes)
    number = {shape: at for at, shape in enumerate(shapes) if shape is not None}
    for waiter in waiters:
        if number.setdefault(waiter.shape, len(shapes)) == len(shapes):
            shapes.append(waiter.shape)
    places = [waiter.place for waiter in waiters]
    new = {
        "job_id": [waiter.job_id for waiter in waiters],
        "shape": [number[waiter.shape] for waiter in waiters],
        "time_limit_s": [waiter.time_limit_s for waiter in waiters],
        "count": [1] * len(waiters),
        "startable": [1] * len(waiters),
        "user": [waiter.user for waiter in waiters],
    }
    columns = {column.name: np.insert(getattr(pending, column.name), places, new[column.name]) for column in fields(Pending)}
    for column in columns.values():
        column.setflags(write=False)
    return Pending(**columns), tuple(shapes)
