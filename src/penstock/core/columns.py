"""The planner's columns, kept up to date change by change, so that a View costs a copy and not a rebuild.

The engine calls one method for each row that ``apply`` changed. The law (property test): after any sequence of changes
``view()`` equals the view of a fresh Columns that was given the surviving records in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.plan import Reason, Share
from penstock.core.request import GresCounts, Request
from penstock.core.view import View


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """``index`` is unique and fixes the order of nodes for good (the order of the configuration file).
    ``gres`` counts usable devices by pool, ``gpu:a100`` or ``gpu`` where the devices have no type."""

    name: str
    index: int
    cpus: int
    memory_mib: int
    gres: GresCounts = ()
    up: bool = True
    weight: int = 1
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """See ``view.Partition``. Names of nodes that do not exist (yet) are kept and count once the node appears."""

    name: str
    nodes: tuple[str, ...]
    state: str = "UP"
    max_time_s: int = 0
    max_nodes: int = 0
    priority_tier: int = 1


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A job record whose only obstacle is the scheduler: not held, no open dependency, begin time reached.

    priority   higher first; ``order`` (submit order) lower first among equals; then lower job_id
    count      pending elements of an array record, 1 for a plain job
    startable  as many of them may start now (%limit); None: all
    """

    job_id: int
    request: Request
    partitions: tuple[str, ...]
    priority: int
    order: int
    time_limit_s: int
    count: int = 1
    startable: int | None = None


class Columns:
    """See the module's text. Methods raise ValueError where a change contradicts what was told before."""

    def upsert_node(self, record: NodeRecord) -> None: ...
    def remove_node(self, name: str) -> None: ...
    def upsert_partition(self, record: PartitionRecord) -> None: ...
    def remove_partition(self, name: str) -> None: ...
    def upsert_pending(self, record: PendingRecord) -> None: ...
    def remove_pending(self, job_id: int) -> None: ...
    def start_running(self, job_id: int, end_s: int, shares: tuple[Share, ...]) -> None: ...
    def change_end(self, job_id: int, end_s: int) -> None: ...
    def end_running(self, job_id: int) -> None: ...

    def refusal(self, partition: str, shares: tuple[Share, ...]) -> Reason | None:
        """Why these shares cannot be given as things are now; None: they can. For the applier."""
        raise NotImplementedError

    def view(self, seq: int, now_s: int) -> View:
        raise NotImplementedError
