"""`penstock controller --dir DIR`: the process that owns the state of one cluster.

It loads the rows, takes office (a new epoch), and turns: requests, messages and timers go into the reactor, a planning pass (`planner`) and
long replies (`slices`) go on between them, batches go to the commit thread. SIGTERM ends it after the last commit; jobs do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import logging
import os
import resource
import signal
import sys
import time
from itertools import islice
from logging.handlers import RotatingFileHandler
from typing import Any

from penstock.config.folder import ClusterFolder, FolderError
from penstock.controller.agents import AgentDoor
from penstock.controller.clients import Client, Gateway
from penstock.controller.committer import FATAL_EXIT, Committer
from penstock.controller.configuration import read_config, reread
from penstock.controller.mail import send_mail
from penstock.controller.planner import PlannerHost
from penstock.controller.reading import Reading
from penstock.controller.slices import ViewSlices
from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.reactor import BrokenEvent, Reactor
from penstock.engine.requests import OP_MAX_CHARACTERS
from penstock.engine.rows import decode_job, load
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError
from penstock.store.base import Batch, JobQuery, StoreError
from penstock.store.sqlite import SqliteStore
from penstock.wire.messages import Hello, ToAgent, ToController

LOG_BYTES = 8 << 20
MAINTAIN_S = 30.0
FEED_KEEP = 200_000
"""Events that the feed keeps at least; older ones are pruned."""
HISTORY_KEEP_MS = 400 * 86_400_000
"""Accounting of jobs that ended longer ago than this is pruned."""
HISTORY_ROWS_MAX = 10_000
"""Rows of an array that are read to judge a dependency on it; a larger one that left memory counts as unknown."""
PRUNE_MAX = 1_000
"""Rows that one round of pruning deletes at most of each kind."""
BLOB_CACHE_BYTES = 64 << 20
"""Scripts and environments that are kept at hand for launches."""
ID_MAX_DIGITS = 64
"""Of a request's id; the commands send 32."""
OPEN_FILES = 20_000
"""Descriptors that the controller asks for: clients, agents, the store."""

log = logging.getLogger("penstock.controller")
_LIBC = ctypes.CDLL(None)


