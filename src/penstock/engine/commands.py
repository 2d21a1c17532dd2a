"""What users may ask of jobs that exist: each command checks, and answers with the events it proposes. (`scontrol update` is in `updates`.)

Pure: the caller applies the events. Refusals are SlurmErrors with Slurm's numbers. Permission: the owner, and root; suspending is for
operators only, as in Slurm: root, and on a cluster that serves one user that user.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.engine import events as e
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ends_by_ms
from penstock.engine.indexes import Indexes
from penstock.engine.state import CANCELLED, PENDING, RUNNING, SUSPENDED, Job, JobSpec, State
from penstock.engine.submit import base_priority
from penstock.spec import arrays
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.jobids import parse_job_id

SIGKILL, SIGTERM = 9, 15


class Target:
    """A job row that a command's id names, and which of its pending elements it means (empty: all of the row)."""

    __slots__ = ("job", "tasks")

    def __init__(self, job: Job, tasks: tuple[tuple[int, int, int], ...] = ()) -> None:
        self.job = job
        self.tasks = tasks


Elements = dict[int, tuple[dict[int, list[Job]], list[Job]]]
"""Array id -> (its rows by element, its rows of elements that have not started)."""


def _array(indexes: Indexes, array_id: int) -> tuple[dict[int, list[Job]], list[Job]]:
    by_task: dict[int, list[Job]] = {}
    waiting = []
    for job in indexes.rows_of(array_id):
        if job.array_task_id >= 0:
            by_task.setdefault(job.array_task_id, []).append(job)
        elif job.pending_tasks:
            waiting.append(job)
    return by_task, waiting


def targets(state: State, indexes: Indexes, text: str, known: Elements | None = None) -> list[Target]:
    """The rows that `123`, `123_4` or `123_[1-5]` names; ESLURM_INVALID_JOB_ID for none. With `known` the rows of an array are looked
    through once for all texts that are asked while nothing changes."""
    try:
        parsed = parse_job_id(text)
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_JOB_ID) from error
    if parsed.task_id is not None and known is None:
        found = [Target(job, _part(job, parsed.tasks or ())) for job in indexes.row_of(parsed.job_id, parsed.task_id)]
    elif parsed.tasks:
        if known is None or parsed.job_id not in known:
            by_task, waiting = _array(indexes, parsed.job_id)
            if known is not None:
                known[parsed.job_id] = by_task, waiting
        else:
            by_task, waiting = known[parsed.job_id]
        first, last, _ = parsed.tasks[0]
        single = len(parsed.tasks) == 1 and first == last
        named = (first,) if single else [task for task in by_task if arrays.contains(parsed.tasks, task)]
        found = [Target(job) for task in named for job in by_task.get(task, ())]
        for job in waiting:
            wanted = arrays.keep(job.pending_tasks, parsed.tasks)
            if wanted:
                found.append(Target(job, () if wanted == job.pending_tasks else wanted))
    else:
        rows = indexes.rows_of(parsed.job_id)
        own = state.jobs.get(parsed.job_id)
        if own is not None and own.array_job_id and own.array_job_id != own.id:
            rows = [own]
        found = [Target(job) for job in rows]
    if not found:
        raise SlurmError(err.ESLURM_INVALID_JOB_ID)
    return found


def _part(job: Job, tasks: arrays.Ranges) -> arrays.Ranges:
    """The named elements of a row, empty where it has no others."""
    return () if job.array_task_id >= 0 or job.pending_tasks == tasks else tasks


def may(caller: Caller, job: Job) -> None:
    """ESLURM_ACCESS_DENIED unless the caller owns the job or is root."""
    if caller.uid not in (0, job.spec.uid):
        raise SlurmError(err.ESLURM_ACCESS_DENIED)


def operates(state: State, caller: Caller) -> bool:
    """root, and whoever runs a cluster that serves one user only."""
    return caller.uid in (0, state.config.single_user)


def cancel(job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    """End the job: at once while it waits, else as soon as its nodes report."""
    may(caller, job)
    if job.finished:
        raise SlurmError(err.ESLURM_ALREADY_DONE)
    if job.completing:
        if job.requeue_after:
            yield e.JobEnding(now_ms, job.id, CANCELLED, by_uid=caller.uid)
        return
    yield e.JobEnding(now_ms, job.id, CANCELLED, by_uid=caller.uid)


def not_over(job: Job) -> None:
    """ESLURM_JOB_FINISHED for a job that has ended; one that goes back to the queue has not."""
    if job.finished or (job.completing and not job.requeue_after):
        raise SlurmError(err.ESLURM_JOB_FINISHED)


def hold(job: Job, caller: Caller, now_ms: int, user_hold: bool) -> Iterator[e.Event]:
    """A job that runs goes on, and is held once it is queued again."""
    may(caller, job)
    not_over(job)
    if job.hold == "JobHeldAdmin" and caller.uid != 0:
        return
    reason = "JobHeldAdmin" if caller.uid == 0 and not user_hold else "JobHeldUser"
    yield e.JobChanged(now_ms, job.id, priority=0, hold=reason)


def release(job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    may(caller, job)
    not_over(job)
    if job.hold == "JobHeldAdmin" and caller.uid != 0:
        raise SlurmError(err.ESLURM_ACCESS_DENIED)
    if job.hold:
        yield e.JobChanged(now_ms, job.id, priority=base_priority(job.array_job_id or job.id, job.spec.nice), hold="")


def may_requeue(state: State, spec: JobSpec) -> bool:
    """Requeue= as scontrol shows it: the job's own word, else the cluster's."""
    return state.config.job_requeue if spec.requeue is None else spec.requeue


def requeue(state: State, job: Job, caller: Caller, now_ms: int, how: str) -> Iterator[e.Event]:
    """`how`: "requeue", "hold" or "special". Also for a job that has ended and is still known."""
    may(caller, job)
    if job.spec.interactive:
        raise SlurmError(err.ESLURM_BATCH_ONLY)
    if job.spec.requeue is False:
        raise SlurmError(err.ESLURM_DISABLED)
    if job.state == PENDING:
        raise SlurmError(err.ESLURM_JOB_PENDING)
    yield e.JobEnding(now_ms, job.id, CANCELLED, by_uid=caller.uid, requeue=how)


def _may_suspend(state: State, job: Job, caller: Caller) -> None:
    """Operators only; a job that waits or has ended is refused."""
    if not operates(state, caller):
        raise SlurmError(err.ESLURM_ACCESS_DENIED)
    may(caller, job)
    if job.state not in (RUNNING, SUSPENDED):
        raise SlurmError(err.ESLURM_JOB_PENDING if job.state == PENDING else err.ESLURM_ALREADY_DONE)


def suspend(state: State, job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    _may_suspend(state, job, caller)
    if job.state == SUSPENDED:
        raise SlurmError(err.ESLURM_JOB_SUSPENDED)
    yield e.JobSuspended(now_ms, job.id, resumed=False)


def resume(state: State, job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    _may_suspend(state, job, caller)
    if job.state != SUSPENDED:
        raise SlurmError(err.ESLURM_JOB_NOT_SUSPENDED)
    stopped_ms = job.suspended_total_ms + now_ms - job.suspend_ms
    limit_ms = ends_by_ms(state.config, job.start_ms, job.spec.time_limit_s, stopped_ms)
    yield e.JobSuspended(now_ms, job.id, resumed=True, end_limit_ms=limit_ms)
