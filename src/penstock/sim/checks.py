"""What must hold whatever happens, judged from outside: by what nodes really run, what clients really heard and what is on the disk.

Nothing here asks the reactor whether it is right. Rows and feed are read from the disk, as durable as they are at that moment; runs are
counted on the machines; answers as they leave. A broken rule raises `Violation`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from penstock.core.feasible import never_fits
from penstock.engine import events as e
from penstock.engine.indexes import Indexes
from penstock.engine.rows import decode_job, load, replay
from penstock.engine.state import COMPLETED, FAILED, PENDING, RUNNING, SUSPENDED, Job, State
from penstock.sim.columns import canonical
from penstock.spec.dependency import parse
from penstock.store.base import step_key
from penstock.store.memory import MemoryDisk
from penstock.wire import messages as m

if TYPE_CHECKING:
    from penstock.sim.clients import Ask
    from penstock.sim.controller import Controller
    from penstock.sim.machine import Machine

RunOn = tuple[str, int, int]
"""Node, job, attempt."""


class Violation(AssertionError):
    """A rule of the system was broken."""


class Checks:
    def __init__(self, disk: MemoryDisk) -> None:
        self.disk = disk
        self.counts: Counter[str] = Counter()
        self.acknowledged: dict[int, Ask] = {}
        """Job ids that clients were told, by the request that they belong to."""
        self._answers: dict[str, tuple[bytes, bool, Controller]] = {}
        """Request -> its first answer, whether that was durable, and who gave it."""
        self._given: dict[int, None] = {}
        self._began: dict[RunOn, m.Assign] = {}
        self._scripts: dict[tuple[int, int], str] = {}
        self._steps: dict[tuple[str, int, int, int], None] = {}
        self._ends: dict[RunOn, m.ExitRecord] = {}
        self._failed_over: dict[RunOn, None] = {}
        self._reported: dict[RunOn, m.ExitRecord] = {}
        self._asked_to_end: dict[int, None] = {}
        self._ended_by_request: dict[tuple[int, int], None] = {}
        self._licenses: dict[str, int] = {}
        self._licensed: dict[int, tuple[dict[str, None], tuple[tuple[str, int], ...]]] = {}
        """Job -> nodes where its run has not ended, and the licences that it holds until then."""
        self._seen_seq = 0
        self._last_ms = 0

    # --- the durable state ---

    def _row(self, job_id: int) -> Job | None:
        found = self.disk.jobs.get(job_id)
        return decode_job(found[0]) if found is not None else None

    def committed(self, controller: Controller) -> None:
        """A batch is durable: judge its events."""
        self.counts["commits"] += 1
        self._read_feed()
        if controller.reactor.durable_seq > self.disk.seq:
            raise Violation(f"the controller takes {controller.reactor.durable_seq} for durable, the disk has {self.disk.seq}")

    def _read_feed(self) -> None:
        events = self.disk.events
        for seq in range(self._seen_seq + 1, self.disk.seq + 1):
            event = e.decode(events[seq])
            self.counts["feed events"] += 1
            if event.now_ms < self._last_ms:
                raise Violation(f"time went back in the feed: {event.now_ms} after {self._last_ms}")
            self._last_ms = event.now_ms
            match event:
                case e.JobSubmitted():
                    self.counts["jobs"] += 1
                    self._new_id(event.job_id)
                case e.TasksSplit():
                    self._new_id(event.new_id)
                case e.Configured():
                    self._licenses = dict(event.config.licenses)
                case e.JobStarted():
                    if event.new_id:
                        self._new_id(event.new_id)
                    self._take_licenses(event)
                    self._asked_to_end.pop(event.new_id or event.job_id, None)
                case e.JobEnding():
                    self._asked_to_end[event.job_id] = None
                case e.RunEnded():
                    self._run_ended(event)
        self._seen_seq = self.disk.seq

    def _new_id(self, job_id: int) -> None:
        if job_id in self._given:
            raise Violation(f"job id {job_id} was given twice")
        self._given[job_id] = None

    def _take_licenses(self, event: e.JobStarted) -> None:
        """A run holds its licences until every node has said that it is over; together they are never more than there are."""
        if not event.licenses:
            return
        self.counts["licensed runs"] += 1
        self._licensed[event.new_id or event.job_id] = (dict.fromkeys(alloc.node for alloc in event.allocs), event.licenses)
        used: Counter[str] = Counter()
        for _, licenses in self._licensed.values():
            used.update(dict(licenses))
        for name, count in used.items():
            if count > self._licenses.get(name, 0):
                raise Violation(
                    f"{count} licences of {name} are held by jobs {list(self._licensed)}, there are {self._licenses.get(name, 0)}"
                )

    def _run_ended(self, event: e.RunEnded) -> None:
        if event.job_id in self._licensed:
            nodes = self._licensed[event.job_id][0]
            nodes.pop(event.node, None)
            if not nodes:
                del self._licensed[event.job_id]
        run = (event.node, event.job_id, event.attempt)
        if run in self._reported:
            raise Violation(f"the end of {run} was recorded twice")
        self._reported[run] = event.record
        if event.job_id in self._asked_to_end:
            self._ended_by_request[(event.job_id, event.attempt)] = None
        record, truth = event.record, self._ends.get(run)
        if record.cause == "NodeFail":
            self._failed_over[run] = None
        elif truth is not None and record != truth:
            raise Violation(f"{run} ended as {truth}, and was recorded as {record}")
        elif truth is None and record.cause not in ("Cancelled", "LaunchFailed", "ShepherdKilled"):
            raise Violation(f"{run} was recorded as ended, {record}, though no end of it was durable")
        if event.requeue in ("requeue", "launch") and record.cause not in ("NodeFail", "ShepherdKilled", "LaunchFailed"):
            raise Violation(f"{run} ended by itself, {record}, and was requeued")
        self.counts["runs ended"] += 1

    def took_office(self, controller: Controller) -> None:
        """A controller has loaded: the law holds, and nothing that was acknowledged is missing."""
        self._read_feed()
        self._none_lost()
        self.counts["controllers"] += 1

    def _none_lost(self) -> None:
        for job_id, ask in self.acknowledged.items():
            if job_id not in self.disk.jobs:
                raise Violation(f"job {job_id}, acknowledged to {ask}, is lost")

    # --- what leaves the controller ---

    def sent(self, controller: Controller, node: str, message: m.ToAgent) -> None:
        """An effect leaves: what caused it has to be durable."""
        self.counts["messages"] += 1
        if isinstance(message, m.Assign | m.Terminate | m.AckEnded) and getattr(message, "step_id", -1) < 0:
            job = self._row(message.job_id)
            here = job is not None and job.attempt == message.attempt and node in job.nodes_left
            if isinstance(message, m.Assign):
                if job is None or not here or job.state not in (RUNNING, SUSPENDED):
                    raise Violation(f"Assign of run {message.job_id}.{message.attempt} left before its start was durable")
            elif isinstance(message, m.AckEnded):
                if here:
                    raise Violation(f"the end of {message.job_id}.{message.attempt} on {node} was acknowledged before it was durable")
            elif job is not None and here and job.state <= SUSPENDED and not any(alloc.node == node for alloc in job.shed):
                raise Violation(f"Terminate of {message.job_id}.{message.attempt} left before its end was durable")
        elif isinstance(message, m.LaunchStep) and step_key(message.job_id, message.attempt, message.step_id) not in self.disk.steps:
            raise Violation(f"step {message.job_id}.{message.step_id} was launched before it was durable")

    def replied(self, controller: Controller, ask: Ask, kind: str, payload: bytes) -> None:
        """A reply leaves: what it says is durable, and equals every reply to the same request."""
        self.counts["replies"] += 1
        if kind == "!":
            self.counts["refusals"] += 1
        if kind != "=" or not ask.request_id or ask.op == "step_create":
            return
        said = payload.partition(b"\t")[0] if ask.op == "allocate" else payload
        durable = (bytes.fromhex(ask.request_id), ask.caller.uid) in self.disk.requests
        first, kept, by = self._answers.setdefault(ask.request_id, (said, durable, controller))
        # What changed nothing has no commit: the next controller, asked again, tells what is true by then.
        if first != said and (kept or by is controller):
            raise Violation(f"{ask} was answered {first!r}, then {said!r}")
        if ask.op in ("submit", "submit_many", "allocate"):
            for text in said.decode().split(","):
                self._acknowledge(int(text), ask)

    def _acknowledge(self, job_id: int, ask: Ask) -> None:
        if job_id not in self.disk.jobs:
            raise Violation(f"{ask} was told job {job_id} before it was durable")
        other = self.acknowledged.setdefault(job_id, ask)
        if other.request_id != ask.request_id:
            raise Violation(f"job id {job_id} was given to {other} and to {ask}")

    # --- what really runs ---

    def began(self, machine: Machine, assign: m.Assign) -> None:
        """A run takes its resources on a machine, now."""
        self.counts["runs"] += 1
        key = (assign.job_id, assign.attempt)
        run = (machine.name, *key)
        if run in self._began:
            raise Violation(f"run {key} began twice on {machine.name}")
        self._began[run] = assign
        if assign.batch and self._scripts.setdefault(key, machine.name) != machine.name:
            raise Violation(f"the script of run {key} began on {self._scripts[key]} and on {machine.name}")
        job = self._row(assign.job_id)
        current = job is not None and job.attempt == assign.attempt and machine.name in job.nodes_left
        if not current and run not in self._failed_over:
            raise Violation(f"run {key} began on {machine.name}, though by what is durable it has no part there")
        self._count(machine)

    def _count(self, machine: Machine) -> None:
        active = machine.active
        cpus, memory_mib = sum(one.cpus for one in active.values()), sum(one.memory_mib for one in active.values())
        have = {gpu.uuid: max(1, gpu.shards) for gpu in machine.gpus}
        used: Counter[str] = Counter()
        for one in active.values():
            parts = int(one.variables.get("SLURM_SHARDS_ON_NODE", 0))
            used.update({uuid: parts or have[uuid] for uuid in one.gpus})
        who = ", ".join(f"{key[0]}.{key[1]} ({one.cpus} CPUs)" for key, one in active.items())
        if cpus > machine.cpus or memory_mib > machine.memory_mib:
            raise Violation(f"{machine.name} runs {cpus} of {machine.cpus} CPUs, {memory_mib} of {machine.memory_mib} MiB: {who}")
        if any(amount > have[uuid] for uuid, amount in used.items()):
            raise Violation(f"{machine.name} runs too many jobs on one GPU: {dict(used)} of {have} ({who})")

    def step_began(self, machine: Machine, key: tuple[int, int], step_id: int) -> None:
        self.counts["steps"] += 1
        step = (machine.name, *key, step_id)
        if step in self._steps:
            raise Violation(f"step {step_id} of run {key} began twice on {machine.name}")
        self._steps[step] = None

    def has_begun(self, step: tuple[str, int, int, int]) -> bool:
        return step in self._steps

    def recorded(self, machine: Machine, key: tuple[int, int], record: m.ExitRecord) -> None:
        """An end is durable on its node."""
        run = (machine.name, *key)
        if run in self._ends:
            raise Violation(f"run {key} ended twice on {machine.name}: {self._ends[run]}, {record}")
        self._ends[run] = record

    # --- the end of the seed ---

    def unsettled(self, state: State) -> list[Job]:
        """Jobs that neither ended nor have a right to wait for ever."""
        indexes = Indexes(state)
        memory: dict[int, bool] = {}
        return [job for job in state.jobs.values() if not job.finished and not self._may_wait(state, indexes, job, memory)]

    def _may_wait(self, state: State, indexes: Indexes, job: Job, memory: dict[int, bool]) -> bool:
        """Held, or waiting for what never comes."""
        if job.id in memory:
            return memory[job.id]
        memory[job.id] = False
        if job.state != PENDING:
            return False
        if job.hold or job.dependency_failed:
            memory[job.id] = True
        elif job.dependency:
            parents: dict[int, None] = {}
            for condition in parse(job.dependency).conditions:
                if condition.kind == "singleton":
                    names = indexes.same_name.get((job.spec.uid, job.spec.name))
                    order = job.array_job_id or job.id
                    parents |= dict.fromkeys(other for other in names if (state.jobs[other].array_job_id or other) < order)
                for parent in condition.parents():
                    rows = [row for row in state.jobs.values() if parent in (row.id, row.array_job_id)]
                    parents |= dict.fromkeys(row.id for row in rows if not row.finished)
            memory[job.id] = any(self._may_wait(state, indexes, state.jobs[parent], memory) for parent in parents if parent in state.jobs)
        else:
            view = indexes.columns.view(state.seq, state.counters.now_ms // 1000)
            memory[job.id] = all(never_fits(view, name, job.spec.request) is not None for name in job.spec.partitions)
        return memory[job.id]

    def law(self, controller: Controller) -> None:
        """load(rows) == replay(feed) == live; indexes and columns == rebuilt ones."""
        live = controller.reactor.state
        stored = load(controller.store.load())
        replayed = replay([(seq, self.disk.events[seq]) for seq in range(1, self.disk.seq + 1)])
        for name, other in (("load(rows)", stored), ("replay(feed)", replayed)):
            mine, theirs = live.rows(), other.rows()
            for key in dict.fromkeys([*mine, *theirs]):
                if mine.get(key) != theirs.get(key):
                    raise Violation(f"live and {name} differ in {key}: {mine.get(key)!r} against {theirs.get(key)!r}")
        indexes = controller.reactor.indexes
        fresh = Indexes(live, indexes.clock_ms)
        mine, theirs = indexes.summary(), fresh.summary()
        for name in mine:
            if mine[name] != theirs[name]:
                raise Violation(f"index {name} differs from a rebuilt one: {mine[name]} against {theirs[name]}")
        mine, theirs = (canonical(one.columns.view(live.seq, live.counters.now_ms // 1000)) for one in (indexes, fresh))
        for name in mine:
            if mine[name] != theirs[name]:
                raise Violation(f"the planner's {name} differ from rebuilt ones: {mine[name]} against {theirs[name]}")

    def finish(self, controller: Controller) -> None:
        """After the drain: nothing is lost, every durable end was kept, nothing runs that should not."""
        self._none_lost()
        for run, record in self._ends.items():
            if run not in self._reported:
                raise Violation(f"the durable end of {run}, {record}, never reached the state")
            if run not in self._failed_over:
                self._kept(run, record)
        for machine in controller.simulation.machines.values():
            for key in machine.active:
                job = controller.reactor.state.jobs.get(key[0])
                if job is None or job.attempt != key[1] or machine.name not in job.nodes_left:
                    raise Violation(f"run {key} still runs on {machine.name}, and nobody knows")

    def _kept(self, run: RunOn, record: m.ExitRecord) -> None:
        """The job's row of that run tells the exit as it was recorded."""
        _, job_id, attempt = run
        found = self.disk.jobs.get(f"{job_id}.{attempt}") or self.disk.jobs.get(job_id)
        if found is None:
            raise Violation(f"no row tells of {run}")
        job = decode_job(found[0])
        of_several = len(job.allocs) != 1 or job.resized is not None
        if job.attempt != attempt or job.spec.interactive or of_several or (job_id, attempt) in self._ended_by_request:
            return
        if job.batch is None or job.batch.wait_status != record.wait_status:
            raise Violation(f"{run} ended with {record.wait_status}, its row says {job.batch}")
        if not record.cause and (job.state, job.wait_status) != (FAILED if record.wait_status else COMPLETED, record.wait_status):
            raise Violation(f"{run} ended with {record.wait_status}, job {job_id} is in state {job.state}, status {job.wait_status}")
