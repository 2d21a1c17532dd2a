"""StepIo with real children, talking to the real client end (cli.step_client) over a real socket."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time

import pytest

from penstock.agent.shepherd import stdio as shepherd_stdio
from penstock.agent.shepherd import stdio_link
from penstock.agent.shepherd.stdio import StepIo
from penstock.agent.shepherd.stdio_task import take_terminal
from penstock.cli.step_client import StepClient
from penstock.wire import stdio
from penstock.wire.messages import TaskIo

DEADLINE_S = 20.0


class Bench:
    """One node, its tasks and a client in one poll loop. `offset_s` moves the shepherd's clock."""

    def __init__(self, io=None, ntasks=1, with_client=True):
        self.client = StepClient(self.on_frame) if with_client else None
        self.offset_s = 0.0
        self.output = {}
        self.ended = set()
        self.exits = {}
        self.notices = []
        self.frozen = False  # the client reads nothing
        if self.client:
            self.client.expect(["n1"])
            io = TaskIo(**{**(io or {}), "address": self.client.address, "key": self.client.key})
        else:
            io = TaskIo(**(io or {}))
        self.io = StepIo(
            io,
            node="n1",
            job_id=7,
            attempt=0,
            step_id=2,
            ranks=tuple(range(ntasks)),
            names={"n": "0"},
            open_file=lambda path, flags: os.open(path, flags, 0o644),
            clock=lambda: time.monotonic() + self.offset_s,
        )
        self.children = {}

    def on_frame(self, node, kind, rank, payload):
        assert node == "n1"
        if kind in (stdio.OUT, stdio.ERR):
            self.output[kind, rank] = self.output.get((kind, rank), b"") + payload
            if not payload:
                self.ended.add((kind, rank))
        elif kind == stdio.EXIT:
            self.exits[rank] = stdio.parse_exit(payload)
        elif kind == stdio.NOTICE:
            self.notices.append(payload)

    def spawn(self, rank, *argv):
        fds = self.io.open_task(rank)
        terminal = self.io.needs_terminal(rank)
        self.children[rank] = subprocess.Popen(
            argv, stdin=fds[0], stdout=fds[1], stderr=fds[2], start_new_session=True, preexec_fn=take_terminal if terminal else None
        )
        for fd in fds:
            os.close(fd)

    def python(self, rank, code):
        self.spawn(rank, sys.executable, "-S", "-c", code)

    def turn(self, wait_ms=20):
        poll = select.poll()
        for fd, events in self.io.poll_fds():
            poll.register(fd, events)
        mine = {fd for fd, _ in self.io.poll_fds()}
        assert all(self.io.owns(fd) for fd in mine)
        if self.client:
            for fd, events in self.client.poll_fds(listening_only=self.frozen):
                poll.register(fd, events)
        for fd, events in poll.poll(wait_ms):
            owned = self.io.owns(fd)
            assert fd in mine or not owned
            if owned:
                self.io.handle(fd, events)
            elif fd not in mine and self.client and self.client.owns(fd):
                self.client.handle(fd, events)
        for rank, child in self.children.items():
            if rank not in self.io_exited and child.poll() is not None:
                self.io_exited.add(rank)
                code = child.returncode
                self.io.task_exited(rank, -code if code < 0 else code << 8)
        deadline = self.io.next_deadline_s()
        now_s = time.monotonic() + self.offset_s
        if deadline is not None and now_s >= deadline:
            self.io.tick(now_s)

    def until(self, condition, say):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, f"never: {say}"
            self.turn()

    def run(self):
        self.io_exited = set()
        self.io.start()
        return self

    def finish(self):
        self.until(self.io.finished, "finished")
        return self

    def close(self):
        for child in self.children.values():
            if child.poll() is None:
                child.kill()
            child.wait()
        self.io.close()
        if self.client:
            self.client.close()


@pytest.fixture
def bench():
    made = []

    def make(*args, **kwargs):
        made.append(Bench(*args, **kwargs))
        return made[-1]

    before = set(os.listdir("/proc/self/fd"))
    yield make
    for item in made:
        item.close()
    left = set(os.listdir("/proc/self/fd")) - before
    assert len(left) <= 1, f"descriptors leak: {left}"  # the listing itself


