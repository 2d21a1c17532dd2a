"""The shepherd's process: a poll loop around one run at a time.

It waits on the agent's socket, on SIGCHLD (through a wake-up descriptor), on the steps' input and output, and on the next deadline. It
outlives the agent: with a run it reconnects for as long as it takes (RETRY_MS between tries), and keeps what the agent has to hear in the
run itself, which `Announce` repeats. Without a run, or with one whose end is durable, it ends when the agent is away for ALONE_MS or
dismisses it.

A standing shepherd serves runs of one user, one after another: `_forget` and `_assign` leave nothing of one to the next but the berth, the
control group (counters reset) and the identity.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time

from setproctitle import setproctitle

from penstock.agent import folder, processes
from penstock.agent.cgroups import Hierarchies, RunGroups
from penstock.agent.shepherd.limits import boot_ms
from penstock.agent.shepherd.protocol import (
    SHEPHERD_PROTOCOL,
    Announce,
    Dismiss,
    FromShepherd,
    Idle,
    Refused,
    Setup,
    decode_for_shepherd,
    encode,
)
from penstock.agent.shepherd.run import Run
from penstock.agent.shepherd.spawn import Identity
from penstock.wire.messages import AckEnded, Assign, Deframer, Started, frame

RETRY_MS = 250
ALONE_MS = 5_000
READ_BYTES = 1 << 16
MAX_OUT_BYTES = 64 * 1024 * 1024
"""Bytes for an agent that does not read; over it the connection is dropped, and Announce repeats what matters."""


class Shepherd:
    """State of the process between runs and around one."""

    def __init__(self, node: str, node_dir: str, agent_socket: str, hierarchies: Hierarchies) -> None:
        self._node = node
        self._cluster_dir = node_dir.removesuffix(f"/nodes/{node}")
        self._agent_socket = agent_socket
        self._boot = folder.boot_id()
        self._berth = folder.Berth(node_dir)
        self._groups = RunGroups(hierarchies, self._berth.name)
        self._berth.note_groups(self._groups.paths)
        self._setup: Setup | None = None
        self._identity: Identity | None = None
        self._run: Run | None = None
        self._agent: socket.socket | None = None
        self._served_by: tuple[int, int] | None = None
        self._deframer = Deframer()
        self._out = bytearray()
        self._retry_at_ms = 0
        self._alone_since_ms = boot_ms()
        self._leaving = False
        self._child_ended = False
        self._wake, waker = socket.socketpair()
        self._waker = waker
        self._wake.setblocking(False)
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        self._poll = select.poll()
        self._polled: dict[int, int] = {}
        self._title("idle")

    def serve(self) -> None:
        """Until there is nothing to do any more."""
        while True:
            now_ms = boot_ms()
            if self._agent is None:
                over = self._run is None or self._run.record is not None
                if over and (self._leaving or now_ms - self._alone_since_ms >= ALONE_MS):
                    break
                if now_ms >= self._retry_at_ms:
                    self._connect(now_ms)
            if self._leaving and self._run is None and not self._out:
                break
            self._register()
            for fd, events in self._poll.poll(self._timeout_ms(now_ms)):
                if fd == self._wake.fileno():
                    self._drain()
                elif self._agent is not None and fd == self._agent.fileno():
                    self._agent_ready(events)
                elif self._run is not None:
                    self._run.handle(fd, events)
            if self._run is not None:
                self._go_on()
            if self._out:
                self._flush()
        self._groups.remove()
        if self._run is None:
            self._berth.remove()

    def _title(self, what: str) -> None:
        setproctitle(f"penstock shepherd --dir {self._cluster_dir} --node {self._node} {what}")

    # --- waiting

    def _register(self) -> None:
        """Poll exactly what matters now."""
        wanted = {self._wake.fileno(): select.POLLIN}
        if self._agent is not None:
            wanted[self._agent.fileno()] = select.POLLIN | (select.POLLOUT if self._out else 0)
        if self._run is not None and self._run.record is None:
            for fd, events in self._run.fds():
                wanted[fd] = wanted.get(fd, 0) | events
        if wanted == self._polled:
            return
        for fd in self._polled:
            if fd not in wanted:
                self._poll.unregister(fd)
        for fd, events in wanted.items():
            if self._polled.get(fd) != events:
                self._poll.register(fd, events)
        self._polled = wanted

    def _timeout_ms(self, now_ms: int) -> int | None:
        times: list[float] = []
        if self._agent is None:
            times.append(self._retry_at_ms - now_ms)
        if self._run is not None and self._run.record is None:
            wait_s = self._run.next_s(now_ms, time.monotonic())
            if wait_s is not None:
                times.append(wait_s * 1000)
        return max(0, int(min(times)) + 1) if times else None

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass
        self._child_ended = True

    def _go_on(self) -> None:
        """Reap, let time pass, and let the run go on."""
        run = self._run
        if run.record is not None:
            return
        run.tick(boot_ms(), time.monotonic())
        alone = self._reap(run) if self._child_ended or run.ending else False
        self._child_ended = False
        run.advance(alone)

    def _reap(self, run: Run) -> bool:
        """Reap what ended; True if there is no child at all any more."""
        while True:
            try:
                pid, wait_status, rusage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            run.reaped(pid, wait_status, rusage)

    # --- the agent

    def _connect(self, now_ms: int) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._served_by = self._serving_agent()
        try:
            connection.connect(self._agent_socket)
            if self._serving_agent() != self._served_by:
                raise ConnectionResetError
        except OSError:
            connection.close()
            self._retry_at_ms = now_ms + RETRY_MS
            return
        connection.setblocking(False)
        self._agent = connection
        self._deframer = Deframer()
        self._setup = None
        self._out.clear()
        run = self._run
        going, ended = run.step_states() if run is not None else ((), ())
        self._send(
            Announce(
                SHEPHERD_PROTOCOL,
                os.getpid(),
                self._berth.name,
                self._identity.uid if self._identity is not None else None,
                run.key if run is not None else None,
                run.record if run is not None else None,
                going,
                ended,
            )
        )

    def _serving_agent(self) -> tuple[int, int] | None:
        """Which agent's socket stands at the path: each makes its own, before it looks at the folders."""
        try:
            state = os.stat(self._agent_socket)
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def _disconnect(self) -> None:
        self._polled.pop(self._agent.fileno(), None)
        with contextlib.suppress(KeyError):
            self._poll.unregister(self._agent.fileno())
        self._agent.close()
        self._agent = None
        self._out.clear()
        self._alone_since_ms = boot_ms()
        self._retry_at_ms = self._alone_since_ms

    def _send(self, message: FromShepherd) -> None:
        if self._agent is not None:
            self._out += frame(encode(message))

    def _flush(self) -> None:
        if self._agent is None:
            return
        try:
            sent = self._agent.send(self._out)
            del self._out[:sent]
        except BlockingIOError:
            if len(self._out) > MAX_OUT_BYTES:
                self._disconnect()
        except OSError:
            self._disconnect()

    def _agent_ready(self, events: int) -> None:
        if not events & ~select.POLLOUT:
            return
        try:
            data = self._agent.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return
        try:
            messages = [decode_for_shepherd(payload) for payload in self._deframer.feed(data)]
        except ValueError:
            self._disconnect()
            return
        for message in messages:
            self._take(message)

    def _take(self, message: object) -> None:
        match message:
            case Setup():
                self._setup = message
                if self._run is not None:
                    self._run.setup = message
            case Dismiss():
                self._leaving = True
            case Assign():
                self._assign(message)
            case AckEnded() if self._run is not None and self._run.key == (message.job_id, message.attempt):
                if message.step_id >= 0:
                    self._run.forget_step(message.step_id)
                elif self._run.record is not None:
                    self._forget()
            case _ if self._run is not None and self._run.record is None:
                self._run.message(message)

    # --- runs

    def _assign(self, assign: Assign) -> None:
        key = (assign.job_id, assign.attempt)
        busy = self._run is not None or self._leaving or self._setup is None
        if busy or (self._identity is not None and self._identity.uid != assign.uid) or not self._berth.claim(key):
            self._send(Refused(*key))
            return
        if self._serving_agent() != self._served_by:
            # The agent that sent this is gone, and its successor may have given the run to another shepherd, even seen it end.
            self._berth.disclaim()
            self._send(Refused(*key))
            return
        if self._identity is None or (self._identity.gid, self._identity.user) != (assign.gid, assign.user):
            self._identity = Identity(assign.user, assign.uid, assign.gid)
        self._title(f"{assign.job_id}")
        self._groups.reset(assign.memory_mib)
        self._berth.note_groups(self._groups.paths)
        self._run = Run(assign, self._identity, setup=self._setup, berth=self._berth, groups=self._groups, boot=self._boot, send=self._send)
        self._run.start()
        self._send(Started(*key, self._run.pid))

    def _forget(self) -> None:
        key = self._run.key
        self._berth.release()
        self._groups.end_run()
        self._run = None
        self._send(Idle(*key))


def main(node: str, node_dir: str, agent_socket: str, hierarchies: Hierarchies) -> None:
    """The forked shepherd; returns when it has nothing to do any more."""
    processes.become_subreaper()
    Shepherd(node, node_dir, agent_socket, hierarchies).serve()
