"""Steps on a real agent: tasks, their variables, their ends, what they leave behind; memory; a plain user."""

from __future__ import annotations

import os
import signal

import pytest
from agent_harness import Node, interpreter, until

from penstock.wire.messages import Ended, QueryUsage, SignalRun, Started, StepEnded, TaskIo, Terminate, UsageReport


@pytest.fixture(scope="module")
def node():
    with Node(arguments=("--gpus", "a100:4")) as one:
        yield one


def allocation(node: Node, job_id: int, **fields: object) -> None:
    """A run without a script: it only owns steps."""
    node.assign(job_id, batch=False, **fields)
    node.wait_for(Started, job_id=job_id)


def end(node: Node, job_id: int) -> object:
    node.send(Terminate(job_id, 0, "Cancelled", kill_wait_s=1))
    return node.ended(job_id)


def test_tasks_know_who_they_are(node):
    allocation(node, 1)
    say = 'echo "$SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURM_GTIDS $SLURM_STEP_ID $SLURMD_NODENAME $((SLURM_TASK_PID-$$))"'
    node.launch(1, 0, ("bash", "-c", say), (2, 3, 5), node_rank=1, ntasks=8)
    record = node.step_ended(1, 0)
    assert record.tasks == ((2, 0), (3, 0), (5, 0)) and record.cause == ""
    assert [node.read(f"1.0.{rank}") for rank in (2, 3, 5)] == [f"{rank} {i} 1 2,3,5 0 n1 0\n" for i, rank in enumerate((2, 3, 5))]
    assert end(node, 1).cause == "Cancelled"


def test_exit_codes_of_tasks_and_the_worst_of_them(node):
    allocation(node, 2)
    node.launch(2, 0, ("bash", "-c", "exit $SLURM_PROCID"), (0, 1, 2))
    record = node.step_ended(2, 0)
    assert record.tasks == ((0, 0), (1, 1 << 8), (2, 2 << 8)) and record.wait_status == 2 << 8
    node.launch(2, 1, ("no-such-program",))
    assert node.step_ended(2, 1).tasks == ((0, 2 << 8),)
    assert "slurmstepd: error: execve(): no-such-program: No such file or directory" in node.read("2.1.0")
    end(node, 2)


def test_multi_prog_gives_each_rank_its_program(node):
    allocation(node, 3)
    node.launch(3, 0, (), (0, 1), multi_prog=((0, ("echo", "zero")), (1, ("echo", "one"))))
    node.step_ended(3, 0)
    assert (node.read("3.0.0"), node.read("3.0.1")) == ("zero\n", "one\n")
    end(node, 3)


def test_gpus_of_a_step_and_of_its_tasks(node):
    uuids = tuple(f"GPU-simulated-n1-{i}" for i in range(4))
    allocation(node, 4, gpus=uuids)
    node.launch(4, 0, ("bash", "-c", "echo $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS"), (0, 1), gpus=uuids[2:], gpus_per_task=1)
    node.step_ended(4, 0)
    assert (node.read("4.0.0"), node.read("4.0.1")) == ("2 2,3\n", "3 2,3\n")
    node.launch(4, 1, ("bash", "-c", "echo ${CUDA_VISIBLE_DEVICES-none}"), environment=b"PATH=/bin:/usr/bin\0CUDA_VISIBLE_DEVICES=0,1")
    node.step_ended(4, 1)
    assert node.read("4.1.0") == "none\n"
    end(node, 4)


def test_what_a_task_leaves_is_killed_at_the_end_of_its_step_and_the_other_step_lives(node):
    allocation(node, 5)
    node.launch(5, 0, ("sleep", "1000"))
    node.launch(5, 1, ("bash", "-c", "setsid sleep 1001 & (setsid setsid sleep 1001 &); sleep 1001 & exit 0"))
    assert node.step_ended(5, 1).cause == ""
    assert commands(node) == ["sleep 1000"]
    node.send(Terminate(5, 0, "Cancelled", step_id=0))
    record = node.step_ended(5, 0)
    assert record.cause == "Cancelled" and record.tasks == ((0, signal.SIGTERM),)
    end(node, 5)
    assert node.of_runs() == []


def commands(node: Node) -> list[str]:
    found = []
    for pid in node.of_runs():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            found.append(file.read().rstrip(b"\0").replace(b"\0", b" ").decode())
    return [line for line in found if line]


def test_wait_for_children(node):
    allocation(node, 6)
    node.launch(6, 0, ("bash", "-c", "(sleep 0.4; echo late) & exit 0"), wait_for_children=True)
    node.step_ended(6, 0)
    assert node.read("6.0.0") == "late\n"
    end(node, 6)


def test_signals_to_steps_leave_the_script_alone(node):
    node.assign(7, "#!/bin/bash\ntrap 'echo script' USR1\necho begun\nwhile [ ! -e done7 ]; do sleep 0.02; done\n")
    node.wait_file("7.out", "begun")
    node.launch(7, 0, ("bash", "-c", "trap 'echo task; exit 9' USR1; echo ready; while :; do sleep 0.02; done"))
    node.wait_file("7.0.0", "ready")
    node.send(SignalRun(1, 7, 0, signal.SIGUSR1, "steps"))
    assert node.step_ended(7, 0).wait_status == 9 << 8
    with open(f"{node.out}/done7", "w", encoding="ascii"):
        pass
    node.ended(7)
    assert "script" not in node.read("7.out") and "task" in node.read("7.0.0")


