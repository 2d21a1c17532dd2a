"""The steps on a node: what is started, what has ended and who knows it.

Guarantees: an end is told until the controller acknowledges it; a step that ended or was refused, or whose Terminate came first, is not
started by a late or repeated LaunchStep; the end of a run ends its steps. The last MAX_REFUSED steps of runs that are not here are
remembered until acknowledged, the oldest are dropped: the controller asks again for a step that it still expects.

The steps of a run lie in the run (`Run.steps`) and go with it.
"""

from __future__ import annotations

import collections

from penstock.agent.backlog import Backlog
from penstock.agent.link import ControllerLink
from penstock.agent.runs import Run, Step
from penstock.wire.messages import AckEnded, ExitRecord, LaunchStep, StepEnded, Terminate

RESEND_MS = 5_000
"""An unacknowledged end is repeated this often on a connection that stays up."""
MAX_REFUSED = 8_192
SIGKILL_STATUS = 9
NOT_STARTED_STATUS = 1 << 8

StepKey = tuple[int, int, int]


class StepLedger:
    def __init__(self, link: ControllerLink, backlog: Backlog) -> None:
        self._link = link
        self._backlog = backlog
        self._refused: collections.OrderedDict[StepKey, Step] = collections.OrderedDict()

    def launch(self, run: Run | None, message: LaunchStep, now_ms: int) -> None:
        if run is None or run.record is not None:
            detail = f"job {message.job_id} does not run on this node"
            self._refuse(message, ExitRecord(wait_status=NOT_STARTED_STATUS, end_ms=now_ms, cause="LaunchFailed", detail=detail), now_ms)
            return
        step = run.steps.get(message.step_id)
        if step is None:
            run.steps[message.step_id] = Step()
            self._backlog.tell(run, message)
        elif step.unheard:
            self._say((*run.key, message.step_id), step, now_ms)

    def terminate(self, run: Run | None, message: Terminate, now_ms: int) -> None:
        step = run.steps.get(message.step_id) if run is not None else None
        if run is None or step is None:
            record = ExitRecord(end_ms=now_ms, cause=message.cause or "Cancelled", detail="never started on this node")
            if run is None or run.record is not None:
                self._refuse(message, record, now_ms)
            else:
                step = run.steps[message.step_id] = Step(record)
                self._say((*run.key, message.step_id), step, now_ms)
        elif step.record is None:
            self._backlog.tell(run, message)
        elif step.unheard:
            self._say((*run.key, message.step_id), step, now_ms)

    def ended(self, run: Run, number: int, record: ExitRecord, now_ms: int) -> None:
        """The run's shepherd, or its folder, tells of an end."""
        step = run.steps.setdefault(number, Step())
        if step.record is None:
            step.record = record
        if step.acknowledged:
            self._confirm(run, AckEnded(*run.key, number))
        else:
            self._say((*run.key, number), step, now_ms)

    def end_with(self, run: Run, record: ExitRecord, now_ms: int) -> None:
        """The run is over, and with it the steps that were going."""
        for number, step in run.steps.items():
            if step.record is None:
                step.record = ExitRecord(SIGKILL_STATUS, end_ms=record.end_ms, cause=record.cause or "Cancelled", detail="the run ended")
                self._say((*run.key, number), step, now_ms)

    def acknowledged(self, run: Run | None, message: AckEnded) -> None:
        self._refused.pop((message.job_id, message.attempt, message.step_id), None)
        step = run.steps.get(message.step_id) if run is not None else None
        if run is not None and step is not None and step.unheard:
            step.acknowledged = True
            self._confirm(run, message)

    def resend(self, run: Run, now_ms: int, *, everything: bool = False) -> None:
        """Say the run's unacknowledged ends again; `everything`: also those that were said just now, on another connection."""
        for number, step in run.steps.items():
            if step.unheard and (everything or now_ms - step.sent_ms >= RESEND_MS):
                self._say((*run.key, number), step, now_ms)

    def resend_refused(self, now_ms: int, *, everything: bool = False) -> None:
        for key, step in self._refused.items():
            if everything or now_ms - step.sent_ms >= RESEND_MS:
                self._say(key, step, now_ms)

    def _refuse(self, message: LaunchStep | Terminate, record: ExitRecord, now_ms: int) -> None:
        key = (message.job_id, message.attempt, message.step_id)
        step = self._refused.setdefault(key, Step(record))
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        self._say(key, step, now_ms)

    def _confirm(self, run: Run, message: AckEnded) -> None:
        """Its shepherd need not say it again; one that comes later asks anew."""
        if run.shepherd is not None:
            self._backlog.tell(run, message)

    def _say(self, key: StepKey, step: Step, now_ms: int) -> None:
        step.sent_ms = now_ms
        self._link.send(StepEnded(*key, step.record))
