"""What stands in the way of a request: every blocker with its numbers, and who holds what is missing.

Computed for one job when somebody asks, not in the pass: the pass keeps one reason for each of thousands of jobs, this looks at
everything for one. Reads a pass that is over (``Reporter.ended``): its profile knows what is free after the starts of those above, and
what is kept for them. Bound: HOLDERS_MAX jobs are named for each blocker, the others are counted.

Guarantee: every number is of this view: ``most`` is what one node has (or how many nodes have enough), ``free`` and ``configured`` are
sums over the nodes where the job may run. Limit: where every quantity alone is there and their combination is not (greedy placement,
topology), the blocker says so without a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from penstock.core.backfill import Backfill
from penstock.core.feasible import BUSY, NEVER, blockers, node_needs, pool_room, unavailable
from penstock.core.grounds import NO_STARTS
from penstock.core.plan import Reason, Reservation
from penstock.core.sites import Site, locate
from penstock.core.spans import span_of
from penstock.core.view import CPUS, MEMORY_MIB, Batch, Bool, Int64, View

HOLDERS_MAX = 6
"""Jobs that are named as holders of what a job waits for."""
KEPT = ("Priority", "waiting")
"""Word and tier of a blocker that is free now and reserved for a job of higher priority."""
TOGETHER = "room for all of it together"
"""The quantity of a blocker that no single number explains."""


class Holder(NamedTuple):
    """A running job and how much it holds of a quantity where the waiting job could run. ``end_s`` is by its time limit."""

    job_id: int
    end_s: int
    amount: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Blocker:
    """One thing in the way, in one partition.

    reason       word, tier, quantity, asked, most, names (nodes that it names, jobs for which the room is kept)
    what         the resource that ``free``, ``configured`` and ``holders`` count: the scarcest one where the reason counts nodes
    free         of it on all nodes where the job may run, now
    configured   the same, of everything that is there
    down         nodes that could run it and are not available
    holders      running jobs that have some of it, by their end; those alone that must end for the expected start where one is known
    more         how many further holders there are
    """

    reason: Reason
    partition: str
    what: str = ""
    free: int = 0
    configured: int = 0
    down: tuple[str, ...] = ()
    holders: tuple[Holder, ...] = ()
    more: int = 0


def blockers_in(
    view: View, policy: Backfill, promised: Sequence[Reservation], batch: Batch, name: str, start: Reservation | None
) -> list[Blocker]:
    """All that keeps this batch from starting in the partition ``name`` now; empty where nothing does. ``start`` is when and where the
    job is expected to start."""
    partition = view.partitions.get(name)
    if partition is None:
        return [Blocker(Reason("PartitionConfig", "policy", "partition", names=(name,)), name)]
    alone = batch._replace(partitions=(name,))
    found: list[Reason] = []
    if partition.state in NO_STARTS:
        found.append(Reason(NO_STARTS[partition.state], "policy", "partition", names=(name,)))
    if partition.max_time_s and batch.time_limit_s > partition.max_time_s:
        found.append(Reason("PartitionTimeLimit", "policy", "time_limit_s", batch.time_limit_s, partition.max_time_s, (name,)))
    if partition.max_nodes and batch.request.nodes_min > partition.max_nodes:
        found.append(Reason("PartitionNodeLimit", "policy", "nodes", batch.request.nodes_min, partition.max_nodes, (name,)))
    refusal = policy.refusal(alone)
    if refusal is not None and all((refusal.word, refusal.what) != (reason.word, reason.what) for reason in found):
        found.append(refusal)
    sites = locate(view.nodes, partition, batch.request)
    if isinstance(sites, Reason):
        return [Blocker(reason, name) for reason in dict.fromkeys((*found, sites))]
    site = next(site for site in sites if not site.soft)
    if not any(reason.word == "PartitionNodeLimit" for reason in found):
        found += blockers(view.nodes, site, view.nodes.total, site.anywhere, NEVER)
    told = [Blocker(reason, name) for reason in found]
    if any(reason.tier == "impossible" for reason in found):
        return told
    return told + list(_waiting(view, policy, promised, alone, site, start))


def _waiting(
    view: View, policy: Backfill, promised: Sequence[Reservation], batch: Batch, site: Site, start: Reservation | None
) -> Iterator[Blocker]:
    """What only time can mend: nodes that are down, amounts that others hold, room that is kept."""
    nodes, name, free = view.nodes, site.partition.name, policy.profile.free
    short = False
    for reason in map(partial(_by_features, nodes.index_of), blockers(nodes, site, nodes.total, site.mask, BUSY)):
        short = True
        word = "ReqNodeNotAvail" if len(site.required) and not nodes.up[site.required].all() else reason.word
        yield Blocker(Reason(word, reason.tier, "nodes that are up", reason.asked, reason.most), name, down=unavailable(nodes, site))
    if short:
        return
    for reason in map(partial(_by_features, nodes.index_of), blockers(nodes, site, free, site.mask, BUSY)):
        short = True
        yield _held(view, site, reason, free, start)
    if short:
        return
    span = span_of(batch, view.now_s)
    end_s = view.now_s + (span.least_s if span is not None else 1)
    lacking = policy.licenses.stuck(site.licenses) or policy.licenses.waits(site.licenses, end_s)
    if lacking is not None:
        yield _licensed(view, lacking, name)
    kept_for = tuple(str(hold.job_id) for hold in promised if hold.start_s < end_s and _meets(nodes.index_of, hold, site.mask))
    for reason in blockers(nodes, site, policy.profile.room_now(end_s), site.mask, KEPT):
        short = True
        what = _resource(view, site, free, _counted(reason))
        kept = Reason(reason.word, reason.tier, reason.what, reason.asked, reason.most, kept_for)
        yield Blocker(kept, name, what, *_sums(view, site, what, free))
    if short or lacking is not None or policy.refusal(batch) is not None or policy.would_now(batch, 0) is not None:
        return
    fits_alone = policy.closed(batch) or policy.would_now(batch._replace(time_limit_s=1, time_min_s=0), 0) is not None
    yield Blocker(Reason(*(KEPT if fits_alone else BUSY), TOGETHER, names=kept_for if fits_alone else ()), name)


def _by_features(index_of: Mapping[str, int], reason: Reason) -> Reason:
    """Names that are no nodes are groups of features."""
    if reason.what == "nodes" and any(name not in index_of for name in reason.names):
        return replace(reason, what="nodes with features")
    return reason


def _meets(index_of: Mapping[str, int], hold: Reservation, mask: Bool) -> bool:
    return any(mask[index_of[share.node]] for share in hold.shares)


def _licensed(view: View, reason: Reason, partition: str) -> Blocker:
    """A shortage of licences with their holders."""
    licenses = view.licenses
    if reason.what not in licenses.names:
        return Blocker(reason, partition)
    column = licenses.names.index(reason.what)
    running = licenses.running
    at = np.flatnonzero(running.node == column)
    holders = [Holder(int(running.job_id[row]), int(running.end_s[row]), int(running.amount[0, row]), ()) for row in at.tolist()]
    holders.sort(key=lambda one: (one.end_s, one.job_id))
    free, total = max(0, int(licenses.free[column])), int(licenses.total[column])
    more = max(0, len(holders) - HOLDERS_MAX)
    return Blocker(reason, partition, reason.what, free, total, (), tuple(holders[:HOLDERS_MAX]), more)


def _held(view: View, site: Site, reason: Reason, free: Int64, start: Reservation | None) -> Blocker:
    """A shortage with its holders."""
    what = _resource(view, site, free, _counted(reason))
    rows = rows_for(view, site, what)
    slots = whole_slots(site, what)
    sums = _sums(view, site, what, free)
    name, down = site.partition.name, unavailable(view.nodes, site)
    if start is not None and start.start_s > view.now_s:
        there = np.zeros_like(site.mask)
        there[[view.nodes.index_of[share.node] for share in start.shares]] = True
        holders = holders_of(view, rows, there, start.start_s, slots)
        if holders:
            return Blocker(reason, name, what, *sums, down, tuple(holders[-HOLDERS_MAX:]), max(0, len(holders) - HOLDERS_MAX))
    holders = holders_of(view, rows, site.mask, None, slots)
    return Blocker(reason, name, what, *sums, down, tuple(holders[:HOLDERS_MAX]), max(0, len(holders) - HOLDERS_MAX))


def holders_of(view: View, rows: Sequence[int], mask: Bool, until_s: int | None, slots: Sequence[int] = ()) -> list[Holder]:
    """Running jobs that hold something of ``rows`` on the nodes of ``mask``, the first to end first; with ``until_s`` those alone that
    have ended by then. Of ``slots`` the devices count, however many of their shares are held."""
    running = view.running
    if not rows or not len(running):
        return []
    amount = sum((running.amount[row] > 0 if row in slots else running.amount[row] for row in rows), np.zeros(len(running), np.int64))
    concerned = mask[running.node] & (amount > 0)
    if until_s is not None:
        concerned &= running.end_s <= until_s
    held: dict[int, tuple[int, int, list[str]]] = {}
    for at in np.flatnonzero(concerned).tolist():
        job_id = int(running.job_id[at])
        end_s, total, names = held.get(job_id, (int(running.end_s[at]), 0, []))
        names.append(view.nodes.names[running.node[at]])
        held[job_id] = (end_s, total + int(amount[at]), names)
    return sorted((Holder(job_id, *facts[:2], tuple(facts[2])) for job_id, facts in held.items()), key=lambda one: (one.end_s, one.job_id))


def rows_for(view: View, site: Site, what: str) -> tuple[int, ...]:
    """Rows of the resource matrix that count ``what``; none for a quantity that is no resource."""
    if what == "cpus":
        return (CPUS,)
    if what == "memory_mib":
        return (MEMORY_MIB,)
    return next(((*need.rows, *need.slots) for need in site.demand.fits if need.key == what), ())


def whole_slots(site: Site, what: str) -> tuple[int, ...]:
    """Rows of ``rows_for`` that count shares of a device where ``what`` counts whole devices (see ``slots``)."""
    return next((need.slots for need in site.demand.fits if need.key == what and not need.part), ())


def _counted(reason: Reason) -> str:
    """What a reason counts; of a topology its domains' third name, see ``plan.Reason``."""
    return "".join(reason.names[2:]) if reason.what == "topology" else reason.what


def _resource(view: View, site: Site, room: Int64, what: str) -> str:
    """The resource behind a shortage of nodes or tasks: of what each node must have, the one that the fewest nodes have enough of; devices
    before memory before CPUs among equals."""
    if rows_for(view, site, what):
        return what
    needs = node_needs(site.demand, room, view.nodes.total)
    enough = [(int((site.mask & (have >= asked)).sum()), -at, name) for at, (name, asked, have) in enumerate(needs)]
    return min(enough)[2]


def _sums(view: View, site: Site, what: str, free: Int64) -> tuple[int, int]:
    """(free, configured) over the nodes where the job may run."""
    rows = rows_for(view, site, what)
    if not rows:
        return 0, 0
    if whole_slots(site, what):
        need = next(need for need in site.demand.fits if need.key == what)
        total = view.nodes.total
        return int(pool_room(free, total, need)[site.mask].sum()), int(pool_room(total, total, need)[site.mask].sum())
    return int(np.maximum(free[list(rows)], 0)[:, site.mask].sum()), int(view.nodes.total[list(rows)][:, site.mask].sum())
