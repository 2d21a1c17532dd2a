"""The running part of the columns: one row for each (job, node) share, rows reused.

Rows hold amounts over the resource rows of the current layout; when pools or nodes change, ``relayout`` writes all rows again from
the shares, which are kept as they were told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from penstock.core.plan import Share
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Bool, Int64, Running

FIRST_ROWS = 64
JOB, END_S, NODE = range(3)


class Held(NamedTuple):
    end_s: int
    shares: tuple[Share, ...]
    rows: tuple[int, ...]


class Layout(NamedTuple):
    """Which column a node has, which row a pool has."""

    column_of: Mapping[str, int]
    row_of: Mapping[str, int]

    def amounts(self, share: Share) -> list[int]:
        amounts = [0] * (FIRST_POOL + len(self.row_of))
        amounts[CPUS] = share.cpus
        amounts[MEMORY_MIB] = share.memory_mib
        for pool, count in share.gres:
            amounts[self.row_of[pool]] += count
        return amounts


class Holdings:
    """``held`` is int64[resources, nodes]: the sum of all shares."""

    def __init__(self) -> None:
        self.jobs: dict[int, Held] = {}
        self._layout = Layout({}, {})
        self._facts: Int64 = np.zeros((3, FIRST_ROWS), np.int64)
        self._amount: Int64 = np.zeros((FIRST_POOL, FIRST_ROWS), np.int64)
        self._alive: Bool = np.zeros(FIRST_ROWS, np.bool_)
        self._unused = list(range(FIRST_ROWS - 1, -1, -1))
        self.held: Int64 = np.zeros((FIRST_POOL, 0), np.int64)
        self._running: Running | None = None

    def relayout(self, layout: Layout) -> None:
        """Nodes or pools have other places now."""
        self._layout = layout
        self._amount = np.zeros((FIRST_POOL + len(layout.row_of), self._facts.shape[1]), np.int64)
        self.held = np.zeros((FIRST_POOL + len(layout.row_of), len(layout.column_of)), np.int64)
        for job in self.jobs.values():
            for row, share in zip(job.rows, job.shares, strict=True):
                self._write(row, share)
        self._running = None

    def start(self, job_id: int, end_s: int, shares: tuple[Share, ...]) -> None:
        rows = tuple(self._new_row() for _ in shares)
        for row, share in zip(rows, shares, strict=True):
            self._facts[JOB, row] = job_id
            self._facts[END_S, row] = end_s
            self._write(row, share)
            self._alive[row] = True
        self.jobs[job_id] = Held(end_s, shares, rows)
        self._running = None

    def change_end(self, job_id: int, end_s: int) -> None:
        job = self.jobs[job_id]
        self._facts[END_S, job.rows] = end_s
        self.jobs[job_id] = job._replace(end_s=end_s)
        self._running = None

    def end(self, job_id: int) -> tuple[Share, ...]:
        job = self.jobs.pop(job_id)
        for row in job.rows:
            self.held[:, self._facts[NODE, row]] -= self._amount[:, row]
            self._alive[row] = False
        self._unused += reversed(job.rows)
        self._running = None
        return job.shares

    def running(self) -> Running:
        """The rows in use; the same object until something changes."""
        if self._running is None:
            rows = np.flatnonzero(self._alive)
            facts = self._facts[:, rows]
            columns = (facts[JOB], facts[END_S], facts[NODE].astype(np.int32), self._amount[:, rows])
            for column in columns:
                column.setflags(write=False)
            self._running = Running(*columns)
        return self._running

    def _write(self, row: int, share: Share) -> None:
        column = self._layout.column_of[share.node]
        self._facts[NODE, row] = column
        amounts = self._layout.amounts(share)
        self._amount[:, row] = amounts
        self.held[:, column] += amounts

    def _new_row(self) -> int:
        if not self._unused:
            size = len(self._alive)
            self._facts = np.concatenate((self._facts, np.zeros_like(self._facts)), axis=1)
            self._amount = np.concatenate((self._amount, np.zeros_like(self._amount)), axis=1)
            self._alive = np.concatenate((self._alive, np.zeros_like(self._alive)))
            self._unused = list(range(2 * size - 1, size - 1, -1))
        return self._unused.pop()


def counted_from(running: Running, now_s: int) -> Running:
    """The rows as of this second: what stands still (``end_s`` below 0) ends when its time left is over, if it goes on now."""
    still = running.end_s < 0
    if not still.any():
        return running
    ends = np.where(still, now_s - running.end_s, running.end_s)
    ends.setflags(write=False)
    return replace(running, end_s=ends)
