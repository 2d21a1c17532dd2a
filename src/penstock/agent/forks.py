"""The agent's side of the launcher: shepherds are asked for, orphans swept, a launcher that is not there is started.

Guarantees: each fork that is asked for ends in a shepherd that connects or in one `failed`, unless the launcher stands still; what a
launcher that died had not answered is asked of the next one, and never more than MAX_ASKED. A sweep ends after LAUNCHER_WAIT_S at the
latest.

The launcher is the host's, not this agent's: it outlives the agent, and another agent may have started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import sys
import time
from collections.abc import Callable

from penstock.agent.shepherd.protocol import Fork, Forked, Sweep, decode_from_launcher, encode
from penstock.agent.streams import Stream

LAUNCHER_WAIT_S = 5.0
"""How long a started launcher may take until it listens, and a sweep until it answers."""
LAUNCHER_POLL_S = 0.02
MAX_ASKED = 64
"""Forks that a launcher has not answered: one more fails at once. A launcher that stood still would make all of them later."""

log = logging.getLogger("penstock.agent")


class LauncherStream(Stream):
    def __init__(self, owner: ForkClient) -> None:
        super().__init__()
        self._owner = owner

    def received(self, payload: bytes) -> None:
        message = decode_from_launcher(payload)
        self._owner.answered(message.request, message.error if isinstance(message, Forked) else "")

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.lost(self)


class ForkClient:
    """`failed` hears why a shepherd could not be had, once for each that was asked for."""

    def __init__(self, cluster_dir: str, runtime_dir: str, node: str, node_dir: str, failed: Callable[[str], None]) -> None:
        self._cluster_dir, self._runtime_dir = cluster_dir, runtime_dir
        self._node, self._node_dir = node, node_dir
        self._failed = failed
        self._launcher: LauncherStream | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._last_request = 0
        self._asked: dict[int, bytes] = {}
        """Forks that the launcher has not answered: it may die before it does, then the next one is asked."""
        self._sweeps: dict[int, asyncio.Future[None]] = {}

    def ask(self) -> None:
        """Have one shepherd forked; it connects by itself."""
        if len(self._asked) >= MAX_ASKED:
            error = f"the launcher has not answered {MAX_ASKED} forks"
            asyncio.get_running_loop().call_soon(self._failed, error)
            return
        self._last_request += 1
        request = encode(Fork(self._last_request, self._node, self._node_dir, f"{self._runtime_dir}/agent-{self._node}.sock"))
        self._asked[self._last_request] = request
        if self._launcher is not None:
            self._launcher.send(request)
        else:
            self._reach()

    async def sweep(self) -> None:
        """Let the launcher kill the orphans it adopted; if there is none, nobody adopted any."""
        if self._launcher is None:
            return
        self._last_request += 1
        waiting = self._sweeps[self._last_request] = asyncio.get_running_loop().create_future()
        self._launcher.send(encode(Sweep(self._last_request)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiting, LAUNCHER_WAIT_S)

    def reap(self) -> None:
        """A launcher that we started and that ended is no child of ours any more."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def answered(self, request: int, error: str) -> None:
        self._asked.pop(request, None)
        waiting = self._sweeps.pop(request, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        elif error:
            self._failed(error)

    def lost(self, stream: LauncherStream) -> None:
        if stream is self._launcher:
            self._launcher = None
            for waiting in self._sweeps.values():
                if not waiting.done():
                    waiting.set_result(None)
            self._sweeps.clear()
            if self._asked:
                self._reach()

    def _reach(self) -> None:
        if self._reaching is None:
            self._reaching = asyncio.ensure_future(self._connect())
            self._reaching.add_done_callback(self._tried)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._reaching = None
        if not task.cancelled() and task.exception() is not None:
            log.error("the launcher cannot be reached", exc_info=task.exception())
        if self._launcher is not None:
            for request in self._asked.values():
                self._launcher.send(request)
            return
        failed = len(self._asked)
        self._asked.clear()
        for _ in range(failed):
            self._failed("the launcher cannot be started")

    async def _connect(self) -> None:
        """Connect; if nobody listens, start a launcher and try again for LAUNCHER_WAIT_S."""
        loop = asyncio.get_running_loop()
        give_up_s = time.monotonic() + LAUNCHER_WAIT_S
        while self._launcher is None and time.monotonic() < give_up_s:
            try:
                _, self._launcher = await loop.create_unix_connection(lambda: LauncherStream(self), f"{self._runtime_dir}/launcher.sock")
            except (FileNotFoundError, ConnectionRefusedError):
                if self._process is None:
                    self._spawn()
                await asyncio.sleep(LAUNCHER_POLL_S)

    def _spawn(self) -> None:
        log.info("starting a launcher")
        with open(f"{self._cluster_dir}/log/launcher.log", "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock.agent.launcher", "--dir", self._cluster_dir],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
