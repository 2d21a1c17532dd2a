"""What clients ask, one method an operation; and who of them still waits for something.

A request is a flat object of named fields. Mutating ones carry an id made by the client: the answer to the first is remembered with
the commit and given to every retry. Held connections (salloc, srun, sbatch --wait) are waiters keyed by job or step; a client that
comes back with the same id takes its old place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.core.cycle import plan_now
from penstock.engine import commands as c
from penstock.engine import events as e
from penstock.engine.effects import gpu_indices, launch_step
from penstock.engine.environment import job_variables, node_variables
from penstock.engine.request import SubmitRequest
from penstock.engine.selection import select
from penstock.engine.state import CANCELLED, NO_TASK, PENDING, RUNNING, SUSPENDED, Job
from penstock.engine.steps import StepRequest, place
from penstock.engine.submit import Caller, submit
from penstock.spec import errors as err
from penstock.spec import hostlist, times
from penstock.spec.errors import SlurmError
from penstock.wire.messages import UsageReport

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor

MAX_WAITERS = 100_000
"""Clients that are held at once; one more is told to come back."""
MAX_WAITING_STEPS = 10_000
"""Steps that wait for room, over all jobs."""
USAGE_WAIT_MS = 3_000
"""sstat answers with what it has after this."""

Fields = dict[str, Any]
convert = msgspec.convert


class Waiter(NamedTuple):
    client: int
    kind: str
    """"start" (salloc, srun), "end" (sbatch --wait, scontrol wait_job), "revoked" (told when the allocation ends)."""
    deadline_ms: int = 0


class WaitingStep(NamedTuple):
    client: int
    caller: Caller
    request: StepRequest
    environment: bytes
    request_id: bytes
    deadline_ms: int


class Launched(NamedTuple):
    """Kept while the step runs, to launch it again on a node that never got the message."""

    request: StepRequest
    environment: bytes


class UsageQuery(NamedTuple):
    client: int
    nodes_left: dict[str, None]
    reports: list[tuple[str, UsageReport]]
    deadline_ms: int
    done: Callable[[list[tuple[str, UsageReport]]], bytes]


class Requests:
    """Operations and waiters of one reactor."""

    __slots__ = ("_launched", "_next_query", "_queries", "_reactor", "_step_waiters", "_waiters", "_waiting_steps")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiters: dict[int, list[Waiter]] = {}
        self._step_waiters: dict[tuple[int, int], list[int]] = {}
        self._waiting_steps: dict[int, list[WaitingStep]] = {}
        self._launched: dict[tuple[int, int], Launched] = {}
        self._queries: dict[int, UsageQuery] = {}
        self._next_query = 1

    # --- the entrance ---

    def handle(self, client: int, caller: Caller, fields: Fields, sections: list[bytes], now_ms: int, first: bytes | None) -> None:
        """One request. `first`: the answer that this id got before, if any. Every path answers or holds the client."""
        reactor = self._reactor
        now_ms = reactor.now(now_ms)
        op = fields.pop("op", "")
        request_id = bytes.fromhex(fields.pop("id", "") or "")
        method = OPERATIONS.get(op if op != "release" or "jobs" not in fields else "release_hold")
        try:
            if method is None:
                raise SlurmError(err.ESLURM_NOT_SUPPORTED, f"the controller knows no operation {op!r}")
            if first is None and request_id:
                first = reactor.recall(request_id, caller.uid)
            if first is not None and op not in HELD:
                reactor.answer(client, "=", first)
                return
            method(self, Call(client, caller, fields, sections, request_id, now_ms, first))
        except SlurmError as error:
            self._refuse(client, error)
        except (msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
            self._refuse(client, SlurmError(err.ESLURM_NOT_SUPPORTED, f"malformed {op} request: {error}"))

    def _refuse(self, client: int, error: SlurmError) -> None:
        self._reactor.answer(client, "!", f"{error.code}\t{error.text}".encode("utf-8", "surrogateescape"))

    def _done(self, call: Call, reply: bytes = b"") -> None:
        self._reactor.remember(call.request_id, call.caller.uid, reply, call.now_ms)
        self._reactor.answer(call.client, "=", reply)

    def gone(self, client: int, now_ms: int) -> None:
        """The connection is closed: nobody waits any more."""
        for job_id, waiters in list(self._waiters.items()):
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
        for key, clients in list(self._step_waiters.items()):
            if client in clients:
                clients.remove(client)
                if not clients:
                    del self._step_waiters[key]
        for job_id, waiting in list(self._waiting_steps.items()):
            self._waiting_steps[job_id] = [step for step in waiting if step.client != client]
            if not self._waiting_steps[job_id]:
                del self._waiting_steps[job_id]

    def _hold(self, job_id: int, waiter: Waiter) -> None:
        if sum(map(len, self._waiters.values())) >= MAX_WAITERS:
            raise SlurmError(err.ESLURM_MAX_JOB_COUNT, f"{MAX_WAITERS} clients are waiting already; try again later")
        self._waiters.setdefault(job_id, []).append(waiter)

    # --- submission ---

    def _submit_one(self, call: Call, fields: Fields, script: bytes, environment: bytes) -> Job:
        reactor = self._reactor
        if reactor.refusing:
            raise SlurmError(err.ESLURM_SUBMISSIONS_DISABLED, reactor.refusing)
        request = convert(fields, SubmitRequest)
        script_digest, environment_digest = call.digest(script), call.digest(environment)
        event = submit(reactor.state, reactor.indexes, call.caller, request, script_digest, environment_digest, call.now_ms)
        for digest, content in ((script_digest, script), (environment_digest, environment)):
            if digest:
                reactor.keep_blob(digest, content)
        reactor.propose(event)
        return reactor.state.jobs[event.job_id]

    def submit(self, call: Call) -> None:
        script, environment = call.section(0), call.section(1)
        if not script:
            raise SlurmError(err.ESLURM_JOB_SCRIPT_MISSING)
        job = self._submit_one(call, call.fields, script, environment)
        self._done(call, str(job.id).encode())

    def submit_many(self, call: Call) -> None:
        """A batch of submissions in one commit: `requests` is a list; sections are script and environment of each in turn, or one
        pair for all. All are queued, or the first refusal is the answer and none is."""
        requests = call.fields["requests"]
        shared = len(call.sections) == 2
        prepared = [dict(fields) for fields in requests]
        for fields in prepared:
            submit(
                self._reactor.state,
                self._reactor.indexes,
                call.caller,
                convert(fields, SubmitRequest),
                b"",
                b"",
                call.now_ms,
            )
        ids = []
        for index, fields in enumerate(prepared):
            at = 0 if shared else 2 * index
            ids.append(self._submit_one(call, fields, call.section(at), call.section(at + 1)).id)
        self._done(call, ",".join(map(str, ids)).encode())

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
        from penstock.core.columns import PendingRecord
        from penstock.core.cycle import Budget
        from penstock.core.request import UNLIMITED_S

        reactor = self._reactor
        columns = reactor.indexes.columns
        spec = event.spec
        limit_s = spec.time_limit_s or UNLIMITED_S
        columns.upsert_pending(PendingRecord(event.job_id, spec.request, spec.partitions, 1 << 40, event.job_id, limit_s))
        try:
            plan = plan_now(columns.view(reactor.state.seq, now_ms // 1000), Budget(max_starts=1))
        finally:
            columns.remove_pending(event.job_id)
        for start in plan.starts:
            if start.job_id == event.job_id:
                nodes = hostlist.compress([share.node for share in start.shares])
                return now_ms // 1000, nodes, sum(share.cpus for share in start.shares), start.partition
        for reservation in plan.reservations:
            if reservation.job_id == event.job_id:
                nodes = hostlist.compress([share.node for share in reservation.shares])
                return reservation.start_s, nodes, sum(share.cpus for share in reservation.shares), reservation.partition
        raise SlurmError(err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)

    # --- allocations ---

    def allocate(self, call: Call) -> None:
        reactor = self._reactor
        if call.first is not None:
            job = reactor.state.jobs.get(int(call.first))
            if job is None:
                raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        else:
            job = self._submit_one(call, call.fields | {"interactive": True}, b"", call.section(0))
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
            self._refuse(client, SlurmError(err.ESLURM_ALREADY_DONE))
            return
        self._reactor.answer(client, "=", self._allocation_text(job))
        self._hold(job.id, Waiter(client, "revoked"))

    def job_info(self, call: Call) -> None:
        job = self._own_job(call)
        if job.state not in (RUNNING, SUSPENDED):
            raise SlurmError(err.ESLURM_JOB_PENDING if job.state == PENDING else err.ESLURM_ALREADY_DONE)
        self._reactor.answer(call.client, "=", self._allocation_text(job))

    def _own_job(self, call: Call) -> Job:
        job = self._reactor.state.jobs.get(int(call.fields["job_id"]))
        if job is None:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        c.may(call.caller, job)
        return job

    def release(self, call: Call) -> None:
        """The owner gives the allocation back; `status` is the wait status of its command."""
        from penstock.engine.state import COMPLETED, FAILED

        job = self._own_job(call)
        if job.state in (RUNNING, SUSPENDED):
            status = int(call.fields.get("status", 0))
            self._reactor.propose(e.JobEnding(call.now_ms, job.id, FAILED if status else COMPLETED, wait_status=status))
        elif job.state == PENDING:
            self._reactor.propose(e.JobEnding(call.now_ms, job.id, CANCELLED, by_uid=call.caller.uid))
        self._done(call)

    # --- waiting for jobs ---

    def wait_job(self, call: Call) -> None:
        """Answers with the exit status sbatch --wait returns: the code, 1 for a signal; the highest of an array."""
        job_id = int(call.fields["job_id"])
        rows = self._reactor.indexes.unfinished_of(job_id)
        if not rows:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        self._hold(rows[0].array_job_id or rows[0].id, Waiter(call.client, "end"))
        self._tell_end(rows[0])

    def _tell_end(self, job: Job) -> None:
        key = job.array_job_id or job.id
        rows = self._reactor.indexes.unfinished_of(key)
        if any(not row.finished for row in rows):
            return
        status = 0
        for row in rows:
            code = 1 if row.wait_status & 0x7F or (row.state not in (3,) and not row.wait_status) else row.wait_status >> 8
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
        for step in self._waiting_steps.pop(job.id, []):
            self._refuse(step.client, SlurmError(err.ESLURM_ALREADY_DONE))

    def job_finished(self, job: Job, now_ms: int) -> None:
        for waiter in self._waiters.get(job.id, []):
            if waiter.kind == "start":
                self._refuse(waiter.client, SlurmError(err.ESLURM_ALREADY_DONE, "Job allocation has been revoked"))
            elif waiter.kind == "revoked":
                self._reactor.answer(waiter.client, "*", f"revoked\t{job.reason or 'Finished'}".encode())
        if job.id in self._waiters:
            self._waiters[job.id] = [w for w in self._waiters[job.id] if w.kind == "end"]
            if not self._waiters[job.id]:
                del self._waiters[job.id]
        for step in self._waiting_steps.pop(job.id, []):
            self._refuse(step.client, SlurmError(err.ESLURM_ALREADY_DONE))
        self._tell_end(job)

    def job_requeued(self, job: Job, now_ms: int) -> None:
        for step in self._waiting_steps.pop(job.id, []):
            self._refuse(step.client, SlurmError(err.ESLURM_ALREADY_DONE))

    def tick(self, now_ms: int) -> None:
        for job_id, waiters in list(self._waiters.items()):
            for waiter in waiters:
                if waiter.deadline_ms and waiter.deadline_ms <= now_ms and self._reactor.state.jobs[job_id].state == PENDING:
                    job = self._reactor.state.jobs[job_id]
                    self._waiters[job_id] = [w for w in waiters if w is not waiter]
                    self._reactor.propose(e.JobEnding(now_ms, job_id, CANCELLED, by_uid=job.spec.uid))
                    self._refuse(waiter.client, SlurmError(err.ESLURM_CAN_NOT_START_IMMEDIATELY))
        for job_id, steps in list(self._waiting_steps.items()):
            for step in [s for s in steps if s.deadline_ms and s.deadline_ms <= now_ms]:
                steps.remove(step)
                self._refuse(step.client, SlurmError(err.ESLURM_NODES_BUSY))
            if not steps:
                del self._waiting_steps[job_id]
        for query_id in [i for i, query in self._queries.items() if query.deadline_ms <= now_ms]:
            self._answer_usage(query_id)

    # --- steps ---

    def step_create(self, call: Call) -> None:
        reactor = self._reactor
        if call.first is not None:
            job_id, _, step_id = call.first.decode().partition(".")
            self._watch_step(call.client, int(job_id), int(step_id))
            return
        fields = call.fields
        request = convert(fields, StepRequest)
        job = self._own_job(call)
        if len(reactor.indexes.steps_of.get(job.id, ())) >= reactor.state.config.max_step_count:
            raise SlurmError(err.ESLURM_STEP_LIMIT)
        deadline_ms = call.now_ms + request.immediate_s * 1000 if request.immediate_s is not None else 0
        step = WaitingStep(call.client, call.caller, request, call.section(0), call.request_id, deadline_ms)
        if not self._try_step(job, step, call.now_ms):
            if sum(map(len, self._waiting_steps.values())) >= MAX_WAITING_STEPS:
                raise SlurmError(err.ESLURM_NODES_BUSY)
            self._waiting_steps.setdefault(job.id, []).append(step)
            text = f"Job {job.id} step creation temporarily disabled, retrying ({err.strerror(err.ESLURM_NODES_BUSY)})"
            reactor.answer(call.client, "~", text.encode())

    def _try_step(self, job: Job, waiting: WaitingStep, now_ms: int) -> bool:
        reactor = self._reactor
        request = waiting.request
        allocs = place(reactor.state, reactor.indexes, job, request)
        if allocs is None:
            return False
        step_id = job.next_step_id if not request.interactive_step else 0xFFFFFFFA
        reactor.propose(
            e.StepCreated(
                now_ms,
                job.id,
                job.attempt,
                step_id,
                request.name or (request.argv[0].rpartition("/")[2] if request.argv else "srun"),
                allocs,
                sum(alloc.ntasks for alloc in allocs),
                request.overlap,
                request.submit_line,
                request.work_dir,
                *(text if text not in ("client", "none") else "" for text in (request.stdin, request.stdout, request.stderr)),
            )
        )
        self._launched[(job.id, step_id)] = Launched(request, waiting.environment)
        reactor.remember(waiting.request_id, waiting.caller.uid, f"{job.id}.{step_id}".encode(), now_ms)
        self._watch_step(waiting.client, job.id, step_id)
        for alloc in allocs:
            self.relaunch(job.id, step_id, alloc.node)
        return True

    def _watch_step(self, client: int, job_id: int, step_id: int) -> None:
        """Tell the client of the step's making, and of its end when that comes."""
        step = self._reactor.state.steps.get((job_id, step_id))
        if step is None:
            raise SlurmError(err.ESLURM_ALREADY_DONE)
        tasks = [alloc.ntasks for alloc in step.allocs]
        names = ",".join(alloc.node for alloc in step.allocs)
        cpus = ",".join(str(alloc.cpus) for alloc in step.allocs)
        nodelist = hostlist.compress([alloc.node for alloc in step.allocs])
        text = f"created\t{step_id}\t{nodelist}\t{step.ntasks}\t{','.join(map(str, tasks))}\t{cpus}\t{names}"
        self._reactor.answer(client, "*", text.encode())
        self._step_waiters.setdefault((job_id, step_id), []).append(client)
        if not step.nodes_left:
            self._tell_step_end(job_id, step_id)

    def relaunch(self, job_id: int, step_id: int, node: str) -> bool:
        """Send the launch message for a node (again); False if its content is no longer known."""
        reactor = self._reactor
        launched = self._launched.get((job_id, step_id))
        if launched is None:
            return False

        def leave() -> None:
            job = reactor.state.jobs.get(job_id)
            step = reactor.state.steps.get((job_id, step_id))
            if job is None or step is None or node not in step.nodes_left or job.state not in (RUNNING, SUSPENDED):
                return
            rank = [alloc.node for alloc in step.allocs].index(node)
            message = launch_step(reactor.state, job, step, launched.request, launched.environment, reactor.directory, rank)
            reactor.world.send(node, message)

        reactor.when_durable(leave)
        return True

    def retry_steps(self, job_id: int, now_ms: int) -> None:
        """Room was freed in this job: steps that wait are tried in the order they came."""
        waiting = self._waiting_steps.pop(job_id, [])
        job = self._reactor.state.jobs.get(job_id)
        for index, step in enumerate(waiting):
            try:
                placed = job is not None and self._try_step(job, step, now_ms)
            except SlurmError as error:
                self._refuse(step.client, error)
                continue
            if not placed:
                self._waiting_steps[job_id] = waiting[index:]
                return

    def step_ended(self, job_id: int, step_id: int, now_ms: int) -> None:
        step = self._reactor.state.steps[(job_id, step_id)]
        if not step.nodes_left:
            self._launched.pop((job_id, step_id), None)
            self._tell_step_end(job_id, step_id)
        self.retry_steps(job_id, now_ms)

    def _tell_step_end(self, job_id: int, step_id: int) -> None:
        step = self._reactor.state.steps[(job_id, step_id)]
        text = f"{step.state}\t{step.wait_status}\t{step.cause}"
        for client in self._step_waiters.pop((job_id, step_id), []):
            self._reactor.answer(client, "=", text.encode())

    def step_kill(self, call: Call) -> None:
        job = self._own_job(call)
        step_id = int(call.fields["step_id"])
        step = self._reactor.state.steps.get((job.id, step_id))
        if step is None or not step.nodes_left:
            raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
        self._kill_step(job, step_id, int(call.fields.get("signal", 9)), call)
        self._done(call)

    def _kill_step(self, job: Job, step_id: int, signal: int, call: Call) -> None:
        """SIGKILL and SIGTERM end a step; any other signal is only delivered."""
        reactor = self._reactor
        if signal in (c.SIGKILL, c.SIGTERM):
            reactor.propose(e.StepEnding(call.now_ms, job.id, step_id, CANCELLED, call.caller.uid))
            reactor.nodes.terminate_step(job, step_id, signal)
        else:
            self._signal(job, signal, "step", call, step_id)

    def step_info(self, call: Call) -> None:
        """For sattach: layout and working directory of a running step."""
        job = self._own_job(call)
        step = self._reactor.state.steps.get((job.id, int(call.fields["step_id"])))
        if step is None or not step.nodes_left:
            raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
        names = ",".join(alloc.node for alloc in step.allocs)
        tasks = ",".join(str(alloc.ntasks) for alloc in step.allocs)
        text = f"{step.step_id}\t{step.ntasks}\t{names}\t{tasks}\t{step.work_dir}"
        self._reactor.answer(call.client, "=", text.encode())

    # --- signals, cancel, hold... ---

    def _signal(self, job: Job, signal: int, scope: str, call: Call, step_id: int = 0) -> None:
        if job.state not in (RUNNING, SUSPENDED):
            raise SlurmError(err.ESLURM_JOB_NOT_RUNNING)
        nodes = job.nodes_left if scope not in ("batch", "full") else job.nodes_left[:1]
        signal_id = self._reactor.state.counters.next_signal_id
        event = e.SignalQueued(call.now_ms, signal_id, job.id, job.attempt, signal, scope, nodes, step_id)
        self._reactor.propose(event)

    def cancel(self, call: Call) -> None:
        """scancel: filters and ids are judged here, on the jobs of one moment. The answer names what failed, a line each."""
        reactor = self._reactor
        fields = call.fields
        signal = int(fields.get("signal") or 0)
        lines = []
        for item in select(reactor.state, reactor.indexes, fields):
            error = item.error
            if error is None:
                try:
                    self._cancel_one(item.target, item.step_id, signal, call)
                except SlurmError as refusal:
                    error = refusal
            kind = "job" if item.step_id is None else "step"
            lines.append(f"{item.text}\t{kind}\t{error.code if error else 0}\t{error.text if error else ''}")
        self._done(call, "\n".join(lines).encode())

    def cancel_list(self, call: Call) -> None:
        """What `cancel` with the same fields would act on: id, kind, name, partition; nothing changes."""
        lines = []
        for item in select(self._reactor.state, self._reactor.indexes, call.fields):
            if item.error is None:
                job = item.target.job
                kind = "job" if item.step_id is None else "step"
                lines.append(f"{item.text}\t{kind}\t{job.spec.name}\t{job.partition or ','.join(job.spec.partitions)}")
        self._reactor.answer(call.client, "=", "\n".join(lines).encode("utf-8", "surrogateescape"))

    def _cancel_one(self, target: c.Target, step_id: int | None, signal: int, call: Call) -> None:
        fields = call.fields
        job = target.job
        c.may(call.caller, job)
        if step_id is not None:
            step = self._reactor.state.steps.get((job.id, step_id))
            if step is None or not step.nodes_left:
                raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
            self._kill_step(job, step_id, signal or c.SIGKILL, call)
            return
        if signal or fields.get("batch") or fields.get("full"):
            if job.state == PENDING:
                if signal in (c.SIGKILL, 0):
                    self._propose_all(self._on_row(target, call.now_ms, lambda row: c.cancel(row, call.caller, call.now_ms)))
                    return
                raise SlurmError(err.ESLURM_JOB_PENDING)
            scope = "full" if fields.get("full") else "batch" if fields.get("batch") else "steps"
            self._signal(job, signal or c.SIGTERM, scope, call)
            return
        self._propose_all(self._on_row(target, call.now_ms, lambda row: c.cancel(row, call.caller, call.now_ms)))

    def _propose_all(self, proposed: Iterator[e.Event]) -> None:
        for event in proposed:
            self._reactor.propose(event)

    def _on_row(self, target: c.Target, now_ms: int, action: Callable[[Job], Iterator[e.Event]]) -> Iterator[e.Event]:
        """Split off the meant elements first, then act on their row. A row that stands for one element is named as it."""
        job = target.job
        if target.tasks:
            new_id = self._reactor.state.counters.next_job_id
            yield e.TasksSplit(now_ms, job.id, new_id, target.tasks)
            job = self._reactor.state.jobs[new_id]
        yield from action(job)

    def _each(self, call: Call, action: Callable[[Job], Iterator[e.Event]]) -> None:
        """An action on every job named in `jobs`; the first refusal is the answer, after the others were tried."""
        reactor = self._reactor
        refused: SlurmError | None = None
        for text in call.fields["jobs"]:
            try:
                for target in self._named(text):
                    if target.job.array_task_id == NO_TASK or not target.job.finished:
                        self._propose_all(self._on_row(target, call.now_ms, action))
            except SlurmError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        reactor.remember(call.request_id, call.caller.uid, b"", call.now_ms)
        reactor.answer(call.client, "=", b"")

    def _named(self, text: str) -> list[c.Target]:
        """Rows by id; `jobname=NAME` names rows by their name."""
        state, indexes = self._reactor.state, self._reactor.indexes
        if text.lower().startswith("jobname="):
            name = text.partition("=")[2]
            found = [c.Target(job) for job in state.jobs.values() if job.spec.name == name and not job.finished]
            if not found:
                raise SlurmError(err.ESLURM_INVALID_JOB_ID)
            return found
        rows = c.targets(state, indexes, text)
        alive = [target for target in rows if not target.job.finished]
        return alive or rows

    def hold(self, call: Call) -> None:
        self._each(call, lambda job: c.hold(job, call.caller, call.now_ms, bool(call.fields.get("user_hold"))))

    def release_hold(self, call: Call) -> None:
        self._each(call, lambda job: c.release(job, call.caller, call.now_ms))

    def requeue(self, call: Call) -> None:
        self._each(call, lambda job: c.requeue(self._reactor.state, job, call.caller, call.now_ms, "requeue"))

    def requeue_hold(self, call: Call) -> None:
        how = "special" if call.fields.get("special") else "hold"
        self._each(call, lambda job: c.requeue(self._reactor.state, job, call.caller, call.now_ms, how))

    def suspend(self, call: Call) -> None:
        self._each(call, lambda job: c.suspend(job, call.caller, call.now_ms))

    def resume(self, call: Call) -> None:
        self._each(call, lambda job: c.resume(job, call.caller, call.now_ms))

    def update_job(self, call: Call) -> None:
        reactor = self._reactor
        keys = list(call.fields["keys"])
        self._each(call, lambda job: c.update_job(reactor.state, reactor.indexes, job, call.caller, keys, call.now_ms))

    def update_node(self, call: Call) -> None:
        state = self._reactor.state
        text = ",".join(call.fields["nodes"])
        names = list(state.nodes) if text.upper() == "ALL" else hostlist.expand(text)
        for name in names:
            self._propose_all(c.update_node(state, name, call.caller, list(call.fields["keys"]), call.now_ms))
        self._done(call)

    # --- usage ---

    def ask_usage(self, client: int, job_ids: list[int], now_ms: int, done: Callable[[list[tuple[str, UsageReport]]], bytes]) -> None:
        """Collect what the nodes of these jobs report now (sstat); `done` renders the answer."""
        reactor = self._reactor
        query_id = self._next_query
        self._next_query += 1
        nodes: dict[str, None] = {}
        for job_id in job_ids:
            for node in reactor.state.jobs[job_id].nodes_left:
                if node in reactor.nodes.connected:
                    nodes[f"{node} {job_id}"] = None
        self._queries[query_id] = UsageQuery(client, nodes, [], now_ms + USAGE_WAIT_MS, done)
        for entry in nodes:
            node, _, number = entry.partition(" ")
            reactor.nodes.query_usage(node, query_id * 1_000_000 + job_ids.index(int(number)), int(number))
        if not nodes:
            self._answer_usage(query_id)

    def usage_reported(self, node: str, report: UsageReport) -> None:
        query = self._queries.get(report.query_id // 1_000_000)
        if query is None:
            return
        query.reports.append((node, report))
        if len(query.reports) >= len(query.nodes_left):
            self._answer_usage(report.query_id // 1_000_000)

    def _answer_usage(self, query_id: int) -> None:
        query = self._queries.pop(query_id)
        payload = query.done(query.reports)
        if payload:
            self._reactor.answer(query.client, "+", payload)
        self._reactor.answer(query.client, "=", b"")


class Call(NamedTuple):
    """One request on its way through."""

    client: int
    caller: Caller
    fields: Fields
    sections: list[bytes]
    request_id: bytes
    now_ms: int
    first: bytes | None

    def section(self, index: int) -> bytes:
        return self.sections[index] if index < len(self.sections) else b""

    @staticmethod
    def digest(content: bytes) -> bytes:
        """The blob's name; empty content has none."""
        import hashlib

        return hashlib.sha256(content).digest() if content else b""


HELD = ("allocate", "step_create", "wait_job")
"""Operations whose retry takes the old place instead of getting the old answer."""

OPERATIONS: dict[str, Callable[[Requests, Call], None]] = {
    "submit": Requests.submit,
    "submit_many": Requests.submit_many,
    "test_only": Requests.test_only,
    "allocate": Requests.allocate,
    "job_info": Requests.job_info,
    "release": Requests.release,
    "release_hold": Requests.release_hold,
    "wait_job": Requests.wait_job,
    "step_create": Requests.step_create,
    "step_kill": Requests.step_kill,
    "step_info": Requests.step_info,
    "cancel": Requests.cancel,
    "cancel_list": Requests.cancel_list,
    "hold": Requests.hold,
    "requeue": Requests.requeue,
    "requeue_hold": Requests.requeue_hold,
    "suspend": Requests.suspend,
    "resume": Requests.resume,
    "update_job": Requests.update_job,
    "update_node": Requests.update_node,
}
