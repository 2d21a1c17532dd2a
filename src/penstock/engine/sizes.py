"""The sizes of a job: from what was asked to the planner's request, with the defaults of partition and cluster filled in.

Nodes, tasks, CPUs, memory and GPUs follow from each other in Slurm's ways (--ntasks-per-gpu, --cpus-per-gpu, --mem-per-gpu,
DefCpuPerGPU...); where only the planner knows how many GPUs a node gets, the sizes that follow are left to it.

Guarantees: what is given in several forms (-N, -n, --nodelist, and GPUs per node, per task and in total) agrees, see `spec.sizes`, or is
refused; GPUs in total without a number of nodes take as many nodes as they need; a job that names nodes has them all.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.core.request import WHOLE_NODE, GresCounts, Request, gres_name, parsed
from penstock.engine.admission import Memory, licenses_asked, within_limits
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.request import SubmitRequest
from penstock.engine.state import State
from penstock.spec import errors as err
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.request_values import COUNT_MAX
from penstock.spec.sizes import Size, agreed

NO_MEMORY = (0, None)
"""(MiB a node, MiB a CPU) of a job whose GPUs bring their memory."""


class Gpus(NamedTuple):
    """GRES of a job, each key in one form only."""

    per_node: GresCounts
    per_task: GresCounts
    total: GresCounts


def resolve_request(state: State, partitions: tuple[Partition, ...], request: SubmitRequest) -> Request:
    """The planner's request: sizes with Slurm's defaults, memory per node or per CPU."""
    constraint = constraint_text(request.constraint, err.ESLURM_INVALID_FEATURE)
    licenses, any_license = licenses_asked(state.config, request.licenses)
    named = node_names(state, request.nodelist)
    size, gpus = sizes_of(request, parsed(constraint).least_nodes if constraint else 1, len(named))
    cpus_per_task, cpus_per_node = request.cpus_per_task or 1, request.mincpus or 0
    per_node_mib, per_cpu_mib = request.mem_per_node_mib, request.mem_per_cpu_mib
    nodes = size.nodes_min if size.nodes_min == size.nodes_max else 0
    cpus_per_gpu, mem_per_gpu_mib = per_gpu(state.config, partitions, request, gpus)
    follows = (cpus_per_gpu or mem_per_gpu_mib) and anywhere(gpus, nodes)
    if follows and mem_per_gpu_mib:
        per_node_mib, per_cpu_mib = NO_MEMORY
    if (cpus_per_gpu or mem_per_gpu_mib) and not follows:
        together = gpus_together(gpus, nodes)
        if gpus.per_task:
            cpus_per_task = max(cpus_per_task, cpus_per_gpu * together)
        else:
            cpus_per_node = max(cpus_per_node, cpus_per_gpu * together)
        if mem_per_gpu_mib and gpus.per_task:
            per_cpu_mib = -(-mem_per_gpu_mib * together // cpus_per_task)
        elif mem_per_gpu_mib:
            per_node_mib = mem_per_gpu_mib * together
    if per_node_mib is None and per_cpu_mib is None:
        per_node_mib, per_cpu_mib = default_memory(state, partitions)
    asked = Memory(per_node_mib, per_cpu_mib, cpus_per_task)
    tasks_on_node = size.ntasks_per_node or -(-max(size.ntasks, size.nodes_min) // size.nodes_min)
    memory = within_limits(state.config, partitions, asked, tasks_on_node, cpus_per_node)
    per_node_mib, per_cpu_mib, cpus_per_task = memory.per_node_mib, memory.per_cpu_mib, memory.cpus_per_task
    if follows and mem_per_gpu_mib:
        per_node_mib = per_cpu_mib = None
    elif per_node_mib == 0 or (per_cpu_mib == 0 and per_node_mib is None):
        per_node_mib, per_cpu_mib = WHOLE_NODE, None
    try:
        return Request(
            nodes_min=size.nodes_min,
            nodes_max=size.nodes_max,
            ntasks=size.ntasks,
            cpus_per_task=cpus_per_task,
            ntasks_per_node=size.ntasks_per_node,
            memory_per_node_mib=per_node_mib or 0,
            memory_per_cpu_mib=per_cpu_mib or 0,
            gres_per_node=gpus.per_node,
            gres_per_task=gpus.per_task,
            gres_total=gpus.total,
            cpus_per_gpu=cpus_per_gpu if follows else 0,
            memory_per_gpu_mib=mem_per_gpu_mib if follows else 0,
            cpus_per_node=cpus_per_node,
            exclusive=request.exclusive,
            required_nodes=named,
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
        of_gres = any(name in str(error) for name in ("gpu", "gres", "shard"))
        raise SlurmError(err.ESLURM_INVALID_GRES if of_gres else err.ESLURM_INVALID_NODE_COUNT, detail=str(error)) from error


def sizes_of(request: SubmitRequest, counted: int, named: int) -> tuple[Size, Gpus]:
    """Nodes, tasks and GPUs of a job whose constraint counts so many nodes and which names so many."""
    given = request.nodes_min is not None
    size = Size(max(request.nodes_min or counted, named), request.nodes_max or 0, request.ntasks or 0, request.ntasks_per_node or 0)
    if given and 0 < size.ntasks < size.nodes_min:
        size.nodes_min = size.ntasks
        size.nodes_max = max(size.ntasks, size.nodes_max)
    named_or_counted = size.nodes_min
    size, gpus = agree(merge_counts(request.gres, request.gpus_per_node), request.gpus_per_task, request.gpus, size)
    if request.ntasks_per_gpu:
        gpus = tasks_by_gpus(request.ntasks_per_gpu, size, gpus, given)
    if size.ntasks:
        if size.ntasks < size.nodes_min and size.nodes_min > named_or_counted:  # so many nodes for the GPUs: some have no task
            size.ntasks = 0
    elif size.ntasks_per_node:
        size.nodes_max = size.nodes_max or (0 if gpus.total else size.nodes_min)
    elif not given and size.nodes_min == 1 and not gpus.total and size.nodes_max in (0, 1):
        size.ntasks = size.nodes_max = 1
    elif named and not gpus.total:
        size.nodes_max = size.nodes_max or size.nodes_min
    return size, gpus


def agree(per_node: GresCounts, per_task: tuple[str, ...], total: tuple[str, ...], size: Size) -> tuple[Size, Gpus]:
    """`spec.sizes.agreed` for the texts of a request; ESLURM_INVALID_GRES where they contradict each other."""
    try:
        *forms, size = agreed(dict(per_node), dict(gres_counts(per_task)), dict(gres_counts(total)), size)
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_GRES, detail=str(error)) from error
    return size, Gpus(*(tuple(sorted(form.items())) for form in forms))


def tasks_by_gpus(each: int, size: Size, gpus: Gpus, given: bool) -> Gpus:
    """--ntasks-per-gpu: the GPUs give the tasks, or the tasks (where the nodes are given, the nodes) the GPUs. Changes `size`."""
    on_node = sum(count for key, count in gpus.per_node if gres_name(key) == "gpu")
    fixed = size.nodes_min if size.nodes_min == size.nodes_max else 0
    total = sum(count for _, count in gpus.total) or on_node * fixed
    if not total and not on_node:
        if size.ntasks % each or not (size.ntasks or (given and fixed)):
            text = f"--ntasks-per-gpu={each} needs GPUs, or --ntasks that it divides"
            raise SlurmError(err.ESLURM_INVALID_GRES, detail=text)
        total = size.ntasks // each or fixed
        gpus = gpus._replace(total=(("gpu", total),))
    if total and size.ntasks > each * total:
        text = f"-n/--ntasks={size.ntasks} is more than --ntasks-per-gpu={each} allows on {total} GPUs, which is {each * total}"
        raise SlurmError(err.ESLURM_INVALID_GRES, detail=text)
    if on_node:
        size.ntasks_per_node = each * on_node
    else:
        size.ntasks = size.ntasks or each * total
        size.ntasks_per_node = -(-size.ntasks // fixed) if fixed else 0
    return gpus


def per_gpu(config: ClusterConfig, partitions: tuple[Partition, ...], request: SubmitRequest, gpus: Gpus) -> tuple[int, int]:
    """CPUs and MiB a GPU: as asked, else DefCpuPerGPU and DefMemPerGPU of the partition or the cluster where the job has GPUs and said
    nothing about its CPUs (its memory); 0: none."""
    cpus, mib = request.cpus_per_gpu or 0, request.mem_per_gpu_mib or 0
    if any(gres_name(key) == "gpu" for counts in gpus for key, _ in counts):
        first = partitions[0]
        if not cpus and request.cpus_per_task is None:
            cpus = first.def_cpus_per_gpu or config.def_cpus_per_gpu
        if not mib and request.mem_per_node_mib is None and request.mem_per_cpu_mib is None:
            mib = first.def_mem_per_gpu_mib or config.def_mem_per_gpu_mib
    return cpus, mib


def anywhere(gpus: Gpus, nodes: int) -> bool:
    """Whether only the planner knows how many of the GPUs a node gets: --gpus alone, without a number of nodes that divides it."""
    others = any(gres_name(key) == "gpu" for key, _ in (*gpus.per_node, *gpus.per_task))
    count = sum(count for _, count in gpus.total)
    return len(gpus.total) == 1 and not others and not (nodes and count % nodes == 0)


def gpus_together(gpus: Gpus, nodes: int) -> int:
    """GPUs of one task with --gpus-per-task, else of one node: what --cpus-per-gpu and --mem-per-gpu multiply. `nodes` is the number of
    nodes, 0 where it is the scheduler's choice; then --gpus does not say how many a node has, and the request is refused."""
    for counts in (gpus.per_task, gpus.per_node):
        together = sum(count for key, count in counts if gres_name(key) == "gpu")
        if together:
            return together
    total = sum(count for _, count in gpus.total)
    if total and nodes and total % nodes == 0:
        return total // nodes
    lacking = "--gpus that divide by the number of nodes (-N)" if total else "--gpus"
    text = f"--cpus-per-gpu and --mem-per-gpu need --gpus-per-node, --gpus-per-task, --gres=gpu or {lacking}"
    raise SlurmError(err.ESLURM_INVALID_GRES, detail=text)


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


def gres_counts(items: tuple[str, ...]) -> GresCounts:
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


def merge_counts(gres: tuple[str, ...], gpus_per_node: tuple[str, ...]) -> GresCounts:
    """--gres and --gpus-per-node together; the same key twice is an error, as in Slurm 26.05."""
    first, second = gres_counts(gres), gres_counts(gpus_per_node)
    if first and second and {k for k, _ in first} & {k for k, _ in second}:
        raise SlurmError(err.ESLURM_INVALID_GRES, detail="--gres and --gpus-per-node both say how many GPUs a node has")
    return tuple(sorted(first + second))


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
