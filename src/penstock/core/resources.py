"""A request resolved against the pools of one view: the vectors that feasibility and placement compute with.

All arithmetic is on int64. A node holds ``tasks`` tasks of a demand when, row by row, the fixed part plus ``tasks`` times the
part per task is there. GRES need care because ``gpu`` may be met from several pools and ``gpu:a100`` from one of them: the sets
of pools are nested, so it is enough that each set holds the sum of what draws from it (Hall's condition), and drawing typed
needs first never fails where the sums fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from penstock.core.request import WHOLE_NODE, Request, gres_name
from penstock.core.slots import MARK, PARTS_OF, sevenths, slot_rows
from penstock.core.view import FIRST_POOL

UNBOUNDED = 1 << 40
"""Stands for "no bound" in counts of tasks and nodes."""


class GresNeed(NamedTuple):
    """``rows`` of the resource matrix can meet this, unit by unit, and ``slots`` device by device (see ``slots``), in parts where
    ``part`` is true, else whole. Both are empty where no node has such a pool. Counts are devices, or shares of one device a node."""

    key: str
    rows: tuple[int, ...]
    per_node: int
    per_task: int
    in_total: int
    slots: tuple[int, ...] = ()
    part: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """A Request in numbers.

    ntasks            tasks of the element, 0 where the nodes decide
    tasks_each        tasks on each node where ``ntasks`` is 0
    tasks_cap         most tasks on one node
    *_per_device      CPUs and MiB of a node for each device of the total it holds; 0: none of its own
    cpus_per_node     fewest CPUs on each node; 0: as its tasks need
    fits              conditions on a node; a need without a type includes what its typed siblings ask for
    draws             what is taken, typed needs first
    """

    request: Request
    ntasks: int
    tasks_each: int
    tasks_cap: int
    cpus_per_task: int
    memory_per_task_mib: int
    memory_per_node_mib: int
    whole_memory: bool
    fits: tuple[GresNeed, ...]
    draws: tuple[GresNeed, ...]
    cpus_per_device: int = 0
    memory_per_device_mib: int = 0
    cpus_per_node: int = 0

    @property
    def least_tasks(self) -> int:
        """Fewest tasks that a node of this job runs."""
        return 1 if self.ntasks else self.tasks_each

    @property
    def wants_gres(self) -> bool:
        return bool(self.draws)

    @property
    def spreads(self) -> bool:
        """``-N min-max``: as many nodes as can be had; with GPUs in total as few as have them."""
        return self.request.nodes_max > self.request.nodes_min and not self.request.gres_total

    @property
    def fits_one_node(self) -> bool:
        """Whether one node may hold the whole element, so that copies on a node can be counted by division."""
        request = self.request
        alone = request.nodes_min == 1 and len(request.required_nodes) <= 1 and not self.spreads
        return alone and (self.ntasks or self.tasks_each) <= self.tasks_cap

    @property
    def may_split(self) -> bool:
        """Whether the element may sit on more than one node."""
        request = self.request
        if request.nodes_max == 1 or self.ntasks == 1:
            return False
        return bool(request.nodes_min > 1 or self.spreads or self.ntasks or request.gres_total or len(request.required_nodes) > 1)


def rows_of(pools: tuple[str, ...], key: str) -> tuple[int, ...]:
    """Rows of the resource matrix that meet ``key``: its own pool, and where it has no type every pool of that name."""
    if ":" in key:
        return tuple(FIRST_POOL + at for at, pool in enumerate(pools) if pool == key)
    return tuple(FIRST_POOL + at for at, pool in enumerate(pools) if gres_name(pool) == key and MARK not in pool)


def resolve(request: Request, pools: tuple[str, ...]) -> Demand:
    """The numbers of ``request`` where nodes have these ``pools``."""
    draws: list[GresNeed] = []
    for kind, counts in enumerate((request.gres_per_node, request.gres_per_task, request.gres_total)):
        for key, count in counts:
            per_node, per_task, in_total = (count if kind == way else 0 for way in range(3))
            slots = slot_rows(pools, key)
            part = bool(slots) and gres_name(key) in PARTS_OF
            draws.append(GresNeed(key, () if part else rows_of(pools, key), per_node, per_task, in_total, slots, part))
    draws.sort(key=lambda need: (":" not in need.key, need.key))
    tasks_each = max(1, request.ntasks_per_node)
    return Demand(
        request=request,
        ntasks=request.ntasks,
        tasks_each=tasks_each,
        tasks_cap=request.ntasks_per_node or UNBOUNDED,
        cpus_per_task=request.cpus_per_task,
        memory_per_task_mib=request.memory_per_cpu_mib * request.cpus_per_task,
        memory_per_node_mib=max(0, request.memory_per_node_mib),
        whole_memory=request.memory_per_node_mib == WHOLE_NODE,
        fits=tuple(_with_siblings(need, draws) for need in draws),
        draws=tuple(_own_pools_first(need, draws, pools) for need in draws),
        cpus_per_device=request.cpus_per_gpu,
        memory_per_device_mib=request.memory_per_gpu_mib or request.memory_per_cpu_mib * request.cpus_per_gpu,
        cpus_per_node=request.cpus_per_node,
    )


def _own_pools_first(need: GresNeed, draws: list[GresNeed], pools: tuple[str, ...]) -> GresNeed:
    """A need without a type leaves the pools of its typed siblings for them as long as it can, and takes whole GPUs before slices of some:
    who names no type hardly means a slice."""
    if len(need.rows) < 2:
        return need
    taken = [row for other in draws if ":" in other.key for row in other.rows]
    return need._replace(rows=tuple(sorted(need.rows, key=lambda row: (row in taken, -sevenths(pools[row - FIRST_POOL]), row))))


def _with_siblings(need: GresNeed, draws: list[GresNeed]) -> GresNeed:
    if ":" in need.key:
        return need
    family = [other for other in draws if gres_name(other.key) == need.key]
    return need._replace(
        per_node=sum(other.per_node for other in family),
        per_task=sum(other.per_task for other in family),
        in_total=sum(other.in_total for other in family),
    )
