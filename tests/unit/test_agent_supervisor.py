"""When an agent starts a controller that exited, and when it does not. The clock is a number."""

from __future__ import annotations

import fcntl
import os

import pytest

from penstock.agent.supervisor import RESTART_FIRST_S, RESTART_LAST_S, RESTARTS_MAX, STEADY_S, Supervisor, office_held
from penstock.config.folder import ClusterFolder, Supervision


class Child:
    """A controller that was started, and how it ended."""

    def __init__(self, code=None):
        self.returncode = code

    def poll(self):
        return self.returncode


class Machine:
    """A folder, a clock, and the controllers that were started: by default each exits with 1 at once."""

    def __init__(self, path):
        self.folder = ClusterFolder(str(path))
        self.folder.make()
        self.folder.want()
        self.started = []
        self.code = 1
        self.now_s = 1000.0
        self.agent = self.supervisor("n0")

    def supervisor(self, node):
        def spawn():
            self.started.append(self.now_s)
            return Child(self.code)

        return Supervisor(self.folder, node, spawn)

    def away(self, seconds, agent=None):
        """The controller cannot be reached for so long."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            (agent or self.agent).tick(False, self.now_s)
            self.now_s += 0.25

    def there(self, seconds):
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.agent.tick(True, self.now_s)
            self.now_s += 0.25


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "cluster")


def test_a_controller_that_is_gone_is_started_and_it_is_noted(machine):
    machine.there(5)
    machine.away(RESTART_FIRST_S + 0.5)
    assert len(machine.started) == 1
    noted = machine.folder.supervision()
    assert (noted.node, noted.restarts, noted.gave_up) == ("n0", 1, False)


def test_a_connection_that_is_back_at_once_starts_nothing(machine):
    machine.there(1)
    machine.away(RESTART_FIRST_S / 2)
    machine.there(1)
    machine.away(RESTART_FIRST_S / 2)
    assert machine.started == []


def test_a_cluster_that_is_not_wanted_is_left_alone(machine):
    machine.folder.unwant()
    machine.away(100)
    assert machine.started == []


def test_the_pauses_double_and_the_starts_in_a_row_have_an_end(machine):
    machine.away(RESTART_LAST_S * RESTARTS_MAX * 2)
    assert len(machine.started) == RESTARTS_MAX
    pauses = [after - before for before, after in zip(machine.started, machine.started[1:], strict=False)]
    assert pauses == sorted(pauses) and pauses[0] >= 2 * RESTART_FIRST_S and pauses[-1] == RESTART_LAST_S
    assert machine.folder.supervision().gave_up


def test_a_controller_that_lived_long_enough_has_all_its_starts_again(machine):
    for _ in range(RESTARTS_MAX):
        machine.away(RESTART_LAST_S)
        machine.there(STEADY_S + 1)
    assert len(machine.started) > RESTARTS_MAX
    assert not machine.folder.supervision().gave_up


def test_a_controller_that_is_still_loading_is_waited_for(machine):
    machine.code = None
    machine.away(500)
    assert len(machine.started) == 1


def test_nothing_is_started_while_somebody_holds_the_office(machine):
    lock = os.open(f"{machine.folder.path}/controller.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        assert office_held(machine.folder)
        machine.away(100)
        assert machine.started == []
    finally:
        os.close(lock)
    assert not office_held(machine.folder)
    machine.away(10)
    assert machine.started


def test_of_two_agents_one_supervises(machine):
    other = machine.supervisor("n1")
    machine.away(1.5)
    machine.away(2, other)
    assert len(machine.started) == 1
    assert machine.folder.supervision().node == "n0"


def test_up_forgets_earlier_starts(machine):
    machine.folder.note_supervision(Supervision("n0", 7, 1, gave_up=True))
    machine.folder.want()
    assert machine.folder.supervision() is None
