"""Planning inside the controller: slices, rests, and passes that fail."""

from __future__ import annotations

import itertools
import logging
from types import SimpleNamespace

import pytest

from penstock.controller import planner
from penstock.controller.planner import FAILED_REST_S, PlannerHost
from penstock.engine.reactor import BrokenEvent


class Loop:
    """What the host uses of asyncio's loop: nothing runs until `run` or `later`."""

    def __init__(self) -> None:
        self.soon: list[object] = []
        self.timers: list[tuple[float, object]] = []

    def call_soon(self, callback):
        self.soon.append(callback)

    def call_later(self, delay_s, callback):
        self.timers.append((delay_s, callback))
        return callback

    def run(self) -> None:
        while self.soon:
            self.soon.pop(0)()

    def later(self) -> float:
        """The only timer fires; after how long it would."""
        ((delay_s, callback),) = self.timers
        self.timers.clear()
        callback()
        return delay_s


class Reactor:
    """Counts the passes; a change is needed for another, as with the real one."""

    budget = None
    statistics = SimpleNamespace(pass_begins=lambda waiting: None, pass_ended=lambda plan, spent_us, now_ms: None)

    def __init__(self) -> None:
        self.needs_plan = True
        self.plans: list[object] = []

    def view(self, now_ms):
        self.needs_plan = False
        return SimpleNamespace(pending=())

    def planned(self, plan, now_ms):
        self.plans.append(plan)


@pytest.fixture
def host(monkeypatch):
    """A host whose passes do what `host.passes` says, each a generator function."""
    loop, reactor, passes = Loop(), Reactor(), []
    monkeypatch.setattr(planner, "cycle", lambda view, budget, reporter: passes.pop(0)())
    host = PlannerHost(reactor, loop, lambda: loop.call_soon(host.turn), lambda: 1_000)
    host.loop, host.reactor, host.passes = loop, reactor, passes
    return host


def good():
    yield 0
    return "plan"


def broken():
    yield 0
    raise KeyError("a mistake")


def slow():
    for _ in range(50):
        yield 0
    return "slow"


def test_a_pass_that_fails_is_said_and_made_anew_after_a_rest_though_nothing_changed(host, caplog):
    host.passes += [broken, good]
    with caplog.at_level(logging.ERROR):
        host.turn()
        host.loop.run()
    assert "a planning pass failed" in caplog.text and host.reactor.plans == []
    host.reactor.needs_plan = True
    host.turn()
    assert host.passes == [good]  # it rests, whatever changes
    host.reactor.needs_plan = False
    assert host.loop.later() == FAILED_REST_S
    host.loop.run()
    assert host.reactor.plans == ["plan"]
    host.turn()
    assert not host.loop.timers and not host.loop.soon


def test_a_broken_state_is_not_taken_for_a_failed_pass(host):
    def undefined():
        yield 0
        raise BrokenEvent("the state is undefined")

    host.passes.append(undefined)
    with pytest.raises(BrokenEvent):
        host.turn()


def test_a_slow_pass_rests_once_however_much_changes_meanwhile(host, monkeypatch):
    milliseconds = itertools.count()
    monkeypatch.setattr(planner, "time", SimpleNamespace(perf_counter=lambda: next(milliseconds) / 1000))
    host.passes += [slow, good]
    host.turn()
    host.loop.run()
    assert host.reactor.plans == ["slow"]
    host.reactor.needs_plan = True
    for _ in range(100):
        host.turn()
    assert len(host.loop.timers) == 1 and host.loop.later() > 50 / 1000
    host.loop.run()
    assert host.reactor.plans == ["slow", "plan"]
