"""One run on one node: the batch script, the steps, and everything that they leave behind, from Assign to the durable end.

    login ──► going ──► ending ──► over        login: the user's profile is read first, where the job asked for it

The run is over when the batch script (if it is here) was reaped or the run was terminated, every step is over, and no process is left below
the shepherd: `alone` says so, which wait4 tells for nothing (it fails with ECHILD, and a subreaper has no descendants that are not below a
child). The record is durable before `Ended` is sent.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

from penstock.agent import processes
from penstock.agent.folder import Begin
from penstock.agent.shepherd.batch import NOT_STARTED_STATUS, BatchScript
from penstock.agent.shepherd.limits import MIN_KILL_WAIT_S, TimeLimit, boot_ms, ending_line, oom_line, wall_ms
from penstock.agent.shepherd.login import Login
from penstock.agent.shepherd.memory import MemoryWatch
from penstock.agent.shepherd.signalling import RunSignals
from penstock.agent.shepherd.step import StepRun
from penstock.agent.shepherd.usage import Meter
from penstock.wire.messages import (
    BATCH_STEP,
    AttachStep,
    Ended,
    ExitRecord,
    LaunchStep,
    QueryUsage,
    SetTimeLimit,
    SignalDone,
    SignalRun,
    StepEnded,
    Suspend,
    Terminate,
    UsageReport,
)

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable

    from penstock.agent.cgroups import RunGroups
    from penstock.agent.folder import Berth
    from penstock.agent.shepherd.protocol import FromShepherd, Setup
    from penstock.agent.shepherd.spawn import Identity
    from penstock.wire.messages import Assign

KILL_ROUND_MS = 20
UNKILLABLE_MS = 60_000
"""What SIGKILL has not ended by then (uninterruptible sleep) is named in the record and left."""
MAX_STEPS = 4_096
"""Steps that go on this node at one time."""


class Run:
    """The owner of one run. `send` takes messages for the agent; `berth` is claimed for the run already."""

    def __init__(
        self,
        assign: Assign,
        identity: Identity,
        *,
        setup: Setup,
        berth: Berth,
        groups: RunGroups,
        boot: str,
        send: Callable[[FromShepherd], None],
    ) -> None:
        self.assign = assign
        self.identity = identity
        self.setup = setup
        self.berth = berth
        self.groups = groups
        self.key = (assign.job_id, assign.attempt)
        self.steps: dict[int, StepRun] = {}
        self.record: ExitRecord | None = None
        self.start_ms = wall_ms()
        self._send = send
        now_ms = boot_ms()
        self._limit = TimeLimit(now_ms, assign.time_limit_s, assign.warn_before_s if assign.warn_signal else None)
        self.meter = Meter()
        """Of everything that is not a step's."""
        self.batch = BatchScript(assign, identity, berth, groups)
        self._login = Login(identity, berth.name)
        self._signals = RunSignals(self)
        self._memory = MemoryWatch(self, now_ms)
        self._cause = ""
        self._detail = ""
        self._ending = False
        self._round_at_ms: int | None = None
        self._give_up_ms: int | None = None
        berth.begin(Begin(*self.key, assign.uid, os.getpid(), boot, self.start_ms, berth.name, groups.paths))
        self._on_message = {
            LaunchStep: self._launch_step,
            AttachStep: self._attach_step,
            SignalRun: self._signal,
            Terminate: self._terminate,
            Suspend: self._suspend,
            SetTimeLimit: self._set_time_limit,
            QueryUsage: self._query_usage,
        }

    # --- the beginning

    def start(self) -> None:
        """Begin: the login environment, or the script at once; an allocation without a script just stands."""
        own = os.geteuid()
        if own not in (0, self.assign.uid):
            self._fail(f"this node is rootless: it runs jobs of uid {own} only, not of {self.assign.uid}")
        elif not self.assign.batch:
            return
        elif self.assign.login_environment:
            try:
                self._login.start()
            except OSError as error:
                self._fail(f"the login environment could not be read: {error}")
        else:
            self._start_script(None)

    def _end_login(self) -> None:
        """The profile ended, or its time is over: start the script with what it gave."""
        login = self._login.result()
        if not self._ending:
            self._start_script(login)

    def _start_script(self, login: dict[bytes, bytes] | None) -> None:
        why = self.batch.start(self.setup, login)
        if why:
            self._cause, self._detail = "LaunchFailed", why
        if self.batch.over:
            self._ending = True

    def _fail(self, detail: str) -> None:
        self._cause, self._detail = "LaunchFailed", detail
        self.batch.status = NOT_STARTED_STATUS
        self._ending = True

    # --- what the loop asks

    @property
    def pid(self) -> int:
        return self.batch.pid or os.getpid()

    @property
    def ending(self) -> bool:
        """Processes are on their way out: it is worth looking at the children without being told."""
        return self._ending

    def going(self) -> list[StepRun]:
        """The steps that are not over."""
        return [step for step in self.steps.values() if step.record is None]

    def step_states(self) -> tuple[tuple[int, ...], tuple[tuple[int, ExitRecord], ...]]:
        """The steps that go, and those that ended and are not acknowledged."""
        going = tuple(step.id for step in self.going())
        return going, tuple((step.id, step.record) for step in self.steps.values() if step.record is not None)

    def knows(self, pid: int) -> bool:
        """True for a process that is nobody's orphan: the script or a task."""
        return pid in (self.batch.pid, self._login.pid) or any(pid in step.pids for step in self.steps.values())

    def fds(self) -> list[tuple[int, int]]:
        """Descriptors to poll, with their events."""
        found: list[tuple[int, int]] = []
        if self._login.pipe >= 0:
            found.append((self._login.pipe, select.POLLIN))
        for step in self.going():
            found += step.io.poll_fds()
        return found

    def handle(self, fd: int, events: int) -> None:
        if fd == self._login.pipe:
            if self._login.read():
                self._end_login()
            return
        for step in self.going():
            if step.io.owns(fd):
                step.io.handle(fd, events)
                return

    def next_s(self, now_ms: int, now_s: float) -> float | None:
        """Seconds until `tick` has something to do; None: no time matters."""
        times = [
            self._limit.next_ms(),
            self._signals.kill_at_ms,
            self._signals.stop_at_ms,
            self._round_at_ms,
            self._memory.at_ms,
            self._login.until_ms,
        ]
        waits: list[float] = []
        for step in self.going():
            times.append(step.next_ms())
            io_s = step.io.next_deadline_s()
            if io_s is not None:
                waits.append(io_s - now_s)
        waits += [(at - now_ms) / 1000 for at in times if at is not None]
        return max(0.0, min(waits)) if waits else None

    def reaped(self, pid: int, wait_status: int, rusage: resource.struct_rusage) -> None:
        """A child of the shepherd ended: the script, a task, or an orphan that came to us."""
        if pid == self.batch.pid:
            self.meter.add(rusage)
            failure = self.batch.exited(wait_status)
            if failure:
                self._cause, self._detail = self._cause or "LaunchFailed", failure
            return
        if pid == self._login.pid:
            self._login.exited()
            return
        for step in self.steps.values():
            if pid in step.pids:
                step.exited(pid, wait_status, rusage)
                return
        self.meter.add(rusage)

    # --- messages

    def message(self, message: object) -> None:
        handler = self._on_message.get(type(message))
        if handler is not None:
            handler(message, boot_ms())

    def _launch_step(self, message: LaunchStep, now_ms: int) -> None:
        if message.step_id in self.steps:
            return
        refusal = ""
        if self._ending or self.batch.over:
            refusal = "the job is ending"
        elif len(self.going()) >= MAX_STEPS:
            refusal = f"{MAX_STEPS} steps run on this node already"
        try:
            if refusal:
                raise OSError(refusal)
            self.berth.begin_step(message.step_id, len(message.ranks))
            step = StepRun(self, message)
        except (OSError, ValueError) as error:
            self.berth.forget_step(message.step_id)
            record = ExitRecord(NOT_STARTED_STATUS, wall_ms(), wall_ms(), "LaunchFailed", str(error))
            self._send(StepEnded(*self.key, message.step_id, record))
            return
        self.steps[message.step_id] = step
        step.start()

    def _attach_step(self, message: AttachStep, now_ms: int) -> None:
        """sattach: a step that is over, or has too many readers, gets none; the reader sees that nobody dials."""
        step = self.steps.get(message.step_id)
        if step is not None and step.record is None:
            with contextlib.suppress(ValueError):
                step.io.attach(message.address, message.key)

    def forget_step(self, step_id: int) -> None:
        """The controller has the step's end."""
        step = self.steps.get(step_id)
        if step is not None and step.record is not None:
            del self.steps[step_id]
            self.berth.forget_step(step_id)

    def _signal(self, message: SignalRun, now_ms: int) -> None:
        self._send(SignalDone(message.signal_id, self._signals.deliver(message.signal, message.scope, message.step_id)))

    def _terminate(self, message: Terminate, now_ms: int) -> None:
        if message.step_id >= 0:
            step = self.steps.get(message.step_id)
            if step is not None and step.record is None:
                step.terminate(message, now_ms)
            return
        if self.record is not None:
            return
        if message.notice:
            self._notice(message.notice)
        self._end_all(message.cause or "Cancelled", message.signal, message.kill_wait_s, now_ms)

    def _end_all(self, cause: str, number: int, kill_wait_s: int, now_ms: int) -> None:
        if not self._cause and not self.batch.over:
            self._cause = cause
        for step in self.going():
            step.cause = step.cause or cause
        self._ending = True
        self._limit.resume(now_ms)
        self._signals.end(number, kill_wait_s, now_ms)

    def _suspend(self, message: Suspend, now_ms: int) -> None:
        limits = [self._limit, *(step.limit for step in self.going())]
        if message.resume:
            self._signals.resume()
            for limit in limits:
                limit.resume(now_ms)
        elif not self._ending:
            self._signals.suspend(now_ms)
            for limit in limits:
                limit.suspend(now_ms)

    def _set_time_limit(self, message: SetTimeLimit, now_ms: int) -> None:
        self._limit.change(message.time_limit_s)

    def _query_usage(self, message: QueryUsage, now_ms: int) -> None:
        table = processes.table()
        found = []
        theirs: set[int] = set()
        for step in self.going():
            pids = step.tree(table)
            found.append((step.id, step.meter.now(pids), tuple(pids)))
            theirs.update(pids)
        if self.batch.going:
            pids = [pid for pid in processes.descendants([os.getpid()], table) if pid not in theirs]
            found.append((BATCH_STEP, self.meter.now(pids), tuple(pids)))
        self._send(UsageReport(message.query_id, tuple(found)))

    def _notice(self, line: str) -> None:
        """A line in the job's log, and for every step, with the step's name in it, at its client."""
        self.batch.log(line)
        for step in self.going():
            step.io.notice(line.replace(f"JOB {self.key[0]} ON", f"STEP {self.key[0]}.{step.id} ON"))

    # --- time

    def tick(self, now_ms: int, now_s: float) -> None:
        warn, over = self._limit.due(now_ms)
        if warn and not self._ending:
            self._signals.warn(self.assign.warn_signal, "batch" if self.assign.warn_batch_only else "steps")
        if over and not self._ending:
            self._notice(ending_line(f"JOB {self.key[0]}", self.setup.node, wall_ms() / 1000, "DUE TO TIME LIMIT"))
            self._detail = "the time limit was reached"
            self._signals.deliver(signal.SIGTERM, "steps")
            self._end_all("TimeLimit", signal.SIGTERM, max(self.assign.kill_wait_s, MIN_KILL_WAIT_S), now_ms)
        self._signals.tick(now_ms)
        if self._round_at_ms is not None and now_ms >= self._round_at_ms:
            self._round_at_ms = None
        if self._login.until_ms is not None and now_ms >= self._login.until_ms:
            processes.kill_each(processes.descendants([os.getpid()]), signal.SIGKILL)
            self._end_login()
        self._memory.tick(now_ms)
        for step in self.going():
            step.tick(now_ms)
            step.io.tick(now_s)

    # --- the end

    def advance(self, alone: bool) -> None:
        """Go on towards the end. `alone`: the shepherd has no child at all."""
        if self.record is not None:
            return
        now_ms = boot_ms()
        for step in self.going():
            if step.advance(now_ms):
                self.berth.end_step(step.id, step.record)
                self._send(StepEnded(*self.key, step.id, step.record))
        if not self._script_over():
            return
        going = self.going()
        if not self._ending:
            self._ending = True
            self._end_leftovers(going, now_ms)
        if going:
            return
        if alone:
            self._finish(now_ms)
        elif self._round_at_ms is None:
            self._kill_round(now_ms)

    def _script_over(self) -> bool:
        """Nothing more will come of the batch script; without one the run stands until it is terminated."""
        return self.batch.over or (self._ending and not self.batch.pid and self._login.over)

    def _end_leftovers(self, going: list[StepRun], now_ms: int) -> None:
        """The script ended by itself: what it left in the background is killed, steps that still go are asked to end first."""
        table = processes.table() if going else {}
        theirs = {pid for step in going for pid in step.tree(table)}
        if going:
            processes.kill_each([pid for pid in processes.descendants([os.getpid()], table) if pid not in theirs], signal.SIGKILL)
            for step in going:
                step.terminate(Terminate(*self.key, "Cancelled", kill_wait_s=self.assign.kill_wait_s, step_id=step.id), now_ms)

    def _kill_round(self, now_ms: int) -> None:
        if self._give_up_ms is None:
            self._give_up_ms = now_ms + UNKILLABLE_MS
        left = processes.descendants([os.getpid()])
        processes.kill_each(left, signal.SIGKILL)
        self._round_at_ms = now_ms + KILL_ROUND_MS
        if left and now_ms >= self._give_up_ms:
            self._detail = f"processes that could not be killed: {' '.join(map(str, left[:64]))}"
            self._finish(now_ms)

    def _finish(self, now_ms: int) -> None:
        """Nothing is left: make the end durable, then say it."""
        ooms = self.groups.ooms() or self._memory.kills
        if ooms:
            if not self._cause:
                self._cause = "OutOfMemory"
            self.batch.log(oom_line(f"StepId={self.key[0]}.batch", ooms))
        self.meter.settle(self.groups.peak_kib())
        self.record = ExitRecord(
            wait_status=self.batch.status or 0,
            start_ms=self.start_ms,
            end_ms=wall_ms(),
            cause=self._cause,
            detail=self._detail,
            pid=self.batch.pid,
            usage=self.meter.usage(),
            step_seconds=self._limit.run_ms(now_ms) // 1000,
        )
        self.berth.end(self.record)
        self._send(Ended(*self.key, self.record))
