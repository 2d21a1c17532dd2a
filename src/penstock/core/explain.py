"""Why one job waits and when it will start: all its blockers with evidence, its place in the queue, and what would start sooner.

Everything is computed by the planner on one View: a pass over the jobs ahead of it, exactly as every cycle makes it, says what is left
for this job; a forecast over the same jobs (``outlook.forecast``) says when its turn comes; then both passes are asked about changed
requests (``what_if``). A sentence that the planner did not compute is not told.

Tiers: ``impossible`` (never on these nodes, whatever ends), ``policy`` (a limit or a switch of people), ``waiting`` (for others to end),
``about to start`` (nothing is in the way: the next pass starts it). The first blocker is the dominant one: of the partition where the
job is expected to start, or comes closest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.core.backfill import Backfill
from penstock.core.cycle import Budget, Reporter, cycle, depths
from penstock.core.elements import Elements, elements_of
from penstock.core.evidence import Blocker, blockers_in
from penstock.core.outlook import RECORDS_MAX, forecast, with_rows
from penstock.core.plan import Reason, Reservation
from penstock.core.scores import Preference
from penstock.core.view import Batch, Int64, View
from penstock.core.weights import preference_of
from penstock.core.what_if import Change, Question, what_if

TIERS = ("impossible", "policy", "waiting", "about to start")
"""Worst first."""
IMPOSSIBLE, POLICY, WAITING, ABOUT_TO_START = TIERS
NOW, RESERVED, UNKEPT, ESTIMATED, NOT_BEFORE = "now", "reserved", "unkept", "estimated", "not before"
"""What an expected start is."""
AHEAD_NAMED_MAX = 5
"""Jobs ahead that are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer about one record, at ``now_s``.

    tier       of the dominant blocker
    blockers   dominant first; empty where nothing is in the way
    ahead      records before it in the queue that want one of its partitions, ``elements`` the jobs and array elements in them
    first      the first of them
    queued     records before it in the whole queue
    in_queue   whether it is in the queue; else it is told as if it came last
    start      where and when its next element is expected; None: nobody knows
    basis      what ``start`` is: ``now``, ``reserved`` (promised by the plan), ``unkept`` (too far ahead for
               a promise), ``estimated`` (behind the estimates of all ahead of it),
               ``not before`` (only so many of those ahead were looked at), or empty
    looked_at  records ahead that the estimate took into account
    changes    single changes with which it would start sooner, the soonest first
    array      when its elements start, where several wait
    """

    job_id: int
    now_s: int
    tier: str
    blockers: tuple[Blocker, ...]
    ahead: int
    elements: int
    first: tuple[int, ...]
    queued: int
    in_queue: bool
    start: Reservation | None
    basis: str
    looked_at: int
    changes: tuple[Change, ...]
    array: Elements | None = None


class Ear(Reporter):
    """Keeps the policy of a pass."""

    policy: Backfill

    def ended(self, policy: Backfill) -> None:
        self.policy = policy


def explain(
    view: View,
    job_id: int,
    batch: Batch,
    others: Sequence[str] = (),
    budget: Budget | None = None,
    preference: Callable[[View], Preference] = preference_of,
) -> Generator[int, None, Explanation]:
    """Explains a record of the view, or a job that is not in its queue as if it came last. ``batch`` is what it asks, ``others`` the
    partitions that would take it beside its own, ``budget`` and ``preference`` the live planner's. Yields as ``cycle`` does."""
    rows = np.flatnonzero(view.pending.job_id == job_id)
    row = int(rows[0]) if len(rows) else len(view.pending)
    before = with_rows(view, np.arange(row))
    ear, queue_ear = Ear(), Ear()
    plan = yield from cycle(before, budget, ear, preference)
    queue = yield from forecast(before, plan.reservations, RECORDS_MAX, queue_ear, preference, budget)
    start, basis = yield from _expected(view, ear.policy, queue_ear.policy, queue.complete, batch, job_id)
    yield 0
    blockers: list[Blocker] = []
    for what, place, most in depths(view, budget or Budget()):
        if row < len(place) and place[row] >= most:
            blockers.append(Blocker(Reason("Priority", POLICY, what, int(place[row]) + 1, most), batch.partitions[0]))
    too_deep = bool(blockers)
    for name in batch.partitions:
        blockers += blockers_in(view, ear.policy, plan.reservations, batch, name, start)
        yield 0
    at_once = not too_deep and start is not None and start.start_s <= view.now_s
    if too_deep and basis == NOW:  # there is room, and nobody can say when a pass looks so far
        start, basis = None, ""
    blockers = [] if at_once else ranked(blockers, batch.partitions, start)
    tier = ABOUT_TO_START if at_once else blockers[0].reason.tier if blockers else WAITING
    changes: tuple[Change, ...] = ()
    if not at_once and not too_deep:
        later = queue_ear.policy if queue.complete and not ear.policy.closed(batch) else None
        own_s = start.start_s if start is not None and basis != NOT_BEFORE else None
        untried = [name for name in others if name not in batch.partitions]
        limits_s = [view.partitions[name].max_time_s for name in batch.partitions if name in view.partitions]
        question = Question(batch, own_s, plan.reservations, limits_s, untried, wider_levels(view, batch))
        changes = yield from what_if(view.now_s, ear.policy, later, question)
    array: Elements | None = None
    if len(rows) and view.pending.count[row] > 1:
        behind = queue_ear.policy if queue.complete and not ear.policy.closed(batch) else None
        counts = int(view.pending.count[row]), 0 if too_deep else int(view.pending.startable[row])
        array = yield from elements_of(ear.policy, behind, batch, job_id, *counts)
    ahead = _ahead(view, row, batch)
    return Explanation(
        job_id=job_id,
        now_s=view.now_s,
        tier=tier,
        blockers=tuple(blockers),
        ahead=len(ahead),
        elements=int(view.pending.count[ahead].sum()) if len(ahead) else 0,
        first=tuple(view.pending.job_id[ahead[:AHEAD_NAMED_MAX]].tolist()),
        queued=row,
        in_queue=len(rows) > 0,
        start=start,
        basis=basis,
        looked_at=min(row, RECORDS_MAX),
        changes=changes,
        array=array,
    )


