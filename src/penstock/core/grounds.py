"""Where a batch may run: its sites in its partitions, or why in none of them. What that stands on (requests, nodes, partitions, but not
what is free) rarely changes, so a ``Memory`` keeps the answers from pass to pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from penstock.core.floors import Floor, floor_of
from penstock.core.plan import Reason
from penstock.core.request import Request
from penstock.core.sites import Site, locate
from penstock.core.spans import span_of
from penstock.core.view import Batch, Nodes, Partition, View

NO_STARTS = {"DOWN": "PartitionDown", "INACTIVE": "PartitionInactive"}
"""Partition states that keep queued jobs from starting, and Slurm's word for it."""
REMEMBERED_SITES = 1 << 14
"""Requests that a memory keeps at most; beyond it begins anew."""
NODE_FACTS = tuple(field.name for field in fields(Nodes) if field.name != "free")


class Memory:
    """What depends on requests, nodes and partitions alone, kept from pass to pass: where a request may run, whether it could run if
    nothing else did. It is forgotten when anything of nodes or partitions but what is free has changed."""

    def __init__(self) -> None:
        self.sites: dict[tuple[Request, str], tuple[Site, ...] | Reason] = {}
        self.stuck: dict[tuple[Request, str, int], Reason | None] = {}
        self.floors: dict[tuple[Request, str, int], Floor] = {}
        self._stands_on: tuple[object, ...] = ()

    def look_at(self, view: View) -> None:
        """Forget what does not hold for this view. Columns share with the next view what has not changed, so identity tells."""
        stands_on = (view.partitions, *(getattr(view.nodes, name) for name in NODE_FACTS))
        same = len(stands_on) == len(self._stands_on) and all(a is b for a, b in zip(stands_on, self._stands_on, strict=True))
        if not same or len(self.sites) > REMEMBERED_SITES:
            for table in (self.sites, self.stuck, self.floors):
                table.clear()
            self._stands_on = stands_on


class Grounds:
    """For one view."""

    def __init__(self, view: View, memory: Memory) -> None:
        self.memory = memory
        memory.look_at(view)
        self._view = view
        self._asked: tuple[Batch, tuple[Site, ...], Reason] | None = None

    def refusal(self, batch: Batch) -> Reason | None:
        """Why no partition of the batch lets it start, whatever is free; None: one does."""
        if span_of(batch, self._view.now_s) is None:
            return Reason(
                "DeadLine", "policy", "deadline", batch.time_min_s or batch.time_limit_s, max(0, batch.deadline_s - self._view.now_s)
            )
        sites, refusal = self._looked_up(batch)
        return None if sites else refusal

    def open(self, batch: Batch) -> tuple[Site, ...]:
        """The sites where the batch may start, in the order in which they are tried."""
        return self._looked_up(batch)[0]

    def worth_waiting(self, batch: Batch) -> Iterator[Site]:
        return (site for site in self.open(batch) if not site.soft)

    def floor(self, site: Site) -> Floor:
        floor = self.memory.floors.get(site.key)
        if floor is None:
            floor = self.memory.floors[site.key] = floor_of(self._view.nodes, site)
        return floor

    def _looked_up(self, batch: Batch) -> tuple[tuple[Site, ...], Reason]:
        """The sites, and the first reason where there are none. A batch is asked about many times in a row."""
        if self._asked is None or self._asked[0] is not batch:
            answers = [self._sites_in(batch, name) for name in batch.partitions]
            sites = tuple(site for answer in answers if not isinstance(answer, Reason) for site in answer)
            refusal = next((answer for answer in answers if isinstance(answer, Reason)), Reason("PartitionConfig", "policy", "partition"))
            self._asked = batch, sites, refusal
        return self._asked[1:]

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
        found = self.memory.sites.get(key)
        if found is None:
            found = self.memory.sites[key] = locate(self._view.nodes, partition, request)
        return found
