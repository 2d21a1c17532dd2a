"""A machine: what survives its processes (folders, the agent's epoch), who lives on it, and what really runs there.

`active` is the truth that the checker counts: a run takes its resources from the moment a shepherd claimed it until nothing of it is
alive, whoever knows of it. The agent's own machine (`penstock.agent.reconcile`) is the product's; `Agent` here is its shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.agent import events as a
from penstock.agent.reconcile import Reconcile
from penstock.agent.shepherd.protocol import Announce
from penstock.sim.network import End
from penstock.sim.process import Process
from penstock.sim.shepherd import Shepherd
from penstock.wire import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.sim.simulation import Simulation

TICK_MS = 500
"""Agents are told of the time twice a second here, which halves the work; the product's TICK_MS is less."""
RunKey = tuple[int, int]


class Folder:
    """A run's folder: who owns it, and what was made durable."""

    __slots__ = ("end", "owner", "steps")

    def __init__(self, owner: Shepherd) -> None:
        self.owner = owner
        self.end: m.ExitRecord | None = None
        self.steps: dict[int, m.ExitRecord | None] = {}


SHARDS = 4
"""Of each GPU of every other machine; those of the rest are given whole."""


class Machine:
    def __init__(self, simulation: Simulation, name: str, cpus: int, memory_mib: int, gpus: int) -> None:
        self.simulation = simulation
        self.timeline = simulation.timeline
        self.name = name
        self.cpus, self.memory_mib = cpus, memory_mib
        shards = 0 if name[-1] in "13579" else SHARDS
        self.gpus = tuple(m.GpuInfo(f"GPU-{name}-{index}", "a100", index, True, shards) for index in range(gpus))
        self.boot = 1
        self.boot_ms = self.timeline.now_ms
        self.epoch = 0
        self.reachable = True
        self.launcher_until_ms = 0
        """The launcher is down until then."""
        self.folders: dict[RunKey, Folder] = {}
        self.active: dict[RunKey, m.Assign] = {}
        self.shepherds: dict[int, Shepherd] = {}
        self.agent: Agent | None = None
        self._doom = ""
        self._next_pid = 1

    def note(self, text: str) -> None:
        self.timeline.note(f"{self.name}: {text}")

    # --- processes ---

    def start_agent(self) -> None:
        if self.agent is None or not self.agent.alive:
            facts = m.Hello(
                protocol=m.PROTOCOL_VERSION,
                node=self.name,
                hostname=self.name,
                boot_id=f"{self.name}-{self.boot}",
                version="sim",
                cpus=self.cpus,
                memory_mib=self.memory_mib,
                gpus=self.gpus,
                boot_ms=self.boot_ms,
                start_ms=self.timeline.now_ms,
            )
            self.agent = Agent(self, self.simulation.parts.reconcile(facts, epoch=self.epoch))

    def fork(self, agent: Agent) -> None:
        """The launcher's work, for this agent."""
        if self.launcher_until_ms > self.timeline.now_ms:
            agent.take(agent.handle, a.ForkFailed("the launcher cannot be started"))
            return
        self._next_pid += 1
        self.shepherds[self._next_pid] = Shepherd(self, self._next_pid)

    def exit_shepherd(self, shepherd: Shepherd) -> None:
        if self.shepherds.pop(shepherd.pid, None) is not None:
            shepherd.kill()

    def kill_shepherd(self, shepherd: Shepherd) -> None:
        """SIGKILL: what it ran goes on, orphaned."""
        self.note(f"shepherd {shepherd.pid} killed with {shepherd.key}")
        self.exit_shepherd(shepherd)

    def kill_agent(self) -> None:
        if self.agent is not None:
            self.agent.kill()

    def power_off(self) -> None:
        """Everything here dies at once; what was not synced may be lost."""
        self.kill_agent()
        for shepherd in list(self.shepherds.values()):
            self.exit_shepherd(shepherd)
        for key in list(self.active):
            self._over(key)
        for key, folder in list(self.folders.items()):
            if folder.end is None and self.timeline.random.random() < 0.3:
                del self.folders[key]
        self.boot += 1
        self.boot_ms = self.timeline.now_ms + 1_000

    def doom(self, when: str) -> None:
        """The next shepherd to end a run dies "before" or "after" it made the end durable."""
        self._doom = when

    def take_doom(self) -> str:
        when, self._doom = self._doom, ""
        return when

    # --- folders and runs ---

    def claim(self, key: RunKey, shepherd: Shepherd) -> bool:
        """Atomic: of all who try, one gets the run, ever."""
        if key in self.folders:
            return False
        self.folders[key] = Folder(shepherd)
        return True

    def began(self, assign: m.Assign) -> None:
        key = (assign.job_id, assign.attempt)
        self.note(f"run {key} begins")
        self.active[key] = assign
        self.simulation.checks.began(self, assign)

    def step_began(self, key: RunKey, step_id: int) -> None:
        self.simulation.checks.step_began(self, key, step_id)

    def write_end(self, key: RunKey, record: m.ExitRecord) -> None:
        """Durable from here on; nothing of the run is alive."""
        self.note(f"end of run {key} is durable: {record.wait_status} {record.cause}")
        self.folders[key].end = record
        self._over(key)
        self.simulation.checks.recorded(self, key, record)

    def _over(self, key: RunKey) -> None:
        self.active.pop(key, None)

    def release(self, key: RunKey) -> None:
        self.folders.pop(key, None)

    def inspect(self, key: RunKey) -> a.Inspected:
        """As `agent.recovery.inspect` with `end_lost`."""
        folder = self.folders.get(key)
        if folder is None:
            return a.Inspected(key, "absent")
        if folder.owner.alive and folder.owner.key == key:
            return a.Inspected(key, "locked")
        if folder.end is None:
            record = m.ExitRecord(wait_status=9, end_ms=self.timeline.now_ms, cause="ShepherdKilled", detail="simulated")
            for number, ended in folder.steps.items():
                if ended is None:
                    folder.steps[number] = record
            self.write_end(key, record)
        steps = tuple((number, record) for number, record in folder.steps.items() if record is not None)
        return a.Inspected(key, "ended", folder.end, steps)

    def forget(self, key: RunKey) -> None:
        folder = self.folders.get(key)
        if folder is not None and not (folder.owner.alive and folder.owner.key == key):
            del self.folders[key]


