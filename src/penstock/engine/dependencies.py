"""Which jobs a job waits for, and what a change of those jobs means to it.

A job's `dependency` text holds only what is still open. It shrinks as parents reach the states asked for; when the text is empty
the job is free, when a condition can no longer come true the job is `dependency_failed` for good: a later requeue of the parent
does not heal it (as in Slurm).
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.engine.indexes import History, Indexes
from penstock.engine.state import CANCELLED, COMPLETED, PENDING, Job, State
from penstock.spec import arrays
from penstock.spec import errors as err
from penstock.spec.dependency import Condition, Dependency, format_dependency, parse
from penstock.spec.errors import SlurmError, SpecError

OPEN, MET, NEVER = range(3)
MAX_DEPTH = 1000
"""Longest chain that is searched for a circle; deeper chains are accepted unsearched."""


def resolve(state: State, indexes: Indexes, text: str, job_id: int) -> str:
    """The open part of a new dependency. Parents that left memory are judged by the accounting, where Slurm would take them for
    met. SlurmError for an id that was never given, for a purged parent that ended otherwise, and for a circle."""
    try:
        dependency = parse(text)
    except SpecError as error:
        raise SlurmError(err.ESLURM_DEPENDENCY, detail=str(error)) from error
    left = []
    for condition in dependency.conditions:
        met = False
        for parent in condition.parents():
            if parent == job_id or reaches(state, parent, job_id):
                raise SlurmError(err.ESLURM_CIRCULAR_DEPENDENCY if parent in state.jobs else err.ESLURM_DEPENDENCY)
            if not indexes.rows_of(parent):
                if parent >= state.counters.next_job_id:
                    raise SlurmError(err.ESLURM_DEPENDENCY, detail=f"no job was ever given the id {parent}")
                met = _judge_history(condition.kind, parent, indexes.history)
        if met and dependency.any_of:
            return ""
        if not met:
            left.append(condition)
    return format_dependency(Dependency(left, dependency.any_of)) if left else ""


def _judge_history(kind: str, parent: int, history: History) -> bool:
    """True where a parent that left memory meets the condition; SlurmError where it never can."""
    if kind in ("after", "afterany", "afterburstbuffer"):
        return True
    states = history(parent)
    if not states:
        raise SlurmError(err.ESLURM_DEPENDENCY, detail=f"job {parent} is no longer known")
    failed = any(word != COMPLETED for word in states)
    if failed != (kind == "afternotok"):
        raise SlurmError(err.ESLURM_DEPENDENCY, detail=f"job {parent} has ended, and {kind} of it can never be met")
    return True


def reaches(state: State, start: int, goal: int) -> bool:
    """Does the job `start` wait, through others, for `goal`?"""
    stack, seen = [start], {start: None}
    while stack and len(seen) < MAX_DEPTH:
        job = state.jobs.get(stack.pop())
        if job is None or not job.dependency or job.state != PENDING:
            continue
        for condition in parse(job.dependency).conditions:
            for parent in condition.parents():
                if parent == goal:
                    return True
                if parent not in seen:
                    seen[parent] = None
                    stack.append(parent)
    return False


def evaluate(state: State, indexes: Indexes, job: Job) -> tuple[str, bool]:
    """(what is still open, can it never be met) for a pending job now."""
    dependency = parse(job.dependency)
    verdicts = [judge(state, indexes, job, condition) for condition in dependency.conditions]
    if dependency.any_of:
        if MET in verdicts:
            return "", False
        if all(verdict == NEVER for verdict in verdicts):
            return job.dependency, True
    elif NEVER in verdicts:
        return job.dependency, True
    left = [c for c, verdict in zip(dependency.conditions, verdicts, strict=True) if verdict == OPEN]
    if len(left) == len(verdicts):
        return job.dependency, False
    return format_dependency(Dependency(left, dependency.any_of)) if left else "", False


def due_ms(indexes: Indexes, job: Job) -> int:
    """When the clock alone may next meet one of its conditions (`after:ID+minutes` of a job that runs), or earlier; 0: it cannot."""
    earliest = 0
    for condition in parse(job.dependency).conditions:
        for parent in condition.targets if condition.kind == "after" else ():
            if parent.task_id is None and parent.job_id in indexes.unstarted:
                continue
            rows = indexes.latest_rows(parent.job_id) if parent.task_id is None else indexes.row_of(parent.job_id, parent.task_id)
            for row in rows:
                at_ms = row.start_ms + parent.minutes * 60_000
                if row.state != PENDING and not row.finished and at_ms > indexes.clock_ms:
                    earliest = min(earliest or at_ms, at_ms)
                    break
    return earliest


def judge(state: State, indexes: Indexes, job: Job, condition: Condition) -> int:
    """OPEN, MET or NEVER for one condition. A parent that has left memory counts as ended. What it costs does not grow with the rows of
    the parent, but for `after:ARRAY+minutes` the moment in which it comes true."""
    if condition.kind == "singleton":  # of a name the jobs and arrays run in the order in which they came
        return MET if indexes.same_name.earliest((job.spec.uid, job.spec.name)) in (0, job.array_job_id or job.id) else OPEN
    verdicts = []
    for parent in condition.targets:
        rows: Iterable[Job] | None = None
        if parent.task_id is not None:
            rows = indexes.row_of(parent.job_id, parent.task_id)
        elif condition.kind == "aftercorr":
            rows = _counterpart(indexes, job, parent.job_id) or None
        if rows is None and parent.job_id in indexes.array_rows and condition.kind != "after":
            verdicts.append(_judge_array(indexes, condition.kind, parent.job_id))
            continue
        if rows is None and condition.kind == "after":
            if parent.job_id in indexes.unstarted:
                verdicts.append(OPEN)
                continue
            rows = indexes.latest_rows(parent.job_id)
        verdicts.append(_judge_rows(indexes.clock_ms, condition, parent.minutes, indexes.rows_of(parent.job_id) if rows is None else rows))
    if NEVER in verdicts:
        return NEVER
    return OPEN if OPEN in verdicts else MET


def _judge_array(indexes: Indexes, kind: str, array_id: int) -> int:
    """The whole array at once, without a look at each row."""
    unfinished, bad = array_id in indexes.open_rows, array_id in indexes.bad_rows
    if kind == "afternotok":
        return MET if bad else OPEN if unfinished else NEVER
    if kind == "aftercorr" and unfinished:
        return OPEN
    if kind in ("afterok", "aftercorr") and bad:
        return NEVER
    return OPEN if unfinished else MET


def _counterpart(indexes: Indexes, job: Job, parent_id: int) -> list[Job]:
    """The parent's row that an element waits for. None for an element without a counterpart, which waits for the whole parent as with
    afterok, nor for a row of several elements, which waits too: those whose counterpart has ended were split off it before."""
    task = job.array_task_id
    if task < 0 and arrays.count(job.pending_tasks) == 1:
        task = arrays.first(job.pending_tasks)
    return indexes.row_of(parent_id, task) if task >= 0 else []


def _judge_rows(now_ms: int, condition: Condition, minutes: int, seen: Iterable[Job]) -> int:
    kind = condition.kind
    if kind == "after":
        for row in seen:
            started_ms = row.start_ms if row.state != PENDING else 0
            if not row.finished and (not started_ms or now_ms < started_ms + minutes * 60_000):
                return OPEN
        return MET
    rows = list(seen)
    if kind == "afterany":
        return OPEN if any(not row.finished for row in rows) else MET
    if kind in ("afterok", "aftercorr"):
        if any(row.finished and row.state != COMPLETED for row in rows):
            return NEVER
        return OPEN if any(not row.finished for row in rows) else MET
    if kind == "afternotok":
        if any(row.finished and row.state not in (COMPLETED, PENDING) for row in rows):
            return MET
        return OPEN if any(not row.finished for row in rows) else NEVER
    if kind == "afterburstbuffer":
        return OPEN if any(not row.finished for row in rows) else MET
    raise ValueError(f"no such kind of dependency: {kind}")


def invalid_dependency_kills(state: State, job: Job) -> bool:
    """Is a job whose dependency can never be met cancelled, or kept with DependencyNeverSatisfied?"""
    if job.spec.kill_on_invalid_dep is not None:
        return job.spec.kill_on_invalid_dep
    return state.config.kill_invalid_depend


INVALID_DEPENDENCY_STATE = CANCELLED
