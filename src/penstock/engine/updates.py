"""`scontrol update` of jobs and nodes: each key checks, and the answer is the event that is proposed, or a refusal that changes nothing.

Pure, as `commands`. A change is admitted as a submission would be: what sbatch refuses of partitions, memory and sizes is refused here. A
value that is none is told as Slurm's scontrol does, with what is allowed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from penstock.engine import events as e
from penstock.engine import reshape
from penstock.engine.admission import Memory, check_times, refusal, within_limits
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ends_by_ms
from penstock.engine.commands import may, not_over, operates
from penstock.engine.dependencies import resolve
from penstock.engine.indexes import Indexes
from penstock.engine.request import unfit_text
from penstock.engine.state import PENDING, RUNNING, SUSPENDED, Job, JobSpec, State
from penstock.engine.submit import base_priority, choose_partitions
from penstock.spec import errors as err
from penstock.spec import quantities, times
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.parameters import WEIGHT_MOST

PENDING_ONLY = ("partition", "dependency", "eligibletime", "starttime", *reshape.KEYS)

OPERATORS_ONLY = ("contiguous",)
"""Keys that a job's owner may not change, as in Slurm 22.05."""

UPDATABLE = (
    *("account", "arraytaskthrottle", "comment", "admincomment", "dependency", "eligibletime", "starttime", "extra", "jobname", "name"),
    *("mailuser", "nice", "partition", "priority", "qos", "requeue", "stdout", "stderr", "stdin", "timelimit", "wckey", "workdir"),
    *reshape.KEYS,
)
"""Keys of `scontrol update JobId=`; any other is refused with this list."""


def update_job(state: State, indexes: Indexes, job: Job, caller: Caller, keys: list[str], now_ms: int) -> Iterator[e.Event]:
    """One JobChanged for all `Key=value` texts, or a refusal that changes nothing."""
    may(caller, job)
    not_over(job)
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
        name = key.rstrip("+-")
        key = name.lower()
        if key not in UPDATABLE:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"{key} of a job cannot be updated; allowed are {', '.join(UPDATABLE)}")
        if key == "numnodes" and job.state in (RUNNING, SUSPENDED):
            shed = reshape.given_back(job, value)
            continue
        if key == "partition" and tuple(value.split(",")) == spec.partitions:
            continue
        if key in PENDING_ONLY and job.state != PENDING:
            raise SlurmError(err.ESLURM_JOB_NOT_PENDING)
        if key in OPERATORS_ONLY and not operates(state, caller):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        try:
            spec = _update_key(state, indexes, job, caller, spec, key, operator, value, changes, now_ms)
        except SpecError as error:
            given = "" if key in ("timelimit", "timemin") else f": {value}"  # in Slurm's very words; ours follow
            raise SlurmError(err.SLURM_ERROR, detail=f"Invalid {name} value{given}\n{error}") from error
    if spec is not job.spec:
        if job.state == PENDING:
            spec = _admitted(state, job.spec, spec, caller)
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
        return _update_time_limit(state, job, caller, spec, operator, value, changes)
    if key in ("eligibletime", "starttime"):
        changes["eligible_ms"] = times.parse_time(value, now_ms // 1000) * 1000
        return spec
    if key == "dependency":
        changes["dependency"] = resolve(state, indexes, value, job.id) if value and value != "0" else ""
        changes["dependency_failed"] = False
        return spec
    if key == "nice":
        nice = quantities.parse_int(value.lstrip("-"), "nice") * (-1 if value.startswith("-") else 1)
        if nice < spec.nice and not operates(state, caller):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        if job.priority:
            changes["priority"] = base_priority(job.array_job_id or job.id, nice)
        return msgspec.structs.replace(spec, nice=nice)
    if key == "priority":
        priority = quantities.parse_int(value, "priority", 0, 2**32 - 2)
        if job.hold and priority:  # only a release frees it
            raise SlurmError(err.ESLURM_JOB_HELD)
        if (priority > job.priority and not operates(state, caller)) or (job.hold == "JobHeldAdmin" and caller.uid != 0):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)
        changes["priority"] = priority
        changes["hold"] = "" if priority else "JobHeldUser" if caller.uid else "JobHeldAdmin"
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


