"""The control plane without its I/O: all state in one place, the world behind six methods, the time a parameter.

    request, message or timer  ->  events  ->  apply  ->  one commit for the whole batch  ->  replies and effects

Nothing leaves before the events that caused it are durable: replies and messages wait in an outbox stamped with the feed
sequence, and `committed` releases them. An effect is made from State at the moment it leaves, so that a job that was cancelled
meanwhile is not started. Controller and simulator drive this very class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from heapq import heappop, heappush
from typing import Protocol

from penstock.core.cycle import Budget
from penstock.core.plan import Plan
from penstock.core.view import View
from penstock.engine import events as e
from penstock.engine.applier import apply_plan
from penstock.engine.apply import Changes, apply
from penstock.engine.attendance import Attendance
from penstock.engine.cluster_config import ClusterConfig, configured_node, declared_state
from penstock.engine.dependencies import due_ms, evaluate, invalid_dependency_kills
from penstock.engine.indexes import Indexes
from penstock.engine.moves import Moves
from penstock.engine.notes import Notes
from penstock.engine.requests import Requests
from penstock.engine.rows import batch_of
from penstock.engine.sessions import NodeSessions
from penstock.engine.state import CANCELLED, DEADLINE, PENDING, Job, State
from penstock.engine.statistics import Statistics
from penstock.spec import arrays
from penstock.spec.dependency import parse
from penstock.store.base import Batch
from penstock.wire.messages import ToAgent

PURGE_MAX = 1_000
"""Jobs that leave memory in one event; the rest follow with the next tick."""
REQUEUE_LEAD_MS = 300
"""A job that requeues itself (submitit at its checkpoint) has this long to hear that it was done, before its end is sent."""
UNKEPT_MAX = 1_000
"""Answers to what changed nothing that are remembered, the latest."""
ORPHAN_GRACE_MS = 60_000
"""A waiting salloc or srun whose client is gone is cancelled after this."""


class World(Protocol):
    """Everything the control plane needs from outside."""

    def commit(self, batch: Batch) -> None:
        """Begin to make a batch durable; `Reactor.committed` is called when it is."""

    def send(self, node: str, message: ToAgent) -> None:
        """To the node's agent; lost silently if there is no session."""

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        """A frame to a client: "=" final, "!" error, "+" chunk, "~" notice, "*" event."""

    def blob(self, digest: bytes) -> bytes:
        """A script or environment that is stored."""

    def history(self, job_id: int) -> list[int]:
        """Base states of the rows of a job or array that left memory."""

    def mail(self, user: str, subject: str) -> None:
        """Through the configured MailProg."""

    def reread(self, running: ClusterConfig) -> tuple[ClusterConfig, list[str]]:
        """The configuration as it is to be now, and a line for each thing that cannot change while the cluster runs; SlurmError for a
        file that is wrong."""


class BrokenEvent(AssertionError):
    """An event that did not fit the state it was proposed for, or a row that cannot be written: a bug here, never a user's fault. State is
    undefined from here on: the process has to end, and its successor loads what is durable."""


