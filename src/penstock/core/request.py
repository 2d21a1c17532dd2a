"""What one job asks for: its shape.

Equal requests are equal objects with equal hashes, so that 100,000 pending jobs are planned as a few hundred batches. A
request holds names (nodes, features, GRES keys), never indices: it stays valid when nodes come and go. Options of sbatch
that share a meaning are resolved by the caller (``--mem-per-gpu`` becomes memory per node, DefMemPerCPU becomes
``memory_per_cpu_mib``); nothing in here has a default that depends on the cluster.

A GRES key is ``name`` or ``name:type``. In a request ``gpu`` is met by GPUs of any type and ``gpu:a100`` by that type only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from penstock.spec.constraints import Constraint, parse

CONSTRAINTS_KEPT = 4_096
"""Parsed constraints that are remembered."""

WHOLE_NODE = -1
"""As ``memory_per_node_mib``: all memory of each node (``--mem=0``)."""

UNLIMITED_S = 365 * 86_400
"""The time limit that stands for UNLIMITED: the planner reasons as if such a job ran for a year, as Slurm does."""

GresCounts = tuple[tuple[str, int], ...]
"""Pairs of GRES key and count, sorted by key, each key once, each count at least 1."""


@dataclass(frozen=True, slots=True)
class Request:
    """The resources of one job (or of one array element), wherever it runs.

    nodes_min           fewest nodes
    nodes_max           most nodes; 0: no bound. Above ``nodes_min`` and without ``ntasks``: as many as can be had now
    ntasks              tasks in the whole job; 0: ``ntasks_per_node`` (or one) on each node
    ntasks_per_node     most tasks on one node (exactly so many where ``ntasks`` is 0); 0: no bound
    memory_*            MiB per node (WHOLE_NODE: all of it) or per allocated CPU; at most one of them is not 0
    gres_per_node       on each node, as ``--gres`` and ``--gpus-per-node``
    gres_per_task       beside each task, on its node
    gres_total          over all nodes together, at least one on each, as ``--gpus``
    cpus_per_gpu        CPUs on each node for each of its GPUs, where that is more than its tasks need; ``gres_total`` of one kind only
    memory_per_gpu_mib  memory of each node for each of its GPUs, instead of ``memory_*``; the same
    cpus_per_node       CPUs on each node, where that is more than its tasks need (``--mincpus``); 0: no such bound
    exclusive           whole idle nodes: all their CPUs and GRES; memory as asked
    constraint          features of the nodes, see ``spec.constraints``; "": any
    prefer              the same, in place of ``constraint`` where the job can start at once with it
    contiguous          nodes that are neighbours in the order of the nodes
    licenses            (name, count) of the cluster's licences, sorted; with ``any_license`` one of the pairs is enough
    switches            most leaf domains of the topology (``--switches``); 0: any number
    segment             nodes that come together in a leaf domain (``--segment``); 0: no such wish
    level               level of the topology, one domain of which must hold the element; "": none
    level_wait_s        so long after it became eligible the job's level is dropped, which is not the planner's doing; -1: never
    """

    nodes_min: int = 1
    nodes_max: int = 0
    ntasks: int = 0
    cpus_per_task: int = 1
    ntasks_per_node: int = 0
    memory_per_node_mib: int = 0
    memory_per_cpu_mib: int = 0
    gres_per_node: GresCounts = ()
    gres_per_task: GresCounts = ()
    gres_total: GresCounts = ()
    cpus_per_gpu: int = 0
    memory_per_gpu_mib: int = 0
    cpus_per_node: int = 0
    exclusive: bool = False
    required_nodes: tuple[str, ...] = ()
    excluded_nodes: tuple[str, ...] = ()
    constraint: str = ""
    prefer: str = ""
    contiguous: bool = False
    licenses: GresCounts = ()
    any_license: bool = False
    switches: int = 0
    segment: int = 0
    level: str = ""
    level_wait_s: int = -1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("nodes_min", self.nodes_min, 1),
            ("nodes_max", self.nodes_max, 0),
            ("ntasks", self.ntasks, 0),
            ("cpus_per_task", self.cpus_per_task, 1),
            ("ntasks_per_node", self.ntasks_per_node, 0),
            ("memory_per_node_mib", self.memory_per_node_mib, WHOLE_NODE),
            ("memory_per_cpu_mib", self.memory_per_cpu_mib, 0),
            ("cpus_per_gpu", self.cpus_per_gpu, 0),
            ("memory_per_gpu_mib", self.memory_per_gpu_mib, 0),
            ("cpus_per_node", self.cpus_per_node, 0),
            ("switches", self.switches, 0),
            ("segment", self.segment, 0),
            ("level_wait_s", self.level_wait_s, -1),
        ):
            if not least <= value <= LARGEST:
                raise ValueError(f"Request.{name} is {value}: allowed are {least} to {LARGEST}")
        if 0 < self.nodes_max < self.nodes_min:
            raise ValueError(f"Request.nodes_max is {self.nodes_max}, below nodes_min, which is {self.nodes_min}")
        for text in (self.constraint, self.prefer):
            if text:
                parsed(text)
        if 0 < self.ntasks < self.nodes_min:
            raise ValueError(f"Request.ntasks is {self.ntasks}, below nodes_min, which is {self.nodes_min}: each node runs a task")
        if self.memory_per_node_mib and self.memory_per_cpu_mib:
            raise ValueError("Request.memory_per_node_mib and memory_per_cpu_mib exclude each other")
        if (self.cpus_per_gpu or self.memory_per_gpu_mib) and len(self.gres_total) != 1:
            raise ValueError("Request.cpus_per_gpu and memory_per_gpu_mib need gres_total of one kind")
        if self.memory_per_gpu_mib and (self.memory_per_node_mib or self.memory_per_cpu_mib):
            raise ValueError("Request.memory_per_gpu_mib excludes memory_per_node_mib and memory_per_cpu_mib")
        for name, counts in (
            ("gres_per_node", self.gres_per_node),
            ("gres_per_task", self.gres_per_task),
            ("gres_total", self.gres_total),
            ("licenses", self.licenses),
        ):
            check_gres_counts(f"Request.{name}", counts)
        seen: dict[str, int] = {}
        for at, counts in enumerate((self.gres_per_node, self.gres_per_task, self.gres_total)):
            for key, _ in counts:
                if seen.setdefault(gres_name(key), at) != at:
                    raise ValueError(f"Request: {gres_name(key)} is asked for per node, per task and in total at once: one way is allowed")
        if "gpu" in seen and "shard" in seen:
            raise ValueError("Request: gpu and shard are asked for at once: whole GPUs or parts of one are allowed")


@lru_cache(CONSTRAINTS_KEPT)
def parsed(text: str) -> Constraint:
    """``constraints.parse``, remembered: bursts of jobs ask for the same. SpecError, a ValueError, for what it is none."""
    return parse(text)


LARGEST = 1 << 31
"""Most of any one quantity in a request or on a node: products of two stay below the end of int64."""


def check_gres_counts(what: str, counts: GresCounts) -> None:
    """ValueError unless keys are in order, each once, and counts are 1 to LARGEST."""
    before = ""
    for key, count in counts:
        if key <= before or key.count(":") > 1 or key.startswith(":") or key.endswith(":"):
            raise ValueError(f"{what}: {key!r} after {before!r}: keys are 'name' or 'name:type', sorted, each once")
        if not 1 <= count <= LARGEST:
            raise ValueError(f"{what}: {key} is {count}: allowed are 1 to {LARGEST}")
        before = key


def gres_name(key: str) -> str:
    """``gpu`` of ``gpu`` and of ``gpu:a100``."""
    return key.partition(":")[0]