def test_ten_megabytes_arrive_whole_and_in_order(bench):
    b = bench()
    b.python(0, "import os\nfor n in range(1000): os.write(1, (b'%08d' % n) * 1310)")
    b.run().finish()
    assert b.output[stdio.OUT, 0] == b"".join((b"%08d" % n) * 1310 for n in range(1000))
    assert b.exits == {0: (0, "")}
    assert b.ended == {(stdio.OUT, 0), (stdio.ERR, 0)}


def test_stdout_stderr_and_exit_status_of_each_task_are_told_apart(bench):
    b = bench(ntasks=3)
    for rank in range(3):
        b.spawn(rank, "sh", "-c", f"printf out{rank}; printf err{rank} >&2; exit {rank}")
    b.run().finish()
    assert {key: value for key, value in b.output.items()} == {
        (kind, rank): (b"out%d" if kind == stdio.OUT else b"err%d") % rank for kind in (stdio.OUT, stdio.ERR) for rank in range(3)
    }
    assert b.exits == {rank: (rank << 8, "") for rank in range(3)}


def test_bytes_that_are_no_text_pass_unchanged(bench):
    b = bench()
    b.python(0, "import os; os.write(1, bytes(range(256)) * 3)")
    b.run().finish()
    assert b.output[stdio.OUT, 0] == bytes(range(256)) * 3


def test_a_slow_client_stops_the_task_and_loses_nothing(bench):
    b = bench()
    b.python(0, "import os\nfor n in range(64): os.write(1, bytes([n]) * 65536)\nos.write(2, b'done')")
    b.run()
    b.until(lambda: stdio.OUT in {kind for kind, _ in b.output}, "first output")
    b.frozen = True
    idle = 0
    while idle < 3:  # until nothing moves any more
        before = b.io._main.outbox.end
        b.turn()
        idle = idle + 1 if b.io._main.outbox.end == before else 0
    assert b.io._main.outbox.end - b.io._main.outbox.acknowledged <= stdio.WINDOW_BYTES + 2 * stdio.MAX_PAYLOAD_BYTES
    assert b.children[0].poll() is None, "the task still waits for its pipe"
    b.frozen = False
    b.finish()
    assert b.output[stdio.OUT, 0] == b"".join(bytes([n]) * 65536 for n in range(64))


def test_a_dead_client_neither_blocks_nor_kills_the_task(bench):
    b = bench()
    b.python(0, "import os, sys\nsys.stdin.read()\nfor n in range(64): os.write(1, bytes(65536))\nos._exit(5)")
    b.run()
    b.until(lambda: b.io._main._state == "open", "connected")
    b.client.close()
    b.client = None
    b.finish()
    assert b.children[0].returncode == 5
    assert b.io._main.gone


def test_a_client_that_was_dead_before_we_dialled_is_given_up_at_once(bench):
    b = bench()
    b.client.close()
    b.client = None
    b.spawn(0, "sh", "-c", "cat; exit 3")
    b.run().finish()
    assert b.children[0].returncode == 3
    assert "nobody listens" in b.io._main.reason


def test_a_connected_client_that_takes_nothing_is_given_up_after_the_bound(bench):
    b = bench()
    b.python(0, "import os\nfor n in range(64): os.write(1, bytes(65536))")
    b.run()
    b.until(lambda: b.io._main._state == "open", "connected")
    b.frozen = True
    b.until(lambda: b.io._main.full and b.io._main._owing_since_s is not None, "the window is full")
    assert not b.io.finished()
    b.offset_s = stdio_link.STALL_S
    b.finish()
    assert b.children[0].returncode == 0
    assert b.io._main.gone


def test_a_ready_task_is_not_read_once_the_window_is_full_in_the_same_round(bench):
    b = bench()
    b.python(0, "import os\nfor n in range(64): os.write(1, bytes(65536))")
    b.run()
    b.until(lambda: b.io._main._state == "open", "connected")
    b.frozen = True
    b.until(lambda: b.io._main.full, "the window is full")
    (out,) = [fd for fd, kind in b.io._tasks[0].streams.items() if kind == stdio.OUT]
    b.until(lambda: select.select([out], [], [], 0)[0], "the task wrote more")
    before = b.io._main.outbox.end
    b.io.handle(out, select.POLLIN)
    assert b.io._main.outbox.end == before


