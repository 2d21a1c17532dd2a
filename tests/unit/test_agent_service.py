"""The agent's shell around its machine, where a whole node (test_agent_runs) would not get it to go wrong."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest

from penstock.agent import folder
from penstock.agent.events import Inspect, Inspected, Tick
from penstock.agent.service import Service
from penstock.wire.messages import Hello


@pytest.fixture
def service(tmp_path):
    node_dir = tmp_path / "nodes" / "n1"
    node_dir.mkdir(parents=True)
    return Service(str(tmp_path), str(tmp_path), str(node_dir), Hello(1, "n1", "host", "boot", "0", 4, 1000))


def test_a_beat_that_fails_in_one_part_reaches_the_others_and_the_next_one_comes(service, monkeypatch, caplog):
    beats = []

    def no_descriptor_left(there, now_s):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(service, "_supervisor", type("Supervisor", (), {"tick": staticmethod(no_descriptor_left)}))
    monkeypatch.setattr(service, "_commands", type("Supervisor", (), {"tick": staticmethod(lambda there, now_s: beats.append(now_s))}))
    monkeypatch.setattr(service.machine, "handle", lambda event, now_ms: beats.append(type(event)) or [])
    with caplog.at_level(logging.ERROR):
        service.beat(1.0)
        service.beat(2.0)
    assert beats == [Tick, 1.0, Tick, 2.0]
    assert [str(record.exc_info[1]) for record in caplog.records] == ["[Errno 24] Too many open files"] * 2


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_a_clock_that_is_set_does_not_move_what_the_machine_waits_for(service, monkeypatch, jump_s):
    times_ms = []
    monkeypatch.setattr(service.machine, "handle", lambda event, now_ms: times_ms.append(now_ms) or [])
    service.handle(Tick())
    set_ns = time.time_ns() + jump_s * 1_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: set_ns)
    service.handle(Tick())
    assert 0 <= times_ms[1] - times_ms[0] < 60_000


def test_a_run_that_cannot_be_inspected_is_inspected_again(service, monkeypatch):
    heard = []

    def broken(node_dir, run, end_lost):
        raise KeyError("a mistake")

    monkeypatch.setattr("penstock.agent.service.inspect", broken)
    monkeypatch.setattr(service, "handle", heard.append)
    asyncio.run(service._inspect(Inspect((7, 0))))
    assert heard == [Inspected((7, 0), "locked")]


def test_shepherds_that_leave_together_are_swept_up_together(service, monkeypatch):
    waiting, swept = [], []
    monkeypatch.setattr(service, "_threads", SimpleNamespace(submit=waiting.append))
    monkeypatch.setattr(folder, "sweep_berths", swept.append)
    for number in range(5):
        service.shepherd_left(number)
    assert len(waiting) == 1
    waiting.pop()()
    assert swept == [service.node_dir]
    service.shepherd_left(6)
    assert len(waiting) == 1
