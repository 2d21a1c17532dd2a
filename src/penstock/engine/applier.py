"""From the planner's proposal to events: each start is checked again against the state as it is now.

A plan was made from a view that is older than the state. What no longer fits, or no longer waits, is dropped without harm; the
next cycle sees it again. Here indices and devices get names: which element of an array starts (the lowest), which GPUs it gets
(UUIDs, in index order).
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.plan import Plan, Share
from penstock.engine import events as e
from penstock.engine.indexes import Indexes, pool_of
from penstock.engine.state import NO_TASK, PENDING, NodeAlloc, State
from penstock.spec import arrays


def apply_plan(state: State, indexes: Indexes, plan: Plan, now_ms: int, propose: Callable[[e.Event], None]) -> list[int]:
    """Proposes a JobStarted for every start that still holds; returns the ids of the jobs that started, in order.

    `propose` applies the event before it returns, so that each check sees all starts before it.
    """
    started = []
    for start in plan.starts:
        job = state.jobs.get(start.job_id)
        if job is None or job.state != PENDING or job.hold or job.dependency or job.eligible_ms > now_ms:
            continue
        limit = job.spec.array_limit
        if limit and len(indexes.active_elements.get(job.array_job_id, ())) >= limit:
            continue
        if indexes.columns.refusal(start.partition, start.shares) is not None:
            continue
        allocs = allocate(state, indexes, start.shares)
        if allocs is None:
            continue
        task, new_id = NO_TASK, 0
        if job.pending_tasks:
            task = arrays.first(job.pending_tasks)
            if arrays.count(job.pending_tasks) > 1:
                new_id = state.counters.next_job_id
        limit_s = job.spec.time_limit_s
        propose(
            e.JobStarted(
                now_ms=now_ms,
                job_id=job.id,
                allocs=allocs,
                end_limit_ms=now_ms + (limit_s + state.config.over_time_limit_s) * 1000 if limit_s else 0,
                task=task,
                new_id=new_id,
                partition=start.partition,
            )
        )
        started.append(new_id or job.id)
    return started


def allocate(state: State, indexes: Indexes, shares: tuple[Share, ...]) -> tuple[NodeAlloc, ...] | None:
    """Shares with their GPUs by UUID; None if the devices are not free after all."""
    allocs = []
    for share in shares:
        gpus: list[str] = []
        for key, number in share.gres:
            if not key.startswith("gpu"):
                continue
            free = [gpu.uuid for gpu in state.nodes[share.node].gpus if pool_of(gpu.type) == key and gpu.uuid not in indexes.gpu_holder]
            if len(free) < number:
                return None
            gpus += free[:number]
        allocs.append(NodeAlloc(share.node, share.cpus, share.memory_mib, tuple(gpus), share.ntasks))
    return tuple(allocs)
