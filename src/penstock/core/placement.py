"""Which nodes an element gets, and what it holds on each.

Preference: required nodes first, then what ``scores`` prefers, then node order. An element takes as few nodes as it can, unless
``-N min-max`` asks for as many as can be had. Tasks fill the nodes in node order, each node at least one (what cons_tres does:
``-N2 -n4`` on idle nodes is 3 and 1); devices asked for in total likewise.

Guarantee: a Placement fits into the room that it was made from, row by row. Where tasks *and* totals must be met by few unequal nodes the
choice is greedy first; where that fails, ``sums.search`` looks for a set within named bounds, so that a set that exists is missed only on
clusters of many unequal nodes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.core.feasible import copies_fit, device_room, pool_room, sums_needed, tasks_fit
from penstock.core.plan import Share
from penstock.core.request import GresCounts
from penstock.core.resources import UNBOUNDED, Demand, GresNeed
from penstock.core.scores import WEIGHT_SHIFT, Preference
from penstock.core.sites import Site
from penstock.core.slots import take_whole
from penstock.core.sums import search
from penstock.core.topology import Candidates, choose, most_nodes
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Bool, Int64, Nodes

COVER_SCALE = 1 << 10
PLACES_AT_ONCE = 64
"""Nodes that one call of ``place_copies`` fills, so that a caller can do other work between."""


class Placement(NamedTuple):
    """nodes: columns, ascending; tasks: int64[k]; amount: int64[resources, k]."""

    nodes: Int64
    tasks: Int64
    amount: Int64

    def shares(self, nodes: Nodes) -> tuple[Share, ...]:
        names, pools = nodes.names, nodes.pools
        columns = zip(self.nodes.tolist(), self.tasks.tolist(), self.amount.T.tolist(), strict=True)
        return tuple(Share(names[at], tasks, held[CPUS], held[MEMORY_MIB], _gres(pools, held)) for at, tasks, held in columns)


def _gres(pools: tuple[str, ...], held: list[int]) -> GresCounts:
    return tuple(sorted((pool, count) for pool, count in zip(pools, held[FIRST_POOL:], strict=True) if count))


def place_copies(nodes: Nodes, preference: Preference, room: Int64, site: Site, wanted: int) -> list[tuple[Placement, int]]:
    """Up to ``wanted`` elements that fit on one node each, as (placement of one, how many of them), in order of preference.
    The cost does not depend on ``wanted`` where a node's devices are of one pool. At most PLACES_AT_ONCE nodes are filled: where
    that many are in the answer, ask again."""
    demand = site.demand
    copies = copies_fit(room, nodes.total, demand)
    mask = site.mask
    if len(site.required):
        mask = np.zeros_like(mask)
        mask[site.required] = site.mask[site.required]
    at = np.flatnonzero(mask & (copies > 0))
    if not len(at):
        return []
    keys = preference.keys(room, demand)[at]
    if wanted == 1:
        at = at[[int(np.argmin(keys))]]
    else:
        at = at[np.argsort(keys, kind="stable")]
        enough = int(np.searchsorted(np.cumsum(copies[at]), wanted)) + 1
        at = at[: min(enough, PLACES_AT_ONCE)]
    tasks = np.array([demand.ntasks or demand.tasks_each], np.int64)
    found: list[tuple[Placement, int]] = []
    for node in at.tolist():
        count = min(int(copies[node]), wanted)
        left = room[:, [node]].copy()
        while count:
            amount = _amount(nodes, preference, np.array([node], np.int64), left, demand, tasks)
            alike = min(count, _alike(demand, left, amount))
            found.append((Placement(np.array([node], np.int64), tasks, amount), alike))
            wanted -= alike
            left -= amount * alike
            count -= alike
            if count:
                count = min(count, int(copies_fit(left, nodes.total[:, [node]], demand)[0]))
    return found


def place_on(nodes: Nodes, preference: Preference, room: Int64, site: Site, node: int) -> Placement:
    """One element on the node of this column, where it fits."""
    demand = site.demand
    at = np.array([node], np.int64)
    tasks = np.array([demand.ntasks or demand.tasks_each], np.int64)
    return Placement(at, tasks, _amount(nodes, preference, at, room[:, at], demand, tasks))


def place_one(nodes: Nodes, preference: Preference, room: Int64, site: Site) -> Placement | None:
    """One element on any number of nodes, or None."""
    demand = site.demand
    fit = tasks_fit(room, nodes.total, demand)
    able = (fit >= demand.least_tasks) & site.mask
    least, most = site.nodes_min, site.nodes_most
    at = np.flatnonzero(able)
    if len(at) < least or least > most or not able[site.required].all():
        return None
    keys = preference.keys(room, demand)[at]
    forced = np.zeros(len(at), np.bool_)
    forced[np.searchsorted(at, site.required)] = True
    needs = [(have[at], asked) for have, asked in sums_needed(nodes, demand, fit, room)]
    most = min(most, len(at))
    picked = _alone(keys, forced, needs) if least == 1 and needs and not demand.spreads else None
    if picked is None:
        picked = _gang(site, Candidates(at, keys, keys >> WEIGHT_SHIFT, forced, needs), least, most)
    if picked is None:
        return None
    chosen = at[np.sort(picked)]
    tasks = _fill(fit[chosen], demand.ntasks) if demand.ntasks else np.full(len(chosen), demand.tasks_each, np.int64)
    return Placement(chosen, tasks, _amount(nodes, preference, chosen, room[:, chosen], demand, tasks))


def _gang(site: Site, have: Candidates, least: int, most: int) -> Int64 | None:
    """Positions of the nodes of an element that takes ``least`` to ``most`` of them, near each other where the site has a topology."""
    bounds = site.bounds
    if bounds is None or most == 1 or (least == 1 and not have.needs and not site.demand.spreads):
        return _pick(have.keys, have.forced, have.needs, most if site.demand.spreads else least, most)
    if site.demand.spreads:
        least = max(least, most_nodes(bounds, have, most))

    def pick(inside: Int64, least: int, most: int) -> Int64 | None:
        needs = [(amounts[inside], asked) for amounts, asked in have.needs]
        picked = _pick(have.keys[inside], have.forced[inside], needs, least, most)
        return None if picked is None else inside[picked]

    return choose(bounds, have, least, most, pick)


def _alone(keys: Int64, forced: Bool, needs: list[tuple[Int64, int]]) -> Int64 | None:
    """The best node that meets every need by itself."""
    alone = np.logical_and.reduce([have >= asked for have, asked in needs])
    if forced.any():
        alone &= forced if forced.sum() == 1 else False
    if not alone.any():
        return None
    candidates = np.flatnonzero(alone)
    return candidates[[int(np.argmin(keys[candidates]))]]


def _pick(keys: Int64, forced: Bool, needs: list[tuple[Int64, int]], least: int, most: int) -> Int64 | None:
    """Positions of the nodes to take: at least ``least``, at most ``most``, the forced ones among them, every need's sum met."""
    if not needs:
        return np.lexsort((keys, ~forced))[:least]
    cover = np.minimum.reduce([have * COVER_SCALE // asked for have, asked in needs])
    cheap_first = np.lexsort((keys, -cover, keys >> WEIGHT_SHIFT, ~forced))
    for order in (cheap_first, np.lexsort((keys, -cover, ~forced))):
        met = np.logical_and.reduce([np.cumsum(have[order]) >= asked for have, asked in needs])
        if met[most - 1]:
            size = max(least, int(np.argmax(met)) + 1)
            return _tighten(keys, forced, needs, order[:size])
    if len(needs) == 1 or any(np.sort(have)[-most:].sum() < asked for have, asked in needs):
        return None
    return search(needs, np.lexsort((keys, -cover, ~forced)), int(forced.sum()), least, most)


def _tighten(keys: Int64, forced: Bool, needs: list[tuple[Int64, int]], picked: Int64) -> Int64:
    """As many nodes as ``picked``, but the best fitting of those that can carry an equal part each, where enough can."""
    size = len(picked)
    able = np.logical_and.reduce([have >= -(-asked // size) for have, asked in needs])
    if not able[forced].all() or able.sum() < size:
        return picked
    candidates = np.flatnonzero(able)
    return candidates[np.lexsort((keys[candidates], ~forced[candidates]))[:size]]


def _fill(room: Int64, amount: int) -> Int64:
    """Split ``amount`` over places that take up to ``room``, together enough: one for each place that has any, then in order."""
    parts: Int64 = np.minimum(room, 1)
    np.minimum(parts, np.maximum(amount - np.cumsum(parts) + parts, 0), out=parts)
    spare = np.minimum(np.cumsum(room - parts), amount - parts.sum())
    parts += np.diff(spare, prepend=0)
    return parts


def _alike(demand: Demand, left: Int64, amount: Int64) -> int:
    """How many copies on this node certainly hold the same amounts: all where each need draws from one pool, as many as the
    device can give where they hold a part of one."""
    if not all(sum(1 for row in need.rows if left[row, 0] > 0) <= 1 for need in demand.draws):
        return 1
    taken = [row for need in demand.draws for row in need.slots if amount[row, 0]]
    return min((int(left[row, 0] // amount[row, 0]) for row in taken), default=UNBOUNDED)


def _amount(nodes: Nodes, preference: Preference, at: Int64, room: Int64, demand: Demand, tasks: Int64) -> Int64:
    """int64[resources, k]: what the element holds on the nodes ``at``, whose room is ``room``."""
    total = nodes.total[:, at]
    amount = np.zeros_like(room)
    exclusive = demand.request.exclusive
    amount[CPUS] = total[CPUS] if exclusive else np.maximum(tasks * demand.cpus_per_task, demand.cpus_per_node)
    if demand.whole_memory:
        amount[MEMORY_MIB] = total[MEMORY_MIB]
    elif demand.memory_per_node_mib:
        amount[MEMORY_MIB] = demand.memory_per_node_mib
    else:
        amount[MEMORY_MIB] = np.minimum(amount[CPUS] * demand.request.memory_per_cpu_mib, room[MEMORY_MIB])
    if exclusive:
        amount[FIRST_POOL:] = total[FIRST_POOL:]
        for need in demand.draws:
            if need.in_total and demand.request.memory_per_gpu_mib:
                wanted = pool_room(total, total, need) * demand.memory_per_device_mib
                amount[MEMORY_MIB] = np.minimum(wanted, room[MEMORY_MIB])
        return amount
    for need in demand.draws:
        wanted = need.per_node + tasks * need.per_task
        if need.in_total:
            wanted = _fill(np.minimum(pool_room(room - amount, total, need), device_room(room, total, demand, need)), need.in_total)
            _bring_own(amount, room, demand, wanted)
        if need.part:
            slots = np.array(need.slots)[preference.device(room - amount, at, demand, need, wanted)]
            amount[slots, np.arange(len(at))] += wanted
        else:
            _draw(amount, room, total, need, wanted)
    return amount


def _bring_own(amount: Int64, room: Int64, demand: Demand, devices: Int64) -> None:
    """CPUs and memory that the devices of a total bring along."""
    np.maximum(amount[CPUS], devices * demand.cpus_per_device, out=amount[CPUS])
    if demand.request.memory_per_gpu_mib:
        amount[MEMORY_MIB] = np.minimum(devices * demand.memory_per_device_mib, room[MEMORY_MIB])
    elif demand.cpus_per_device and demand.request.memory_per_cpu_mib:
        amount[MEMORY_MIB] = np.minimum(amount[CPUS] * demand.request.memory_per_cpu_mib, room[MEMORY_MIB])


def _draw(amount: Int64, room: Int64, total: Int64, need: GresNeed, wanted: Int64) -> None:
    """Take ``wanted[k]`` devices from the pools of ``need``, the first pool first, then from its slots."""
    open_ = wanted.copy()
    for row in need.rows:
        part = np.minimum(open_, room[row] - amount[row])
        np.maximum(part, 0, out=part)
        amount[row] += part
        open_ -= part
    if need.slots:
        take_whole(amount, room, total, need.slots, open_)
