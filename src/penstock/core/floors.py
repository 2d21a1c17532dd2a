"""What a site cannot do without: amounts that each node of an element and all of them together must have.

A floor is necessary, not sufficient: what does not reach it fails for certain, and is not looked at more closely. For a request of CPUs,
memory and devices of its own nodes, alike on each, it is exact; what it leaves out (parts of devices, topology, counts of features, CPUs
that devices bring along) is ``placement``'s business.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.core.sites import Site
from penstock.core.skyline import Least, Wish
from penstock.core.view import CPUS, MEMORY_MIB, Nodes

NOBODY_HAS = 1 << 50
"""What is asked of a node that the site may not use."""


class Floor(NamedTuple):
    """``wish`` holds all of it; ``alone`` is the part that the most and the sum of one row decide: (row, least of a node, least of all)."""

    wish: Wish
    alone: tuple[tuple[int, int, int], ...]


def floor_of(nodes: Nodes, site: Site) -> Floor:
    demand = site.demand
    tasks = demand.least_tasks
    one_node = site.fits_one_node and not demand.may_split
    all_tasks = max(demand.ntasks, tasks * site.nodes_min)
    if one_node:
        tasks = all_tasks
    memory_mib = demand.memory_per_node_mib, demand.memory_per_task_mib
    cpus = max(tasks * demand.cpus_per_task, demand.cpus_per_node)
    least = [
        Least((CPUS,), cpus, max(all_tasks * demand.cpus_per_task, cpus * site.nodes_min)),
        Least(
            (MEMORY_MIB,),
            memory_mib[0] or tasks * memory_mib[1],
            memory_mib[0] * site.nodes_min or all_tasks * memory_mib[1],
        ),
    ]
    for need in demand.fits:
        if need.rows and not need.slots:
            one = need.per_node + tasks * need.per_task + (min(1, need.in_total) if not one_node else need.in_total)
            least.append(Least(need.rows, one, max(need.in_total, need.per_node * site.nodes_min + all_tasks * need.per_task)))
    alone = tuple((item.rows[0], item.one, item.whole) for item in least if len(item.rows) == 1)
    if demand.request.exclusive or not site.mask.all():
        each = nodes.total[CPUS] if demand.request.exclusive else np.zeros(len(nodes), np.int64)
        least[0] = least[0]._replace(each=np.where(site.mask, each, NOBODY_HAS))
    if demand.whole_memory:
        least[1] = least[1]._replace(each=nodes.total[MEMORY_MIB])
    wanted = tuple(item for item in least if item.one > 0 or item.whole > 0 or item.each is not None)
    return Floor(Wish(wanted, max(1, site.nodes_min)), alone)
