"""A cluster without machines: the engine's State, moved by the engine's `apply`, planned by the planner's `cycle`.

What a controller does in a turn (a view of the columns, one cycle, `apply_plan`, events through `apply`, indexes that follow) is done here
with the very same functions; what is left out is what surrounds them: the store, sessions, agents, steps. A job's run is two instants.

Job ids count submissions from 1, so that queue order is submission order. An ended job leaves State at once: memory grows with what waits
and runs, not with the log.
"""

from __future__ import annotations

from penstock.core.consolidation import Consolidation, consolidate
from penstock.core.cycle import Budget, cycle
from penstock.core.grounds import Memory
from penstock.core.plan import Plan
from penstock.core.request import Request
from penstock.core.slices import finish
from penstock.core.view import Int64, View
from penstock.engine import events as e
from penstock.engine.applier import apply_plan
from penstock.engine.apply import Changes, apply
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.indexes import Indexes
from penstock.engine.moves import Moves
from penstock.engine.state import PREEMPTED, JobSpec, State
from penstock.sim.clusterspec import NodeGroup
from penstock.wire.messages import ExitRecord, GpuInfo

PARTITION = "main"
EPOCH_MS = 86_400_000
"""The log's second 0 in the cluster's time: an instant of 0 means "not yet" there."""
FIRST_PRIORITY = 1
"""Of every job; 0 would mean held. Policies order by their own keys."""


class VirtualCluster:
    """Seconds are the log's. Every call comes with a time that is not before the last one's."""

    def __init__(self, groups: tuple[NodeGroup, ...]) -> None:
        self.state = State()
        self._changes = Changes()
        self.indexes = Indexes(self.state)
        self.memory = Memory()
        self._moves = Moves(self.state, self.indexes)
        self.now_ms = EPOCH_MS
        self._propose(e.Configured(self.now_ms, ClusterConfig(partitions=(Partition(PARTITION, default=True),), min_job_age_s=0)))
        for group in groups:
            for number in range(group.count):
                name = f"{group.prefix}{number}"
                gpus = tuple(GpuInfo(f"SIMULATED-{name}-{at}", group.gpu_type, at, True) for at in range(group.gpus))
                self._propose(e.NodeRegistered(self.now_ms, name, name, group.cpus, group.memory_mib, gpus))

    def submit(self, second: int, user: int, request: Request, time_limit_s: int) -> int:
        """A job waits from now on; its id."""
        self._at(second)
        job_id = self.state.counters.next_job_id
        spec = self.indexes.specs.one_of(
            JobSpec(
                name="",
                uid=user,
                gid=user,
                user="",
                group="",
                partitions=(PARTITION,),
                request=request,
                time_limit_s=time_limit_s,
                work_dir="",
            )
        )
        self._propose(e.JobSubmitted(self.now_ms, job_id, spec, FIRST_PRIORITY))
        return job_id

    def end(self, second: int, job_id: int, cause: str = "") -> None:
        """A job's run is over on all its nodes; ``cause`` is one of the engine's (TimeLimit), or "" for an end of its own."""
        self._at(second)
        job = self.state.jobs[job_id]
        record = ExitRecord(cause=cause)
        for node in job.nodes_left:
            self._propose(e.RunEnded(self.now_ms, job_id, job.attempt, node, record))
        self._propose(e.JobsPurged(self.now_ms, (job_id,)))
        self.indexes.finished.clear()

    def moves(self, ran_s: dict[int, int], budget: Budget) -> Consolidation | None:
        """The plan by which some of these running jobs move, if there is one that is worthwhile."""
        view = self.indexes.columns.view(self.state.seq, self.now_ms // 1000)
        found = finish(consolidate(view, ran_s, self._moves.waiters, 0, budget))
        return found if isinstance(found, Consolidation) and found.worthwhile else None

    def move(self, found: Consolidation) -> None:
        """End the jobs that move, which wait again at once."""
        for one in found.moves:
            job = self.state.jobs[one.job_id]
            self._propose(e.JobEnding(self.now_ms, job.id, PREEMPTED, requeue="requeue", moved_for=found.start.job_id))
            for node in job.nodes_left:
                self._propose(e.RunEnded(self.now_ms, job.id, job.attempt, node, ExitRecord()))
        for one in found.moves:
            self._propose(e.JobChanged(self.now_ms, one.job_id, eligible_ms=self.now_ms))

    def view(self, second: int) -> View:
        self._at(second)
        return self.indexes.columns.view(self.state.seq, self.now_ms // 1000)

    def plan(self, view: View, budget: Budget, behind: Int64 | None = None) -> Plan:
        """One whole pass of the planner."""
        return finish(cycle(view, budget, behind=behind, memory=self.memory))

    def carry_out(self, plan: Plan) -> list[int]:
        """What the applier lets start; the ids."""
        return apply_plan(self.state, self.indexes, plan, self.now_ms, self._propose)

    def _at(self, second: int) -> None:
        self.now_ms = EPOCH_MS + second * 1000

    def _propose(self, event: e.Event) -> None:
        changes = self._changes
        apply(self.state, event, changes)
        self.indexes.follow(changes)
        changes.clear()
