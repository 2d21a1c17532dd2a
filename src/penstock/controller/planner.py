"""Planning passes inside the controller's process: when one begins, its slices, when the next may.

Guarantees: a pass never holds the loop longer than SLICE_S and one step of `cycle`; one pass at a time; a pass that took longer than
CHEAP_PASS_S is followed by a rest as long as it ran, so that planning takes at most half of the processor. The plan is carried out against
the state as it is when the pass ends (`Reactor.planned` checks it again).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator

from penstock.core.cycle import cycle
from penstock.core.plan import Plan
from penstock.engine.reactor import Reactor

SLICE_S = 0.001
"""Longest turn of a planning pass before others are served."""
CHEAP_PASS_S = 0.005


class PlannerHost:
    """`touch` asks for a turn of the controller: something changed. `clock` gives milliseconds since the epoch."""

    def __init__(self, reactor: Reactor, loop: asyncio.AbstractEventLoop, touch: Callable[[], None], clock: Callable[[], int]) -> None:
        self._reactor = reactor
        self._loop = loop
        self._touch = touch
        self._clock = clock
        self._pass: Generator[int, None, Plan] | None = None
        self._pass_s = 0.0
        self._rest: asyncio.TimerHandle | None = None

    def turn(self) -> None:
        """Begin a pass if one is needed, none is under way and the last one has rested."""
        if self._pass is not None or self._rest is not None or not self._reactor.needs_plan:
            return
        view = self._reactor.view(self._clock())
        self._reactor.statistics.pass_begins(len(view.pending))
        self._pass = cycle(view, self._reactor.budget, self._reactor.statistics)
        self._pass_s = 0.0
        self._go_on()

    def _go_on(self) -> None:
        """A slice of the pass; at its end the plan is carried out."""
        if self._pass is None:
            return
        begun_s = time.perf_counter()
        plan = None
        try:
            while time.perf_counter() - begun_s < SLICE_S:
                next(self._pass)
        except StopIteration as done:
            plan = done.value
        self._pass_s += time.perf_counter() - begun_s
        if plan is None:
            self._loop.call_soon(self._go_on)
        else:
            self._end(plan)

    def _end(self, plan: Plan) -> None:
        self._pass = None
        now_ms = self._clock()
        self._reactor.statistics.pass_ended(plan, round(self._pass_s * 1e6), now_ms)
        self._reactor.planned(plan, now_ms)
        if self._pass_s > CHEAP_PASS_S:
            self._rest = self._loop.call_later(self._pass_s, self._rested)
        self._touch()

    def _rested(self) -> None:
        self._rest = None
        self._touch()
