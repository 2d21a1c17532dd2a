"""Planning passes inside the controller's process: when one begins, its slices, when the next may.

Guarantees: a pass never holds the loop longer than SLICE_S and one step of `cycle`; one pass at a time; a pass that took longer than
CHEAP_PASS_S is followed by a rest as long as it ran, so that planning takes at most half of the processor. A pass that fails is logged and
made anew after FAILED_REST_S: one mistake of ours does not end scheduling. The plan is carried out against the state as it is when the pass
ends (`Reactor.planned` checks it again).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Generator

from penstock.core.cycle import cycle
from penstock.core.plan import Plan
from penstock.engine.reactor import BrokenEvent, Reactor

SLICE_S = 0.001
"""Longest turn of a planning pass before others are served."""
CHEAP_PASS_S = 0.005
FAILED_REST_S = 5.0

log = logging.getLogger("penstock.controller")


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
        self._failed = False
        """The last pass failed: another is due although nothing changed."""

    def turn(self) -> None:
        """Begin a pass if one is needed, none is under way and the last one has rested."""
        if self._pass is not None or self._rest is not None or not (self._reactor.needs_plan or self._failed):
            return
        self._go_on()

    def _begin(self) -> None:
        view = self._reactor.view(self._clock())
        self._reactor.statistics.pass_begins(len(view.pending))
        self._pass = cycle(view, self._reactor.budget, self._reactor.statistics)
        self._pass_s = 0.0

    def _go_on(self) -> None:
        """A slice of the pass; at its end the plan is carried out."""
        try:
            if self._pass is None:
                self._begin()
            plan = self._slice()
            if plan is not None:
                self._end(plan)
        except BrokenEvent:
            raise
        except Exception:
            log.exception("a planning pass failed; the next one begins in %g s", FAILED_REST_S)
            self._fail()
        else:
            if plan is None:
                self._loop.call_soon(self._go_on)

    def _slice(self) -> Plan | None:
        """Go on for SLICE_S; the plan, at the end of the pass."""
        assert self._pass is not None
        begun_s = time.perf_counter()
        try:
            while time.perf_counter() - begun_s < SLICE_S:
                next(self._pass)
        except StopIteration as done:
            plan: Plan = done.value
            return plan
        finally:
            self._pass_s += time.perf_counter() - begun_s
        return None

    def _end(self, plan: Plan) -> None:
        self._pass = None
        now_ms = self._clock()
        self._reactor.statistics.pass_ended(plan, round(self._pass_s * 1e6), now_ms)
        self._reactor.planned(plan, now_ms)
        self._failed = False
        if self._pass_s > CHEAP_PASS_S:
            self._rest = self._loop.call_later(self._pass_s, self._rested)
        self._touch()

    def _fail(self) -> None:
        self._pass = None
        self._failed = True
        self._rest = self._loop.call_later(FAILED_REST_S, self._rested)

    def _rested(self) -> None:
        self._rest = None
        self._touch()
