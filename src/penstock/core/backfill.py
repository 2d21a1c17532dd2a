"""Backfill: who starts now, who gets a reservation, who waits.

Jobs are taken in priority order. A job that fits over its whole time limit, beside all reservations made so far, starts. The
first ``reservations`` blocked jobs of each partition get the earliest start that the profile knows (the *shadow time*), on
named nodes; a later job starts only where it leaves those amounts alone. One reservation is EASY (Lifka, "The ANL/IBM SP
scheduling system", JSSPP 1995); a reservation for each blocked job is conservative backfill (Feitelson and Weil, IPPS 1998).

Guaranteed: a start never delays a reservation made before it in the pass, as long as running jobs end by their limits; with an
unchanged queue before it and no new obstacle, a reserved job's start is never later in the next pass, so it does not starve.
Reservations are per partition because a blocked job of one partition must not leave another's large jobs without any.
Not guaranteed: anything to blocked jobs beyond that number, which waits are short (that is a policy's business), and a start for
jobs that cannot run on the nodes that are up: they get no reservation and stand in nobody's way.

Only what has failed is remembered within a pass: room only shrinks, so what failed fails again for equal requests with the same or
a longer time limit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from penstock.core.alternatives import place
from penstock.core.feasible import BUSY, NEVER, blocker, unavailable
from penstock.core.grounds import Grounds, Memory
from penstock.core.holdings import Layout
from penstock.core.licenses import LicenseBook
from penstock.core.placement import PLACES_AT_ONCE, Placement, place_copies, place_on
from penstock.core.plan import Reason, Reservation
from penstock.core.profile import Condition, Profile
from penstock.core.ranking import Ranking
from penstock.core.request import UNLIMITED_S, Request
from penstock.core.scores import Preference
from penstock.core.sites import Site
from penstock.core.spans import Span, span_of
from penstock.core.view import FIRST_POOL, Batch, Int64, Running, View
from penstock.core.weights import preference_of

CELLS_OF_A_TEST = 1 << 15
"""What a test costs on no nodes at all, in matrix cells: calls, not arithmetic, are what small clusters pay for."""
CELLS_OF_A_PLACEMENT = 1 << 13
RANKED_CELLS = 1 << 23
"""Matrix cells that the rankings of a pass may hold together (64 MiB); beyond, the oldest is made again when it is needed."""
FAR_S = 1 << 60
"""Ends beyond it are cut to it before arithmetic: FOREVER plus anything must not overflow."""
EVERY = 1 << 30
"""As a number of reservations: one for each blocked job, conservative backfill."""


class Fit(NamedTuple):
    """``elements`` elements start now, each placed so, with this time limit."""

    site: Site
    placement: Placement
    elements: int
    time_limit_s: int


class Backfill:
    """The state of one pass over one view. ``tests`` and ``cells`` count the work done."""

    def __init__(
        self,
        view: View,
        reservations: int,
        preference: Callable[[View], Preference] = preference_of,
        strict: bool = False,
        window_s: int = 0,
        resolution_s: int = 1,
        memory: Memory | None = None,
    ) -> None:
        self.tests = 0
        self.cells = 0
        self._resolution_s = resolution_s
        self.profile = Profile(view.nodes.free, self._on_grid(view.running), view.now_s)
        self.licenses = LicenseBook(replace(view.licenses, running=self._on_grid(view.licenses.running)), view.now_s)
        self._view = view
        self._nodes = view.nodes
        self._preference = preference(view)
        self._limit = reservations
        self._strict = strict
        self._window_s = window_s
        self._grounds = Grounds(view, memory or Memory())
        self._most: list[int] = view.nodes.free.max(axis=1, initial=0).tolist()
        self._sum: list[int] = np.maximum(view.nodes.free, 0).sum(axis=1).tolist()
        self._failed: dict[tuple[Request, str, int], int] = {}
        self._reserved: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._soonest_of: dict[tuple[Request, str, int], dict[int, int]] = {}
        """The earliest start that was found for a site, by length: later in the pass there is less room, so none is earlier."""
        self._rankings: dict[tuple[Request, str, int], Ranking] = {}

    def refusal(self, batch: Batch) -> Reason | None:
        """Why no partition of the batch lets it start, whatever is free; None: one does."""
        return self._grounds.refusal(batch)

    def closed(self, batch: Batch) -> bool:
        """Whether strict order keeps the batch from any start: each partition where it may run has a blocked job."""
        return self._strict and bool(self._first) and all(site.partition.name in self._first for site in self._grounds.open(batch))

    def start(self, batch: Batch, wanted: int) -> Iterator[Fit]:
        """Up to ``wanted`` elements that start now. They are taken from the profile as they are yielded."""
        span = span_of(batch, self._view.now_s)
        if span is None:
            return
        for site in self._grounds.open(batch):
            key = site.key
            if self._fails(site, span):
                continue
            if self._hopeless(site):
                self._failed[key] = 0
                continue
            for seconds in self._lengths(site, span):
                end_s = self._end_s(self._view.now_s + seconds)
                for placement, count in self._fill(site, end_s, wanted):
                    self.profile.start(placement, count, end_s)
                    self.licenses.start(site.licenses, count, end_s)
                    self._preference.placed(site.demand, placement.nodes)
                    wanted -= count
                    yield Fit(site, placement, count, seconds)
                if not wanted:
                    return
            shortest_s = self.profile.alike_from(self._end_s(self._view.now_s + span.least_s)) - self._view.now_s
            self._failed[key] = min(shortest_s, self._failed.get(key, shortest_s))

    def _fails(self, site: Site, span: Span) -> bool:
        """Whether it is known that nothing starts there now: an equal request failed in this pass, or strict order forbids it."""
        failed_s = self._failed.get(site.key)
        return (failed_s is not None and failed_s <= span.least_s) or (self._strict and site.partition.name in self._first)

    def _lengths(self, site: Site, span: Span) -> Iterator[int]:
        """The limits to try: the longest, then, where there is a choice, for as long as an element fits into the shortest, the longest
        into which one fits. That is up to the begin of a hold, and found by halving: what fits until one begin fits until any before it."""
        yield span.most_s
        now_s = self._view.now_s
        begins = [begin_s - now_s for begin_s in self.profile.begins if span.least_s <= begin_s - now_s < span.most_s]
        lengths = sorted(dict.fromkeys(map(span.shortened, begins)))

        def too_long(seconds: int) -> bool:
            return next(self._fill(site, self._end_s(now_s + seconds), 1), None) is None

        while lengths and not too_long(lengths[0]):
            del lengths[bisect_left(lengths, True, key=too_long) :]
            yield lengths[-1]

    def _fill(self, site: Site, end_s: int, wanted: int) -> Iterator[tuple[Placement, int]]:
        nodes, demand = self._nodes, site.demand
        wanted = self.licenses.copies(site.licenses, end_s, wanted)
        while site.fits_one_node and wanted and self._preference.one_by_one:
            self._count()
            room = self.profile.room_now(end_s)
            node = self._ranking(site).best(room)
            if node < 0:
                break
            wanted -= 1
            self.cells += CELLS_OF_A_PLACEMENT
            yield place_on(nodes, self._preference, room, site, node), 1
        while site.fits_one_node and wanted and not self._preference.one_by_one:
            self._count()
            found = place_copies(nodes, self._preference, self.profile.room_now(end_s), site, wanted)
            for placement, count in found:
                wanted -= count
                self.cells += CELLS_OF_A_PLACEMENT
                yield placement, count
            if len(found) < PLACES_AT_ONCE:
                break
        if site.fits_one_node and not demand.may_split:
            return
        while wanted:
            self._count()
            spread = place(nodes, self._preference, self.profile.room_now(end_s), site)
            if spread is None:
                return
            wanted -= 1
            yield spread, 1

    def _ranking(self, site: Site) -> Ranking:
        key = site.key
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = Ranking(self._nodes, self._preference, site)
            while self._rankings and (len(self._rankings) + 1) * ranking.cells > RANKED_CELLS:
                del self._rankings[next(iter(self._rankings))]
            self._rankings[key] = ranking
        return ranking

    def _hopeless(self, site: Site) -> bool:
        """Whether no node, or not all nodes together, had enough free as the pass began. Sure where it says yes, and cheap: it spares
        the arrays most tests on a full cluster."""
        return any(self._most[row] < one or self._sum[row] < whole for row, one, whole in self._grounds.floor(site).alone)

    def fails_from(self, batch: Batch) -> int:
        """The shortest time limit with which the batch, of which an element has just failed to start, would fail as well."""
        least_s = max(self._failed.get(site.key, 0) for site in self._grounds.open(batch))
        limits = [self._view.partitions[name].max_time_s for name in batch.partitions if name in self._view.partitions]
        return max(least_s, *(limit_s + 1 for limit_s in limits if limit_s < batch.time_limit_s), 0)

    def stuck(self, batch: Batch) -> Reason | None:
        """Why the batch could not run even if all that runs had ended; None: it could."""
        found: Reason | None = None
        for site in self._grounds.worth_waiting(batch):
            key = site.key
            known = self._grounds.memory.stuck
            if key not in known:
                known[key] = self._without_load(site)
            reason = known[key] or self.licenses.stuck(site.licenses)
            if reason is None:
                return None
            found = found or reason
        return found

    def _without_load(self, site: Site) -> Reason | None:
        nodes = self._nodes
        self._count()
        short = blocker(nodes, site, nodes.total, site.mask, BUSY)
        if short is None:
            return None
        never = blocker(nodes, site, nodes.total, site.anywhere, NEVER)
        if never is not None:
            return never
        word = "ReqNodeNotAvail" if len(site.required) and not nodes.up[site.required].all() else "Resources"
        return Reason(word, "waiting", short.what, short.asked, short.most, unavailable(nodes, site))

    def waits(self, batch: Batch, job_id: int) -> Reason:
        """Why the first open job of the batch waits: Resources for the first blocked of its partition, else Priority."""
        site = next(self._grounds.worth_waiting(batch))
        first = self._first.setdefault(site.partition.name, job_id)
        if self._strict:  # nothing may overtake it anywhere
            for other in self._grounds.worth_waiting(batch):
                self._first.setdefault(other.partition.name, job_id)
        lacking = self.licenses.waits(site.licenses, self._view.now_s + 1)
        if lacking is not None:
            return lacking
        if first != job_id:
            return Reason("Priority", "waiting", "priority", names=(str(first),))
        end_s = self._view.now_s + _least_s(batch)
        reason = blocker(self._nodes, site, self.profile.room_now(end_s), site.mask, BUSY)
        return reason or self.licenses.waits(site.licenses, end_s) or Reason(*BUSY)

    def behind(self, batch: Batch) -> Reason:
        """Why the jobs behind the first of a blocked batch wait."""
        lacking = self.licenses.waits(next(self._grounds.worth_waiting(batch)).licenses, self._view.now_s + 1)
        if lacking is not None:
            return lacking
        return Reason("Priority", "waiting", "priority", names=(str(self._first[self._grounds.open(batch)[0].partition.name]),))

    def keeps(self, start_s: int) -> bool:
        """Whether a start so far ahead can be promised."""
        return not 0 < self._window_s < start_s - self._view.now_s

    def may_reserve(self, batch: Batch) -> bool:
        return any(self._reserved.get(site.partition.name, 0) < self._limit for site in self._grounds.open(batch))

    def reserve(self, batch: Batch, job_id: int) -> Generator[int, None, Reservation | None]:
        """Promise the next element of the batch its earliest start, where the profile knows one. Yields while it searches."""
        seconds = _least_s(batch)
        allowed = [site for site in self._grounds.worth_waiting(batch) if self._reserved.get(site.partition.name, 0) < self._limit]
        best = yield from self._soonest(allowed, seconds)
        if best is None or not self.keeps(best[0]) or span_of(batch, best[0]) is None:
            return None
        start_s, placement, site = best
        self.profile.reserve(placement, start_s, self._end_s(start_s + seconds))
        self.cells += self.profile.segments + CELLS_OF_A_PLACEMENT
        self.licenses.reserve(site.licenses, start_s, self._end_s(start_s + seconds))
        name = site.partition.name
        self._reserved[name] = self._reserved.get(name, 0) + 1
        return Reservation(job_id, name, start_s, start_s + seconds, placement.shares(self._nodes), site.licenses)

    def hold(self, expected: Reservation) -> None:
        """Leave another job its start, which an earlier pass told. What has gone since (a node, a kind of device) is left out, and so is
        a start that has passed: that job is about to start."""
        nodes = self._nodes
        layout = Layout(nodes.index_of, {pool: FIRST_POOL + row for row, pool in enumerate(nodes.pools)})
        here = [share for share in expected.shares if share.node in layout.column_of]
        known = [share for share in here if all(pool in layout.row_of for pool, _ in share.gres)]
        if not known or expected.start_s <= self._view.now_s:
            return
        known.sort(key=lambda share: layout.column_of[share.node])
        columns = np.array([layout.column_of[share.node] for share in known], np.int64)
        tasks = np.array([share.ntasks for share in known], np.int64)
        amount = np.array([layout.amounts(share) for share in known], np.int64).T
        self.profile.reserve(Placement(columns, tasks, amount), expected.start_s, self._end_s(expected.end_s))
        self.licenses.reserve(expected.licenses, expected.start_s, self._end_s(expected.end_s))

    def would(self, batch: Batch, job_id: int) -> Generator[int, None, Reservation | Reason]:
        """Where and when (``start_s`` is now at the earliest) an element of this batch would start behind all that the pass has
        decided, or why it cannot. Nothing is taken from the profile: any number of batches may be asked about. Yields while it searches."""
        refusal = self.refusal(batch)
        if refusal is not None:
            return refusal
        at_once = self.would_now(batch, job_id)
        if at_once is not None:
            return at_once
        yield 0
        stuck = self.stuck(batch)
        if stuck is not None:
            return stuck
        seconds = _least_s(batch)
        best = yield from self._soonest(self._grounds.worth_waiting(batch), seconds)
        if best is None or span_of(batch, best[0]) is None:
            return Reason(*BUSY)
        start_s, placement, site = best
        return Reservation(job_id, site.partition.name, start_s, start_s + seconds, placement.shares(self._nodes), site.licenses)

    def would_now(self, batch: Batch, job_id: int) -> Reservation | None:
        """The same for a start at once; None: not now."""
        now_s = self._view.now_s
        span = span_of(batch, now_s)
        if span is None:
            return None
        for site in self._grounds.open(batch):
            if self._fails(site, span) or self._hopeless(site):
                continue
            for seconds in self._lengths(site, span):
                for placement, _ in self._fill(site, self._end_s(now_s + seconds), 1):
                    return Reservation(job_id, site.partition.name, now_s, now_s + seconds, placement.shares(self._nodes), site.licenses)
        return None

    def _soonest(self, sites: Iterable[Site], seconds: int) -> Generator[int, None, tuple[int, Placement, Site] | None]:
        """The earliest start after now on one of the sites; the first of those that are equally early."""
        best: tuple[int, Placement, Site] | None = None
        for site in sites:
            also = Condition(partial(self._licensed, site, seconds), self.licenses.rises) if site.licenses else None
            known = self._soonest_of.setdefault(site.key, {})
            from_s = max((start_s for length_s, start_s in known.items() if length_s <= seconds), default=0)
            self.cells += self.profile.segments + CELLS_OF_A_TEST
            wish = self._grounds.floor(site).wish
            found = yield from self.profile.earliest(wish, seconds, partial(self._attempt, site), also, from_s)
            if found is not None:
                known[seconds] = found[0]
            if found is not None and (best is None or found[0] < best[0]):
                best = (*found, site)
        return best

    def _licensed(self, site: Site, seconds: int, start_s: int) -> bool:
        return self.licenses.fit(site.licenses, start_s, self._end_s(start_s + seconds))

    def _attempt(self, site: Site, room: Int64) -> Placement | None:
        self._count()
        return place(self._nodes, self._preference, room, site)

    def _on_grid(self, running: Running) -> Running:
        step_s = self._resolution_s
        return running if step_s == 1 else replace(running, end_s=-(-np.minimum(running.end_s, FAR_S) // step_s) * step_s)

    def _end_s(self, end_s: int) -> int:
        """An end on the profile's grid."""
        return -(-end_s // self._resolution_s) * self._resolution_s

    def _count(self) -> None:
        self.tests += 1
        self.cells += self._nodes.free.size + CELLS_OF_A_TEST


def _least_s(batch: Batch) -> int:
    """What a wait is for: the shortest run that will do."""
    return min(batch.time_min_s or batch.time_limit_s, UNLIMITED_S)
