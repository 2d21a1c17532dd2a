"""`penstock why JOB`: why a job waits, when it will start, and what would start sooner; or how it runs, or how it ended.

The answer is one JSON document (docs/design/explain.md); the command words it. The planner works on a view that was taken when the
request came, in slices, so that nobody waits for it. Everybody may ask about every job, as with squeue.

Guarantees: an unknown id is refused in Slurm's words; a job that left memory is answered from accounting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import PAUSE, Fields
from penstock.controller.views.sacct import Accounts
from penstock.core.cycle import Budget
from penstock.core.explain import IMPOSSIBLE, explain
from penstock.core.outlook import batch_at
from penstock.core.slices import pausing
from penstock.core.view import View
from penstock.engine.admission import refusal
from penstock.engine.caller import Caller
from penstock.engine.indexes import Indexes
from penstock.engine.planner_records import as_batch
from penstock.engine.state import PENDING, RUNNING, STATE_NAMES, SUSPENDED, Job, State
from penstock.engine.why import Document, array_document, obstacles, planner_part, wishes
from penstock.spec import arrays
from penstock.spec.errors import ESLURM_INVALID_JOB_ID, SlurmError, SpecError
from penstock.spec.explanation import count
from penstock.spec.jobids import JobSelector, parse_job_id
from penstock.spec.quantities import format_memory
from penstock.spec.times import format_duration
from penstock.store.base import JobQuery

_encode = msgspec.json.Encoder().encode


class WhyRequest(msgspec.Struct, frozen=True, kw_only=True):
    job: str


def why(state: State, indexes: Indexes, budget: Budget, fields: Fields, accounts: Accounts) -> Iterator[bytes]:
    """The document, after as many pauses as the planner takes slices."""
    selector = selected(msgspec.convert(fields, WhyRequest).job)
    job = find(state, indexes, accounts, selector)
    document = about(job)
    if job.state == PENDING:
        view = indexes.columns.view(state.seq, indexes.clock_ms // 1000)
        planned: Document = {}
        for step in waiting(state, indexes, budget, job, view, place_of(job, selector)):
            if isinstance(step, dict):
                planned = step
            else:
                yield PAUSE
        document |= planned
    yield _encode(document) + b"\n"


def selected(text: str) -> JobSelector:
    try:
        return parse_job_id(text)
    except SpecError as error:
        raise SlurmError(ESLURM_INVALID_JOB_ID, detail=str(error)) from None


def place_of(job: Job, selector: JobSelector) -> int:
    """The place of the one element that is asked about among those that wait, from 1 on; 0: no single one is."""
    tasks = selector.tasks
    if tasks is None or arrays.count(tasks) != 1 or not arrays.keep(job.pending_tasks, tasks):
        return 0
    task = arrays.first(tasks)
    return 1 + (arrays.count(arrays.keep(job.pending_tasks, ((0, task - 1, 1),))) if task else 0)


def find(state: State, indexes: Indexes, accounts: Accounts, selector: JobSelector) -> Job:
    """The row that an id names: of an array the elements that wait, else one that runs, else the last."""
    rows = indexes.rows_of(selector.job_id)
    if not rows:
        rows = list(accounts.jobs(JobQuery(ids=(selector.job_id,))))
    if selector.tasks is not None:
        tasks = selector.tasks
        rows = [row for row in rows if arrays.keep(row.pending_tasks, tasks) or arrays.contains(tasks, row.array_task_id)]
    if not rows:
        raise SlurmError(ESLURM_INVALID_JOB_ID)
    return min(rows, key=lambda row: (row.state, row.id) if row.state <= SUSPENDED else (SUSPENDED + 1, -row.id))


def about(job: Job) -> Document:
    """What is told of every job, whatever its state."""
    active = job.state in (RUNNING, SUSPENDED)
    return {
        "job": facts.job_id_text(job),
        "job_id": job.id,
        "name": job.spec.name,
        "user": job.spec.user,
        "state": facts.state_word(job),
        "partition": facts.partition_text(job),
        "asks": _asks(job),
        "submit_s": job.submit_ms // 1000,
        "start_s": job.start_ms // 1000 if job.allocs else 0,
        "end_s": (job.end_limit_ms if active else job.end_ms) // 1000,
        "nodes": facts.nodes_of(job.allocs),
        "ended": job.state > SUSPENDED,
        "reason": f"{job.reason or STATE_NAMES[job.state]}, exit code {facts.exit_pair(job.wait_status)}" if job.state > SUSPENDED else "",
    }


def _asks(job: Job) -> str:
    request = job.spec.request
    words = [count(facts.pending_nodes(request), "node"), count(facts.pending_cpus(request), "CPU")]
    memory_mib = facts.pending_memory_mib(request)
    if memory_mib:
        words.append(f"{format_memory(memory_mib)} of memory")
    words += [f"{number} {key}" for key, number in facts.requested_gres(request).items()]
    words += wishes(request)
    words.append(format_duration(job.spec.time_limit_s) if job.spec.time_limit_s else "no time limit")
    return ", ".join(words)


def waiting(state: State, indexes: Indexes, budget: Budget, job: Job, view: View, place: int = 0) -> Iterator[Document | None]:
    """None for every slice, then the planner's part, with the obstacles before the queue in front of its blockers."""

    def named(job_id: int) -> tuple[str, str]:
        other = state.jobs.get(job_id)
        return (facts.job_id_text(other), other.spec.user) if other is not None else (str(job_id), "")

    spec = job.spec
    owner = Caller(spec.uid, spec.gid, spec.user, spec.group)
    others = [one.name for one in state.config.partitions if refusal(one, owner, spec.account) is None]
    before = obstacles(state, indexes, job, named)
    rows = np.flatnonzero(view.pending.job_id == job.id)
    batch = batch_at(view, int(rows[0])) if len(rows) else as_batch(spec)
    found = yield from pausing(explain(view, job.id, batch, others, budget), None)
    document = planner_part(found, spec.request, named)
    if found.array is not None and place:
        document["array"] = array_document(found.array, place)
    if before:
        document |= {"tier": before[0]["tier"], "blockers": before + document["blockers"], "sooner": []}
        if before[0]["tier"] == IMPOSSIBLE:
            document["start"] |= {"basis": "", "at_s": 0}
        _not_sooner(document["start"], [one for one in before if one["word"] in ("BeginTime", "JobArrayTaskLimit")])
    yield document


def _not_sooner(start: dict[str, Any], delays: list[Document]) -> None:
    """What is delayed by other things than the queue starts after them, if it is known when they end."""
    if any(not one["until_s"] for one in delays):
        start |= {"basis": "", "at_s": 0}
    for one in delays:
        if start["basis"] and one["until_s"] > start["at_s"]:
            start |= {"basis": "delayed", "at_s": one["until_s"]}
