"""What a node's agent decides: events in, commands out; no input or output, no clock.

The agent sits between the controller, which wants runs, and shepherds, which own them. `Reconcile` holds what is known of each run and
shepherd and answers every event with commands for the shell (`agent.service`, or a simulation) to carry out. It guarantees:

- A run is given to at most one shepherd at a time, and to a second only after the shell looked and found that it never began.
- An end (`Ended`, `StepEnded`) is repeated until the controller acknowledges it; only then is the run forgotten, here and on disk.
- A run that ended, or whose Terminate came first, is not started by a late or repeated Assign; nor by one of a former controller (epoch).
- Losing the controller, the launcher or this agent ends no run. A restarted agent is told of the folders it finds (`FoldersFound`) and of
  the shepherds that return (`ShepherdUp`), and ends up knowing what its predecessor knew.

It assumes that events arrive in the order in which they happened on each connection, that `Tick` comes at least every TICK_MS, and that the
shell answers every `Inspect` with one `Inspected`, which it does only once nothing of a lost run is alive.

A run's phases (the key of a run is (job_id, attempt)):

    waiting ──► starting ──► running ──► ended ──► forgotten
       │           │  ▲          │         ▲
       │           ▼  │          ▼         │
       │         detached ◄──────┘         │      detached: its shepherd's connection is gone, the shell looks at the folder
       └───────────┴───────────────────────┘
"""

from __future__ import annotations

import collections

import msgspec

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
    RunKey,
    SaveEpoch,
    SendController,
    SendShepherd,
    ShepherdDown,
    ShepherdSays,
    ShepherdUp,
    StartShepherd,
    Tick,
)
from penstock.agent.runs import Run, Shepherd, Step
from penstock.agent.shepherd.protocol import SHEPHERD_PROTOCOL, Dismiss, Idle, Refused, ToShepherd
from penstock.wire.messages import (
    AckEnded,
    Assign,
    AttachStep,
    Ended,
    ExitRecord,
    Hello,
    LaunchStep,
    Ping,
    QueryUsage,
    RunReport,
    SetTimeLimit,
    SignalDone,
    SignalRun,
    Started,
    StepEnded,
    Suspend,
    Terminate,
    ToController,
    UsageReport,
    Welcome,
)

TICK_MS = 250
PING_MS = 5_000
RESEND_MS = 5_000
"""An unacknowledged end is repeated this often on a connection that stays up."""
RESEND_HELLO_MS = 1_000
"""An end that was told in the Hello is said again if it is not acknowledged by then."""
SILENCE_MS = 60_000
"""A controller that says nothing for this long is taken for dead: the connection is closed and opened again."""
SETTLE_MS = 2_000
"""A new agent waits this long for the shepherds of the runs it found, so that its first Hello knows their steps."""
BACKOFF_FIRST_MS = 250
BACKOFF_LAST_MS = 5_000
INSPECT_AGAIN_MS = 1_000
"""A folder that is locked though its shepherd is not connected is looked at again after this time."""
FORK_TIMEOUT_MS = 10_000
"""A shepherd that was asked for and has not come by then is asked for again."""
FORK_RETRY_MS = 500
LAUNCH_GIVE_UP_MS = 60_000
"""A run for which no shepherd could be had in this time ends with LaunchFailed."""
IDLE_SHEPHERD_MS = 30_000
"""A standing shepherd without a run is dismissed after this time."""
MAX_STARTING = 32
"""Shepherds asked for and not yet here."""
MAX_TOMBSTONES = 8_192
"""Acknowledged runs and refused steps remembered so that a late Assign cannot revive them; the oldest are dropped."""
MAX_BACKLOG = 64
"""Messages kept for a run whose shepherd is away; over it signals are answered with an error and the rest is dropped, oldest first. Once
the shepherd is there the agent says Hello anew, so that the controller says again what was lost."""
KILL_UNKNOWN_WAIT_S = 5


