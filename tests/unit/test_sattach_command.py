"""The sattach command beside an srun, on a fake controller."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import termios

import pytest
from fake_cluster import Command, FakeCluster

IN_JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"}


@pytest.fixture
def cluster():
    made = FakeCluster(["n1", "n2"])
    made.commands = []
    yield made
    for command in made.commands:
        command.kill()
    made.close()


def start(cluster, program, *arguments, **options):
    command = Command(cluster, program, *arguments, environment=IN_JOB, **options)
    cluster.commands.append(command)
    return command


def step(cluster, *arguments):
    command = start(cluster, "srun", *arguments, stdin=subprocess.PIPE)
    return command.until(lambda: command.out, "the step's first output")


READS = ("sh", "-c", "echo ready $SLURM_PROCID; read x; echo $SLURM_PROCID got:$x; echo err >&2")


def both(first, second, condition):
    """Drive two commands on one cluster."""
    for _ in range(2000):
        if condition():
            return
        first.cluster.turn([(fd, command._collect) for command in (first, second) for fd in command.pipes])
    raise AssertionError((first.err, second.out, second.err))


def test_it_shows_what_was_said_and_follows_to_the_end(cluster):
    srun = step(cluster, "-n2", *READS)
    reader = start(cluster, "sattach", "-l", "7.0")
    both(srun, reader, lambda: reader.out.count(b"ready") == 2)
    srun.process.stdin.write(b"word\n")
    srun.process.stdin.flush()
    both(srun, reader, lambda: not reader.pipes and reader.process.poll() is not None)
    assert reader.code == 0
    assert sorted(reader.out.splitlines()) == [b"0: 0 got:word", b"0: ready 0", b"1: 1 got:word", b"1: ready 1"]
    assert sorted(reader.err.splitlines()) == [b"0: err", b"1: err"]
    assert srun.finish().code == 0


def test_filters_choose_tasks_and_input_reaches_the_chosen_one(cluster):
    srun = step(cluster, "-n2", *READS)
    arguments = ("--output-filter=1", "--error-filter=0", "--input-filter=1", "-v", "7.0")
    reader = start(cluster, "sattach", *arguments, stdin=subprocess.PIPE)
    both(srun, reader, lambda: b"ready" in reader.out)
    reader.process.stdin.write(b"one\n")
    reader.process.stdin.flush()
    both(srun, reader, lambda: b"got" in reader.out)
    srun.process.stdin.close()
    srun.process.stdin = None
    both(srun, reader, lambda: not reader.pipes and reader.process.poll() is not None)
    assert reader.out == b"ready 1\n1 got:one\n"
    assert reader.err == b"sattach: attached to StepId=7.0: 2 tasks on n1,n2\nerr\n"
    assert b"0 got:\n" in srun.finish().out


def test_interrupting_it_leaves_the_step(cluster):
    srun = step(cluster, *READS)
    reader = start(cluster, "sattach", "7.0")
    both(srun, reader, lambda: b"ready" in reader.out)
    reader.process.send_signal(signal.SIGINT)
    assert reader.finish().code == 130
    srun.process.stdin.write(b"on\n")
    srun.process.stdin.flush()
    srun.finish()
    assert (srun.code, srun.out) == (0, b"ready 0\n0 got:on\n")


def test_layout_has_slurms_form(cluster):
    step(cluster, "-n3", *READS)
    done = start(cluster, "sattach", "--layout", "7.0").finish()
    assert (
        done.out.decode()
        == "Job step layout:\n\t3 tasks, 2 nodes (n1,n2)\n\n\tNode 0 (n1), 2 task(s): 0 1 \n\tNode 1 (n2), 1 task(s): 2 \n"
    )


def test_quiet_is_stronger_than_verbose(cluster):
    srun = step(cluster, *READS)
    reader = start(cluster, "sattach", "-v", "-Q", "7.0")
    both(srun, reader, lambda: b"ready" in reader.out)
    reader.process.send_signal(signal.SIGTERM)
    assert reader.finish().err == b""


def test_pty_passes_keys_and_bytes_as_they_are(cluster):
    """--pty: the local terminal is raw while attached, output is neither labelled nor put together from lines."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    srun = step(cluster, *READS)
    reader = start(cluster, "sattach", "-l", "--pty", "7.0", stdin=slave)
    both(srun, reader, lambda: b"ready" in reader.out)
    assert not termios.tcgetattr(slave)[3] & (termios.ECHO | termios.ICANON)
    os.write(master, b"\x03key\n")
    both(srun, reader, lambda: not reader.pipes and reader.process.poll() is not None)
    assert reader.out == b"ready 0\n0 got:\x03key\n"
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_help_usage_version(cluster):
    assert b"--output-filter" in start(cluster, "sattach", "--help").finish().out
    assert b"sattach" in start(cluster, "sattach", "--usage").finish().out
    assert start(cluster, "sattach", "--version").finish().out.startswith(b"slurm ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("7.9",), "sattach: error: Could not get job step info: Invalid job id specified"),
        (("7",), "sattach: error: Failed to parse stepid from command line options"),
        (("7.batch",), "sattach: error: Failed to parse stepid from command line options"),
        (("7.0", "7.1"), "sattach: error: too many parameters"),
        ((), "sattach: error: No job step was named"),
        (("--output-filter=x", "7.0"), "sattach: error: Invalid --output-filter 'x': a task's number is expected"),
    ],
)
def test_bad_requests(cluster, arguments, line):
    done = start(cluster, "sattach", *arguments).finish()
    assert (done.code, done.err.decode().splitlines()[0]) == (1, line)
