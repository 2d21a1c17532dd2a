"""Rows in the planner's words: nodes, partitions, allocations and requests as `core.columns` takes them.

Pure: each function looks at what it is given and nothing else. A GPU is a unit of its type's pool, or where it may be shared a slot of its
own, in shards; a node's rank sorts as its name does in a hostlist, whoever registered first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from penstock.core.columns import NodeRecord, PartitionRecord
from penstock.core.plan import Share
from penstock.core.request import UNLIMITED_S
from penstock.core.slots import slot_key
from penstock.core.view import Batch
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.state import SUSPENDED, Job, JobSpec, Node, NodeAlloc
from penstock.engine.topology import topology_of
from penstock.spec import hostlist
from penstock.wire.messages import GpuInfo

NODE_PREFIX_BYTES = 256
"""Longer prefixes of node names are ranked by their length first."""
NODE_NUMBER_BYTES = 16
"""Enough for the digits that a hostlist counts with (hostlist.MAX_DIGITS)."""


def node_record(node: Node) -> NodeRecord:
    return NodeRecord(
        node.name, node_rank(node.name), node.cpus, node.memory_mib, gres_of(node), node.schedulable, node.weight, node.features
    )


def partition_record(config: ClusterConfig, partition: Partition, nodes: Iterable[str]) -> PartitionRecord:
    """`nodes`: all there are, for a partition that names none."""
    topology = topology_of(config, partition)
    return PartitionRecord(
        partition.name,
        partition.nodes or tuple(nodes),
        partition.state,
        partition.max_time_s,
        partition.max_nodes,
        partition.priority_tier,
        topology.name if topology is not None else "",
    )


def end_s(job: Job, kill_wait_s: int) -> int:
    """When the planner reckons with the end of what holds resources; a suspended job has its time left, whenever that goes on."""
    if job.state > SUSPENDED:
        return -(-job.end_ms // 1000) + kill_wait_s
    limit_s = job.spec.time_limit_s
    if job.state == SUSPENDED:
        ran_ms = job.suspend_ms - job.start_ms - job.suspended_total_ms
        return -max(1, (limit_s or UNLIMITED_S) - ran_ms // 1000)
    if job.end_limit_ms:
        return -(-job.end_limit_ms // 1000)
    return -(-(job.start_ms + job.suspended_total_ms) // 1000) + UNLIMITED_S


def share_of(nodes: Mapping[str, Node], alloc: NodeAlloc) -> Share:
    """An allocation in the planner's words."""
    if not alloc.gpus:
        return Share(alloc.node, alloc.ntasks, alloc.cpus, alloc.memory_mib)
    pools: dict[str, int] = {}
    for key, amount, gpu in devices_of(nodes[alloc.node]):
        if gpu.uuid in alloc.gpus:
            pools[key] = pools.get(key, 0) + (alloc.shards or amount)
    return Share(alloc.node, alloc.ntasks, alloc.cpus, alloc.memory_mib, tuple(sorted(pools.items())))


def as_batch(spec: JobSpec) -> Batch:
    """What a job asks for, to the planner's questions."""
    return Batch(spec.request, spec.partitions, spec.time_limit_s or UNLIMITED_S, spec.time_min_s, spec.deadline_ms // 1000)


def pool_of(gpu_type: str) -> str:
    """The planner's pool of a GPU type."""
    return f"gpu:{gpu_type}" if gpu_type else "gpu"


def node_rank(name: str) -> int:
    """A number that sorts as the names do in a hostlist: ranks of a job's nodes do not depend on who registered first."""
    prefix, digits, number = hostlist.sort_key(name)
    fixed = bytes((digits,)) + number.to_bytes(NODE_NUMBER_BYTES, "big")
    return int.from_bytes(prefix.encode("utf-8", "replace").ljust(NODE_PREFIX_BYTES, b"\0") + fixed, "big")


def gres_of(node: Node) -> tuple[tuple[str, int], ...]:
    """Usable devices of a node by pool."""
    pools: dict[str, int] = {}
    for key, amount, _ in devices_of(node):
        pools[key] = pools.get(key, 0) + amount
    return tuple(sorted(pools.items()))


def devices_of(node: Node) -> Iterator[tuple[str, int, GpuInfo]]:
    """The planner's key of each GPU, and its amount: a unit of its pool, or where it may be shared a slot of its own, in shards."""
    for position, gpu in enumerate(node.gpus):
        if gpu.shards:
            yield slot_key(pool_of(gpu.type), position), gpu.shards, gpu
        else:
            yield pool_of(gpu.type), 1, gpu