class Agent(Process):
    """The shell around `Reconcile`: carries out its commands."""

    def __init__(self, machine: Machine, reconcile: Reconcile) -> None:
        super().__init__(machine.timeline)
        self.machine = machine
        self.reconcile = reconcile
        self.controller: End | None = None
        self._ends: dict[int, End] = {}
        self._next_number = 1
        self._carry_out: dict[type, Callable[..., None]] = {
            a.Connect: lambda command: self._soon(self._connect),
            a.CloseController: lambda command: self._close(),
            a.SendController: self._send,
            a.SendShepherd: self._send_shepherd,
            a.StartShepherd: lambda command: self._soon(machine.fork, self),
            a.Inspect: lambda command: self._soon(self._inspect, command.run),
            a.Forget: lambda command: self._soon(machine.forget, command.run),
            a.SaveEpoch: self._save_epoch,
            a.ReportLoad: lambda command: self._send(a.SendController(m.NodeLoad(self.timeline.now_ms, 100, 1024))),
        }
        self.later(self.timeline.between(1, 200), self._begin)

    def _begin(self) -> None:
        self.handle(a.FoldersFound(tuple(self.machine.folders)))
        self._tick()

    def _tick(self) -> None:
        self.handle(a.Tick())
        self.later(TICK_MS, self._tick)

    def handle(self, event: a.Event) -> None:
        """An event of a dead agent is nobody's."""
        if self.alive:
            for command in self.reconcile.handle(event, self.timeline.now_ms):
                self._carry_out[type(command)](command)

    def _soon(self, action: Callable[..., None], *arguments: object) -> None:
        self.later(self.timeline.between(0, 30), action, *arguments)

    def kill(self) -> None:
        super().kill()
        if self.controller is not None:
            self.controller.die()
        for end in list(self._ends.values()):
            end.die()
        self._ends.clear()

    # --- the controller ---

    def _connect(self) -> None:
        end = self.machine.simulation.connect_agent(self.machine, self._from_controller, self._controller_lost)
        self.controller = end
        self.handle(a.ControllerDown() if end is None else a.ControllerUp())

    def _from_controller(self, end: End, payload: bytes) -> None:
        if end is self.controller:
            self.take(self._hear, end, payload)

    def _hear(self, end: End, payload: bytes) -> None:
        if end is self.controller:
            self.handle(a.FromController(m.decode_for_agent(payload)))

    def late(self, payload: bytes) -> None:
        """A message of a former controller, which was held up on its way."""
        self.take(self.handle, a.FromController(m.decode_for_agent(payload)))

    def _controller_lost(self, end: End) -> None:
        self.take(self._lost, end)

    def _lost(self, end: End) -> None:
        if end is self.controller:
            self.controller = None
            self.handle(a.ControllerDown())

    def _close(self) -> None:
        end, self.controller = self.controller, None
        if end is not None:
            end.die()
        self.later(0, self.handle, a.ControllerDown())

    def _send(self, command: a.SendController) -> None:
        if self.controller is not None:
            self.controller.send(m.encode(command.message))

    def _save_epoch(self, command: a.SaveEpoch) -> None:
        self.machine.epoch = command.epoch

    # --- shepherds ---

    def shepherd_ends(self, end_of: Callable[[], End]) -> tuple[Callable[[object], None], Callable[[], None]]:
        """What a connection from a shepherd calls on this side."""
        return (
            lambda message: self.take(self._shepherd_says, end_of(), message),
            lambda: self.take(self._shepherd_lost, end_of()),
        )

    def shepherd_connected(self, end: End) -> None:
        self._next_number += 1
        end.token = self._next_number
        self._ends[self._next_number] = end

    def _shepherd_says(self, end: End, message: object) -> None:
        number = end.token
        self.handle(a.ShepherdUp(number, message) if isinstance(message, Announce) else a.ShepherdSays(number, message))

    def _shepherd_lost(self, end: End) -> None:
        self._ends.pop(end.token, None)
        self.handle(a.ShepherdDown(end.token))

    def _send_shepherd(self, command: a.SendShepherd) -> None:
        end = self._ends.get(command.shepherd)
        if end is not None:
            end.send(command.message)

    def _inspect(self, key: RunKey) -> None:
        self.handle(self.machine.inspect(key))
