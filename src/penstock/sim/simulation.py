"""The whole system from one seed: one controller, its disk, one to four nodes, users, and everything that can go wrong.

The controller's `Reactor`, the planner's `cycle`, the agents' `Reconcile` and the store's semantics are the product's own; only the
shells around them are played here. A seed is first a storm, with users and faults, then a drain without faults, in which every job has
to come to its end or to have a right to wait. The same seed gives the same history, to the byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from penstock.agent.reconcile import Reconcile
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.reactor import Reactor
from penstock.engine.rows import load
from penstock.engine.state import State
from penstock.sim.checks import Checks, Violation
from penstock.sim.clients import Clients
from penstock.sim.controller import Controller
from penstock.sim.faults import Faults
from penstock.sim.launches import LaunchWatch
from penstock.sim.machine import Machine
from penstock.sim.network import End, Link
from penstock.sim.timeline import Timeline
from penstock.store.base import Loaded
from penstock.store.memory import MemoryDisk, MemoryStore

STORM_MS = (22_000, 45_000)
DRAIN_MAX_MS = 3_600_000
"""Virtual time within which everything has to come to its end once the faults stop."""
SETTLE_MS = 2_000
PATIENCE_MS = 600_000
AGENT_MS = (0, 40)


class Parts(NamedTuple):
    """The product's parts; a test puts broken ones in their place, to see that the checks see."""

    reactor: Callable[..., Reactor] = Reactor
    reconcile: Callable[..., Reconcile] = Reconcile
    load: Callable[[Loaded], State] = load
    machine: Callable[..., Machine] = Machine


class Report(NamedTuple):
    """What one seed did."""

    seed: int
    events: int
    counts: Counter[str]
    faults: Counter[str]
    failure: str
    trace: list[str]


