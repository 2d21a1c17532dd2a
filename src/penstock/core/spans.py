"""How long a job may run where its time limit is not the last word: ``--time-min`` and ``--deadline``.

A job with ``--time-min`` may get any limit from that to its own, and gets the longest that fits. A job with a deadline has to be over by
then: it starts with what is left until the deadline if it said ``--time-min`` or asked for no limit, and not at all if its limit reaches
beyond (what a real Slurm 22.05 does). Both make a start possible that the full limit would not; neither is used without need.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.core.request import UNLIMITED_S
from penstock.core.view import Batch

GRAIN_S = 60
"""A shortened limit is a whole number of minutes, as all of Slurm's are, where its least allows it."""


class Span(NamedTuple):
    """From ``least_s`` to ``most_s`` seconds; equal where there is no choice."""

    least_s: int
    most_s: int

    def shortened(self, room_s: int) -> int:
        """The limit to give where ``room_s`` seconds are there, at least ``least_s`` of them."""
        return min(self.most_s, max(self.least_s, room_s // GRAIN_S * GRAIN_S))


def span_of(batch: Batch, start_s: int) -> Span | None:
    """What a job that starts then may run; None: it could not be over by its deadline."""
    most_s = min(batch.time_limit_s, UNLIMITED_S)
    least_s = min(batch.time_min_s or most_s, most_s)
    if batch.deadline_s:
        if batch.time_limit_s >= UNLIMITED_S and not batch.time_min_s:
            least_s = GRAIN_S
        most_s = min(most_s, batch.deadline_s - start_s)
        if most_s < least_s:
            return None
        most_s = max(least_s, most_s // GRAIN_S * GRAIN_S)
    return Span(least_s, most_s)
