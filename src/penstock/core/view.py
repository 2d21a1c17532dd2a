"""The planner's input: a frozen copy of what matters, stamped with a feed sequence.

Nothing in a View changes after it was made; arrays are read-only. Nodes are columns of a matrix with one row per resource:
row 0 CPUs, row 1 memory in MiB, then one row per *pool*, that is per GRES key that some node has (``gpu:a100``, ``gpu``).
Pending records are columns in priority order, and records that ask for the same (request, partitions) share a *shape*. Node
indices are valid within one View only; names travel between views.

``Columns`` makes Views; tests may make them through it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.core.request import Request

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

CPUS = 0
MEMORY_MIB = 1
FIRST_POOL = 2
"""Rows of the resource matrices; row FIRST_POOL + k belongs to ``Nodes.pools[k]``."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Columns over N nodes, in the order of ``NodeRecord.index``.

    names      N names
    index_of   name to column
    pools      GRES keys of the rows from FIRST_POOL on
    total      int64[2 + len(pools), N]; what is configured
    free       the same; total minus what jobs hold; may be negative on a node that shrank under its jobs
    up         bool[N]: may be given work now (not down, drained, failing, unknown)
    weight     int64[N]: lower is used first
    features   feature name to bool[N]
    """

    names: tuple[str, ...]
    index_of: Mapping[str, int]
    pools: tuple[str, ...]
    total: Int64
    free: Int64
    up: Bool
    weight: Int64
    features: Mapping[str, Bool]

    def __len__(self) -> int:
        return len(self.names)


class Level(NamedTuple):
    """``domain`` is int64[N], ids from 0 to ``domains`` - 1; the first ``len(names)`` ids have names, the others are nodes alone.
    ``of_leaf``, int64[leaf domains], is the domain of each narrowest domain."""

    name: str
    names: tuple[str, ...]
    domain: Int64
    domains: int
    of_leaf: Int64


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """``kind`` is tree or block; ``levels`` has at least one, narrowest first."""

    name: str
    kind: str
    levels: tuple[Level, ...]

    def level_named(self, name: str) -> int | None:
        return next((at for at, level in enumerate(self.levels) if level.name == name), None)


@dataclass(frozen=True, slots=True)
class Partition:
    """``state`` is Slurm's: UP, DOWN and INACTIVE (no starts), DRAIN (queued jobs start). A limit of 0 is none.
    Jobs of a higher ``priority_tier`` go first, whatever their priority. Without a ``topology`` all its nodes are alike near."""

    name: str
    member: Bool
    state: str = "UP"
    max_time_s: int = 0
    max_nodes: int = 0
    priority_tier: int = 1
    topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """One row for each (job, node) share: job_id, end_s (rounded up), node column, amount int64[resources, rows]."""

    job_id: Int64
    end_s: Int64
    node: Int32
    amount: Int64

    def __len__(self) -> int:
        return len(self.job_id)


def rows_where(running: Running, keep: Bool) -> Running:
    """Only these rows."""
    return Running(running.job_id[keep], running.end_s[keep], running.node[keep], running.amount[:, keep])


@dataclass(frozen=True, slots=True)
class Licenses:
    """Columns over the licences of the cluster, by name; ``running`` has the licence's column as its node and one row of amounts."""

    names: tuple[str, ...]
    total: Int64
    free: Int64
    running: Running


def _no_licenses() -> Licenses:
    nothing: Int64 = np.empty(0, np.int64)
    running = Running(nothing, nothing, np.empty(0, np.int32), np.empty((1, 0), np.int64))
    return Licenses((), nothing, nothing, running)


NO_LICENSES = _no_licenses()


class Shape(NamedTuple):
    """What equal pending records have in common, whatever their time limits. ``partitions`` are tried in this order. ``time_min_s``: the
    limit may be lowered to it; ``deadline_s``: to be over by then (epoch). 0: not so."""

    request: Request
    partitions: tuple[str, ...]
    time_min_s: int = 0
    deadline_s: int = 0


class Batch(NamedTuple):
    """A shape with a time limit."""

    request: Request
    partitions: tuple[str, ...]
    time_limit_s: int
    time_min_s: int = 0
    deadline_s: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """One row for each job record, in priority order (see ``priority``).

    shape      index into ``View.shapes``
    count      elements that still wait (1 for a plain job)
    startable  how many of them may start now: below ``count`` where an array's %limit binds, 0 where it is used up
    user       a number for each user
    """

    job_id: Int64
    shape: Int32
    time_limit_s: Int64
    count: Int64
    startable: Int64
    user: Int64

    def __len__(self) -> int:
        return len(self.job_id)


@dataclass(frozen=True, slots=True)
class View:
    """``shapes`` may have holes (None) where no record uses the number any more."""

    seq: int
    now_s: int
    nodes: Nodes
    partitions: Mapping[str, Partition]
    running: Running
    pending: Pending
    shapes: tuple[Shape | None, ...]
    licenses: Licenses = NO_LICENSES
    weights: tuple[tuple[str, int], ...] = ()
    """Of placement scores, see ``weights``."""