class Reactor:
    """One controller's mind. Call `flush` after every turn of the loop."""

    def __init__(self, state: State, world: World, directory: str) -> None:
        self.state = state
        self.world = world
        self.directory = directory
        self.indexes = Indexes(state, history=world.history)
        self.notes = Notes(state, self.indexes)
        self.statistics = Statistics(self.indexes.clock_ms)
        """Bounds of each pass: the shell plans with it, explanations and snapshots reckon with it."""
        self.durable_seq = state.seq
        self._changed_since_view = True
        self.refusing = ""
        """Why submissions are refused at present (a full disk); empty: they are not."""
        self.blobs: dict[bytes, bytes] = {}
        """Not durable yet: digest to content."""
        self._flying_blobs: dict[bytes, bytes] = {}
        self._answers: list[tuple[bytes, int, bytes, int]] = []
        self._recent: dict[tuple[int, bytes], bytes] = {}
        """Answers of the next commit, and of the one under way: the store knows the older ones."""
        self._flying_recent: dict[tuple[int, bytes], bytes] = {}
        self._unkept: dict[tuple[int, bytes], bytes] = {}
        """Answers to what changed nothing: for a retry that comes soon, not durable."""
        self._events: list[tuple[int, bytes]] = []
        self._dirty = Changes()
        self._touched = Changes()
        self._outbox: deque[tuple[int, Callable[[], None]]] = deque()
        self._in_flight = 0
        self._orphans: dict[int, int] = {}
        self._leads: dict[int, int] = {}
        """Requeued runs whose end is still to be sent, and when."""
        self._due: list[tuple[int, int]] = []
        """A heap: when a job that waits for `after:ID+minutes` is judged again."""
        self._attendance = Attendance(self)
        self.moves = Moves(state, self.indexes)
        self.requests = Requests(self)
        self.nodes = NodeSessions(self)

    # --- office ---

    def take_office(self, config: ClusterConfig, known: Container[str], now_ms: int, past_epoch: int = 0) -> None:
        """The first events of a new controller: the configuration, a new epoch, no session yet; nodes that are not `known` any more and
        hold nothing are forgotten. `past_epoch` is the highest that agents have seen, which a restored store may not know of."""
        now_ms = self.now(now_ms)
        state = self.state
        if config != state.config or state.seq == 0:
            self.configure(config, now_ms)
        self.propose(e.EpochBegun(now_ms, max(state.counters.epoch, past_epoch) + 1))
        for node in list(state.nodes.values()):
            if node.responding:
                self.propose(e.NodeChanged(now_ms, node.name, responding=False))
        for name in [name for name in state.nodes if name not in known and not self.indexes.node_jobs.get(name)]:
            self.propose(e.NodeRemoved(now_ms, name))
        for job in state.jobs.values():
            self._await_clock(job)
            if job.spec.interactive and job.state == PENDING:
                self.orphaned(job.id, now_ms)

    def configure(self, config: ClusterConfig, now_ms: int) -> None:
        """Bring a configuration into force. Nodes get the features and weights that it gives anew; what an administrator set for others
        stays."""
        before = self.state.config
        self.propose(e.Configured(now_ms, config))
        for node in list(self.state.nodes.values()):
            features, weight = configured_node(config, node.name)
            changes: dict[str, object] = {}
            if (features, weight) != configured_node(before, node.name):
                if features != node.features:
                    changes["features"] = features
                if weight != node.weight:
                    changes["weight"] = weight
            if config.node_states.get(node.name) != before.node_states.get(node.name):
                changes |= declared_state(config, node.name) or {"down": False, "drain": False, "reason": ""}
            if changes:
                self.propose(e.NodeChanged(now_ms, node.name, **changes))  # type: ignore[arg-type]

    # --- events ---

    def now(self, now_ms: int) -> int:
        """The event time for a wall clock reading: never decreasing."""
        return max(self.state.counters.now_ms, now_ms)

    def propose(self, event: e.Event) -> None:
        """Apply an event that was checked against this very state; it joins the next commit. Whatever fails on the way is a BrokenEvent:
        half of an event must not be committed, nor be told to a client as its own mistake."""
        touched = self._touched
        row = e.encode(event)  # before anything moves: what cannot be written must not happen
        try:
            apply(self.state, event, touched)
            self._events.append((self.state.seq, row))
            self.indexes.follow(touched)
            self.statistics.follow(event)
            self._dirty.merge(touched)
            touched.clear()
            reaction = _REACTIONS.get(type(event))
            if reaction is not None:
                reaction(self, event)
        except BrokenEvent:
            raise
        except Exception as error:
            raise BrokenEvent(f"{event!r}: {error}") from error

    def when_durable(self, action: Callable[[], None]) -> None:
        """Run an effect once everything up to now is durable."""
        if self.state.seq <= self.durable_seq:
            action()
        else:
            self._outbox.append((self.state.seq, action))

    def answer(self, client: int, kind: str, payload: bytes) -> None:
        """A reply that leaves when what it says is durable."""
        self.when_durable(lambda: self.world.reply(client, kind, payload))

    def remember(self, request_id: bytes, uid: int, reply: bytes, now_ms: int) -> None:
        """The first answer to a mutating request: kept with the commit, given again to a retry."""
        if request_id:
            self._answers.append((request_id, uid, reply, now_ms))
            self._recent[(uid, request_id)] = reply

    def recall(self, request_id: bytes, uid: int) -> bytes | None:
        """The first answer, where its commit is not durable yet (the store knows the durable ones) or it changed nothing."""
        key = (uid, request_id)
        answer = self._recent.get(key)
        answer = self._flying_recent.get(key) if answer is None else answer
        return self._unkept.get(key) if answer is None else answer

    def keep_blob(self, digest: bytes, content: bytes) -> None:
        """Until the next commit. The gateway bounds what a user may have under way."""
        self.blobs.setdefault(digest, content)

    def blob(self, digest: bytes) -> bytes:
        """A blob, stored or on its way."""
        if not digest:
            return b""
        content = self.blobs.get(digest)
        if content is None:
            content = self._flying_blobs.get(digest)
        return self.world.blob(digest) if content is None else content

    # --- commits ---

    def flush(self) -> None:
        """Give everything since the last commit to the store, if none is under way."""
        if self._in_flight:
            return
        if not self._events:  # nothing to commit them with
            self._unkept |= self._recent
            self._answers, self._recent = [], {}
            while len(self._unkept) > UNKEPT_MAX:
                del self._unkept[next(iter(self._unkept))]
            return
        try:
            batch = batch_of(self.state, self._dirty, self._events)
        except Exception as error:
            raise BrokenEvent(f"a row cannot be written: {error}") from error
        batch.blobs = list(self.blobs.items())
        batch.requests = self._answers
        self._flying_blobs, self.blobs = self.blobs, {}
        self._flying_recent, self._recent = self._recent, {}
        self._events, self._answers = [], []
        self._dirty = Changes()
        self._in_flight = self.state.seq
        self.world.commit(batch)

    def committed(self, seq: int) -> None:
        """Everything up to `seq` is durable: let go what waited for it."""
        self.durable_seq = seq
        self._in_flight = 0
        self._flying_recent = {}
        outbox = self._outbox
        while outbox and outbox[0][0] <= seq:
            outbox.popleft()[1]()
        self._flying_blobs = {}

    # --- planning ---

    @property
    def budget(self) -> Budget:
        """Bounds of a pass, as configured."""
        config = self.state.config
        return Budget(
            reservations=config.bf_reservations,
            window_s=config.bf_window_s,
            resolution_s=config.bf_resolution_s,
            max_jobs=config.bf_max_job_test,
            max_user_jobs=config.bf_max_job_user,
            max_partition_jobs=config.bf_max_job_part,
        )

    @property
    def needs_plan(self) -> bool:
        """Whether something changed since the last view, and something waits that a pass could start."""
        return self._changed_since_view and self.indexes.columns.has_pending

    def view(self, now_ms: int) -> View:
        """The planner's input as things are now; the flag falls, later changes raise it again."""
        self._changed_since_view = False
        self.indexes.reshaped.clear()
        return self.indexes.columns.view(self.state.seq, self.now(now_ms) // 1000)

    def planned(self, plan: Plan, now_ms: int) -> int:
        """Carry out what still holds of a plan; returns how many started."""
        self.notes.plan = plan
        started = apply_plan(self.state, self.indexes, plan, self.now(now_ms), self.propose)
        if len(started) < len(plan.starts) or not plan.complete:
            self._changed_since_view = True
        return len(started)

    # --- time ---

    def tick(self, now_ms: int) -> None:
        """Everything that happens because time passes; call it about once a second, and at `next_wake_ms`."""
        now_ms = self.now(now_ms)
        if self.indexes.became_eligible(now_ms):
            self._changed_since_view = True
        for job_id in self.indexes.deadlines.due(self.state, now_ms):
            self.propose(e.JobEnding(now_ms, job_id, DEADLINE, reason="DeadLine"))
        age_ms = self.state.config.min_job_age_s * 1000
        finished = self.indexes.finished
        due: dict[int, None] = {}
        while finished and finished[0][0] + age_ms <= now_ms and len(due) < PURGE_MAX:
            _, job_id = finished.popleft()
            job = self.state.jobs.get(job_id)
            if job is None or not job.finished or job.end_ms + age_ms > now_ms:
                continue
            if self._awaited(job):
                finished.append((now_ms, job_id))
            else:
                due[job_id] = None
        if due:
            self.propose(e.JobsPurged(now_ms, tuple(due)))
        for job_id in [i for i, lead_ms in self._leads.items() if lead_ms <= now_ms]:
            del self._leads[job_id]
            job = self.state.jobs.get(job_id)
            if job is not None and job.completing:
                self.nodes.terminate(job, "Cancelled", self.notes.cancel_notice(job))
        for job_id in [i for i, deadline_ms in self._orphans.items() if deadline_ms <= now_ms]:
            del self._orphans[job_id]
            job = self.state.jobs.get(job_id)
            if job is not None and job.state == PENDING:
                self.propose(e.JobEnding(now_ms, job_id, CANCELLED, by_uid=job.spec.uid))
        self._tick_after(now_ms)
        self._attendance.tick(now_ms)
        self.requests.tick(now_ms)
        self.nodes.tick(now_ms)

    def _awaited(self, job: Job) -> bool:
        """How it ended still matters to a dependent job or a waiting client: it stays."""
        key = job.array_job_id or job.id
        dependents = self.indexes.dependents
        return bool(dependents.get(job.id) or dependents.get(key)) or self.requests.waits_for(key)

    def _tick_after(self, now_ms: int) -> None:
        """`after:ID+minutes` comes true by the clock alone: judged when it is due."""
        while self._due and self._due[0][0] <= now_ms:
            _, job_id = heappop(self._due)
            job = self.state.jobs.get(job_id)
            if job is not None and job.state == PENDING and job.dependency:
                self.reconsider(job, now_ms)

    def _await_clock(self, job: Job) -> None:
        """Note when the clock alone may meet its dependency. A time that was noted before does no harm: it is judged once more."""
        if job.state == PENDING and "+" in job.dependency:
            at_ms = due_ms(self.indexes, job)
            if at_ms and (at_ms, job.id) not in self._due[:1]:
                heappush(self._due, (at_ms, job.id))

    def next_wake_ms(self, now_ms: int) -> int:
        """When `tick` has something to do at the latest."""
        wake_ms = now_ms + 1000
        if self.indexes.eligible_heap:
            wake_ms = min(wake_ms, self.indexes.eligible_heap[0][0])
        deadline_ms = self.indexes.deadlines.next_ms()
        if deadline_ms is not None:
            wake_ms = min(wake_ms, deadline_ms)
        if self._due:
            wake_ms = min(wake_ms, self._due[0][0])
        if self._leads:
            wake_ms = min(wake_ms, *self._leads.values())
        return max(now_ms, wake_ms)

    def orphaned(self, job_id: int, now_ms: int) -> None:
        """Nobody waits for this allocation any more."""
        self._orphans[job_id] = self.now(now_ms) + ORPHAN_GRACE_MS

    def adopted(self, job_id: int) -> None:
        self._orphans.pop(job_id, None)

    # --- reactions: what follows from an event ---

    def reconsider(self, job: Job, now_ms: int, ended: Job | None = None) -> None:
        """Judge a waiting job's dependencies anew, where it is so as `ended` has ended. What became impossible stays so."""
        if job.dependency_failed:
            return
        if job.pending_tasks and "aftercorr" in job.dependency:
            self._split_aftercorr(job, now_ms, ended)
        left, never = evaluate(self.state, self.indexes, job)
        if never and not job.dependency_failed:
            if invalid_dependency_kills(self.state, job):
                self.propose(e.JobEnding(now_ms, job.id, CANCELLED, reason="DependencyNeverSatisfied", by_uid=0))
            else:
                self.propose(e.JobChanged(now_ms, job.id, dependency_failed=True))
        elif left != job.dependency:
            self.propose(e.JobChanged(now_ms, job.id, dependency=left))
        else:
            self._await_clock(job)

    def _split_aftercorr(self, job: Job, now_ms: int, parent_ended: Job | None) -> None:
        """Elements whose own counterpart has ended become rows that are judged alone: that of `parent_ended`, or all that there are."""
        ended: dict[int, None] = {}
        for condition in parse(job.dependency).conditions:
            for parent in condition.parents() if condition.kind == "aftercorr" else ():
                if parent_ended is None:
                    rows = self.indexes.rows_of(parent)
                elif parent in (parent_ended.id, parent_ended.array_job_id):
                    rows = [parent_ended]
                else:
                    continue
                ended |= dict.fromkeys(row.array_task_id for row in rows if row.finished and row.array_task_id >= 0)
        mine = arrays.keep(job.pending_tasks, arrays.from_indices(ended)) if ended else ()
        for task in list(arrays.indices(mine)):
            if arrays.count(job.pending_tasks) == 1:
                return
            new_id = self.state.counters.next_job_id
            self.propose(e.TasksSplit(now_ms, job.id, new_id, ((task, task, 1),)))
            self.reconsider(self.state.jobs[new_id], now_ms)

    def finished(self, job: Job, now_ms: int) -> None:
        """Whoever waited for this job's end is served."""
        self.statistics.finished(job)
        for parent in dict.fromkeys((job.id, job.array_job_id)):
            for job_id in list(self.indexes.dependents.get(parent, ())):
                child = self.state.jobs.get(job_id)
                if child is not None and child.state == PENDING and child.dependency:
                    self.reconsider(child, now_ms, job)
        self._name_left(job.spec.uid, job.spec.name, now_ms)
        self.requests.job_finished(job, now_ms)
        self.notes.mail_end(self, job)

    def _name_left(self, uid: int, name: str, now_ms: int) -> None:
        """A job of that name ended, or has another name now: the earliest of those that are left waits for nobody as a singleton."""
        earliest = self.indexes.same_name.earliest((uid, name))
        for job_id in list(self.indexes.singletons.get((uid, name, earliest), ())):
            self.reconsider(self.state.jobs[job_id], now_ms)

    def _submitted(self, event: e.JobSubmitted) -> None:
        job = self.state.jobs[event.job_id]
        if job.dependency:
            self.reconsider(job, event.now_ms)
        if not job.hold:
            self._changed_since_view = True

    def _started(self, event: e.JobStarted) -> None:
        job = self.state.jobs[event.new_id or event.job_id]
        self.nodes.assign_all(job)
        self.requests.job_started(job, event.now_ms)
        for parent in dict.fromkeys((job.id, job.array_job_id)):
            for job_id in list(self.indexes.dependents.get(parent, ())):
                child = self.state.jobs[job_id]
                if "after:" in child.dependency:  # nothing else looks at starts
                    self.reconsider(child, event.now_ms)
        self.notes.mail_begin(self, job)

    def _ending(self, event: e.JobEnding) -> None:
        job = self.state.jobs[event.job_id]
        if job.nodes_left:
            if event.requeue:
                self._leads[job.id] = event.now_ms + REQUEUE_LEAD_MS
            else:
                self._leads.pop(job.id, None)
                self.nodes.terminate(job, "Cancelled", self.notes.cancel_notice(job))
            self.requests.job_ending(job, event.now_ms)
        elif job.finished:
            self.finished(job, event.now_ms)
        else:
            self._requeued(job, event.now_ms)
        self._changed_since_view = True

    def _requeued(self, job: Job, now_ms: int) -> None:
        """It waits again; a dependency that it still has, as it was cancelled before it ran, is judged anew."""
        self.requests.job_requeued(job, now_ms)
        for event in self.moves.requeued(job, now_ms):
            self.propose(event)
        if job.dependency:
            self.reconsider(job, now_ms)

    def _run_ended(self, event: e.RunEnded) -> None:
        job = self.state.jobs[event.job_id]
        if job.completing:
            self.nodes.terminate(job, "Cancelled", "")
        elif job.finished:
            self.finished(job, event.now_ms)
        elif job.state == PENDING:
            self._requeued(job, event.now_ms)
        self.requests.steps.run_ended(event.job_id)
        self._changed_since_view = True

    def _step_ended(self, event: e.StepRunEnded) -> None:
        self.requests.steps.ended(event.job_id, event.step_id, event.now_ms)

    def _suspended(self, event: e.JobSuspended) -> None:
        self.nodes.suspend(self.state.jobs[event.job_id], event.resumed)

    def _shrunk(self, event: e.JobShrunk) -> None:
        self.nodes.give_back(self.state.jobs[event.job_id], event.nodes)
        self._changed_since_view = True

    def _changed(self, event: e.JobChanged) -> None:
        self._changed_since_view = True
        if event.end_limit_ms is not None:
            self.nodes.set_time_limit(self.state.jobs[event.job_id])
        job, vacated = self.state.jobs[event.job_id], self.indexes.vacated
        if job.state == PENDING and job.dependency and (event.dependency or vacated):
            self.reconsider(job, event.now_ms)
        for uid, name in vacated:
            self._name_left(uid, name, event.now_ms)

    def _split(self, event: e.TasksSplit) -> None:
        self._changed_since_view = True
        self._await_clock(self.state.jobs[event.new_id])

    def _world_changed(self, event: e.Event) -> None:
        self._changed_since_view = True

    def _signal(self, event: e.SignalQueued) -> None:
        self.nodes.signal(self.state.signals[event.signal_id])


_REACTIONS: dict[type, Callable[..., None]] = {
    e.JobSubmitted: Reactor._submitted,
    e.JobStarted: Reactor._started,
    e.JobEnding: Reactor._ending,
    e.RunEnded: Reactor._run_ended,
    e.StepRunEnded: Reactor._step_ended,
    e.JobSuspended: Reactor._suspended,
    e.JobShrunk: Reactor._shrunk,
    e.JobChanged: Reactor._changed,
    e.TasksSplit: Reactor._split,
    e.NodeRegistered: Reactor._world_changed,
    e.NodeChanged: Reactor._world_changed,
    e.NodeRemoved: Reactor._world_changed,
    e.Configured: Reactor._world_changed,
    e.SignalQueued: Reactor._signal,
}
