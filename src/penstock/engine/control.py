"""What users and administrators change: signals, cancel, hold, requeue, update, consolidation, reconfiguration, one method an operation.

Each method checks through `commands` and `updates`, proposes the events, and answers; a SlurmError is the refusal (`requests.handle`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from penstock.engine import commands as c
from penstock.engine import events as e
from penstock.engine import operations as ops
from penstock.engine import updates
from penstock.engine.call import Call
from penstock.engine.caller import Caller
from penstock.engine.outcomes import Outcomes, elements_of
from penstock.engine.selection import select
from penstock.engine.state import PENDING, RUNNING, SUSPENDED, Job
from penstock.spec import arrays, hostlist
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor
    from penstock.engine.requests import Requests


class Control:
    """Operations of one reactor that change what is there."""

    __slots__ = ("_reactor", "_requests")

    def __init__(self, reactor: Reactor, requests: Requests) -> None:
        self._reactor = reactor
        self._requests = requests

    def send_signal(self, job: Job, signal: int, scope: str, call: Call, step_id: int = 0) -> None:
        if job.state not in (RUNNING, SUSPENDED):
            raise SlurmError(err.ESLURM_JOB_NOT_RUNNING)
        nodes = job.nodes_left if scope not in ("batch", "full") else job.nodes_left[:1]
        signal_id = self._reactor.state.counters.next_signal_id
        event = e.SignalQueued(call.now_ms, signal_id, job.id, job.attempt, signal, scope, nodes, step_id)
        self._reactor.propose(event)

    def cancel(self, call: Call) -> None:
        """scancel: filters and ids are judged here, on the jobs of one moment. The answer names what failed, a line each."""
        reactor = self._reactor
        asked: ops.Cancel = call.asked
        lines = []
        for item in select(reactor.state, reactor.indexes, asked):
            error = item.error
            if error is None:
                try:
                    self._cancel_one(item.target, item.step_id, asked.signal or 0, call)
                except SlurmError as refusal:
                    error = refusal
            kind = "job" if item.step_id is None else "step"
            lines.append(f"{item.text}\t{kind}\t{error.code if error else 0}\t{error.text if error else ''}")
        self._requests.done(call, "\n".join(lines).encode())

    def cancel_list(self, call: Call) -> None:
        """What `cancel` with the same fields would act on: id, kind, name, partition; nothing changes."""
        lines = []
        for item in select(self._reactor.state, self._reactor.indexes, call.asked):
            if item.error is None:
                job = item.target.job
                kind = "job" if item.step_id is None else "step"
                lines.append(f"{item.text}\t{kind}\t{job.spec.name}\t{job.partition or ','.join(job.spec.partitions)}")
        self._reactor.answer(call.client, "=", "\n".join(lines).encode("utf-8", "surrogateescape"))

    def _cancel_one(self, target: c.Target, step_id: int | None, signal: int, call: Call) -> None:
        asked: ops.Cancel = call.asked
        job = target.job
        c.may(call.caller, job)
        if step_id is not None:
            self._requests.steps.signal(job, step_id, signal or c.SIGKILL, call)
            return
        if signal or asked.batch or asked.full:
            if job.state == PENDING:
                if signal in (c.SIGKILL, 0):
                    self._propose_all(self._on_row(target, call.now_ms, lambda row: c.cancel(row, call.caller, call.now_ms)))
                    return
                raise SlurmError(err.ESLURM_JOB_PENDING)
            scope = "full" if asked.full else "batch" if asked.batch else "steps"
            self.send_signal(job, signal or c.SIGTERM, scope, call)
            return
        self._propose_all(self._on_row(target, call.now_ms, lambda row: c.cancel(row, call.caller, call.now_ms)))

    def _propose_all(self, proposed: Iterator[e.Event]) -> None:
        for event in proposed:
            self._reactor.propose(event)

    def _on_row(self, target: c.Target, now_ms: int, action: Callable[[Job], Iterator[e.Event]]) -> Iterator[e.Event]:
        """Split off the meant elements first, then act on their row. A row that stands for one element is named as it."""
        job = target.job
        if target.tasks:
            # What came before in this request may have ended some of them already.
            tasks = arrays.keep(job.pending_tasks, target.tasks) if job.state == PENDING else ()
            if not tasks:
                raise SlurmError(err.ESLURM_ALREADY_DONE)
            if tasks != job.pending_tasks:
                if next(action(job), None) is None:  # nothing to do, or refused: then nothing is split off for it
                    return
                new_id = self._reactor.state.counters.next_job_id
                yield e.TasksSplit(now_ms, job.id, new_id, tasks)
                job = self._reactor.state.jobs[new_id]
        yield from action(job)

    def _each(self, call: Call, action: Callable[[Job], Iterator[e.Event]]) -> None:
        """An action on every job named in `jobs`, each tried whatever became of the others; the first refusal is the answer. Where
        elements of an array were refused, it is a line for each outcome and the elements that had it, as Slurm's scontrol prints them."""
        arrays_known = self._reactor.indexes.array_rows
        refused: SlurmError | None = None
        lines: list[str] = []
        for text in dict.fromkeys(call.asked.jobs):
            try:
                named = self._named(text, call.caller)
            except SlurmError as error:
                named = []
                if elements_of(text)[0] not in arrays_known:
                    refused = refused or error
                    continue
            outcomes = Outcomes(text, named)
            for target in named:
                outcomes.of(target)
                try:
                    self._propose_all(self._on_row(target, call.now_ms, action))
                except SlurmError as error:
                    outcomes.refused(error)
            refused = refused or outcomes.refusal
            lines += outcomes.lines
        if refused is not None:
            raise refused
        self._requests.done(call, "\n".join(lines).encode())

    def _named(self, text: str, caller: Caller) -> list[c.Target]:
        """Rows by id; `jobname=NAME` names the caller's own rows by their name, root's all of that name."""
        state, indexes = self._reactor.state, self._reactor.indexes
        if text.lower().startswith("jobname="):
            name = text.partition("=")[2]
            owners = [key for key in indexes.same_name if key[1] == name] if caller.uid == 0 else [(caller.uid, name)]
            found = [c.Target(state.jobs[job_id]) for key in owners for job_id in list(indexes.same_name.get(key, ()))]
            if not found:
                raise SlurmError(err.ESLURM_INVALID_JOB_ID)
            return found
        rows = c.targets(state, indexes, text)
        return [target for target in rows if not _never_ran(target.job)] or rows

    def hold(self, call: Call) -> None:
        self._each(call, lambda job: c.hold(job, call.caller, call.now_ms, call.asked.user_hold))

    def release_hold(self, call: Call) -> None:
        self._each(call, lambda job: c.release(job, call.caller, call.now_ms))

    def requeue(self, call: Call) -> None:
        self._each(call, lambda job: c.requeue(self._reactor.state, job, call.caller, call.now_ms, "requeue"))

    def requeue_hold(self, call: Call) -> None:
        how = "special" if call.asked.special else "hold"
        self._each(call, lambda job: c.requeue(self._reactor.state, job, call.caller, call.now_ms, how))

    def suspend(self, call: Call) -> None:
        self._each(call, lambda job: c.suspend(self._reactor.state, job, call.caller, call.now_ms))

    def resume(self, call: Call) -> None:
        self._each(call, lambda job: c.resume(self._reactor.state, job, call.caller, call.now_ms))

    def update_job(self, call: Call) -> None:
        reactor = self._reactor
        keys = list(call.asked.keys)
        self._each(call, lambda job: updates.update_job(reactor.state, reactor.indexes, job, call.caller, keys, call.now_ms))

    def update_node(self, call: Call) -> None:
        state = self._reactor.state
        text = ",".join(call.asked.nodes)
        names = list(state.nodes) if text.upper() == "ALL" else hostlist.expand(text)
        for name in names:
            self._propose_all(updates.update_node(state, name, call.caller, list(call.asked.keys), call.now_ms))
        self._requests.done(call)

    def consolidate(self, call: Call) -> None:
        """The moves of a plan, all or none."""
        reactor = self._reactor
        if call.caller.uid not in (0, reactor.state.config.single_user):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        self._propose_all(iter(reactor.moves.carry_out(call.asked.number, call.now_ms)))
        self._requests.done(call)

    def reconfigure(self, call: Call) -> None:
        """scontrol reconfigure: the files again, as a difference. Everything comes into force in one commit, or nothing does. The answer
        has a line for each thing that cannot change while the cluster runs."""
        reactor = self._reactor
        running = reactor.state.config
        if call.caller.uid not in (0, running.single_user):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        config, lines = reactor.world.reread(running)
        left = [partition.name for partition in config.partitions]
        for name in [partition.name for partition in running.partitions if partition.name not in left]:
            held = sum(1 for job in reactor.state.jobs.values() if not job.finished and name in (job.partition, *job.spec.partitions))
            if held:
                detail = (
                    f"partition {name} is no longer there, but {held} jobs run or wait in it: end or move them first; nothing was changed"
                )
                raise SlurmError(err.ESLURM_PARTITION_IN_USE, detail=detail)
        if config != running:
            reactor.configure(config, call.now_ms)
        self._requests.done(call, "\n".join(lines).encode("utf-8", "surrogateescape"))


def _never_ran(job: Job) -> bool:
    """Elements that were cancelled apart from the rest before they started: a command on the array is not about them, as Slurm keeps no
    record of them. Where all that waited was cancelled at once the array's own row stays, in Slurm too."""
    return job.array_job_id not in (0, job.id) and job.finished and not job.allocs
