"""The srun command against a fake controller: real processes, real terminal I/O, Slurm's words."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time

import pytest
from fake_cluster import Command, FakeCluster

IN_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NAME": "outer"}

SIZES = (
    *("-n4", "-N2-2", "-c2", "--ntasks-per-node=2", "--mem=1G", "--gres=gpu:1", "--exact", "-x", "n9", "-t", "5", "-J", "name"),
    *("-D", "/usr"),
)


@pytest.fixture
def make():
    made = []

    def build(*args, **kwargs):
        made.append(FakeCluster(*args, **kwargs))
        return made[-1]

    build.commands = []
    yield build
    for command in build.commands:
        command.kill()
    for cluster in made:
        cluster.close()


@pytest.fixture
def srun(make):
    def start(*arguments, cluster=None, **options):
        options["environment"] = {**IN_JOB, **options.get("environment", {})}
        command = Command(cluster or make(), "srun", *arguments, **options)
        make.commands.append(command)
        return command

    return start


def lines(data):
    return data.decode().splitlines()


# --- as a step


def test_output_and_errors_come_through_and_success_is_zero(srun):
    done = srun("sh", "-c", "echo out; echo err >&2").finish()
    assert (done.code, done.out, done.err) == (0, b"out\n", b"err\n")


def test_the_step_request_says_what_was_asked_for(srun):
    done = srun(*SIZES, "true").finish()
    (fields,) = done.cluster.asked("step_create")
    wanted = {"ntasks": 4, "nodes_min": 2, "nodes_max": 2, "cpus_per_task": 2, "ntasks_per_node": 2, "mem_per_node_mib": 1024, "job_id": 7}
    wanted |= {"gres": ["gpu:1"], "exact": True, "exclude": "n9", "time_limit_s": 300, "name": "name", "work_dir": "/usr"}
    assert {key: fields.get(key) for key in wanted} == wanted
    assert fields["argv"][0].endswith("/true")
    assert "overlap" not in fields


def test_exclusive_overlap_relative_and_no_devices_are_sent(srun):
    done = srun("--exclusive", "--overlap", "--whole", "-r1", "--gres=none", "true").finish()
    (fields,) = done.cluster.asked("step_create")
    assert fields["whole"] is True
    assert (fields["exclusive"], fields["overlap"], fields["relative"], fields["gres"]) == (True, True, 1, ["none"])


def test_distribution_is_sent_or_refused(srun):
    assert srun("-mcyclic:block", "true").finish().cluster.asked("step_create")[0]["distribution"] == "cyclic"
    assert "distribution" not in srun("true").finish().cluster.asked("step_create")[0]
    done = srun("-marbitrary", "true").finish()
    assert (done.code, b"Invalid --distribution" in done.err) == (255, True)


def test_the_jobs_own_size_does_not_bind_its_steps(srun):
    job = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_MEM_PER_NODE": "4000", "SLURM_GPUS": "8", "SLURM_CPUS_PER_TASK": "3"}
    done = srun("-n1", "true", environment=job).finish()
    (fields,) = done.cluster.asked("step_create")
    assert fields["ntasks"] == 1
    assert fields["cpus_per_task"] == 3
    assert not {"nodes_min", "mem_per_node_mib", "gpus"} & set(fields)
    done = srun("true", environment=job).finish()
    (fields,) = done.cluster.asked("step_create")
    assert (fields["ntasks"], fields["nodes_min"]) == (4, 2)


def test_exit_codes_are_the_highest_and_said_by_node(srun, make):
    done = srun("-n6", "sh", "-c", "exit $((SLURM_PROCID / 2))", cluster=make(["n1", "n2"])).finish()
    assert done.code == 2
    assert sorted(lines(done.err)) == [
        "srun: error: n1: task 2: Exited with exit code 1",
        "srun: error: n2: task 3: Exited with exit code 1",
        "srun: error: n2: tasks 4-5: Exited with exit code 2",
    ]


@pytest.mark.parametrize(
    ("name", "code", "text", "forced"),
    [("KILL", 137, "Killed", True), ("TERM", 143, "Terminated", True), ("SEGV", 139, "Segmentation fault", False)],
)
def test_a_signal_is_named_and_makes_128_and_its_number(srun, name, code, text, forced):
    done = srun("-n2", "sh", "-c", f"ulimit -c 0; kill -{name} $$").finish()
    assert done.code == code
    assert lines(done.err) == [f"srun: error: n1: tasks 0-1: {text}"] + (["srun: Force Terminated StepId=7.0"] if forced else [])


def test_the_memory_limit_gives_253(srun, make):
    done = srun("sh", "-c", "kill -9 $$", cluster=make(cause="OutOfMemory")).finish()
    assert done.code == 253
    assert lines(done.err)[0] == "srun: error: n1: task 0: Out Of Memory"


def test_labels_are_right_aligned_and_close_unfinished_lines(srun):
    done = srun("-n12", "-l", "sh", "-c", "printf 'a\\nb'").finish()
    assert sorted(done.out.splitlines(True)) == sorted(b"%2d: %s\n" % (rank, text) for rank in range(12) for text in (b"a", b"b"))


def test_lines_of_several_tasks_stay_whole(srun):
    script = "for i in 1 2 3 4 5 6 7 8 9; do printf '%s' $SLURM_PROCID; printf '%s' $SLURM_PROCID; echo $SLURM_PROCID; done"
    done = srun("-n4", "sh", "-c", script).finish()
    assert sorted(done.out.split()) == sorted([b"000", b"111", b"222", b"333"] * 9)


def test_ten_megabytes_reach_a_slow_reader_intact(srun, tmp_path):
    (tmp_path / "data").write_bytes(os.urandom(10_000_000))
    command = srun("cat", str(tmp_path / "data"))
    command.until(lambda: command.cluster.steps, "the step")
    idle = 0
    step = next(iter(command.cluster.steps.values()))[0]
    while idle < 5:  # nobody reads srun's output: everything stops at the windows
        before = step.io._main.outbox.end
        command.turn(hold=("out",))
        idle = idle + 1 if step.io._main.outbox.end == before and before else 0
    assert step.io._main.outbox.end < 6_000_000
    assert not step.statuses
    command.finish()
    assert command.out == (tmp_path / "data").read_bytes()


def test_bytes_that_are_no_text_pass_with_and_without_labels(srun):
    data = bytes(range(256))
    text = "\\000" + "".join(f"\\{n:03o}" for n in range(1, 256))
    assert srun("printf", text).finish().out == data
    labelled = srun("-l", "printf", text).finish().out
    assert labelled == b"0: " + data.replace(b"\n", b"\n0: ") + b"\n"


@pytest.mark.parametrize(("option", "expected"), [((), ["in", "in", "in"]), (("-i1",), ["", "in", ""]), (("-inone",), ["", "", ""])])
def test_standard_input_goes_to_all_to_one_or_to_none(srun, option, expected):
    command = srun("-n3", *option, "sh", "-c", "echo $SLURM_PROCID:$(cat)", stdin=subprocess.PIPE)
    command.process.stdin.write(b"in\n")
    command.process.stdin.close()
    command.process.stdin = None
    command.finish()
    assert sorted(lines(command.out)) == [f"{rank}:{text}" for rank, text in enumerate(expected)]


def test_input_from_a_file_here(srun, tmp_path):
    (tmp_path / "in").write_text("from file")
    assert srun("-i", "in", "cat", cwd=tmp_path).finish().out == b"from file"


def test_output_of_one_task_only(srun):
    assert srun("-n3", "-o2", "sh", "-c", "echo $SLURM_PROCID").finish().out == b"2\n"
    assert srun("-n3", "-onone", "sh", "-c", "echo $SLURM_PROCID; echo x >&2").finish().out == b""


def test_files_here_and_on_the_nodes(srun, make, tmp_path):
    script = "echo out$SLURM_PROCID; echo err$SLURM_PROCID >&2"
    srun("-n2", "-o", "o-%j.%s-%t.%n.%N", "-e", "e-%j.%s", "sh", "-c", script, cwd=tmp_path, cluster=make(["n1", "n2"])).finish()
    assert sorted(name.name for name in tmp_path.iterdir()) == ["e-7.0", "o-7.0-0.0.n1", "o-7.0-1.1.n2"]
    assert (tmp_path / "o-7.0-1.1.n2").read_text() == "out1\n"
    assert sorted((tmp_path / "e-7.0").read_text().split()) == ["err0", "err1"]


def test_names_of_files_on_the_nodes_know_the_job(srun, tmp_path):
    array = {"SLURM_JOB_NAME": "50%t", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    srun("-o", "%x-%A_%a-%%t-%t-%u", "true", cwd=tmp_path, environment={**array, "SLURM_JOB_USER": "me"}).finish()
    assert [path.name for path in tmp_path.iterdir()] == ["50%t-5_3-%t-0-me"]


def test_files_here_are_truncated_or_appended_to_and_errors_follow_the_output(srun, tmp_path):
    (tmp_path / "f").write_text("old\n")
    srun("-o", "f", "--open-mode=append", "sh", "-c", "echo out; echo err >&2", cwd=tmp_path).finish()
    assert sorted((tmp_path / "f").read_text().split()) == ["err", "old", "out"]
    srun("-o", "f", "echo", "new", cwd=tmp_path).finish()
    assert (tmp_path / "f").read_text() == "new\n"


def test_a_file_that_cannot_be_opened_is_said_before_a_step_is_made(srun, tmp_path):
    done = srun("-o", "missing/f", "true", cwd=tmp_path).finish()
    assert done.code == 1
    assert lines(done.err) == ["srun: error: Could not open missing/f: No such file or directory"]
    assert not done.cluster.asked("step_create")


def test_a_reader_that_goes_away_is_no_error(srun):
    command = srun("sh", "-c", "echo 1; read x; echo 2; exit 4", stdin=subprocess.PIPE)
    command.until(lambda: command.out == b"1\n", "output")
    command.pipes.pop(command.process.stdout.fileno())
    command.process.stdout.close()
    command.process.stdout = None
    command.process.stdin.write(b"\n")
    command.process.stdin.flush()
    assert command.finish().code == 4


def test_a_missing_program_is_the_nodes_error(srun):
    done = srun("nonexistent_command").finish()
    assert done.code == 2
    assert sorted(lines(done.err)) == [
        "slurmstepd-n1: error: execve(): nonexistent_command: No such file or directory",
        "srun: error: n1: task 0: Exited with exit code 2",
    ]


def test_export_forms(srun):
    outside = {"FOO": "foo", "BAR": "bar"}
    every = srun("env", environment=outside).finish().out.split()
    assert {b"FOO=foo", b"BAR=bar", b"SLURM_JOB_ID=7", b"SRUN_DEBUG=3"} <= set(every)
    some = srun("--export=FOO,NEW=x", "env", environment=outside).finish().out.split()
    assert {b"FOO=foo", b"NEW=x", b"SLURM_JOB_ID=7"} <= set(some)
    assert not {b"BAR=bar"} & set(some)
    none = srun("--export=NONE", "env", environment=outside).finish().out.split()
    assert {name.partition(b"=")[0].partition(b"_")[0] for name in none} <= {b"SLURM", b"SRUN", b"PWD"}


def test_kill_on_bad_exit_ends_the_others(srun):
    done = srun("-n3", "-K", "sh", "-c", "[ $SLURM_PROCID = 1 ] && exit 3; exec sleep 100").finish()
    assert done.code == 143
    assert lines(done.err) == [
        "srun: error: n1: task 1: Exited with exit code 3",
        "srun: Terminating StepId=7.0",
        "srun: error: n1: tasks 0,2: Terminated",
        "srun: Force Terminated StepId=7.0",
    ]


def test_kill_on_bad_exit_can_be_switched_off(srun):
    done = srun("-n2", "-K0", "sh", "-c", "exit $SLURM_PROCID", environment={"SLURM_KILL_BAD_EXIT": "1"}).finish()
    assert not done.cluster.asked("step_kill")
    assert done.code == 1


def test_wait_ends_the_step_some_seconds_after_the_first_task(srun):
    done = srun("-n2", "-W1", "sh", "-c", "[ $SLURM_PROCID = 1 ] || exec sleep 100").finish()
    assert done.code == 137
    assert lines(done.err) == [
        "srun: First task exited 1s ago",
        "srun: StepId=7.0 task 0: running",
        "srun: StepId=7.0 task 1: exited",
        "srun: Terminating StepId=7.0",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        "srun: error: n1: task 0: Killed",
    ]


def started(srun, *arguments, **options):
    command = srun(*arguments, **options)
    return command.until(lambda: command.out, "output")


READY = ("sh", "-c", "echo ready; exec sleep 100")


def test_one_interrupt_asks_and_two_end_the_step(srun):
    command = started(srun, "-n2", *READY)
    command.process.send_signal(signal.SIGINT)
    command.until(lambda: b"running" in command.err, "the question")
    assert lines(command.err) == ["srun: interrupt (one more within 1 sec to abort)", "srun: StepId=7.0 tasks 0-1: running"]
    command.process.send_signal(signal.SIGINT)
    command.finish()
    assert command.code == 130
    assert lines(command.err)[2:] == [
        "srun: sending Ctrl-C to StepId=7.0",
        "srun: forcing job termination",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
    ]
    assert [fields["signal"] for fields in command.cluster.asked("step_kill")] == [2]


def test_two_interrupts_kill_who_does_not_hear_them(srun):
    command = started(srun, "sh", "-c", "trap '' INT; echo ready; sleep 100; sleep 100")
    command.process.send_signal(signal.SIGINT)
    command.until(lambda: b"running" in command.err, "the question")
    command.process.send_signal(signal.SIGINT)
    assert command.finish().code == 137
    assert [fields["signal"] for fields in command.cluster.asked("step_kill")] == [2, 9]


def test_quit_on_interrupt_and_disable_status(srun):
    command = started(srun, "--quit-on-interrupt", *READY)
    command.process.send_signal(signal.SIGINT)
    assert command.finish().code == 130
    command = started(srun, "-X", *READY)
    command.process.send_signal(signal.SIGINT)
    command.finish()
    assert [fields["signal"] for fields in command.cluster.asked("step_kill")] == [2]
    assert lines(command.err) == ["srun: sending Ctrl-C to StepId=7.0", "srun: error: n1: task 0: Interrupt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_ending_signals_kill_the_step(srun, number):
    command = started(srun, "-n2", *READY)
    command.process.send_signal(number)
    assert command.finish().code == 137
    assert lines(command.err) == [
        "srun: forcing job termination",
        "srun: Job step aborted: Waiting up to 32 seconds for job step to finish.",
        "srun: error: n1: tasks 0-1: Killed",
    ]


def test_user_signals_pass(srun):
    command = started(srun, "sh", "-c", "trap 'echo got; exit 4' USR1; echo ready; while :; do sleep 0.05; done")
    command.process.send_signal(signal.SIGUSR1)
    assert command.finish().code == 4
    assert command.out == b"ready\ngot\n"


def test_an_ignored_interrupt_stays_ignored(srun):
    command = started(srun, *READY, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    command.process.send_signal(signal.SIGINT)
    command.process.send_signal(signal.SIGUSR1)
    command.finish()
    assert b"interrupt" not in command.err
    assert command.code == 128 + signal.SIGUSR1


def test_srun_survives_the_controllers_restart(srun):
    command = started(srun, "sh", "-c", "echo ready; read x; echo $x; exit 6", stdin=subprocess.PIPE)
    command.cluster.die()
    command.process.stdin.write(b"while it was away\n")
    command.process.stdin.flush()
    command.until(lambda: b"away" in command.out, "I/O without a controller")
    command.cluster.listen()
    command.finish()
    assert (command.code, command.out) == (6, b"ready\nwhile it was away\n")
    first, second = command.cluster.asked("step_create")
    assert first["id"] == second["id"]


def test_waiting_for_room_is_said(srun, make):
    cluster = make()
    cluster.busy_until = 1
    done = srun("true", cluster=cluster).finish()
    assert lines(done.err) == [
        "srun: Job 7 step creation temporarily disabled, retrying (Requested nodes are busy)",
        "srun: Step created for StepId=7.0",
    ]
    assert srun("-Q", "true", cluster=cluster).finish().err == b""


def test_refusals_have_slurms_words_and_exit_status(srun, make):
    cluster = make()
    cluster.refuse = {"step_create": "2005\tMore processors requested than permitted"}
    done = srun("-n99", "true", cluster=cluster).finish()
    assert (done.code, lines(done.err)) == (1, ["srun: error: Unable to create step for job 7: More processors requested than permitted"])
    assert srun("-n99", "true", cluster=cluster, environment={"SLURM_EXIT_ERROR": "77"}).finish().code == 77
    cluster.refuse = {"step_create": "2017\tInvalid job id specified"}
    assert lines(srun("true", cluster=cluster).finish().err) == [
        "srun: error: Unable to confirm allocation for job 7: Invalid job id specified",
        "srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 7",
    ]


def test_bad_command_lines(srun):
    done = srun().finish()
    assert (done.code, lines(done.err)) == (1, ["srun: fatal: No command given to execute."])
    done = srun("--foo").finish()
    assert done.code == 255
    assert lines(done.err)[0] == "srun: unrecognized option '--foo'"
    done = srun("-n", "0", "true").finish()
    assert (done.code, lines(done.err)) == (1, ['srun: error: Invalid numeric value "0" for --ntasks.'])
    assert srun("--jobid=x", "true").finish().code == 1


def test_multi_prog_gives_each_task_its_program(srun, tmp_path):
    (tmp_path / "mp").write_text("0 echo zero %t %o\n1-2 echo r %t %o\n* echo star %t %o\n")
    done = srun("-n4", "-l", "--multi-prog", "mp", cwd=tmp_path).finish()
    assert sorted(lines(done.out)) == ["0: zero 0 0", "1: r 1 0", "2: r 2 1", "3: star 3 3"]


def test_a_bad_multi_prog_file_is_said(srun, tmp_path):
    (tmp_path / "mp").write_text("0 echo a\n0 echo b\n")
    done = srun("-n2", "--multi-prog", "mp", cwd=tmp_path).finish()
    assert (done.code, lines(done.err)) == (
        1,
        ["srun: error: Duplicate record for task 0", "srun: error: Line 2 of configuration file mp invalid"],
    )


def test_jobid_fetches_the_variables_of_another_job(srun):
    done = srun("--jobid=9", "--overlap", "sh", "-c", "echo $SLURM_JOB_ID $SLURM_JOB_NAME").finish()
    assert done.out == b"9 jobname\n"
    assert done.cluster.asked("step_create")[0]["job_id"] == 9


def test_the_job_id_alone_is_enough(make):
    command = Command(make(), "srun", "sh", "-c", "echo $SLURM_JOB_NODELIST", environment={"SLURM_JOB_ID": "7"})
    make.commands.append(command)
    assert command.finish().out == b"n1\n"


def test_too_many_tasks_for_a_node_are_said_and_placed_as_slurm_does(srun):
    done = srun("--ntasks-per-node=1", "true", environment={"SLURM_NTASKS": "4", "SLURM_NNODES": "2"}).finish()
    assert done.err.startswith(b"srun: Warning: can't honor --ntasks-per-node set to 1")
    (fields,) = done.cluster.asked("step_create")
    assert fields["ntasks"] == 4
    assert "ntasks_per_node" not in fields


# --- terminals


class Terminal:
    """srun --pty in a terminal of ours."""

    def __init__(self, cluster, *arguments):
        master, slave = pty.openpty()
        self.master = master

        def control():
            os.setsid()
            import fcntl
            import termios

            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.command = Command(cluster, "srun", *arguments, environment=IN_JOB, stdin=slave, stdout=slave, preexec_fn=control)
        self.slave = slave
        self.seen = b""

    def until(self, text):
        end = time.monotonic() + 20
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            self.command.cluster.turn([(self.master, self._see)])

    def _see(self, fd, events):
        self.seen += os.read(fd, 65536)


def test_pty_shows_a_remote_terminal_and_gives_the_local_one_back(make):
    import fcntl
    import struct
    import termios

    cluster = make()
    terminal = Terminal(cluster, "--pty", "sh", "-c", "tty; stty size; echo $SLURM_PTY_WIN_COL; read x; stty size; echo got:$x; exit 3")
    make.commands.append(terminal.command)
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    before = termios.tcgetattr(terminal.slave)
    terminal.until(b"100\r\n")
    assert b"/dev/pts/" in terminal.seen
    assert b"40 100" in terminal.seen
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO, "the local terminal is raw"
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("4H", 50, 90, 0, 0))
    step = next(iter(cluster.steps.values()))[0]
    remote = step.io._tasks[0].stdin_fd
    end = time.monotonic() + 10
    while os.get_terminal_size(remote) != (90, 50):
        assert time.monotonic() < end
        cluster.turn([(terminal.master, terminal._see)])
    os.write(terminal.master, b"typed\r")
    terminal.until(b"got:typed\r\n")
    assert b"50 90" in terminal.seen
    terminal.command.finish()
    assert terminal.command.code == 3
    assert termios.tcgetattr(terminal.slave) == before
    os.close(terminal.master)
    os.close(terminal.slave)


def test_pty_without_a_terminal_is_disregarded(srun):
    done = srun("--pty", "echo", "hi").finish()
    assert done.out == b"hi\n"
    assert lines(done.err) == ["srun: error: Not using a pseudo-terminal, disregarding --pty option"]


def test_unbuffered_output_arrives_before_its_newline(srun):
    command = srun("-n2", "-u", "sh", "-c", "printf now; read x", stdin=subprocess.PIPE)
    command.until(lambda: command.out == b"nownow", "output without a newline")
    command.process.stdin.write(b"\n")
    command.process.stdin.flush()
    assert command.finish().code == 0


# --- as a job


def as_job(make, *arguments, cluster=None, **options):
    command = Command(cluster or make(), "srun", *arguments, **options)
    make.commands.append(command)
    return command


def test_as_a_job_it_allocates_runs_and_gives_back(make):
    done = as_job(
        make, "-n2", "-t", "3", "-p", "normal", "-J", "mine", "sh", "-c", "echo $SLURM_JOB_ID; exit 5", cluster=make(pending=True)
    ).finish()
    assert (done.code, done.out) == (5, b"12\n12\n")
    assert lines(done.err) == [
        "srun: job 12 queued and waiting for resources",
        "srun: job 12 has been allocated resources",
        "srun: error: n1: tasks 0-1: Exited with exit code 5",
    ]
    (fields,) = done.cluster.asked("allocate")
    assert (fields["ntasks"], fields["time_limit_s"], fields["partition"], fields["name"]) == (2, 180, "normal", "mine")
    assert [(fields["job_id"], fields["status"]) for fields in done.cluster.asked("release")] == [(12, 5 << 8)]


def test_an_interrupt_while_pending_gives_the_job_up(make):
    command = as_job(make, "true", cluster=make(pending="for ever"))
    command.until(lambda: b"queued" in command.err, "pending")
    command.process.send_signal(signal.SIGINT)
    command.finish()
    assert command.code == 1
    assert lines(command.err)[1:] == ["srun: Job allocation 12 has been revoked", "srun: Force Terminated JobId=12"]
    assert command.cluster.asked("release")


def test_a_refused_allocation(make):
    cluster = make()
    cluster.refuse = {"allocate": "2000\tInvalid partition name specified\tinvalid partition specified: nope"}
    done = as_job(make, "-p", "nope", "true", cluster=cluster).finish()
    assert done.code == 1
    assert lines(done.err) == [
        "srun: error: invalid partition specified: nope",
        "srun: error: Unable to allocate resources: Invalid partition name specified",
    ]


def test_without_a_cluster_it_says_so(make, tmp_path):
    done = as_job(make, "true", environment={"PENSTOCK_DIR": str(tmp_path)}).finish()
    assert done.code == 1
    assert lines(done.err)[-1] == "srun: error: Unable to allocate resources: Unable to contact slurm controller (connect failure)"
