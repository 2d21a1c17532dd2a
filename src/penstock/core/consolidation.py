"""Consolidation: a job that waits because what is free lies in pieces starts at once if running jobs move together.

Which jobs move is searched greedily: of those that may, the cheapest are supposed gone until the waiting job has room, then each that is
not needed stays, the dearest first. Whether that is a plan is not for this search to say: the planner's own pass over the supposed view
(``Statement.view``) must start the waiting job and every job that moved, and give nobody whom the present plan promises a start a later
one. If it does not, those that found no new place are left alone and the search goes on. So a move never trades one waiting job for
another.

A move costs what the job has done since it started, as it begins anew (or from its checkpoint, which nobody here can know); it gains the
time that the waiting job would wait. Both are counted in seconds times the part of the cluster that the job holds, of the resource of
which that part is largest (Ghodsi et al., "Dominant Resource Fairness", NSDI 2011).

Only jobs to whom the plan promises a start are helped: what is freed piece by piece is theirs by that promise, so no third job gets it
while the moved ones are still ending. The moved ones stand behind it in the queue until it starts, else they would take their old places
again. Limits: only work of the same or a lower tier moves; a moved job goes where there is room after the moves, it displaces nobody in
turn; the set is minimal (no move is superfluous), not proven the cheapest.

Prior art: consolidation as an action of a scheduler is in KAI-Scheduler (https://github.com/NVIDIA/KAI-Scheduler).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from penstock.core.alternatives import place
from penstock.core.cycle import Budget, cycle
from penstock.core.grounds import NO_STARTS
from penstock.core.outlook import batch_at
from penstock.core.plan import Plan, Reason, Reservation, Share, Start
from penstock.core.scores import Preference
from penstock.core.sites import Site, locate
from penstock.core.statement import Statement, Waiter, layout_of
from penstock.core.view import Batch, Int64, View
from penstock.core.weights import preference_of

MOVABLE_MAX = 512
"""Running jobs that are thought of as moving, the cheapest."""
MOVES_MAX = 32
"""Jobs that one plan moves at most."""
SLICE_OF_MOVES = 16
"""Jobs that are supposed gone in one slice."""
TRIALS_MAX = 16
"""Sets of jobs that are planned for one waiting job."""
TARGETS_MAX = 8
"""Waiting jobs that are tried when none is named."""
MILLIONTHS = 1_000_000


class Move(NamedTuple):
    """``before``: what the job holds; ``start``: where it starts again."""

    job_id: int
    before: tuple[Share, ...]
    start: Start
    lost: int
    """Millionths of the cluster times seconds of work that is done again."""


@dataclass(frozen=True, slots=True)
class Consolidation:
    """A plan, as of ``seq``. All numbers of cost are millionths of the cluster times seconds.

    start     the waiting job that it helps, with where it starts
    promised  when it starts otherwise
    moves     in order of job ids; empty never
    saved     of waiting
    also      other waiting jobs that start in the same pass
    """

    seq: int
    now_s: int
    start: Start
    promised: Reservation
    moves: tuple[Move, ...]
    saved: int
    also: tuple[int, ...]

    @property
    def lost(self) -> int:
        return sum(move.lost for move in self.moves)

    @property
    def worthwhile(self) -> bool:
        """Whether less work is lost than waiting is saved."""
        return self.lost < self.saved


class NoPlan(NamedTuple):
    """Why there is none; ``job_id`` 0: of no job."""

    job_id: int
    why: str


UNKNOWN = "it is not in the planner's queue"
STARTS = "it starts without any move"
UNPROMISED = "the plan promises it no start yet, and only what is promised is kept free while jobs move"
NOBODY = "nobody waits for room that moves could make"
ENOUGH_NOWHERE = "it would not have room even if every job that may be moved were gone"
NOT_ROOM = "it does not wait for room but for licences, or because room is promised to others"
TOO_MANY = f"more than {MOVES_MAX} jobs would have to move"
NO_NEW_PLACE = "the jobs that would have to move find no other place now, or others would start later"


def consolidate(
    view: View,
    ran_s: Mapping[int, int],
    waiters: Callable[[Sequence[int]], Sequence[Waiter]],
    job_id: int = 0,
    budget: Budget | None = None,
    preference: Callable[[View], Preference] = preference_of,
) -> Generator[int, None, Consolidation | NoPlan]:
    """The plan for this waiting job, or for the first that one helps. ``ran_s``: the running jobs that may be moved, and for how long
    each has run; ``waiters`` says how those of them that are thought of would wait, and is called before the first yield. ``budget`` and
    ``preference`` are the live planner's. Yields as ``cycle`` does."""
    parts = _parts(view)
    lost = {running: seconds * parts[running] for running, seconds in ran_s.items() if running in parts}
    cheapest = waiters(sorted(lost, key=lambda running: (lost[running], running))[:MOVABLE_MAX])
    plan = yield from cycle(view, budget, preference=preference)
    promised = {one.job_id: one for one in reversed(plan.reservations)}
    if job_id and job_id not in promised:
        if any(start.job_id == job_id for start in plan.starts):
            return NoPlan(job_id, STARTS)
        return NoPlan(job_id, UNPROMISED if (view.pending.job_id == job_id).any() else UNKNOWN)
    targets = [promised[job_id]] if job_id else list(reversed(promised.values()))[:TARGETS_MAX]
    search = _Search(view, plan, cheapest, lost, parts)
    answer = NoPlan(job_id, NOBODY)
    for target in targets:
        found = yield from search.plan_for(target, budget, preference)
        if isinstance(found, Consolidation):
            return found
        if job_id or answer.why == NOBODY:
            answer = found
    return answer


