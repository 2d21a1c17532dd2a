"""What goes wrong, and when: one kind a line. Each strikes a random victim and heals itself after a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.sim.clients import ROOT
from penstock.wire import messages as m

if TYPE_CHECKING:
    from penstock.sim.machine import Machine
    from penstock.sim.simulation import Simulation

FAULTS_MIN, FAULTS_MAX = 7, 16
LATE_TRIES = 40
"""A held-up message looks this often, twice a second, whether its node has a new controller."""

LAUNCH_TRIES = 2_000
"""A launch to lose is looked for so many times, every 5 ms."""


class Faults:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.timeline = simulation.timeline
        self.kinds: tuple[tuple[str, int, Callable[[], None]], ...] = (
            ("controller killed", 5, self.controller_killed),
            ("controller killed, an Assign held up", 3, self.assign_held_up),
            ("controller killed, a LaunchStep lost", 3, self.launch_lost),
            ("controller stopped for a while", 1, self.controller_stopped),
            ("agent killed", 4, self.agent_killed),
            ("agent stopped for a while", 2, self.agent_stopped),
            ("shepherd killed", 3, self.shepherd_killed),
            ("shepherd killed before its record", 2, lambda: self.machine().doom("before")),
            ("shepherd killed after its record", 2, lambda: self.machine().doom("after")),
            ("shepherd stopped for a while", 1, self.shepherd_stopped),
            ("launcher killed", 2, self.launcher_killed),
            ("connection cut", 4, self.connection_cut),
            ("node unreachable", 2, self.unreachable),
            ("power cut of a node", 1, self.power_cut),
            ("power cut of everything", 1, self.blackout),
            ("disk full", 2, self.disk_full),
            ("disk slow", 1, self.disk_slow),
            ("clock set", 1, self.clock_set),
        )

    def schedule(self, until_ms: int) -> None:
        kinds = [kind for kind in self.kinds for _ in range(kind[1])]
        for _ in range(self.random.randint(FAULTS_MIN, FAULTS_MAX)):
            name, _, strike = self.random.choice(kinds)
            self.timeline.at(self.random.randint(self.timeline.now_ms + 500, until_ms), self._strike, name, strike)

    def _strike(self, name: str, strike: Callable[[], None]) -> None:
        if not self.simulation.draining:
            self.simulation.fault(name)
            strike()

    def machine(self) -> Machine:
        return self.random.choice(list(self.simulation.machines.values()))

    # --- processes ---

    def controller_killed(self) -> None:
        self.simulation.crash_controller()

    def controller_stopped(self) -> None:
        if self.simulation.controller is not None:
            self.simulation.controller.stop(self.timeline.between(200, 20_000))

    def assign_held_up(self) -> None:
        """The controller dies while an Assign is on its way; the successor ends that job; then the Assign arrives. Tried for a while, as
        there may be none on its way."""
        self._hold_up(200)

    def _hold_up(self, tries: int) -> None:
        simulation = self.simulation
        if simulation.controller is None or simulation.draining or not tries:
            return
        for machine in simulation.machines.values():
            agent = machine.agent
            if agent is None or agent.controller is None:
                continue
            held = agent.controller.steal(lambda payload: isinstance(m.decode_for_agent(payload), m.Assign))
            if held:
                epoch = simulation.controller.reactor.state.counters.epoch
                simulation.crash_controller(keep_in_flight=True)
                for payload in held:
                    job_id = m.decode_for_agent(payload).job_id
                    simulation.clients.ask(ROOT, "cancel", {"jobs": [str(job_id)]})
                    self._deliver_late(machine, agent, payload, epoch, LATE_TRIES)
                return
        self.timeline.after(5, self._hold_up, tries - 1)

    def launch_lost(self) -> None:
        """The controller dies while the launch of a step is on its way, which never arrives: the successor has to launch it. Tried for a
        while, as there may be none on its way."""
        self._lose_launch(LAUNCH_TRIES)

    def _lose_launch(self, tries: int) -> None:
        simulation = self.simulation
        if simulation.controller is None or simulation.draining or not tries:
            return
        for machine in simulation.machines.values():
            connection = machine.agent.controller if machine.agent is not None else None
            if connection is not None and connection.steal(lambda payload: isinstance(m.decode_for_agent(payload), m.LaunchStep)):
                simulation.checks.counts["launches lost"] += 1
                simulation.crash_controller(keep_in_flight=True)
                return
        self.timeline.after(5, self._lose_launch, tries - 1)

    def _deliver_late(self, machine: Machine, agent: object, payload: bytes, epoch: int, tries: int) -> None:
        if machine.agent is not agent or not tries:
            return
        if machine.epoch > epoch and self.random.random() < 0.3:
            machine.note(f"an Assign of epoch {epoch} arrives late")
            machine.agent.late(payload)
        else:
            self.timeline.after(500, self._deliver_late, machine, agent, payload, epoch, tries - 1)

    def agent_killed(self) -> None:
        machine = self.machine()
        machine.kill_agent()
        self.timeline.after(self.timeline.between(20, 8_000), machine.start_agent)

    def agent_stopped(self) -> None:
        agent = self.machine().agent
        if agent is not None:
            agent.stop(self.timeline.between(200, 15_000))

    def shepherd_killed(self) -> None:
        machine = self.machine()
        owners = [shepherd for shepherd in machine.shepherds.values() if shepherd.key is not None] or list(machine.shepherds.values())
        if owners:
            machine.kill_shepherd(self.random.choice(owners))

    def shepherd_stopped(self) -> None:
        machine = self.machine()
        if machine.shepherds:
            self.random.choice(list(machine.shepherds.values())).stop(self.timeline.between(200, 15_000))

    def launcher_killed(self) -> None:
        self.machine().launcher_until_ms = self.timeline.now_ms + self.timeline.between(100, 10_000)

    # --- network ---

    def connection_cut(self) -> None:
        link = self.simulation.links.get(self.machine().name)
        if link is not None:
            link.close(lost=True, silent_ms=(3_000, 15_000))

    def unreachable(self) -> None:
        machine = self.machine()
        machine.reachable = False
        link = self.simulation.links.get(machine.name)
        if link is not None:
            link.close(lost=True, silent_ms=(5_000, 5_000))
        self.timeline.after(self.timeline.between(1_000, 90_000), self._reachable, machine)

    def _reachable(self, machine: Machine) -> None:
        machine.reachable = True

    def power_cut(self) -> None:
        machine = self.machine()
        machine.power_off()
        self.timeline.after(self.timeline.between(1_000, 30_000), machine.start_agent)

    def blackout(self) -> None:
        """SIGKILL to all, and not all of the disks' caches survive."""
        for machine in self.simulation.machines.values():
            machine.power_off()
            self.timeline.after(self.timeline.between(1_000, 10_000), machine.start_agent)
        self.simulation.crash_controller()

    # --- disk and clock ---

    def disk_full(self) -> None:
        disk = self.simulation.disk
        disk.free_bytes = self.random.randint(0, 20_000)
        self.timeline.after(self.timeline.between(2_000, 30_000), self._room_again)

    def _room_again(self) -> None:
        self.simulation.disk.free_bytes = None

    def disk_slow(self) -> None:
        self.simulation.fsync_ms = self.random.randint(200, 3_000)
        self.timeline.after(self.timeline.between(2_000, 20_000), self._disk_quick)

    def _disk_quick(self) -> None:
        self.simulation.fsync_ms = self.simulation.quick_fsync_ms

    def clock_set(self) -> None:
        self.simulation.clock_error_ms += self.random.randint(-20_000, 20_000)
