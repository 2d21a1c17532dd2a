"""One element whose nodes must have a shape as a set: counts of features, or neighbours.

``place`` is ``place_one`` for everything else. It chooses the nodes (``nodesets``) and lets ``place_one`` lay the element out on them, so
that tasks, devices and memory follow the same rules everywhere.

Exact on equal nodes (a property test tries every set): neighbours in at most MAX_WINDOWS windows where counts or a topology may forbid
the best one, counts inside at most MAX_TRIES domains or sets of leaf domains where there is a topology. Not exact: counts beside
segments, where the nodes that counts prefer may leave segments open, and counts with several sums (tasks, devices in total) on unequal
nodes, which are tried in two orders, by preference and by capacity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from penstock.core.feasible import sums_needed, tasks_fit
from penstock.core.nodesets import Window, cover, longest_run, neighbours
from penstock.core.placement import Placement, place_one
from penstock.core.scores import Preference
from penstock.core.sites import Site
from penstock.core.view import Bool, Int64, Nodes

MAX_WINDOWS = 1_024
"""Windows of neighbours that are tried for one element with counts; then it waits."""
MAX_TRIES = 256
"""Domains, and sets of leaf domains, that are tried for one element with counts; then it waits."""
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
    counts = [group.least for group in site.groups]
    for near in _near(site, able):
        for order in orders:
            at = able[order] if near is None else able[order][near[order]]
            chosen = cover(at, [group.mask for group in site.groups], counts)
            if chosen is None:
                break
            mask = site.mask
            if near is not None:
                mask = np.zeros_like(mask)
                mask[able[near]] = True
            required = np.union1d(site.required, chosen)
            found = place_one(nodes, preference, room, replace(site, mask=mask, required=required, groups=()))
            if found is not None:
                return found
    return None


def _near(site: Site, able: Int64) -> Iterator[Bool | None]:
    """Which of the nodes ``able`` to try together: those of a domain, narrowest level first, best fitting domain first; where the leaf
    domains are bounded those of so many leaf domains of it, the fullest first. None: all. Only those with nodes enough are told."""
    bounds = site.bounds
    if bounds is None or site.nodes_most == 1:
        yield None
        return
    least, tries = site.nodes_min, 0
    leaf = bounds.topology.levels[0]
    leaves = leaf.domain[able]
    for level in bounds.topology.levels[: bounds.widest + 1]:
        ids = level.domain[able]
        counts = np.bincount(ids, minlength=level.domains)
        held = np.bincount(level.domain[site.required], minlength=level.domains)
        large = np.flatnonzero((counts >= least) & (held == len(site.required)))
        for domain in large[np.argsort(counts[large], kind="stable")].tolist():
            inside: Bool = ids == domain
            own, sizes = np.unique(leaves[inside], return_counts=True)
            bound = min(bounds.switches or len(own), len(own))
            for some in combinations(own[np.argsort(-sizes, kind="stable")].tolist(), bound):
                tries += 1
                if tries > MAX_TRIES:
                    return
                near = inside if bound == len(own) else inside & np.isin(leaves, some)
                if near.sum() >= least:
                    yield near


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
    settled = not site.groups and site.bounds is None
    wanted = 1 if settled else MAX_WINDOWS
    for least in range(site.nodes_min, min(site.nodes_most, longest_run(able)) + 1):
        for window in neighbours(able, sums, least, site.nodes_most, site.required, demand.spreads, wanted):
            yield window
            tries += 1
            if settled or tries >= MAX_WINDOWS:
                return
