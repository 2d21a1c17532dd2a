"""Sinks: lines, labels, and destinations that are slow or go away. And how ends of tasks are told."""

from __future__ import annotations

import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.step_output import MAX_LINE_BYTES, Sink, label_width, ranges
from penstock.cli.step_report import StepReport, describe, exit_code

OUT, ERR = 1, 2


@pytest.fixture
def pipe():
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield read_fd, write_fd
    for fd in (read_fd, write_fd):
        try:
            os.close(fd)
        except OSError:
            pass


def written(sink):
    return bytes(sink._pending)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.sampled_from([b"a", b"bb", b"\n", b"\xff\n", b"c\nd"]), max_size=6)), max_size=12),
    st.booleans(),
)
def test_whatever_the_pieces_the_bytes_of_a_task_are_its_own(pieces, labelled):
    sink = Sink(1, raw=False, label_width=1 if labelled else 0, on_error=pytest.fail)
    said = {rank: b"" for rank in range(3)}
    for rank, parts in pieces:
        for part in parts:
            sink.take(OUT, rank, part)
            said[rank] += part
    for rank in range(3):
        sink.take(OUT, rank, b"")
    result = written(sink)
    if labelled:
        for rank, text in said.items():
            closed = text if text.endswith(b"\n") or not text else text + b"\n"
            mine = [line[3:] for line in result.splitlines(True) if line.startswith(b"%d: " % rank)]
            assert b"".join(mine) == closed
    else:
        assert sorted(result) == sorted(b"".join(said.values()))
        whole = [line for text in said.values() for line in text.splitlines(True) if line.endswith(b"\n")]
        assert all(line in result for line in whole)


def test_stdout_and_stderr_of_a_task_in_one_file_do_not_mix_within_a_line():
    sink = Sink(1, raw=False, on_error=pytest.fail)
    sink.take(OUT, 0, b"out ")
    sink.take(ERR, 0, b"err\n")
    sink.take(OUT, 0, b"end\n")
    assert written(sink) == b"err\nout end\n"


def test_a_line_without_an_end_is_handed_on_at_the_bound():
    sink = Sink(1, raw=False, on_error=pytest.fail)
    sink.take(OUT, 0, b"x" * MAX_LINE_BYTES)
    assert not sink.pending
    sink.take(OUT, 0, b"y")
    assert written(sink) == b"x" * MAX_LINE_BYTES + b"y"


def test_a_full_pipe_never_blocks_and_everything_arrives(pipe):
    read_fd, write_fd = pipe
    sink = Sink(write_fd, raw=True, on_error=pytest.fail)
    data = os.urandom(1_500_000)
    sink.take(OUT, 0, data)
    assert sink.full
    got = b""
    while len(got) < len(data):
        sink.write()
        select.select([read_fd], [], [], 5)
        got += os.read(read_fd, 1 << 20)
    assert got == data
    assert not sink.pending


def test_a_reader_that_left_is_no_error_and_costs_no_memory(pipe):
    read_fd, write_fd = pipe
    sink = Sink(write_fd, raw=True, on_error=pytest.fail)
    os.close(read_fd)
    sink.take(OUT, 0, b"x")
    sink.write()
    sink.take(OUT, 0, b"y" * 100_000)
    assert not sink.pending


def test_a_full_disk_is_said_once():
    errors = []
    fd = os.open("/dev/full", os.O_WRONLY)
    sink = Sink(fd, raw=True, on_error=errors.append)
    for _ in range(3):
        sink.take(OUT, 0, b"x")
        sink.write()
    os.close(fd)
    assert errors == ["No space left on device"]


def test_label_width_and_ranges():
    assert [label_width(n) for n in (1, 10, 11, 100, 101)] == [1, 1, 2, 2, 3]
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


@pytest.mark.parametrize(
    ("status", "cause", "text", "code"),
    [
        (256, "", "Exited with exit code 1", 1),
        (9, "", "Killed", 137),
        (11 | 0x80, "", "Segmentation fault (core dumped)", 139),
        (15, "", "Terminated", 143),
        (9, "OutOfMemory", "Out Of Memory", 253),
    ],
)
def test_ends_in_words_and_codes(status, cause, text, code):
    assert (describe(status, cause), exit_code(status, cause)) == (text, code)


def test_ends_of_a_node_are_told_together_and_of_nodes_apart():
    said = []
    report = StepReport(said.append)
    for node, rank, status in (("n1", 2, 256), ("n1", 0, 256), ("n2", 5, 256), ("n1", 1, 9), ("n2", 6, 0)):
        report.ended(node, rank, status, "", 0.0)
    report.flush()
    assert said == ["n1: tasks 0,2: Exited with exit code 1", "n2: task 5: Exited with exit code 1", "n1: task 1: Killed"]
    assert report.worst() == 137
    assert report.forced
