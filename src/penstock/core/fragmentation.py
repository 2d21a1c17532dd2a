"""How much of a node's free GPUs no typical request could use, and by how much a placement changes that.

Prior art: Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient Descent" (USENIX ATC
2023). For a request drawn from the expected mix, the free GPUs of a node are a fragment if the request does not fit there at all
(too few CPUs, too few devices, devices that it may not use, or no wish for GPUs), else those of its devices that have too little room
for it. The expected fragment of a node is the sum over the mix by weight; the best node, and device, for a placement is where the sum
grows least.

All amounts are integers: thousandths of a device times weights of the mix, which sum to MIX_WEIGHT. A request counts as what its first
kind of GPU asks of one node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from penstock.core.cuttings import WORTH, worth_of_rests
from penstock.core.plan import Reason
from penstock.core.request import Request, gres_name
from penstock.core.resources import Demand, GresNeed
from penstock.core.sites import locate
from penstock.core.slots import MARK, PARTS_OF, SLICES, sevenths
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Bool, Int64, Partition, View

MIX_WEIGHT = 1 << 20
"""Fine enough that what is lost by rounding weights down, which counts as a fragment, does not matter."""
MILLI = 1000
"""A whole device."""
WHOLE = -1
"""As ``shares``: as many as the device has."""
NEVER_ENOUGH = 1 << 40
MOST_CAPACITIES = 8
"""Kinds of shared devices, by their number of shares, whose remainders are valued; those of others are not."""
DEVICE_NAMES = (*PARTS_OF, *PARTS_OF.values())


class PerNode(NamedTuple):
    """What an element asks of one node: CPUs, memory, so many devices (0: none), and of each so many shares (or WHOLE)."""

    cpus: int
    memory_mib: int
    devices: int
    shares: int
    need: GresNeed | None


def per_node(demand: Demand) -> PerNode:
    """Of an element that sits on several nodes: its least on one of them."""
    tasks = (demand.ntasks or demand.tasks_each) if demand.fits_one_node else demand.least_tasks
    memory_mib = demand.memory_per_node_mib or tasks * demand.memory_per_task_mib
    need = next((need for need in demand.draws if gres_name(need.key) in DEVICE_NAMES), None)
    if need is None:
        return PerNode(tasks * demand.cpus_per_task, memory_mib, 0, WHOLE, None)
    count = need.per_node + tasks * need.per_task + (need.in_total if demand.fits_one_node else min(1, need.in_total))
    devices, shares = (1, count) if need.part else (count, WHOLE)
    return PerNode(tasks * demand.cpus_per_task, memory_mib, devices, shares, need)


def device_milli(pool: str) -> int:
    """Thousandths of a whole device that one of this pool is: less than all for a slice (MIG)."""
    return MILLI * sevenths(pool) // SLICES


class Fragments:
    """The cost of what nodes have free under a mix: requests and how often each is expected. ``fragmentation`` and ``stranding`` weigh
    the two parts of it, in per cent, and ``remainders`` what is added where a part is cut from a device."""

    def __init__(self, view: View, mix: Mapping[Request, int], fragmentation: int = 100, stranding: int = 0, remainders: int = 0) -> None:
        nodes = view.nodes
        self._total = nodes.total
        self._slots = [FIRST_POOL + row for row, pool in enumerate(nodes.pools) if MARK in pool]
        self._plain = [
            FIRST_POOL + row for row, pool in enumerate(nodes.pools) if MARK not in pool and gres_name(pool) in PARTS_OF.values()
        ]
        asked: list[PerNode] = []
        access: list[Bool] = []
        weights: list[int] = []
        everywhere = Partition("", np.ones(len(nodes), np.bool_))
        for request, weight in mix.items():
            sites = locate(nodes, everywhere, request)
            if not isinstance(sites, Reason):
                wish = per_node(sites[-1].demand)
                if wish.need is not None:
                    asked.append(wish)
                    access.append(np.logical_or.reduce([site.anywhere for site in sites if not site.soft]))
                    weights.append(weight)
        scale = max(1, sum(mix.values()))
        self._count: Int64 = np.array(weights, np.int64)
        """Of the typical requests that ask for devices and have nodes, in the order of the mix; so are all that follow."""
        self._weight: Int64 = self._count * MIX_WEIGHT // scale
        self._cpus: Int64 = np.array([wish.cpus for wish in asked], np.int64)
        self._memory_mib: Int64 = np.array([wish.memory_mib for wish in asked], np.int64)
        self._devices: Int64 = np.array([wish.devices for wish in asked], np.int64)
        self._access: Bool = np.array(access, np.bool_).reshape(len(asked), len(nodes))
        kinds: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
        own = [kinds.setdefault((wish.shares, wish.need.slots, wish.need.rows), len(kinds)) for wish in asked if wish.need is not None]
        self._kind: Int64 = np.array(own, np.int64)
        """Typical requests of one kind differ in CPUs and number of devices only."""
        self._shares: Int64 = np.array([shares for shares, _, _ in kinds], np.int64)
        may = [[row in slots for row in self._slots] for _, slots, _ in kinds]
        self._may: Bool = np.array(may, np.bool_).reshape(len(kinds), len(self._slots))
        self._pools = [list(rows) for _, _, rows in kinds]
        self._plain_milli = self._milli_of(nodes.pools, self._plain)
        """Of a device of each plain pool; of the pools of each kind."""
        self._pools_milli = [self._milli_of(nodes.pools, rows) for rows in self._pools]
        self._fragmentation = fragmentation
        self._stranding = stranding
        self._remainders = remainders
        self._worth = self._worth_by_capacity() if remainders else {}
        devices = np.array([wish.devices if wish.shares == WHOLE else 1 for wish in asked], np.int64)
        most = self._total[self._slots].max(initial=1)
        each = np.array([device_milli(wish.need.key) for wish in asked if wish.need is not None], np.int64)
        milli = devices * np.where(self._shares[self._kind] == WHOLE, each, self._shares[self._kind] * MILLI // most)
        self._per_milli = [int(self._weight @ amounts) for amounts in (milli, self._cpus, self._memory_mib)]

    @staticmethod
    def _milli_of(pools: tuple[str, ...], rows: list[int]) -> Int64:
        return np.array([device_milli(pools[row - FIRST_POOL]) for row in rows], np.int64)

    def contention(self) -> Int64:
        """int64[N]: expected demand for a device of each node beyond that for the average device, in thousandths of it. Each typical
        request spreads over the devices that it could use on idle nodes, so it is high where few nodes have what is asked for (a type,
        a feature, a large device), and 0 where nothing is asked for in particular."""
        total = self._total[self._slots]
        least = np.where(self._shares[:, None, None] == WHOLE, 1, self._shares[:, None, None])
        able = ((total >= np.maximum(least, 1)) & self._may[:, :, None]).sum(axis=1)
        if self._plain:
            zero = np.zeros(self._total.shape[1], np.int64)
            able = able + np.array([self._total[rows].sum(axis=0) if rows else zero for rows in self._pools], np.int64).reshape(able.shape)
        devices = (total > 0).sum(axis=0) + self._total[self._plain].sum(axis=0)
        if not len(self._weight) or not devices.any():
            return np.zeros(len(devices), np.int64)
        usable = np.where(self._access, able[self._kind], 0)
        each = self._weight * self._devices * MILLI * MILLI // np.maximum(usable.sum(axis=1), 1)
        asked = np.where(usable > 0, each[:, None], 0).sum(axis=0)
        mean = int((asked * devices).sum() // devices.sum())
        beyond: Int64 = np.maximum(asked - mean, 0) * MILLI // max(mean, 1)
        return beyond

    @property
    def weighs_devices(self) -> bool:
        """Whether it matters which device of a node gives a part."""
        return self._fragmentation > 0 or self._remainders > 0

    def cost(self, room: Int64, at: Int64) -> Int64:
        """int64[k]: expected fragments and stranded devices of the nodes ``at``, weighed, in thousandths of a device times MIX_WEIGHT."""
        cost: Int64 = np.zeros(len(at), np.int64)
        if self._fragmentation:
            cost += self.expected(room, at) * self._fragmentation // 100
        if self._stranding:
            cost += self.stranded(room, at) * (self._stranding * MIX_WEIGHT) // 100
        return cost

    def stranded(self, room: Int64, at: Int64) -> Int64:
        """int64[k]: thousandths of free devices for which CPUs or memory lack if each is to have as much as the mix needs for one."""
        free = (room[self._slots] * MILLI // np.maximum(self._total[self._slots][:, at], 1)).sum(axis=0)
        free = free + self._plain_milli @ room[self._plain]
        milli, cpus, memory_mib = self._per_milli
        served = free
        if cpus:
            served = np.minimum(served, np.maximum(room[CPUS], 0) * milli // cpus)
        if memory_mib:
            served = np.minimum(served, np.maximum(room[MEMORY_MIB], 0) * milli // memory_mib)
        stranded: Int64 = free - served
        return stranded

    def expected(self, room: Int64, at: Int64) -> Int64:
        """int64[k]: the expected fragment of the nodes ``at``, whose room is int64[resources, k]."""
        idle, worth, fits = self.usable(room, at)
        if not len(self._weight):
            return idle * MIX_WEIGHT
        fits &= room[CPUS] >= self._cpus[:, None]
        fits &= room[MEMORY_MIB] >= self._memory_mib[:, None]
        fits &= self._access[:, at]
        useful: Int64 = self._weight @ np.where(fits, worth, 0)
        expected: Int64 = idle * MIX_WEIGHT - useful
        return expected

    def usable(self, room: Int64, at: Int64) -> tuple[Int64, Int64, Bool]:
        """int64[k]: thousandths of devices that are free; int64[typical requests, k]: of those on devices with room for one;
        bool[typical requests, k]: whether these devices are as many as the request asks for."""
        have = room[self._slots]
        total = self._total[self._slots][:, at]
        value = have * MILLI // np.maximum(total, 1)
        idle: Int64 = value.sum(axis=0)
        if self._plain:
            idle = idle + self._plain_milli @ room[self._plain]
        least = np.where(self._shares[:, None, None] == WHOLE, np.where(total > 0, total, NEVER_ENOUGH), self._shares[:, None, None])
        able = have >= least
        if not self._may.all():
            able &= self._may[:, :, None]
        count = able.sum(axis=1)
        worth = np.where(able, value, 0).sum(axis=1)
        if self._plain and self._pools:
            count += np.array([room[rows].sum(axis=0) for rows in self._pools], np.int64)
            worth += np.array([milli @ room[rows] for rows, milli in zip(self._pools, self._pools_milli, strict=True)], np.int64)
        return idle, worth[self._kind], count[self._kind] >= self._devices[:, None]

    def gradient(self, room: Int64, at: Int64, demand: Demand, rate: Callable[[Int64], Int64] | None = None) -> tuple[Int64, Int64]:
        """int64[k]: by how much the cost of each of the nodes ``at`` grows where ``demand``, which fits, is placed
        there best; int64[k]: the position of the device among the slots of its need, -1 where it is not a part of one.
        ``rate`` turns growth into what is compared, lower is better."""
        wish = per_node(demand)
        after, column, device = self._after(room, at, wish)
        grown = self.cost(after, at[column]) - self.cost(room, at)[column]
        if self._worth and wish.need is not None and wish.need.part:
            grown += self._cut(room, at, wish, column, device) * self._remainders // 100
        if rate is not None:
            grown = rate(grown)
        if wish.need is None or not wish.need.part:
            return grown, device
        best: Int64 = np.full(len(at), NEVER_ENOUGH)
        np.minimum.at(best, column, grown)
        first = np.flatnonzero(grown == best[column])[::-1]
        chosen = np.full(len(at), -1)
        chosen[column[first]] = device[first]
        return best, chosen

    def _worth_by_capacity(self) -> dict[int, Int64]:
        """What rests of devices are worth, by the shares of the device: of the kinds that there are most of."""
        wanted: dict[int, int] = {}
        for kind, count in zip(self._kind.tolist(), self._count.tolist(), strict=True):
            if (size := int(self._shares[kind])) != WHOLE:
                wanted[size] = wanted.get(size, 0) + count
        total = self._total[self._slots]
        capacities, devices = np.unique(total[total > 0], return_counts=True)
        frequent = sorted(zip((-devices).tolist(), capacities.tolist(), strict=True))[:MOST_CAPACITIES]
        return {capacity: worth_of_rests(capacity, tuple(sorted(wanted.items()))) for _, capacity in frequent}

    def _cut(self, room: Int64, at: Int64, wish: PerNode, column: Int64, device: Int64) -> Int64:
        """int64[candidates]: by how much a device's rest is worth more than the part and what is then left, in the unit of ``cost``."""
        assert wish.need is not None
        row = np.array(wish.need.slots)[device]
        have = room[row, column]
        capacity = self._total[row, at[column]]
        lost: Int64 = np.zeros(len(column), np.int64)
        for shares, worth in self._worth.items():
            of_this = np.minimum(have, shares)
            cut = worth[of_this] - worth[np.maximum(of_this - wish.shares, 0)] - worth[min(wish.shares, shares)]
            lost += np.where(capacity == shares, cut, 0)
        return lost * (MILLI * MIX_WEIGHT) // WORTH

    def _after(self, room: Int64, at: Int64, wish: PerNode) -> tuple[Int64, Int64, Int64]:
        """The rooms that could be left: int64[resources, candidates], the position in ``at`` and the device of each, in the order of
        devices. Devices of a node with the same room are one candidate."""
        column = np.arange(len(at))
        device = np.full(len(at), -1)
        after = room.copy()
        need = wish.need
        if need is not None and need.part:
            slots = list(need.slots)
            have = room[slots]
            fits = have >= wish.shares
            for later in range(1, len(slots)):
                fits[later] &= (have[:later] != have[later]).all(axis=0)
            device, column = np.nonzero(fits)
            after = room[:, column]
            after[np.array(slots)[device], np.arange(len(column))] -= wish.shares
        elif need is not None:
            left = np.full(len(at), wish.devices)
            for row in need.rows:
                part = np.minimum(left, np.maximum(after[row], 0))
                after[row] -= part
                left -= part
            if need.slots:
                slots = list(need.slots)
                free = (room[slots] >= self._total[slots][:, at]) & (self._total[slots][:, at] > 0)
                after[slots] = np.where(free & (np.cumsum(free, axis=0) <= left), 0, room[slots])
        after[CPUS] -= wish.cpus
        after[MEMORY_MIB] -= wish.memory_mib
        return after, column, device
