"""Steps: which part of a job's allocation a step gets, and how its tasks lie on the nodes.

A sub-reducer keyed by job: it reads one job and its steps, so that a step manager on the job's first node could host it. Slurm's
rules since 20.11: a step holds what it uses against other steps unless --overlap is given; without --exact it takes all CPUs the
job has on its nodes; it gets all of the job's GPUs there unless it asks for fewer. A step that names no memory is bounded by the
job's and consumes none of it, so that parallel steps of a job with --mem do not wait for each other.
"""

from __future__ import annotations

import msgspec

from penstock.engine.indexes import Indexes
from penstock.engine.request import broken_bound, parse_rlimits
from penstock.engine.state import RUNNING, SUSPENDED, Job, NodeAlloc, State
from penstock.engine.step_devices import Free, Wish, bounded, chosen, fits, wish_of
from penstock.spec import errors as err
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.request_values import COUNT_MAX, MEMORY_MAX_MIB, TIME_MAX_S

MAX_TASKS_PER_STEP = 65_536
KEY_MAX_BYTES = 256


class StepRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What srun asks for; absent numbers are None."""

    job_id: int
    argv: tuple[str, ...] = ()
    name: str = ""
    ntasks: int | None = None
    nodes_min: int | None = None
    nodes_max: int | None = None
    cpus_per_task: int | None = None
    ntasks_per_node: int | None = None
    mem_per_node_mib: int | None = None
    mem_per_cpu_mib: int | None = None
    gres: tuple[str, ...] | None = None
    """None: not given, so the step gets the job's; ("none",): no devices."""
    gpus: tuple[str, ...] = ()
    gpus_per_node: tuple[str, ...] = ()
    gpus_per_task: tuple[str, ...] = ()
    exact: bool = False
    overlap: bool = False
    exclusive: bool = False
    whole: bool = False
    overcommit: bool = False
    nodelist: str = ""
    exclude: str = ""
    relative: int | None = None
    immediate_s: int | None = None
    time_limit_s: int | None = None
    distribution: str = ""
    work_dir: str = ""
    umask: int | None = None
    rlimits: tuple[str, ...] = ()
    stdin: str = "client"
    stdout: str = "client"
    stderr: str = "client"
    append: bool = False
    pty: bool = False
    rows: int = 0
    columns: int = 0
    unbuffered: bool = False
    address: str = ""
    key: str = ""
    multi_prog: tuple[str, ...] = ()
    wait_for_children: bool = False
    submit_line: str = ""
    export: str = ""


BOUNDS = {
    "job_id": (0, 2**53),
    "ntasks": (1, MAX_TASKS_PER_STEP),
    "nodes_min": (1, COUNT_MAX),
    "nodes_max": (1, COUNT_MAX),
    "cpus_per_task": (1, COUNT_MAX),
    "ntasks_per_node": (1, COUNT_MAX),
    "mem_per_node_mib": (0, MEMORY_MAX_MIB),
    "mem_per_cpu_mib": (0, MEMORY_MAX_MIB),
    "relative": (0, COUNT_MAX),
    "immediate_s": (0, TIME_MAX_S),
    "time_limit_s": (0, TIME_MAX_S),
    "umask": (0, 0o777),
    "rows": (0, 0xFFFF),
    "columns": (0, 0xFFFF),
}
"""Smallest and largest value of each number. The commands keep them; a stranger at the socket is told."""


def refusal(request: StepRequest) -> str:
    """Why the request breaks a bound, or "". Everything that is later made from it (placement, the launch message) relies on this."""
    problem = broken_bound(request, BOUNDS)
    if problem:
        return problem
    try:
        key = bytes.fromhex(request.key)
    except ValueError:
        return "key is not hexadecimal"
    if len(key) > KEY_MAX_BYTES:
        return f"key has {len(key)} bytes, {KEY_MAX_BYTES} are allowed"
    for line in request.multi_prog:
        number = line.partition("\x1f")[0]
        if not (number.isascii() and number.isdecimal()) or int(number[:9]) >= MAX_TASKS_PER_STEP:
            return f"multi_prog: {number[:32]} is no task number below {MAX_TASKS_PER_STEP}"
    parse_rlimits(request.rlimits)
    return ""