def test_a_broken_connection_is_resumed_without_loss(bench):
    b = bench()
    b.python(0, "import os, sys\nfor n in range(128): os.write(1, (b'%08d' % n) * 8192)\nos.write(1, sys.stdin.buffer.read())")
    b.run()
    breaks = 0
    while breaks < 5:
        b.until(lambda: b.io._main._state == "open", "connected")
        b.client.send(stdio.IN, stdio.ALL, b"line %d\n" % breaks)
        b.turn()
        for connection in list(b.client._connections.values()):
            b.client._drop(connection)
        breaks += 1
        b.until(lambda: b.io._main._state != "open", "the loss is seen")
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.finish()
    expected = b"".join((b"%08d" % n) * 8192 for n in range(128)) + b"".join(b"line %d\n" % n for n in range(5))
    assert b.output[stdio.OUT, 0] == expected


def test_standard_input_goes_to_all_tasks_and_ends_for_all(bench):
    b = bench(ntasks=3)
    for rank in range(3):
        b.spawn(rank, "cat")
    b.run()
    data = os.urandom(200_000)
    for at in range(0, len(data), 50_000):
        b.client.send(stdio.IN, stdio.ALL, data[at : at + 50_000])
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.finish()
    assert [b.output[stdio.OUT, rank] for rank in range(3)] == [data] * 3


def test_standard_input_for_one_task_leaves_the_others_at_end_of_file(bench):
    b = bench({"stdin": "task:1"}, ntasks=2)
    for rank in range(2):
        b.spawn(rank, "cat")
    b.run()
    b.client.send(stdio.IN, stdio.ALL, b"only one")
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.finish()
    assert b.output == {(stdio.OUT, 0): b"", (stdio.OUT, 1): b"only one", (stdio.ERR, 0): b"", (stdio.ERR, 1): b""}


def test_input_that_no_task_reads_fills_the_window_and_is_dropped_with_the_task(bench):
    b = bench()
    b.python(0, "import os, signal; os.write(1, b'up'); signal.pause()")
    b.run()
    b.until(lambda: (stdio.OUT, 0) in b.output, "started")
    while not b.client.input_full:
        b.client.send(stdio.IN, stdio.ALL, bytes(stdio.MAX_PAYLOAD_BYTES))
        b.turn(0)
    b.children[0].terminate()
    b.finish()
    assert b.exits == {0: (15, "")}


def test_input_of_many_windows_flows_to_a_reading_task(bench):
    b = bench()
    b.python(0, "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())")
    b.run()
    import hashlib

    digest = hashlib.sha256()
    for n in range(64):
        piece = bytes([n]) * stdio.MAX_PAYLOAD_BYTES
        digest.update(piece)
        b.until(lambda: not b.client.input_full, "room for input")
        b.client.send(stdio.IN, stdio.ALL, piece)
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.finish()
    assert b.output[stdio.OUT, 0].strip().decode() == digest.hexdigest()


def test_a_pty_is_the_tasks_terminal_with_the_clients_size(bench):
    b = bench({"pty": True, "rows": 33, "columns": 77}, ntasks=2)
    b.spawn(0, "sh", "-c", "tty >/dev/tty; stty size; read line; stty size; echo got $line")
    b.spawn(1, "tty")
    b.run()
    b.until(lambda: b"33 77" in b.output.get((stdio.OUT, 0), b""), "the size")
    assert b.output[stdio.OUT, 0].startswith(b"/dev/pts/")
    b.client.send(stdio.RESIZE, 0, stdio.resize(50, 120))
    b.client.send(stdio.IN, stdio.ALL, b"hello\r")
    b.finish()
    assert b"50 120" in b.output[stdio.OUT, 0]
    assert b"got hello" in b.output[stdio.OUT, 0]
    assert (stdio.OUT, 1) not in b.output, "only task 0 has the terminal"


def test_end_of_input_ends_a_pty_reader(bench):
    b = bench({"pty": True})
    b.spawn(0, "cat")
    b.run()
    b.client.send(stdio.IN, stdio.ALL, b"text\n")
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.finish()
    assert b.exits == {0: (0, "")}
    assert b"text" in b.output[stdio.OUT, 0]


