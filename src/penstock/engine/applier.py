"""From the planner's proposal to events: each start is checked again against the state as it is now.

A plan was made from a view that is older than the state. What no longer fits, or no longer waits, is dropped without harm; the
next cycle sees it again. Here indices and devices get names: which element of an array starts (the lowest), which GPUs it gets
(UUIDs, in index order), which CPUs (the lowest free).
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.plan import Plan, Share
from penstock.core.request import Request, gres_name
from penstock.core.slots import PARTS_OF, split_slot
from penstock.engine import events as e
from penstock.engine.cluster_config import ends_by_ms
from penstock.engine.cpus import lowest_free
from penstock.engine.indexes import Indexes
from penstock.engine.planner_records import devices_of
from penstock.engine.state import NO_TASK, PENDING, NodeAlloc, State
from penstock.spec import arrays


def apply_plan(state: State, indexes: Indexes, plan: Plan, now_ms: int, propose: Callable[[e.Event], None]) -> list[int]:
    """Proposes a JobStarted for every start that still holds; returns the ids of the jobs that started, in order.

    `propose` applies the event before it returns, so that each check sees all starts before it.
    """
    started = []
    for start in plan.starts:
        job = state.jobs.get(start.job_id)
        if start.job_id in indexes.reshaped:
            continue
        if job is None or job.state != PENDING or job.hold or job.dependency or job.eligible_ms > now_ms:
            continue
        limit = job.spec.array_limit
        if limit and len(indexes.active_elements.get(job.array_job_id, ())) >= limit:
            continue
        if indexes.columns.refusal(start.partition, start.shares, start.licenses) is not None:
            continue
        allocs = allocate(state, indexes, start.shares, job.spec.request)
        if allocs is None:
            continue
        task, new_id = NO_TASK, 0
        if job.pending_tasks:
            task = arrays.first(job.pending_tasks)
            if arrays.count(job.pending_tasks) > 1:
                new_id = state.counters.next_job_id
        limit_s = start.time_limit_s or job.spec.time_limit_s
        propose(
            e.JobStarted(
                now_ms=now_ms,
                job_id=job.id,
                allocs=allocs,
                end_limit_ms=ends_by_ms(state.config, now_ms, limit_s),
                task=task,
                new_id=new_id,
                partition=start.partition,
                licenses=start.licenses,
                time_limit_s=start.time_limit_s,
            )
        )
        started.append(new_id or job.id)
    return started


def allocate(state: State, indexes: Indexes, shares: tuple[Share, ...], request: Request) -> tuple[NodeAlloc, ...] | None:
    """Shares with their GPUs by UUID; None if the devices are not free after all."""
    asks_parts = not request.exclusive and any(gres_name(key) in PARTS_OF for key in _keys(request))
    allocs = []
    for share in shares:
        gpus: list[str] = []
        parts = 0
        for key, number in share.gres:
            if not key.startswith("gpu"):
                continue
            free = [gpu.uuid for own, _, gpu in devices_of(state.nodes[share.node]) if own == key and gpu.uuid not in indexes.gpu_holder]
            shared = split_slot(key)[1] >= 0
            if len(free) < (1 if shared else number):
                return None
            gpus += free[: 1 if shared else number]
            parts = number if shared and asks_parts else 0
        cpu_ids = lowest_free(indexes.cpus_held.get(share.node, 0), state.nodes[share.node].cpus, share.cpus)
        allocs.append(NodeAlloc(share.node, share.cpus, share.memory_mib, tuple(gpus), share.ntasks, parts, cpu_ids))
    return tuple(allocs)


def _keys(request: Request) -> list[str]:
    return [key for key, _ in (*request.gres_per_node, *request.gres_per_task, *request.gres_total)]
