"""A controller of one thread and a node with the real StepIo, for the tests of srun, salloc and sattach.

It speaks the frames of wire.lite on a real socket and starts real children; what it grants is written down in `requests`, so that a test
can look at what a command asked for. `srun(...)` starts the real command and drives everything until it ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from penstock.agent.shepherd.stdio import StepIo
from penstock.agent.shepherd.stdio_task import take_terminal
from penstock.wire.messages import TaskIo

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
DEADLINE_S = 30.0


class Step:
    """Tasks of one node."""

    def __init__(self, cluster, fields, environment, step_id, node, node_rank, ranks):
        self.cluster, self.fields, self.step_id, self.node, self.ranks = cluster, fields, step_id, node, ranks
        self.pids = {}
        self.statuses = {}
        names = ("stdin", "stdout", "stderr", "append", "pty", "rows", "columns", "unbuffered", "address")
        io = TaskIo(key=bytes.fromhex(fields["key"]), **{name: fields[name] for name in names if name in fields})
        self.io = StepIo(
            io,
            node=node,
            job_id=fields["job_id"],
            attempt=0,
            step_id=step_id,
            ranks=tuple(ranks),
            names={"n": str(node_rank)},
            open_file=lambda path, flags: os.open(path, flags, 0o644),
        )
        pairs = (item.partition(b"=") for item in environment.split(b"\0") if item)
        base = {name: value for name, _, value in pairs}
        programs = {int(item.split("\x1f")[0]): item.split("\x1f")[1:] for item in fields.get("multi_prog", [])}
        for rank in ranks:
            fds = self.io.open_task(rank)
            try:
                child = subprocess.Popen(
                    programs.get(rank, fields["argv"]),
                    stdin=fds[0],
                    stdout=fds[1],
                    stderr=fds[2],
                    env={**base, b"SLURM_PROCID": b"%d" % rank, b"SLURM_STEP_ID": b"%d" % step_id},
                    cwd=fields["work_dir"],
                    start_new_session=True,
                    preexec_fn=take_terminal if self.io.needs_terminal(rank) else None,
                )
                self.pids[rank] = child
            except OSError as exc:
                self.io.notice(f"slurmstepd-{node}: error: execve(): {exc.filename}: {exc.strerror}")
                self.statuses[rank] = exc.errno << 8
                self.io.task_exited(rank, exc.errno << 8)
            for fd in fds:
                os.close(fd)
        self.io.start()

    def reap(self):
        for rank, child in self.pids.items():
            if rank not in self.statuses and child.poll() is not None:
                code = child.returncode
                self.statuses[rank] = -code if code < 0 else code << 8
                self.io.task_exited(rank, self.statuses[rank], self.cluster.cause)

    def signal(self, number):
        for rank, child in self.pids.items():
            if rank not in self.statuses:
                os.killpg(child.pid, number)

    @property
    def over(self):
        return len(self.statuses) == len(self.ranks) and self.io.finished()


class Connection:
    def __init__(self, sock):
        self.socket = sock
        self.data = b""
        self.step = None
        self.allocation = None

    def reply(self, kind, text=""):
        payload = text.encode("utf-8", "surrogateescape")
        try:
            self.socket.sendall((len(payload) + 1).to_bytes(4, "big") + kind + payload)
        except OSError:
            pass


class FakeCluster:
    """`nodes`: names; a job has them all. `pending_turns`: how often the loop turns before an allocation is granted."""

    def __init__(self, nodes=("n1",), pending=False, cause=""):
        self.folder = tempfile.mkdtemp(prefix="pf-")
        Path(self.folder, "socket").write_text(self.folder)
        self.nodes, self.pending, self.cause = nodes, pending, cause
        self.requests = []
        self.busy_until = None
        self.refuse = {}
        self.steps = {}
        self.next_step = 0
        self.connections = {}
        self.known = {}
        self.listener = None
        self.listen()

    def listen(self):
        path = f"{self.folder}/ctl.sock"
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)

    def die(self):
        """The controller is killed: every connection breaks, the shepherds go on."""
        self.listener.close()
        for connection in self.connections.values():
            connection.socket.close()
        self.connections = {}

    def close(self):
        for steps in self.steps.values():
            for step in steps:
                step.signal(signal.SIGKILL)
                for child in step.pids.values():
                    child.wait()
                step.io.close()
        self.die()
        for name in os.listdir(self.folder):
            os.unlink(f"{self.folder}/{name}")
        os.rmdir(self.folder)

    # --- the loop

    def turn(self, more=(), wait_ms=50):
        poll = select.poll()
        owners = {}

        def add(fd, events, owner):
            poll.register(fd, events)
            owners[fd] = owner

        if self.listener.fileno() >= 0:
            add(self.listener.fileno(), select.POLLIN, self._accept)
        for fd, connection in self.connections.items():
            add(fd, select.POLLIN, lambda fd, ev, c=connection: self._read(c))
        for steps in self.steps.values():
            for step in steps:
                for fd, events in step.io.poll_fds():
                    add(fd, events, step.io.handle)
        for fd, handler in more:
            add(fd, select.POLLIN, handler)
        for fd, events in poll.poll(wait_ms if not self.steps else min(wait_ms, 5)):
            owners[fd](fd, events)
        for key, steps in self.steps.items():
            for step in steps:
                step.reap()
                deadline = step.io.next_deadline_s()
                if deadline is not None and time.monotonic() >= deadline:
                    step.io.tick(time.monotonic())
            if key in self.known and steps and all(step.over for step in steps):
                statuses = [status for step in steps for status in step.statuses.values()]
                for connection in list(self.connections.values()):
                    if connection.step == key:
                        connection.reply(b"=", f"COMPLETED\t{max(statuses)}\t{self.cause}")
                        connection.step = None

    def _accept(self, fd, events):
        sock, _ = self.listener.accept()
        self.connections[sock.fileno()] = Connection(sock)

    def _read(self, connection):
        try:
            data = connection.socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self.connections.pop(connection.socket.fileno(), None)
            connection.socket.close()
            return
        connection.data += data
        while len(connection.data) >= 4:
            end = 4 + int.from_bytes(connection.data[:4], "big")
            if len(connection.data) < end:
                break
            frame, connection.data = connection.data[4:end], connection.data[end:]
            size = int.from_bytes(frame[:4], "big")
            fields = json.loads(frame[4 : 4 + size])
            sections, at = [], 4 + size
            while at < len(frame):
                length = int.from_bytes(frame[at : at + 4], "big")
                sections.append(frame[at + 4 : at + 4 + length])
                at += 4 + length
            fields["sections"] = sections
            self.requests.append(fields)
            if fields["op"] in self.refuse:
                connection.reply(b"!", self.refuse[fields["op"]])
                continue
            getattr(self, "op_" + fields["op"])(connection, fields)

    def asked(self, op):
        return [fields for fields in self.requests if fields["op"] == op]

    # --- operations

    def job_text(self, job_id):
        names = {
            "SLURM_JOB_ID": job_id,
            "SLURM_JOB_NODELIST": ",".join(self.nodes),
            "SLURM_JOB_NAME": "jobname",
            "SLURM_JOB_USER": "someone",
        }
        return f"{job_id}\t{','.join(self.nodes)}\tnormal\n" + "\0".join(f"{name}={value}" for name, value in names.items())

    def op_allocate(self, connection, fields):
        connection.allocation = 12
        if self.pending:
            connection.reply(b"~", "pending\t12")
        if self.pending != "for ever":
            connection.reply(b"=", self.job_text(12))

    def op_job_info(self, connection, fields):
        connection.reply(b"=", self.job_text(fields["job_id"]))

    def op_release(self, connection, fields):
        connection.reply(b"=")

    def revoke(self, text):
        for connection in self.connections.values():
            if connection.allocation:
                connection.reply(b"*", f"revoked\t{text}")

    def op_step_create(self, connection, fields):
        key = fields["id"]
        if key not in self.known:
            ntasks = fields.get("ntasks") or fields.get("nodes_min") or 1
            used = list(self.nodes[: min(len(self.nodes), ntasks, fields.get("nodes_max") or len(self.nodes))])
            counts = [ntasks // len(used) + (index < ntasks % len(used)) for index in range(len(used))]
            if self.busy_until is not None:
                connection.reply(b"~", f"Job {fields['job_id']} step creation temporarily disabled, retrying (Requested nodes are busy)")
            step_id, self.next_step = self.next_step, self.next_step + 1
            self.known[key] = (step_id, used, counts, ntasks)
            first, steps = 0, []
            for index, (node, count) in enumerate(zip(used, counts, strict=True)):
                ranks = range(first, first + count)
                steps.append(Step(self, fields, fields["sections"][0], step_id, node, index, ranks))
                first += count
            self.steps[key] = steps
        step_id, used, counts, ntasks = self.known[key]
        tasks = ",".join(map(str, counts))
        connection.reply(b"*", f"created\t{step_id}\t{','.join(used)}\t{ntasks}\t{tasks}\t{tasks}\t{','.join(used)}\t0\t0")
        connection.step = key

    def op_step_kill(self, connection, fields):
        for key, (step_id, *_) in self.known.items():
            if step_id == fields["step_id"]:
                for step in self.steps[key]:
                    step.signal(fields["signal"])
        connection.reply(b"=")

    def op_step_info(self, connection, fields):
        for step_id, used, counts, ntasks in self.known.values():
            if step_id == fields["step_id"]:
                connection.reply(b"=", f"{step_id}\t{ntasks}\t{','.join(used)}\t{','.join(map(str, counts))}\t/")
                return
        connection.reply(b"!", "2017\tInvalid job id specified")

    def op_step_attach(self, connection, fields):
        for key, (step_id, used, counts, ntasks) in self.known.items():
            if step_id == fields["step_id"]:
                for step in self.steps[key]:
                    step.io.attach(fields["address"], bytes.fromhex(fields["key"]))
                connection.reply(b"=", f"{step_id}\t{ntasks}\t{','.join(used)}\t{','.join(map(str, counts))}\t/")
                return
        connection.reply(b"!", "2017\tInvalid job id specified")


class Command:
    """A real command on a FakeCluster."""

    def __init__(self, cluster, program, *arguments, environment=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options):
        environment = {
            "PATH": os.environ["PATH"],
            "PENSTOCK_DIR": cluster.folder,
            "PYTHONPATH": SOURCE,
            "LC_ALL": "C.UTF-8",
            **(environment or {}),
        }
        code = f"import sys; from penstock.cli.{program} import main; sys.exit(main())"
        self.cluster = cluster
        self.out, self.err = b"", b""
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", code, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment,
            **options,
        )
        self.pipes = {pipe.fileno(): name for pipe, name in ((self.process.stdout, "out"), (self.process.stderr, "err")) if pipe}

    def _collect(self, fd, events):
        data = os.read(fd, 1 << 16)
        setattr(self, self.pipes[fd], getattr(self, self.pipes[fd]) + data)
        if not data:
            del self.pipes[fd]

    def turn(self, hold=()):
        self.cluster.turn([(fd, self._collect) for fd, name in self.pipes.items() if name not in hold])

    def until(self, condition, say, hold=()):
        end = time.monotonic() + DEADLINE_S
        while True:
            ended = self.process.poll() is not None and not self.pipes
            if condition():
                return self
            assert time.monotonic() < end, f"never: {say}; out={self.out[-300:]!r} err={self.err[-2000:]!r}"
            assert not ended, f"ended before: {say}; err={self.err!r}"
            self.turn(hold)

    def finish(self):
        self.until(lambda: self.process.poll() is not None and not self.pipes, "the command's end")
        for pipe in (self.process.stdout, self.process.stderr, self.process.stdin):
            if pipe:
                pipe.close()
        return self

    @property
    def code(self):
        return self.process.returncode

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr, self.process.stdin):
            if pipe:
                pipe.close()