def test_a_task_that_closes_its_terminal_is_not_hung_up_and_may_open_it_again(bench):
    b = bench({"pty": True})
    code = (
        "import os, select; [os.close(fd) for fd in (0, 1, 2)]; select.select([], [], [], 0.15); os.write(os.open('/dev/tty', 1), b'again')"
    )
    b.python(0, code)
    b.run().finish()
    assert b.exits == {0: (0, "")}
    assert b.output[stdio.OUT, 0] == b"again"


def test_a_dead_client_hangs_up_the_terminal(bench):
    b = bench({"pty": True})
    b.spawn(0, "sleep", "100")
    b.run()
    b.until(lambda: b.io._main._state == "open", "connected")
    b.client.close()
    b.client = None
    b.finish()
    assert b.children[0].returncode == -1, "SIGHUP"


def test_unbuffered_output_is_a_terminal_but_the_bytes_stay_the_same(bench):
    b = bench({"unbuffered": True})
    b.python(0, "import os, sys; os.write(1, b'%d a\\nb' % os.isatty(1))")
    b.run().finish()
    assert b.output[stdio.OUT, 0] == b"1 a\nb"


def test_files_are_opened_per_task_and_shared_ones_truncated_once(bench, tmp_path):
    (tmp_path / "all").write_text("old")
    (tmp_path / "in.1").write_text("from file")
    io = {"stdin": f"{tmp_path}/in.%t", "stdout": f"{tmp_path}/o-%j-%s-%3t-%N", "stderr": f"{tmp_path}/all"}
    (tmp_path / "in.0").write_text("zero")
    b = bench(io, ntasks=2)
    for rank in range(2):
        b.spawn(rank, "sh", "-c", "cat; echo err >&2")
    b.run().finish()
    assert (tmp_path / "o-7-2-001-n1").read_text() == "from file"
    assert (tmp_path / "o-7-2-000-n1").read_text() == "zero"
    assert (tmp_path / "all").read_text() == "err\nerr\n"


def test_append_keeps_what_a_file_has(bench, tmp_path):
    (tmp_path / "f").write_text("old ")
    b = bench({"stdout": f"{tmp_path}/f", "stderr": "", "append": True, "stdin": "none"}, with_client=False)
    b.spawn(0, "sh", "-c", "printf out; printf err >&2")
    b.run().finish()
    assert (tmp_path / "f").read_text() == "old outerr"


def test_a_file_that_cannot_be_opened_is_an_error_and_leaks_nothing(bench, tmp_path):
    b = bench({"stdout": f"{tmp_path}/missing/file"})
    b.run()
    with pytest.raises(FileNotFoundError):
        b.io.open_task(0)


def test_a_process_left_behind_cannot_hold_the_step_open(bench):
    b = bench()
    b.spawn(0, "sh", "-c", "printf x; sleep 1000 & echo $! >&2")
    b.run()
    b.until(lambda: b.exits and b"\n" in b.output.get((stdio.ERR, 0), b""), "the task's exit")
    assert not b.io.finished()
    b.offset_s = shepherd_stdio.LINGER_S + 1
    b.finish()
    assert b.output[stdio.OUT, 0] == b"x"
    os.kill(int(b.output[stdio.ERR, 0]), 9)


def test_a_later_reader_gets_the_last_output_and_what_follows_and_may_type(bench):
    b = bench()
    b.python(0, "import os\nos.write(1, b'before ')\nos.write(1, os.read(0, 100))\nos.write(1, b' after')")
    b.run()
    b.until(lambda: (stdio.OUT, 0) in b.output, "started")
    seen = []
    reader = StepClient(lambda node, kind, rank, payload: seen.append((kind, payload)))
    reader.expect(["n1"])
    b.io.attach(reader.address, reader.key)
    reader.send(stdio.IN, stdio.ALL, b"typed")
    end = time.monotonic() + DEADLINE_S
    while not (b.io.finished() and reader.finished):
        assert time.monotonic() < end
        b.turn(5)
        for fd, events in reader.poll_fds():
            reader.handle(fd, events & select.POLLOUT | select.POLLIN)
    reader.close()
    assert b"".join(payload for kind, payload in seen if kind == stdio.OUT) == b"before typed after"
    assert b.output[stdio.OUT, 0] == b"before typed after"


