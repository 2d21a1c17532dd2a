"""All nodes for one site in order of preference, kept up to date by looking at what has changed.

Made for policies that place one element at a time: between two elements of the same shape a few nodes have changed, and only their
keys are made anew. What has changed is found by comparing amounts, so that it does not matter why they changed or which window's room
is given.
"""

from __future__ import annotations

import numpy as np

from penstock.core.feasible import copies_fit
from penstock.core.scores import NOWHERE, Preference
from penstock.core.sites import Site
from penstock.core.view import Int64, Nodes


class Ranking:
    """For a demand that ``fits_one_node``. Pure in effect: ``best(room)`` depends on ``room`` and the preference alone."""

    def __init__(self, nodes: Nodes, preference: Preference, site: Site) -> None:
        self._total = nodes.total
        self._preference = preference
        self._demand = site.demand
        self._mask = site.mask
        if len(site.required):
            self._mask = np.zeros_like(site.mask)
            self._mask[site.required] = site.mask[site.required]
        self._keys: Int64 = np.full(len(nodes), NOWHERE)
        self._seen: Int64 | None = None

    @property
    def cells(self) -> int:
        """How much memory it takes, in matrix cells."""
        return self._total.size + len(self._keys)

    def best(self, room: Int64) -> int:
        """The column of the node to take, -1 where the demand fits on none."""
        if self._seen is None:
            self._seen = room.copy()
            self._update(np.flatnonzero(self._mask), room)
        else:
            changed = np.flatnonzero((room != self._seen).any(axis=0))
            if len(changed):
                self._seen[:, changed] = room[:, changed]
                self._update(changed[self._mask[changed]], room)
        return self._preference.choose(self._keys)

    def _update(self, at: Int64, room: Int64) -> None:
        self._keys[at] = NOWHERE
        at = at[copies_fit(room[:, at], self._total[:, at], self._demand) > 0]
        if len(at):
            self._keys[at] = self._preference.keys(room[:, at], self._demand, at)
