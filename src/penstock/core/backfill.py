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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from penstock.core.alternatives import place
from penstock.core.feasible import BUSY, NEVER, blocker, unavailable
from penstock.core.holdings import Layout
from penstock.core.licenses import LicenseBook
from penstock.core.placement import PLACES_AT_ONCE, Placement, place_copies, place_on
from penstock.core.plan import Reason, Reservation
from penstock.core.profile import Profile
from penstock.core.ranking import Ranking
from penstock.core.request import UNLIMITED_S, Request
from penstock.core.scores import Preference
from penstock.core.sites import Site, locate
from penstock.core.spans import Span, span_of
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Batch, Int64, Nodes, Partition, View
from penstock.core.weights import preference_of

NO_STARTS = {"DOWN": "PartitionDown", "INACTIVE": "PartitionInactive"}
"""Partition states that keep queued jobs from starting, and Slurm's word for it."""

CELLS_OF_A_TEST = 1 << 15
"""What a test costs on no nodes at all, in matrix cells: calls, not arithmetic, are what small clusters pay for."""
CELLS_OF_A_PLACEMENT = 1 << 13
RANKED_CELLS = 1 << 23
"""Matrix cells that the rankings of a pass may hold together (64 MiB); beyond, the oldest is made again when it is needed."""
REMEMBERED_SITES = 1 << 14
"""Requests that a memory keeps at most; beyond it begins anew."""
NODE_FACTS = tuple(field.name for field in fields(Nodes) if field.name != "free")
FAR_S = 1 << 60
"""Ends beyond it are cut to it before arithmetic: FOREVER plus anything must not overflow."""
EVERY = 1 << 30
"""As a number of reservations: one for each blocked job, conservative backfill."""


