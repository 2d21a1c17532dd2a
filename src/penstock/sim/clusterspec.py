"""The cluster of an experiment in one line, and how a log's job asks for parts of it.

    96*n[gpu:8]                        96 nodes n0 ... n95 with 8 GPUs (and 64 CPUs, 512G) each
    1*sp2[cpu:100]                     100 equal processors in one piece
    4*a[cpu:128,mem:1T,gpu:a100:8],2*b[cpu:64]

All GPUs are simulated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.core.request import Request
from penstock.sim.workload.job import TraceError, TraceJob
from penstock.spec.quantities import parse_memory

DEFAULT_CPUS = 64
DEFAULT_MEMORY_MIB = 512 << 10
NODES_MAX = 100_000
GPUS_MAX = 64
"""On one node."""

_GROUP = re.compile(r"(?P<count>\d{1,6})\*(?P<prefix>[A-Za-z][\w-]{0,63}?)(?:\[(?P<facts>[^\]]*)\])?")


class NodeGroup(NamedTuple):
    """``count`` equal nodes PREFIX0, PREFIX1, ..."""

    count: int
    prefix: str
    cpus: int
    memory_mib: int
    gpu_type: str
    gpus: int


def parse_cluster(text: str) -> tuple[NodeGroup, ...]:
    """The groups of a cluster's text; TraceError says what is wrong."""
    groups = []
    for part in re.split(r",(?![^\[]*\])", text):
        match = _GROUP.fullmatch(part.strip())
        if match is None:
            raise TraceError(f"cluster {part!r}: expected COUNT*NAME[cpu:N,mem:SIZE,gpu:TYPE:N], for example 96*n[gpu:8]")
        groups.append(_group(part, int(match["count"]), match["prefix"], match["facts"] or ""))
    names = [group.prefix for group in groups]
    if len(set(names)) < len(names):
        raise TraceError(f"cluster {text!r}: two groups have one name")
    total = sum(group.count for group in groups)
    if not 1 <= total <= NODES_MAX:
        raise TraceError(f"cluster {text!r}: {total} nodes: 1 to {NODES_MAX} are allowed")
    return tuple(groups)


def _group(part: str, count: int, prefix: str, facts: str) -> NodeGroup:
    cpus, memory_mib, kind, gpus = DEFAULT_CPUS, DEFAULT_MEMORY_MIB, "", 0
    for word in filter(None, (word.strip() for word in facts.split(","))):
        key, _, value = word.partition(":")
        if key == "cpu" and value.isdecimal() and 0 < int(value) <= 1 << 20:
            cpus = int(value)
        elif key == "mem" and value:
            memory_mib = parse_memory(value, "mem")
        elif key == "gpu" and value:
            kind, _, number = value.rpartition(":")
            if not number.isdecimal() or not 0 < int(number) <= GPUS_MAX:
                raise TraceError(f"cluster {part!r}: {word!r}: 1 to {GPUS_MAX} GPUs are allowed, as gpu:N or gpu:TYPE:N")
            gpus = int(number)
        else:
            raise TraceError(f"cluster {part!r}: {word!r}: cpu:N, mem:SIZE and gpu:[TYPE:]N are allowed")
    return NodeGroup(count, prefix, cpus, memory_mib, kind, gpus)


class Layout:
    """How jobs ask: GPUs on as few nodes as hold them, one task on each; CPUs as tasks that may sit anywhere."""

    def __init__(self, groups: tuple[NodeGroup, ...]) -> None:
        self.gpus_each = max(group.gpus for group in groups)
        self.devices = sum(group.count * (group.gpus if self.gpus_each else group.cpus) for group in groups)
        """What utilisation is measured in: GPUs, or CPUs where there are none."""
        self.lanes = [group.gpus if self.gpus_each else group.cpus for group in groups for _ in range(group.count)]
        """The devices of each node."""
        self.what = "GPU" if self.gpus_each else "CPU"
        self._requests: dict[tuple[int, int], Request] = {}

    def request(self, job: TraceJob) -> Request:
        """Equal jobs get the same object."""
        key = (job.gpus, job.cpus)
        found = self._requests.get(key)
        if found is None:
            found = self._requests[key] = self._make(job)
        return found

    def size(self, job: TraceJob) -> int:
        return job.gpus if self.gpus_each else job.cpus

    def _make(self, job: TraceJob) -> Request:
        if not job.gpus:
            return Request(ntasks=job.cpus)
        if not self.gpus_each:
            raise TraceError(f"job {job.name} asks for {job.gpus} GPUs: the cluster has none (--cluster '96*n[gpu:8]' has)")
        nodes = -(-job.gpus // self.gpus_each)
        if job.gpus % nodes == 0:
            return Request(nodes_min=nodes, nodes_max=nodes, gres_per_node=(("gpu", job.gpus // nodes),))
        return Request(nodes_min=nodes, nodes_max=nodes, gres_total=(("gpu", job.gpus),))