def holds(view: View, found: Consolidation, waiters: Sequence[Waiter]) -> bool:
    """Whether a plan still fits on a later view: every job gives back what it holds, then all find the room that was planned."""
    statement = Statement(view)
    try:
        for waiter in waiters:
            statement.evict(waiter)
    except ValueError:
        return False
    starts = (found.start, *(move.start for move in found.moves))
    return all(statement.take(start.shares, start.licenses) for start in starts)


class _Search:
    """Over one view and the plan of its pass; ``parts`` are dominant shares, ``lost`` what a move of each job costs."""

    def __init__(self, view: View, plan: Plan, cheapest: Sequence[Waiter], lost: Mapping[int, int], parts: Mapping[int, int]) -> None:
        self._view = view
        self._plan = plan
        self._cheapest = cheapest
        self._lost = lost
        self._parts = parts
        self._before: dict[int, Start] = {start.job_id: start for start in plan.starts}
        self._starting = np.zeros_like(view.nodes.free)
        """What the present plan is about to give away."""
        layout = layout_of(view)
        for start in plan.starts:
            for share in start.shares:
                self._starting[:, view.nodes.index_of[share.node]] += layout.amounts(share)

    def plan_for(
        self, target: Reservation, budget: Budget | None, preference: Callable[[View], Preference]
    ) -> Generator[int, None, Consolidation | NoPlan]:
        view = self._view
        row = int(np.flatnonzero(view.pending.job_id == target.job_id)[0])
        batch = batch_at(view, row)
        scored = preference(view)
        sites = _sites(view, batch)
        statement = Statement(view)
        tier = _tier(view, batch.partitions)
        able = [one for one in self._cheapest if _tier(view, one.shape.partitions) <= tier]
        behind = [one._replace(place=max(one.place, row + 1)) for one in able]
        fixed: dict[int, None] = {}
        why = ENOUGH_NOWHERE
        for _ in range(TRIALS_MAX):
            statement.rollback()
            gone = yield from self._clear(statement, sites, scored, [one for one in behind if one.job_id not in fixed])
            if gone is None:
                break
            if not 0 < len(gone) <= MOVES_MAX:
                why = TOO_MANY if gone else NOT_ROOM
                break
            why = NO_NEW_PLACE
            plan = yield from cycle(statement.view(), budget, preference=preference)
            starts = {start.job_id: start for start in reversed(plan.starts)}
            stranded = [waiter.job_id for waiter in gone if waiter.job_id not in starts]
            if not stranded and target.job_id in starts and self._nobody_later(plan, starts, target.job_id):
                return self._plan_of(target, starts, gone)
            left = stranded or [waiter.job_id for waiter in gone]
            fixed[max(left, key=lambda job_id: (self._parts[job_id], self._lost[job_id], job_id))] = None
        return NoPlan(target.job_id, why)

    def _clear(
        self, statement: Statement, sites: Sequence[Site], scored: Preference, able: Sequence[Waiter]
    ) -> Generator[int, None, list[Waiter] | None]:
        """Suppose jobs gone until there is room on one of the sites: which they are, the cheapest first; None: there is no such set."""
        nodes = self._view.nodes

        def room() -> bool:
            return any(place(nodes, scored, statement.free - self._starting, site) is not None for site in sites)

        gone: list[Waiter] = []
        while not room():
            more = able[len(gone) : 2 * len(gone) + 1]
            if not more:
                return None
            for number, waiter in enumerate(more, start=1):
                statement.evict(waiter)
                if number % SLICE_OF_MOVES == 0:
                    yield 0
            gone += more
            yield 0
        for waiter in reversed(gone[:]):
            statement.restore(waiter.job_id)
            if room():
                gone.remove(waiter)
            else:
                statement.evict(waiter)
            yield 0
        return gone

    def _nobody_later(self, plan: Plan, starts: dict[int, Start], target: int) -> bool:
        """Whether all others that the present plan starts still start, and all to whom it promises a start have it no later."""
        reserved: dict[int, int] = {}
        for one in plan.reservations:
            reserved.setdefault(one.job_id, one.start_s)
        if any(job_id not in starts for job_id in self._before):
            return False
        return all(
            one.job_id in starts or reserved.get(one.job_id, one.start_s + 1) <= one.start_s
            for one in self._plan.reservations
            if one.job_id != target
        )

    def _plan_of(self, target: Reservation, starts: dict[int, Start], gone: Sequence[Waiter]) -> Consolidation:
        view = self._view
        start = starts[target.job_id]
        moved = sorted(waiter.job_id for waiter in gone)
        moves = [Move(job_id, _shares(view, job_id), starts[job_id], self._lost[job_id]) for job_id in moved]
        part = int(_part(view, _amounts(view, start.shares))[0])
        others = [job_id for job_id in starts if job_id not in moved and job_id != target.job_id and job_id not in self._before]
        saved = part * max(0, target.start_s - view.now_s)
        return Consolidation(view.seq, view.now_s, start, target, tuple(moves), saved, tuple(sorted(others)))


