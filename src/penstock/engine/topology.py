"""What the topologies of the configuration mean to jobs: the planner's records, waits for few switches, segments, addresses of nodes.

A wait for few switches has an end (sbatch(1), --switches): the shorter of what the user says and max_switch_wait, counted from when the job
became eligible. Where no number of idle nodes would ever satisfy the wish there is nothing to wait for, and the wait is over at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.records import TopologyRecord
from penstock.engine.request import SubmitRequest
from penstock.engine.state import ClusterConfig, Job, Partition, State, Topology
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError
from penstock.spec.topology import BLOCK, FLAT, TREE, Domain, address, block_levels, tree_levels


def domains_of(topology: Topology) -> list[Domain]:
    """Its switches or blocks in the words of `spec.topology`."""
    return [Domain(domain.name, domain.nodes, domain.children) for domain in topology.domains]


def topology_of(config: ClusterConfig, partition: Partition) -> Topology | None:
    """The topology of a partition's nodes; None: flat."""
    for topology in config.topologies:
        if topology.name == partition.topology or (topology.default and not partition.topology):
            return topology if topology.kind != FLAT else None
    return None


def topology_records(config: ClusterConfig) -> tuple[TopologyRecord, ...]:
    """What the planner's columns are told; flat ones are none to it."""
    records = []
    for topology in config.topologies:
        if topology.kind == TREE:
            records.append(TopologyRecord(topology.name, TREE, tree_levels(domains_of(topology))))
        elif topology.kind == BLOCK:
            records.append(TopologyRecord(topology.name, BLOCK, block_levels(domains_of(topology), topology.block_sizes)))
    return tuple(records)


def switch_wait_s(config: ClusterConfig, request: SubmitRequest) -> int:
    """How long a job waits for as few switches as it asks for; 0 where it does not ask."""
    if not request.switches:
        return 0
    asked = config.max_switch_wait_s if request.switch_wait_s is None else request.switch_wait_s
    return min(asked, config.max_switch_wait_s)


def switches_until_ms(job: Job) -> int:
    """When the job's wait for few switches ends."""
    return max(job.submit_ms, job.eligible_ms) + job.spec.switch_wait_s * 1000


def check_segment(config: ClusterConfig, partitions: Sequence[Partition], request: SubmitRequest) -> None:
    """ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE where the segment does not divide the nodes, or is larger than the base blocks of each of
    the partitions that have blocks."""
    segment = request.segment
    if not segment:
        return
    nodes = request.nodes_min or 0
    if nodes % segment and nodes == request.nodes_max:
        detail = f"{nodes} nodes are no multiple of the segment size {segment}"
        raise SlurmError(err.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE, detail=detail)
    topologies = [topology_of(config, partition) for partition in partitions]
    bases = [topology.block_sizes[0] if topology is not None and topology.kind == BLOCK else segment for topology in topologies]
    if segment > max(bases):
        detail = f"the segment size {segment} is larger than a base block, which has {max(bases)} nodes"
        raise SlurmError(err.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE, detail=detail)


def topology_variables(state: State, job: Job, node: str) -> dict[str, str]:
    """SLURM_TOPOLOGY_ADDR of a node of the job: the switches above it (or its block), widest first, and the node."""
    partition = next((partition for partition in state.config.partitions if partition.name == job.partition), None)
    topology = topology_of(state.config, partition) if partition is not None else None
    place, pattern = (node, "node") if topology is None else address(topology.kind, domains_of(topology), node)
    return {"SLURM_TOPOLOGY_ADDR": place, "SLURM_TOPOLOGY_ADDR_PATTERN": pattern}
