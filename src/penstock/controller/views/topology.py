"""scontrol show topology: the switches or blocks of the cluster's topologies, one line each, as Slurm prints them.

Request fields: see ShowRequest; a name is that of a topology, a switch, a block or a node, and shows what holds it. Several topologies
stand under a line each that names them; a single one called `default` (that of topology.conf) needs none.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.controller.views.chunks import Fields, Notes
from penstock.controller.views.show import NOT_FOUND, ShowRequest, pieces
from penstock.engine.cluster_config import Topology
from penstock.engine.state import State
from penstock.engine.topology import domains_of
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError
from penstock.spec.topology import BLOCK, FLAT, TREE, block_groups, group_name, heights, nodes_below


def show_topology(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, ShowRequest)
    topologies = state.config.topologies
    name = request.names[0] if request.names else ""
    named = [topology for topology in topologies if topology.name == name]
    wanted = named or list(topologies)
    filtered = "" if named else name
    lines: list[str] = []
    for topology in wanted:
        found = [line for line, names in topology_lines(topology) if not filtered or filtered in names]
        if found and (len(wanted) > 1 or topology.kind == FLAT):
            default = "YES" if topology.default else "NO"
            lines.append(f"TopologyName={topology.name} Plugin=topology/{topology.kind} Default={default}")
        lines += found
    if name and not lines:
        raise SlurmError(NOT_FOUND, f"No topology, switch, block or node is named {name[:64]}")
    if not topologies:
        lines = ["TopologyPlugin=topology/flat: all nodes are alike near"]
    yield from pieces(line + "\n" for line in lines if line)


def topology_lines(topology: Topology) -> Iterator[tuple[str, set[str]]]:
    """(line, the names it is about: the domain's own and those of its nodes)."""
    domains = domains_of(topology)
    if topology.kind == TREE:
        height, below = heights(domains), nodes_below(domains)
        speeds = {domain.name: domain.link_speed for domain in topology.domains}
        for domain in sorted(domains, key=lambda domain: height[domain.name]):
            children = f" Switches={hostlist.compress(domain.children)}" if domain.children else ""
            nodes = hostlist.compress(below[domain.name])
            line = f"SwitchName={domain.name} Level={height[domain.name]} LinkSpeed={speeds[domain.name]} Nodes={nodes}{children}"
            yield line, {domain.name, *below[domain.name]}
    elif topology.kind == BLOCK:
        for size, groups in block_groups(domains, topology.block_sizes):
            word = "BlockName" if size == topology.block_sizes[0] else "AggregatedBlock"
            for index, group in enumerate(groups):
                members = [node for block in group for node in block.nodes]
                line = f"{word}={group_name(group)} BlockIndex={index} Nodes={hostlist.compress(members)} BlockSize={size}"
                yield line, {*[block.name for block in group], *members}
    else:
        yield "", {topology.name}
