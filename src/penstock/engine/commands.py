"""What users may ask of jobs and nodes that exist: each command checks, and answers with the events it proposes.

Pure: the caller applies the events. Refusals are SlurmErrors with Slurm's numbers. Permission: the owner, and root.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.engine import events as e
from penstock.engine import reshape
from penstock.engine.caller import Caller
from penstock.engine.dependencies import resolve
from penstock.engine.indexes import Indexes
from penstock.engine.request import unfit_text
from penstock.engine.state import CANCELLED, PENDING, RUNNING, SUSPENDED, Job, JobSpec, State
from penstock.engine.submit import base_priority, choose_partitions
from penstock.spec import arrays, quantities, times
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
    if parsed.tasks:
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


def may(caller: Caller, job: Job) -> None:
    """ESLURM_ACCESS_DENIED unless the caller owns the job or is root."""
    if caller.uid not in (0, job.spec.uid):
        raise SlurmError(err.ESLURM_ACCESS_DENIED)


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


def hold(job: Job, caller: Caller, now_ms: int, user_hold: bool) -> Iterator[e.Event]:
    may(caller, job)
    if job.state != PENDING:
        raise SlurmError(err.ESLURM_JOB_NOT_PENDING if not job.finished else err.ESLURM_JOB_FINISHED)
    if job.hold == "JobHeldAdmin" and caller.uid != 0:
        return
    reason = "JobHeldAdmin" if caller.uid == 0 and not user_hold else "JobHeldUser"
    yield e.JobChanged(now_ms, job.id, priority=0, hold=reason)


def release(job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    may(caller, job)
    if job.state != PENDING:
        raise SlurmError(err.ESLURM_JOB_NOT_PENDING)
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
        if how == "requeue":
            raise SlurmError(err.ESLURM_JOB_PENDING)
        yield from hold(job, caller, now_ms, user_hold=True)
        return
    yield e.JobEnding(now_ms, job.id, CANCELLED, by_uid=caller.uid, requeue=how)


def suspend(job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    may(caller, job)
    if job.state == SUSPENDED:
        raise SlurmError(err.ESLURM_JOB_SUSPENDED)
    if job.state != RUNNING:
        raise SlurmError(err.ESLURM_JOB_PENDING if job.state == PENDING else err.ESLURM_ALREADY_DONE)
    yield e.JobSuspended(now_ms, job.id, resumed=False)


def resume(job: Job, caller: Caller, now_ms: int) -> Iterator[e.Event]:
    may(caller, job)
    if job.state != SUSPENDED:
        raise SlurmError(err.ESLURM_JOB_NOT_SUSPENDED)
    limit_ms = 0
    if job.spec.time_limit_s:
        stopped_ms = job.suspended_total_ms + now_ms - job.suspend_ms
        limit_ms = job.start_ms + job.spec.time_limit_s * 1000 + stopped_ms
    yield e.JobSuspended(now_ms, job.id, resumed=True, end_limit_ms=limit_ms)


PENDING_ONLY = ("partition", "dependency", "eligibletime", "starttime", *reshape.KEYS)

UPDATABLE = (
    *("account", "arraytaskthrottle", "comment", "admincomment", "dependency", "eligibletime", "starttime", "extra", "jobname", "name"),
    *("mailuser", "nice", "partition", "priority", "qos", "requeue", "stdout", "stderr", "stdin", "timelimit", "wckey", "workdir"),
    *reshape.KEYS,
)
"""Keys of `scontrol update JobId=`; any other is refused with this list."""


def update_job(state: State, indexes: Indexes, job: Job, caller: Caller, keys: list[str], now_ms: int) -> Iterator[e.Event]:
    """One JobChanged for all `Key=value` texts, or a refusal that changes nothing."""
    may(caller, job)
    if job.finished:
        raise SlurmError(err.ESLURM_JOB_FINISHED)
    changes: dict[str, object] = {}
    spec = job.spec
    shed: tuple[str, ...] = ()
    for item in keys:
        key, sign, value = item.partition("=")
        if not sign:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"{item}: Key=value is expected")
        problem = unfit_text(key[:64].rstrip("+-"), value)
        if problem:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=problem)
        operator = key[-1] if key[-1:] in "+-" else ""
        key = key.rstrip("+-").lower()
        if key not in UPDATABLE:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"{key} of a job cannot be updated; allowed are {', '.join(UPDATABLE)}")
        if key == "numnodes" and job.state in (RUNNING, SUSPENDED):
            shed = reshape.given_back(job, value)
            continue
        if key in PENDING_ONLY and job.state != PENDING:
            raise SlurmError(err.ESLURM_JOB_NOT_PENDING)
        try:
            spec = _update_key(state, indexes, job, caller, spec, key, operator, value, changes, now_ms)
        except SpecError as error:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=str(error)) from error
    if spec is not job.spec:
        reshape.check(indexes, job.spec, spec)
        changes["spec"] = spec
    if changes:
        yield e.JobChanged(now_ms, job.id, **changes)  # type: ignore[arg-type]
    if shed:
        yield e.JobShrunk(now_ms, job.id, shed)


def _update_key(
    state: State,
    indexes: Indexes,
    job: Job,
    caller: Caller,
    spec: JobSpec,
    key: str,
    operator: str,
    value: str,
    changes: dict[str, object],
    now_ms: int,
) -> JobSpec:
    if key in reshape.KEYS:
        return reshape.reshape(state, job, spec, key, value, now_ms)
    plain = {
        **{"account": "account", "comment": "comment", "jobname": "name", "name": "name", "mailuser": "mail_user", "qos": "qos"},
        **{"stdout": "std_out", "stderr": "std_err", "stdin": "std_in", "wckey": "wckey", "workdir": "work_dir"},
    }
    if key in plain:
        return msgspec.structs.replace(spec, **{plain[key]: value})
    if key in ("admincomment", "extra"):
        changes["admin_comment" if key == "admincomment" else "extra"] = value
        return spec
    if key == "timelimit":
        return _update_time_limit(job, caller, spec, operator, value, changes)
    if key in ("eligibletime", "starttime"):
        changes["eligible_ms"] = times.parse_time(value, now_ms // 1000) * 1000
        return spec
    if key == "dependency":
        changes["dependency"] = resolve(state, indexes, value, job.id) if value and value != "0" else ""
        changes["dependency_failed"] = False
        return spec
    if key == "nice":
        nice = quantities.parse_int(value.lstrip("-"), "nice") * (-1 if value.startswith("-") else 1)
        if nice < spec.nice and caller.uid != 0:
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        if job.priority:
            changes["priority"] = base_priority(job.array_job_id or job.id, nice)
        return msgspec.structs.replace(spec, nice=nice)
    if key == "priority":
        priority = quantities.parse_int(value, "priority", 0, 2**32 - 2)
        if caller.uid != 0 and (priority > job.priority or job.hold == "JobHeldAdmin"):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        changes["priority"] = priority
        changes["hold"] = "" if priority else "JobHeldUser"
        return spec
    if key == "partition":
        partitions = choose_partitions(state.config, value)
        return msgspec.structs.replace(spec, partitions=tuple(p.name for p in partitions))
    if key == "requeue":
        return msgspec.structs.replace(spec, requeue=bool(quantities.parse_int(value, "requeue", 0, 1)))
    if key == "arraytaskthrottle":
        if not job.array_job_id:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"JobId={job.id} is no array")
        return msgspec.structs.replace(spec, array_limit=quantities.parse_int(value, "ArrayTaskThrottle"))
    raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"{key} of a job cannot be updated")


def _update_time_limit(job: Job, caller: Caller, spec: JobSpec, operator: str, value: str, changes: dict[str, object]) -> JobSpec:
    given_s = times.parse_time_limit(value, "TimeLimit") or 0
    limit_s = {"+": spec.time_limit_s + given_s, "-": spec.time_limit_s - given_s, "": given_s}[operator]
    if limit_s < 0 or (operator == "-" and limit_s == 0):
        raise SlurmError(err.ESLURM_INVALID_TIME_LIMIT)
    longer = bool(spec.time_limit_s) and (limit_s == 0 or limit_s > spec.time_limit_s)
    if job.state == RUNNING:
        if longer and caller.uid != 0:
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        changes["end_limit_ms"] = job.start_ms + limit_s * 1000 + job.suspended_total_ms if limit_s else 0
    return msgspec.structs.replace(spec, time_limit_s=limit_s)


NODE_KEYS = ("state", "reason", "weight", "features", "availablefeatures", "activefeatures", "comment", "extra")


def update_node(state: State, name: str, caller: Caller, keys: list[str], now_ms: int) -> Iterator[e.Event]:
    """scontrol update NodeName=: DRAIN, DOWN, FAIL (with a reason), RESUME, UNDRAIN, IDLE; weight, features, comments."""
    if caller.uid != 0 and not state.config.single_user == caller.uid:
        raise SlurmError(err.ESLURM_ACCESS_DENIED)
    if name not in state.nodes:
        raise SlurmError(err.ESLURM_INVALID_NODE_NAME)
    values = {}
    for item in keys:
        key, _, value = item.partition("=")
        if key.lower() not in NODE_KEYS:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"{key} of a node cannot be updated; allowed are {', '.join(NODE_KEYS)}")
        problem = unfit_text(key[:64], value)
        if problem:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=problem)
        values[key.lower()] = value
    changes: dict[str, object] = {}
    word = values.get("state", "").upper()
    reason = values.get("reason")
    if word in ("DRAIN", "DOWN", "FAIL"):
        if not reason:
            raise SlurmError(err.ESLURM_INVALID_NODE_STATE, detail="You must specify a reason when DOWNING or DRAINING a node")
        changes |= {"reason": reason, "reason_uid": caller.uid}
        changes["down" if word == "DOWN" else "drain"] = True
    elif word in ("RESUME", "UNDRAIN", "IDLE"):
        changes |= {"drain": False, "reason": ""}
        if word != "UNDRAIN":
            changes["down"] = False
    elif word:
        raise SlurmError(
            err.ESLURM_INVALID_NODE_STATE, f"State={word} is not supported; allowed are DRAIN, DOWN, FAIL, RESUME, UNDRAIN, IDLE"
        )
    elif reason is not None:
        changes |= {"reason": reason, "reason_uid": caller.uid}
    for key in ("features", "availablefeatures", "activefeatures"):
        if key in values:
            changes["features"] = tuple(filter(None, values[key].split(",")))
    if "weight" in values:
        changes["weight"] = quantities.parse_int(values["weight"], "Weight")
    for key in ("comment", "extra"):
        if key in values:
            changes[key] = values[key]
    if not changes:
        raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"nothing to update; allowed are {', '.join(NODE_KEYS)}")
    yield e.NodeChanged(now_ms, name, **changes)  # type: ignore[arg-type]