def free_on(state: State, indexes: Indexes, job: Job, alloc: NodeAlloc, overlap: bool) -> Free:
    """The job's part of a node less what its other steps hold there; an overlapping step sees all of it."""
    cpus, memory_mib, gpus = alloc.cpus, alloc.memory_mib, alloc.gpus
    if not overlap:
        for step_id in indexes.steps_of.get(job.id, ()):
            step = state.steps[(job.id, step_id)]
            if step.overlap or alloc.node not in step.nodes_left:
                continue
            for held in step.allocs:
                if held.node == alloc.node:
                    cpus -= held.cpus
                    memory_mib -= held.memory_mib
                    if not alloc.shards:
                        gpus = tuple(uuid for uuid in gpus if uuid not in held.gpus)
    return Free(cpus, memory_mib, gpus, alloc.shards, gpu_types(state, alloc))


def gpu_types(state: State, alloc: NodeAlloc) -> dict[str, str]:
    """UUID to type; empty where the node is gone or the allocation has no GPU."""
    node = state.nodes.get(alloc.node) if alloc.gpus else None
    return {} if node is None else {gpu.uuid: gpu.type for gpu in node.gpus}


def place(state: State, indexes: Indexes, job: Job, request: StepRequest) -> tuple[NodeAlloc, ...] | None:
    """The step's allocation (order of the job's nodes, tasks counted), None while the resources are busy; SlurmError if it can
    never fit into this job."""
    if job.state not in (RUNNING, SUSPENDED):
        raise SlurmError(err.ESLURM_ALREADY_DONE if job.state > SUSPENDED else err.ESLURM_JOB_PENDING)
    candidates = chosen_nodes(job, request)
    cpus_per_task = request.cpus_per_task or 1
    nodes_min = request.nodes_min or 1
    ntasks = request.ntasks or 0
    if not ntasks:
        spread = request.nodes_min or len(candidates)
        ntasks = spread * (request.ntasks_per_node or 1)
        nodes_min = min(spread, ntasks)
    most = state.config.max_tasks_per_node
    if ntasks > min(MAX_TASKS_PER_STEP, most * len(candidates)):
        raise SlurmError(err.ESLURM_BAD_TASK_COUNT)
    nodes_min = min(nodes_min, ntasks)
    nodes_max = min(request.nodes_max or len(candidates), ntasks)
    if nodes_min > len(candidates):
        raise SlurmError(err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE if nodes_min <= len(job.allocs) else err.ESLURM_INVALID_NODE_COUNT)
    own = [Free(alloc.cpus, alloc.memory_mib, alloc.gpus, types=gpu_types(state, alloc)) for alloc in candidates]
    whole = [min(most, fit_node(have, request, cpus_per_task)) for have in own]
    if spread_tasks(whole, ntasks, nodes_min, nodes_max) is None:
        raise SlurmError(err.ESLURM_TOO_MANY_REQUESTED_CPUS if sum(whole) < ntasks else err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)
    exact = not request.whole and (request.exact or request.cpus_per_task is not None or request.exclusive)
    free = [free_on(state, indexes, job, alloc, request.overlap) for alloc in candidates]
    room = [min(most, fit_node(have, request, cpus_per_task)) for have in free]
    if not exact and not request.overlap:
        room = [n if have.cpus >= alloc.cpus else 0 for n, have, alloc in zip(room, free, candidates, strict=True)]
    layout = spread_tasks(room, ntasks, nodes_min, nodes_max)
    if layout is None:
        return None
    allocs = []
    gpus_left = wish_of(request.gpus)
    for alloc, have, count in zip(candidates, free, layout, strict=True):
        if not count:
            continue
        gpus = step_gpus(request, have, count, gpus_left)
        memory_mib = request.mem_per_node_mib or (request.mem_per_cpu_mib or 0) * count * cpus_per_task
        allocs.append(
            NodeAlloc(alloc.node, min(count * cpus_per_task, have.cpus) if exact else alloc.cpus, memory_mib, gpus, count, have.shards)
        )
    return tuple(allocs)


