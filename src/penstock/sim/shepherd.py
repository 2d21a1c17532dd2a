"""A shepherd as the agent sees it: the protocol of `agent.shepherd.loop`, around a job that is only a duration and an exit status.

A job's script is `sim DURATION_MS EXIT_STATUS STUBBORN`: it runs so long and ends so; a stubborn one ignores SIGTERM. What a real
shepherd makes durable (the claim of a run, its end, the ends of its steps) goes to the machine's folders, which outlive it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.agent.shepherd.protocol import SHEPHERD_PROTOCOL, Announce, Dismiss, FromShepherd, Idle, Refused
from penstock.sim.network import End, Link
from penstock.sim.process import Process
from penstock.wire.messages import (
    AckEnded,
    Assign,
    Ended,
    ExitRecord,
    LaunchStep,
    QueryUsage,
    SetTimeLimit,
    SignalDone,
    SignalRun,
    Started,
    StepEnded,
    Suspend,
    Terminate,
    UsageReport,
)

if TYPE_CHECKING:
    from penstock.sim.machine import Folder, Machine

RETRY_MS = 250
ALONE_MS = 15_000
SOCKET_MS = (0, 3)


def script_of(duration_ms: int, wait_status: int, stubborn: bool) -> bytes:
    return f"#!/bin/sh\nsim {duration_ms} {wait_status} {int(stubborn)}\n".encode()


def read_script(script: bytes) -> tuple[int, int, bool]:
    """(duration, wait status, ignores SIGTERM)."""
    words = script.split()[-3:]
    return int(words[0]), int(words[1]), words[2] == b"1"


class Program:
    """Something that runs for a while: a script, or the tasks of a step. Stopping and killing change when it ends, by `turn`."""

    __slots__ = ("ends_ms", "left_ms", "over", "status", "stubborn", "turn")

    def __init__(self, duration_ms: int, status: int, stubborn: bool) -> None:
        self.left_ms = duration_ms
        self.status = status
        self.stubborn = stubborn
        self.ends_ms = 0
        self.turn = 0
        self.over = False


class Shepherd(Process):
    """One process. `machine` carries its truth, `pid` names it."""

    def __init__(self, machine: Machine, pid: int) -> None:
        super().__init__(machine.timeline)
        self.machine = machine
        self.pid = pid
        self.uid: int | None = None
        self.key: tuple[int, int] | None = None
        self.record: ExitRecord | None = None
        self.folder: Folder | None = None
        self.script: Program | None = None
        self.steps: dict[int, Program] = {}
        self.ended_steps: dict[int, ExitRecord] = {}
        self._agent: End | None = None
        self._served_by: object = None
        """An Assign of an agent that has a successor is refused: the successor may have given the run to another shepherd."""
        self._alone_since_ms = machine.timeline.now_ms
        self._cause = ""
        self._ending = False
        self._suspended = False
        self._start_ms = 0
        self._limit_turn = 0
        self._assign: Assign | None = None
        self._leaving = False
        self.later(machine.timeline.between(1, 20), self._connect)

    # --- the agent ---

    def _connect(self) -> None:
        if self._agent is not None:
            return
        agent = self.machine.agent
        if agent is None or not agent.alive:
            if self.key is None and self.timeline.now_ms - self._alone_since_ms >= ALONE_MS:
                self.machine.exit_shepherd(self)
            else:
                self.later(RETRY_MS, self._connect)
            return
        link = Link(
            self.timeline,
            SOCKET_MS,
            (lambda message: self.take(self._hear, link.left, message), lambda: self.take(self._lost, link.left)),
            agent.shepherd_ends(lambda: link.right),
        )
        self._agent = link.left
        self._served_by = agent
        agent.shepherd_connected(link.right)
        going = tuple(number for number, step in self.steps.items() if not step.over)
        self._say(
            Announce(SHEPHERD_PROTOCOL, self.pid, str(self.pid), self.uid, self.key, self.record, going, tuple(self.ended_steps.items()))
        )

    def _lost(self, end: End) -> None:
        if end is self._agent:
            self._agent = None
            self._alone_since_ms = self.timeline.now_ms
            self.later(1, self._connect)

    def _say(self, message: FromShepherd) -> None:
        if self._agent is not None:
            self._agent.send(message)

    def _hear(self, end: End, message: object) -> None:
        if isinstance(message, Dismiss):
            self._leaving = True
            if self.key is None:
                self.machine.exit_shepherd(self)
        elif isinstance(message, Assign):
            self._begin(message)
        elif isinstance(message, AckEnded):
            if self.key == (message.job_id, message.attempt):
                self._acknowledged(message)
        elif self.key is not None and self.record is None:
            self._command(message)

    def kill(self) -> None:
        super().kill()
        if self._agent is not None:
            self._agent.die()

    # --- a run ---

    def _begin(self, assign: Assign) -> None:
        key = (assign.job_id, assign.attempt)
        busy = self.key is not None or self._leaving or (self.uid is not None and self.uid != assign.uid)
        if busy or self.machine.agent is not self._served_by or not self.machine.claim(key, self):
            self._say(Refused(*key))
            return
        self.uid, self.key, self._assign, self.record = assign.uid, key, assign, None
        self._cause, self._ending, self._suspended = "", False, False
        self.steps, self.ended_steps, self.script = {}, {}, None
        self._start_ms = self.timeline.now_ms
        self.folder = self.machine.folders[key]
        self.machine.began(assign)
        if assign.batch:
            self.script = Program(*read_script(assign.script))
            self._schedule(self.script)
        self._set_limit(self.timeline.now_ms + assign.time_limit_s * 1000 if assign.time_limit_s else 0)
        self._say(Started(*key, self.pid))

    def _set_limit(self, at_ms: int) -> None:
        self._limit_turn += 1
        if at_ms:
            self.timeline.at(at_ms, self.take, self._over_limit, self.key, self._limit_turn)

    def _over_limit(self, key: tuple[int, int], turn: int) -> None:
        if key == self.key and turn == self._limit_turn and self.record is None and not self._suspended:
            self._terminate("TimeLimit", 15, self._assign.kill_wait_s)

    def _schedule(self, program: Program) -> None:
        program.turn += 1
        program.ends_ms = self.timeline.now_ms + program.left_ms
        self.timeline.at(program.ends_ms, self.take, self._exited, self.key, program, program.turn)

    def _exited(self, key: tuple[int, int], program: Program, turn: int) -> None:
        if key != self.key or turn != program.turn or program.over or self.record is not None:
            return
        program.over = True
        if program is self.script:
            for step in self.steps.values():
                self._end_program(step, 15, self._assign.kill_wait_s)
        else:
            number = next(number for number, step in self.steps.items() if step is program)
            cause = "Cancelled" if program.status == 15 else ""
            self._step_over(number, ExitRecord(program.status, self._start_ms, self.timeline.now_ms, cause))
        self._advance()

    def _step_over(self, number: int, record: ExitRecord) -> None:
        self.ended_steps[number] = record
        self.folder.steps[number] = record
        self._say(StepEnded(*self.key, number, record))

    def _advance(self) -> None:
        """The end, when nothing is left."""
        if any(not step.over for step in self.steps.values()):
            return
        if self.script is None and not self._ending:
            return
        if self.script is not None and not self.script.over:
            return
        status = self.script.status if self.script is not None else 0
        doom = self.machine.take_doom()
        if doom == "before":
            self.machine.kill_shepherd(self)
            return
        self.record = ExitRecord(status, self._start_ms, self.timeline.now_ms, self._cause)
        self.machine.write_end(self.key, self.record)
        if doom == "after":
            self.machine.kill_shepherd(self)
            return
        self._say(Ended(*self.key, self.record))

    def _acknowledged(self, message: AckEnded) -> None:
        if message.step_id >= 0:
            if message.step_id in self.ended_steps:
                del self.ended_steps[message.step_id]
                self.steps.pop(message.step_id, None)
                self.folder.steps.pop(message.step_id, None)
        elif self.record is not None:
            key, self.key, self.record, self.folder = self.key, None, None, None
            self.machine.release(key)
            self._alone_since_ms = self.timeline.now_ms
            self._say(Idle(*key))
            if self._leaving:
                self.machine.exit_shepherd(self)

    # --- messages about the run ---

    def _command(self, message: object) -> None:
        match message:
            case LaunchStep():
                self._launch_step(message)
            case Terminate() if message.step_id >= 0:
                step = self.steps.get(message.step_id)
                if step is not None:
                    self._end_program(step, message.signal, message.kill_wait_s)
            case Terminate():
                self._terminate(message.cause, message.signal, message.kill_wait_s)
            case SignalRun():
                self._say(SignalDone(message.signal_id))
            case Suspend():
                self._suspend(message.resume)
            case SetTimeLimit():
                self._set_limit(max(self.timeline.now_ms, self._start_ms + message.time_limit_s * 1000) if message.time_limit_s else 0)
            case QueryUsage():
                self._say(UsageReport(message.query_id, ()))

    def _launch_step(self, message: LaunchStep) -> None:
        if message.step_id in self.steps:
            return
        if self._ending or (self.script is not None and self.script.over):
            record = ExitRecord(1 << 8, 0, self.timeline.now_ms, "LaunchFailed", "the job is ending")
            self._say(StepEnded(*self.key, message.step_id, record))
            return
        self.machine.step_began(self.key, message.step_id)
        self.folder.steps[message.step_id] = None
        step = self.steps[message.step_id] = Program(int(message.argv[1]), int(message.argv[2]), False)
        self._schedule(step)

    def _end_program(self, program: Program, signal: int, kill_wait_s: int) -> None:
        if program.over:
            return
        at_most_ms = kill_wait_s * 1000 if program.stubborn else 300
        program.left_ms = at_most_ms if program.stubborn else self.timeline.between(1, at_most_ms)
        program.status = 9 if program.stubborn else signal
        self._schedule(program)

    def _terminate(self, cause: str, signal: int, kill_wait_s: int) -> None:
        self._cause = self._cause or cause
        if not self._ending:
            self._ending = True
            for program in (*self.steps.values(), *((self.script,) if self.script is not None else ())):
                self._end_program(program, signal, kill_wait_s)
        self._advance()

    def _suspend(self, resume: bool) -> None:
        if resume != self._suspended or self._ending:
            return
        self._suspended = not resume
        for program in (*self.steps.values(), *((self.script,) if self.script is not None else ())):
            if program.over:
                continue
            if resume:
                self._schedule(program)
            else:
                program.turn += 1
                program.left_ms = max(1, program.ends_ms - self.timeline.now_ms)
        if resume and self._assign.time_limit_s:
            self._set_limit(self.timeline.now_ms + self._assign.time_limit_s * 1000)
