"""The sizes of a job: from what was asked to the planner's request, with the defaults of partition and cluster filled in.

Nodes, tasks, CPUs, memory and GPUs follow from each other in Slurm's ways (--ntasks-per-gpu, --cpus-per-gpu, --mem-per-gpu,
DefCpuPerGPU...); where only the planner knows how many GPUs a node gets, the sizes that follow are left to it. What contradicts itself is
a SlurmError.
"""

from __future__ import annotations

from penstock.core.request import WHOLE_NODE, GresCounts, Request, gres_name, parsed
from penstock.engine.admission import Memory, licenses_asked, within_limits
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.request import SubmitRequest
from penstock.engine.state import State
from penstock.spec import errors as err
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.request_values import COUNT_MAX

NO_MEMORY = (0, None)
"""(MiB a node, MiB a CPU) of a job whose GPUs bring their memory."""


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
    together = sum(count for _, count in gpus_total) > 1 and request.nodes_min is None and not request.gpus_per_task
    if not ntasks:
        if together:  # on as many nodes as the GPUs need, with a task (or --ntasks-per-node) on each
            pass
        elif per_node:
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
