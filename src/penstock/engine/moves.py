"""Consolidation carried out: which running jobs may move, plans that wait to be acted on, and the moves themselves.

A move is a requeue. The job ends as PREEMPTED and comes back to the queue behind the job for which it had to move (``Job.moved_for``,
durable). It is not eligible before all that move together have ended: then one pass starts the waiting job and all of them, as the plan
was made. Should one of them be lost on a node that died, the others become eligible after the ordinary requeue delay.

Which jobs may move is said by their partition: ``PreemptMode=REQUEUE``. Jobs that may not be requeued, and allocations that somebody sits
in, never move.

A plan is kept in memory until it is carried out, so that what was printed is what is done: it is checked again on the state as it is then
(``core.consolidation.holds``), all of it or nothing. A controller that started anew knows no plans; they are made again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.consolidation import Consolidation, holds
from penstock.core.statement import Waiter, waiter_of
from penstock.engine import events as e
from penstock.engine.commands import may_requeue
from penstock.engine.indexes import Indexes
from penstock.engine.state import NOT_GIVEN, PENDING, PREEMPTED, RUNNING, Job, State
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError

PLANS_KEPT = 8
"""Plans that can still be carried out; an older one has to be made again."""
REQUEUE = "REQUEUE"
"""PreemptMode of partitions whose jobs may move."""


class Moves:
    """The plans of one controller."""

    __slots__ = ("_indexes", "_plans", "_state")

    def __init__(self, state: State, indexes: Indexes) -> None:
        self._state = state
        self._indexes = indexes
        self._plans: dict[int, Consolidation] = {}

    def keep(self, plan: Consolidation) -> int:
        """The number by which a plan can be carried out: the sequence of what it was made from, or one above the last."""
        number = max(plan.seq, *(known + 1 for known in self._plans), 1)
        while len(self._plans) >= PLANS_KEPT:
            del self._plans[next(iter(self._plans))]
        self._plans[number] = plan
        return number

    def movable(self, now_ms: int) -> dict[int, int]:
        """The running jobs that may move, and the seconds for which each has run."""
        modes = {partition.name: partition.preempt_mode for partition in self._state.config.partitions}
        if REQUEUE not in modes.values():
            return {}
        holders = dict.fromkeys(job_id for jobs in self._indexes.node_jobs.values() for job_id in jobs)
        running = (self._state.jobs[job_id] for job_id in holders)
        return {job.id: max(0, now_ms - job.start_ms) // 1000 for job in running if self._may_move(job, modes)}

    def _may_move(self, job: Job, modes: dict[str, str]) -> bool:
        return (
            job.state == RUNNING
            and modes.get(job.partition) == REQUEUE
            and not job.spec.interactive
            and may_requeue(self._state, job.spec)
            and set(job.nodes_left) == {alloc.node for alloc in job.allocs}
        )

    def waiters(self, job_ids: Sequence[int]) -> list[Waiter]:
        """How these running jobs would wait."""
        records = [self._indexes.pending_record(_as_it_asked(self._state.jobs[job_id])) for job_id in job_ids]
        places = self._indexes.columns.places_of(records)
        return [waiter_of(record, place) for record, place in zip(records, places, strict=True)]

    def carry_out(self, number: int, now_ms: int) -> list[e.JobEnding]:
        """The moves of a plan, each an event; ESLURM_NOT_SUPPORTED, and none, where it does not hold any more."""
        plan = self._plans.get(number)
        if plan is None:
            known = ", ".join(map(str, self._plans)) or "none"
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"no consolidation has the number {number}; known are {known}: plan it again")
        target = self._state.jobs.get(plan.start.job_id)
        movable = self.movable(now_ms)
        moved = [move.job_id for move in plan.moves]
        view = self._indexes.columns.view(self._state.seq, now_ms // 1000)
        stands = (
            target is not None
            and target.state == PENDING
            and self._indexes.columns.pending_record(target.id) is not None
            and all(job_id in movable for job_id in moved)
            and holds(view, plan, self.waiters(moved))
        )
        if not stands:
            detail = f"the cluster has changed since consolidation {number} was planned, and it does not hold any more: plan it again"
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=detail)
        del self._plans[number]
        return [e.JobEnding(now_ms, job_id, PREEMPTED, by_uid=0, requeue="requeue", moved_for=plan.start.job_id) for job_id in moved]

    def requeued(self, job: Job, now_ms: int) -> list[e.JobChanged]:
        """The run of a job that had to move is over: when it is the last of those that move together, all are eligible."""
        if not job.moved_for:
            return []
        together = [self._state.jobs[job_id] for job_id in self._indexes.moved_for.get(job.moved_for, ())]
        if any(other.completing for other in together):
            return []
        return [
            e.JobChanged(now_ms, other.id, eligible_ms=now_ms)
            for other in together
            if other.state == PENDING and other.eligible_ms > now_ms
        ]


def _as_it_asked(job: Job) -> Job:
    """The job with the time limit that it asked for, which it gets back when it is requeued."""
    spec = job.spec
    if spec.time_asked_s == NOT_GIVEN:
        return job
    return msgspec.structs.replace(job, spec=msgspec.structs.replace(spec, time_limit_s=spec.time_asked_s))
