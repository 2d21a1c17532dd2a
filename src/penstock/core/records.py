"""What the engine tells ``Columns``: one record for each node, partition and pending job."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.request import LARGEST, GresCounts, Request, check_gres_counts


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

    def __post_init__(self) -> None:
        check_gres_counts(f"node {self.name}", self.gres)
        for what, value, most in (("cpus", self.cpus, LARGEST), ("memory_mib", self.memory_mib, LARGEST), ("weight", self.weight, 1 << 32)):
            if not 0 <= value <= most:
                raise ValueError(f"node {self.name}: {what} is {value}: allowed are 0 to {most}")


@dataclass(frozen=True, slots=True)
class PartitionRecord:
    """See ``view.Partition``. Names of nodes that do not exist (yet) are kept and count once the node appears."""

    name: str
    nodes: tuple[str, ...]
    state: str = "UP"
    max_time_s: int = 0
    max_nodes: int = 0
    priority_tier: int = 1
    topology: str = ""
    """One of the topologies; "": none."""


@dataclass(frozen=True, slots=True)
class TopologyRecord:
    """``levels``, narrowest first: (name of the level, its domains as (name, names of nodes)). ``kind`` is tree or block. See ``topology``.
    Names of nodes that do not exist (yet) are kept and count once the node appears."""

    name: str
    kind: str
    levels: tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]

    def __post_init__(self) -> None:
        """ValueError unless levels are nested: a node once a level, and with those of its domain in one domain of the next level."""
        if not self.levels:
            raise ValueError(f"topology {self.name} has no level")
        below: dict[str, str] = {}
        for level, domains in self.levels:
            here: dict[str, str] = {}
            outer: dict[str, str] = {}
            for domain, names in domains:
                for name in names:
                    if here.setdefault(name, domain) != domain:
                        raise ValueError(f"topology {self.name}, level {level}: node {name} is in {here[name]} and in {domain}")
                    inner = below.get(name)
                    if inner is not None and outer.setdefault(inner, domain) != domain:
                        raise ValueError(f"topology {self.name}: {inner} lies in {outer[inner]} and in {domain} of level {level}")
            astray = [name for name, inner in below.items() if inner in outer and name not in here]
            if astray:
                raise ValueError(f"topology {self.name}: node {astray[0]} of {below[astray[0]]} is missing from level {level}")
            below = {name: here.get(name) or below[name] for name in (*below, *here)}


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """A job record whose only obstacle is the scheduler: not held, no open dependency, begin time reached.

    priority   higher first; ``order`` (submit order) lower first among equals; then lower job_id
    count      pending elements of an array record, 1 for a plain job
    startable  as many of them may start now (%limit); None: all
    time_min_s, deadline_s  see ``view.Shape``
    user       a number for each user
    """

    job_id: int
    request: Request
    partitions: tuple[str, ...]
    priority: int
    order: int
    time_limit_s: int
    count: int = 1
    startable: int | None = None
    time_min_s: int = 0
    deadline_s: int = 0
    user: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"job {self.job_id}: count is {self.count}: a record without pending elements is removed")
        if self.startable is not None and not 0 <= self.startable <= self.count:
            raise ValueError(f"job {self.job_id}: startable is {self.startable}: allowed are 0 to {self.count}")
        if not self.partitions:
            raise ValueError(f"job {self.job_id}: no partition")
        if self.time_limit_s < 1:
            raise ValueError(f"job {self.job_id}: time_limit_s is {self.time_limit_s}: at least 1")
