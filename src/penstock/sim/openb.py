"""The public trace openb (Alibaba gpu-v2023): nodes and pods of a cluster whose GPUs are shared, and the experiment made with it.

Readers of the two CSV files as published (``.csv`` or ``.csv.gz``), and the workload inflation of Weng et al. (USENIX ATC 2023): the
pods of the list in random order, then pods sampled from it until the demand reaches a multiple of the cluster's GPUs; all arrive in one
pass and none ever leaves. The result is the *allocation ratio*: GPUs in use over all GPUs, as a function of the GPUs asked for so far.

In our terms a CPU is a thousandth of a core and a GPU has 1,000 shares, so that every amount of the trace is a whole number. A GPU model
is a feature of its node, for a pod may name several, one of which is enough (``--constraint="T4|A10"``).
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord
from penstock.core.cycle import Budget, plan_now
from penstock.core.plan import Plan
from penstock.core.records import TopologyRecord
from penstock.core.request import Request
from penstock.core.scores import Preference
from penstock.core.slots import slot_key
from penstock.core.view import View

SHARES = 1000
"""Of one GPU, as ``gpu_milli`` counts."""
LARGEST_PODS = 1 << 20
PARTITION = "openb"
FOREVER_S = 1
"""Nothing ends within a pass, so any time limit is the same."""


@dataclass(frozen=True, slots=True)
class Pod:
    """``gpu_milli`` of each of ``gpus`` devices; ``models`` as ``A|B``, empty for any."""

    cpu_milli: int
    memory_mib: int
    gpus: int
    gpu_milli: int
    models: str

    @property
    def demand_milli(self) -> int:
        return self.gpus * self.gpu_milli

    def request(self, memory: bool = True) -> Request:
        part = self.gpus == 1 and self.gpu_milli < SHARES
        counts = (("shard", self.gpu_milli) if part else ("gpu", self.gpus),) if self.gpus else ()
        return Request(
            nodes_max=1,
            cpus_per_task=max(1, self.cpu_milli),
            memory_per_node_mib=self.memory_mib if memory else 0,
            gres_per_node=counts,
            constraint=self.models,
        )


@dataclass(frozen=True)
class Node:
    name: str
    cpu_milli: int
    memory_mib: int
    gpus: int
    model: str


@dataclass(frozen=True)
class Workload:
    """Nodes and pods as read."""

    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]

    @cached_property
    def capacity_milli(self) -> int:
        return sum(node.gpus for node in self.nodes) * SHARES

    def mix(self, coverage: float = 1.0, memory: bool = True) -> dict[Request, int]:
        """How often each request is in the list: the most frequent ones that together make up ``coverage`` of it."""
        counts = Counter(self.pods if memory else (Pod(p.cpu_milli, 0, p.gpus, p.gpu_milli, p.models) for p in self.pods))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].cpu_milli, item[0].gpu_milli, item[0].gpus, item[0].models))
        mix: dict[Request, int] = {}
        for pod, count in ordered:
            if sum(mix.values()) >= coverage * len(self.pods):
                break
            mix[pod.request(memory)] = count
        return mix

    def arrivals(self, ratio: float, seed: int) -> list[Pod]:
        """The pods in random order, more of them sampled, or some taken away, until they ask for ``ratio`` times the GPUs."""
        random = Random(seed)
        pods = list(self.pods)
        random.shuffle(pods)
        target = ratio * self.capacity_milli
        asked = sum(pod.demand_milli for pod in pods)
        while asked > target:
            asked -= pods.pop(random.randrange(len(pods))).demand_milli
        while asked < target and len(pods) < LARGEST_PODS:
            pod = random.choice(self.pods)
            if asked + pod.gpu_milli > target:
                break
            asked += pod.demand_milli
            pods.append(pod)
        return pods

    def columns(self, seed: int, levels: tuple[int, ...] = ()) -> Columns:
        """The cluster without jobs; the order of nodes, which decides between equals, is random. ``levels``: nodes of a domain of each
        level of a topology, for openb tells nothing of switches."""
        nodes = list(self.nodes)
        Random(seed).shuffle(nodes)
        columns = Columns()
        for index, node in enumerate(nodes):
            gres = tuple((slot_key("gpu", device), SHARES) for device in range(node.gpus))
            columns.upsert_node(NodeRecord(node.name, index, node.cpu_milli, node.memory_mib, gres, features=(node.model,)))
        names = tuple(node.name for node in nodes)
        made = tuple(
            (f"level{depth}", tuple((f"d{depth}-{at}", names[at : at + size]) for at in range(0, len(names), size)))
            for depth, size in enumerate(levels)
        )
        columns.set_topologies((TopologyRecord(PARTITION, "tree", made),) if made else ())
        columns.upsert_partition(PartitionRecord(PARTITION, names, topology=PARTITION if made else ""))
        return columns


def read(nodes: Path, pods: Path) -> Workload:
    """ValueError where a row lacks a column or has what is no number."""
    return Workload(
        tuple(
            Node(row["sn"], *_numbers(nodes, row, "cpu_milli", "memory_mib", "gpu"), row["model"]) for row in _rows(nodes, "sn", "model")
        ),
        tuple(
            Pod(*_numbers(pods, row, "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"), row.get("gpu_spec") or "")
            for row in _rows(pods, "name")
        ),
    )


def _rows(path: Path, *columns: str) -> Iterable[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        reader = csv.DictReader(file)
        lacking = [name for name in columns if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path}: no column {', '.join(lacking)}: this is no list of openb")
        yield from reader


def _numbers(path: Path, row: dict[str, str], *columns: str) -> tuple[int, ...]:
    try:
        return tuple(int(row[name]) for name in columns)
    except (KeyError, ValueError) as problem:
        raise ValueError(f"{path}: {dict(row)}: {', '.join(columns)} are to be whole numbers") from problem


@dataclass(frozen=True)
class Outcome:
    """Of one run. ``asked_milli`` and ``used_milli`` after each arrival: int64[pods]; ``failed``: pods that were not placed."""

    capacity_milli: int
    asked_milli: np.ndarray
    used_milli: np.ndarray
    failed: int
    plan: Plan

    def allocation(self, percent: int) -> float:
        """The ratio in per cent where the demand is ``percent`` of the capacity: the mean over the arrivals that round to it."""
        arrived = np.rint(100 * self.asked_milli / self.capacity_milli).astype(int)
        return float(100 * self.used_milli[arrived == percent].mean() / self.capacity_milli)


def run(workload: Workload, pods: list[Pod], seed: int, policy: Callable[[View], Preference], levels: tuple[int, ...] = ()) -> Outcome:
    """All arrivals in one pass of the planner, in their order: what does not fit when its turn comes never does, as nothing ends."""
    columns = workload.columns(seed, levels)
    for number, pod in enumerate(pods):
        columns.upsert_pending(PendingRecord(number, pod.request(), (PARTITION,), 0, number, FOREVER_S))
    budget = Budget(max_starts=len(pods) + 1, max_tests=len(pods) * 4, reservations=0)
    plan = plan_now(columns.view(1, 0), budget, preference=policy)
    asked = np.array([pod.demand_milli for pod in pods], np.int64)
    placed = np.zeros(len(pods), np.bool_)
    placed[[start.job_id for start in plan.starts]] = True
    used = np.cumsum(np.where(placed, asked, 0))
    return Outcome(workload.capacity_milli, np.cumsum(asked), used, int((~placed).sum()), plan)