class Reconcile:
    """The machine. `facts` is the Hello of this node without its runs; `epoch` the highest seen by earlier agents here."""

    def __init__(self, facts: Hello, *, epoch: int = 0) -> None:
        self.facts = facts
        self.epoch = epoch
        self.connected = False
        self.runs: dict[RunKey, Run] = {}
        self.shepherds: dict[int, Shepherd] = {}
        self.cluster = ""
        self._waiting: collections.deque[RunKey] = collections.deque()
        self._forks_ms: collections.deque[int] = collections.deque()
        self._fork_after_ms = 0
        self._fork_error = ""
        self._connecting = False
        self._connect_at_ms = 0
        self._settle_until_ms = 0
        self._backoff_ms = BACKOFF_FIRST_MS
        self._heard_ms = 0
        self._ping_at_ms = 0
        self._tombstones: collections.OrderedDict[RunKey, None] = collections.OrderedDict()
        self._refused_steps: collections.OrderedDict[tuple[int, int, int], Step] = collections.OrderedDict()
        self._out: list[Command] = []
        self._on_event = {
            ControllerUp: self._controller_up,
            ControllerDown: self._controller_down,
            FromController: self._from_controller,
            ShepherdUp: self._shepherd_up,
            ShepherdSays: self._shepherd_says,
            ShepherdDown: self._shepherd_down,
            ForkFailed: self._fork_failed,
            FoldersFound: self._folders_found,
            Inspected: self._inspected,
            Tick: self._tick,
        }
        self._on_controller = {
            Welcome: self._welcome,
            Assign: self._assign,
            LaunchStep: self._launch_step,
            AttachStep: self._pass_on,
            SignalRun: self._signal_run,
            Terminate: self._terminate,
            Suspend: self._pass_on,
            SetTimeLimit: self._pass_on,
            AckEnded: self._ack_ended,
            QueryUsage: self._query_usage,
        }
        self._on_shepherd = {
            Started: self._started,
            Ended: self._ended,
            StepEnded: self._step_ended,
            Idle: self._idle,
            Refused: self._refused,
            SignalDone: self._forward,
            UsageReport: self._forward,
        }

    def handle(self, event: Event, now_ms: int) -> list[Command]:
        """Take one event; the commands that follow from it, in order."""
        self._on_event[type(event)](event, now_ms)
        out, self._out = self._out, []
        return out

    # --- the controller's connection

    def _controller_up(self, event: ControllerUp, now_ms: int) -> None:
        self._connecting = False
        self.connected = True
        self._heard_ms = now_ms
        self._ping_at_ms = now_ms + PING_MS
        self._send(self.hello())
        self._out.append(ReportLoad())
        for run in self.runs.values():
            if run.record is not None:
                run.sent_ms = now_ms - RESEND_MS + RESEND_HELLO_MS

    def hello(self) -> Hello:
        """What this node tells the controller first."""
        reports = tuple(
            RunReport(run.key[0], run.key[1], run.record, tuple(number for number, step in run.steps.items() if step.record is None))
            for run in self.runs.values()
        )
        return msgspec.structs.replace(self.facts, runs=reports)

    def _controller_down(self, event: ControllerDown, now_ms: int) -> None:
        self._connecting = False
        self.connected = False
        self._connect_at_ms = now_ms + self._backoff_ms
        self._backoff_ms = min(self._backoff_ms * 2, BACKOFF_LAST_MS)

    def _send(self, message: ToController) -> None:
        if self.connected:
            self._out.append(SendController(message))

    def _forward(self, shepherd: Shepherd, message: SignalDone | UsageReport, now_ms: int) -> None:
        self._send(message)

    def _from_controller(self, event: FromController, now_ms: int) -> None:
        self._heard_ms = now_ms
        handler = self._on_controller.get(type(event.message))
        if handler is not None:
            handler(event.message, now_ms)

    def _welcome(self, message: Welcome, now_ms: int) -> None:
        if message.epoch < self.epoch:
            self._out.append(CloseController())
            return
        if message.epoch > self.epoch:
            self.epoch = message.epoch
            self._out.append(SaveEpoch(message.epoch))
        self.cluster = message.cluster
        self._backoff_ms = BACKOFF_FIRST_MS
        for job_id, attempt, step_id in message.forget_steps:
            self._ack_ended(AckEnded(job_id, attempt, step_id), now_ms)
        for job_id, attempt in message.forget:
            self._ack_ended(AckEnded(job_id, attempt), now_ms)
        for job_id, attempt in message.kill:
            self._terminate(Terminate(job_id, attempt, "Cancelled", kill_wait_s=KILL_UNKNOWN_WAIT_S), now_ms)
        self._resend(now_ms, everything=True)

    # --- runs

    def _assign(self, message: Assign, now_ms: int) -> None:
        if message.epoch < self.epoch:
            return
        key = (message.job_id, message.attempt)
        run = self.runs.get(key)
        if run is not None:
            if run.record is not None:
                self._report_end(run, now_ms)
            elif run.phase == "running":
                self._send(Started(key[0], key[1], run.pid))
            return
        if key in self._tombstones:
            return
        run = self.runs[key] = Run(key, "waiting", now_ms)
        run.assign = message
        run.uid = message.uid
        self._waiting.append(key)
        self._match(now_ms)

    def _match(self, now_ms: int) -> None:
        """Give waiting runs to idle shepherds, the oldest run first, and ask for the shepherds that are missing."""
        if not self._waiting:
            return
        idle = [shepherd for shepherd in self.shepherds.values() if shepherd.run is None and not shepherd.leaving]
        left: collections.deque[RunKey] = collections.deque()
        for key in self._waiting:
            run = self.runs.get(key)
            if run is None or run.phase != "waiting":
                continue
            chosen = next((s for s in idle if s.uid == run.uid), None) or next((s for s in idle if s.uid is None), None)
            if chosen is None:
                left.append(key)
                continue
            idle.remove(chosen)
            chosen.run = key
            chosen.uid = run.uid
            run.phase = "starting"
            run.shepherd = chosen.number
            self._out.append(SendShepherd(chosen.number, run.assign))
            self._flush_backlog(run)
        self._waiting = left
        if now_ms >= self._fork_after_ms:
            # A shepherd whose run is acknowledged is about to be idle.
            soon = sum(1 for shepherd in self.shepherds.values() if shepherd.run is not None and shepherd.run not in self.runs)
            for _ in range(min(len(left) - soon, MAX_STARTING) - len(self._forks_ms)):
                self._forks_ms.append(now_ms)
                self._out.append(StartShepherd())

    def _fork_failed(self, event: ForkFailed, now_ms: int) -> None:
        if self._forks_ms:
            self._forks_ms.popleft()
        self._fork_error = event.error
        self._fork_after_ms = now_ms + FORK_RETRY_MS

    def _end(self, run: Run, record: ExitRecord, now_ms: int) -> None:
        """The run is over and its record is as durable as it will be."""
        run.phase = "ended"
        run.record = record
        run.assign = None
        run.inspect_ms = 0
        for message in run.backlog:
            if isinstance(message, SignalRun):
                self._send(SignalDone(message.signal_id, "the run ended before the signal reached it"))
        run.backlog.clear()
        for number, step in run.steps.items():
            if step.record is None:
                step.record = ExitRecord(wait_status=9, end_ms=record.end_ms, cause=record.cause or "Cancelled", detail="the run ended")
                step.sent_ms = now_ms
                self._send(StepEnded(run.key[0], run.key[1], number, step.record))
        self._report_end(run, now_ms)

    def _report_end(self, run: Run, now_ms: int) -> None:
        run.sent_ms = now_ms
        self._send(Ended(run.key[0], run.key[1], run.record))

    def _ack_ended(self, message: AckEnded, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        run = self.runs.get(key)
        if message.step_id >= 0:
            self._refused_steps.pop((*key, message.step_id), None)
            step = run.steps.get(message.step_id) if run is not None else None
            if step is not None and step.record is not None and not step.acknowledged:
                step.acknowledged = True
                if run.shepherd is not None:
                    self._out.append(SendShepherd(run.shepherd, message))
            return
        if run is None or run.record is None:
            return
        del self.runs[key]
        self._tombstones[key] = None
        if len(self._tombstones) > MAX_TOMBSTONES:
            self._tombstones.popitem(last=False)
        if run.shepherd is not None:
            self._out.append(SendShepherd(run.shepherd, message))
        else:
            self._out.append(Forget(key))

    def _terminate(self, message: Terminate, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        run = self.runs.get(key)
        if message.step_id >= 0:
            self._terminate_step(run, message, now_ms)
        elif run is None:
            if key not in self._tombstones:
                run = self.runs[key] = Run(key, "ended", now_ms)
                self._end(run, ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="never started on this node"), now_ms)
        elif run.record is not None:
            self._report_end(run, now_ms)
        elif run.phase == "waiting":
            self._end(run, ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="ended before it began"), now_ms)
        else:
            self._tell(run, message)

    def _pass_on(self, message: Suspend | SetTimeLimit | AttachStep, now_ms: int) -> None:
        run = self.runs.get((message.job_id, message.attempt))
        if run is not None and run.record is None:
            self._tell(run, message)

    def _signal_run(self, message: SignalRun, now_ms: int) -> None:
        run = self.runs.get((message.job_id, message.attempt))
        if run is None or run.record is not None:
            self._send(SignalDone(message.signal_id, f"job {message.job_id} does not run on this node"))
        else:
            self._tell(run, message)

    def _query_usage(self, message: QueryUsage, now_ms: int) -> None:
        for run in self.runs.values():
            if run.key[0] == message.job_id and run.phase == "running" and run.shepherd is not None:
                self._out.append(SendShepherd(run.shepherd, message))
                return
        self._send(UsageReport(message.query_id, ()))

    def _tell(self, run: Run, message: ToShepherd) -> None:
        """To the run's shepherd, at once or when there is one."""
        if run.shepherd is not None:
            self._out.append(SendShepherd(run.shepherd, message))
            return
        run.backlog.append(message)
        if len(run.backlog) > MAX_BACKLOG:
            dropped = run.backlog.popleft()
            if isinstance(dropped, SignalRun):
                self._send(SignalDone(dropped.signal_id, "too many messages wait for the run's shepherd"))
                return
            run.missed = True
            if isinstance(dropped, LaunchStep):
                run.steps.pop(dropped.step_id, None)

    def _flush_backlog(self, run: Run) -> None:
        while run.backlog:
            self._out.append(SendShepherd(run.shepherd, run.backlog.popleft()))
        if run.missed:
            run.missed = False
            if self.connected:
                self._out.append(CloseController())

    # --- steps

    def _launch_step(self, message: LaunchStep, now_ms: int) -> None:
        run = self.runs.get((message.job_id, message.attempt))
        if run is None or run.record is not None:
            detail = f"job {message.job_id} does not run on this node"
            self._refuse_step(message, ExitRecord(wait_status=1 << 8, end_ms=now_ms, cause="LaunchFailed", detail=detail), now_ms)
            return
        step = run.steps.get(message.step_id)
        if step is None:
            run.steps[message.step_id] = Step()
            self._tell(run, message)
        elif step.record is not None and not step.acknowledged:
            step.sent_ms = now_ms
            self._send(StepEnded(message.job_id, message.attempt, message.step_id, step.record))

    def _refuse_step(self, message: LaunchStep | Terminate, record: ExitRecord, now_ms: int) -> None:
        key = (message.job_id, message.attempt, message.step_id)
        if key not in self._refused_steps:
            self._refused_steps[key] = Step(record, now_ms)
            if len(self._refused_steps) > MAX_TOMBSTONES:
                self._refused_steps.popitem(last=False)
        self._send(StepEnded(*key, self._refused_steps[key].record))

    def _terminate_step(self, run: Run | None, message: Terminate, now_ms: int) -> None:
        step = run.steps.get(message.step_id) if run is not None else None
        if step is None:
            record = ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="never started on this node")
            if run is None or run.record is not None:
                self._refuse_step(message, record, now_ms)
            else:
                run.steps[message.step_id] = Step(record, now_ms)
                self._send(StepEnded(message.job_id, message.attempt, message.step_id, record))
        elif step.record is None:
            self._tell(run, message)
        elif not step.acknowledged:
            step.sent_ms = now_ms
            self._send(StepEnded(message.job_id, message.attempt, message.step_id, step.record))

    # --- shepherds

    def _shepherd_up(self, event: ShepherdUp, now_ms: int) -> None:
        announce = event.announce
        shepherd = self.shepherds[event.shepherd] = Shepherd(event.shepherd, announce.uid, now_ms)
        if announce.run is None:
            if self._forks_ms:
                self._forks_ms.popleft()
            if announce.protocol != SHEPHERD_PROTOCOL:
                self._dismiss(shepherd)
            self._match(now_ms)
            return
        key = shepherd.run = announce.run
        if key in self._tombstones:
            self._out.append(SendShepherd(event.shepherd, AckEnded(*key)))
            return
        run = self.runs.get(key)
        if run is None:
            run = self.runs[key] = Run(key, "running", now_ms)
        elif run.phase == "ended" and announce.record is None:
            # It was ended here without a shepherd (a Terminate came first): the run that is alive after all has to end too.
            run.shepherd = event.shepherd
            self._out.append(SendShepherd(event.shepherd, Terminate(*key, "Cancelled", kill_wait_s=KILL_UNKNOWN_WAIT_S)))
            return
        run.shepherd = event.shepherd
        run.assign = None
        run.uid = announce.uid if announce.uid is not None else -1
        run.pid = announce.pid
        run.inspect_ms = 0
        for number in announce.steps:
            run.steps.setdefault(number, Step())
        for number, record in announce.ended_steps:
            self._step_over(run, number, record, now_ms)
        if run.record is None:
            run.began = True
            if announce.record is not None:
                self._end(run, announce.record, now_ms)
                return
            run.phase = "running"
            self._send(Started(*key, announce.pid))
            self._flush_backlog(run)

    def _shepherd_says(self, event: ShepherdSays, now_ms: int) -> None:
        shepherd = self.shepherds.get(event.shepherd)
        handler = self._on_shepherd.get(type(event.message))
        if shepherd is not None and handler is not None:
            handler(shepherd, event.message, now_ms)

    def _owned(self, shepherd: Shepherd, message: Started | Ended | StepEnded) -> Run | None:
        """The run that the message is about, if this shepherd owns it."""
        run = self.runs.get((message.job_id, message.attempt))
        return run if run is not None and run.shepherd == shepherd.number else None

    def _started(self, shepherd: Shepherd, message: Started, now_ms: int) -> None:
        run = self._owned(shepherd, message)
        if run is not None and run.record is None:
            run.phase = "running"
            run.began = True
            run.assign = None
            run.pid = message.pid
            self._send(message)

    def _ended(self, shepherd: Shepherd, message: Ended, now_ms: int) -> None:
        run = self._owned(shepherd, message)
        if (message.job_id, message.attempt) in self._tombstones:
            self._out.append(SendShepherd(shepherd.number, AckEnded(message.job_id, message.attempt)))
        if run is not None and run.record is None:
            self._end(run, message.record, now_ms)

    def _step_ended(self, shepherd: Shepherd, message: StepEnded, now_ms: int) -> None:
        run = self._owned(shepherd, message)
        if run is not None:
            self._step_over(run, message.step_id, message.record, now_ms)

    def _step_over(self, run: Run, number: int, record: ExitRecord, now_ms: int) -> None:
        step = run.steps.setdefault(number, Step())
        if step.record is None:
            step.record = record
        if step.acknowledged:
            self._out.append(SendShepherd(run.shepherd, AckEnded(*run.key, number)))
            return
        step.sent_ms = now_ms
        self._send(StepEnded(run.key[0], run.key[1], number, step.record))

    def _idle(self, shepherd: Shepherd, message: Idle, now_ms: int) -> None:
        shepherd.run = None
        shepherd.idle_since_ms = now_ms
        self._match(now_ms)

    def _refused(self, shepherd: Shepherd, message: Refused, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        if shepherd.run == key:
            shepherd.run = None
            shepherd.idle_since_ms = now_ms
        run = self.runs.get(key)
        if run is not None and run.shepherd == shepherd.number:
            self._detach(run)
        self._match(now_ms)

    def _shepherd_down(self, event: ShepherdDown, now_ms: int) -> None:
        shepherd = self.shepherds.pop(event.shepherd, None)
        if shepherd is None or shepherd.run is None:
            return
        run = self.runs.get(shepherd.run)
        if run is None:
            self._out.append(Forget(shepherd.run))
        elif run.shepherd == event.shepherd:
            if run.record is None:
                self._detach(run)
            else:
                run.shepherd = None

    def _detach(self, run: Run) -> None:
        run.shepherd = None
        run.phase = "detached"
        run.inspect_ms = 0
        self._out.append(Inspect(run.key))

    def _folders_found(self, event: FoldersFound, now_ms: int) -> None:
        self._settle_until_ms = now_ms + SETTLE_MS
        for key in event.runs:
            if key not in self.runs:
                run = self.runs[key] = Run(key, "detached", now_ms)
                run.began = True
                self._out.append(Inspect(key))

    def _inspected(self, event: Inspected, now_ms: int) -> None:
        run = self.runs.get(event.run)
        if run is None or run.phase != "detached":
            return
        if event.state == "locked":
            run.inspect_ms = now_ms + INSPECT_AGAIN_MS
        elif event.state == "absent" and run.assign is not None and not run.began:
            run.phase = "waiting"
            self._waiting.append(run.key)
            self._match(now_ms)
        elif event.state == "absent":
            self._end(
                run, ExitRecord(wait_status=9, end_ms=now_ms, cause="ShepherdKilled", detail="its folder on the node is gone"), now_ms
            )
        else:
            for number, record in event.ended_steps:
                self._step_over(run, number, record, now_ms)
            self._end(run, event.record, now_ms)

    def _dismiss(self, shepherd: Shepherd) -> None:
        shepherd.leaving = True
        self._out.append(SendShepherd(shepherd.number, Dismiss()))

    # --- time

    def _tick(self, event: Tick, now_ms: int) -> None:
        if self.connected:
            if now_ms - self._heard_ms >= SILENCE_MS:
                self._heard_ms = now_ms
                self._out.append(CloseController())
            elif now_ms >= self._ping_at_ms:
                self._ping_at_ms = now_ms + PING_MS
                self._send(Ping(now_ms))
                self._out.append(ReportLoad())
            self._resend(now_ms)
        elif not self._connecting and now_ms >= self._connect_at_ms and self._settled(now_ms):
            self._connecting = True
            self._out.append(Connect())
        while self._forks_ms and now_ms - self._forks_ms[0] >= FORK_TIMEOUT_MS:
            self._forks_ms.popleft()
        for run in list(self.runs.values()):
            if run.inspect_ms and now_ms >= run.inspect_ms:
                run.inspect_ms = 0
                self._out.append(Inspect(run.key))
            elif run.phase == "waiting" and now_ms - run.since_ms >= LAUNCH_GIVE_UP_MS:
                detail = f"no shepherd could be started: {self._fork_error or 'the launcher does not answer'}"
                self._end(run, ExitRecord(wait_status=1 << 8, end_ms=now_ms, cause="LaunchFailed", detail=detail), now_ms)
        for shepherd in self.shepherds.values():
            if shepherd.run is None and not shepherd.leaving and now_ms - shepherd.idle_since_ms >= IDLE_SHEPHERD_MS:
                self._dismiss(shepherd)
        self._match(now_ms)

    def _settled(self, now_ms: int) -> bool:
        return now_ms >= self._settle_until_ms or all(run.phase != "detached" for run in self.runs.values())

    def _resend(self, now_ms: int, *, everything: bool = False) -> None:
        """Repeat the ends that are not acknowledged yet; `everything`: the steps' too that were sent just now, on another connection."""
        for run in self.runs.values():
            for number, step in run.steps.items():
                if step.record is not None and not step.acknowledged and (everything or now_ms - step.sent_ms >= RESEND_MS):
                    step.sent_ms = now_ms
                    self._send(StepEnded(run.key[0], run.key[1], number, step.record))
            if run.record is not None and now_ms - run.sent_ms >= RESEND_MS:
                self._report_end(run, now_ms)
        for key, step in self._refused_steps.items():
            if everything or now_ms - step.sent_ms >= RESEND_MS:
                step.sent_ms = now_ms
                self._send(StepEnded(*key, step.record))