class Memory:
    """What depends on requests, nodes and partitions alone, kept from pass to pass: where a request may run, whether it could run if
    nothing else did. It is forgotten when anything of nodes or partitions but what is free has changed."""

    def __init__(self) -> None:
        self.sites: dict[tuple[Request, str], tuple[Site, ...] | Reason] = {}
        self.stuck: dict[tuple[Request, str, int], Reason | None] = {}
        self.least: dict[tuple[Request, str, int], tuple[tuple[int, int, int], ...]] = {}
        self._stands_on: tuple[object, ...] = ()

    def look_at(self, view: View) -> None:
        """Forget what does not hold for this view. Columns share with the next view what has not changed, so identity tells."""
        stands_on = (view.partitions, *(getattr(view.nodes, name) for name in NODE_FACTS))
        same = len(stands_on) == len(self._stands_on) and all(a is b for a, b in zip(stands_on, self._stands_on, strict=True))
        if not same or len(self.sites) > REMEMBERED_SITES:
            for table in (self.sites, self.stuck, self.least):
                table.clear()
            self._stands_on = stands_on


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
        running = view.running
        if resolution_s > 1:
            running = replace(running, end_s=-(-np.minimum(running.end_s, FAR_S) // resolution_s) * resolution_s)
        self.profile = Profile(view.nodes.free, running, view.now_s)
        self.licenses = LicenseBook(view.licenses, view.now_s)
        self._view = view
        self._nodes = view.nodes
        self._preference = preference(view)
        self._limit = reservations
        self._strict = strict
        self._window_s = window_s
        self._memory = memory or Memory()
        self._memory.look_at(view)
        self._most: list[int] = view.nodes.free.max(axis=1, initial=0).tolist()
        self._sum: list[int] = np.maximum(view.nodes.free, 0).sum(axis=1).tolist()
        self._failed: dict[tuple[Request, str, int], int] = {}
        self._reserved: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._soonest_of: dict[tuple[Request, str, int], dict[int, int]] = {}
        """The earliest start that was found for a site, by length: later in the pass there is less room, so none is earlier."""
        self._rankings: dict[tuple[Request, str, int], Ranking] = {}
        self._asked: tuple[Batch, tuple[Site, ...], Reason] | None = None

    def refusal(self, batch: Batch) -> Reason | None:
        """Why no partition of the batch lets it start, whatever is free; None: one does."""
        if span_of(batch, self._view.now_s) is None:
            return Reason(
                "DeadLine", "policy", "deadline", batch.time_min_s or batch.time_limit_s, max(0, batch.deadline_s - self._view.now_s)
            )
        sites, refusal = self._looked_up(batch)
        return None if sites else refusal

    def closed(self, batch: Batch) -> bool:
        """Whether strict order keeps the batch from any start: each partition where it may run has a blocked job."""
        return self._strict and bool(self._first) and all(site.partition.name in self._first for site in self._open(batch))

    def start(self, batch: Batch, wanted: int) -> Iterator[Fit]:
        """Up to ``wanted`` elements that start now. They are taken from the profile as they are yielded."""
        span = span_of(batch, self._view.now_s)
        if span is None:
            return
        for site in self._open(batch):
            key = site.key
            if (key in self._failed and self._failed[key] <= span.least_s) or (self._strict and site.partition.name in self._first):
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

    def _lengths(self, site: Site, span: Span) -> Iterator[int]:
        """The limits to try: the longest, then, where there is a choice, for as long as an element fits into the shortest, the longest
        into which one fits. That is up to the begin of a hold, and found by halving: what fits until one begin fits until any before it."""
        yield span.most_s
        now_s = self._view.now_s
        begins = [hold.start_s - now_s for hold in self.profile.holds if span.least_s <= hold.start_s - now_s < span.most_s]
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
        return any(self._most[row] < one or self._sum[row] < whole for row, one, whole in self._least(site))

    def _least(self, site: Site) -> tuple[tuple[int, int, int], ...]:
        floor = self._memory.least.get(site.key)
        if floor is None:
            floor = self._memory.least[site.key] = _floor(site)
        return floor

    def fails_from(self, batch: Batch) -> int:
        """The shortest time limit with which the batch, of which an element has just failed to start, would fail as well."""
        least_s = max(self._failed.get(site.key, 0) for site in self._open(batch))
        limits = [self._view.partitions[name].max_time_s for name in batch.partitions if name in self._view.partitions]
        return max(least_s, *(limit_s + 1 for limit_s in limits if limit_s < batch.time_limit_s), 0)

    def stuck(self, batch: Batch) -> Reason | None:
        """Why the batch could not run even if all that runs had ended; None: it could."""
        found: Reason | None = None
        for site in self._worth_waiting(batch):
            key = site.key
            if key not in self._memory.stuck:
                self._memory.stuck[key] = self._without_load(site)
            reason = self._memory.stuck[key] or self.licenses.stuck(site.licenses)
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
        site = next(self._worth_waiting(batch))
        first = self._first.setdefault(site.partition.name, job_id)
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
        lacking = self.licenses.waits(next(self._worth_waiting(batch)).licenses, self._view.now_s + 1)
        if lacking is not None:
            return lacking
        return Reason("Priority", "waiting", "priority", names=(str(self._first[self._open(batch)[0].partition.name]),))

    def may_reserve(self, batch: Batch) -> bool:
        return any(self._reserved.get(site.partition.name, 0) < self._limit for site in self._open(batch))

    def reserve(self, batch: Batch, job_id: int) -> Reservation | None:
        """Promise the next element of the batch its earliest start, where the profile knows one."""
        seconds = _least_s(batch)
        allowed = [site for site in self._worth_waiting(batch) if self._reserved.get(site.partition.name, 0) < self._limit]
        best = self._soonest(allowed, seconds)
        if best is None or 0 < self._window_s < best[0] - self._view.now_s or span_of(batch, best[0]) is None:
            return None
        start_s, placement, site = best
        self.profile.reserve(placement, start_s, self._end_s(start_s + seconds))
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

    def would(self, batch: Batch, job_id: int) -> Reservation | Reason:
        """Where and when (``start_s`` is now at the earliest) an element of this batch would start behind all that the pass has
        decided, or why it cannot. Nothing is taken from the profile: any number of batches may be asked about."""
        refusal = self.refusal(batch)
        if refusal is not None:
            return refusal
        now_s = self._view.now_s
        span = span_of(batch, now_s)
        assert span is not None, "what cannot keep its deadline was refused above"
        for site in self._open(batch):
            if self._strict and site.partition.name in self._first:
                continue
            for seconds in self._lengths(site, span):
                for placement, _ in self._fill(site, self._end_s(now_s + seconds), 1):
                    return Reservation(job_id, site.partition.name, now_s, now_s + seconds, placement.shares(self._nodes), site.licenses)
        stuck = self.stuck(batch)
        if stuck is not None:
            return stuck
        seconds = _least_s(batch)
        best = self._soonest(self._worth_waiting(batch), seconds)
        if best is None or span_of(batch, best[0]) is None:
            return Reason(*BUSY)
        start_s, placement, site = best
        return Reservation(job_id, site.partition.name, start_s, start_s + seconds, placement.shares(self._nodes), site.licenses)

    def _soonest(self, sites: Iterable[Site], seconds: int) -> tuple[int, Placement, Site] | None:
        """The earliest start after now on one of the sites; the first of those that are equally early."""
        best: tuple[int, Placement, Site] | None = None
        for site in sites:
            also = partial(self._licensed, site, seconds) if site.licenses else None
            together = ((row, whole) for row, _, whole in self._least(site))
            known = self._soonest_of.setdefault(site.key, {})
            from_s = max((start_s for length_s, start_s in known.items() if length_s <= seconds), default=0)
            found = self.profile.earliest(seconds, partial(self._attempt, site), also, together, from_s)
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

    def _end_s(self, end_s: int) -> int:
        """An end on the profile's grid."""
        return -(-end_s // self._resolution_s) * self._resolution_s

    def _open(self, batch: Batch) -> tuple[Site, ...]:
        """The sites where the batch may start, in the order in which they are tried."""
        return self._looked_up(batch)[0]

    def _looked_up(self, batch: Batch) -> tuple[tuple[Site, ...], Reason]:
        """The sites, and the first reason where there are none. A batch is asked about many times in a row."""
        if self._asked is None or self._asked[0] is not batch:
            answers = [self._sites_in(batch, name) for name in batch.partitions]
            sites = tuple(site for answer in answers if not isinstance(answer, Reason) for site in answer)
            refusal = next((answer for answer in answers if isinstance(answer, Reason)), Reason("PartitionConfig", "policy", "partition"))
            self._asked = batch, sites, refusal
        return self._asked[1:]

    def _worth_waiting(self, batch: Batch) -> Iterator[Site]:
        return (site for site in self._open(batch) if not site.soft)

    def _sites_in(self, batch: Batch, name: str) -> tuple[Site, ...] | Reason:
        partition = self._view.partitions.get(name)
        if partition is None:
            return Reason("PartitionConfig", "policy", "partition", names=(name,))
        if partition.state in NO_STARTS:
            return Reason(NO_STARTS[partition.state], "policy", "partition", names=(name,))
        if partition.max_time_s and batch.time_limit_s > partition.max_time_s:
            return Reason("PartitionTimeLimit", "policy", "time_limit_s", batch.time_limit_s, partition.max_time_s, (name,))
        return self._located(batch.request, partition)

    def _located(self, request: Request, partition: Partition) -> tuple[Site, ...] | Reason:
        if partition.max_nodes and request.nodes_min > partition.max_nodes:
            return Reason("PartitionNodeLimit", "policy", "nodes", request.nodes_min, partition.max_nodes, (partition.name,))
        key = (request, partition.name)
        found = self._memory.sites.get(key)
        if found is None:
            found = self._memory.sites[key] = locate(self._nodes, partition, request)
        return found

    def _count(self) -> None:
        self.tests += 1
        self.cells += self._nodes.free.size + CELLS_OF_A_TEST


def _floor(site: Site) -> tuple[tuple[int, int, int], ...]:
    """(row, least that one node must have, least that all must have together) for the rows that one need decides alone."""
    demand = site.demand
    tasks = demand.least_tasks
    alone = site.fits_one_node and not demand.may_split
    all_tasks = max(demand.ntasks, tasks * site.nodes_min)
    if alone:
        tasks = all_tasks
    memory_mib = demand.memory_per_node_mib, demand.memory_per_task_mib
    floor = [
        (CPUS, tasks * demand.cpus_per_task, all_tasks * demand.cpus_per_task),
        (MEMORY_MIB, memory_mib[0] or tasks * memory_mib[1], memory_mib[0] * site.nodes_min or all_tasks * memory_mib[1]),
    ]
    for need in demand.fits:
        if len(need.rows) == 1 and not need.slots:
            one = need.per_node + tasks * need.per_task + (min(1, need.in_total) if not alone else need.in_total)
            floor.append((need.rows[0], one, max(need.in_total, need.per_node * site.nodes_min + all_tasks * need.per_task)))
    return tuple(floor)


def _least_s(batch: Batch) -> int:
    """What a wait is for: the shortest run that will do."""
    return min(batch.time_min_s or batch.time_limit_s, UNLIMITED_S)
