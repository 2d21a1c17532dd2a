"""What the topologies of the configuration mean to jobs: the planner's records, waits for nearness, segments, addresses of nodes.

A wait for few switches has an end (sbatch(1), --switches): the shorter of what the user says and max_switch_wait, counted from when the job
became eligible. A wait for a preferred level (--topology=prefer:) has one too: what the user says, else max_switch_wait. Where no number of
idle nodes would ever satisfy the wish there is nothing to wait for, and the wait is over at once. A required level is waited for without
end, and refused where no domain of it could ever hold the job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.core.records import TopologyRecord
from penstock.core.request import Request
from penstock.engine.cluster_config import ClusterConfig, Partition, Topology
from penstock.engine.request import SubmitRequest
from penstock.engine.state import Job, JobSpec, State
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.levels import NO_END, parse_level
from penstock.spec.topology import BLOCK, FLAT, TREE, Domain, Levels, address, block_levels, renamed, tree_levels


def domains_of(topology: Topology) -> list[Domain]:
    """Its switches or blocks in the words of `spec.topology`."""
    return [Domain(domain.name, domain.nodes, domain.children) for domain in topology.domains]


def topology_of(config: ClusterConfig, partition: Partition) -> Topology | None:
    """The topology of a partition's nodes; None: flat."""
    for topology in config.topologies:
        if topology.name == partition.topology or (topology.default and not partition.topology):
            return topology if topology.kind != FLAT else None
    return None


def levels_of(topology: Topology) -> Levels:
    """Its levels, narrowest first, by the names that --topology takes; none of a flat one."""
    if topology.kind == FLAT:
        return ()
    domains = domains_of(topology)
    made = tree_levels(domains) if topology.kind == TREE else block_levels(domains, topology.block_sizes)
    return renamed(made, topology.level_names)


def topology_records(config: ClusterConfig) -> tuple[TopologyRecord, ...]:
    """What the planner's columns are told; flat ones are none to it."""
    return tuple(TopologyRecord(one.name, one.kind, levels_of(one)) for one in config.topologies if one.kind != FLAT)


def switch_wait_s(config: ClusterConfig, request: SubmitRequest) -> int:
    """How long a job waits for as few switches as it asks for; 0 where it does not ask."""
    if not request.switches:
        return 0
    asked = config.max_switch_wait_s if request.switch_wait_s is None else request.switch_wait_s
    return min(asked, config.max_switch_wait_s)


def level_asked(config: ClusterConfig, partitions: Sequence[Partition], text: str) -> tuple[str, int]:
    """(level, seconds of the wait for it) of --topology; ("", NO_END) for no text. ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE for a level
    that no topology of these partitions has."""
    if not text:
        return "", NO_END
    try:
        level, wait_s = parse_level(text)
    except SpecError as error:
        raise SlurmError(err.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE, detail=str(error)) from error
    topologies = [topology_of(config, partition) for partition in partitions]
    known = dict.fromkeys(name for topology in topologies if topology is not None for name, _ in levels_of(topology))
    if level not in known:
        where = ",".join(partition.name for partition in partitions)
        allowed = f"the levels of partition {where} are {', '.join(known)}" if known else f"partition {where} has no topology"
        raise SlurmError(err.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE, detail=f"no topology level is called {level[:64]}: {allowed}")
    return level, config.max_switch_wait_s if wait_s is None else wait_s


def wished(spec: JobSpec, waited_ms: int) -> Request:
    """What the job asks for after it has waited so long: without the wishes whose wait is over."""
    request = spec.request
    if request.switches and spec.switch_wait_s * 1000 <= waited_ms:
        request = replace(request, switches=0)
    if request.level and 0 <= request.level_wait_s * 1000 <= waited_ms:
        request = replace(request, level="", level_wait_s=NO_END)
    return request


def waiting_since_ms(job: Job) -> int:
    """From when on its waits are counted."""
    return max(job.submit_ms, job.eligible_ms)


def wishes_end_ms(job: Job) -> list[int]:
    """When the job's waits for nearness end."""
    spec = job.spec
    waits_s = [spec.switch_wait_s] if spec.request.switches else []
    if spec.request.level_wait_s != NO_END:
        waits_s.append(spec.request.level_wait_s)
    return [waiting_since_ms(job) + wait_s * 1000 for wait_s in waits_s]


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