def chosen_nodes(job: Job, request: StepRequest) -> list[NodeAlloc]:
    """The job's nodes that the step may use: --nodelist, --exclude, --relative."""
    allocs = list(job.allocs)
    try:
        wanted = hostlist.expand(request.nodelist) if request.nodelist else []
        excluded = hostlist.expand(request.exclude) if request.exclude else []
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_NODE_NAME, detail=str(error)) from error
    names = [alloc.node for alloc in allocs]
    if any(name not in names for name in wanted):
        raise SlurmError(err.ESLURM_INVALID_NODE_NAME)
    if request.relative is not None:
        if request.relative >= len(allocs):
            raise SlurmError(err.ESLURM_INVALID_NODE_COUNT)
        allocs = allocs[request.relative :]
    allocs = [a for a in allocs if a.node not in excluded and (not wanted or a.node in wanted)]
    if not allocs:
        raise SlurmError(err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE)
    return allocs


def step_gpus(request: StepRequest, have: Free, ntasks: int, left: Wish) -> tuple[str, ...]:
    """UUIDs of the step on a node where so many of its tasks run; `left` of --gpus is lowered. Without a wish all that are free."""
    if have.shards:
        return have.gpus
    if request.gpus_per_task:
        return chosen(have, wish_of(request.gpus_per_task), ntasks)
    if request.gpus_per_node or request.gres is not None:
        return chosen(have, wish_of(request.gpus_per_node or request.gres))
    return bounded(have, left) if request.gpus else have.gpus


def fit_node(have: Free, request: StepRequest, cpus_per_task: int) -> int:
    """How many tasks fit into what is free on a node."""
    room = have.cpus // cpus_per_task
    if request.overcommit and have.cpus > 0:
        room = MAX_TASKS_PER_STEP
    if request.ntasks_per_node:
        room = min(room, request.ntasks_per_node)
    if request.mem_per_cpu_mib:
        room = min(room, have.memory_mib // (request.mem_per_cpu_mib * cpus_per_task))
    if request.mem_per_node_mib and have.memory_mib and request.mem_per_node_mib > have.memory_mib:
        return 0
    each = wish_of(request.gpus_per_task)
    on_node = {} if each or have.shards else wish_of(request.gpus_per_node or request.gres)
    if each:
        room = min(room, fits(have, each))
    elif (on_node and not fits(have, on_node)) or (request.gpus and not on_node and not chosen(have, wish_of(request.gpus))):
        return 0
    return max(0, room)


def spread_tasks(room: list[int], ntasks: int, nodes_min: int, nodes_max: int) -> list[int] | None:
    """Tasks per node: dealt out in rounds over as few nodes as the limits allow (at least nodes_min), None if they do not fit.
    Slurm deals in rounds to count, then numbers the ranks in blocks."""
    usable = [i for i, n in enumerate(room) if n > 0]
    for width in range(nodes_min, min(nodes_max, len(usable)) + 1):
        chosen = usable[:width]
        if sum(room[i] for i in chosen) < ntasks:
            if width == min(nodes_max, len(usable)):
                best = sorted(usable, key=lambda i: -room[i])[:width]
                if sum(room[i] for i in best) < ntasks:
                    return None
                chosen = sorted(best)
            else:
                continue
        layout = [0] * len(room)
        left = ntasks
        while left:
            for i in chosen:
                if left and layout[i] < room[i]:
                    layout[i] += 1
                    left -= 1
        return layout
    return None


def ranks_of(allocs: tuple[NodeAlloc, ...], distribution: str) -> list[tuple[int, ...]]:
    """Global ranks of each node: in blocks, or dealt out one by one for --distribution=cyclic."""
    if distribution.startswith("cyclic"):
        ranks: list[list[int]] = [[] for _ in allocs]
        rank, total = 0, sum(alloc.ntasks for alloc in allocs)
        while rank < total:
            for alloc, mine in zip(allocs, ranks, strict=True):
                if len(mine) < alloc.ntasks:
                    mine.append(rank)
                    rank += 1
        return [tuple(mine) for mine in ranks]
    out, at = [], 0
    for alloc in allocs:
        out.append(tuple(range(at, at + alloc.ntasks)))
        at += alloc.ntasks
    return out
