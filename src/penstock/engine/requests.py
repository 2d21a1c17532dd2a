"""What clients ask: submissions and allocations, one method an operation; and who of them still waits for something.

A request is a flat object of named fields. Mutating ones carry an id made by the client: the answer to the first is remembered with
the commit and given to every retry. Held connections (salloc, srun, sbatch --wait) are waiters keyed by job or step; a client that
comes back with the same id takes its old place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from penstock.core.outlook import as_of, outlook
from penstock.core.plan import Reason
from penstock.engine import commands as c
from penstock.engine import events as e
from penstock.engine import operations as ops
from penstock.engine.call import Call, Fields
from penstock.engine.caller import Caller
from penstock.engine.control import Control
from penstock.engine.effects import gpu_indices
from penstock.engine.environment import job_variables, node_variables
from penstock.engine.planner_records import as_batch
from penstock.engine.request import SubmitRequest
from penstock.engine.state import CANCELLED, COMPLETED, FAILED, PENDING, RUNNING, SUSPENDED, Job
from penstock.engine.step_requests import StepRequests
from penstock.engine.submit import renumbered, submit
from penstock.engine.topology import wished
from penstock.spec import arrays, hostlist, times
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError
from penstock.store.base import BlobTooLarge
from penstock.store.blobs import environment_blob, script_blob

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor

MAX_WAITERS = 100_000
"""Clients that are held at once; one more is told to come back."""
BATCH_MAX = 10_000
"""Jobs of one submit_many."""
OP_MAX_CHARACTERS = 32
convert = msgspec.convert


class Waiter(NamedTuple):
    client: int
    kind: str
    """start (salloc, srun), end (sbatch --wait), revoked (told when the allocation ends)."""
    deadline_ms: int = 0


class Requests:
    """Operations and waiters of one reactor."""

    __slots__ = ("_held", "_reactor", "_waiters", "control", "steps")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiters: dict[int, list[Waiter]] = {}
        self._held: dict[int, dict[int, None]] = {}
        """Client -> jobs it waited for, until it is gone."""
        self.steps = StepRequests(reactor, self)
        self.control = Control(reactor, self)

    # --- the entrance ---

    def handle(self, client: int, caller: Caller, fields: Fields, sections: list[bytes], now_ms: int, first: bytes | None) -> None:
        """One request. `first`: the answer that this id got before, if any. Every path answers or holds the client."""
        reactor = self._reactor
        now_ms = reactor.now(now_ms)
        op = str(fields.pop("op", ""))[:OP_MAX_CHARACTERS]
        try:
            request_id = bytes.fromhex(fields.pop("id", "") or "")
            operation = OPERATIONS.get(op if op != "release" or "jobs" not in fields else "release_hold")
            if operation is None:
                raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"the controller knows no operation {op!r}")
            kind, method = operation
            asked = convert(fields, kind) if kind is not None else None
            if first is None and request_id:
                first = reactor.recall(request_id, caller.uid)
            if first is not None and op not in HELD:
                reactor.answer(client, "=", first)
                return
            method(self, Call(client, caller, fields, sections, request_id, now_ms, first, asked))
        except SlurmError as error:
            self.refuse(client, error)
        except (msgspec.ValidationError, KeyError, TypeError, ValueError, OverflowError) as error:
            self.refuse(client, SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"malformed {op} request: {error}"))

    def refuse(self, client: int, error: SlurmError) -> None:
        self._reactor.answer(client, "!", f"{error.code}\t{error.text}\t{error.detail}".encode("utf-8", "surrogateescape"))

    def done(self, call: Call, reply: bytes = b"") -> None:
        self._reactor.remember(call.request_id, call.caller.uid, reply, call.now_ms)
        self._reactor.answer(call.client, "=", reply)

    def gone(self, client: int, now_ms: int) -> None:
        """The connection is closed: nobody waits any more."""
        for job_id in self._held.pop(client, ()):
            waiters = self._waiters.get(job_id, [])
            kept = [waiter for waiter in waiters if waiter.client != client]
            if len(kept) == len(waiters):
                continue
            job = self._reactor.state.jobs.get(job_id)
            if job is not None and job.state == PENDING and job.spec.interactive and not any(w.kind == "start" for w in kept):
                self._reactor.orphaned(job_id, now_ms)
            if kept:
                self._waiters[job_id] = kept
            else:
                del self._waiters[job_id]
        self.steps.gone(client)

    def attended(self) -> dict[int, None]:
        """Jobs with a client that lives in them: a salloc that holds its allocation, an srun with a step there."""
        holders = [job_id for job_id, waiters in self._waiters.items() if any(waiter.kind == "revoked" for waiter in waiters)]
        return dict.fromkeys((*holders, *self.steps.attended()))

    def _hold(self, job_id: int, waiter: Waiter) -> None:
        if len(self._held) >= MAX_WAITERS:
            raise SlurmError(err.ESLURM_MAX_JOB_COUNT, detail=f"{MAX_WAITERS} clients are waiting already; try again later")
        self._waiters.setdefault(job_id, []).append(waiter)
        self._held.setdefault(waiter.client, {})[job_id] = None

    # --- submission ---

    def _events(self, call: Call, jobs: list[tuple[Fields, bytes, bytes]]) -> list[e.JobSubmitted]:
        """The events of these submissions, each checked, their blobs kept; SlurmError for the first that is refused."""
        reactor = self._reactor
        if reactor.refusing:
            raise SlurmError(err.ESLURM_SUBMISSIONS_DISABLED, detail=reactor.refusing)
        events, blobs, elements = [], [], reactor.indexes.job_count
        for ahead, (fields, script, environment) in enumerate(jobs):
            request = convert(fields, SubmitRequest)
            if not script and not request.interactive:
                raise SlurmError(err.ESLURM_JOB_SCRIPT_MISSING)
            pair = [_blob(script_blob, script), _blob(environment_blob, environment)]
            events.append(submit(reactor.state, reactor.indexes, call.caller, request, pair[0][0], pair[1][0], call.now_ms, ahead))
            blobs += pair
            elements += arrays.count(events[-1].tasks) or 1
            if elements > reactor.state.config.max_job_count:
                raise SlurmError(err.ESLURM_MAX_JOB_COUNT)
        for name, content in blobs:
            if name:
                reactor.keep_blob(name, content)
        return events

    def submit(self, call: Call) -> None:
        (event,) = self._events(call, [(call.fields, call.section(0), call.section(1))])
        self._reactor.propose(event)
        self.done(call, str(event.job_id).encode())

    def submit_many(self, call: Call) -> None:
        """A batch of submissions in one commit: `requests` is a list; sections are script and environment of each in turn, or one
        pair for all. All are queued, or the first refusal is the answer and none is."""
        requests = call.asked.requests
        if len(requests) > BATCH_MAX:
            raise SlurmError(err.ESLURM_MAX_JOB_COUNT, detail=f"{len(requests)} jobs in one request, at most {BATCH_MAX} are allowed")
        step = 0 if len(call.sections) == 2 else 2
        jobs = [(fields, call.section(step * i), call.section(step * i + 1)) for i, fields in enumerate(requests)]
        events = self._events(call, jobs)
        ids = []
        for event in events:
            event = renumbered(event, self._reactor.state.counters.next_job_id)
            self._reactor.propose(event)
            ids.append(event.job_id)
        self.done(call, ",".join(map(str, ids)).encode())

    def test_only(self, call: Call) -> None:
        """The sentence of --test-only: where and when it would start, by the planner itself."""
        reactor = self._reactor
        request = convert(call.fields, SubmitRequest)
        event = submit(reactor.state, reactor.indexes, call.caller, request, b"", b"", call.now_ms)
        start_s, nodes, cpus, partition = self._forecast(event, call.now_ms)
        when = times.format_time(start_s)
        text = f"Job {event.job_id} to start at {when} a using {cpus} processors on nodes {nodes} in partition {partition}"
        reactor.answer(call.client, "=", text.encode())

    def _forecast(self, event: e.JobSubmitted, now_ms: int) -> tuple[int, str, int, str]:
        """(start, nodes, CPUs, partition) of a job that is not queued."""
        reactor = self._reactor
        spec = event.spec
        view = reactor.indexes.columns.view(reactor.state.seq, now_ms // 1000)
        if event.eligible_ms > now_ms:
            view = as_of(view, -(-event.eligible_ms // 1000))
        found = outlook(view, as_batch(spec)._replace(request=wished(spec, 0)), reactor.notes.ahead_of(event.priority))
        if isinstance(found, Reason):
            raise SlurmError(err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE, detail=found.sentence())
        nodes = hostlist.compress([share.node for share in found.shares])
        return found.start_s, nodes, sum(share.cpus for share in found.shares), found.partition

    # --- allocations ---

    def allocate(self, call: Call) -> None:
        reactor = self._reactor
        if call.first is not None:
            job = reactor.state.jobs.get(int(call.first))
            if job is None:
                raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        else:
            fields = call.fields | {"interactive": True}
            unattended = convert(fields.pop("unattended", False), bool)
            (event,) = self._events(call, [(fields, b"", call.section(0))])
            if unattended:
                event = msgspec.structs.replace(event, spec=msgspec.structs.replace(event.spec, unattended=True))
            reactor.propose(event)
            job = reactor.state.jobs[event.job_id]
            reactor.remember(call.request_id, call.caller.uid, str(job.id).encode(), call.now_ms)
        reactor.adopted(job.id)
        if job.state != PENDING:
            self._granted(call.client, job)
            return
        deadline_ms = call.now_ms + job.spec.immediate_s * 1000 if job.spec.immediate_s else 0
        self._hold(job.id, Waiter(call.client, "start", deadline_ms))
        job_id = job.id

        def notice() -> None:
            if reactor.state.jobs[job_id].state == PENDING:
                reactor.world.reply(call.client, "~", f"pending\t{job_id}".encode())

        reactor.when_durable(notice)

    def _allocation_text(self, job: Job) -> bytes:
        reactor = self._reactor
        indices = gpu_indices(reactor.state.nodes[job.allocs[0].node])
        variables = job_variables(reactor.state, job, reactor.directory) | node_variables(job, 0, indices)
        head = f"{job.id}\t{hostlist.compress([a.node for a in job.allocs])}\t{job.partition}\n"
        return (head + "\0".join(f"{k}={v}" for k, v in variables.items())).encode("utf-8", "surrogateescape")

    def _granted(self, client: int, job: Job) -> None:
        if job.state not in (RUNNING, SUSPENDED):
            self.refuse(client, SlurmError(err.ESLURM_ALREADY_DONE))
            return
        self._reactor.answer(client, "=", self._allocation_text(job))
        self._hold(job.id, Waiter(client, "revoked"))

    def job_info(self, call: Call) -> None:
        job = self.own_job(call)
        if job.state not in (RUNNING, SUSPENDED):
            raise SlurmError(err.ESLURM_JOB_PENDING if job.state == PENDING else err.ESLURM_ALREADY_DONE)
        self._reactor.answer(call.client, "=", self._allocation_text(job))

    def own_job(self, call: Call) -> Job:
        job = self._reactor.state.jobs.get(call.asked.job_id)
        if job is None:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        c.may(call.caller, job)
        return job

    def release(self, call: Call) -> None:
        """The owner gives the allocation back; `status` is the wait status of its command."""
        job = self.own_job(call)
        if job.state in (RUNNING, SUSPENDED):
            status = call.asked.status
            self._reactor.propose(e.JobEnding(call.now_ms, job.id, FAILED if status else COMPLETED, wait_status=status))
        elif job.state == PENDING:
            self._reactor.propose(e.JobEnding(call.now_ms, job.id, CANCELLED, by_uid=call.caller.uid))
        self.done(call)

    # --- waiting for jobs ---

    def wait_job(self, call: Call) -> None:
        """Answers with the exit status sbatch --wait returns: the code, 1 for a signal; the highest of an array."""
        job_id = call.asked.job_id
        rows = self._reactor.indexes.rows_of(job_id)
        if not rows:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        self._hold(rows[0].array_job_id or rows[0].id, Waiter(call.client, "end"))
        self._tell_end(rows[0])

    def waits_for(self, key: int) -> bool:
        """Does a client wait for the end of this job or array?"""
        return key in self._waiters

    def _tell_end(self, job: Job) -> None:
        key = job.array_job_id or job.id
        if key not in self._waiters or key in self._reactor.indexes.open_rows or not job.finished:
            return
        rows = self._reactor.indexes.rows_of(key)
        status = 0
        for row in rows:
            code = 1 if row.wait_status & 0x7F else row.wait_status >> 8
            status = max(status, code)
        waiters = self._waiters.pop(key, [])
        for waiter in waiters:
            self._reactor.answer(waiter.client, "=", str(status).encode())

    def job_started(self, job: Job, now_ms: int) -> None:
        waiters = self._waiters.pop(job.id, [])
        for waiter in waiters:
            if waiter.kind == "start":
                self._granted(waiter.client, job)
            else:
                self._hold(job.id, waiter)

    def job_ending(self, job: Job, now_ms: int) -> None:
        """The allocation is taken away: whoever lives in it is told."""
        text = f"revoked\t{job.reason or 'Cancelled'}"
        for waiter in self._waiters.get(job.id, []):
            if waiter.kind == "revoked":
                self._reactor.answer(waiter.client, "*", text.encode())
        self.steps.job_ended(job.id)

    def job_finished(self, job: Job, now_ms: int) -> None:
        for waiter in self._waiters.get(job.id, []):
            if waiter.kind == "start":
                self.refuse(waiter.client, SlurmError(err.ESLURM_ALREADY_DONE, detail="Job allocation has been revoked"))
            elif waiter.kind == "revoked":
                self._reactor.answer(waiter.client, "*", f"revoked\t{job.reason or 'Finished'}".encode())
        if job.id in self._waiters:
            self._waiters[job.id] = [w for w in self._waiters[job.id] if w.kind == "end"]
            if not self._waiters[job.id]:
                del self._waiters[job.id]
        self.steps.job_ended(job.id)
        self._tell_end(job)

    def job_requeued(self, job: Job, now_ms: int) -> None:
        self.steps.job_ended(job.id)

    def tick(self, now_ms: int) -> None:
        for job_id, waiters in list(self._waiters.items()):
            for waiter in waiters:
                if waiter.deadline_ms and waiter.deadline_ms <= now_ms and self._reactor.state.jobs[job_id].state == PENDING:
                    job = self._reactor.state.jobs[job_id]
                    self._waiters[job_id] = [w for w in waiters if w is not waiter]
                    self._reactor.propose(e.JobEnding(now_ms, job_id, CANCELLED, by_uid=job.spec.uid))
                    self.refuse(waiter.client, SlurmError(err.ESLURM_CAN_NOT_START_IMMEDIATELY))
        self.steps.tick(now_ms)


def _blob(make: Callable[[bytes], tuple[bytes, bytes]], content: bytes) -> tuple[bytes, bytes]:
    """(digest, content), both empty for empty content; SlurmError over the bound."""
    if not content:
        return b"", b""
    try:
        return make(content)
    except BlobTooLarge as error:
        raise SlurmError(err.ESLURM_PATHNAME_TOO_LONG, "Batch script or environment is too large", str(error)) from error


def _control(method: Callable[[Control, Call], None]) -> Callable[[Requests, Call], None]:
    return lambda requests, call: method(requests.control, call)


HELD = ("allocate", "step_create", "wait_job")
"""Operations whose retry takes the old place instead of getting the old answer."""

OPERATIONS: dict[str, tuple[type[ops.Operation] | None, Callable[[Requests, Call], None]]] = {
    "submit": (None, Requests.submit),
    "submit_many": (ops.SubmitMany, Requests.submit_many),
    "test_only": (None, Requests.test_only),
    "allocate": (None, Requests.allocate),
    "job_info": (ops.OneJob, Requests.job_info),
    "release": (ops.Release, Requests.release),
    "release_hold": (ops.Jobs, _control(Control.release_hold)),
    "wait_job": (ops.OneJob, Requests.wait_job),
    "step_create": (None, lambda requests, call: requests.steps.create(call)),
    "step_kill": (ops.KillStep, lambda requests, call: requests.steps.kill(call)),
    "step_info": (ops.OneStep, lambda requests, call: requests.steps.info(call)),
    "step_attach": (ops.Attach, lambda requests, call: requests.steps.attach(call)),
    "cancel": (ops.Cancel, _control(Control.cancel)),
    "cancel_list": (ops.Cancel, _control(Control.cancel_list)),
    "hold": (ops.Hold, _control(Control.hold)),
    "requeue": (ops.Jobs, _control(Control.requeue)),
    "requeue_hold": (ops.RequeueHold, _control(Control.requeue_hold)),
    "suspend": (ops.Jobs, _control(Control.suspend)),
    "resume": (ops.Jobs, _control(Control.resume)),
    "update_job": (ops.UpdateJob, _control(Control.update_job)),
    "update_node": (ops.UpdateNode, _control(Control.update_node)),
    "consolidate": (ops.Consolidate, _control(Control.consolidate)),
    "reconfigure": (ops.Operation, _control(Control.reconfigure)),
}
"""Each operation: the struct that its request has to be, and what does it. Without a struct it decodes the fields itself."""
