"""Every step that is granted is launched: watched from outside, by what is durable and by what began on the machines.

A step that is durable, of a job that runs, has to begin within LAUNCH_MS of undisturbed time: the same controller, connection, agent and
shepherd, none of them stopped. A fault in between begins that time anew, so that only a launch which nobody will make again is a violation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine.rows import decode_job, decode_step
from penstock.engine.state import RUNNING, Step
from penstock.sim.checks import Violation

if TYPE_CHECKING:
    from penstock.sim.simulation import Simulation

LOOK_MS = 500
LAUNCH_MS = 8_000
"""More than an agent waits for its shepherds, and repeats what was not acknowledged."""

StepOn = tuple[str, int, int, int]
"""Node, job, attempt, step."""


class LaunchWatch:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self._waiting: dict[StepOn, tuple[int, tuple[object, ...]]] = {}
        """Since when it is undisturbed, and who is between the step's row and its processes."""

    def look(self) -> None:
        timeline, disk = self.simulation.timeline, self.simulation.disk
        seen: dict[StepOn, None] = {}
        for row, index in disk.steps.values():
            if not index.live or index.launch is None:
                continue
            step = decode_step(row)
            job = decode_job(disk.jobs[step.job_id][0])
            if step.state == RUNNING and job.state == RUNNING and job.attempt == step.attempt:
                for node in step.nodes_left:
                    self._look_at((node, step.job_id, step.attempt, step.step_id), step, seen)
        self._waiting = {key: value for key, value in self._waiting.items() if key in seen}
        timeline.after(LOOK_MS, self.look)

    def _look_at(self, key: StepOn, step: Step, seen: dict[StepOn, None]) -> None:
        simulation = self.simulation
        if simulation.checks.has_begun(key):
            return
        path = self._path(key)
        if path is None:
            return
        seen[key] = None
        now_ms = simulation.timeline.now_ms
        since_ms, before = self._waiting.get(key, (now_ms, path))
        if before != path:
            since_ms = now_ms
        self._waiting[key] = (since_ms, path)
        if now_ms - since_ms >= LAUNCH_MS:
            raise Violation(f"step {step.job_id}.{step.step_id}, durable for {LAUNCH_MS} ms without a fault, was not launched on {key[0]}")

    def _path(self, key: StepOn) -> tuple[object, ...] | None:
        """Who has to carry the launch; None while somebody is missing or stopped."""
        machine = self.simulation.machines[key[0]]
        controller, agent = self.simulation.controller, machine.agent
        folder = machine.folders.get(key[1:3])
        if controller is None or agent is None or folder is None or folder.end is not None or not machine.reachable:
            return None
        connection, shepherd = agent.controller, folder.owner
        if connection is None or not connection.open or not (controller.going and agent.going and shepherd.going):
            return None
        return (controller, connection, agent, shepherd)
