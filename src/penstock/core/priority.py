"""The order of pending records, in integers only.

Records are compared by partition tier (higher first), priority (higher first), submit order (lower first), job id (lower first).
The first two are packed into one int64 ``rank``, lower first, so that a record's place in the queue is three integers. ``Queue``
walks that order shape by shape: it always knows the first record that is still open, and how many records like it come before
the first record of any other kind. Dropping all records of a shape costs next to nothing, however many they are.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

import numpy as np

from penstock.core.view import Int64, Pending

TIER_LIMIT = 1 << 16
PRIORITY_LIMIT = 1 << 46
"""Slurm's tiers have 16 bits and its priorities 32; ours may have 46."""
SMALL_SHAPES = 1 << 15
LONGEST_S = (1 << 63) - 1


def rank(tier: int, priority: int) -> int:
    """One integer, lower first, for tiers and priorities from 0 to below their limits."""
    if not 0 <= tier < TIER_LIMIT:
        raise ValueError(f"priority tier {tier}: allowed are 0 to {TIER_LIMIT - 1}")
    if not 0 <= priority < PRIORITY_LIMIT:
        raise ValueError(f"priority {priority}: allowed are 0 to {PRIORITY_LIMIT - 1}")
    return (TIER_LIMIT - 1 - tier) * PRIORITY_LIMIT + (PRIORITY_LIMIT - 1 - priority)


def priority_of(key: int) -> int:
    """The priority in a rank."""
    return PRIORITY_LIMIT - 1 - key % PRIORITY_LIMIT


class Run(NamedTuple):
    """Rows of one shape and one time limit that come next in the queue: the rows before any other's first."""

    shape: int
    time_limit_s: int
    rows: Int64


class Queue:
    """Rows of ``pending`` that may start something, in their order or in that of ``order`` (some of the rows, each once)."""

    def __init__(self, pending: Pending, order: Int64 | None = None) -> None:
        rows = np.flatnonzero(pending.startable > 0) if order is None else order[pending.startable[order] > 0]
        self._places: Int64 | None = None
        shape = pending.shape[rows]
        if len(shape) and int(shape.max()) < SMALL_SHAPES:
            shape = shape.astype(np.int16)  # a radix sort instead of a comparing one
        by_shape = np.argsort(shape, kind="stable")
        sorted_shape = shape[by_shape]
        begins = np.flatnonzero(np.diff(sorted_shape, prepend=-1))
        if order is not None:  # from here on rows are places in the given order
            self._places = rows
            rows = np.arange(len(rows))
        self._limit_s = pending.time_limit_s if self._places is None else pending.time_limit_s[self._places]
        self._shape: list[int] = sorted_shape[begins].tolist()
        self._rows: list[Int64] = np.split(rows[by_shape], begins[1:]) if len(rows) else []
        self._heads = [(int(own[0]), group) for group, own in enumerate(self._rows)]
        heapify(self._heads)
        self._end = len(pending)

    def __bool__(self) -> bool:
        return bool(self._heads)

    def next_run(self) -> Run:
        """The rows that come next; they stay in the queue until ``advance`` or ``drop``."""
        head, group = self._heads[0]
        others = [self._heads[at][0] for at in (1, 2) if at < len(self._heads)]
        rows = self._rows[group]
        rows = rows[: int(np.searchsorted(rows, min(others, default=self._end)))]
        limits = self._limit_s[rows]
        differs = limits != limits[0]
        if differs.any():
            rows = rows[: int(np.argmax(differs))]
        return Run(self._shape[group], int(self._limit_s[head]), rows if self._places is None else self._places[rows])

    def advance(self, rows: int) -> None:
        """The first ``rows`` rows of the next run are settled."""
        if rows:
            self._keep(self._rows[self._heads[0][1]][rows:])

    def drop(self, least_s: int = 0, most_s: int = LONGEST_S) -> Int64:
        """All rows of the next run's shape with a time limit of ``least_s`` to ``most_s`` are settled; which they were."""
        rows = self._rows[self._heads[0][1]]
        limits = self._limit_s[rows]
        dropped = (limits >= least_s) & (limits <= most_s)
        self._keep(rows[~dropped])
        return rows[dropped] if self._places is None else self._places[rows[dropped]]

    def _keep(self, rows: Int64) -> None:
        """What is left of the first group's rows."""
        _, group = heappop(self._heads)
        self._rows[group] = rows
        if len(rows):
            heappush(self._heads, (int(rows[0]), group))


def places_within(groups: Int64) -> Int64:
    """int64[rows]: how many rows of the same group come before each."""
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    begins = np.flatnonzero(np.diff(ranked, prepend=ranked[:1] - 1))
    lengths = np.diff(begins, append=len(ranked))
    places = np.empty(len(groups), np.int64)
    places[order] = np.arange(len(ranked)) - np.repeat(begins, lengths)
    return places