def _update_time_limit(
    state: State, job: Job, caller: Caller, spec: JobSpec, operator: str, value: str, changes: dict[str, object]
) -> JobSpec:
    """`TimeLimit=T`; `TimeLimit+=T` and `TimeLimit=+T` lengthen it, likewise with a minus. Whoever does not operate the cluster may only
    shorten it once the job has started."""
    if not operator and value[:1] in ("+", "-"):
        operator, value = value[0], value[1:]
    given_s = times.parse_time_limit(value, "TimeLimit") or 0
    if operator and not spec.time_limit_s:
        raise SpecError("the job has no time limit that could be lengthened or shortened: give one without a sign")
    if operator == "-" and given_s > spec.time_limit_s:
        text = f"TimeLimit decrement larger than current time limit ({given_s // 60} > {spec.time_limit_s // 60})"
        raise SlurmError(err.SLURM_ERROR, detail=text)
    limit_s = {"+": spec.time_limit_s + given_s, "-": spec.time_limit_s - given_s, "": given_s}[operator]
    if operator == "-" and limit_s == 0:
        raise SlurmError(err.ESLURM_INVALID_TIME_LIMIT)
    longer = bool(spec.time_limit_s) and (limit_s == 0 or limit_s > spec.time_limit_s)
    if longer and job.state != PENDING and not operates(state, caller):
        raise SlurmError(err.ESLURM_ACCESS_DENIED)
    if job.state == PENDING:
        check_times(limit_s, spec.time_min_s, 0, 0, 0)
    elif job.state == RUNNING:  # of a suspended job it counts from when it is resumed
        changes["end_limit_ms"] = ends_by_ms(state.config, job.start_ms, limit_s, job.suspended_total_ms)
    return msgspec.structs.replace(spec, time_limit_s=limit_s)


def _admitted(state: State, before: JobSpec, spec: JobSpec, caller: Caller) -> JobSpec:
    """A waiting job's changed spec as its partitions take it: each of those that are newly named is open to the caller and the account, and
    the memory is within MaxMemPerNode and MaxMemPerCPU. ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE otherwise."""
    config, request = state.config, spec.request
    if spec.partitions == before.partitions and spec.account == before.account and request == before.request:
        return spec
    partitions = choose_partitions(config, ",".join(spec.partitions))
    for partition in partitions:
        refused = refusal(partition, caller, spec.account)
        if refused is None or (partition.name in before.partitions and spec.account == before.account):
            continue
        if refused.code == err.ESLURM_PARTITION_NOT_AVAIL:
            if partition.name in before.partitions:
                continue
            raise refused
        raise SlurmError(err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE, detail=refused.detail)
    sizes = (request.memory_per_node_mib, request.memory_per_cpu_mib)
    if spec.partitions == before.partitions and sizes == (before.request.memory_per_node_mib, before.request.memory_per_cpu_mib):
        return spec
    asked = Memory(sizes[0] if sizes[0] > 0 else None, sizes[1] or None, request.cpus_per_task)
    tasks_on_node = request.ntasks_per_node or -(-max(request.ntasks, request.nodes_min) // request.nodes_min)
    try:
        memory = within_limits(config, partitions, asked, tasks_on_node, request.cpus_per_node)
    except SlurmError as error:
        raise SlurmError(err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE, detail=error.detail) from error
    if memory is asked:
        return spec
    changed = replace(request, memory_per_cpu_mib=memory.per_cpu_mib or 0, cpus_per_task=memory.cpus_per_task)
    return msgspec.structs.replace(spec, request=changed)


NODE_KEYS = ("state", "reason", "weight", "features", "availablefeatures", "activefeatures", "comment", "extra")


def update_node(state: State, name: str, caller: Caller, keys: list[str], now_ms: int) -> Iterator[e.Event]:
    """scontrol update NodeName=: DRAIN, DOWN, FAIL (with a reason), RESUME, UNDRAIN, IDLE; weight, features, comments."""
    if not operates(state, caller):
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
        changes["weight"] = quantities.parse_int(values["weight"], "Weight", 0, WEIGHT_MOST)
    for key in ("comment", "extra"):
        if key in values:
            changes[key] = values[key]
    if not changes:
        raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"nothing to update; allowed are {', '.join(NODE_KEYS)}")
    yield e.NodeChanged(now_ms, name, **changes)  # type: ignore[arg-type]