def _sites(view: View, batch: Batch) -> list[Site]:
    """Where the batch may run, in the order in which that is tried."""
    found: list[Site] = []
    for name in batch.partitions:
        partition = view.partitions.get(name)
        if partition is None or partition.state in NO_STARTS or 0 < partition.max_time_s < batch.time_limit_s:
            continue
        sites = locate(view.nodes, partition, batch.request)
        if not isinstance(sites, Reason):
            found += sites
    return found


def _tier(view: View, partitions: Sequence[str]) -> int:
    return max((view.partitions[name].priority_tier for name in partitions if name in view.partitions), default=0)


def _parts(view: View) -> dict[int, int]:
    """Running job -> its dominant share."""
    running = view.running
    job_ids, owner = np.unique(running.job_id, return_inverse=True)
    amounts = np.zeros((len(view.nodes.free), len(job_ids)), np.int64)
    for row, held in zip(amounts, running.amount, strict=True):
        np.add.at(row, owner, held)
    return dict(zip(job_ids.tolist(), _part(view, amounts).tolist(), strict=True))


def _part(view: View, amounts: Int64) -> Int64:
    """The dominant share of each column of int64[resources, k]: millionths of the cluster, of the resource of which it is most."""
    total = np.maximum(view.nodes.total.sum(axis=1), 1)[:, np.newaxis]
    parts: Int64 = (amounts * MILLIONTHS // total).max(axis=0, initial=0)
    return parts


def _amounts(view: View, shares: Sequence[Share]) -> Int64:
    """int64[resources, 1]: all shares together."""
    layout = layout_of(view)
    amounts: Int64 = np.array([layout.amounts(share) for share in shares], np.int64).sum(axis=0)[:, np.newaxis]
    return amounts


def _shares(view: View, job_id: int) -> tuple[Share, ...]:
    """What a running job holds, by node."""
    running, nodes = view.running, view.nodes
    found = []
    for row in np.flatnonzero(running.job_id == job_id).tolist():
        cpus, memory_mib, *devices = running.amount[:, row].tolist()
        gres = tuple((pool, count) for pool, count in zip(nodes.pools, devices, strict=True) if count)
        found.append(Share(nodes.names[int(running.node[row])], 0, cpus, memory_mib, gres))
    return tuple(sorted(found))
