"""The public trace openb (Alibaba gpu-v2023): nodes and pods of a cluster whose GPUs are shared, and the experiment made with it.

Readers of the two CSV files as published (``.csv`` or ``.csv.gz``), and the workload inflation of Weng et al. (USENIX ATC 2023): the
pods of the list in random order, then pods sampled from it until the demand reaches a multiple of the cluster's GPUs; all arrive in one
pass and none ever leaves. The result is the *allocation ratio*: GPUs in use over all GPUs, as a function of the GPUs asked for so far.

The draw of a seed is the one of the authors' program (hkust-adsl/kubernetes-scheduler-simulator, Apache-2.0, read, not copied), which
takes its random numbers from Go: the same pods arrive in the same order, and equal nodes are preferred in the same order. So a policy
that is the same gives the same allocation ratios, seed by seed (but see DRAWS_OF_CLIENTS).

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
from operator import itemgetter
from pathlib import Path

import numpy as np

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord
from penstock.core.cuttings import WORTH, worth_of_rests
from penstock.core.cycle import Budget, plan_now
from penstock.core.plan import Plan
from penstock.core.records import TopologyRecord
from penstock.core.request import Request
from penstock.core.scores import Preference
from penstock.core.slots import slot_key
from penstock.core.view import View
from penstock.sim.go_random import GoRandom

SHARES = 1000
"""Of one GPU, as ``gpu_milli`` counts."""
LARGEST_PODS = 1 << 20
PARTITION = "openb"
FOREVER_S = 1
"""Nothing ends within a pass, so any time limit is the same."""
DRAWS_OF_CLIENTS = 10
"""Random numbers that the authors' program spends between the pods and the nodes, as its Kubernetes clients begin to watch. They race with
the program: most published curves come out, in every point, with 10, others with 9 or 11 (found by trying)."""
PERCENTS = 131


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
        """How often each request is in the list: the most frequent ones that together make up ``coverage`` of it. Of two that are as
        frequent the larger comes first."""
        counts = Counter(self.pods if memory else (Pod(p.cpu_milli, 0, p.gpus, p.gpu_milli, p.models) for p in self.pods))

        def rank(pod: Pod) -> tuple[int, int, int, int, str]:
            return counts[pod], pod.cpu_milli, pod.gpu_milli, pod.gpus, pod.models

        mix: dict[Request, int] = {}
        for pod in sorted(counts, key=rank, reverse=True):
            if sum(mix.values()) >= coverage * len(self.pods):
                break
            mix[pod.request(memory)] = counts[pod]
        return mix

    def draw(self, ratio: float, seed: int, spent: int = DRAWS_OF_CLIENTS) -> Draw:
        """The pods in random order, more of them sampled, or some taken away, until they ask for ``ratio`` times the GPUs; ``spent`` random
        numbers later, the order of the nodes."""
        random = GoRandom(seed)
        random.int63()  # the authors' program logs one
        pods = list(self.pods)
        random.shuffle(pods)
        target = ratio * self.capacity_milli
        asked = sum(pod.demand_milli for pod in pods)
        while asked > target:
            asked -= pods.pop(random.below(len(pods))).demand_milli
        while asked < target and len(pods) < LARGEST_PODS:
            pod = self.pods[random.below(len(self.pods))]
            if asked + pod.gpu_milli > target:
                break
            asked += pod.demand_milli
            pods.append(pod)
        for _ in range(spent):
            random.int63()
        ranks = random.permutation(len(self.nodes))
        return Draw(tuple(pods), tuple(sorted(range(len(ranks)), key=ranks.__getitem__)))

    def columns(self, draw: Draw, levels: tuple[int, ...] = ()) -> Columns:
        """The cluster without jobs. ``levels``: nodes of a domain of each level of a topology, for openb tells nothing of switches."""
        columns = Columns()
        nodes = [self.nodes[number] for number in draw.nodes]
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


@dataclass(frozen=True, slots=True)
class Draw:
    """What a seed decides: the pods that arrive, in their order, and the order of the nodes, which decides between equals."""

    pods: tuple[Pod, ...]
    nodes: tuple[int, ...]


def read(nodes: Path, pods: Path) -> Workload:
    """In the order of names. ValueError where a row lacks a column or has what is no number."""
    return Workload(
        tuple(
            Node(row["sn"], *_numbers(nodes, row, "cpu_milli", "memory_mib", "gpu"), row["model"])
            for row in sorted(_rows(nodes, "sn", "model"), key=itemgetter("sn"))
        ),
        tuple(
            Pod(*_numbers(pods, row, "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"), row.get("gpu_spec") or "")
            for row in sorted(_rows(pods, "name"), key=itemgetter("name"))
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

    def ceiling(self, draw: Draw) -> float:
        """In per cent: the most that could be in use with the parts of GPUs that were placed, for they take at least so many devices, by
        the prices of the cutting-stock problem (``core.cuttings``), and leave what they do not fill."""
        pods = [draw.pods[start.job_id] for start in self.plan.starts]
        counts = Counter(pod.gpu_milli for pod in pods if pod.gpus == 1 and pod.gpu_milli < SHARES)
        worth = worth_of_rests(SHARES, tuple(sorted(counts.items())))
        devices = sum(count * int(worth[size]) for size, count in counts.items()) / WORTH
        unfilled_milli = devices * SHARES - sum(size * count for size, count in counts.items())
        return 100 * (1 - unfilled_milli / self.capacity_milli)

    def curve(self) -> np.ndarray:
        """float64[PERCENTS]: the ratio in per cent by the demand in per cent of the capacity, as the authors publish it: the mean over the
        arrivals that round to it, else over those up to a point away, and all in hundredths. NaN where there are none."""
        arrived = np.rint(100 * self.asked_milli / self.capacity_milli).astype(int)
        ratio = np.round(100 * self.used_milli / self.capacity_milli, 2)
        curve = np.full(PERCENTS, np.nan)
        for percent in range(PERCENTS):
            distance = np.abs(arrived - percent)
            at = ratio[distance <= (0 if (distance == 0).any() else 1)]
            if len(at):
                curve[percent] = np.round(at.mean(), 2)
        return curve


def run(workload: Workload, draw: Draw, policy: Callable[[View], Preference], levels: tuple[int, ...] = ()) -> Outcome:
    """All arrivals in one pass of the planner, in their order: what does not fit when its turn comes never does, as nothing ends."""
    columns = workload.columns(draw, levels)
    for number, pod in enumerate(draw.pods):
        columns.upsert_pending(PendingRecord(number, pod.request(), (PARTITION,), 0, number, FOREVER_S))
    budget = Budget(max_starts=len(draw.pods) + 1, max_tests=len(draw.pods) * 4, reservations=0)
    plan = plan_now(columns.view(1, 0), budget, preference=policy)
    asked = np.array([pod.demand_milli for pod in draw.pods], np.int64)
    placed = np.zeros(len(draw.pods), np.bool_)
    placed[[start.job_id for start in plan.starts]] = True
    used = np.cumsum(np.where(placed, asked, 0))
    return Outcome(workload.capacity_milli, np.cumsum(asked), used, int((~placed).sum()), plan)