class Service:
    """The reactor's world, and the loop around it."""

    def __init__(self, folder: ClusterFolder, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._folder = folder
        self.store = SqliteStore(folder.store)
        with self.store.load() as loaded:
            state = load(loaded)
        self.reactor = Reactor(state, self, folder.path)
        self._committer = Committer(self.store, loop.call_soon_threadsafe, self._durable, self._disk_full)
        self.gateway = Gateway(self._request, self._client_gone)
        self.door = AgentDoor(self._hello, self._message, self._node_lost)
        self.reading = Reading(self.reactor, self.store)
        self._views = ViewSlices(self.reactor, self.reading, loop)
        self._planner = PlannerHost(self.reactor, loop, self._touch, now_ms)
        self._turning = False
        self._blobs: dict[bytes, bytes] = {}
        self._blob_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._maintain_at_s = loop.time() + MAINTAIN_S
        self._servers: list[asyncio.AbstractServer] = []
        self._stopping = False

    # --- the world of the reactor ---

    def commit(self, batch: Batch) -> None:
        self._committer.begin(batch)

    def send(self, node: str, message: ToAgent) -> None:
        self.door.send(node, message)

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        self.gateway.reply(client, kind, payload)

    def blob(self, digest: bytes) -> bytes:
        content = self._blobs.get(digest)
        if content is None:
            content = self.store.get_blob(digest)
            self._blob_bytes += len(content)
            self._blobs[digest] = content
            while self._blob_bytes > BLOB_CACHE_BYTES:
                self._blob_bytes -= len(self._blobs.pop(next(iter(self._blobs))))
        return content

    def history(self, job_id: int) -> list[int]:
        rows = list(islice(self.store.query_jobs(JobQuery(ids=(job_id,))), HISTORY_ROWS_MAX + 1))
        return [decode_job(row).state for row in rows] if len(rows) <= HISTORY_ROWS_MAX else []

    def mail(self, user: str, subject: str) -> None:
        send_mail(self.reactor.state.config.mail_prog, user, subject)

    def reread(self, running: ClusterConfig) -> tuple[ClusterConfig, list[str]]:
        try:
            config, lines = reread(self._folder, running)
        except (SpecError, FolderError, OSError) as error:
            log.error("the configuration is refused, the running one stays: %s", error)
            raise SlurmError(err.ESLURM_INTERNAL, "The configuration is refused, the running one stays", str(error)) from error
        for line in lines:
            log.warning("reconfigured, but %s", line)
        log.info("the configuration was read again")
        return config, lines

    # --- what comes in ---

    def _request(self, client: Client, fields: dict[str, Any], sections: list[bytes]) -> None:
        op = fields.get("op")
        if isinstance(op, str) and self.reading.knows(op):
            self._views.start(client, fields, now_ms())
            return
        first = None
        request_id = fields.get("id", "")
        if not isinstance(request_id, str) or len(request_id) > ID_MAX_DIGITS:
            raise ValueError(f"id is not a text of at most {ID_MAX_DIGITS} hexadecimal digits")
        if request_id:
            first = self.store.find_request(bytes.fromhex(request_id), client.caller.uid)
        begun_ns = time.perf_counter_ns()
        self.reactor.requests.handle(client.number, client.caller, fields, sections, now_ms(), first)
        spent_us = (time.perf_counter_ns() - begun_ns) // 1000
        self.reactor.statistics.served(str(op)[:OP_MAX_CHARACTERS], client.caller.user, client.caller.uid, spent_us)
        self._touch()

    def _client_gone(self, client: int) -> None:
        self.reactor.requests.gone(client, now_ms())
        self._touch()

    def _hello(self, hello: Hello) -> None:
        self.reactor.nodes.hello(hello, now_ms())
        log.info("node %s registered: %d CPUs, %d MiB, %d GPUs", hello.node, hello.cpus, hello.memory_mib, len(hello.gpus))
        for warning in hello.warnings:
            log.warning("node %s: %s", hello.node, warning)
        self._touch()

    def _message(self, node: str, message: ToController) -> None:
        self.reactor.nodes.message(node, message, now_ms())
        self._touch()

    def _node_lost(self, node: str) -> None:
        if not self._stopping:
            log.warning("node %s: session lost", node)
            self.reactor.nodes.lost(node, now_ms())
            self._touch()

    # --- the turn ---

    def _touch(self) -> None:
        """Something changed: one turn at the end of this round of the loop."""
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        self._planner.turn()
        self.reactor.flush()

    def _durable(self, seq: int) -> None:
        while True:
            try:
                self.reactor.committed(seq)
                break
            except BrokenEvent:
                raise
            except Exception:  # a mistake of ours in one effect: the others leave all the same
                log.exception("an effect failed")
        self._touch()

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What no callback caught. A State that is undefined must not answer anybody: the process ends, the next one recovers."""
        loop.default_exception_handler(context)
        if isinstance(context.get("exception"), BrokenEvent):
            log.critical("the state is broken, exiting: %s", context["exception"])
            logging.shutdown()
            os._exit(FATAL_EXIT)

    def _disk_full(self, full: bool) -> None:
        text = f"the disk of {self._folder.path} is full: no new jobs until there is room (jobs that run are recorded)"
        if full:
            log.error("%s", text)
        self.reactor.refusing = text if full else ""

    def _tick(self) -> None:
        at_ms = now_ms()
        try:
            self.reactor.tick(at_ms)
            self._check_disk()
            if self._loop.time() >= self._maintain_at_s:
                self._maintain_at_s = self._loop.time() + MAINTAIN_S
                self._committer.maintain(self._prune)
            self._touch()
        finally:  # time goes on, also after a mistake of ours
            wake_s = (self.reactor.next_wake_ms(at_ms) - at_ms) / 1000
            self._timer = self._loop.call_later(max(0.005, wake_s), self._tick)

    def _prune(self) -> None:
        """In the commit thread."""
        self.store.prune_feed(self.reactor.durable_seq - FEED_KEEP, 50 * PRUNE_MAX)
        self.store.prune_history(now_ms() - HISTORY_KEEP_MS, PRUNE_MAX)
        give_back_memory()

    def _check_disk(self) -> None:
        low = self.store.low_water()
        if low and not self.reactor.refusing:
            self._disk_full(True)
        elif self.reactor.refusing and self.store.restore_reserve() and not self.store.low_water():
            self._disk_full(False)
            log.info("room on the disk again: jobs are accepted")

    # --- life ---

    async def start(self) -> None:
        """Take office, open the sockets."""
        reactor = self.reactor
        self._loop.set_exception_handler(self._unexpected)
        reactor.take_office(read_config(self._folder), self._folder.node_names(), now_ms(), self._folder.seen_epoch())
        runtime = self._folder.runtime()
        mode = 0o666 if os.getuid() == 0 else 0o600
        self._servers.append(await self._listen(self.gateway.connect, f"{runtime}/ctl.sock", mode))
        self._servers.append(await self._listen(self.door.connect, f"{runtime}/nodes.sock", 0o600))
        self._tick()
        self._touch()
        log.info(
            "controller of %s took office: epoch %d, %d jobs", self._folder.path, reactor.state.counters.epoch, len(reactor.state.jobs)
        )

    async def _listen(self, factory: Any, path: str, mode: int) -> asyncio.AbstractServer:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        old = os.umask(0o777 & ~mode)
        try:
            return await self._loop.create_unix_server(factory, path, backlog=1024)
        finally:
            os.umask(old)

    async def stop(self) -> None:
        """Commit what is left, then close."""
        self._stopping = True
        for server in self._servers:
            server.close()
        if self._timer is not None:
            self._timer.cancel()
        while self.reactor.durable_seq < self.reactor.state.seq:
            self.reactor.flush()
            await asyncio.sleep(0.001)
        self._committer.stop()
        self.store.close()


def give_back_memory() -> None:
    """What large requests and replies left free in the heap goes back to the system: after 100,000 submissions that is 130 of 290 MiB."""
    trim = getattr(_LIBC, "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def hold_office(folder: ClusterFolder) -> int:
    """The lock that makes this the only controller of the folder; SystemExit if there is another."""
    lock = os.open(f"{folder.path}/controller.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"penstock: another controller owns {folder.path}") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def configure_log(folder: ClusterFolder) -> None:
    handler = RotatingFileHandler(f"{folder.log}/controller.log", maxBytes=LOG_BYTES, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


async def serve(folder: ClusterFolder) -> None:
    """Until SIGTERM or SIGINT. What was loaded lives long: the collector need not look at it again."""
    loop = asyncio.get_running_loop()
    gc.disable()
    try:
        service = Service(folder, loop)
    except StoreError as error:
        log.critical("%s", error)
        raise SystemExit(f"penstock: {error}") from error
    gc.freeze()
    gc.enable()
    await service.start()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await service.stop()


def main(argv: list[str]) -> int:
    """`controller --dir DIR [--supervised]`. A supervised one, which an agent starts after its predecessor exited, runs only while the
    cluster is to be up."""
    if argv[:1] != ["--dir"] or len(argv) < 2 or argv[2:] not in ([], ["--supervised"]):
        print("usage: penstock controller --dir DIR [--supervised]", file=sys.stderr)
        return 2
    folder = ClusterFolder(argv[1])
    folder.make()
    hold_office(folder)
    configure_log(folder)
    import setproctitle

    setproctitle.setproctitle(f"penstock controller --dir {folder.path}")
    if argv[2:] and not folder.wanted():  # looked at under the title that `penstock down` searches for
        return 0
    sys.setswitchinterval(0.001)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES), hard))
    asyncio.run(serve(folder))
    return 0
