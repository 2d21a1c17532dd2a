"""The salloc command against a fake controller: messages, environment, signals, the terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import termios
import time
from pathlib import Path

import pytest
from fake_cluster import Command, FakeCluster


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
def salloc(make):
    def start(*arguments, cluster=None, **options):
        command = Command(cluster or make(), "salloc", *arguments, **options)
        make.commands.append(command)
        return command

    return start


def lines(data):
    return data.decode().splitlines()


def released(command):
    return [(fields["job_id"], fields["status"]) for fields in command.cluster.asked("release")]


def test_a_command_runs_in_the_allocation_with_its_variables(salloc, make):
    done = salloc(
        "-n2", "-t5", "sh", "-c", "echo $SLURM_JOB_ID $SLURM_JOB_NODELIST; exit 3", cluster=make(["n1", "n2"], pending=True)
    ).finish()
    assert (done.code, done.out) == (3, b"12 n1,n2\n")
    assert lines(done.err) == [
        "salloc: Pending job allocation 12",
        "salloc: job 12 queued and waiting for resources",
        "salloc: job 12 has been allocated resources",
        "salloc: Granted job allocation 12",
        "salloc: Relinquishing job allocation 12",
    ]
    assert released(done) == [(12, 3 << 8)]
    (fields,) = done.cluster.asked("allocate")
    assert (fields["ntasks"], fields["time_limit_s"], fields["name"]) == (2, 300, "interactive")


def test_quiet_says_nothing(salloc):
    assert salloc("-Q", "true").finish().err == b""


def test_no_shell_leaves_the_allocation(salloc):
    done = salloc("--no-shell").finish()
    assert (done.code, lines(done.err)) == (0, ["salloc: Granted job allocation 12"])
    assert released(done) == []
    assert salloc("--no-shell", "true").finish().code == 1


def test_a_command_that_does_not_exist(salloc):
    done = salloc("nonexistent_command").finish()
    assert done.code == 1
    assert lines(done.err)[1:] == ['salloc: error: Unable to find command "nonexistent_command"', "salloc: Relinquishing job allocation 12"]
    assert released(done) == [(12, 1 << 8)]


@pytest.mark.parametrize(("name", "code"), [("KILL", 0), ("INT", 0), ("TERM", 1), ("SEGV", 1)])
def test_a_command_ended_by_a_signal(salloc, name, code):
    assert salloc("sh", "-c", f"ulimit -c 0; kill -{name} $$").finish().code == code


def test_the_shell_of_the_user_is_the_default_command(salloc, tmp_path):
    shell = tmp_path / "shell"
    shell.write_text("#!/bin/sh\necho shell of $SLURM_JOB_ID\n")
    shell.chmod(0o755)
    assert salloc(environment={"SHELL": str(shell)}).finish().out == b"shell of 12\n"


def test_the_folder_of_chdir(salloc):
    done = salloc("-D", "/usr", "pwd").finish()
    assert done.out == b"/usr\n"
    assert done.cluster.asked("allocate")[0]["work_dir"] == "/usr"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_forwarded_to_the_command(salloc, number):
    command = salloc("sh", "-c", f"trap 'echo got; exit 7' {int(number)}; echo ready; while :; do sleep 0.02; done")
    command.until(lambda: command.out == b"ready\n", "the command")
    command.process.send_signal(number)
    command.finish()
    assert (command.code, command.out) == (7, b"ready\ngot\n")


def test_an_interrupt_is_the_commands_business(salloc):
    command = salloc("sh", "-c", "echo ready; read x; exit 5", stdin=-1)
    command.until(lambda: command.out, "the command")
    command.process.send_signal(signal.SIGINT)
    command.process.send_signal(signal.SIGQUIT)
    command.process.stdin.write(b"\n")
    command.process.stdin.flush()
    assert command.finish().code == 5


def test_a_hang_up_gives_the_allocation_back_at_once(salloc):
    command = salloc("sh", "-c", "echo $$; trap '' HUP; exec sleep 100")
    command.until(lambda: command.out, "the command")
    command.process.send_signal(signal.SIGHUP)
    command.until(lambda: command.process.poll() is not None, "salloc's end")
    os.kill(int(command.out), signal.SIGKILL)
    command.finish()
    assert released(command)


def test_a_revoked_allocation_leaves_the_command(salloc):
    command = salloc("sh", "-c", "echo ready; read x; exit 6", stdin=-1)
    command.until(lambda: command.out, "the command")
    command.cluster.revoke("Cancelled")
    command.until(lambda: b"revoked" in command.err, "the message")
    command.process.stdin.write(b"\n")
    command.process.stdin.flush()
    command.finish()
    assert command.code == 6
    assert lines(command.err)[1:] == ["salloc: Job allocation 12 has been revoked."]
    assert released(command) == []


def test_kill_command_signals_the_command_when_revoked(salloc):
    command = salloc("-K", "sh", "-c", "echo ready; exec sleep 100")
    command.until(lambda: command.out, "the command")
    command.cluster.revoke("TimeLimit")
    command.finish()
    assert command.code == 1
    assert lines(command.err)[1:] == ["salloc: Job 12 has exceeded its time limit and its allocation has been revoked."]
    command = salloc("-KUSR1", "sh", "-c", "trap 'exit 9' USR1; echo ready; while :; do sleep 0.02; done")
    command.until(lambda: command.out, "the command")
    command.cluster.revoke("Cancelled")
    assert command.finish().code == 9
    assert salloc("-Knonsense", "true").finish().code == 255


def test_salloc_survives_the_controllers_restart(salloc):
    command = salloc("sh", "-c", "echo ready; read x; exit 4", stdin=-1)
    command.until(lambda: command.out, "the command")
    command.cluster.die()
    command.cluster.listen()
    command.until(lambda: len(command.cluster.asked("allocate")) == 2, "it is back")
    first, second = command.cluster.asked("allocate")
    assert first["id"] == second["id"]
    command.process.stdin.write(b"\n")
    command.process.stdin.flush()
    assert command.finish().code == 4
    assert lines(command.err)[-1] == "salloc: Relinquishing job allocation 12"


def test_an_interrupt_while_pending_gives_the_job_up(salloc, make):
    command = salloc("true", cluster=make(pending="for ever"))
    command.until(lambda: b"queued" in command.err, "pending")
    command.process.send_signal(signal.SIGINT)
    command.finish()
    assert command.code == 1
    assert lines(command.err)[2:] == ["salloc: Job allocation 12 has been revoked.", "salloc: Job aborted due to signal"]


def test_a_refusal(salloc, make):
    cluster = make()
    cluster.refuse = {"allocate": "2016\tRequested nodes are busy"}
    done = salloc("-I5", "true", cluster=cluster, environment={"SLURM_EXIT_IMMEDIATE": "44"}).finish()
    assert (done.code, lines(done.err)) == (44, ["salloc: error: Job submit/allocate failed: Requested nodes are busy"])
    assert cluster.asked("allocate")[0]["immediate_s"] == 5


def test_on_a_terminal_the_command_has_the_foreground_and_a_stop_stops_salloc(make):
    cluster = make()
    master, slave = pty.openpty()

    def control():
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    command = Command(cluster, "salloc", "-Q", "sh", "-c", "echo $$; read x; echo got:$x", stdin=slave, stdout=slave, preexec_fn=control)
    make.commands.append(command)
    seen = []

    def turn_until(condition):
        end = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end, (seen, command.err)
            cluster.turn([(master, lambda fd, events: seen.append(os.read(fd, 1000)))])

    turn_until(lambda: b"\n" in b"".join(seen))
    child = int(b"".join(seen))
    turn_until(lambda: os.tcgetpgrp(master) == child)
    os.write(master, b"\x1a")  # Ctrl-Z

    def stopped():
        return Path(f"/proc/{command.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    turn_until(stopped)
    assert os.tcgetpgrp(master) == command.process.pid, "whoever started salloc has the terminal"
    command.process.send_signal(signal.SIGCONT)
    turn_until(lambda: os.tcgetpgrp(master) == child)
    os.write(master, b"word\n")
    turn_until(lambda: b"got:word" in b"".join(seen))
    turn_until(lambda: command.process.poll() is not None)
    assert command.code == 0
    os.close(master)
    os.close(slave)