class Simulation:
    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        self.seed = seed
        self.parts = parts or Parts()
        random = self.random = Random(seed)
        self.timeline = Timeline(random)
        self.disk = MemoryDisk(None, reserve_bytes=1 << 17, low_water_bytes=1 << 15)
        self.checks = Checks(self.disk)
        self.faults: Counter[str] = Counter()
        self.clock_error_ms = 0
        self.cut_rate = random.choice((0.02, 0.1, 0.25))
        self.fsync_ms = self.quick_fsync_ms = random.choice((5, 30, 200))
        self.draining = False
        self.config = ClusterConfig(
            partitions=(Partition("main", default=True, preempt_mode="REQUEUE"), Partition("short", max_time_s=60, priority_tier=2)),
            kill_wait_s=random.randint(1, 5),
            min_job_age_s=random.choice((3, 20, 60)),
            requeue_delay_s=random.randint(1, 8),
            max_batch_requeue=random.randint(1, 5),
            slurmd_timeout_s=random.choice((4, 8, 20, 40)),
            kill_invalid_depend=random.random() < 0.5,
            job_requeue=random.random() < 0.7,
            licenses=(("tool", random.randint(2, 3)),),
            node_features={"n0": ("red", "big"), "n1": ("red",), "n2": ("blue",), "n3": ("blue", "big")},
        )
        self.machines: dict[str, Machine] = {}
        self.links: dict[str, Link] = {}
        self.controller: Controller | None = None
        self.clients = Clients(self)
        for index in range(random.randint(1, 4)):
            cpus = random.randint(2, 8)
            name = f"n{index}"
            self.machines[name] = self.parts.machine(self, name, cpus, cpus * 1000, random.choice((0, 0, 1, 2, 4)))

    def fault(self, kind: str) -> None:
        self.faults[kind] += 1
        self.timeline.note(f"FAULT {kind}")

    # --- processes ---

    def start_controller(self, store: MemoryStore) -> None:
        self.timeline.note("a controller starts")
        self.controller = Controller(self, store)

    def crash_controller(self, keep_in_flight: bool | None = None) -> None:
        """It dies now, and another starts soon. A commit in flight is there afterwards, or not."""
        if self.controller is None:
            return
        keep = self.random.random() < 0.5 if keep_in_flight is None else keep_in_flight
        store = self.controller.crash(keep)
        self.controller = None
        self.timeline.after(self.timeline.between(20, 4_000), self.start_controller, store)

    def connect_agent(self, machine: Machine, heard: Callable[[End, bytes], None], closed: Callable[[End], None]) -> End | None:
        """A connection to the controller, or None."""
        if self.controller is None or not machine.reachable:
            return None
        link = Link(
            self.timeline,
            AGENT_MS,
            (lambda payload: heard(link.left, payload), lambda: closed(link.left)),
            self.controller.agent_ends(lambda: link.right),
        )
        self.controller.accept(link.right)
        self.links[machine.name] = link
        return link.left

    # --- the run of a seed ---

    def run(self) -> None:
        """Storm, drain, last checks. Raises Violation, or whatever the product raises."""
        timeline = self.timeline
        self.start_controller(MemoryStore(self.disk))
        for machine in self.machines.values():
            machine.start_agent()
        until_ms = timeline.now_ms + self.random.randint(*STORM_MS)
        Faults(self).schedule(until_ms)
        timeline.after(50, self.clients.act)
        LaunchWatch(self).look()
        while timeline.now_ms < until_ms:
            timeline.step()
        self._drain()
        self.checks.law(self.controller)
        self.checks.finish(self.controller)

    def _drain(self) -> None:
        timeline = self.timeline
        timeline.note("the storm is over")
        self.draining = True
        self.clients.active = False
        self.cut_rate = 0.0
        self.disk.free_bytes = None
        self.fsync_ms = self.quick_fsync_ms
        for machine in self.machines.values():
            machine.reachable = True
            machine.launcher_until_ms = 0
            machine.take_doom()
            machine.start_agent()
        give_up_ms = timeline.now_ms + DRAIN_MAX_MS
        patience_ms = timeline.now_ms + PATIENCE_MS
        look_ms = timeline.now_ms + SETTLE_MS
        while not self._settled():
            if timeline.now_ms > give_up_ms:
                raise Violation(f"after {DRAIN_MAX_MS // 1000} s without faults: {self._stuck()}")
            self.clients.tidy()
            if timeline.now_ms > patience_ms:
                self.clients.lose_patience()
            while timeline.now_ms < look_ms:
                timeline.step()
            look_ms += SETTLE_MS

    def _settled(self) -> bool:
        controller = self.controller
        if controller is None or self.clients.open:
            return False
        reactor = controller.reactor
        if reactor.durable_seq != reactor.state.seq or not all(node.responding for node in reactor.state.nodes.values()):
            return False
        if any(agent is None or agent.reconcile.runs for agent in (machine.agent for machine in self.machines.values())):
            return False
        return not self.checks.unsettled(reactor.state)

    def _stuck(self) -> str:
        if self.controller is None:
            return "there is no controller"
        state = self.controller.reactor.state
        lines = [f"job {job.id}: state {job.state}, left on {job.nodes_left}, {job.dependency}" for job in self.checks.unsettled(state)]
        lines += [f"unanswered: {ask}" for ask in self.clients.open.values()]
        lines += [
            f"{name}: runs {list(machine.agent.reconcile.runs)}" for name, machine in self.machines.items() if machine.agent is not None
        ]
        lines += [f"{node.name} does not respond" for node in state.nodes.values() if not node.responding]
        return "; ".join(lines)


def simulate(seed: int, parts: Parts | None = None) -> Report:
    """One seed; never raises for what it found."""
    simulation = Simulation(seed, parts)
    failure = ""
    try:
        simulation.run()
    except Exception as error:  # noqa: BLE001 - whatever the product raises is a finding
        failure = f"{type(error).__name__}: {error}" if isinstance(error, Violation) else _with_place(error)
    timeline = simulation.timeline
    return Report(seed, timeline.events, simulation.checks.counts, simulation.faults, failure, timeline.lines())


def _with_place(error: BaseException) -> str:
    import traceback

    frames: Any = traceback.extract_tb(error.__traceback__)[-4:]
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__}: {error} ({where})"
