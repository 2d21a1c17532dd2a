"""Scores with weights: which node a placement costs least, in thousandths of a device.

Each score is a pure function of what the nodes have free before and after; a weight of 100 counts it once, 0 not at all. They are set as
words of SchedulerParameters, ``score_NAME=0`` to ``1000``:

fragmentation   growth of the free devices that no typical request could use (FGD, see ``fragmentation``)
remainders      what a part costs beyond its own worth: a device's rest is worth the parts that are expected to fill it (see ``cuttings``)
stranding       growth of the free devices for which the node has too few CPUs or too little memory left, by what typical requests need
                for a device: requests that need little fill the nodes that have little
whole_nodes     the devices of an idle node that is opened for less than all of it
scarce_types    what a device is in demand beyond the average: a type, a feature or a memory size that some typical requests need and few
                nodes have is kept for them
best_fit        an eighth of the devices that stay free, so that the fullest node wins where the others say little

Typical requests are the pending ones and what runs now, by how many there are. Without weights the plain order of ``scores`` holds. Node
weights (``Weight=``) come before all scores; the fewest free devices, then CPUs, decide between equal costs. Heat, power, health and
speed would each be one more function here.

Costs are rounded up to whole steps, because differences much smaller than a device say less than how full a node is: measured on openb,
exact costs place worse than rounded ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from penstock.core.fragmentation import MILLI, MIX_WEIGHT, Fragments, device_milli, per_node
from penstock.core.request import Request
from penstock.core.resources import Demand, GresNeed
from penstock.core.scores import WEIGHT_SHIFT, Preference
from penstock.core.slots import PARTS_OF, split_slot
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Int64, View

NAMES = ("best_fit", "fragmentation", "remainders", "scarce_types", "stranding", "whole_nodes")
MOST_WEIGHT = 1000
FULL_WEIGHT = 100
"""Counts a score once."""
STEP = 40 * MIX_WEIGHT
"""Costs are compared in steps of 40 thousandths of a device; a cost above zero never equals none."""
STEP_SHIFT, STEP_LIMIT = 26, 1 << 14
FREE_SHIFT, FREE_LIMIT = 18, 1 << 8
"""Below the node's weight a key is the cost in steps, the free devices, the free CPUs (18 bits)."""
TYPICAL_REQUESTS = 256
"""The most frequent requests make up the mix."""
FITTING = 8
MOST_PRICE = 8 * MILLI
"""However scarce, a device counts as eight of the average at the most."""

Weights = tuple[tuple[str, int], ...]
"""Pairs of score and weight, sorted by score."""


def check_weights(weights: Mapping[str, int]) -> Weights:
    """ValueError for a score that does not exist and a weight out of bounds."""
    for name, weight in weights.items():
        if name not in NAMES:
            raise ValueError(f"score {name!r}: allowed are {', '.join(NAMES)}")
        if not 0 <= weight <= MOST_WEIGHT:
            raise ValueError(f"weight of score {name} is {weight}: allowed are 0 to {MOST_WEIGHT}")
    return tuple(sorted(weights.items()))


