"""--json of sinfo and scontrol show node and partition: records with the field names of Slurm's data parser (slurm.md C.10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.controller.views import node_facts
from penstock.controller.views.chunks import Fields, Notes
from penstock.controller.views.json_document import envelope, moment, number
from penstock.controller.views.show import ShowRequest
from penstock.controller.views.sinfo import InfoRequest, Member, accepts, user_name
from penstock.controller.views.squeue import known_nodes
from penstock.engine.cluster_config import Partition
from penstock.engine.state import Node, State
from penstock.spec import states
from penstock.spec.errors import SlurmError
from penstock.spec.gres import format_tres


def json_nodes(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    """Request: the filters of sinfo (InfoRequest), or `names` as scontrol show node has them."""
    request = msgspec.convert(fields, InfoRequest)
    names = msgspec.convert(fields, ShowRequest).names
    wanted = known_nodes(state, ",".join(names) or request.nodes) if names or request.nodes else None
    held = yield from node_facts.occupancy(state)
    members = [
        Member(node, held.get(name, node_facts.EMPTY), notes.load(name))
        for name, node in state.nodes.items()
        if wanted is None or name in wanted
    ]
    records = (node_record(state, member) for member in members if accepts(request, member))
    yield from envelope(state, notes, "nodes", records, {"last_update": moment(notes.now_ms)})


def node_record(state: State, member: Member) -> dict[str, Any]:
    node, held = member.node, member.held
    load, free = member.load
    words = states.node_state_complete(member.number).split("+")
    allocated, idle, _, total = node_facts.cpu_states(node, held, member.number)
    return {
        "active_features": list(node.features),
        "address": node.hostname,
        "alloc_cpus": allocated,
        "alloc_idle_cpus": idle,
        "alloc_memory": held.memory_mib,
        "architecture": node.arch,
        "boot_time": moment(node.boot_ms),
        "comment": node.comment,
        "cores": node.cpus,
        "cpu_load": max(load, 0),
        "cpus": total,
        "effective_cpus": total,
        "extra": node.extra,
        "features": list(node.features),
        "free_mem": number(free, unset=free < 0),
        "gres": node_facts.gres_text(node),
        "gres_drained": "N/A",
        "gres_used": node_facts.gres_used_text(node, held),
        "hostname": node.hostname,
        "last_busy": moment(node.busy_ms),
        "name": node.name,
        "operating_system": node.os,
        "partitions": node_facts.partitions_of(state, node.name),
        "real_memory": node.memory_mib,
        "reason": node.reason,
        "reason_changed_at": moment(node.reason_ms),
        "reason_set_by_user": user_name(node.reason_uid) if node.reason else "",
        "simulated_gpus": sum([gpu.simulated for gpu in node.gpus]),
        "slurmd_start_time": moment(node.start_ms),
        "sockets": 1,
        "state": words,
        "temporary_disk": node.tmp_disk_mib,
        "threads": 1,
        "tres": format_tres(node_facts.configured_tres(node)),
        "tres_used": format_tres(node_facts.used_tres(held)),
        "version": node.version,
        "weight": node.weight,
    }


def json_partitions(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    names = msgspec.convert(fields, ShowRequest).names
    chosen = [partition for partition in state.config.partitions if not names or partition.name in names]
    if names and not chosen:
        raise SlurmError(1, f"Partition {names[0]} not found")
    records = (partition_record(state, partition) for partition in chosen)
    yield from envelope(state, notes, "partitions", records, {"last_update": moment(notes.now_ms)})


def partition_record(state: State, partition: Partition) -> dict[str, Any]:
    nodes: list[Node] = [node for name, node in state.nodes.items() if not partition.nodes or name in partition.nodes]
    return {
        "name": partition.name,
        "nodes": {"total": len(nodes), "configured": ",".join([node.name for node in nodes])},
        "cpus": {"total": sum([node.cpus for node in nodes])},
        "defaults": {
            "time": number(partition.default_time_s // 60, unset=not partition.default_time_s),
            "memory_per_cpu": partition.def_mem_per_cpu_mib,
        },
        "maximums": {
            "time": number(partition.max_time_s // 60, infinite=not partition.max_time_s),
            "nodes": number(partition.max_nodes, infinite=not partition.max_nodes),
        },
        "minimums": {"nodes": partition.min_nodes},
        "priority": {"tier": partition.priority_tier, "job_factor": 1},
        "partition": {"state": [partition.state]},
        "groups": {"allowed": ",".join(partition.allow_groups)},
        "accounts": {"allowed": ",".join(partition.allow_accounts)},
        "is_default": partition.default,
    }
