"""Shepherd, agent and launcher are killed with SIGKILL: no run is lost, doubled or left behind."""

from __future__ import annotations

import os
import signal

import pytest
from agent_harness import Node, until

from penstock.wire.messages import AckEnded, Ended, Started, Terminate

GATED = "#!/bin/bash\necho begun $$\nwhile [ ! -e {gate} ]; do sleep 0.02; done\necho went on\nexit 5\n"
AWAY = """#!/bin/bash
trap '' TERM HUP
env -i setsid bash -c 'exec -a stray-clean sleep 1000' &
setsid bash -c '(setsid sleep 1000 &) ; sleep 1000' &
echo begun
sleep 1000
"""


@pytest.fixture
def node():
    with Node() as one:
        yield one


def gated(node: Node, job_id: int) -> str:
    """Start a job that goes on until its gate file is there; the gate."""
    gate = f"{node.out}/gate{job_id}"
    node.assign(job_id, GATED.format(gate=gate))
    node.wait_file(f"{job_id}.out", "begun")
    return gate


def touch(path: str) -> None:
    with open(path, "w", encoding="ascii"):
        pass


def test_a_killed_shepherd_fails_its_run_and_nothing_is_left(node):
    before = strays()
    node.assign(1, AWAY)
    node.wait_file("1.out", "begun")
    until(lambda: len(strays()) == len(before) + 1 and len(node.of_runs()) >= 3)
    for pid in node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)
    record = node.ended(1)
    assert record.cause == "ShepherdKilled" and "was killed before the end was recorded" in record.detail
    assert node.of_runs() == [] and strays() == before
    assert node.run(2, "#!/bin/bash\nexit 3\n").wait_status == 3 << 8


def strays() -> list[str]:
    """Living processes that cleaned their environment, as AWAY starts one."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if name.isdecimal() and file.read().startswith(b"stray-clean"):
                    found.append(name)
        except OSError:
            continue
    return found


def test_an_agent_may_die_while_a_run_goes_on(node):
    gate = gated(node, 1)
    node.kill_agent()
    node.start_agent()
    hello = node.accept()
    assert [(run.job_id, run.record) for run in hello.runs] == [(1, None)]
    touch(gate)
    assert node.ended(1).wait_status == 5 << 8
    assert node.read("1.out").count("begun") == 1


def test_a_run_that_ended_while_the_agent_was_dead_keeps_its_exit_code(node):
    gate = gated(node, 1)
    node.kill_agent()
    touch(gate)
    until(lambda: node.of_runs() == [])
    for pid in node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)  # what it wrote must be enough, if it came to writing
    node.start_agent()
    node.accept()
    record = node.wait_for(Ended, job_id=1).record
    assert (record.wait_status, record.cause) in ((5 << 8, ""), (9, "ShepherdKilled"))
    node.kill_agent()
    node.start_agent()
    again = node.accept().runs
    assert node.wait_for(Ended, job_id=1).record == record if not again or again[0].record is None else again[0].record == record
    node.send(AckEnded(1, 0))
    until(lambda: os.listdir(f"{node.dir}/nodes/n1/jobs") == [])


def test_a_durable_end_survives_shepherd_and_agent(node):
    node.assign(1, "#!/bin/bash\nexit 6\n")
    assert node.wait_for(Ended, job_id=1).record.wait_status == 6 << 8
    for pid in node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)
    node.kill_agent()
    node.start_agent()
    node.accept()
    node.assign(1, "#!/bin/bash\ntouch twice\n")
    assert node.ended(1).wait_status == 6 << 8
    until(lambda: os.listdir(f"{node.dir}/nodes/n1/jobs") == [])
    assert not os.path.exists(f"{node.out}/twice")


def test_a_killed_launcher_ends_nothing_and_is_replaced(node):
    gate = gated(node, 1)
    for pid in node.daemons("launcher"):
        os.kill(pid, signal.SIGKILL)
    gates = [gated(node, job_id) for job_id in (2, 3)]
    for one in (gate, *gates):
        touch(one)
    assert [node.ended(job_id).wait_status for job_id in (1, 2, 3)] == [5 << 8] * 3


def test_launcher_and_shepherd_die_together(node):
    node.assign(1, AWAY)
    node.wait_file("1.out", "begun")
    for pid in node.daemons("launcher") + node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)
    assert node.ended(1).cause == "ShepherdKilled"
    assert node.of_runs() == []


def test_everything_dies_at_once(node):
    node.assign(1, AWAY)
    node.wait_file("1.out", "begun")
    for pid in node.daemons("launcher") + node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)
    node.kill_agent()
    node.start_agent()
    node.accept()
    assert node.ended(1).cause == "ShepherdKilled"
    assert node.of_runs() == []


def test_the_controller_may_go_and_come_while_runs_begin_and_end(node):
    gate = gated(node, 1)
    node._connection.close()
    touch(gate)
    hello = node.accept()
    assert [run.job_id for run in hello.runs] == [1]
    assert node.ended(1).wait_status == 5 << 8


def test_terminate_reaches_a_run_whose_agent_was_replaced(node):
    gated(node, 1)
    node.kill_agent()
    node.start_agent()
    node.accept()
    node.send(Terminate(1, 0, "Cancelled", kill_wait_s=1))
    assert node.ended(1).cause == "Cancelled"


def test_a_standing_shepherd_takes_the_next_run_of_its_user(node):
    pids = set()
    for job_id in range(1, 6):
        node.assign(job_id, "#!/bin/bash\necho $PPID\n")
        node.wait_for(Started, job_id=job_id)
        node.ended(job_id)
        pids.add(node.read(f"{job_id}.out"))
    assert len(pids) == 1


def test_a_cluster_that_is_gone_leaves_no_shepherd_behind(node):
    node.assign(1, "#!/bin/bash\nexit 6\n")
    node.wait_for(Ended, job_id=1)
    node.kill_agent()
    (pid,) = node.daemons("shepherd")
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    node.start_agent()
    node.accept()
    assert node.ended(1).wait_status == 6 << 8
