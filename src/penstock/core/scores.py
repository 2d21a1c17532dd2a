"""Which of the nodes that fit is the better one: preference keys, lower is better.

By default: low weight, then best fit (the node with the fewest free GPUs, then CPUs, that is enough; jobs without GRES keep away
from nodes that have some). Pure functions over arrays; ties are broken by node order, which is the caller's business.
"""

from __future__ import annotations

import numpy as np

from penstock.core.resources import Demand
from penstock.core.view import CPUS, FIRST_POOL, Int64, Nodes

WEIGHT_SHIFT = 40
"""A preference key is weight rank, scarce devices (16 bits) and free CPUs (24 bits) in one int64; lower is better."""
DEVICE_SHIFT = 24


class Preference:
    """The scores of one pass over one view's nodes; lower keys are better. A policy of placement is a subclass."""

    one_by_one = False
    """Whether each element is placed by itself: true where a placement changes what is best for the next element like it."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._rank = weight_rank(nodes)

    def keys(self, room: Int64, demand: Demand) -> Int64:
        """int64[N]. Only the keys of nodes where ``demand`` fits into ``room`` mean something."""
        devices = (room if demand.wants_gres else self._nodes.total)[FIRST_POOL:].sum(axis=0)
        key = self._rank << WEIGHT_SHIFT
        key += _within(devices, (1 << (WEIGHT_SHIFT - DEVICE_SHIFT)) - 1) << DEVICE_SHIFT
        key += _within(room[CPUS], (1 << DEVICE_SHIFT) - 1)
        return key


def weight_rank(nodes: Nodes) -> Int64:
    """int64[N]: dense rank of the weights, so that any weight fits into a preference key."""
    return np.unique(nodes.weight, return_inverse=True)[1].astype(np.int64)


def _within(amounts: Int64, most: int) -> Int64:
    """Clipped to 0 ... most; several times faster than np.clip on short arrays."""
    clipped: Int64 = np.maximum(np.minimum(amounts, most), 0)
    return clipped
