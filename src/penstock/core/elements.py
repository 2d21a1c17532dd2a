"""When the waiting elements of one array start: how many now, when the next, when the last.

Asked last of two passes that are over, because it takes from their profiles: the plan says how many start now, and behind the expected
starts of all that are ahead the others get theirs one after the other. Bound: ELEMENTS_MAX of them; what lies behind is not told.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

from penstock.core.backfill import Backfill
from penstock.core.view import Batch

ELEMENTS_MAX = 64
"""Elements whose start is searched one by one."""


class Elements(NamedTuple):
    """``waiting`` elements, ``startable`` of which the array's own limit lets start; ``now`` of these start now, ``later_s`` are the
    expected starts of the next ones, in order: of all, unless the array's limit, ELEMENTS_MAX or a bound of the forecast ends the list."""

    waiting: int
    startable: int
    now: int
    later_s: tuple[int, ...]


def elements_of(
    plan: Backfill, queue: Backfill | None, batch: Batch, job_id: int, waiting: int, startable: int
) -> Generator[int, None, Elements]:
    """``queue`` None: later starts are not known. Yields between searches."""
    now = 0
    for fit in plan.start(batch, startable) if plan.refusal(batch) is None else ():
        now += fit.elements
        yield 0
    later_s: list[int] = []
    if queue is not None and plan.refusal(batch) is None and plan.stuck(batch) is None:
        for _ in queue.start(batch, now):
            yield 0
        for _ in range(min(startable - now, ELEMENTS_MAX)):
            reservation = yield from queue.reserve(batch, job_id)
            if reservation is None:
                break
            later_s.append(reservation.start_s)
    return Elements(waiting, startable, now, tuple(sorted(later_s)))
