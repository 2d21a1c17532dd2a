"""Facts of one node as people see them: what is given out on it, its state word, its GPUs.

A simulated GPU says so wherever it is shown: `gpu:h100:2(simulated)`, in the place where Slurm puts socket numbers
(`gpu:h100:2(S:0-1)`), so that what reads `gpu:TYPE:COUNT` goes on working.
"""

from __future__ import annotations

from collections.abc import Generator

from penstock.controller.views.chunks import PAUSE, slices
from penstock.engine.state import SUSPENDED, Job, Node, State
from penstock.spec import arrays, states

SIMULATED = "(simulated)"


class Occupancy:
    """What jobs hold on one node."""

    __slots__ = ("completing", "cpus", "gpus", "memory_mib", "running", "shards")

    def __init__(self) -> None:
        self.cpus = 0
        self.memory_mib = 0
        self.gpus: set[str] = set()
        """Held whole."""
        self.shards: dict[str, int] = {}
        """UUID to how many of its shards are held."""
        self.running = 0
        """Jobs that run or are suspended here."""
        self.completing = 0
        """Jobs that have ended and have not been cleaned up here."""


EMPTY = Occupancy()


def occupancy(state: State) -> Generator[bytes, None, dict[str, Occupancy]]:
    """By node; nodes without jobs are missing."""
    found: dict[str, Occupancy] = {}
    for part in slices(list(state.jobs.values())):
        for job in part:
            if job.nodes_left:
                _add(found, job)
        yield PAUSE
    return found


def _add(found: dict[str, Occupancy], job: Job) -> None:
    ending = job.state > SUSPENDED
    left = job.nodes_left
    shed = job.shed
    for alloc in (*job.allocs, *shed):
        if alloc.node not in left:
            continue
        held = found.get(alloc.node)
        if held is None:
            held = found[alloc.node] = Occupancy()
        held.cpus += alloc.cpus
        held.memory_mib += alloc.memory_mib
        if alloc.shards:
            held.shards[alloc.gpus[0]] = held.shards.get(alloc.gpus[0], 0) + alloc.shards
        else:
            held.gpus.update(alloc.gpus)
        if ending or (shed and alloc in shed):
            held.completing += 1
        else:
            held.running += 1


def state_number(node: Node, held: Occupancy) -> int:
    """Base and flags as Slurm numbers them (`penstock.spec.states`)."""
    if node.down:
        number = states.NODE_DOWN
    elif not node.registered:
        number = states.NODE_UNKNOWN
    elif held.running and held.cpus >= node.cpus:
        number = states.NODE_ALLOCATED
    elif held.running:
        number = states.NODE_MIXED
    else:
        number = states.NODE_IDLE
    if held.completing:
        number |= states.NODE_COMPLETING
    if node.drain:
        number |= states.NODE_DRAIN
    if node.registered and not node.responding:
        number |= states.NODE_NOT_RESPONDING
    return number


def is_other(number: int) -> bool:
    """Whether sinfo counts the node's free CPUs as Other: it would not start a job."""
    base = number & states.NODE_BASE
    return bool(number & states.NODE_DRAIN) or base in (states.NODE_DOWN, states.NODE_UNKNOWN)


def cpu_states(node: Node, held: Occupancy, number: int) -> tuple[int, int, int, int]:
    """Allocated, idle, other, total."""
    allocated = min(held.cpus, node.cpus)
    free = node.cpus - allocated
    return (allocated, 0, free, node.cpus) if is_other(number) else (allocated, free, 0, node.cpus)


def gres_text(node: Node) -> str:
    """`gpu:h100:2`, types in the order of the node's GPUs; "" without GPUs."""
    texts = [f"{_key(kind)}:{len(uuids)}{SIMULATED if simulated else ''}" for (kind, simulated), uuids in _kinds(node).items()]
    shards = sum([gpu.shards for gpu in node.gpus])
    return ",".join(texts + [f"shard:{shards}"] * bool(shards))


def gres_used_text(node: Node, held: Occupancy) -> str:
    """`gpu:h100:1(IDX:0)`; shards as `shard:5(-/4,5/4)`: of each GPU held and there, `-` where it is held whole."""
    out = []
    for (kind, simulated), gpus in _kinds(node).items():
        used = [index for uuid, index in gpus if uuid in held.gpus]
        where = arrays.format_ranges(arrays.from_indices(used)) if used else "N/A"
        out.append(f"{_key(kind)}:{len(used)}(IDX:{where}){SIMULATED if simulated else ''}")
    shared = [gpu for gpu in node.gpus if gpu.shards]
    if shared:
        each = [f"{'-' if gpu.uuid in held.gpus else held.shards.get(gpu.uuid, 0)}/{gpu.shards}" for gpu in shared]
        out.append(f"shard:{sum(held.shards.values())}({','.join(each)})")
    return ",".join(out)


def configured_tres(node: Node) -> dict[str, int]:
    counts = {"cpu": node.cpus, "mem": node.memory_mib, "billing": node.cpus}
    if node.gpus:
        counts["gres/gpu"] = len(node.gpus)
    if any([gpu.shards for gpu in node.gpus]):
        counts["gres/shard"] = sum([gpu.shards for gpu in node.gpus])
    return counts


def used_tres(held: Occupancy) -> dict[str, int]:
    counts: dict[str, int] = {}
    if held.cpus:
        counts["cpu"] = held.cpus
    if held.memory_mib:
        counts["mem"] = held.memory_mib
    if held.gpus:
        counts["gres/gpu"] = len(held.gpus)
    if held.shards:
        counts["gres/shard"] = sum(held.shards.values())
    return counts


def gpu_indices(state: State, node: str, uuids: tuple[str, ...]) -> str:
    """`0-1`: the positions of GPUs on their node today; "" when the node is gone."""
    known = state.nodes.get(node)
    if known is None:
        return ""
    return arrays.format_ranges(arrays.from_indices([gpu.index for gpu in known.gpus if gpu.uuid in uuids]))


def partitions_of(state: State, node: str) -> list[str]:
    return [partition.name for partition in state.config.partitions if not partition.nodes or node in partition.nodes]


def _key(kind: str) -> str:
    return f"gpu:{kind}" if kind else "gpu"


def _kinds(node: Node) -> dict[tuple[str, bool], list[tuple[str, int]]]:
    kinds: dict[tuple[str, bool], list[tuple[str, int]]] = {}
    for gpu in node.gpus:
        kinds.setdefault((gpu.type, gpu.simulated), []).append((gpu.uuid, gpu.index))
    return kinds
