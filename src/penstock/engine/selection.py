"""Which jobs and steps a scancel means: ids and filters joined by AND, judged on the jobs of one moment."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.engine.commands import Elements, Target, targets
from penstock.engine.indexes import Indexes
from penstock.engine.operations import Cancel
from penstock.engine.state import STATE_NAMES, Job, State
from penstock.spec import errors as err
from penstock.spec import hostlist, jobids
from penstock.spec.errors import SlurmError, SpecError

MAX_SELECTED = 2_000_000
"""Rows that one command may act on."""


class Selected(NamedTuple):
    """A job row, or one of its steps; or an id that names nothing (error)."""

    text: str
    target: Target
    step_id: int | None
    error: SlurmError | None = None


def shown_id(job: Job, tasks: tuple[tuple[int, int, int], ...] = ()) -> str:
    """The id as a user reads it: `12`, `12_3`, `12_[1-3]`."""
    if job.array_job_id and job.array_task_id >= 0:
        return f"{job.array_job_id}_{job.array_task_id}"
    if tasks or job.pending_tasks:
        return jobids.format_job(job.array_job_id, tasks or job.pending_tasks)
    return str(job.id)


def select(state: State, indexes: Indexes, asked: Cancel) -> list[Selected]:
    """In the order of the ids, else of the jobs. Filters alone select what has not ended."""
    matches = _matcher(asked)
    selected: list[Selected] = []
    if asked.jobs is None:
        active = [job for job in state.jobs.values() if not job.finished and not job.completing and matches(job)]
        return [Selected(shown_id(job), Target(job), None) for job in active[:MAX_SELECTED]]
    known: Elements = {}
    for text in asked.jobs:
        try:
            parsed = jobids.parse_job_id(text)
            rows = targets(state, indexes, text.partition(".")[0], known)
        except (SpecError, SlurmError):
            selected.append(Selected(text, Target(NOBODY), None, SlurmError(err.ESLURM_INVALID_JOB_ID)))
            continue
        alive = [target for target in rows if not target.job.finished]
        if not alive:
            selected.append(Selected(text, rows[0], parsed.step_id, SlurmError(err.ESLURM_ALREADY_DONE)))
        for target in alive:
            if matches(target.job):
                step = f".{jobids.format_step(parsed.step_id)}" if parsed.step_id is not None else ""
                selected.append(Selected(shown_id(target.job, target.tasks) + step, target, parsed.step_id))
    return selected[:MAX_SELECTED]


def _matcher(asked: Cancel) -> Any:
    """A predicate for all filters that were given."""
    uid, states = asked.uid, asked.states
    account, qos, wckey, reservation = asked.account, asked.qos, asked.wckey, asked.reservation
    names = asked.name.split(",") if asked.name else None
    partitions = asked.partition.split(",") if asked.partition else None
    try:
        nodes = dict.fromkeys(hostlist.expand(asked.nodelist)) if asked.nodelist else None
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_NODE_NAME, detail=str(error)) from error

    def matches(job: Job) -> bool:
        spec = job.spec
        return (
            (uid is None or spec.uid == uid)
            and (states is None or STATE_NAMES[job.state] in states)
            and (names is None or spec.name in names)
            and (account is None or spec.account == account)
            and (qos is None or spec.qos == qos)
            and (wckey is None or spec.wckey == wckey)
            and (reservation is None or spec.reservation == reservation)
            and (partitions is None or any(p in partitions for p in ([job.partition] if job.partition else spec.partitions)))
            and (nodes is None or any(node in nodes for node in job.nodes_left))
        )

    return matches


NOBODY: Any = None
"""The row of an id that names nothing."""
