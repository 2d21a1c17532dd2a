"""The availability profile: what every node has free at every future second, as far as time limits tell.

Running jobs give back what they hold at the end of their time limit; a *hold* (a reserved start) takes amounts over a window
that begins later. Between those instants nothing changes. Times are integer seconds, ends are exclusive and were rounded up by
the caller; an end that has passed counts as the next second, for such a job is being ended.

The profile is exact per node and resource, not only in totals. Two forms of it: what is free *from now on*, an amount for each node, which
is all that most passes need and is kept up to date hold by hold as long as there are few; and the whole of it as a ``Skyline``, made when
the first earliest start is searched.

Prior art: Feitelson and Weil, "Utilization and predictability in scheduling the IBM SP2 with backfilling" (IPPS 1998), where the
profile is one list of totals for identical processors; ours keeps a vector for each node.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

import numpy as np

from penstock.core.placement import Placement
from penstock.core.skyline import Skyline, Taking, Wish
from penstock.core.view import Int64, Running

CACHED_ROOMS = 8
"""Windows from now whose minimum is kept ready; more distinct ones are computed again."""
MAX_PROBES = 256
"""Instants between holds that a search tries one by one; behind them it goes on after the last hold, where halving works."""
CROWDED_FROM = 12
"""From so many holds on all rooms come from the skyline; below, the holds themselves say what they leave."""

Found = TypeVar("Found")
Attempt = Callable[[Int64], Found | None]


class Condition(NamedTuple):
    """A further condition of a start: whether it is ``met`` at an instant, and the instants from one on (int64[k]) at which it may turn
    true. Like room it turns false at the begins of holds alone."""

    met: Callable[[int], bool]
    rises: Callable[[int], Int64]


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


class Profile:
    """``free`` is what every node has free now: int64[resources, N], owned by the profile."""

    def __init__(self, free: Int64, running: Running, now_s: int) -> None:
        self.now_s = now_s
        self.free = free.copy()
        self.begins: list[int] = []
        """When the holds begin, in order."""
        self._few: list[Hold] = []
        """All holds, while they are few; in the order of ``begins``."""
        self._running = running
        self._rooms: dict[int, Int64] = {}
        """By the begin of the last hold that the window reaches."""
        self._released: Skyline | None = None
        """What runs and what has started in this pass, without holds."""
        self._started: list[Taking] = []
        """What it lacks."""
        self._table: Skyline | None = None
        """With holds; None: there are none."""
        self._taken: list[Taking] = []

    def room_now(self, end_s: int) -> Int64:
        """The least that each node has free over [now, end_s). Read-only: it is kept for the next caller."""
        ahead = bisect_left(self.begins, end_s)
        if not ahead:
            return self.free
        last_s = self.begins[ahead - 1]
        room = self._rooms.get(last_s)
        if room is None:
            if self._crowded:
                room = self._with_holds().window(0, last_s + 1 - self.now_s)
            else:
                room = self.free.copy()
                for hold in self._few[:ahead]:
                    nodes = hold.placement.nodes
                    room[:, nodes] = np.minimum(room[:, nodes], hold.left)
            if len(self._rooms) >= CACHED_ROOMS:
                del self._rooms[next(iter(self._rooms))]
            self._rooms[last_s] = room
        return room

    def alike_from(self, end_s: int) -> int:
        """The earliest end of a window from now that reaches the same holds as one that ends at ``end_s``."""
        ahead = bisect_left(self.begins, end_s)
        return self.begins[ahead - 1] + 1 if ahead else self.now_s

    def room(self, start_s: int, end_s: int) -> Int64:
        """The least that each node has free over [start_s, end_s), at least one second."""
        if start_s <= self.now_s:
            return self.room_now(end_s).copy()
        return self._with_holds().window(start_s - self.now_s, max(end_s, start_s + 1) - self.now_s)

    def rises(self, from_s: int) -> Int64:
        """The instants from ``from_s`` on at which some node has more of something than just before, in order."""
        return self._with_holds().rises(from_s - self.now_s) + self.now_s

    def free_at(self, instant_s: int) -> Int64:
        """What each node has free at this second, which is not before now."""
        return self._with_holds().window(instant_s - self.now_s, instant_s + 1 - self.now_s)

    def start(self, placement: Placement, times: int, end_s: int) -> None:
        """Give ``times`` elements their placement from now until ``end_s``."""
        taken = placement.amount * times
        self.free[:, placement.nodes] -= taken
        for hold in self._few:
            if hold.start_s < end_s:
                hold.lower(placement, times)
        for covered in [last_s for last_s in self._rooms if last_s >= end_s]:
            del self._rooms[covered]
        for room in self._rooms.values():
            room[:, placement.nodes] -= taken
        taking = Taking(placement.nodes, 0, max(end_s - self.now_s, 1), taken)
        self._started.append(taking)
        if self._table is not None:
            self._taken.append(taking)

    def reserve(self, placement: Placement, start_s: int, end_s: int) -> None:
        """Hold a placement that ``room(start_s, end_s)`` allowed."""
        if len(self.begins) + 1 < CROWDED_FROM:
            for hold in self._few:
                if start_s <= hold.start_s < end_s:
                    hold.lower(placement, 1)
            left = self.free_at(start_s)[:, placement.nodes] - placement.amount
            self._few.insert(bisect_left(self.begins, start_s + 1), Hold(placement, start_s, end_s, left))
        else:
            self._few.clear()
        insort(self.begins, start_s)
        if self._table is None:
            self._table = self._without_holds().copy()
        self._taken.append(Taking(placement.nodes, start_s - self.now_s, end_s - self.now_s, placement.amount))
        for reached in [last_s for last_s in self._rooms if last_s >= start_s]:
            del self._rooms[reached]

    def earliest(
        self,
        wish: Wish,
        duration_s: int,
        attempt: Attempt[Found],
        also: Condition | None = None,
        from_s: int = 0,
    ) -> Generator[int, None, tuple[int, Found] | None]:
        """The first instant after now at which ``attempt(room)`` succeeds for the whole duration, and its result. Yields between attempts.

        ``wish`` is what no success can do without; where it is all that is needed, one attempt is enough. Before ``from_s`` the caller
        knows that nothing succeeds.

        Amounts only rise at ends, so only ends are tried. Without holds, and after the begin of the last one, more is free at each
        later end, and halving finds the first success; between, at most MAX_PROBES ends are tried one after the other.
        """
        table = self._with_holds()
        soonest_s = max(from_s - self.now_s, 1)
        openings = table.openings(wish, duration_s, soonest_s)
        first_s = openings.first(wish.nodes)
        if first_s is None:
            return None
        tried: dict[int, Found | None] = {}

        def probe(instant_s: int) -> Found | None:
            if instant_s not in tried:
                allowed = also is None or also.met(self.now_s + instant_s)
                tried[instant_s] = attempt(table.window(instant_s, instant_s + duration_s)) if allowed else None
            return tried[instant_s]

        yield 0
        if first_s > 1 and (first_s > soonest_s or from_s > self.now_s + 1):  # an end, else it is one only by chance
            found = probe(first_s)
            if found is not None:
                return self.now_s + first_s, found
            yield 0
        enough_s = max(first_s, table.enough_from(wish))
        instants = table.rises(enough_s)
        if also is not None:
            instants = np.union1d(instants, also.rises(self.now_s + enough_s) - self.now_s)
        instants = instants[openings.enough(instants, wish.nodes)]
        yield 0
        found_at = yield from self._search(instants.tolist(), duration_s, attempt, probe)
        if found_at is None:
            return None
        found = probe(found_at)
        return None if found is None else (self.now_s + found_at, found)

    def _search(
        self, instants: list[int], duration_s: int, attempt: Attempt[Found], probe: Callable[[int], Found | None]
    ) -> Generator[int, None, int | None]:
        """The first of the instants at which ``probe`` succeeds."""
        at, settled = 0, 0
        if self.begins:
            released = self._without_holds()
            settled = bisect_left(instants, self.begins[-1] - self.now_s)
            # Without holds at least as much would be free everywhere: no success before the first success without them.
            at = yield from _first(instants, 0, lambda instant_s: attempt(released.window(instant_s, instant_s + 1)) is not None)
            for _ in range(min(MAX_PROBES, settled - at)):
                if probe(instants[at]) is not None:
                    return instants[at]
                yield 0
                at += 1
            at = max(at, settled)
        at = yield from _first(instants, at, lambda instant_s: probe(instant_s) is not None)
        return instants[at] if at < len(instants) else None

    @property
    def segments(self) -> int:
        """What a search looks at."""
        return self._with_holds().segments

    @property
    def _crowded(self) -> bool:
        return len(self.begins) >= CROWDED_FROM

    def _without_holds(self) -> Skyline:
        if self._released is None:
            running = self._running
            sizes = [len(taking.nodes) for taking in self._started]
            ends = np.repeat(np.array([taking.end_s for taking in self._started], np.int64), sizes)
            end_s = np.concatenate((np.maximum(running.end_s - self.now_s, 1), ends))
            node = np.concatenate((running.node.astype(np.int64), *(taking.nodes for taking in self._started)))
            amount = np.concatenate((running.amount, *(taking.amount for taking in self._started)), axis=1)
            self._released = Skyline(self.free, end_s, node, amount)
        elif self._started:
            self._released.take(self._started)
        self._started.clear()
        return self._released

    def _with_holds(self) -> Skyline:
        if self._table is None:
            return self._without_holds()
        if self._taken:
            self._table.take(self._taken)
            self._taken.clear()
        return self._table


def _first(instants: list[int], begin: int, succeeds: Callable[[int], bool]) -> Generator[int, None, int]:
    """The first position from ``begin`` on whose instant succeeds, where all behind it do; the number of instants if none does. Few are
    tried when it is near. Yields between attempts."""
    failed, step, end = begin - 1, 1, len(instants)
    while failed + step < end:
        fits = succeeds(instants[failed + step])
        yield 0
        if fits:
            end = failed + step
            break
        failed += step
        step *= 2
    while failed + 1 < end:
        middle = (failed + end) // 2
        fits = succeeds(instants[middle])
        yield 0
        failed, end = (failed, middle) if fits else (middle, end)
    return end
