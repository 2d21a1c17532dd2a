"""From a submit request to the event that queues the job: defaults filled in, impossible requests refused.

Everything that can be known to be wrong is refused here, at submit time, with Slurm's error; what may become possible (a drained
node, a partition limit that EnforcePartLimits=NO tolerates) queues and pends with a reason.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock.engine import events as e
from penstock.engine.admission import admitting, check_times
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.dependencies import resolve
from penstock.engine.indexes import Indexes
from penstock.engine.possible import check_possible, without_preference, worth_waiting
from penstock.engine.request import SubmitRequest, parse_rlimits, refusal
from penstock.engine.sizes import resolve_request
from penstock.engine.state import NOT_GIVEN, JobSpec, State
from penstock.engine.topology import check_segment, level_asked, switch_wait_s
from penstock.spec import arrays
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError

PRIORITY_BASE = 4_294_901_760
"""Priority of job 0 without nice; each later job has one less, so that equal jobs run in submit order (Slurm's priority/basic
starts here too)."""

ASKED_KEYS = (
    *("ntasks", "cpus_per_task", "ntasks_per_node", "nodes_min", "mem_per_node_mib", "mem_per_cpu_mib"),
    *("gpus", "gpus_per_node", "gpus_per_task", "gres", "exclusive", "time_limit_s"),
)


def submit(
    state: State,
    indexes: Indexes,
    caller: Caller,
    request: SubmitRequest,
    script: bytes,
    environment: bytes,
    now_ms: int,
    ahead: int = 0,
) -> e.JobSubmitted:
    """The event for this request; `script` and `environment` are digests of blobs that are stored with it. SlurmError if refused.
    `ahead` other events of the same kind will be applied before it."""
    config = state.config
    problem = refusal(request)
    if problem:
        raise SlurmError(err.ESLURM_INVALID_TASK_MEMORY if "mem_" in problem else err.ESLURM_NOT_SUPPORTED, detail=problem)
    if request.nice < 0 and caller.uid != 0:
        raise SlurmError(err.ESLURM_INVALID_NICE)
    if request.reservation:
        raise SlurmError(err.ESLURM_RESERVATION_INVALID)
    if request.interactive and request.array:
        raise SlurmError(err.ESLURM_INVALID_ARRAY, detail="only a batch job can be an array")
    partitions = admitting(choose_partitions(config, request.partition), caller, request.account)
    tasks: tuple[tuple[int, int, int], ...] = ()
    limit = 0
    if request.array:
        tasks, limit = array_tasks(config, request.array)
    elements = arrays.count(tasks) if tasks else 1
    if indexes.job_count + ahead + elements > config.max_job_count:
        raise SlurmError(err.ESLURM_MAX_JOB_COUNT)
    check_segment(config, partitions, request)
    resources = resolve_request(state, partitions, request)
    wait_s = switch_wait_s(config, request)
    if request.topology:
        level, level_wait_s = level_asked(config, partitions, request.topology)
        resources = replace(resources, level=level, level_wait_s=level_wait_s)
    check_possible(indexes, partitions, resources)
    if wait_s and not worth_waiting(indexes, partitions, without_preference(resources)):
        wait_s = 0
    if resources.level_wait_s > 0 and not worth_waiting(indexes, partitions, replace(resources, switches=0)):
        resources = replace(resources, level_wait_s=0)
    time_limit_s = request.time_limit_s
    if time_limit_s is None:
        time_limit_s = min((p.default_time_s or p.max_time_s for p in partitions), key=lambda s: s or 1 << 60)
    check_times(time_limit_s, request.time_min_s or 0, request.deadline_s or 0, request.begin_s or 0, now_ms // 1000)
    job_id = state.counters.next_job_id + ahead
    spec = JobSpec(
        name=request.name or "sbatch",
        uid=caller.uid,
        gid=caller.gid,
        user=caller.user,
        group=caller.group,
        partitions=tuple(p.name for p in partitions),
        request=resources,
        time_limit_s=time_limit_s,
        work_dir=request.work_dir or "/",
        submit_dir=request.submit_dir,
        account=request.account,
        qos=request.qos,
        wckey=request.wckey,
        reservation=request.reservation,
        comment=request.comment,
        interactive=request.interactive,
        script=script,
        argv=request.argv,
        command=request.command,
        submit_line=request.submit_line,
        alloc_node=request.alloc_node,
        alloc_sid=request.alloc_sid,
        std_in=request.std_in,
        std_out=request.std_out,
        std_err=request.std_err,
        append=request.open_mode == "append" or (not request.open_mode and config.job_file_append),
        umask=0o022 if request.umask is None else request.umask,
        rlimits=tuple(parse_rlimits(request.rlimits).items()),
        login_environment=request.get_user_env,
        export=request.export,
        requeue=request.requeue,
        nice=request.nice,
        signal=request.signal_number or 0,
        signal_before_s=60 if request.signal_lead_s is None else request.signal_lead_s,
        signal_batch=request.signal_batch,
        mail_type=request.mail_type,
        mail_user=request.mail_user,
        kill_on_invalid_dep=request.kill_on_invalid_dep,
        array=request.array,
        array_limit=limit,
        asked=tuple(key for key in ASKED_KEYS if getattr(request, key) not in (None, "", (), False)),
        gres=",".join(request.gres),
        gpus=",".join(request.gpus),
        gpus_per_node=",".join(request.gpus_per_node),
        gpus_per_task=",".join(request.gpus_per_task),
        mem_per_node_mib=NOT_GIVEN if request.mem_per_node_mib is None else request.mem_per_node_mib,
        mem_per_cpu_mib=NOT_GIVEN if request.mem_per_cpu_mib is None else request.mem_per_cpu_mib,
        cpus_per_gpu=request.cpus_per_gpu or 0,
        mem_per_gpu_mib=request.mem_per_gpu_mib or 0,
        ntasks_per_gpu=request.ntasks_per_gpu or 0,
        open_mode=request.open_mode,
        immediate_s=request.immediate_s or 0,
        switch_wait_s=wait_s,
        time_min_s=request.time_min_s or 0,
        deadline_ms=(request.deadline_s or 0) * 1000,
        licenses=request.licenses,
        ntasks_typed=0 if resources.ntasks else request.ntasks or 0,
    )
    dependency = resolve(state, indexes, request.dependency, job_id) if request.dependency else ""
    hold = "JobHeldUser" if request.hold else ""
    return e.JobSubmitted(
        now_ms=now_ms,
        job_id=job_id,
        spec=indexes.specs.one_of(spec),
        environment=environment,
        priority=0 if hold else base_priority(job_id, request.nice),
        hold=hold,
        eligible_ms=request.begin_s * 1000 if request.begin_s and request.begin_s * 1000 > now_ms else 0,
        dependency=dependency,
        tasks=tasks,
    )


def renumbered(event: e.JobSubmitted, job_id: int) -> e.JobSubmitted:
    """The same submission under another id: what came before it in its batch may have taken ids of its own (elements that were split)."""
    if event.job_id == job_id:
        return event
    priority = 0 if event.hold else base_priority(job_id, event.spec.nice)
    return msgspec.structs.replace(event, job_id=job_id, priority=priority)


def base_priority(job_id: int, nice: int) -> int:
    """At least 1: 0 means held."""
    return max(1, PRIORITY_BASE - job_id - nice)


def choose_partitions(config: ClusterConfig, names: str) -> tuple[Partition, ...]:
    """The named partitions in the order typed, else the default one."""
    by_name = {partition.name: partition for partition in config.partitions}
    if not names:
        for partition in config.partitions:
            if partition.default:
                return (partition,)
        raise SlurmError(err.ESLURM_DEFAULT_PARTITION_NOT_SET)
    chosen = []
    for name in dict.fromkeys(names.split(",")):
        if name not in by_name:
            raise SlurmError(err.ESLURM_INVALID_PARTITION_NAME, detail=f"invalid partition specified: {name}")
        chosen.append(by_name[name])
    return tuple(chosen)


def array_tasks(config: ClusterConfig, text: str) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """(ranges, limit) of --array; ESLURM_INVALID_ARRAY beyond MaxArraySize."""
    try:
        spec = arrays.parse_array(text, config.max_array_size)
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_ARRAY) from error
    return spec.ranges, spec.limit
