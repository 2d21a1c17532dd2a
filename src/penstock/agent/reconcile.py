"""What a node's agent decides: events in, commands out; no input or output, no clock.

The agent sits between the controller, which wants runs, and shepherds, which own them. `Reconcile` holds what is known of each run and
shepherd and answers every event with commands for the shell (`agent.service`, or a simulation) to carry out. It guarantees:

- A run is given to at most one shepherd at a time, and to a second only after the shell looked and found that it never began.
- An end (`Ended`, `StepEnded`) is repeated until the controller acknowledges it; only then is the run forgotten, here and on disk.
- A run that ended, or whose Terminate came first, is not started by a late or repeated Assign; nor by one of a former controller (epoch).
- Losing the controller, the launcher or this agent ends no run. A restarted agent is told of the folders it finds (`FoldersFound`) and of
  the shepherds that return (`ShepherdUp`), and ends up knowing what its predecessor knew.

Its parts hold what has rules of its own: `link` the connection to the controller, `crew` the shepherds and the runs that wait for one,
`backlog` what a run's shepherd is told, `steps` the steps. What is here is the life of a run.

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

from penstock.agent.backlog import Backlog
from penstock.agent.crew import Crew, Shepherd
from penstock.agent.events import (
    Command,
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
    SendShepherd,
    ShepherdDown,
    ShepherdSays,
    ShepherdUp,
    Tick,
)
from penstock.agent.link import ControllerLink
from penstock.agent.runs import Run, Step
from penstock.agent.shepherd.protocol import Idle, Refused
from penstock.agent.steps import NOT_STARTED_STATUS, RESEND_MS, SIGKILL_STATUS, StepLedger
from penstock.wire.messages import (
    AckEnded,
    Assign,
    AttachStep,
    Ended,
    ExitRecord,
    Hello,
    LaunchStep,
    QueryUsage,
    RunReport,
    SetTimeLimit,
    SignalDone,
    SignalRun,
    Started,
    StepEnded,
    Suspend,
    Terminate,
    UsageReport,
    Welcome,
)

RESEND_HELLO_MS = 1_000
"""An end that was told in the Hello is said again if it is not acknowledged by then."""
INSPECT_AGAIN_MS = 1_000
"""A folder that is locked though its shepherd is not connected is looked at again after this time."""
LAUNCH_GIVE_UP_MS = 60_000
"""A run for which no shepherd could be had in this time ends with LaunchFailed."""
MAX_TOMBSTONES = 8_192
"""Acknowledged runs remembered so that a late Assign cannot revive them; the oldest are dropped."""
KILL_UNKNOWN_WAIT_S = 5


class Reconcile:
    """The machine. `facts` is the Hello of this node without its runs; `epoch` the highest seen by earlier agents here."""

    def __init__(self, facts: Hello, *, epoch: int = 0) -> None:
        self.facts = facts
        self.epoch = epoch
        self.cluster = ""
        self.runs: dict[RunKey, Run] = {}
        self._out: list[Command] = []
        self.link = ControllerLink(self._out)
        self.crew = Crew(self.runs, self._out)
        self.backlog = Backlog(self.link, self._out)
        self.steps = StepLedger(self.link, self.backlog)
        self._tombstones: collections.OrderedDict[RunKey, None] = collections.OrderedDict()
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
        out = self._out.copy()
        self._out.clear()
        return out

    # --- the controller's connection

    def _controller_up(self, event: ControllerUp, now_ms: int) -> None:
        self.link.opened(now_ms)
        self.link.send(self.hello())
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
        self.link.lost(now_ms)

    def _forward(self, shepherd: Shepherd, message: SignalDone | UsageReport, now_ms: int) -> None:
        self.link.send(message)

    def _from_controller(self, event: FromController, now_ms: int) -> None:
        self.link.heard(now_ms)
        handler = self._on_controller.get(type(event.message))
        if handler is not None:
            handler(event.message, now_ms)

    def _welcome(self, message: Welcome, now_ms: int) -> None:
        if message.epoch < self.epoch:
            self.link.close()
            return
        if message.epoch > self.epoch:
            self.epoch = message.epoch
            self._out.append(SaveEpoch(message.epoch))
        self.cluster = message.cluster
        self.link.welcomed()
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
                self.link.send(Started(key[0], key[1], run.pid))
            return
        if key in self._tombstones:
            return
        run = self.runs[key] = Run(key, "waiting", now_ms)
        run.assign = message
        run.uid = message.uid
        self.crew.enlist(run)
        self._match(now_ms)

    def _match(self, now_ms: int) -> None:
        for run in self.crew.match(now_ms):
            self.backlog.flush(run)

    def _fork_failed(self, event: ForkFailed, now_ms: int) -> None:
        self.crew.fork_failed(event.error, now_ms)

    def _end(self, run: Run, record: ExitRecord, now_ms: int) -> None:
        """The run is over and its record is as durable as it will be."""
        run.phase = "ended"
        run.record = record
        run.assign = None
        run.inspect_ms = 0
        self.backlog.end(run)
        self.steps.end_with(run, record, now_ms)
        self._report_end(run, now_ms)

    def _report_end(self, run: Run, now_ms: int) -> None:
        run.sent_ms = now_ms
        self.link.send(Ended(run.key[0], run.key[1], run.record))

    def _ack_ended(self, message: AckEnded, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        run = self.runs.get(key)
        if message.step_id >= 0:
            self.steps.acknowledged(run, message)
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
            self.steps.terminate(run, message, now_ms)
        elif run is None:
            if key not in self._tombstones:
                run = self.runs[key] = Run(key, "ended", now_ms)
                self._end(run, ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="never started on this node"), now_ms)
        elif run.record is not None:
            self._report_end(run, now_ms)
        elif run.phase == "waiting":
            self._end(run, ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="ended before it began"), now_ms)
        else:
            self.backlog.tell(run, message)

    def _pass_on(self, message: Suspend | SetTimeLimit | AttachStep, now_ms: int) -> None:
        run = self.runs.get((message.job_id, message.attempt))
        if run is not None and run.record is None:
            self.backlog.tell(run, message)

    def _signal_run(self, message: SignalRun, now_ms: int) -> None:
        run = self.runs.get((message.job_id, message.attempt))
        if run is None or run.record is not None:
            self.link.send(SignalDone(message.signal_id, f"job {message.job_id} does not run on this node"))
        else:
            self.backlog.tell(run, message)

    def _query_usage(self, message: QueryUsage, now_ms: int) -> None:
        for run in self.runs.values():
            if run.key[0] == message.job_id and run.phase == "running" and run.shepherd is not None:
                self._out.append(SendShepherd(run.shepherd, message))
                return
        self.link.send(UsageReport(message.query_id, ()))

    def _launch_step(self, message: LaunchStep, now_ms: int) -> None:
        self.steps.launch(self.runs.get((message.job_id, message.attempt)), message, now_ms)

    # --- shepherds

    def _shepherd_up(self, event: ShepherdUp, now_ms: int) -> None:
        announce = event.announce
        self.crew.came(event.shepherd, announce, now_ms)
        key = announce.run
        if key is None:
            self._match(now_ms)
            return
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
            self.steps.ended(run, number, record, now_ms)
        if run.record is None:
            run.began = True
            if announce.record is not None:
                self._end(run, announce.record, now_ms)
                return
            run.phase = "running"
            self.link.send(Started(*key, announce.pid))
            self.backlog.flush(run)

    def _shepherd_says(self, event: ShepherdSays, now_ms: int) -> None:
        shepherd = self.crew.shepherds.get(event.shepherd)
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
            self.link.send(message)

    def _ended(self, shepherd: Shepherd, message: Ended, now_ms: int) -> None:
        run = self._owned(shepherd, message)
        if (message.job_id, message.attempt) in self._tombstones:
            self._out.append(SendShepherd(shepherd.number, AckEnded(message.job_id, message.attempt)))
        if run is not None and run.record is None:
            self._end(run, message.record, now_ms)

    def _step_ended(self, shepherd: Shepherd, message: StepEnded, now_ms: int) -> None:
        run = self._owned(shepherd, message)
        if run is not None:
            self.steps.ended(run, message.step_id, message.record, now_ms)

    def _idle(self, shepherd: Shepherd, message: Idle, now_ms: int) -> None:
        shepherd.rest(now_ms)
        self._match(now_ms)

    def _refused(self, shepherd: Shepherd, message: Refused, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        if shepherd.run == key:
            shepherd.rest(now_ms)
        run = self.runs.get(key)
        if run is not None and run.shepherd == shepherd.number:
            self._detach(run)
        self._match(now_ms)

    def _shepherd_down(self, event: ShepherdDown, now_ms: int) -> None:
        shepherd = self.crew.left(event.shepherd)
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
        self.link.settle(now_ms)
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
            self.crew.enlist(run)
            self._match(now_ms)
        elif event.state == "absent":
            self._end(
                run, ExitRecord(SIGKILL_STATUS, end_ms=now_ms, cause="ShepherdKilled", detail="its folder on the node is gone"), now_ms
            )
        else:
            for number, record in event.ended_steps:
                self.steps.ended(run, number, record, now_ms)
            self._end(run, event.record, now_ms)

    # --- time

    def _tick(self, event: Tick, now_ms: int) -> None:
        self.link.tick(now_ms, settled=all(run.phase != "detached" for run in self.runs.values()))
        if self.link.up:
            self._resend(now_ms)
        for run in list(self.runs.values()):
            if run.inspect_ms and now_ms >= run.inspect_ms:
                run.inspect_ms = 0
                self._out.append(Inspect(run.key))
            elif run.phase == "waiting" and now_ms - run.since_ms >= LAUNCH_GIVE_UP_MS:
                detail = f"no shepherd could be started: {self.crew.fork_error or 'the launcher does not answer'}"
                self._end(run, ExitRecord(NOT_STARTED_STATUS, end_ms=now_ms, cause="LaunchFailed", detail=detail), now_ms)
        self.crew.tick(now_ms)
        self._match(now_ms)

    def _resend(self, now_ms: int, *, everything: bool = False) -> None:
        """Repeat the ends that are not acknowledged yet; `everything`: the steps' too that were sent just now, on another connection."""
        for run in self.runs.values():
            self.steps.resend(run, now_ms, everything=everything)
            if run.record is not None and now_ms - run.sent_ms >= RESEND_MS:
                self._report_end(run, now_ms)
        self.steps.resend_refused(now_ms, everything=everything)
