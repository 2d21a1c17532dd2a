"""What can be computed from State and is kept beside it: `derive(state)`, brought up to date change by change.

The law: after any events, indexes that followed every change equal indexes built from scratch (a property test compares
`summary()`). Nothing here is stored. The planner's columns are one of these indexes.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from penstock.core.columns import Columns, NodeRecord, PendingRecord
from penstock.core.plan import Reason, Share
from penstock.core.request import UNLIMITED_S, Request
from penstock.engine.apply import Changes
from penstock.engine.cpus import mask_of
from penstock.engine.deadlines import Deadlines
from penstock.engine.planner_records import end_s, node_record, partition_record, share_of
from penstock.engine.same_name import SameName
from penstock.engine.shared_specs import SharedSpecs
from penstock.engine.state import COMPLETED, PENDING, Job, NodeAlloc, State
from penstock.engine.topology import topology_records, waiting_since_ms, wished, wishes_end_ms
from penstock.spec.arrays import contains, count
from penstock.spec.dependency import parent_ids

K = TypeVar("K", int, tuple[int, str, int])

History = Callable[[int], list[int]]
"""Base states of the rows of a job or array that ended and left memory; empty where even the accounting does not know it."""


def _no_history(job_id: int) -> list[int]:
    return []


class Indexes:
    """Lookups that commands, the applier and timers need. One instance follows one State."""

    __slots__ = (
        "_array_of",
        "_columns_node",
        "_columns_running",
        "_extra",
        "_held_by",
        "_moved",
        "_row_of",
        "_seen_parents",
        "_throttled",
        "active_elements",
        "array_rows",
        "bad_rows",
        "bundles",
        "clock_ms",
        "columns",
        "cpus_held",
        "deadlines",
        "dependents",
        "eligible_heap",
        "feasible",
        "finished",
        "gpu_holder",
        "history",
        "job_count",
        "moved_for",
        "node_jobs",
        "open_rows",
        "reshaped",
        "same_name",
        "singletons",
        "specs",
        "state",
        "steps_of",
        "unstarted",
        "vacated",
    )

    def __init__(self, state: State, clock_ms: int = 0, history: History = _no_history) -> None:
        self.state = state
        self.history = history
        self.clock_ms = max(clock_ms, state.counters.now_ms)
        """The latest time heard of, from events or ticks; not State."""
        self.columns = Columns()
        self.deadlines = Deadlines()
        self.dependents: dict[int, dict[int, None]] = {}
        """Parent job (or array) id -> jobs that wait for it."""
        self.array_rows: dict[int, dict[int, int]] = {}
        """Array id -> its rows, each with its element, -1 for one of several elements."""
        self.bundles: dict[int, dict[int, None]] = {}
        """Array id -> its rows of several elements."""
        self.unstarted: dict[int, dict[int, None]] = {}
        """Array id -> its rows that wait."""
        self._row_of: dict[int, dict[int, int]] = {}
        """Array id -> element -> its row, where it has one of its own."""
        self.vacated: list[tuple[int, str]] = []
        """Names that a job had until the last change."""
        self.active_elements: dict[int, dict[int, None]] = {}
        """Array id -> elements that hold resources."""
        self.open_rows: dict[int, dict[int, None]] = {}
        """Array id -> its rows that have not finished."""
        self.bad_rows: dict[int, dict[int, None]] = {}
        """Array id -> its rows that ended other than COMPLETED."""
        self.singletons: dict[tuple[int, str, int], dict[int, None]] = {}
        """(uid, name, array or job) -> its rows that wait as singletons."""
        self.same_name = SameName()
        """(uid, name) -> jobs that have not finished: singleton."""
        self.moved_for: dict[int, dict[int, None]] = {}
        """Job -> jobs that had to move so that it may start, and have not started again."""
        self.node_jobs: dict[str, dict[int, None]] = {}
        self.gpu_holder: dict[str, int] = {}
        """UUID -> job."""
        self.cpus_held: dict[str, int] = {}
        """Node -> ids of the CPUs that jobs have there, a bit each."""
        self.steps_of: dict[int, dict[int, None]] = {}
        """Job -> its steps that have not ended."""
        self.eligible_heap: list[tuple[int, int]] = []
        """(when, job): begin times, and ends of waits for nearness."""
        self.reshaped: dict[int, None] = {}
        """Waiting jobs that ask for something else than when the planner took its last view; not State."""
        self.finished: deque[tuple[int, int]] = deque()
        """(end_ms, job id) in order of ending, for the purge."""
        self.job_count = 0
        """Jobs that have not finished, elements counted one by one."""
        self.feasible: dict[tuple[str, Request], Reason | None] = {}
        """What `never_fits` said of (partition, request); empty again when nodes or partitions change."""
        self.specs = SharedSpecs()
        self._extra: dict[int, int] = {}
        """Array row -> pending elements beyond the first."""
        self._throttled: dict[int, dict[int, None]] = {}
        """Array id -> its rows in the planner's queue that are under a %limit."""
        self._seen_parents: dict[int, tuple[int, ...]] = {}
        self._array_of: dict[int, int] = {}
        self._moved: dict[int, int] = {}
        """Job -> for which it had to move."""
        self._columns_running: dict[int, tuple[int, tuple[Share, ...], tuple[tuple[str, int], ...]]] = {}
        self._columns_node: dict[str, NodeRecord] = {}
        self._held_by: dict[int, tuple[NodeAlloc, ...]] = {}
        everything = Changes()
        everything.config = True
        everything.nodes = dict.fromkeys(state.nodes)
        everything.jobs = dict.fromkeys(state.jobs)
        everything.steps = dict.fromkeys(state.steps)
        self.follow(everything)

    def follow(self, changes: Changes) -> None:
        """Take over what `apply` touched."""
        self.clock_ms = max(self.clock_ms, self.state.counters.now_ms)
        if changes.config or changes.nodes:
            known = len(self._columns_node)
            for name in changes.nodes:
                self._node(name)
            self.columns.weights = self.state.config.scores
            if changes.config:
                self.columns.set_topologies(topology_records(self.state.config))
            if changes.config or len(self._columns_node) != known:
                self._partitions()
        self.vacated = [(job.spec.uid, name) for job, name in changes.renamed]
        for renamed, name in changes.renamed:
            if self.same_name.discard((renamed.spec.uid, name), renamed.id):
                self.job_count -= 1
            _keep(self.singletons, (renamed.spec.uid, name, renamed.array_job_id or renamed.id), renamed.id, False)
        for job_id in changes.jobs:
            job = self.state.jobs.get(job_id)
            if job is not None:
                self._job(job)
        for job_id in changes.purged:
            self._forget(job_id)
        for job_id, step_id in changes.steps:
            step = self.state.steps.get((job_id, step_id))
            if step is not None and step.nodes_left:
                self.steps_of.setdefault(job_id, {})[step_id] = None
            elif job_id in self.steps_of:
                self.steps_of[job_id].pop(step_id, None)
                if not self.steps_of[job_id]:
                    del self.steps_of[job_id]

    # --- nodes and partitions ---

    def _node(self, name: str) -> None:
        node = self.state.nodes.get(name)
        if node is None:
            if self._columns_node.pop(name, None):
                self.columns.remove_node(name)
            return
        record = node_record(node)
        if self._columns_node.get(name) != record:
            self._columns_node[name] = record
            self.feasible.clear()
            self.columns.upsert_node(record)
            for job_id in self.node_jobs.get(name, ()):  # devices may have other positions now
                self._running(self.state.jobs[job_id])

    def _partitions(self) -> None:
        self.feasible.clear()
        self.columns.set_licenses(dict(self.state.config.licenses))
        config = self.state.config
        for partition in config.partitions:
            self.columns.upsert_partition(partition_record(config, partition, self.state.nodes))

    # --- jobs ---

    def _job(self, job: Job) -> None:
        self._membership(job)
        self._holdings(job)
        self._pending(job)
        self._running(job)
        self.deadlines.follow(job)

    def _membership(self, job: Job) -> None:
        key, order = (job.spec.uid, job.spec.name), job.array_job_id or job.id
        if job.finished:
            if self.same_name.discard(key, job.id):
                self.job_count -= 1 + self._extra.pop(job.id, 0)
                self.finished.append((job.end_ms, job.id))
        else:
            if self.same_name.add(key, job.id, order):
                self.job_count += 1
            extra = count(job.pending_tasks) - 1 if job.pending_tasks else 0
            if extra != self._extra.get(job.id, 0):
                self.job_count += extra - self._extra.pop(job.id, 0)
                if extra:
                    self._extra[job.id] = extra
        if job.array_job_id:
            self._array_of[job.id] = job.array_job_id
            self.array_rows.setdefault(job.array_job_id, {})[job.id] = job.array_task_id
            if job.array_task_id >= 0:
                self._row_of.setdefault(job.array_job_id, {})[job.array_task_id] = job.id
            _keep(self.bundles, job.array_job_id, job.id, bool(job.pending_tasks))
            _keep(self.unstarted, job.array_job_id, job.id, job.state == PENDING)
            _keep(self.active_elements, job.array_job_id, job.id, job.active)
            _keep(self.open_rows, job.array_job_id, job.id, not job.finished)
            _keep(self.bad_rows, job.array_job_id, job.id, job.finished and job.state != COMPLETED)
        if job.moved_for != self._moved.get(job.id, 0):
            _keep(self.moved_for, self._moved.pop(job.id, 0), job.id, False)
            if job.moved_for:
                self._moved[job.id] = job.moved_for
                _keep(self.moved_for, job.moved_for, job.id, True)
        _keep(self.singletons, (*key, order), job.id, job.state == PENDING and "singleton" in job.dependency)
        parents = parent_ids(job.dependency) if job.dependency and job.state == PENDING else ()
        before = self._seen_parents.get(job.id, ())
        if parents != before:
            for parent in before:
                self.dependents.get(parent, {}).pop(job.id, None)
                if not self.dependents.get(parent, True):
                    del self.dependents[parent]
            for parent in parents:
                self.dependents.setdefault(parent, {})[job.id] = None
            if parents:
                self._seen_parents[job.id] = parents
            else:
                self._seen_parents.pop(job.id, None)

    def _holdings(self, job: Job) -> None:
        """Who holds which node and GPU. A node's part is free as soon as that node has reported."""
        held = tuple([alloc for alloc in (*job.allocs, *job.shed) if alloc.node in job.nodes_left]) if job.nodes_left else ()
        before = self._held_by.get(job.id, ())
        if held == before:
            return
        for alloc in before:
            jobs = self.node_jobs[alloc.node]
            jobs.pop(job.id, None)
            self.cpus_held[alloc.node] = self.cpus_held.get(alloc.node, 0) & ~mask_of(alloc.cpu_ids)
            if not alloc.shards:
                for uuid in alloc.gpus:
                    self.gpu_holder.pop(uuid, None)
        for alloc in held:
            self.node_jobs.setdefault(alloc.node, {})[job.id] = None
            self.cpus_held[alloc.node] = self.cpus_held.get(alloc.node, 0) | mask_of(alloc.cpu_ids)
            if not alloc.shards:
                for uuid in alloc.gpus:
                    self.gpu_holder[uuid] = job.id
        if held:
            self._held_by[job.id] = held
        else:
            self._held_by.pop(job.id, None)

    def _pending(self, job: Job) -> None:
        record = None
        if job.state == PENDING and not job.hold and job.priority and not job.dependency:
            if job.eligible_ms > self.clock_ms:
                heapq.heappush(self.eligible_heap, (job.eligible_ms, job.id))
            else:
                record = self.pending_record(job)
                for end_ms in wishes_end_ms(job):
                    if end_ms > self.clock_ms:
                        heapq.heappush(self.eligible_heap, (end_ms, job.id))
        self._queue(job, record)
        for other_id in self.moved_for.get(job.id, ()):  # this job starting or ending gives them their own places
            other = self.state.jobs[other_id]
            if self.columns.pending_record(other_id) is not None:
                self._queue(other, self.pending_record(other))
        if job.array_job_id:
            for other_id in self._throttled.get(job.array_job_id, ()):
                if other_id != job.id:
                    other = self.state.jobs[other_id]
                    self._queue(other, self.pending_record(other))

    def _queue(self, job: Job, record: PendingRecord | None) -> None:
        """Make the planner's record of a job this one; rows under a %limit are kept in sight, as what starts or ends beside them counts."""
        before = self.columns.pending_record(job.id)
        if record == before:
            return
        if record is not None and before is not None and _asks(record) != _asks(before):
            self.reshaped[job.id] = None
        if record is not None and record.startable is not None:
            self._throttled.setdefault(job.array_job_id, {})[job.id] = None
        elif before is not None and before.startable is not None:
            throttled = self._throttled[job.array_job_id]
            del throttled[job.id]
            if not throttled:
                del self._throttled[job.array_job_id]
        if record is None:
            self.columns.remove_pending(job.id)
        else:
            self.columns.upsert_pending(record)

    def pending_record(self, job: Job) -> PendingRecord:
        elements = count(job.pending_tasks) if job.pending_tasks else 1
        startable = None
        if job.spec.array_limit:
            startable = min(elements, max(0, job.spec.array_limit - len(self.active_elements.get(job.array_job_id, ()))))
        priority, order = job.priority, job.array_job_id or job.id
        first = self.state.jobs.get(job.moved_for) if job.moved_for else None
        if first is not None and first.state == PENDING and priority >= first.priority:
            priority, order = first.priority, max(order, (first.array_job_id or first.id) + 1)
        return PendingRecord(
            job.id,
            wished(job.spec, self.clock_ms - waiting_since_ms(job)),
            job.spec.partitions,
            priority,
            order,
            job.spec.time_limit_s or UNLIMITED_S,
            elements,
            startable,
            job.spec.time_min_s,
            job.spec.deadline_ms // 1000,
            job.spec.uid,
        )

    def _running(self, job: Job) -> None:
        held = self._held_by.get(job.id)
        entry = None
        if held:
            shares = tuple([share_of(self.state.nodes, alloc) for alloc in held])
            entry = (end_s(job, self.state.config.kill_wait_s), shares, job.licenses)
        before = self._columns_running.get(job.id)
        if entry == before:
            return
        if before is not None:
            self.columns.end_running(job.id)
            del self._columns_running[job.id]
        if entry is not None:
            self.columns.start_running(job.id, *entry)
            self._columns_running[job.id] = entry

    def _forget(self, job_id: int) -> None:
        array_id = self._array_of.pop(job_id, 0)
        if array_id:
            rows = self.array_rows[array_id]
            task = rows.pop(job_id, -1)
            if task >= 0:
                del self._row_of[array_id][task]
                if not self._row_of[array_id]:
                    del self._row_of[array_id]
            _keep(self.bundles, array_id, job_id, False)
            _keep(self.bad_rows, array_id, job_id, False)
            if not rows:
                del self.array_rows[array_id]
        self.steps_of.pop(job_id, None)

    def became_eligible(self, now_ms: int) -> list[int]:
        """Jobs whose begin time, or the end of their wait for nearness, has come since the last call; the planner's columns follow."""
        self.clock_ms = max(self.clock_ms, now_ms)
        due = []
        while self.eligible_heap and self.eligible_heap[0][0] <= now_ms:
            _, job_id = heapq.heappop(self.eligible_heap)
            job = self.state.jobs.get(job_id)
            if job is not None and job.state == PENDING:
                due.append(job_id)
                self._pending(job)
        return due

    def rows_of(self, array_or_job_id: int) -> list[Job]:
        """The rows that an id names, ended or not: the job itself, or all rows of the array. Linear in them."""
        rows = self.array_rows.get(array_or_job_id)
        ids = list(rows) if rows else [array_or_job_id]
        return [self.state.jobs[i] for i in ids if i in self.state.jobs]

    def row_of(self, array_id: int, task: int) -> list[Job]:
        """The row that an element is in, if it is in one."""
        own = self._row_of.get(array_id, {}).get(task)
        if own is not None:
            return [self.state.jobs[own]]
        rows = (self.state.jobs[job_id] for job_id in self.bundles.get(array_id, ()))
        return [row for row in rows if contains(row.pending_tasks, task)][:1]

    def latest_rows(self, array_or_job_id: int) -> Iterator[Job]:
        """The rows that have not ended, those that began last first: whoever looks for one that began late need not see the rest."""
        rows = self.open_rows.get(array_or_job_id, {}) if array_or_job_id in self.array_rows else (array_or_job_id,)
        return (self.state.jobs[job_id] for job_id in reversed(rows) if job_id in self.state.jobs)

    def summary(self) -> dict[str, object]:
        """Everything that must equal a rebuild, in comparable form."""
        return {
            "count": self.job_count,
            "dependents": {k: sorted(v) for k, v in self.dependents.items() if v},
            "arrays": {k: sorted(v) for k, v in self.array_rows.items()},
            "elements": {k: sorted(v.items()) for k, v in self._row_of.items()},
            "bundles": {k: sorted(v) for k, v in self.bundles.items()},
            "unstarted": {k: sorted(v) for k, v in self.unstarted.items()},
            "active": {k: sorted(v) for k, v in self.active_elements.items()},
            "open": {k: sorted(v) for k, v in self.open_rows.items()},
            "bad": {k: sorted(v) for k, v in self.bad_rows.items()},
            "singletons": {k: sorted(v) for k, v in self.singletons.items()},
            "names": {key: sorted(self.same_name.get(key)) for key in self.same_name},
            "nodes": {k: sorted(v) for k, v in self.node_jobs.items() if v},
            "gpus": dict(sorted(self.gpu_holder.items())),
            "cpus": {k: v for k, v in sorted(self.cpus_held.items()) if v},
            "moved": {k: sorted(v) for k, v in self.moved_for.items()},
            "steps": {k: sorted(v) for k, v in self.steps_of.items()},
            "pending": {record.job_id: record for record in sorted(self.columns.pending_records(), key=lambda record: record.job_id)},
            "throttled": {k: sorted(v) for k, v in self._throttled.items()},
        }


def _asks(record: PendingRecord) -> tuple[object, ...]:
    """What a plan was made for."""
    return record.request, record.partitions, record.time_limit_s, record.time_min_s, record.deadline_s


def _keep(index: dict[K, dict[int, None]], key: K, job_id: int, wanted: bool) -> None:
    """Put the job under the key or take it away; a key without jobs is gone."""
    if wanted:
        index.setdefault(key, {})[job_id] = None
    elif key in index and index[key].pop(job_id, 0) is None and not index[key]:
        del index[key]
