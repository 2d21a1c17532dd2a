"""One scheduling pass as a generator: it yields to its caller after every bounded amount of work and returns the Plan.

The caller decides what happens between two slices (answer a command, look at the clock, give up): the planner reads no
clock. The view does not change meanwhile; the applier checks the plan against the state as it is at the end.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from penstock.core.plan import Plan, Reason, Reservation
from penstock.core.view import View


@dataclass(frozen=True, slots=True)
class Budget:
    """Bounds of one pass.

    slice_cells    yield after about so many (nodes times resources times tests); 2**20 is a few milliseconds
    max_starts     at most so many starts in one plan; then the plan is not ``complete``
    max_tests      at most so many placement attempts; then the plan is not ``complete``
    reservations   blocked jobs of each partition that get a reservation: 1 is EASY, a large number is conservative
    """

    slice_cells: int = 1 << 20
    max_starts: int = 4_096
    max_tests: int = 100_000
    reservations: int = 1


class Reporter:
    """Hears what the cycle decides, for counters and explanations; the default hears nothing. It must not raise."""

    def started(self, job_id: int, count: int) -> None:
        """So many elements of this record start."""

    def blocked(self, job_id: int, records: int, reason: Reason) -> None:
        """This record and the ``records - 1`` behind it in its batch wait."""

    def reserved(self, reservation: Reservation) -> None:
        """This blocked job got a reservation."""


def cycle(view: View, budget: Budget | None = None, reporter: Reporter | None = None) -> Generator[int, None, Plan]:
    """Yields the number of placement attempts so far; returns the Plan."""
    raise NotImplementedError
    yield 0


def plan_now(view: View, budget: Budget | None = None, reporter: Reporter | None = None) -> Plan:
    """The whole cycle in one call."""
    passes = cycle(view, budget, reporter)
    while True:
        try:
            next(passes)
        except StopIteration as done:
            plan: Plan = done.value
            return plan
