"""The agent's process: the shell around `reconcile.Reconcile` that connects it to the controller, the launcher, the shepherds and the disk.

It may be killed and started again at any time: the machine is rebuilt from the folders on disk and from the shepherds that reconnect.
Everything that can block (looking at folders, killing what a dead shepherd left, removing folders) happens in threads.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import logging.handlers
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

from setproctitle import setproctitle

from penstock.agent import folder, inventory
from penstock.agent.cgroups import Hierarchies
from penstock.agent.events import (
    CloseController,
    Command,
    Connect,
    ControllerDown,
    ControllerUp,
    Event,
    FoldersFound,
    Forget,
    ForkFailed,
    FromController,
    Inspect,
    Inspected,
    ReportLoad,
    SaveEpoch,
    SendController,
    SendShepherd,
    ShepherdDown,
    ShepherdSays,
    ShepherdUp,
    StartShepherd,
    Tick,
)
from penstock.agent.forks import ForkClient
from penstock.agent.launcher import read_runtime_dir
from penstock.agent.link import TICK_MS
from penstock.agent.reconcile import Reconcile
from penstock.agent.recovery import forget, inspect
from penstock.agent.shepherd.limits import boot_ms
from penstock.agent.shepherd.protocol import Announce, Dismiss, Setup, decode_from_shepherd, encode
from penstock.agent.streams import Stream
from penstock.agent.supervisor import Supervisor, office_held
from penstock.config.folder import ClusterFolder
from penstock.wire import messages

LOG_BYTES = 1024 * 1024
LOG_FILES = 2
MAX_SHEPHERDS = 4096
INSPECTORS = 4

log = logging.getLogger("penstock.agent")


class ControllerStream(Stream):
    def __init__(self, owner: Service) -> None:
        super().__init__()
        self.owner = owner

    def received(self, payload: bytes) -> None:
        self.owner.handle(FromController(messages.decode_for_agent(payload)))

    def connection_lost(self, exc: Exception | None) -> None:
        self.owner.controller_lost(self)


class ShepherdStream(Stream):
    def __init__(self, owner: Service) -> None:
        super().__init__()
        self.owner = owner
        self.number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.owner.welcome(self):
            self.abort()

    def received(self, payload: bytes) -> None:
        message = decode_from_shepherd(payload)
        event: Event = ShepherdUp(self.number, message) if isinstance(message, Announce) else ShepherdSays(self.number, message)
        self.owner.handle(event)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.owner.shepherds.pop(self.number, None) is not None:
            self.owner.shepherd_left(self.number)


class SteadyClock:
    """Milliseconds since the epoch as they were when the clock was made, plus the time since, also while the machine sleeps: they never go
    back and never jump. With the wall clock an agent whose clock was set back would neither ping nor connect until it caught up."""

    def __init__(self) -> None:
        self._ahead_ms = time.time_ns() // 1_000_000 - boot_ms()

    def __call__(self) -> int:
        return boot_ms() + self._ahead_ms


class Service:
    """One node's agent. `gpus` are part of the facts; `node_dir` is made by the caller and locked."""

    def __init__(self, cluster_dir: str, runtime_dir: str, node_dir: str, facts: messages.Hello) -> None:
        self.cluster_dir, self.runtime_dir, self.node_dir = cluster_dir, runtime_dir, node_dir
        self.facts = facts
        self.node = facts.node
        self._clock = SteadyClock()
        self.machine = Reconcile(facts, epoch=self._read_epoch())
        self.shepherds: dict[int, ShepherdStream] = {}
        self._controller: ControllerStream | None = None
        self._forks = ForkClient(cluster_dir, runtime_dir, facts.node, node_dir, lambda error: self.handle(ForkFailed(error)))
        self._next_number = 0
        self._cluster = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(INSPECTORS, thread_name_prefix="inspect")
        self._sweep_waits = False
        self._stop = asyncio.Event()
        self._folder = ClusterFolder(cluster_dir)
        self._supervisor = Supervisor(self._folder, facts.node)
        self._commands = Supervisor(self._folder, facts.node, role="commands")
        self._carry_out = {
            Connect: lambda command: self._begin(self._connect()),
            CloseController: lambda command: self._controller.abort() if self._controller is not None else None,
            SendController: self._send_controller,
            SendShepherd: self._send_shepherd,
            StartShepherd: lambda command: self._forks.ask(),
            Inspect: lambda command: self._begin(self._inspect(command)),
            Forget: lambda command: self._begin(self._forget(command)),
            SaveEpoch: lambda command: self._save_epoch(command.epoch),
            ReportLoad: lambda command: self._send_controller(SendController(inventory.load(time.time_ns() // 1_000_000))),
        }

    # --- the machine

    def handle(self, event: Event) -> None:
        for command in self.machine.handle(event, self._clock()):
            self._do(command)
        if self.machine.cluster != self._cluster:
            self._cluster = self.machine.cluster
            for stream in self.shepherds.values():
                stream.send(encode(self._setup()))

    def _do(self, command: Command) -> None:
        self._carry_out[type(command)](command)

    def _begin(self, work: object) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("unexpected", exc_info=task.exception())

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; jobs go on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        path = f"{self.runtime_dir}/agent-{self.node}.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server = await loop.create_unix_server(lambda: ShepherdStream(self), path, backlog=1024)
        os.chmod(path, 0o600)
        runs = await loop.run_in_executor(self._threads, folder.scan, self.node_dir)
        self.handle(FoldersFound(tuple(runs)))
        log.info("agent of %s: %d runs on disk", self.node, len(runs))
        ticker = asyncio.ensure_future(self._tick())
        await self._stop.wait()
        ticker.cancel()
        server.close()
        for shepherd in self.machine.crew.shepherds.values():
            if shepherd.run is None:
                self.shepherds[shepherd.number].send(encode(Dismiss()))
        await asyncio.sleep(0)
        log.info("agent of %s ends; its jobs go on", self.node)

    async def _tick(self) -> None:
        while True:
            self.beat(time.monotonic())
            await asyncio.sleep(TICK_MS / 1000)

    def beat(self, now_s: float) -> None:
        """What happens because time passes. A mistake in one part, or a disk that is full, keeps neither the others nor the next beat: an
        agent without them would never connect again."""
        for part in (
            lambda: self.handle(Tick()),
            lambda: self._supervisor.tick(self.machine.link.up, now_s),
            lambda: self._commands.tick(office_held(self._folder, "commands"), now_s),
            self._forks.reap,
        ):
            try:
                part()
            except Exception:
                log.exception("a part of the agent's beat failed")

    # --- the controller

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(self._controller_stream, f"{self.runtime_dir}/nodes.sock")
        except OSError:
            self._controller = None
            self.handle(ControllerDown())
            return
        self.handle(ControllerUp())

    def _controller_stream(self) -> ControllerStream:
        self._controller = ControllerStream(self)
        return self._controller

    def controller_lost(self, stream: ControllerStream) -> None:
        if stream is self._controller:
            self._controller = None
            log.warning("the controller's connection ended")
            self.handle(ControllerDown())

    def _send_controller(self, command: SendController) -> None:
        if self._controller is not None:
            self._controller.send(messages.encode(command.message))

    def _read_epoch(self) -> int:
        try:
            with open(f"{self.node_dir}/epoch", encoding="ascii") as file:
                return int(file.read() or 0)
        except (OSError, ValueError):
            return 0

    def _save_epoch(self, epoch: int) -> None:
        path = f"{self.node_dir}/epoch"
        try:
            with open(f"{path}.new", "w", encoding="ascii") as file:
                file.write(str(epoch))
            os.replace(f"{path}.new", path)
        except OSError as error:
            log.error("the epoch %d could not be kept: %s", epoch, error)

    # --- shepherds

    def _setup(self) -> Setup:
        return Setup(self.node, self._cluster, self.facts.hostname, self.facts.gpus)

    def welcome(self, stream: ShepherdStream) -> bool:
        """A shepherd connected; False if it is a stranger."""
        connection = stream.transport.get_extra_info("socket")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        uid = int.from_bytes(credentials[4:8], sys.byteorder)
        if uid != os.geteuid() or len(self.shepherds) >= MAX_SHEPHERDS:
            log.error("a connection of uid %d was refused", uid)
            return False
        self._next_number += 1
        stream.number = self._next_number
        self.shepherds[stream.number] = stream
        stream.send(encode(self._setup()))
        return True

    def shepherd_left(self, number: int) -> None:
        """Its connection ended: a run it owned is looked after, a berth it left empty is removed."""
        self.handle(ShepherdDown(number))
        if not self._stop.is_set() and not self._sweep_waits:
            self._sweep_waits = True
            self._threads.submit(self._sweep_berths)

    def _sweep_berths(self) -> None:
        """In a thread. One sweep is for all that left before it: each looks at every berth of the node."""
        self._sweep_waits = False
        folder.sweep_berths(self.node_dir)

    def _send_shepherd(self, command: SendShepherd) -> None:
        stream = self.shepherds.get(command.shepherd)
        if stream is not None:
            stream.send(encode(command.message))

    # --- folders

    async def _inspect(self, command: Inspect) -> None:
        loop = asyncio.get_running_loop()
        try:
            event = await loop.run_in_executor(self._threads, inspect, self.node_dir, command.run, False)
            if event is None:  # lost: what the launcher adopted goes first, then everything that can be found
                log.warning("run %d.%d lost its shepherd", *command.run)
                await self._forks.sweep()
                event = await loop.run_in_executor(self._threads, inspect, self.node_dir, command.run, True)
        except Exception:  # whatever it is: a run that nobody looks at again would never end
            log.exception("run %d.%d cannot be looked after, again in a moment", *command.run)
            event = Inspected(command.run, "locked")
        self.handle(event)

    async def _forget(self, command: Forget) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, forget, self.node_dir, command.run)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="penstock agent", description="The agent of one node.")
    parser.add_argument("--dir", required=True, metavar="DIR", help="the cluster's folder")
    parser.add_argument("--node", required=True, metavar="NAME", help="the node's name")
    parser.add_argument("--cpus", type=int, metavar="N", help="declare this many CPUs instead of the measured ones")
    parser.add_argument("--memory", type=int, metavar="MIB", help="declare this much memory")
    parser.add_argument("--gpus", metavar="[TYPE:]N", help="simulated GPUs")
    options = parser.parse_args(argv)
    for name in ("cpus", "memory"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: expected a number from 1")
    if not options.node.replace("-", "").replace("_", "").replace(".", "").isalnum() or options.node.startswith("."):
        parser.error(f"--node {options.node}: expected letters, digits, '-', '_' and '.'")
    try:
        options.gpus = inventory.simulated_gpus(options.node, options.gpus or "0")
    except ValueError as error:
        parser.error(str(error))
    return options


def _start_log(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    logging.getLogger("asyncio").addHandler(handler)


def _warnings(hierarchies: Hierarchies) -> tuple[str, ...]:
    own = () if os.geteuid() == 0 else ("rootless: jobs run as the agent's user only",)
    return (*own, *hierarchies.warnings)


def main(argv: list[str]) -> int:
    """`penstock agent --dir DIR --node NAME`: 1 if another agent serves this node."""
    options = _parse(argv)
    cluster_dir = os.path.abspath(options.dir)
    node_dir = f"{cluster_dir}/nodes/{options.node}"
    try:
        runtime_dir = read_runtime_dir(cluster_dir)
        folder.prepare(node_dir)
        lock = os.open(f"{node_dir}/agent.lock", os.O_RDWR | os.O_CREAT, 0o600)
        _start_log(f"{cluster_dir}/log/agent-{options.node}.log")
    except OSError as error:
        print(f"penstock agent: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"penstock agent: error: another agent serves node {options.node} in {cluster_dir}", file=sys.stderr)
        return 1
    setproctitle(f"penstock agent --dir {cluster_dir} --node {options.node}")
    folder.sweep_berths(node_dir)
    try:
        version = metadata.version("penstock")
    except metadata.PackageNotFoundError:
        version = "unknown"
    facts = inventory.hello(
        options.node,
        cpus=options.cpus,
        memory=options.memory,
        gpus=options.gpus,
        boot_id=folder.boot_id(),
        version=version,
        warnings=_warnings(Hierarchies()),
    )
    asyncio.run(_serve(cluster_dir, runtime_dir, node_dir, facts))
    return 0


async def _serve(cluster_dir: str, runtime_dir: str, node_dir: str, facts: messages.Hello) -> None:
    await Service(cluster_dir, runtime_dir, node_dir, facts).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
