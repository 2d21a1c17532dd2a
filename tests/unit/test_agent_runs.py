"""Batch scripts on a real agent: they run as asked, and nothing of them is left when their end is told."""

from __future__ import annotations

import os
import signal

import pytest
from agent_harness import Node, until

from penstock.wire.messages import AckEnded, Ended, SetTimeLimit, SignalDone, SignalRun, Started, Suspend, Terminate

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="Linux only")

DETACHED = "import os,time\nif os.fork(): os._exit(0)\nos.setsid()\nif os.fork(): os._exit(0)\nos.close(1)\nos.close(2)\n"
FOREVER = "#!/bin/bash\necho begun\nsleep 1000\n"


@pytest.fixture(scope="module")
def node():
    with Node() as one:
        yield one


def test_exit_code_output_arguments_and_environment(node):
    script = '#!/bin/bash\necho "out $1 $SLURM_JOB_ID $SLURMD_NODENAME $ENVIRONMENT pid=$$ $TMPDIR"; echo err >&2; pwd; exit 3\n'
    record = node.run(1, script, argv=("an arg",))
    assert record.wait_status == 3 << 8 and record.cause == ""
    lines = node.read("1.out").splitlines()
    assert lines[0].startswith("out an arg 1 n1 BATCH ") and lines[0].endswith(" /tmp")
    assert lines[0].split()[6] == f"pid={record.pid}"
    assert lines[1:] == ["err", node.out]


def test_a_signal_is_told_as_such(node):
    assert node.run(2, "#!/bin/bash\nkill -SEGV $$\n").wait_status & 0x7F == signal.SIGSEGV


def test_errors_go_to_their_own_file_and_missing_folders_are_made(node):
    node.run(3, "#!/bin/bash\necho out; echo err >&2\n", stdout=f"{node.out}/a/b/out", stderr=f"{node.out}/c/err")
    assert node.read("a/b/out") == "out\n" and node.read("c/err") == "err\n"


def test_append_and_truncate(node):
    for job_id, append in ((4, False), (5, True), (6, False)):
        node.run(job_id, f"#!/bin/bash\necho {job_id}\n", stdout=f"{node.out}/same", append=append)
        assert node.read("same") == {4: "4\n", 5: "4\n5\n", 6: "6\n"}[job_id]


def test_an_output_that_cannot_be_opened_fails_the_launch(node):
    record = node.run(7, "#!/bin/bash\ntouch ran\n", stdout="/proc/no/such/file")
    assert record.cause == "LaunchFailed" and "Could not open stdout file /proc/no/such/file" in record.detail
    assert not os.path.exists(f"{node.out}/ran")


def test_a_missing_work_dir_is_told_and_tmp_taken(node):
    assert node.run(8, "#!/bin/bash\npwd\n", work_dir="/no/such").wait_status == 0
    complaint = "slurmstepd: error: couldn't chdir to `/no/such': No such file or directory: going to /tmp instead\n"
    assert node.read("8.out") == complaint + "/tmp\n"


def test_a_missing_interpreter_is_told_in_the_log(node):
    assert node.run(9, "#!/no/such/shell\n").wait_status == 2 << 8
    assert node.read("9.out").startswith("slurmstepd: error: execve(): ") and "No such file or directory" in node.read("9.out")


def test_umask_and_soft_limits(node):
    node.run(10, "#!/bin/bash\numask; ulimit -Sn; touch made\n", umask=0o027, rlimits={"NOFILE": 321})
    assert node.read("10.out") == "0027\n321\n"
    assert os.stat(f"{node.out}/made").st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts jobs of others")
def test_as_another_user_nothing_of_root_is_left(node):
    script = "#!/bin/bash\nid -u; id -g; id -G; grep -E '^(Uid|Gid|CapEff)' /proc/self/status | tr '\\t' ' '\n"
    node.run(11, script, as_user=65534)
    lines = node.read("11.out").splitlines()
    assert lines[0] == "65534" and "0" not in lines[2].split()
    assert "Uid: 65534 65534 65534 65534" in lines and "CapEff: 0000000000000000" in lines
    assert os.stat(f"{node.out}/11.out").st_uid == 65534


BACKGROUND = ["sleep 1000 &", "setsid sleep 1000 &", "(trap '' TERM HUP; sleep 1000) & disown"]


@pytest.mark.parametrize("number", range(len(BACKGROUND)))
def test_what_a_script_leaves_in_the_background_is_killed(node, number):
    record = node.run(100 + number, f"#!/bin/bash\n{BACKGROUND[number]}\nexit 4\n")
    assert record.wait_status == 4 << 8 and node.of_runs() == []


def test_a_process_that_forked_away_and_closed_its_output_is_killed(node):
    script = f"#!/usr/bin/env python3\n{DETACHED}open('daemon','w').write(str(os.getpid()))\ntime.sleep(1000)\n"
    node.assign(21, "#!/bin/bash\n" + f'python3 -c "{script}"\nwhile [ ! -s daemon ]; do sleep 0.01; done\n')
    assert node.ended(21).wait_status == 0
    assert not os.path.exists(f"/proc/{node.read('daemon')}")


def test_a_repeated_assign_does_not_start_it_twice(node):
    for _ in range(3):
        node.assign(22, "#!/bin/bash\necho once >> runs\nsleep 0.3\n")
    node.ended(22)
    node.assign(22, "#!/bin/bash\necho twice >> runs\n")
    node.run(23, "#!/bin/bash\ntrue\n")
    assert node.read("runs") == "once\n"


