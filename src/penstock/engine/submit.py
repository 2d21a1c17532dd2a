"""From a submit request to the event that queues the job: defaults filled in, impossible requests refused.

Everything that can be known to be wrong is refused here, at submit time, with Slurm's error; what may become possible (a drained
node, a partition limit that EnforcePartLimits=NO tolerates) queues and pends with a reason.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock.core.request import WHOLE_NODE, GresCounts, Request, gres_name, parsed
from penstock.engine import events as e
from penstock.engine.admission import Memory, admitting, check_times, licenses_asked, within_limits
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.dependencies import resolve
from penstock.engine.indexes import Indexes
from penstock.engine.possible import check_possible, without_preference, worth_waiting
from penstock.engine.request import SubmitRequest, parse_rlimits, refusal
from penstock.engine.state import NOT_GIVEN, JobSpec, State
from penstock.engine.topology import check_segment, level_asked, switch_wait_s
from penstock.spec import arrays, hostlist
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.request_values import COUNT_MAX

PRIORITY_BASE = 4_294_901_760
"""Priority of job 0 without nice; each later job has one less, so that equal jobs run in submit order (Slurm's priority/basic
starts here too)."""

NO_MEMORY = (0, None)
"""(MiB a node, MiB a CPU) of a job whose GPUs bring their memory."""

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
        array_count=elements if tasks else 0,
        array_min=tasks[0][0] if tasks else 0,
        array_max=max(last for _, last, _ in tasks) if tasks else 0,
        array_step=tasks[0][2] if tasks and tasks[0][1] > tasks[0][0] else 1,
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


def resolve_request(state: State, partitions: tuple[Partition, ...], request: SubmitRequest) -> Request:
    """The planner's request: sizes with Slurm's defaults, memory per node or per CPU."""
    constraint = constraint_text(request.constraint, err.ESLURM_INVALID_FEATURE)
    licenses, any_license = licenses_asked(state.config, request.licenses)
    counted = parsed(constraint).least_nodes if constraint else 1
    nodes_min = request.nodes_min or counted
    nodes_max = request.nodes_max or 0
    ntasks = request.ntasks or 0
    per_node = request.ntasks_per_node or 0
    gpus_total = gres_counts(request.gpus)
    if request.ntasks_per_gpu:
        ntasks, per_node, gpus_total = tasks_by_gpus(request, ntasks, gpus_total)
    if not ntasks:
        if per_node:
            nodes_max = nodes_max or nodes_min
        elif request.gpus_per_task and gpus_total:
            ntasks = max(1, sum(c for _, c in gpus_total) // max(1, sum(c for _, c in gres_counts(request.gpus_per_task))))
        elif request.nodes_min is None and counted == 1:
            ntasks = 1
            nodes_max = 1
    elif request.nodes_min is not None and ntasks < nodes_min:
        nodes_min = ntasks
        nodes_max = max(ntasks, nodes_max) if nodes_max else ntasks
    cpus_per_task = request.cpus_per_task or 1
    per_node_mib, per_cpu_mib = request.mem_per_node_mib, request.mem_per_cpu_mib
    nodes = nodes_min if nodes_min == nodes_max else 0
    cpus_per_gpu, mem_per_gpu_mib = per_gpu(state.config, partitions, request, gpus_total)
    follows = (cpus_per_gpu or mem_per_gpu_mib) and anywhere(request, gpus_total, nodes)
    if follows and mem_per_gpu_mib:
        per_node_mib, per_cpu_mib = NO_MEMORY
    if (cpus_per_gpu or mem_per_gpu_mib) and not follows:
        gpus = gpus_together(request, gpus_total, nodes)
        if cpus_per_gpu:
            on_node = 1 if request.gpus_per_task else per_node or -(-max(ntasks, nodes_min) // nodes_min)
            cpus_per_task = -(-cpus_per_gpu * gpus // on_node)
        if mem_per_gpu_mib and request.gpus_per_task:
            per_cpu_mib = -(-mem_per_gpu_mib * gpus // cpus_per_task)
        elif mem_per_gpu_mib:
            per_node_mib = mem_per_gpu_mib * gpus
    if per_node_mib is None and per_cpu_mib is None:
        per_node_mib, per_cpu_mib = default_memory(state, partitions)
    asked = Memory(per_node_mib, per_cpu_mib, cpus_per_task)
    memory = within_limits(state.config, partitions, asked, per_node or -(-max(ntasks, nodes_min) // nodes_min))
    per_node_mib, per_cpu_mib, cpus_per_task = memory.per_node_mib, memory.per_cpu_mib, memory.cpus_per_task
    if follows and mem_per_gpu_mib:
        per_node_mib = per_cpu_mib = None
    elif per_node_mib == 0 or (per_cpu_mib == 0 and per_node_mib is None):
        per_node_mib, per_cpu_mib = WHOLE_NODE, None
    try:
        return Request(
            nodes_min=nodes_min,
            nodes_max=nodes_max,
            ntasks=ntasks,
            cpus_per_task=cpus_per_task,
            ntasks_per_node=per_node,
            memory_per_node_mib=per_node_mib or 0,
            memory_per_cpu_mib=per_cpu_mib or 0,
            gres_per_node=merge_counts(gres_counts(request.gres), gres_counts(request.gpus_per_node)),
            gres_per_task=gres_counts(request.gpus_per_task),
            gres_total=gpus_total if not request.gpus_per_task else (),
            cpus_per_gpu=cpus_per_gpu if follows else 0,
            memory_per_gpu_mib=mem_per_gpu_mib if follows else 0,
            cpus_per_node=request.mincpus or 0,
            exclusive=request.exclusive,
            required_nodes=node_names(state, request.nodelist),
            excluded_nodes=node_names(state, request.exclude),
            constraint=constraint,
            prefer=constraint_text(request.prefer, err.ESLURM_INVALID_PREFER),
            contiguous=request.contiguous,
            switches=request.switches or 0,
            segment=request.segment or 0,
            licenses=licenses,
            any_license=any_license,
        )
    except ValueError as error:
        names = {gres_name(item) for item in request.gres}
        code = err.ESLURM_INVALID_GRES if "shard" in names else err.ESLURM_INVALID_NODE_COUNT
        raise SlurmError(code, detail=str(error)) from error


def per_gpu(config: ClusterConfig, partitions: tuple[Partition, ...], request: SubmitRequest, total: GresCounts) -> tuple[int, int]:
    """CPUs and MiB a GPU: as asked, else DefCpuPerGPU and DefMemPerGPU of the partition or the cluster where the job has GPUs and said
    nothing about its CPUs (its memory); 0: none."""
    cpus, mib = request.cpus_per_gpu or 0, request.mem_per_gpu_mib or 0
    asked = (*total, *gres_counts(request.gres), *gres_counts(request.gpus_per_node), *gres_counts(request.gpus_per_task))
    if any(gres_name(key) == "gpu" for key, _ in asked):
        first = partitions[0]
        if not cpus and request.cpus_per_task is None:
            cpus = first.def_cpus_per_gpu or config.def_cpus_per_gpu
        if not mib and request.mem_per_node_mib is None and request.mem_per_cpu_mib is None:
            mib = first.def_mem_per_gpu_mib or config.def_mem_per_gpu_mib
    return cpus, mib


def anywhere(request: SubmitRequest, total: GresCounts, nodes: int) -> bool:
    """Whether only the planner knows how many of the GPUs a node gets: --gpus alone, without a number of nodes that divides it."""
    others = (*request.gpus_per_task, *request.gres, *request.gpus_per_node)
    gpus = sum(count for _, count in total)
    return len(total) == 1 and not any(gres_name(item) == "gpu" for item in others) and not (nodes and gpus % nodes == 0)


def tasks_by_gpus(request: SubmitRequest, ntasks: int, total: GresCounts) -> tuple[int, int, GresCounts]:
    """(tasks, tasks a node, GPUs in total) of --ntasks-per-gpu: the GPUs give the tasks, or the tasks the GPUs."""
    each = request.ntasks_per_gpu or 1
    if total:
        return ntasks or each * sum(count for _, count in total), 0, total
    on_node = sum(count for key, count in gres_counts((*request.gres, *request.gpus_per_node)) if gres_name(key) == "gpu")
    if on_node:
        return ntasks, each * on_node, ()
    if not ntasks or ntasks % each:
        text = f"--ntasks-per-gpu={each} needs GPUs, or --ntasks that it divides"
        raise SlurmError(err.ESLURM_INVALID_GRES, detail=text)
    return ntasks, 0, (("gpu", ntasks // each),)


def default_memory(state: State, partitions: tuple[Partition, ...]) -> tuple[int | None, int | None]:
    """(MiB per node, MiB per CPU) where the user said nothing: the configuration's, else the node's memory divided by its CPUs."""
    config = state.config
    for partition in partitions:
        if partition.def_mem_per_node_mib:
            return partition.def_mem_per_node_mib, None
        if partition.def_mem_per_cpu_mib:
            return None, partition.def_mem_per_cpu_mib
    if config.def_mem_per_node_mib:
        return config.def_mem_per_node_mib, None
    if config.def_mem_per_cpu_mib:
        return None, config.def_mem_per_cpu_mib
    shares = [node.memory_mib // node.cpus for node in state.nodes.values() if node.cpus and node.memory_mib]
    return (None, max(1, min(shares))) if shares else (None, None)


def gres_counts(items: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """`gpu:2`, `gpu:a100:2` as sorted (key, count) pairs; counts of one key add up."""
    counts: dict[str, int] = {}
    for item in items:
        key, _, number = item.rpartition(":")
        if not key or not (number.isascii() and number.isdecimal()) or len(number) > len(str(COUNT_MAX)):
            raise SlurmError(err.ESLURM_INVALID_GRES)
        if int(number):
            counts[key] = counts.get(key, 0) + int(number)
    if any(count > COUNT_MAX for count in counts.values()):
        raise SlurmError(err.ESLURM_INVALID_GRES)
    names = [key.partition(":")[0] for key in counts]
    if any(name in counts and len(key) > len(name) for key, name in zip(counts, names, strict=True)):
        raise SlurmError(err.ESLURM_INVALID_GRES_TYPE)
    return tuple(sorted(counts.items()))


def merge_counts(first: tuple[tuple[str, int], ...], second: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """--gres and --gpus-per-node together; the same key twice is an error, as in Slurm 26.05."""
    if first and second and {k for k, _ in first} & {k for k, _ in second}:
        raise SlurmError(err.ESLURM_INVALID_GRES)
    return tuple(sorted(first + second))


def gpus_together(request: SubmitRequest, total: tuple[tuple[str, int], ...], nodes: int) -> int:
    """GPUs of one task with --gpus-per-task, else of one node: what --cpus-per-gpu and --mem-per-gpu multiply. `nodes` is the number of
    nodes, 0 where it is the scheduler's choice; then --gpus does not say how many a node has, and the request is refused."""
    for counts in (request.gpus_per_task, (*request.gres, *request.gpus_per_node)):
        gpus = sum(count for key, count in gres_counts(counts) if gres_name(key) == "gpu")
        if gpus:
            return gpus
    gpus = sum(count for _, count in total)
    if gpus and nodes and gpus % nodes == 0:
        return gpus // nodes
    lacking = "--gpus that divide by the number of nodes (-N)" if gpus else "--gpus"
    text = f"--cpus-per-gpu and --mem-per-gpu need --gpus-per-node, --gpus-per-task, --gres=gpu or {lacking}"
    raise SlurmError(err.ESLURM_INVALID_GRES, detail=text)


def constraint_text(text: str, code: int) -> str:
    """A checked --constraint or --prefer, as it is kept and shown: `&` for `,`. SlurmError(code) for what is none."""
    if text:
        try:
            parsed(text)
        except SpecError as error:
            raise SlurmError(code, detail=str(error)) from error
    return text.replace(",", "&")


def node_names(state: State, text: str) -> tuple[str, ...]:
    """Names of a hostlist; ESLURM_INVALID_NODE_NAME for one that is not configured."""
    if not text:
        return ()
    try:
        names = hostlist.expand(text)
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_NODE_NAME, detail=str(error)) from error
    for name in names:
        if state.nodes and name not in state.nodes:
            raise SlurmError(err.ESLURM_INVALID_NODE_NAME)
    return tuple(dict.fromkeys(names))
