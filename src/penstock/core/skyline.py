"""The skyline: what every node has free as steps over time, all nodes side by side in flat arrays.

A *segment* is a stretch of time in which a node's free amounts do not change. Segments lie node by node and in order of time, so that the
least over a window is one ``minimum.reduceat``, and "when is this much free on so many nodes at once" is a few passes over arrays: which
segments have enough, runs of them that last long enough, and a count of overlapping runs. Neither walks from end to end.

Guaranteed: exact per node, resource and second; no two segments of a node begin at the same second. Times are seconds after now,
``FAR_S`` stands for never. Behind each node's last segment (and before the first node) lies a sentinel that has less than nothing, so that
runs end at nodes' borders by themselves.

Prior art: Slurm's backfill keeps a table of node sets over time (``node_space``), OAR a list of slots over time, and both walk it in order
of time; Mu'alem and Feitelson, "Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with
backfilling" (TPDS 2001), have one list of totals. Trade-off: an insertion copies all segments, which is cheap up to some 10**5 of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.core.view import Bool, Int64

SHIFT = 40
FAR_S = (1 << SHIFT) - 1
"""Never, in seconds after now; later ends are cut to it."""
NOTHING = -(1 << 50)
"""What a sentinel has of everything."""
FEW = 16
"""Up to so many rectangles are taken one by one, more by a sum over all segments."""
CLOSER = 8
"""Lower bounds that are tried before all openings are sorted."""
DIGIT = 16
"""Bits that one pass of a radix sort orders; numpy sorts 16-bit numbers that way."""


class Least(NamedTuple):
    """Each node needs ``one`` of these rows together, and all nodes together ``whole`` (0: nothing beyond ``one`` each). ``each``: what is
    needed node by node, where that differs (int64[N])."""

    rows: tuple[int, ...]
    one: int
    whole: int = 0
    each: Int64 | None = None


class Wish(NamedTuple):
    """A necessary condition: ``nodes`` nodes at once on which every ``least`` is met."""

    least: tuple[Least, ...]
    nodes: int


class Openings(NamedTuple):
    """On some nodes something could start from ``begin[k]`` to ``last[k]`` inclusive, one node a row."""

    begin: Int64
    last: Int64

    def first(self, nodes: int) -> int | None:
        """The first instant at which so many nodes are open at once."""
        begin, last = self
        if nodes == 1:
            return int(begin.min()) if len(begin) else None
        for _ in range(CLOSER):  # so many begins are needed: the instant cannot be before the last of them
            if len(begin) < nodes:
                return None
            soonest = int(np.partition(begin, nodes - 1)[nodes - 1])
            still = last >= soonest
            if np.count_nonzero(begin[still] <= soonest) >= nodes:
                return soonest
            begin, last = begin[still], last[still]
        begin, last = np.sort(begin), np.sort(last)
        enough = np.flatnonzero(np.arange(1, len(begin) + 1) - np.searchsorted(last, begin) >= nodes)
        return int(begin[enough[0]]) if len(enough) else None

    def enough(self, instants: Int64, nodes: int) -> Bool:
        """At which of the instants so many nodes are open."""
        begun = np.searchsorted(np.sort(self.begin), instants, side="right")
        over = np.searchsorted(np.sort(self.last), instants)
        answer: Bool = begun - over >= nodes
        return answer


class Taking(NamedTuple):
    """``amount`` (int64[resources, k]) is taken on ``nodes`` (k columns, each at most once) over [begin_s, end_s), seconds after now."""

    nodes: Int64
    begin_s: int
    end_s: int
    amount: Int64


class Skyline:
    """``free`` is int64[resources, N] now; ``amount`` (int64[resources, rows]) comes back on ``node`` after ``end_s`` (at least 1)."""

    def __init__(self, free: Int64, end_s: Int64, node: Int64, amount: Int64) -> None:
        self._width = width = free.shape[1]
        order = np.flatnonzero(end_s < FAR_S)
        order = order.take(order_of(end_s.take(order)))
        order = order.take(order_of(node.take(order)))
        keys = (node.take(order) << SHIFT) | end_s.take(order)
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        keys = keys.take(first)
        of_node = keys >> SHIFT
        steps = np.bincount(of_node, minlength=width)
        before = np.cumsum(steps) - steps
        columns = np.arange(width, dtype=np.int64)
        base = 1 + 2 * columns + before
        place = 2 + 2 * of_node + np.arange(len(keys))
        self._key: Int64 = np.full(1 + 2 * width + len(keys), -1, np.int64)
        self._key[base] = columns << SHIFT
        self._key[place] = keys
        self._key[base + steps + 1] = (columns << SHIFT) | FAR_S
        self._begin: Int64 = self._key & FAR_S
        self._level: Int64 = np.full((len(free), len(self._key)), NOTHING)
        for row, level in enumerate(self._level):
            level[base] = free[row]
            if len(first):
                returned = np.zeros(len(first) + 1, np.int64)
                np.cumsum(np.add.reduceat(amount[row].take(order), first), out=returned[1:])
                level[place] = returned[1:] + (free[row] - returned.take(before)).take(of_node)

    @property
    def segments(self) -> int:
        return len(self._key)

    def copy(self) -> Skyline:
        other = Skyline.__new__(Skyline)
        other._width, other._key, other._begin, other._level = self._width, self._key, self._begin, self._level.copy()
        return other

    def take(self, takings: list[Taking]) -> None:
        """Lower the levels by what is taken."""
        nodes = np.concatenate([taking.nodes for taking in takings]) if len(takings) > 1 else takings[0].nodes
        spans = [(taking.begin_s, min(taking.end_s, FAR_S)) for taking in takings]
        sizes = [len(taking.nodes) for taking in takings]
        begin, end = np.repeat(np.array(spans, np.int64), sizes, axis=0).T
        rows = nodes << SHIFT
        begin, end = rows | begin, rows | end
        self._cut(np.concatenate((begin, end)))
        low, high = np.searchsorted(self._key, begin), np.searchsorted(self._key, end)
        amount = np.concatenate([taking.amount for taking in takings], axis=1) if len(takings) > 1 else takings[0].amount
        if len(nodes) <= FEW:
            for at, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                self._level[:, first:last] -= amount[:, at : at + 1]
            return
        change = np.empty(self.segments, np.int64)
        for level, taken in zip(self._level, amount, strict=True):
            change[:] = 0
            np.subtract.at(change, low, taken)
            np.add.at(change, high, taken)
            level += np.cumsum(change, out=change)

    def _cut(self, points: Int64) -> None:
        """Let a segment begin at each of these keys."""
        points.sort()
        at = np.searchsorted(self._key, points)
        new = self._key[at] != points
        new[1:] &= points[1:] != points[:-1]
        points, at = points[new], at[new]
        if not len(points):
            return
        places = at + np.arange(len(points))
        old_key, old_level = self._key, self._level
        self._key = np.empty(len(old_key) + len(points), np.int64)
        self._level = np.empty((len(old_level), len(self._key)), np.int64)
        if len(points) <= FEW:
            copied = 0
            for shift, upto in enumerate((*at.tolist(), len(old_key))):
                self._key[copied + shift : upto + shift] = old_key[copied:upto]
                self._level[:, copied + shift : upto + shift] = old_level[:, copied:upto]
                copied = upto
            self._level[:, places] = old_level[:, at - 1]
        else:
            source = np.ones(len(self._key), np.int64)
            source[places] = 0
            np.cumsum(source, out=source)
            source -= 1
            old_key.take(source, out=self._key)
            old_level.take(source, axis=1, out=self._level)
        self._key[places] = points
        self._begin = self._key & FAR_S

    def window(self, begin_s: int, end_s: int) -> Int64:
        """int64[resources, N]: the least that each node has over [begin_s, end_s), at least one second."""
        inside = np.flatnonzero((self._begin[1:] > begin_s) & (self._begin[:-1] < end_s))
        level: Int64 = self._level.take(inside, axis=1)
        if len(inside) > self._width:
            level = np.minimum.reduceat(level, np.flatnonzero(self._begin.take(inside) <= begin_s), axis=1)
        return level

    def openings(self, wish: Wish, duration_s: int, from_s: int) -> Openings:
        """When each node could give its part of the wish for so long, from ``from_s`` on."""
        able = self._able(wish)
        edges = np.flatnonzero(able[1:] != able[:-1]) + 1
        begin = np.maximum(self._begin.take(edges[::2]), from_s)
        end = self._begin.take(edges[1::2])
        last = np.where(end == FAR_S, FAR_S, end - duration_s)
        long = last >= begin
        return Openings(begin[long], last[long])

    def rises(self, from_s: int) -> Int64:
        """The instants from ``from_s`` on at which some node has more of something than just before, in order."""
        more = (self._level[:, 1:] > self._level[:, :-1]).any(axis=0)
        begin = self._begin[1:][more]
        instants: Int64 = np.unique(begin[(begin >= max(from_s, 1)) & (begin < FAR_S)])
        return instants

    def enough_from(self, wish: Wish) -> int:
        """No instant before this has enough in sum on the nodes that meet the wish one by one; ``FAR_S``: none has."""
        able = self._able(wish)
        found = 0
        for least in wish.least:
            if least.whole <= least.one * wish.nodes:
                continue
            have = np.where(able, np.maximum(self._sum(least.rows), 0), 0)
            begin = self._begin[1:]
            order = order_of(begin)
            total = np.cumsum(np.diff(have).take(order))
            instants = begin.take(order)
            settled = np.flatnonzero((total >= least.whole) & (np.diff(instants, append=FAR_S + 1) > 0))
            found = max(found, int(instants[settled[0]]) if len(settled) else FAR_S)
        return found

    def _able(self, wish: Wish) -> Bool:
        """bool[segments]; never on a sentinel."""
        able = self._begin < FAR_S
        for least in wish.least:
            level = self._sum(least.rows)
            if least.one > 0:
                able &= level >= least.one
            if least.each is not None:
                able &= level >= least.each.take(self._key >> SHIFT, mode="clip")
        return able

    def _sum(self, rows: tuple[int, ...]) -> Int64:
        level: Int64 = self._level[rows[0]] if len(rows) == 1 else self._level.take(rows, axis=0).sum(axis=0)
        return level


def order_of(numbers: Int64) -> Int64:
    """What ``argsort(kind="stable")`` gives for numbers from 0 on, several times as fast where they are small: a radix sort."""
    order: Int64 = np.arange(len(numbers), dtype=np.int64)
    if not len(numbers):
        return order
    most = int(numbers.max())
    shift = 0
    while most >> shift:
        digit = (numbers >> shift).astype(np.uint16)
        order = order.take(np.argsort(digit.take(order), kind="stable"))
        shift += DIGIT
    return order
