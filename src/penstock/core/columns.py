"""The planner's columns, kept up to date change by change, so that a View costs a copy and not a rebuild.

The engine calls one method for each row that ``apply`` changed. The law (property test): after any sequence of changes
``view()`` equals the view of a fresh Columns that was given the surviving records in any order (but for the numbering of shapes
and the order of running rows, on which nothing depends).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from penstock.core.holdings import Holdings, Layout, counted_from
from penstock.core.licenses import LicenseHoldings
from penstock.core.plan import Reason, Share
from penstock.core.records import NodeRecord, PartitionRecord, PendingRecord, TopologyRecord
from penstock.core.request import GresCounts
from penstock.core.topology import make_topology
from penstock.core.view import CPUS, FIRST_POOL, MEMORY_MIB, Bool, Int64, Licenses, Nodes, Partition, Topology, View
from penstock.core.waiting import Waiting

Scalar = TypeVar("Scalar", bound=np.generic)

__all__ = ["Columns", "NodeRecord", "PartitionRecord", "PendingRecord", "TopologyRecord"]


class Columns:
    """See the module's text. Methods raise ValueError where a change contradicts what was told before."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeRecord] = {}
        self._partitions: dict[str, PartitionRecord] = {}
        self._topologies: dict[str, TopologyRecord] = {}
        self._waiting = Waiting(self._partitions)
        self._holdings = Holdings()
        self.weights: tuple[tuple[str, int], ...] = ()
        """Of placement scores, for the views to come."""
        self._licenses = LicenseHoldings()
        self._stale = False
        """Nodes or pools have come or gone: places are to be given anew before the next use."""
        self._names: tuple[str, ...] = ()
        self._column_of: dict[str, int] = {}
        self._pools: tuple[str, ...] = ()
        self._row_of: dict[str, int] = {}
        self._total: Int64 = np.zeros((FIRST_POOL, 0), np.int64)
        self._up: Bool = np.zeros(0, np.bool_)
        self._weight: Int64 = np.zeros(0, np.int64)
        self._features: dict[str, Bool] | None = {}
        self._members: dict[str, Partition] | None = {}
        self._levels: dict[str, Topology] = {}
        self._stale_levels = False
        self._shared: tuple[Int64, Bool, Int64] | None = None

    # Nodes and partitions

    def upsert_node(self, record: NodeRecord) -> None:
        """A new node, or any change of a known one (inventory, state, weight, features)."""
        old = self._nodes.get(record.name)
        self._nodes[record.name] = record
        keys = [key for key, _ in record.gres]
        if old is None or old.index != record.index or keys != [key for key, _ in old.gres]:
            self._stale = True
        if not self._stale:
            self._write_node(record)
        if old is None or old.features != record.features:
            self._features = None

    def remove_node(self, name: str) -> None:
        """The node must hold no shares."""
        self._settle()
        if name not in self._nodes:
            raise ValueError(f"node {name} is not known")
        if self._holdings.held[CPUS, self._column_of[name]]:
            raise ValueError(f"node {name} still holds shares of running jobs")
        del self._nodes[name]
        self._stale = True

    def upsert_partition(self, record: PartitionRecord) -> None:
        old = self._partitions.get(record.name)
        self._partitions[record.name] = record
        self._members = None
        if old is None or old.priority_tier != record.priority_tier:
            self._waiting.retier()

    def remove_partition(self, name: str) -> None:
        if name not in self._partitions:
            raise ValueError(f"partition {name} is not known")
        del self._partitions[name]
        self._members = None
        self._waiting.retier()

    def set_topologies(self, records: tuple[TopologyRecord, ...]) -> None:
        """All topologies there are."""
        self._topologies = {record.name: record for record in records}
        self._stale_levels = True
        self._members = None

    # Pending and running jobs

    def upsert_pending(self, record: PendingRecord) -> None:
        self._waiting.upsert(record)

    def pending_record(self, job_id: int) -> PendingRecord | None:
        """What was told of the job last; None: it is not pending."""
        return self._waiting.record(job_id)

    def waits(self, job_id: int) -> bool:
        """Whether the job is in the planner's queue."""
        return self._waiting.knows(job_id)

    def pending_records(self) -> list[PendingRecord]:
        """All of them, in no particular order."""
        return self._waiting.records()

    def places_of(self, records: Sequence[PendingRecord]) -> list[int]:
        """Before which row of a view's queue each of these records would stand; none is among them."""
        return self._waiting.places_of(records)

    def remove_pending(self, job_id: int) -> None:
        self._waiting.remove(job_id)

    def set_licenses(self, counts: Mapping[str, int]) -> None:
        """All licences of the cluster."""
        self._licenses.set_total(counts)

    def start_running(self, job_id: int, end_s: int, shares: tuple[Share, ...], licenses: GresCounts = ()) -> None:
        """A job (or a started array element, under its own id) holds these shares and licences, by its time limit until ``end_s``;
        below 0 it stands still with so many seconds left."""
        if job_id in self._holdings.jobs:
            raise ValueError(f"job {job_id} already holds shares")
        unknown = [share.node for share in shares if share.node not in self._nodes]
        if unknown or not shares:
            raise ValueError(f"job {job_id}: shares on unknown nodes: {unknown}" if unknown else f"job {job_id}: no shares")
        if any(pool not in self._row_of for share in shares for pool, _ in share.gres):
            self._stale = True
        self._settle(shares)
        self._holdings.start(job_id, end_s, shares)
        self._licenses.start(job_id, end_s, licenses)

    def change_end(self, job_id: int, end_s: int) -> None:
        """The time limit of a running job was changed."""
        self._check_running(job_id)
        self._holdings.change_end(job_id, end_s)
        self._licenses.change_end(job_id, end_s)

    def end_running(self, job_id: int) -> None:
        """The job holds nothing any more."""
        self._check_running(job_id)
        self._settle()
        shares = self._holdings.end(job_id)
        self._licenses.end(job_id)
        for share in shares:
            for pool, _ in share.gres:
                if not self._total[self._row_of[pool]].any():
                    self._stale = True  # perhaps only this job kept the pool alive

    def _check_running(self, job_id: int) -> None:
        if job_id not in self._holdings.jobs:
            raise ValueError(f"job {job_id} holds no shares")

    # Answers

    @property
    def has_pending(self) -> bool:
        """Whether any record waits for the scheduler."""
        return self._waiting.count > 0

    def refusal(self, partition: str, shares: tuple[Share, ...], licenses: GresCounts = ()) -> Reason | None:
        """Why these shares and licences cannot be given as things are now; None: they can. For the applier, which has checked the job.
        Shares of one call name each node once."""
        self._settle()
        place = self._partitions.get(partition)
        if place is None:
            return Reason("PartitionConfig", "policy", "partition", names=(partition,))
        if place.state in ("DOWN", "INACTIVE"):
            return Reason("PartitionDown" if place.state == "DOWN" else "PartitionInactive", "policy", "partition", names=(partition,))
        member = self._partition_table()[partition].member
        for share in shares:
            column = self._column_of.get(share.node, -1)
            if column < 0 or not self._up[column] or not member[column]:
                return Reason("ReqNodeNotAvail", "waiting", "nodes", names=(share.node,))
            for what, row, asked in (("cpus", CPUS, share.cpus), ("memory_mib", MEMORY_MIB, share.memory_mib)):
                free = int(self._total[row, column] - self._holdings.held[row, column])
                if asked > free:
                    return Reason("Resources", "waiting", what, asked, free, (share.node,))
            for pool, asked in share.gres:
                at = self._row_of.get(pool)
                free = 0 if at is None else int(self._total[at, column] - self._holdings.held[at, column])
                if asked > free:
                    return Reason("Resources", "waiting", pool, asked, free, (share.node,))
        return self._licenses.refusal(licenses)

    def view(self, seq: int, now_s: int) -> View:
        """A frozen copy. What has not changed since the last view is shared with it."""
        self._settle()
        if self._shared is None:
            self._shared = (_frozen(self._total), _frozen(self._up), _frozen(self._weight))
        total, up, weight = self._shared
        free = self._total - self._holdings.held
        free.setflags(write=False)
        nodes = Nodes(self._names, self._column_of, self._pools, total, free, up, weight, self._feature_table())
        return View(
            seq=seq,
            now_s=now_s,
            nodes=nodes,
            partitions=self._partition_table(),
            running=counted_from(self._holdings.running(), now_s),
            pending=self._waiting.pending(),
            shapes=self._waiting.shapes(),
            weights=self.weights,
            licenses=self._licenses_at(now_s),
        )

    def _licenses_at(self, now_s: int) -> Licenses:
        licenses = self._licenses.view()
        running = counted_from(licenses.running, now_s)
        return licenses if running is licenses.running else replace(licenses, running=running)

    # Places

    def _settle(self, coming: tuple[Share, ...] = ()) -> None:
        """Give nodes and pools their places anew where they have come or gone. New objects: older views keep theirs."""
        if not self._stale:
            return
        ordered = sorted(self._nodes.values(), key=lambda record: record.index)
        for before, after in pairwise(ordered):
            if before.index == after.index:
                raise ValueError(f"nodes {before.name} and {after.name} have the same index {after.index}")
        self._stale = False
        self._names = tuple(record.name for record in ordered)
        self._column_of = {name: column for column, name in enumerate(self._names)}
        keys = {key: None for record in ordered for key, _ in record.gres}
        held = [share for job in self._holdings.jobs.values() for share in job.shares]
        keys.update({key: None for share in (*held, *coming) for key, _ in share.gres})
        self._pools = tuple(sorted(keys))
        self._row_of = {pool: FIRST_POOL + at for at, pool in enumerate(self._pools)}
        self._total = np.zeros((FIRST_POOL + len(self._pools), len(ordered)), np.int64)
        self._up = np.zeros(len(ordered), np.bool_)
        self._weight = np.zeros(len(ordered), np.int64)
        for record in ordered:
            self._write_node(record)
        self._holdings.relayout(Layout(self._column_of, self._row_of))
        self._features = None
        self._members = None
        self._stale_levels = True

    def _topology(self, record: TopologyRecord) -> Topology:
        known = self._column_of
        levels = [
            (level, [(domain, np.array([known[name] for name in names if name in known], np.int64)) for domain, names in domains])
            for level, domains in record.levels
        ]
        return make_topology(record.name, record.kind, levels, len(self._names))

    def _write_node(self, record: NodeRecord) -> None:
        column = self._column_of[record.name]
        self._total[:, column] = 0
        self._total[CPUS, column] = record.cpus
        self._total[MEMORY_MIB, column] = record.memory_mib
        for key, count in record.gres:
            self._total[self._row_of[key], column] = count
        self._up[column] = record.up
        self._weight[column] = record.weight
        self._shared = None

    def _feature_table(self) -> dict[str, Bool]:
        if self._features is None:
            table: dict[str, Bool] = {}
            for name, column in self._column_of.items():
                for feature in self._nodes[name].features:
                    table.setdefault(feature, np.zeros(len(self._names), np.bool_))[column] = True
            for mask in table.values():
                mask.setflags(write=False)
            self._features = table
        return self._features

    def _partition_table(self) -> dict[str, Partition]:
        if self._members is None:
            if self._stale_levels:
                self._levels = {record.name: self._topology(record) for record in self._topologies.values()}
                self._stale_levels = False
            table: dict[str, Partition] = {}
            for record in self._partitions.values():
                member = np.zeros(len(self._names), np.bool_)
                member[[self._column_of[name] for name in record.nodes if name in self._column_of]] = True
                member.setflags(write=False)
                limits = (record.max_time_s, record.max_nodes, record.priority_tier)
                table[record.name] = Partition(record.name, member, record.state, *limits, self._levels.get(record.topology))
            self._members = table
        return self._members


def _frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    copy = array.copy()
    copy.setflags(write=False)
    return copy
