"""Where a request may run: its sites in a partition, in the order in which they are tried.

Most requests have one site. A matching OR (``[a|b]``) has one for each choice, so has an OR of licences, and ``--prefer`` puts a *soft*
site before them: its features stand in for those of ``--constraint`` as long as the job can start at once, and it never waits for them
(sbatch.1). Whatever makes a difference between sites is in the site, so that everything behind it looks at one site at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from penstock.core.plan import Reason
from penstock.core.request import GresCounts, Request, parsed
from penstock.core.resources import UNBOUNDED, Demand, resolve
from penstock.core.topology import Bounds, bounds_of
from penstock.core.view import Bool, Int64, Nodes, Partition


class Group(NamedTuple):
    """At least ``least`` nodes of ``mask``, of their own, that carry ``text``."""

    mask: Bool
    least: int
    text: str


@dataclass(frozen=True, slots=True)
class Site:
    """A demand in a partition: where it may run.

    mask       bool[N]: nodes that it may use now (member, up, not excluded, all features)
    anywhere   the same without asking whether a node is up
    required   columns of the required nodes, ascending
    nodes_max  the smaller bound of request and partition, UNBOUNDED where there is none
    groups     what the counts of a constraint ask for
    soft       whether it is only preferred: worth a start, not worth a wait
    number     its place among the sites of its request in its partition
    licenses   (name, count) that the element holds
    bounds     what it may use of the partition's topology; None: all nodes are alike near
    """

    demand: Demand
    partition: Partition
    mask: Bool
    anywhere: Bool
    required: Int64
    nodes_max: int
    groups: tuple[Group, ...] = ()
    soft: bool = False
    number: int = 0
    licenses: GresCounts = ()
    bounds: Bounds | None = None

    @property
    def key(self) -> tuple[Request, str, int]:
        """Names the site within one view."""
        return self.demand.request, self.partition.name, self.number

    @property
    def nodes_min(self) -> int:
        return max(self.demand.request.nodes_min, len(self.required), sum(group.least for group in self.groups))

    @property
    def fits_one_node(self) -> bool:
        """Whether copies on a node can be counted by division."""
        return self.demand.fits_one_node and not self.groups

    @property
    def nodes_most(self) -> int:
        """Most nodes that the element can use: each runs a task and holds at least one of each total."""
        most = self.nodes_max
        if self.demand.ntasks:
            most = min(most, self.demand.ntasks)
        for need in self.demand.draws:
            if need.in_total:
                most = min(most, need.in_total)
        return most


class Features(NamedTuple):
    """One way to meet a constraint: what each node carries, and groups of nodes."""

    mask: Bool
    groups: tuple[Group, ...]


def ways(nodes: Nodes, text: str) -> list[Features]:
    """The ways to meet the constraint ``text`` ("" is met by every node). Features that no node carries are carried by none."""
    everyone = np.ones(len(nodes), np.bool_)
    if not text:
        return [Features(everyone, ())]
    constraint = parsed(text)
    nobody = np.zeros(len(nodes), np.bool_)
    carriers: Callable[[str], Bool] = lambda name: nodes.features.get(name, nobody)  # noqa: E731
    base: Bool = everyone if constraint.every is None else constraint.every.evaluate(carriers)
    if constraint.choices:
        return [Features(base & choice.evaluate(carriers), ()) for choice in constraint.choices]
    groups = tuple(Group(base & formula.evaluate(carriers), count, str(formula)) for formula, count in constraint.counts)
    if constraint.bracketed:
        base = np.logical_or.reduce([group.mask for group in groups])
    return [Features(base, groups)]


def locate(nodes: Nodes, partition: Partition, request: Request) -> tuple[Site, ...] | Reason:
    """The sites of ``request`` in ``partition``, best first, or what makes every node impossible. The last one is never soft."""
    bounds = bounds_of(partition.topology, request)
    if isinstance(bounds, Reason):
        return bounds
    demand = resolve(request, nodes.pools)
    open_ = partition.member.copy()
    for name in request.excluded_nodes:
        if name in nodes.index_of:
            open_[nodes.index_of[name]] = False
    required = np.array(sorted({nodes.index_of[name]: None for name in request.required_nodes if name in nodes.index_of}), np.int64)
    nodes_max = min(request.nodes_max or UNBOUNDED, partition.max_nodes or UNBOUNDED)
    bundles = [(pair,) for pair in request.licenses] if request.any_license else [request.licenses]
    sites: list[Site] = []
    refusal: Reason | None = None
    preferred = [(way, True) for way in ways(nodes, request.prefer)] if request.prefer else []
    for way, soft in (*preferred, *((way, False) for way in ways(nodes, request.constraint))):
        anywhere = open_ & way.mask
        unusable = [name for name in request.required_nodes if name not in nodes.index_of or not anywhere[nodes.index_of[name]]]
        if unusable:
            refusal = refusal or Reason("BadConstraints", "impossible", "nodes", names=tuple(unusable))
        elif not soft and not anywhere.any() and open_.any():
            refusal = refusal or Reason("BadConstraints", "impossible", "features", names=(request.constraint,))
        else:
            for licenses in bundles:
                common = (demand, partition, anywhere & nodes.up, anywhere, required, nodes_max, way.groups)
                sites.append(Site(*common, soft, len(sites), licenses, bounds))
    if not any(not site.soft for site in sites):
        return refusal or Reason("BadConstraints", "impossible", "features", names=(request.constraint,))
    return tuple(sites)