def test_a_step_that_goes_when_the_script_ends_is_ended_first(node):
    node.assign(8, "#!/bin/bash\necho begun\nwhile [ ! -e done8 ]; do sleep 0.02; done\nexit 3\n", kill_wait_s=1)
    node.wait_file("8.out", "begun")
    node.launch(8, 0, ("bash", "-c", "trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.02; done"))
    node.wait_file("8.0.0", "ready")
    with open(f"{node.out}/done8", "w", encoding="ascii"):
        pass
    assert node.step_ended(8, 0).cause == "Cancelled"
    assert node.ended(8).wait_status == 3 << 8 and "asked" in node.read("8.0.0")


def test_a_step_of_an_unknown_run_fails(node):
    node.launch(999, 0, ("true",))
    record = node.step_ended(999, 0)
    assert record.cause == "LaunchFailed" and "does not run on this node" in record.detail


def test_a_repeated_launch_starts_nothing_twice(node):
    allocation(node, 9)
    for _ in range(3):
        node.launch(9, 0, ("bash", "-c", "echo once; sleep 0.2"))
    node.step_ended(9, 0)
    node.launch(9, 0, ("bash", "-c", "echo twice"))
    node.launch(9, 1, ("true",))
    node.step_ended(9, 1)
    assert node.read("9.0.0") == "once\n"
    end(node, 9)


def test_step_time_limit(node):
    allocation(node, 10)
    node.launch(10, 0, ("sleep", "1000"), time_limit_s=1)
    record = node.step_ended(10, 0)
    assert record.cause == "TimeLimit" and record.tasks == ((0, signal.SIGTERM),)
    end(node, 10)


def test_use_of_a_running_step(node):
    allocation(node, 11)
    node.launch(11, 0, ("python3", "-c", "x = bytearray(50 << 20); print('ready', flush=True); import time; time.sleep(1000)"))
    node.wait_file("11.0.0", "ready")
    node.send(QueryUsage(1, 11))
    report = node.wait_for(UsageReport, query_id=1)
    assert [step for step, _, _ in report.steps] == [0]
    assert report.steps[0][1].max_rss_kib > 50 * 1024 and len(report.steps[0][2]) == 1
    end(node, 11)
    node.send(QueryUsage(2, 11))
    assert node.wait_for(UsageReport, query_id=2).steps == ()


def test_a_killed_shepherd_ends_its_steps_too(node):
    allocation(node, 12)
    node.launch(12, 0, ("sleep", "1000"))
    until(lambda: node.of_runs())
    for pid in node.daemons("shepherd"):
        os.kill(pid, signal.SIGKILL)
    assert node.wait_for(StepEnded, job_id=12).record.cause == "ShepherdKilled"
    assert node.ended(12).cause == "ShepherdKilled"
    assert node.of_runs() == []


GREEDY = "python3 -c \"x = bytearray(300 << 20); print('had it', flush=True)\nimport time; time.sleep(30)\"\n"


def test_memory_over_the_limit_is_out_of_memory(node):
    record = node.run(13, "#!/bin/bash\n" + GREEDY, memory_mib=100)
    assert record.cause == "OutOfMemory"
    assert "oom_kill event" in node.read("13.out")


def test_a_step_may_have_less_memory_than_its_job(node):
    allocation(node, 17, memory_mib=1000)
    node.launch(17, 0, ("bash", "-c", GREEDY), memory_mib=100)
    node.launch(17, 1, ("bash", "-c", "sleep 0.1"), memory_mib=100)
    assert node.step_ended(17, 0).cause == "OutOfMemory"
    assert node.step_ended(17, 1).cause == ""
    end(node, 17)


def test_memory_within_the_limit_is_measured(node):
    record = node.run(14, "#!/bin/bash\npython3 -c 'x = bytearray(60 << 20)'\n", memory_mib=200)
    assert record.cause == "" and 60 * 1024 < record.usage.max_rss_kib < 200 * 1024
    assert record.usage.user_cpu_us + record.usage.system_cpu_us > 0
    assert node.run(18, "#!/bin/bash\nhead -c 50M /dev/zero > big\n", memory_mib=200).usage.max_rss_kib < 40 * 1024  # not the page cache


def test_a_gigabyte_of_output_to_a_file_passes_untouched(node):
    record = node.run(15, "#!/bin/bash\nhead -c 1G /dev/zero > /dev/null; head -c 100M /dev/zero\n")
    assert record.wait_status == 0 and os.path.getsize(f"{node.out}/15.out") == 100 << 20


@pytest.mark.skipif(os.geteuid() != 0 or interpreter(65534) is None, reason="needs root, to become somebody else who may execute Python")
def test_the_whole_node_side_as_a_plain_user():
    with Node(uid=65534) as one:
        record = one.run(1, "#!/bin/bash\n(setsid sleep 1000 &)\nid -u\n")
        assert record.wait_status == 0 and one.read("1.out") == "65534\n" and one.of_runs() == []
        assert one.run(2, "#!/bin/bash\n" + GREEDY, memory_mib=100).cause == "OutOfMemory"
        one.assign(3, "#!/bin/bash\ntrap '' TERM\nsetsid sleep 1000 &\necho begun\nsleep 1000\n")
        one.wait_file("3.out", "begun")
        for pid in one.daemons("shepherd"):
            os.kill(pid, signal.SIGKILL)
        assert one.ended(3).cause == "ShepherdKilled" and one.of_runs() == []
        one.assign(4, as_user=0)
        record = one.wait_for(Ended, job_id=4).record
        assert record.cause == "LaunchFailed" and "rootless" in record.detail


def test_io_to_the_client_is_closed_when_nobody_listens(node):
    allocation(node, 16)
    node.launch(16, 0, ("bash", "-c", "echo lost; exit 4"), io=TaskIo(address=f"unix:{node.dir}/nobody", key=b"k" * 32))
    assert node.step_ended(16, 0).wait_status == 4 << 8
    end(node, 16)
