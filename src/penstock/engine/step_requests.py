"""What clients ask of steps: creation, which may wait for room; watching, signals, and what they use.

What a launch needs (the request and the environment) is durable with the step, as blobs that its row names until it has ended. So the
launch message can be made again at any time, also by a controller that took office after the one that granted the step was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import convert
from msgspec.msgpack import Decoder, Encoder

from penstock.engine import commands as c
from penstock.engine import events as e
from penstock.engine.call import Call
from penstock.engine.caller import Caller
from penstock.engine.effects import launch_step
from penstock.engine.state import CANCELLED, RUNNING, SUSPENDED, Job
from penstock.engine.steps import StepRequest, place, refusal
from penstock.spec import errors as err
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError
from penstock.store.base import BlobTooLarge
from penstock.store.blobs import environment_blob, launch_blob
from penstock.wire.messages import AttachStep, UsageReport

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor
    from penstock.engine.requests import Requests

MAX_WAITING_STEPS = 10_000
"""Steps that wait for room, over all jobs."""
USAGE_WAIT_MS = 3_000
"""sstat answers with what it has after this."""
QUERIES_PER_ASK = 1_000_000
"""Numbers of usage queries: the ask times this, plus the position of the job."""

_encode = Encoder().encode
_decode = Decoder(StepRequest).decode


class WaitingStep(NamedTuple):
    client: int
    caller: Caller
    request: StepRequest
    launch: tuple[bytes, bytes]
    """Digest and content of the blob that keeps the request."""
    environment: tuple[bytes, bytes]
    request_id: bytes
    deadline_ms: int


class UsageAsk(NamedTuple):
    client: int
    expected: int
    reports: list[tuple[str, UsageReport]]
    deadline_ms: int
    done: Callable[[list[tuple[str, UsageReport]]], bytes]


class StepRequests:
    """Steps of one reactor, and the clients that wait for them."""

    __slots__ = ("_asks", "_next_ask", "_reactor", "_requests", "_waiting", "_watchers")

    def __init__(self, reactor: Reactor, requests: Requests) -> None:
        self._reactor = reactor
        self._requests = requests
        self._watchers: dict[tuple[int, int], list[int]] = {}
        self._waiting: dict[int, list[WaitingStep]] = {}
        self._asks: dict[int, UsageAsk] = {}
        self._next_ask = 1

    def gone(self, client: int) -> None:
        """The connection is closed."""
        for key, clients in list(self._watchers.items()):
            if client in clients:
                clients.remove(client)
                if not clients:
                    del self._watchers[key]
        for job_id, waiting in list(self._waiting.items()):
            self._waiting[job_id] = [step for step in waiting if step.client != client]
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def attended(self) -> list[int]:
        """Jobs in which a client watches a step, or waits for one."""
        return [*(job_id for job_id, _ in self._watchers), *self._waiting]

    def tick(self, now_ms: int) -> None:
        """--immediate steps that waited long enough; usage that did not come."""
        for job_id, steps in list(self._waiting.items()):
            for step in [s for s in steps if s.deadline_ms and s.deadline_ms <= now_ms]:
                steps.remove(step)
                self._requests.refuse(step.client, SlurmError(err.ESLURM_NODES_BUSY))
            if not steps:
                del self._waiting[job_id]
        for number in [i for i, ask in self._asks.items() if ask.deadline_ms <= now_ms]:
            self._answer_usage(number)

    def job_ended(self, job_id: int) -> None:
        """Steps that still wait for room in this job never get it."""
        for step in self._waiting.pop(job_id, []):
            self._requests.refuse(step.client, SlurmError(err.ESLURM_ALREADY_DONE))

    # --- creation ---

    def create(self, call: Call) -> None:
        reactor = self._reactor
        if call.first is not None:
            job_id, _, step_id = call.first.decode().partition(".")
            self._watch(call.client, int(job_id), int(step_id))
            return
        request = convert(call.fields, StepRequest)
        problem = refusal(request)
        if problem:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=problem)
        try:
            launch, environment = launch_blob(_encode(request)), environment_blob(call.section(0))
        except BlobTooLarge as error:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=str(error)) from error
        job = self._requests.own_job(call.of(request))
        if len(reactor.indexes.steps_of.get(job.id, ())) >= reactor.state.config.max_step_count:
            raise SlurmError(err.ESLURM_STEP_LIMIT)
        deadline_ms = call.now_ms + request.immediate_s * 1000 if request.immediate_s is not None else 0
        step = WaitingStep(call.client, call.caller, request, launch, environment, call.request_id, deadline_ms)
        if not self._try(job, step, call.now_ms):
            if sum(map(len, self._waiting.values())) >= MAX_WAITING_STEPS:
                raise SlurmError(err.ESLURM_NODES_BUSY, detail=f"{MAX_WAITING_STEPS} steps are waiting already; try again later")
            self._waiting.setdefault(job.id, []).append(step)
            text = f"Job {job.id} step creation temporarily disabled, retrying ({err.strerror(err.ESLURM_NODES_BUSY)})"
            reactor.answer(call.client, "~", text.encode())

    def _try(self, job: Job, waiting: WaitingStep, now_ms: int) -> bool:
        reactor = self._reactor
        request = waiting.request
        allocs = place(reactor.state, reactor.indexes, job, request)
        if allocs is None:
            return False
        step_id = job.next_step_id
        for digest, content in (waiting.launch, waiting.environment):
            reactor.keep_blob(digest, content)
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
                _shown(request.stdin),
                _shown(request.stdout),
                _shown(request.stderr),
                waiting.launch[0],
                waiting.environment[0],
            )
        )
        reactor.remember(waiting.request_id, waiting.caller.uid, f"{job.id}.{step_id}".encode(), now_ms)
        self._watch(waiting.client, job.id, step_id)
        for alloc in allocs:
            self.launch(job.id, step_id, alloc.node)
        return True

    def launch(self, job_id: int, step_id: int, node: str) -> None:
        """Send the launch message for a node, for the first time or again: a node that has the step does nothing, or says its end again."""
        reactor = self._reactor

        def leave() -> None:
            job = reactor.state.jobs.get(job_id)
            step = reactor.state.steps.get((job_id, step_id))
            if job is None or step is None or node not in step.nodes_left or job.state not in (RUNNING, SUSPENDED):
                return
            rank = [alloc.node for alloc in step.allocs].index(node)
            request, environment = _decode(reactor.blob(step.launch)), reactor.blob(step.environment)
            reactor.world.send(node, launch_step(reactor.state, job, step, request, environment, reactor.directory, rank))

        reactor.when_durable(leave)

    def retry(self, job_id: int, now_ms: int) -> None:
        """Room was freed in this job: steps that wait are tried in the order they came."""
        waiting = self._waiting.pop(job_id, [])
        job = self._reactor.state.jobs.get(job_id)
        for index, step in enumerate(waiting):
            try:
                placed = job is not None and self._try(job, step, now_ms)
            except SlurmError as error:
                self._requests.refuse(step.client, error)
                continue
            if not placed:
                self._waiting[job_id] = waiting[index:]
                return

    # --- watching ---

    def _watch(self, client: int, job_id: int, step_id: int) -> None:
        """Tell the client of the step's making, and of its end when that comes."""
        step = self._reactor.state.steps.get((job_id, step_id))
        if step is None:
            raise SlurmError(err.ESLURM_ALREADY_DONE)
        tasks = ",".join(str(alloc.ntasks) for alloc in step.allocs)
        names = ",".join(alloc.node for alloc in step.allocs)
        cpus = ",".join(str(alloc.cpus) for alloc in step.allocs)
        nodelist = hostlist.compress([alloc.node for alloc in step.allocs])
        config = self._reactor.state.config
        defaults = f"{config.wait_time_s}\t{config.kill_on_bad_exit:d}"
        text = f"created\t{step_id}\t{nodelist}\t{step.ntasks}\t{tasks}\t{cpus}\t{names}\t{defaults}"
        self._reactor.answer(client, "*", text.encode())
        self._watchers.setdefault((job_id, step_id), []).append(client)
        if not step.nodes_left:
            self._tell_end(job_id, step_id)

    def ended(self, job_id: int, step_id: int, now_ms: int) -> None:
        """A node reported the step's end: its watchers hear of it when it was the last."""
        step = self._reactor.state.steps.get((job_id, step_id))
        if step is not None and not step.nodes_left:
            self._tell_end(job_id, step_id)
        self.retry(job_id, now_ms)

    def run_ended(self, job_id: int) -> None:
        """The job's run is over: so are all steps of it, whose rows may be gone already (requeue)."""
        for key in [key for key in self._watchers if key[0] == job_id]:
            step = self._reactor.state.steps.get(key)
            if step is None:
                for client in self._watchers.pop(key):
                    self._reactor.answer(client, "=", f"{CANCELLED}\t15\tCancelled".encode())
            elif not step.nodes_left:
                self._tell_end(*key)

    def _tell_end(self, job_id: int, step_id: int) -> None:
        step = self._reactor.state.steps[(job_id, step_id)]
        text = f"{step.state}\t{step.wait_status}\t{step.cause}"
        for client in self._watchers.pop((job_id, step_id), []):
            self._reactor.answer(client, "=", text.encode())

    # --- signals and attaching ---

    def kill(self, call: Call) -> None:
        """srun's own wish. While the whole job is being ended it is no news: the signal that ended it reaches srun too, and its step
        keeps the KillWait that the job has."""
        job = self._requests.own_job(call)
        if not job.completing:
            self.signal(job, call.asked.step_id, call.asked.signal or c.SIGKILL, call)
        self._requests.done(call)

    def signal(self, job: Job, step_id: int, signal: int, call: Call) -> None:
        """SIGKILL and SIGTERM end a step; any other signal is only delivered."""
        reactor = self._reactor
        step = reactor.state.steps.get((job.id, step_id))
        if step is None or not step.nodes_left:
            raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
        if signal in (c.SIGKILL, c.SIGTERM):
            reactor.propose(e.StepEnding(call.now_ms, job.id, step_id, CANCELLED, call.caller.uid))
            reactor.nodes.terminate_step(job, step_id, signal)
        else:
            self._requests.control.send_signal(job, signal, "step", call, step_id)

    def info(self, call: Call) -> None:
        """For sattach: layout and working directory of a running step."""
        job = self._requests.own_job(call)
        step = self._reactor.state.steps.get((job.id, call.asked.step_id))
        if step is None or not step.nodes_left:
            raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
        names = ",".join(alloc.node for alloc in step.allocs)
        tasks = ",".join(str(alloc.ntasks) for alloc in step.allocs)
        self._reactor.answer(call.client, "=", f"{step.step_id}\t{step.ntasks}\t{names}\t{tasks}\t{step.work_dir}".encode())

    def attach(self, call: Call) -> None:
        """A further reader of the step's output listens at `address`: its shepherds are told to dial it."""
        job = self._requests.own_job(call)
        step_id = call.asked.step_id
        step = self._reactor.state.steps.get((job.id, step_id))
        if step is None or not step.nodes_left:
            raise SlurmError(err.ESLURM_ALREADY_DONE if step else err.ESLURM_INVALID_JOB_ID)
        message = AttachStep(job.id, job.attempt, step_id, call.asked.address, bytes.fromhex(call.asked.key))
        for node in step.nodes_left:
            self._reactor.world.send(node, message)
        names = ",".join(alloc.node for alloc in step.allocs)
        tasks = ",".join(str(alloc.ntasks) for alloc in step.allocs)
        self._reactor.answer(call.client, "=", f"{step.step_id}\t{step.ntasks}\t{names}\t{tasks}\t{step.work_dir}".encode())

    # --- usage ---

    def ask_usage(self, client: int, job_ids: list[int], now_ms: int, done: Callable[[list[tuple[str, UsageReport]]], bytes]) -> None:
        """Collect what the nodes of these jobs report now (sstat); `done` renders the answer."""
        reactor = self._reactor
        number = self._next_ask
        self._next_ask += 1
        wanted = [
            (node, at, job_id)
            for at, job_id in enumerate(job_ids[:QUERIES_PER_ASK])
            for node in reactor.state.jobs[job_id].nodes_left
            if node in reactor.nodes.connected
        ]
        self._asks[number] = UsageAsk(client, len(wanted), [], now_ms + USAGE_WAIT_MS, done)
        for node, at, job_id in wanted:
            reactor.nodes.query_usage(node, number * QUERIES_PER_ASK + at, job_id)
        if not wanted:
            self._answer_usage(number)

    def usage_reported(self, node: str, report: UsageReport) -> None:
        ask = self._asks.get(report.query_id // QUERIES_PER_ASK)
        if ask is None:
            return
        ask.reports.append((node, report))
        if len(ask.reports) >= ask.expected:
            self._answer_usage(report.query_id // QUERIES_PER_ASK)

    def _answer_usage(self, number: int) -> None:
        ask = self._asks.pop(number)
        payload = ask.done(ask.reports)
        if payload:
            self._reactor.answer(ask.client, "+", payload)
        self._reactor.answer(ask.client, "=", b"")


def _shown(stream: str) -> str:
    """The file of a stream as StdIn, StdOut and StdErr show it; empty where it is none."""
    return "" if stream in ("client", "none") else stream
