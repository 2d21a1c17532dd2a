"""The order of pending records, in integers only.

Records are compared by partition tier (higher first), priority (higher first), submit order (lower first), job id (lower first).
The first two are packed into one int64 ``rank``, lower first, so that a record's place in the queue is three integers. ``Queue``
walks that order batch by batch: it always knows the first record that is still open, and how many records of its batch come
before the first record of any other batch. Dropping a batch costs nothing, however long it is.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from penstock.core.view import Int64, Pending

TIER_LIMIT = 1 << 16
PRIORITY_LIMIT = 1 << 46
"""Slurm's tiers have 16 bits and its priorities 32; ours may have 46."""
SMALL_BATCHES = 1 << 15


def rank(tier: int, priority: int) -> int:
    """One integer, lower first, for tiers and priorities from 0 to below their limits."""
    if not 0 <= tier < TIER_LIMIT:
        raise ValueError(f"priority tier {tier}: allowed are 0 to {TIER_LIMIT - 1}")
    if not 0 <= priority < PRIORITY_LIMIT:
        raise ValueError(f"priority {priority}: allowed are 0 to {PRIORITY_LIMIT - 1}")
    return (TIER_LIMIT - 1 - tier) * PRIORITY_LIMIT + (PRIORITY_LIMIT - 1 - priority)


class Run(NamedTuple):
    """Rows of one batch that come next in the queue: the rows before any other batch's first."""

    batch: int
    rows: Int64


class Queue:
    """Rows of ``pending`` that may start something, best first."""

    def __init__(self, pending: Pending) -> None:
        rows = np.flatnonzero(pending.startable > 0)
        batch = pending.batch[rows]
        if len(batch) and int(batch.max()) < SMALL_BATCHES:
            batch = batch.astype(np.int16)  # a radix sort instead of a comparing one
        by_batch = np.argsort(batch, kind="stable")
        self._rows: Int64 = rows[by_batch]
        sorted_batch = batch[by_batch]
        begins = np.flatnonzero(np.diff(sorted_batch, prepend=-1))
        self._batch = sorted_batch[begins].tolist()
        self._begin = begins.tolist()
        self._end = [*self._begin[1:], len(self._rows)]
        self._heads = [(int(self._rows[begin]), group) for group, begin in enumerate(self._begin)]
        heapify(self._heads)
        self._beyond = len(pending)

    def __bool__(self) -> bool:
        return bool(self._heads)

    def next_run(self) -> Run:
        """The rows that come next; they stay in the queue until ``advance`` or ``drop``."""
        _, group = self._heads[0]
        others = [self._heads[at][0] for at in (1, 2) if at < len(self._heads)]
        begin, end = self._begin[group], self._end[group]
        upto = begin + int(np.searchsorted(self._rows[begin:end], min(others, default=self._beyond)))
        return Run(self._batch[group], self._rows[begin:upto])

    def advance(self, rows: int) -> None:
        """The first ``rows`` rows of the next run are settled."""
        _, group = heappop(self._heads)
        self._begin[group] += rows
        if self._begin[group] < self._end[group]:
            heappush(self._heads, (int(self._rows[self._begin[group]]), group))

    def drop(self) -> Int64:
        """The batch of the next run is settled as a whole; the rows that were left of it."""
        _, group = heappop(self._heads)
        return self._rows[self._begin[group] : self._end[group]]