class Weighted(Preference):
    """``mix``: the typical requests and how often each is expected; by default what the view shows."""

    one_by_one = True

    def __init__(self, view: View, weights: Weights, mix: Mapping[Request, int] | None = None) -> None:
        super().__init__(view)
        chosen = dict(check_weights(dict(weights)))
        self._whole_nodes = chosen.get("whole_nodes", 0)
        self._best_fit = chosen.get("best_fit", 0)
        shares = (chosen.get("fragmentation", 0), chosen.get("stranding", 0), chosen.get("remainders", 0))
        scarce = chosen.get("scarce_types", 0)
        fragments = Fragments(view, mix_of(view) if mix is None else mix, *shares) if any(shares) or scarce else None
        self._fragments = fragments if any(shares) else None
        self._price: Int64 | None = None
        if fragments is not None and scarce:
            self._price = np.minimum(fragments.contention(), MOST_PRICE) * scarce // FULL_WEIGHT
        """Of a device of each node, in thousandths of a device."""
        self._worth_milli: Int64 = np.array([device_milli(view.nodes.pools[row - FIRST_POOL]) for row in self._plain], np.int64)

    def keys(self, room: Int64, demand: Demand, at: Int64 | None = None) -> Int64:
        at = np.arange(room.shape[1]) if at is None else at
        free = self._free_milli(room, at)
        taken = _taken_milli(demand)
        cost = self._opened(free, taken, at) + self._left(free)
        if self._price is not None:
            cost += self._price[at] * taken * MIX_WEIGHT // MILLI
        steps = _steps(cost)
        if self._fragments is not None:
            steps = steps + self._fragments.gradient(room, at, demand, _steps)[0]
        key = self._rank[at] << WEIGHT_SHIFT
        key += (np.maximum(np.minimum(steps, STEP_LIMIT // 2 - 1), -STEP_LIMIT // 2) + STEP_LIMIT // 2) << STEP_SHIFT
        key += np.minimum(free // MILLI, FREE_LIMIT - 1) << FREE_SHIFT
        key += np.maximum(np.minimum(room[CPUS], (1 << FREE_SHIFT) - 1), 0)
        return key

    def device(self, room: Int64, at: Int64, demand: Demand, need: GresNeed, shares: Int64) -> Int64:
        tight = super().device(room, at, demand, need, shares)
        wish = per_node(demand)
        if self._fragments is None or not self._fragments.weighs_devices or wish.need != need:
            return tight
        best = self._fragments.gradient(room, at, demand, _steps)[1]
        return np.where((shares == wish.shares) & (best >= 0), best, tight)  # a total that is split asks other amounts of other nodes

    def _opened(self, free: Int64, taken: int, at: Int64) -> Int64:
        """The score of whole nodes, times MIX_WEIGHT."""
        total = self._free_milli(self._nodes.total[:, at], at)
        opens = (free == total) & (total > taken) & (taken > 0)
        return np.where(opens, total, 0) * self._whole_nodes * MIX_WEIGHT // FULL_WEIGHT

    def _left(self, free: Int64) -> Int64:
        """The score of best fit, times MIX_WEIGHT. What the demand takes is the same everywhere."""
        return free * self._best_fit * MIX_WEIGHT // (FULL_WEIGHT * FITTING)

    def _free_milli(self, room: Int64, at: Int64) -> Int64:
        """int64[k]: thousandths of devices."""
        plain = room[self._plain]
        free: Int64 = plain.sum(axis=0) * MILLI if self._worth is None else self._worth_milli @ plain
        if self._slots:
            slots = list(self._slots)
            free = free + (room[slots] * MILLI // np.maximum(self._nodes.total[slots][:, at], 1)).sum(axis=0)
        return free


def _taken_milli(demand: Demand) -> int:
    """Of one node; a part counts as its device, a slice as what it is of one."""
    wish = per_node(demand)
    return 0 if wish.need is None else wish.devices * device_milli(wish.need.key)


def _steps(cost: Int64) -> Int64:
    """Rounded up: any cost is more than none, any gain is at least none."""
    return -(-cost // STEP)


def mix_of(view: View) -> dict[Request, int]:
    """What the pending records ask for, and what running jobs hold, as requests for one node."""
    counts: Counter[Request] = Counter()
    for shape, count in zip(view.pending.shape.tolist(), view.pending.count.tolist(), strict=True):
        asked = view.shapes[shape]
        if asked is not None:
            counts[asked.request] += count
    pools = view.nodes.pools
    if len(view.running):
        held, times = np.unique(view.running.amount, axis=1, return_counts=True)
        for amounts, number in zip(held.T.tolist(), times.tolist(), strict=True):
            request = _held(pools, amounts, view)
            if request is not None:
                counts[request] += number
    return dict(counts.most_common(TYPICAL_REQUESTS))


def _held(pools: tuple[str, ...], amounts: list[int], view: View) -> Request | None:
    """A request for what a job holds on a node; None where it has no CPU."""
    if amounts[CPUS] < 1:
        return None
    whole: Counter[str] = Counter()
    part = 0
    for row, pool in enumerate(pools, FIRST_POOL):
        kind, index = split_slot(pool)
        if amounts[row] and index >= 0 and amounts[row] < int(view.nodes.total[row].max()):
            part = amounts[row]
        elif amounts[row]:
            whole[kind] += 1 if index >= 0 else amounts[row]
    shard = next(iter(PARTS_OF))
    gres = ((shard, part),) if part else tuple(sorted(whole.items()))
    return Request(nodes_max=1, cpus_per_task=amounts[CPUS], memory_per_node_mib=amounts[MEMORY_MIB], gres_per_node=gres)


def preference_of(view: View) -> Preference:
    """The placement policy that the view's weights ask for."""
    return Weighted(view, view.weights) if any(weight for _, weight in view.weights) else Preference(view)
