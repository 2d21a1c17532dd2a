"""The configuration in force: from DIR/slurm.conf where there is one, else what was measured.

A running controller reads it again (`scontrol reconfigure`) as a difference: `reread` gives what can come into force now, by the reload
rules of the parameter table, and a line for everything that cannot. What is wrong in a file is an error, and nothing changes.
"""

from __future__ import annotations

import os
import socket

import msgspec

from penstock import SLURM_VERSION
from penstock.config.cluster import ENGINE_FIELDS, SlurmConfig, engine_settings, own_nodes, partition_settings
from penstock.config.folder import ClusterFolder
from penstock.config.gresconf import gpus_of
from penstock.config.reader import read
from penstock.engine.cluster_config import ClusterConfig, Partition, Topology
from penstock.spec.errors import SpecError
from penstock.spec.parameters import AGAIN, FIXED, RESTART, SLURM_CONF

WHEN = {RESTART: "takes effect when the controller starts again", FIXED: "cannot be changed once the cluster has started"}


def reread(folder: ClusterFolder, running: ClusterConfig) -> tuple[ClusterConfig, list[str]]:
    """What of the files can come into force now, and a line for each thing that cannot. SpecError as `read_config`."""
    if not os.path.exists(folder.slurm_conf):
        if running.shown.get("SLURM_VERSION") != SLURM_VERSION:  # only the measured configuration shows it
            raise SpecError(f"{folder.slurm_conf} is gone: put it back, or start the cluster anew without it (penstock down, penstock up)")
        return running, []
    config = read(folder.slurm_conf)
    wanted, lines = _engine_config(config), []
    kept: dict[str, object] = {}
    shown = dict(wanted.shown)
    for name, text in wanted.shown.items():
        row = SLURM_CONF[name.lower()]
        before = running.shown.get(name, row.default)
        if text == before:
            continue
        if not row.honoured:
            if not row.is_silent(text):
                lines.append(f"{name}={text} does nothing here: {row.inert}")
        elif row.reload in WHEN:
            lines.append(f"{name}={text} {WHEN[row.reload]}; it stays {before}")
            shown[name] = before
            kept[ENGINE_FIELDS[name]] = getattr(running, ENGINE_FIELDS[name])
    for warning in config.warnings:  # general parameters were named above, with their values
        if f"{warning.name}: {warning.reason}" in running.inert:
            continue
        if warning.name.lower() not in SLURM_CONF or warning.reason == AGAIN:
            lines.append(f"{warning.name} ({warning.place}): no effect, {warning.reason}")
    lines += _node_lines(folder, config)
    return msgspec.structs.replace(wanted, shown=shown, **kept), lines


def _node_lines(folder: ClusterFolder, config: SlurmConfig) -> list[str]:
    """What agents that run were started with, where the file says otherwise by now. Features and weights need no agent."""
    running = {node.name: node for node in folder.read().nodes}
    wanted = {node.name: node for node in own_nodes(config)}
    lines = [f"node {name} is new: penstock up starts its agent" for name in wanted if name not in running]
    lines += [f"node {name} is no longer named: penstock down and penstock up stop its agent" for name in running if name not in wanted]
    for name, node in wanted.items():
        before = running.get(name)
        if before is None:
            continue
        differences = [
            f"{key} {old} is to be {new}"
            for key, old, new in (
                ("CPUs", before.cpus, node.cpus),
                ("RealMemory", before.memory_mib, node.memory_mib if node.memory_mib > 1 else before.memory_mib),
                ("Gres", before.gpus or "none", gpus_of(node, config.gres) or "none"),
            )
            if old != new
        ]
        lines += [f"node {name}: {text} when its agent starts again (penstock down, penstock up)" for text in differences]
    return lines


def read_config(folder: ClusterFolder) -> ClusterConfig:
    """The engine's configuration; SpecError (file, line, allowed values) if slurm.conf is wrong."""
    if os.path.exists(folder.slurm_conf):
        return _engine_config(read(folder.slurm_conf))
    cluster = folder.read()
    own = ClusterConfig(cluster_name=cluster.name, single_user=_single_user())
    shown = {parameter.name: parameter.default for parameter in SLURM_CONF.values()} | {
        "ClusterName": own.cluster_name,
        "MaxArraySize": str(own.max_array_size),
        "MaxJobCount": str(own.max_job_count),
        "SlurmctldHost[0]": socket.gethostname().partition(".")[0],
        "SLURM_VERSION": SLURM_VERSION,
        "StateSaveLocation": folder.store,
    }
    return ClusterConfig(cluster_name=cluster.name, single_user=_single_user(), shown=shown)


def _engine_config(config: SlurmConfig) -> ClusterConfig:
    settings = engine_settings(config)
    partitions = tuple(Partition(**partition_settings(p)) for p in config.partitions)  # type: ignore[arg-type]
    settings["partitions"] = partitions or (Partition("main", default=True),)
    settings["topologies"] = msgspec.convert(config.topologies, tuple[Topology, ...], from_attributes=True)
    return ClusterConfig(**settings, single_user=_single_user())  # type: ignore[arg-type]


def _single_user() -> int:
    return -1 if os.getuid() == 0 else os.getuid()
