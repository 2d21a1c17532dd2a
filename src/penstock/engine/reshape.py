"""`scontrol update JobId=` of what a waiting job asks for: features, nodes, nearness, tasks, memory, licences, deadline, least time limit.

Each key changes the request as the option of sbatch would have; `check` refuses the whole update where the changed request could never
run, in the words of a submission. Of a running job one thing changes: it may give nodes back.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock.core.request import WHOLE_NODE, Request
from penstock.engine import resubmit
from penstock.engine.admission import check_times, licenses_asked
from penstock.engine.indexes import Indexes
from penstock.engine.possible import check_possible
from penstock.engine.sizes import constraint_text, node_names
from penstock.engine.state import Job, JobSpec, State
from penstock.engine.submit import choose_partitions
from penstock.engine.topology import level_asked
from penstock.spec import errors as err
from penstock.spec import quantities, times
from penstock.spec.errors import SlurmError

KEYS = (
    *("contiguous", "deadline", "excnodelist", "features", "licenses", "minmemorycpu", "minmemorynode", "numnodes", "numtasks", "prefer"),
    *("reqnodelist", "switches", "timemin", "topology", "wait-for-switch", *resubmit.KEYS),
)
"""All of them for a job that waits only."""


def reshape(state: State, job: Job, spec: JobSpec, key: str, value: str, now_ms: int) -> JobSpec:
    """The spec with one of KEYS changed; SlurmError or SpecError for a value that is none."""
    if key in resubmit.KEYS:
        return resubmit.changed(state, spec, key, value)
    if key == "timemin":
        time_min_s = times.parse_time_limit(value, "TimeMin") or 0
        check_times(spec.time_limit_s, time_min_s, 0, 0, now_ms // 1000)
        return msgspec.structs.replace(spec, time_min_s=time_min_s)
    if key == "deadline":
        deadline_s = times.parse_time(value, now_ms // 1000) if value not in ("", "0", "None") else 0
        check_times(spec.time_limit_s, 0, deadline_s, job.eligible_ms // 1000, now_ms // 1000)
        return msgspec.structs.replace(spec, deadline_ms=deadline_s * 1000)
    if key == "licenses":
        asked, any_of = licenses_asked(state.config, value)
        spec = msgspec.structs.replace(spec, licenses=value)
        return _asking(spec, licenses=asked, any_license=any_of)
    if key == "features":
        return _asking(spec, constraint=constraint_text(value, err.ESLURM_INVALID_FEATURE))
    if key == "prefer":
        return _asking(spec, prefer=constraint_text(value, err.ESLURM_INVALID_PREFER))
    if key == "contiguous":
        return _asking(spec, contiguous=quantities.parse_flag(value, "Contiguous"))
    if key in ("reqnodelist", "excnodelist"):
        return _asking(spec, **{"required_nodes" if key == "reqnodelist" else "excluded_nodes": node_names(state, value)})
    if key == "numnodes":
        least, most = quantities.parse_node_count(value)
        tasks = max(spec.request.ntasks, least) if spec.request.ntasks else 0
        spec = msgspec.structs.replace(spec, asked=resubmit.also_asked(spec.asked, "nodes_min"))
        return _asking(spec, nodes_min=least, nodes_max=most, ntasks=tasks)
    if key == "numtasks":
        spec = msgspec.structs.replace(spec, asked=resubmit.also_asked(spec.asked, "ntasks"), ntasks_typed=0)
        return _asking(spec, ntasks=quantities.parse_int(value, "NumTasks", 1))
    if key == "topology":
        level, wait_s = level_asked(state.config, choose_partitions(state.config, ",".join(spec.partitions)), value)
        return _asking(spec, level=level, level_wait_s=wait_s)
    if key == "switches":
        return _few_switches(state, spec, value)
    if key == "wait-for-switch":
        wait_s = min(quantities.parse_int(value, "Wait-for-Switch"), state.config.max_switch_wait_s)
        return msgspec.structs.replace(spec, switch_wait_s=wait_s if spec.request.switches else 0)
    mib = quantities.parse_memory(value, key)
    if key == "minmemorycpu":
        spec = msgspec.structs.replace(spec, mem_per_cpu_mib=mib, mem_per_node_mib=-1)
        return _asking(spec, memory_per_cpu_mib=mib, memory_per_node_mib=0 if mib else WHOLE_NODE)
    spec = msgspec.structs.replace(spec, mem_per_node_mib=mib, mem_per_cpu_mib=-1)
    return _asking(spec, memory_per_node_mib=mib or WHOLE_NODE, memory_per_cpu_mib=0)


def _few_switches(state: State, spec: JobSpec, value: str) -> JobSpec:
    """`COUNT[@TIME]` as --switches takes it; 0 is any number."""
    longest_s = state.config.max_switch_wait_s
    words, at, time = value.partition("@")
    count = quantities.parse_int(words, "Switches")
    asked_s = times.parse_duration(time, "Switches") if at else None
    wait_s = longest_s if asked_s is None else min(asked_s, longest_s)
    return _asking(msgspec.structs.replace(spec, switch_wait_s=wait_s if count else 0), switches=count)


def given_back(job: Job, value: str) -> tuple[str, ...]:
    """The nodes that a running job gives back by NumNodes=: its last ones. Slurm's rules (22.05, tried): a smaller number shrinks the job,
    the same changes nothing, a larger one is not supported, a range is for jobs that wait."""
    if not value.isdecimal():
        raise SlurmError(err.ESLURM_JOB_NOT_PENDING)
    count = quantities.parse_int(value, "NumNodes")
    if count < 1:
        raise SlurmError(err.ESLURM_INVALID_NODE_COUNT)
    if count > len(job.allocs):
        raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"JobId={job.id} has {len(job.allocs)} nodes: a running job cannot grow")
    return tuple([alloc.node for alloc in job.allocs[count:]])


def check(indexes: Indexes, before: JobSpec, after: JobSpec) -> None:
    """Refuse a changed request that could never run in any of the job's partitions."""
    if after.request != before.request or after.partitions != before.partitions:
        partitions = choose_partitions(indexes.state.config, ",".join(after.partitions))
        check_possible(indexes, partitions, after.request)


def _asking(spec: JobSpec, **changes: object) -> JobSpec:
    try:
        request: Request = replace(spec.request, **changes)  # type: ignore[arg-type]
    except ValueError as error:
        raise SlurmError(err.ESLURM_INVALID_NODE_COUNT, detail=str(error)) from error
    return msgspec.structs.replace(spec, request=request)