def test_a_reader_that_does_not_read_never_slows_the_step(bench):
    b = bench()
    b.python(0, "import os, sys\nos.write(1, b'up')\nsys.stdin.read()\nfor n in range(64): os.write(1, bytes(65536))")
    b.run()
    b.until(lambda: (stdio.OUT, 0) in b.output, "started")
    reader = StepClient(lambda *frame: None)
    b.io.attach(reader.address, reader.key)
    b.client.send(stdio.IN, stdio.ALL, b"")
    b.until(lambda: len(b.output[stdio.OUT, 0]) == 2 + 64 * 65536, "all output at srun")
    b.until(lambda: not b.io.finished() and b.io._complete_at_s is not None, "only the reader is waited for")
    b.offset_s = shepherd_stdio.ATTACHED_FLUSH_S
    b.finish()
    reader.close()


def test_a_step_without_a_client_cannot_be_attached_to(bench):
    b = bench({"stdout": "none", "stderr": "none", "stdin": "none"}, with_client=False)
    with pytest.raises(ValueError, match="nothing to attach"):
        b.io.attach("unix:@x", b"k")


def test_over_tcp_it_dials_again_after_a_loss_and_takes_up_where_it_was(bench):
    """The client here is written by hand: it takes 100,000 bytes, hangs up, and asks for the rest on the next connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    b = bench({"address": f"tcp:127.0.0.1:{listener.getsockname()[1]}", "key": b"secret", "stdin": "none"}, with_client=False)
    b.python(0, "import os\nfor n in range(64): os.write(1, bytes([n]) * 8192)")
    b.run()
    received, frames, connections = 0, [], 0
    while not b.io.finished():
        b.until(lambda: select.select([listener], [], [], 0)[0] or b.io.finished(), "a connection")
        if b.io.finished():
            break
        connection, _ = listener.accept()
        connection.setblocking(False)
        connections += 1
        inbox = stdio.Inbox(at_client=True)
        greeted, taken = False, 0
        end = time.monotonic() + DEADLINE_S
        while not b.io.finished() and (connections > 1 or taken < 100_000):
            assert time.monotonic() < end
            b.turn(1)
            try:
                data = connection.recv(10_000)
            except BlockingIOError:
                continue
            taken += len(data)
            for kind, _, payload in inbox.feed(data):
                if not greeted:
                    assert stdio.parse_hello(payload)[:2] == ("n1", b"secret")
                    connection.sendall(stdio.welcome(received))
                    greeted = True
                    continue
                received += stdio.HEADER_BYTES + len(payload)
                frames.append((kind, payload))
                if kind == stdio.FINISHED:
                    connection.sendall(stdio.ack(received))
        connection.close()
    listener.close()
    assert connections == 2
    assert b"".join(payload for kind, payload in frames if kind == stdio.OUT) == b"".join(bytes([n]) * 8192 for n in range(64))
    assert [kind for kind, _ in frames].count(stdio.EXIT) == 1


def test_the_client_closes_a_dialler_with_another_key(bench):
    b = bench()
    b.io._main._key = b"wrong"
    b.spawn(0, "true")
    b.run()
    b.until(lambda: b.io._main._lost_at_s is not None and b.io._main._state == "waiting", "refused")
    assert b.output == {}
    b.offset_s = stdio_link.GIVE_UP_S + 1
    b.finish()


def test_a_listener_of_another_user_never_gets_the_key(bench):
    b = bench()
    b.io._main._owner_uid = os.getuid() + 12345
    if os.getuid() == 0:
        pytest.skip("root may always listen")
    b.spawn(0, "true")
    b.run().finish()
    assert "belongs to uid" in b.io._main.reason


@pytest.mark.parametrize("text", ["", "unix:", "unix:rel", "tcp:host:1", "tcp:127.0.0.1:x", "http:x"])
def test_addresses_that_are_refused(text):
    with pytest.raises(ValueError, match=r"no address|numeric"):
        stdio_link.parse_address(text)


def test_a_shepherd_that_is_gone_before_it_is_welcomed_is_no_error():
    client = StepClient(lambda *frame: None)
    try:
        client.expect(["n1"])
        shepherd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        shepherd.connect("\0" + client.address.removeprefix("unix:@"))
        shepherd.sendall(stdio.hello("n1", 0, client.key, 0))
        shepherd.close()
        client.handle(client.poll_fds()[0][0], select.POLLIN)
        assert not client.connected and not client.finished
        assert [events for _, events in client.poll_fds()] == [select.POLLIN]
    finally:
        client.close()
