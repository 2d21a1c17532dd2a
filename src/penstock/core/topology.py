"""Where the nodes of one element may sit relative to each other: levels of domains, and the choice among them.

A topology is a sequence of levels, narrowest first: leaf switches below racks below spines, or base blocks below aggregated blocks.
For the planner a level is one array, the domain of each node. Levels are nested: a narrow domain lies inside one domain of each wider
level. A node without a place in the topology is a domain of its own at every level, and nodes whose widest domains differ are never
joined in one element (topology.conf(5): no job spans switches without a common parent).

Rules. All of an element or none. It sits in the narrowest domain that has room (the *preferred* level is thus always the narrowest that
can be had now), never in a wider one than its required level. Of several such domains: the one with the lightest node, then best fit, the
fewest nodes that could take part, then the fullest. Inside, as few of the next narrower domains as possible, whole ones first and the rest
in the smallest that is enough, so that large domains stay whole for others. ``switches`` bounds the number of leaf domains; with a
``segment`` each leaf domain gives a multiple of so many nodes.

Prior art: Slurm's topology/tree and topology/block by their manual pages; KAI-Scheduler's and Kueue's topology-aware scheduling for
required and preferred levels. Limit: where nodes are unequal and amounts are asked for in total, at most MAX_DOMAINS of a level are tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from penstock.core.plan import Reason
from penstock.core.request import Request
from penstock.core.view import Bool, Int64, Level, Topology

MAX_DOMAINS = 64
"""Domains of one level that are tried for one element, best first."""
LOW_BITS = 32
LOW_MASK = (1 << LOW_BITS) - 1

Needs = list[tuple[Int64, int]]
"""(what each candidate has, how much the element asks for in total)."""
Picker = Callable[[Int64, int, int], Int64 | None]
"""(positions of candidates, least, most) -> positions to take, the least number of nodes that is enough; None: they are not enough."""


class Shortage(NamedTuple):
    """What the best domain of a level lacks: ``need`` is the number of the need, -1 for nodes; ``domain`` is "" where none has a name, or
    none has the required nodes."""

    level: str
    domain: str
    need: int
    asked: int
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """What one request may use of a topology.

    widest     index of the widest level that one domain of must hold the element
    switches   most leaf domains; 0: any number
    segment    nodes that come together in a leaf domain; 1: no such wish
    """

    topology: Topology
    widest: int
    switches: int = 0
    segment: int = 1

    def shortage(self, able: Bool, required: Int64, needs: Needs, least: int) -> Shortage | None:
        """What every domain of the widest level lacks for ``least`` nodes of ``able``, the ``required`` ones among them, that meet the
        needs together, told of the domain that comes closest; None: one domain may have it all."""
        at = np.flatnonzero(able)
        level = self.topology.levels[self.widest]
        leaves = _Leaves(self, at, [(have[at], asked) for have, asked in needs])
        capacity, met = leaves.of(level)
        whole = np.bincount(level.domain[required], minlength=level.domains) == len(required)
        if (met & whole & (capacity >= least)).any():
            return None
        if not whole.any():
            return Shortage(level.name, "", -1, least, 0)
        enough = np.flatnonzero(whole & (capacity >= least))
        if not len(enough):
            best = int(np.argmax(np.where(whole, capacity, -1)))
            return Shortage(level.name, self._called(best), -1, least, int(capacity[best]))
        sums = [(have[enough], asked) for have, asked in leaves.sums(level)]
        part = np.array([have / asked for have, asked in sums])
        closest = int(np.argmax(part.min(axis=0)))
        need = int(np.argmin(part[:, closest]))
        return Shortage(level.name, self._called(int(enough[closest])), need, sums[need][1], int(sums[need][0][closest]))

    def _called(self, domain: int) -> str:
        names = self.topology.levels[self.widest].names
        return names[domain] if domain < len(names) else ""


def bounds_of(topology: Topology | None, request: Request) -> Bounds | Reason | None:
    """What ``request`` may use of the topology of its partition; None where there is nothing to heed. Without a topology all nodes are one
    leaf domain, which ``switches`` and ``segment`` are content with."""
    if topology is None:
        return Reason("BadConstraints", "impossible", "topology", names=(request.level,)) if request.level else None
    widest = topology.level_named(request.level) if request.level else len(topology.levels) - 1
    if widest is None:
        return Reason("BadConstraints", "impossible", "topology", names=(request.level, *(level.name for level in topology.levels)))
    return Bounds(topology, widest, request.switches, max(1, request.segment))


def make_topology(name: str, kind: str, levels: list[tuple[str, list[tuple[str, Int64]]]], width: int) -> Topology:
    """From levels of (name, [(domain, columns)]), narrowest first and nested (``TopologyRecord`` sees to that), over ``width`` nodes."""
    made: list[Level] = []
    below: Int64 = np.arange(width, dtype=np.int64)
    for level_name, domains in levels:
        domain = np.full(width, -1, np.int64)
        for number, (_, columns) in enumerate(domains):
            domain[columns] = number
        outside = np.flatnonzero(domain < 0)  # what no domain of this level names goes on as it was
        kept, again = np.unique(below[outside], return_inverse=True)
        domain[outside] = len(domains) + again
        count = len(domains) + len(kept)
        of_leaf = np.arange(count, dtype=np.int64)
        if made:
            of_leaf = np.zeros(made[0].domains, np.int64)
            of_leaf[made[0].domain] = domain
        for array in (domain, of_leaf):
            array.setflags(write=False)
        made.append(Level(level_name, tuple(domain_name for domain_name, _ in domains), domain, count, of_leaf))
        below = domain
    return Topology(name, kind, tuple(made))


class _Leaves:
    """Candidates summed up by leaf domain, from which the sums of every wider domain follow."""

    def __init__(self, bounds: Bounds, at: Int64, needs: Needs) -> None:
        leaf = bounds.topology.levels[0]
        self.id: Int64 = leaf.domain[at]
        self._count: Int64 = np.bincount(self.id, minlength=leaf.domains)
        self._usable = self._count - self._count % bounds.segment
        self._needs = [(_sums(self.id, np.minimum(have, asked), leaf.domains), asked) for have, asked in needs]
        self._switches = bounds.switches

    def of(self, level: Level) -> tuple[Int64, Bool]:
        """(nodes that each domain of the level may give, whether the needs could be met there)."""
        usable, met = self._usable, np.ones(level.domains, np.bool_)
        if self._switches:
            order = np.lexsort((-usable, level.of_leaf))
            owner = level.of_leaf[order]
            begin = np.searchsorted(owner, owner)
            usable = usable.copy()
            usable[order[np.arange(len(order)) - begin >= self._switches]] = 0
        capacity = _sums(level.of_leaf, usable, level.domains)
        for have, asked in self.sums(level):
            met &= have >= asked
        return capacity, met

    def sums(self, level: Level) -> Iterator[tuple[Int64, int]]:
        """(what each domain of the level has, how much is asked for) for each need."""
        return ((_sums(level.of_leaf, have, level.domains), asked) for have, asked in self._needs)


def _sums(ids: Int64, amounts: Int64, count: int) -> Int64:
    """Exact while a sum stays below 2**53, which a million nodes with LARGEST each do."""
    return np.bincount(ids, weights=amounts, minlength=count).astype(np.int64)


class Candidates(NamedTuple):
    """Nodes that could take part: columns ``at`` (ascending), and by position in it their preference key, rank of weight, whether the
    element must have them, and what they have of each need."""

    at: Int64
    keys: Int64
    rank: Int64
    forced: Bool
    needs: Needs


def choose(bounds: Bounds, have: Candidates, least: int, most: int, pick: Picker) -> Int64 | None:
    """Positions of the nodes that an element of ``least`` to ``most`` nodes gets, or None. ``pick`` chooses without looking at the
    topology and knows the needs."""
    leaves = _Leaves(bounds, have.at, have.needs)
    forced = np.flatnonzero(have.forced)
    for depth, level in enumerate(bounds.topology.levels[: bounds.widest + 1]):
        capacity, met = leaves.of(level)
        met &= capacity >= least
        ids = level.domain[have.at]
        if len(forced):
            alone = np.zeros(level.domains, np.bool_)
            alone[ids[forced[0]]] = (ids[forced] == ids[forced[0]]).all()
            met &= alone
        candidates = np.flatnonzero(met)
        if not len(candidates):
            continue
        for domain in _best_first(candidates, capacity, ids, have)[:MAX_DOMAINS].tolist():
            inside = np.flatnonzero(ids == domain)
            picked = _inside(bounds, depth, have, leaves.id, inside, least, min(most, int(capacity[domain])), pick)
            if picked is not None:
                return picked
    return None


def most_nodes(bounds: Bounds, have: Candidates, most: int) -> int:
    """As many nodes, up to ``most``, as one domain can give: for elements that take what they can get."""
    level = bounds.topology.levels[bounds.widest]
    capacity, met = _Leaves(bounds, have.at, have.needs).of(level)
    if have.forced.any():
        met &= np.bincount(level.domain[have.at][have.forced], minlength=level.domains) == have.forced.sum()
    size = min(most, int(capacity[met].max())) if met.any() else 0
    return size - size % bounds.segment


def _best_first(domains: Int64, capacity: Int64, ids: Int64, have: Candidates) -> Int64:
    """Lightest node, fewest usable nodes, fullest nodes, order."""
    if len(domains) == 1:
        return domains
    high = _sums(ids, have.keys >> LOW_BITS, len(capacity))
    low = _sums(ids, have.keys & LOW_MASK, len(capacity))
    high += low >> LOW_BITS
    low &= LOW_MASK
    lightest = np.zeros(len(capacity), np.int64)
    if (have.rank != have.rank[0]).any():
        lightest[:] = have.rank.max()
        np.minimum.at(lightest, ids, have.rank)
    return domains[np.lexsort((low[domains], high[domains], capacity[domains], lightest[domains]))]


def _inside(bounds: Bounds, depth: int, have: Candidates, leaf: Int64, inside: Int64, least: int, most: int, pick: Picker) -> Int64 | None:
    """Positions within one domain of level ``depth``, or None."""
    picked = pick(inside, least, most)
    if picked is None or (depth == 0 and bounds.segment == 1):
        return picked
    size = -(-len(picked) // bounds.segment) * bounds.segment
    if size > most:
        return None
    able = np.ones(len(inside), np.bool_)
    for amounts, asked in have.needs:
        able &= amounts[inside] >= -(-asked // size)
    members = inside[able]
    if len(members) >= size and have.forced[members].sum() == have.forced.sum():
        members = members[np.lexsort((have.keys[members], ~have.forced[members]))]
        levels = (0,) if bounds.switches else tuple(range(depth - 1, -1, -1))
        ids = [bounds.topology.levels[number].domain[have.at] for number in levels]
        gathered = _with_forced(bounds, have.forced, leaf, ids, members, size)
        if gathered is not None:
            return gathered
    return picked if _allowed(bounds, leaf[picked]) else None


def _allowed(bounds: Bounds, leaves: Int64) -> bool:
    counts = np.unique(leaves, return_counts=True)[1]
    return not (bounds.switches and len(counts) > bounds.switches) and not (counts % bounds.segment).any()


def _with_forced(bounds: Bounds, forced: Bool, leaf: Int64, ids: list[Int64], members: Int64, size: int) -> Int64 | None:
    """``size`` of the members (best first, the forced ones before all others): leaf domains of forced nodes first, then the rest."""
    members = _whole_segments(members, leaf, bounds.segment)
    if len(members) < size:
        return None
    must = members[forced[members]]
    if len(must) < forced.sum():
        return None
    taken: Int64 = must[:0]
    if len(must):
        near = np.isin(leaf[members], leaf[must])
        own = members[near]
        order, place = _by_leaf(own, leaf)
        quota = np.bincount(leaf[must], minlength=int(leaf.max()) + 1)
        quota += -quota % bounds.segment
        first = np.zeros(len(own), np.bool_)
        first[order] = place < quota[leaf[own][order]]
        by_leaf = np.zeros(len(own), np.int64)
        by_leaf[order] = np.arange(len(own))
        own = own[np.lexsort((by_leaf, ~first))]
        if first.sum() > size:
            return None
        taken = own[:size]
        members = members[~near]
    left = size - len(taken)
    chosen = np.concatenate((taken, _gather(ids, members, left))) if left else taken
    return chosen if len(chosen) == size and _allowed(bounds, leaf[chosen]) else None


def _whole_segments(members: Int64, leaf: Int64, segment: int) -> Int64:
    """Without the worst nodes of each leaf domain that fill no segment."""
    if segment == 1:
        return members
    order, place = _by_leaf(members, leaf)
    owner = leaf[members][order]
    counts = np.searchsorted(owner, owner, side="right") - np.searchsorted(owner, owner)
    keep = np.zeros(len(members), np.bool_)
    keep[order] = place < counts - counts % segment
    return members[keep]


def _by_leaf(members: Int64, leaf: Int64) -> tuple[Int64, Int64]:
    """(an order that keeps leaf domains together, each member's place in its own)."""
    order = np.argsort(leaf[members], kind="stable")
    owner = leaf[members][order]
    return order, np.arange(len(order)) - np.searchsorted(owner, owner)


def _gather(ids: list[Int64], members: Int64, size: int) -> Int64:
    """``size`` of the members, best first, from as few domains as possible of the first level of ``ids``, and so on inside the last."""
    if not ids or len(members) <= size:
        return members[:size]
    _, inverse, counts = np.unique(ids[0][members], return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    largest = counts[order]
    left = size - (np.cumsum(largest) - largest)
    whole = int(np.argmax(largest >= left))
    enough = np.flatnonzero(largest[whole:] >= left[whole])
    smallest = int(largest[whole + enough[-1]])
    last = order[whole + int(np.argmax(largest[whole:] == smallest))]
    chosen = np.zeros(len(counts), np.bool_)
    chosen[order[:whole]] = True
    inner = _gather(ids[1:], members[inverse == last], int(left[whole]))
    return np.concatenate((members[chosen[inverse]], inner))
