"""Which of the nodes that fit is the better one: preference keys, lower is better.

By default: low weight, then best fit (the node with the fewest free GPUs, then CPUs, that is enough; a slice of a GPU counts as so much
of one; a part of a GPU goes to the device with the least room that is enough; jobs without GRES keep away from nodes that have some).
Pure functions over arrays; ties are broken by node order, which is the caller's business.
"""

from __future__ import annotations

import numpy as np

from penstock.core.resources import Demand, GresNeed
from penstock.core.slots import MARK, SLICES, sevenths, tightest, untouched
from penstock.core.view import CPUS, FIRST_POOL, Int64, Nodes, View

WEIGHT_SHIFT = 40
"""A preference key is weight rank, scarce devices (16 bits) and free CPUs (24 bits) in one int64; lower is better."""
DEVICE_SHIFT = 24
WHOLE_LIMIT = 1 << 6
PART_LIMIT = 1 << 10
"""For parts of devices the 16 bits are the room of the device that fits best, and the untouched devices of its node."""
NOWHERE = (1 << 63) - 1
"""The key of a node where the demand does not fit."""


class Preference:
    """The scores of one pass over one view's nodes; lower keys are better. A policy of placement is a subclass."""

    one_by_one = False
    """Whether each element is placed by itself: true where a placement changes what is best for the next element like it."""

    def __init__(self, view: View) -> None:
        nodes = view.nodes
        self._nodes = nodes
        self._rank = weight_rank(nodes)
        self._slots = tuple(FIRST_POOL + row for row, pool in enumerate(nodes.pools) if MARK in pool)
        self._plain = [FIRST_POOL + row for row, pool in enumerate(nodes.pools) if MARK not in pool]
        worth = [sevenths(pool) for pool in nodes.pools]
        self._worth: Int64 | None = np.array(worth, np.int64) if any(value < SLICES for value in worth) else None
        """Of a device of each pool, in sevenths; None where none is a slice of a GPU."""

    def keys(self, room: Int64, demand: Demand, at: Int64 | None = None) -> Int64:
        """int64[N], below NOWHERE. Only the keys of nodes where ``demand`` fits into ``room`` mean something. Where ``at`` is given,
        ``room`` is that of the nodes ``at``, and so are the keys."""
        key = (self._rank if at is None else self._rank[at]) << WEIGHT_SHIFT
        key += _within(self._devices(room, demand, at), (1 << (WEIGHT_SHIFT - DEVICE_SHIFT)) - 1) << DEVICE_SHIFT
        key += _within(room[CPUS], (1 << DEVICE_SHIFT) - 1)
        return key

    def device(self, room: Int64, at: Int64, demand: Demand, need: GresNeed, shares: Int64) -> Int64:
        """int64[k]: which of ``need.slots`` gives the nodes ``at``, whose room is int64[resources, k], their ``shares[k]``."""
        return tightest(room, need.slots, shares)

    def choose(self, keys: Int64) -> int:
        """The column of the best key, -1 where all are NOWHERE. For one element."""
        best = int(keys.argmin())
        return best if keys[best] < NOWHERE else -1

    def placed(self, demand: Demand, nodes: Int64) -> None:
        """The pass has given elements of ``demand`` the nodes of these columns. For policies that care who is beside whom."""

    def _devices(self, room: Int64, demand: Demand, at: Int64 | None) -> Int64:
        """int64[N]: what fits best has the least of it."""
        total = self._nodes.total if at is None else self._nodes.total[:, at]
        if not demand.wants_gres or not self._slots:
            pools = (room if demand.wants_gres else total)[FIRST_POOL:]
            devices: Int64 = pools.sum(axis=0) if self._worth is None else self._worth @ pools
            return devices
        whole = untouched(room, total, self._slots).sum(axis=0)
        for need in demand.draws:
            if need.part:
                shares = np.full(room.shape[1], need.per_node + need.per_task + need.in_total)
                slots = np.array(need.slots)[tightest(room, need.slots, shares)]
                left = room[slots, np.arange(room.shape[1])]
                return (_within(left, PART_LIMIT - 1) * WHOLE_LIMIT) + _within(whole, WHOLE_LIMIT - 1)
        plain: Int64 = room[self._plain].sum(axis=0) + whole
        return plain


def weight_rank(nodes: Nodes) -> Int64:
    """int64[N]: dense rank of the weights, so that any weight fits into a preference key."""
    return np.unique(nodes.weight, return_inverse=True)[1].astype(np.int64)


def _within(amounts: Int64, most: int) -> Int64:
    """Clipped to 0 ... most; several times faster than np.clip on short arrays."""
    clipped: Int64 = np.maximum(np.minimum(amounts, most), 0)
    return clipped