def wider_levels(view: View, batch: Batch) -> list[str]:
    """Levels of its partitions' topologies that are wider than the one it asks for, narrowest first."""
    found: dict[str, None] = {}
    for topology in (view.partitions[name].topology for name in batch.partitions if name in view.partitions):
        at = topology.level_named(batch.request.level) if topology is not None else None
        if topology is not None and at is not None:
            found.update(dict.fromkeys(level.name for level in topology.levels[at + 1 :]))
    return list(found)


def _expected(
    view: View, plan: Backfill, queue: Backfill, whole: bool, batch: Batch, job_id: int
) -> Generator[int, None, tuple[Reservation | None, str]]:
    """(start, basis): now where it fits, as the plan would reserve it where it reserves, else behind everyone ahead."""
    if plan.refusal(batch) is not None:
        return None, ""
    at_once = plan.would_now(batch, job_id)
    if at_once is not None:
        return at_once, NOW
    yield 0
    if plan.stuck(batch) is not None:
        return None, ""
    open_names = tuple(name for name in batch.partitions if plan.may_reserve(batch._replace(partitions=(name,))))
    if open_names:
        found = yield from plan.would(batch._replace(partitions=open_names), job_id)
        return (None, "") if isinstance(found, Reason) else (found, RESERVED if plan.keeps(found.start_s) else UNKEPT)
    if plan.closed(batch):  # strict order: when its turn comes depends on everyone ahead, whatever is free
        return None, ""
    found = yield from queue.would(batch, job_id)
    return (None, "") if isinstance(found, Reason) else (found, ESTIMATED if whole else NOT_BEFORE)


def ranked(blockers: Sequence[Blocker], partitions: Sequence[str], start: Reservation | None) -> list[Blocker]:
    """The dominant first: partitions in which it is expected, then those with the mildest obstacles; in each the worst tier first."""
    worst = {
        name: min((TIERS.index(one.reason.tier) for one in blockers if one.partition == name), default=len(TIERS)) for name in partitions
    }
    expected = start.partition if start is not None else ""
    place = {name: at for at, name in enumerate(partitions)}

    def key(one: Blocker) -> tuple[bool, int, int, int]:
        return one.partition != expected, -worst[one.partition], place[one.partition], TIERS.index(one.reason.tier)

    return sorted(blockers, key=key)


def _ahead(view: View, row: int, batch: Batch) -> Int64:
    """Rows before this one that want one of its partitions."""
    rivals = np.array([shape is not None and any(name in batch.partitions for name in shape.partitions) for shape in view.shapes], np.bool_)
    shape = view.pending.shape[:row]
    rows: Int64 = np.flatnonzero(rivals[shape]) if len(shape) else np.empty(0, np.int64)
    return rows
