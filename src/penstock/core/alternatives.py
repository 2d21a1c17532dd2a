"""One element whose nodes must have a shape as a set: counts of features, or neighbours.

``place`` is ``place_one`` for everything else. It chooses the nodes (``nodesets``) and lets ``place_one`` lay the element out on them, so
that tasks, devices and memory follow the same rules everywhere.

Exact: counts with at most one sum to meet (tasks, or devices in total), neighbours without counts. Counts with several sums on unequal
nodes are tried in two orders, by preference and by capacity; neighbours with counts in at most MAX_WINDOWS windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from penstock.core.feasible import sums_needed, tasks_fit
from penstock.core.nodesets import Window, cover, longest_run, neighbours
from penstock.core.placement import Placement, place_one
from penstock.core.scores import Preference
from penstock.core.sites import Site
from penstock.core.view import Int64, Nodes

MAX_WINDOWS = 1_024
"""Windows of neighbours that are tried for one element with counts; then it waits."""
CAPACITY_SCALE = 1 << 20


def place(nodes: Nodes, preference: Preference, room: Int64, site: Site) -> Placement | None:
    """One element on any number of nodes, or None."""
    if site.demand.request.contiguous and site.nodes_most > 1:
        return _beside(nodes, preference, room, site)
    if site.groups:
        return _counted(nodes, preference, room, site)
    return place_one(nodes, preference, room, site)


def _counted(nodes: Nodes, preference: Preference, room: Int64, site: Site) -> Placement | None:
    demand = site.demand
    fit = tasks_fit(room, nodes.total, demand)
    able = np.flatnonzero((fit >= demand.least_tasks) & site.mask)
    keys = preference.keys(room, demand)[able]
    optional = ~np.isin(able, site.required)
    sums = sums_needed(nodes, demand, fit, room)
    orders = [np.lexsort((keys, optional))]
    if sums:
        capacity = np.minimum.reduce([have[able] * CAPACITY_SCALE // asked for have, asked in sums])
        orders.append(np.lexsort((keys, -capacity, optional)))
    for order in orders:
        chosen = cover(able[order], [group.mask for group in site.groups], [group.least for group in site.groups])
        if chosen is None:
            return None
        found = place_one(nodes, preference, room, replace(site, required=np.union1d(site.required, chosen), groups=()))
        if found is not None:
            return found
    return None


def _beside(nodes: Nodes, preference: Preference, room: Int64, site: Site) -> Placement | None:
    for window in _windows(nodes, room, site):
        columns = np.arange(window.begin, window.begin + window.size, dtype=np.int64)
        inside = np.zeros_like(site.mask)
        inside[columns] = True
        if site.groups and cover(columns, [group.mask for group in site.groups], [group.least for group in site.groups]) is None:
            continue
        found = place_one(nodes, preference, room, replace(site, mask=site.mask & inside, required=columns, groups=()))
        if found is not None:
            return found
    return None


def _windows(nodes: Nodes, room: Int64, site: Site) -> Iterator[Window]:
    """What to try: without counts the best window alone settles it; with counts longer ones may be needed."""
    demand = site.demand
    fit = tasks_fit(room, nodes.total, demand)
    able = (fit >= demand.least_tasks) & site.mask
    sums = sums_needed(nodes, demand, np.where(able, fit, 0), room)
    tries = 0
    wanted = MAX_WINDOWS if site.groups else 1
    for least in range(site.nodes_min, min(site.nodes_most, longest_run(able)) + 1):
        for window in neighbours(able, sums, least, site.nodes_most, site.required, demand.spreads, wanted):
            yield window
            tries += 1
            if not site.groups or tries >= MAX_WINDOWS:
                return
