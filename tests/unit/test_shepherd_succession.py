"""A shepherd that stood still while its agent was replaced: what the old agent had told it to begin, it does not begin any more."""

from __future__ import annotations

import os
import signal
import socket

import pytest

from penstock.agent import folder
from penstock.agent.cgroups import Hierarchies
from penstock.agent.shepherd.loop import Shepherd
from penstock.agent.shepherd.protocol import Refused, Setup, decode_from_shepherd
from penstock.wire.messages import Assign, Deframer


def listen(path):
    """An agent's socket, made anew as each agent does."""
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(1)
    return listener


@pytest.fixture
def shepherd(tmp_path):
    folder.prepare(str(tmp_path))
    before = signal.getsignal(signal.SIGCHLD), signal.set_wakeup_fd(-1)
    made = Shepherd("n0", str(tmp_path), str(tmp_path / "agent.sock"), Hierarchies())
    yield made
    signal.signal(signal.SIGCHLD, before[0])
    signal.set_wakeup_fd(before[1])
    made._disconnect()
    made._wake.close()
    made._waker.close()
    made._berth.remove()


@pytest.mark.parametrize("successor", [False, True])
def test_an_assign_of_an_agent_that_has_a_successor_is_refused(shepherd, tmp_path, successor):
    path = str(tmp_path / "agent.sock")
    first = listen(path)
    shepherd._connect(0)
    agent, _ = first.accept()
    second = listen(path) if successor else None
    shepherd._take(Setup("n0", "test", "n0"))
    shepherd._take(Assign(7, 0, 1, os.getuid(), os.getgid(), "nobody", False, 1, 0))
    shepherd._flush()
    said = [decode_from_shepherd(payload) for payload in Deframer().feed(agent.recv(65536))]
    assert (Refused(7, 0) in said) is successor
    assert os.path.lexists(tmp_path / "jobs" / "7.0") is not successor
    for one in (first, agent, second):
        if one is not None:
            one.close()
