"""The availability profile: what every node has free at every future second, as far as time limits tell.

Running jobs give back what they hold at the end of their time limit; a *hold* (a reserved start) takes amounts over a window
that begins later. Between those instants nothing changes. Times are integer seconds, ends are exclusive and were rounded up by
the caller; an end that has passed counts as the next second, for such a job is being ended.

The profile is exact per node and resource, not only in totals. What makes that cheap: over a window, free amounts only fall
where a hold begins, so the minimum over [start, end) is the amount at ``start``, lowered at the nodes of each hold that begins
inside the window to what is left there at that begin.

Prior art: Feitelson and Weil, "Utilization and predictability in scheduling the IBM SP2 with backfilling" (IPPS 1998), where the
profile is one list of totals for identical processors; ours keeps a vector for each node.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np

from penstock.core.placement import Placement
from penstock.core.view import Int64, Running

CACHED_ROOMS = 8
"""Windows from now whose minimum is kept ready; more distinct ones are computed again."""
MAX_PROBES = 256
"""Instants between holds that a search tries one by one; behind them it goes on after the last hold, where halving works."""

NEVER_S = 1 << 62
"""Later than any end."""

PACKED_FROM = 12
"""From so many holds on their nodes and amounts lie in one array: numpy looks at all of them in the time of a few."""

Found = TypeVar("Found")


class Hold:
    """A placement over [start_s, end_s) that lies ahead, and ``left``: what its nodes have free at its begin, after it."""

    __slots__ = ("end_s", "left", "placement", "start_s")

    def __init__(self, placement: Placement, start_s: int, end_s: int, left: Int64) -> None:
        self.placement = placement
        self.start_s = start_s
        self.end_s = end_s
        self.left = left

    def lower(self, placement: Placement, times: int) -> None:
        """Another placement covers the begin of this hold."""
        nodes = self.placement.nodes
        at = np.minimum(np.searchsorted(nodes, placement.nodes), len(nodes) - 1)
        shared = nodes[at] == placement.nodes
        self.left[:, at[shared]] -= placement.amount[:, shared] * times


class Packed(NamedTuple):
    """All holds side by side: hold ``k`` has the columns ``at[k]`` to ``at[k + 1]``. Each hold's ``left`` is a view of its part."""

    at: list[int]
    nodes: Int64
    end_s: Int64
    amount: Int64
    left: Int64


