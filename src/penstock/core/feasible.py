"""Whether a request could run: tasks and copies that fit on each node of a site, and why nothing does.

``room`` is always int64[resources, N], what each node could give (free now, free over a window, or everything). All answers
are exact per node; which nodes to choose is ``placement``'s business. Pure functions over arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from penstock.core.nodesets import longest_run, most_covered, neighbours
from penstock.core.plan import Reason
from penstock.core.request import Request
from penstock.core.resources import UNBOUNDED, Demand, GresNeed
from penstock.core.sites import Site, locate
from penstock.core.slots import largest_part, parts, untouched
from penstock.core.view import CPUS, MEMORY_MIB, Bool, Int64, Nodes, View

NEVER = ("BadConstraints", "impossible")
BUSY = ("Resources", "waiting")
"""Word and tier of a blocker among all nodes, and among what is free now."""

BEYOND = 1 << 62
"""More than any node has, where a product of three would not fit into int64."""


def pool_room(room: Int64, total: Int64, need: GresNeed) -> Int64:
    """int64[N]: devices on each node that can meet ``need``; ``total`` is what the nodes of ``room`` have configured."""
    if need.slots:
        return _slot_room(room, total, need)
    if len(need.rows) == 1:
        only: Int64 = room[need.rows[0]]
        return only
    return sum((room[row] for row in need.rows), np.zeros(room.shape[1], np.int64))


def device_room(room: Int64, total: Int64, demand: Demand, need: GresNeed) -> Int64:
    """The same, less the devices for which a node has no CPUs or memory where each brings its own."""
    have = pool_room(room, total, need)
    if need.in_total and demand.cpus_per_device:
        have = np.minimum(have, room[CPUS] // demand.cpus_per_device)
    if need.in_total and demand.memory_per_device_mib:
        have = np.minimum(have, room[MEMORY_MIB] // demand.memory_per_device_mib)
    return have


def _slot_room(room: Int64, total: Int64, need: GresNeed) -> Int64:
    if need.part:
        return largest_part(room, need.slots)
    whole: Int64 = sum((room[row] for row in need.rows), untouched(room, total, need.slots).sum(axis=0))
    return whole


def tasks_fit(room: Int64, total: Int64, demand: Demand) -> Int64:
    """int64[N]: how many tasks of one element each node could run, 0 where its fixed part does not fit."""
    fit: Int64 = room[CPUS] // demand.cpus_per_task
    if demand.memory_per_task_mib:
        np.minimum(fit, room[MEMORY_MIB] // demand.memory_per_task_mib, out=fit)
    if demand.whole_memory:
        fit[room[MEMORY_MIB] < total[MEMORY_MIB]] = 0
    elif demand.memory_per_node_mib:
        fit[room[MEMORY_MIB] < demand.memory_per_node_mib] = 0
    if demand.cpus_per_node:
        fit[room[CPUS] < demand.cpus_per_node] = 0
        fit[room[MEMORY_MIB] < demand.cpus_per_node * demand.request.memory_per_cpu_mib] = 0
    for need in demand.fits:
        have = device_room(room, total, demand, need)
        if need.per_task:
            np.minimum(fit, (have - need.per_node) // need.per_task, out=fit)
        fixed = need.per_node + (1 if need.in_total else 0)
        if fixed:
            fit[have < fixed] = 0
    if demand.request.exclusive:
        fit[room[CPUS] < total[CPUS]] = 0
    cap = min(demand.tasks_cap, demand.ntasks or UNBOUNDED)
    np.minimum(fit, cap, out=fit)
    np.maximum(fit, 0, out=fit)
    return fit


def copies_fit(room: Int64, total: Int64, demand: Demand) -> Int64:
    """int64[N]: how many whole elements each node could hold. Only for demands that ``fits_one_node``."""
    tasks = demand.ntasks or demand.tasks_each
    devices = sum(need.in_total for need in demand.fits) if demand.cpus_per_device or demand.memory_per_device_mib else 0
    cpus = max(tasks * demand.cpus_per_task, devices * demand.cpus_per_device, demand.cpus_per_node)
    copies: Int64 = room[CPUS] // cpus
    memory_mib = min(tasks * demand.memory_per_task_mib, BEYOND) or demand.memory_per_node_mib
    memory_mib = max(memory_mib, min(devices * demand.memory_per_device_mib, BEYOND), cpus * demand.request.memory_per_cpu_mib)
    if demand.whole_memory:
        np.minimum(copies, room[MEMORY_MIB] >= total[MEMORY_MIB], out=copies)
    elif memory_mib:
        np.minimum(copies, room[MEMORY_MIB] // memory_mib, out=copies)
    for need in demand.fits:
        each = need.per_node + tasks * need.per_task + need.in_total
        np.minimum(copies, parts(room, need.slots, each) if need.part else pool_room(room, total, need) // each, out=copies)
    if demand.request.exclusive:
        np.minimum(copies, room[CPUS] >= total[CPUS], out=copies)
    np.maximum(copies, 0, out=copies)
    return copies


def never_fits(view: View, partition: str, request: Request) -> Reason | None:
    """Why ``request`` could not run in ``partition`` even if every node were up and idle, with the most that could be
    asked for instead; None: it could. For refusals at submit. More nodes than the partition allows are not impossible: the job waits for
    another limit."""
    place = view.partitions.get(partition)
    if place is None:
        return Reason("PartitionConfig", "impossible", "partition", names=(partition,))
    if place.max_nodes and max(request.nodes_min, len(request.required_nodes)) > place.max_nodes:
        return None
    sites = locate(view.nodes, place, request)
    if isinstance(sites, Reason):
        return sites
    found: Reason | None = None
    for site in sites:
        if not site.soft:
            reason = blocker(view.nodes, site, view.nodes.total, site.anywhere, NEVER)
            if reason is None:
                return None
            found = found or reason
    return found


def blocker(nodes: Nodes, site: Site, room: Int64, mask: Bool, why: tuple[str, str]) -> Reason | None:
    """The first of ``blockers``; None where there is enough of everything."""
    return next(blockers(nodes, site, room, mask, why), None)


def blockers(nodes: Nodes, site: Site, room: Int64, mask: Bool, why: tuple[str, str]) -> Iterator[Reason]:
    """The quantities of which ``room`` on the nodes of ``mask`` has too little, and how much could be had. The order is from the
    particular to the whole: one task on one node, then nodes, then sums. ``why`` is word and tier of the reasons."""
    word, tier = why
    demand = site.demand
    request = demand.request
    if site.nodes_min > site.nodes_most:
        yield Reason(word, tier, "nodes", site.nodes_min, site.nodes_most)
        return
    if not mask.any():
        yield Reason(word, tier, "nodes", site.nodes_min, 0)
        return
    enough = True
    for what, asked, have in node_needs(demand, room, nodes.total):
        most = max(0, int(have[mask].max()))
        if most < asked:
            enough = False
            yield Reason(word, tier, what, asked, most)
    if not enough:
        return
    fit = np.where(mask, tasks_fit(room, nodes.total, demand), 0)
    able = fit >= demand.least_tasks
    lacking = [nodes.names[at] for at in site.required if not able[at]]
    if lacking:
        yield Reason(word, tier, "nodes", len(site.required), len(site.required) - len(lacking), names=tuple(lacking))
        return
    if int(able.sum()) < site.nodes_min:
        what = "idle nodes" if request.exclusive else "nodes"
        yield Reason(word, tier, what, site.nodes_min, int(able.sum()))
        return
    if demand.ntasks:
        most = _largest_sum(fit, able, site)
        if most < demand.ntasks:
            enough = False
            yield Reason(word, tier, "tasks", demand.ntasks, most)
    for need in demand.fits:
        if need.in_total:
            most = _largest_sum(device_room(room, nodes.total, demand, need), able, site)
            if most < need.in_total:
                enough = False
                yield Reason(word, tier, need.key, need.in_total, most)
    if enough and site.bounds is not None and site.nodes_most > 1:
        short = site.bounds.shortage(able, site.required, sums_needed(nodes, demand, fit, room), site.nodes_min)
        if short is not None:
            scarce = () if short.need < 0 else (sums_named(demand)[short.need],)
            yield Reason(word, tier, "topology", short.asked, short.most, (short.level, short.domain, *scarce))
    if site.groups:
        yield from _group_blockers(site, able, why)
    if request.contiguous and site.nodes_most > 1:
        longest = longest_run(able)
        sums = sums_needed(nodes, demand, np.where(able, fit, 0), room)
        if longest < site.nodes_min or not neighbours(able, sums, site.nodes_min, site.nodes_most, site.required, False):
            yield Reason(word, tier, "contiguous nodes", site.nodes_min, longest)


def _group_blockers(site: Site, able: Bool, why: tuple[str, str]) -> Iterator[Reason]:
    enough = True
    for group in site.groups:
        most = int((able & group.mask).sum())
        if most < group.least:
            enough = False
            yield Reason(*why, "nodes", group.least, most, (group.text,))
    counts = [group.least for group in site.groups]
    covered = most_covered(np.flatnonzero(able), [group.mask for group in site.groups], counts) if enough else 0
    if enough and covered < sum(counts):
        yield Reason(*why, "nodes", sum(counts), covered, tuple(group.text for group in site.groups))


def sums_needed(nodes: Nodes, demand: Demand, fit: Int64, room: Int64) -> list[tuple[Int64, int]]:
    """What the nodes of an element must have together: (int64[N], amount), from the tasks that ``fit`` on each."""
    needs = [(fit, demand.ntasks)] if demand.ntasks else []
    return needs + [(device_room(room, nodes.total, demand, need), need.in_total) for need in demand.fits if need.in_total]


def sums_named(demand: Demand) -> list[str]:
    """What each of ``sums_needed`` counts."""
    return (["tasks"] if demand.ntasks else []) + [need.key for need in demand.fits if need.in_total]


def _largest_sum(amounts: Int64, able: Bool, site: Site) -> int:
    """The most that as many nodes as the element may use can give together, those that it has to use among them."""
    others = able.copy()
    others[site.required] = False
    left, rest = site.nodes_most - len(site.required), amounts[others]
    sure = int(amounts[site.required].sum())
    if left >= len(rest):
        return sure + int(rest.sum())
    return sure + (int(np.partition(rest, -left)[-left:].sum()) if left > 0 else 0)


def node_needs(demand: Demand, room: Int64, total: Int64) -> list[tuple[str, int, Int64]]:
    """What one node must have of each quantity at the least: (name, amount, int64[N])."""
    tasks = demand.least_tasks
    cpus = max(tasks * demand.cpus_per_task, demand.cpus_per_device, demand.cpus_per_node)
    needs = [("cpus", cpus, room[CPUS])]
    memory_mib = max(demand.memory_per_node_mib or cpus * demand.request.memory_per_cpu_mib, demand.memory_per_device_mib)
    if memory_mib:
        needs.append(("memory_mib", memory_mib, room[MEMORY_MIB]))
    gres = [(need, need.per_node + tasks * need.per_task + (1 if need.in_total else 0)) for need in demand.fits]
    return needs + [(need.key, asked, pool_room(room, total, need)) for need, asked in gres]


def unavailable(nodes: Nodes, site: Site) -> tuple[str, ...]:
    """Names of the nodes that this site could use if they were up; the required ones alone where there are any."""
    down = site.anywhere & ~nodes.up
    at = [index for index in site.required if down[index]] or np.flatnonzero(down)
    return tuple(nodes.names[index] for index in at)