def test_terminate_ends_a_script_that_ignores_sigterm(node):
    node.assign(24, "#!/bin/bash\ntrap '' TERM\necho begun\nwhile :; do sleep 1000; done\n")
    node.wait_file("24.out", "begun")
    node.send(Terminate(24, 0, "Cancelled", notice="slurmstepd: error: *** JOB 24 ON n1 CANCELLED ***", kill_wait_s=0))
    record = node.ended(24)
    assert record.cause == "Cancelled" and record.wait_status & 0x7F == signal.SIGKILL
    assert node.read("24.out").endswith("*** JOB 24 ON n1 CANCELLED ***\n") and node.of_runs() == []


def test_terminate_gives_a_script_time_to_clean_up(node):
    node.assign(25, "#!/bin/bash\ntrap 'echo cleaned; exit 7' TERM\necho begun\nwhile :; do sleep 0.05; done\n")
    node.wait_file("25.out", "begun")
    node.send(Terminate(25, 0, "Cancelled"))
    assert node.ended(25).wait_status == 7 << 8
    assert "cleaned" in node.read("25.out")


def test_terminate_before_assign_refuses_the_run(node):
    node.send(Terminate(26, 0, "Cancelled"))
    assert node.ended(26).cause == "Cancelled"
    node.assign(26, "#!/bin/bash\ntouch never\n")
    node.run(27, "#!/bin/bash\ntrue\n")
    assert not os.path.exists(f"{node.out}/never")


def test_time_limit(node):
    record = node.run(28, FOREVER, time_limit_s=1)
    assert record.cause == "TimeLimit" and 1000 <= record.end_ms - record.start_ms < 5000
    assert "*** JOB 28 ON n1 CANCELLED AT " in node.read("28.out") and node.read("28.out").endswith(" DUE TO TIME LIMIT ***\n")


def test_warning_before_the_limit_and_a_changed_limit(node):
    script = "#!/bin/bash\ntrap 'echo warned' USR1\necho begun\nwhile :; do sleep 0.05; done\n"
    node.assign(29, script, time_limit_s=3600, warn_signal=int(signal.SIGUSR1), warn_before_s=3599, warn_batch_only=True)
    node.wait_file("29.out", "warned")
    node.send(SetTimeLimit(29, 0, 1))
    assert node.ended(29).cause == "TimeLimit"


def test_time_stands_still_while_suspended(node):
    node.assign(30, FOREVER, time_limit_s=600)
    pid = node.wait_for(Started, job_id=30).pid
    node.wait_file("30.out", "begun")
    node.send(Suspend(30, 0, False))
    until(lambda: _state(pid) == "T")
    node.send(SetTimeLimit(30, 0, 1))
    node.run(31, "#!/bin/bash\nsleep 1.2\n")
    assert _state(pid) == "T"
    node.send(Suspend(30, 0, True))
    assert node.ended(30).cause == "TimeLimit"


def test_signals_reach_whom_they_are_for(node):
    child = "trap 'echo child' USR1; echo ready; while :; do sleep 0.05; done"
    node.assign(32, f'#!/bin/bash\ntrap "echo script" USR1\nbash -c "{child}" &\nwhile :; do sleep 0.05; done\n')
    node.wait_file("32.out", "ready")
    node.send(SignalRun(1, 32, 0, signal.SIGUSR1, "batch"))
    assert node.wait_for(SignalDone, signal_id=1).error == ""
    assert "child" not in node.wait_file("32.out", "script")
    node.send(SignalRun(2, 32, 0, signal.SIGUSR1, "full"))
    node.wait_file("32.out", "child")
    node.send(SignalRun(3, 32, 0, signal.SIGKILL, "batch"))
    assert node.ended(32).wait_status & 0x7F == signal.SIGKILL
    node.send(SignalRun(4, 32, 0, signal.SIGUSR1, "batch"))
    assert "does not run" in node.wait_for(SignalDone, signal_id=4).error


def test_login_environment_comes_first(node):
    node.run(33, '#!/bin/bash\necho "$HOME $MINE"\n', login_environment=True, environment=b"MINE=1")
    assert node.read("33.out").endswith(" 1\n") and node.read("33.out").startswith("/")


def test_gpus_are_shown_by_position():
    with Node(arguments=("--gpus", "h100:4")) as one:
        one.run(1, '#!/bin/bash\necho "$CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS"\n', gpus=("GPU-simulated-n1-3", "GPU-simulated-n1-1"))
        assert one.read("1.out") == "1,3 1,3\n"


def test_an_end_is_repeated_until_it_is_acknowledged(node):
    node.assign(34)
    first = node.wait_for(Ended, job_id=34)
    node.assign(34)
    assert node.wait_for(Ended, job_id=34) == first
    node.send(AckEnded(34, 0))
    until(lambda: not os.path.lexists(f"{node.dir}/nodes/n1/jobs/34.0"))


def test_an_assign_of_a_former_controller_is_ignored(node):
    node.assign(35, "#!/bin/bash\ntouch stale\n", epoch=0)
    node.run(36, "#!/bin/bash\ntrue\n")
    assert not os.path.exists(f"{node.out}/stale")


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(") ")[2][0]