class Profile:
    """``free`` is what every node has free now: int64[resources, N], owned by the profile."""

    def __init__(self, free: Int64, running: Running, now_s: int) -> None:
        self.now_s = now_s
        self.free = free.copy()
        self.holds: list[Hold] = []
        ends = np.maximum(running.end_s, now_s + 1)
        order = np.argsort(ends, kind="stable")
        self._end_s: Int64 = ends[order]
        self._node: Int64 = running.node[order].astype(np.int64)
        self._amount: Int64 = running.amount[:, order]
        self._new: list[tuple[int, Int64, Int64]] = []
        self._rooms: dict[int, Int64] = {}
        self._released: tuple[int, Int64] | None = None
        self._packed: Packed | None = None

    def room_now(self, end_s: int) -> Int64:
        """The least that each node has free over [now, end_s). Read-only: it is kept for the next caller."""
        ahead = self._ahead(end_s)
        if not ahead:
            return self.free
        room = self._rooms.get(ahead)
        if room is None:
            room = self.free.copy()
            self._lower(room, 0, ahead)
            if len(self._rooms) >= CACHED_ROOMS:
                del self._rooms[next(iter(self._rooms))]
            self._rooms[ahead] = room
        return room

    def alike_from(self, end_s: int) -> int:
        """The earliest end of a window from now that reaches the same holds as one that ends at ``end_s``."""
        ahead = self._ahead(end_s)
        return self.holds[ahead - 1].start_s + 1 if ahead else self.now_s

    def room(self, start_s: int, end_s: int) -> Int64:
        """The least that each node has free over [start_s, end_s)."""
        if start_s <= self.now_s:
            return self.room_now(end_s).copy()
        room = self.free_at(start_s)
        self._lower(room, self._ahead(start_s + 1), self._ahead(end_s))
        return room

    def free_at(self, instant_s: int) -> Int64:
        """What each node has free at this second, which is not before now."""
        room = self._after_releases(instant_s).copy()
        begun = self._ahead(instant_s + 1)
        if begun < PACKED_FROM:
            for hold in self.holds[:begun]:
                if hold.end_s > instant_s:
                    room[:, hold.placement.nodes] -= hold.placement.amount
            return room
        packed = self._pack()
        upto = packed.at[begun]
        lasting = np.flatnonzero(packed.end_s[:upto] > instant_s)
        nodes = packed.nodes[lasting]
        for row, amount in enumerate(packed.amount[:, lasting]):
            np.subtract.at(room[row], nodes, amount)
        return room

    def _lower(self, room: Int64, first: int, last: int) -> None:
        """Lower ``room`` to what the holds from ``first`` to before ``last`` leave at their begins."""
        if last - first < PACKED_FROM:
            for hold in self.holds[first:last]:
                _lower_to(room, hold)
            return
        packed = self._pack()
        begin, end = packed.at[first], packed.at[last]
        nodes = packed.nodes[begin:end]
        for row, left in enumerate(packed.left[:, begin:end]):
            np.minimum.at(room[row], nodes, left)

    def _pack(self) -> Packed:
        """The packed holds; packed again after a hold came. Lowering a hold writes through its view."""
        if self._packed is None:
            holds = self.holds
            sizes = [len(hold.placement.nodes) for hold in holds]
            at = [0, *accumulate(sizes)]
            ends = np.repeat(np.array([hold.end_s for hold in holds], np.int64), sizes)
            nodes = np.concatenate([hold.placement.nodes for hold in holds])
            amount = np.concatenate([hold.placement.amount for hold in holds], axis=1)
            left = np.concatenate([hold.left for hold in holds], axis=1)
            for hold, begin, end in zip(holds, at, at[1:], strict=False):
                hold.left = left[:, begin:end]
            self._packed = Packed(at, nodes, ends, amount, left)
        return self._packed

    def start(self, placement: Placement, times: int, end_s: int) -> None:
        """Give ``times`` elements their placement from now until ``end_s``."""
        taken = placement.amount * times
        self.free[:, placement.nodes] -= taken
        ahead = self._ahead(end_s)
        for hold in self.holds[:ahead]:
            hold.lower(placement, times)
        for covered in [key for key in self._rooms if key > ahead]:
            del self._rooms[covered]
        for room in self._rooms.values():
            room[:, placement.nodes] -= taken
        self._new.append((max(end_s, self.now_s + 1), placement.nodes, taken))
        self._released = None

    def reserve(self, placement: Placement, start_s: int, end_s: int) -> None:
        """Hold a placement that ``room(start_s, end_s)`` allowed."""
        for hold in self.holds:
            if start_s <= hold.start_s < end_s:
                hold.lower(placement, 1)
        left = self.free_at(start_s)[:, placement.nodes] - placement.amount
        at = self._ahead(start_s + 1)
        self.holds.insert(at, Hold(placement, start_s, end_s, left))
        self._packed = None
        self._rooms.clear()

    def earliest(
        self,
        duration_s: int,
        attempt: Callable[[Int64], Found | None],
        also: Callable[[int], bool] | None = None,
        together: Iterable[tuple[int, int]] = (),
        from_s: int = 0,
    ) -> tuple[int, Found] | None:
        """The first instant after now at which ``attempt(room)`` succeeds for the whole duration, and its result. ``also(instant)`` is a
        further condition; like the room it may turn false at the begins of holds alone.

        Amounts only rise at ends, so only ends are tried. Up to the first hold and after the last one more is free at each
        later end, and halving finds the first success; between them at most MAX_PROBES ends are tried one after the other.
        ``together`` are (row, amount) that all nodes must have in sum for any success: no end before that is tried,
        nor one before ``from_s``, of which the caller knows that it is too early.
        """
        self._merge()
        ends = np.unique(np.concatenate((self._end_s, np.array([hold.end_s for hold in self.holds], np.int64))))
        ends = ends[ends >= max(self.now_s + 1, from_s)]

        tried: dict[int, Found | None] = {}

        def probe(at: int) -> Found | None:
            if at not in tried:
                start_s = int(ends[at])
                allowed = also is None or also(start_s)
                tried[at] = attempt(self.room(start_s, start_s + duration_s)) if allowed else None
            return tried[at]

        def probe_without_holds(at: int) -> Found | None:
            return attempt(self._after_releases(int(ends[at]))) if self.holds else probe(at)

        # Without holds at least as much would be free everywhere: no success before the first success without them.
        soonest = int(np.searchsorted(ends, self._enough_from(together)))
        at = _first(soonest, len(ends), lambda at: probe_without_holds(at) is not None)
        if self.holds:
            settled = int(np.searchsorted(ends, max(hold.start_s for hold in self.holds)))
            one_by_one = (between for between in range(at, min(settled, at + MAX_PROBES)) if probe(between) is not None)
            at = next(one_by_one, max(at, settled))
            if at >= settled:
                at += bisect_left(range(at, len(ends)), True, key=lambda later: probe(later) is not None)
        found = probe(at) if at < len(ends) else None
        return None if found is None else (int(ends[at]), found)

    def _enough_from(self, together: Iterable[tuple[int, int]]) -> int:
        """The first instant at which the sums over all nodes, without holds, reach these amounts; behind all ends if they never do."""
        enough_s = self.now_s
        for row, amount in together:
            lacking = amount - int(np.maximum(self.free[row], 0).sum())
            if lacking > 0:
                at = int(np.searchsorted(np.cumsum(self._amount[row]), lacking))
                enough_s = max(enough_s, int(self._end_s[at]) if at < len(self._end_s) else NEVER_S)
        return enough_s

    def _ahead(self, end_s: int) -> int:
        """How many holds begin before ``end_s``."""
        return bisect_left(self.holds, end_s, key=lambda hold: hold.start_s)

    def _merge(self) -> None:
        """Put the ends of what started in this pass among the others."""
        if not self._new:
            return
        sizes = [len(nodes) for _, nodes, _ in self._new]
        ends = np.concatenate((self._end_s, np.repeat(np.array([end_s for end_s, _, _ in self._new], np.int64), sizes)))
        order = np.argsort(ends, kind="stable")
        self._end_s = ends[order]
        self._node = np.concatenate((self._node, *(nodes for _, nodes, _ in self._new)))[order]
        self._amount = np.concatenate((self._amount, *(taken for _, _, taken in self._new)), axis=1)[:, order]
        self._new.clear()
        self._released = None

    def _after_releases(self, instant_s: int) -> Int64:
        """Free now plus everything whose end is not after ``instant_s``, without holds. Read-only."""
        self._merge()
        upto = int(np.searchsorted(self._end_s, instant_s, side="right"))
        begin, base = self._released if self._released is not None and self._released[0] <= upto else (0, self.free)
        if begin == upto and base is not self.free:
            return base
        width = self.free.shape[1]
        room = base.copy()
        nodes = self._node[begin:upto]
        for row in range(len(room)):
            back = self._amount[row, begin:upto]
            if back.any():
                room[row] += np.bincount(nodes, weights=back, minlength=width).astype(np.int64)
        self._released = (upto, room)
        return room


def _first(begin: int, end: int, succeeds: Callable[[int], bool]) -> int:
    """The first number from ``begin`` on that succeeds, where all behind it do; ``end`` if none does. Few are tried when it is near."""
    failed, step = begin - 1, 1
    while failed + step < end and not succeeds(failed + step):
        failed += step
        step *= 2
    return failed + 1 + bisect_left(range(failed + 1, min(failed + step, end)), True, key=succeeds)


def _lower_to(room: Int64, hold: Hold) -> None:
    nodes = hold.placement.nodes
    room[:, nodes] = np.minimum(room[:, nodes], hold.left)
