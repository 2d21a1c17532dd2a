"""The configuration as plain typed objects: what reading slurm.conf, gres.conf and cgroup.conf results in.

Guarantees: immutable; names are unique; every node that a partition names exists; units are in the field names (None: unlimited or not
set). `engine_settings` gives the values under the names of the engine's own configuration, so that the caller only spreads them.
"""

from __future__ import annotations

import socket

import msgspec

from penstock.spec.licenses import parse as parse_licenses
from penstock.spec.parameters import SCORE_PREFIX, Value


class NodeConfig(msgspec.Struct, frozen=True):
    """One node, its line's defaults filled in."""

    name: str
    hostname: str
    address: str
    cpus: int
    memory_mib: int
    boards: int = 1
    sockets: int = 1
    cores_per_socket: int = 1
    threads_per_core: int = 1
    tmp_disk_mib: int = 0
    gres: str = ""
    features: tuple[str, ...] = ()
    weight: int = 1
    state: str = "UNKNOWN"
    reason: str = ""


class PartitionConfig(msgspec.Struct, frozen=True):
    """One partition; `nodes` are names in the order of the configuration."""

    name: str
    nodes: tuple[str, ...]
    default: bool = False
    state: str = "UP"
    max_time_s: int | None = None
    default_time_s: int | None = None
    priority_tier: int = 1
    max_nodes: int | None = None
    min_nodes: int = 0
    def_mem_per_cpu_mib: int = 0
    max_mem_per_cpu_mib: int = 0
    def_mem_per_node_mib: int = 0
    max_mem_per_node_mib: int = 0
    def_cpus_per_gpu: int = 0
    def_mem_per_gpu_mib: int = 0
    allow_groups: tuple[str, ...] = ()
    allow_accounts: tuple[str, ...] = ()
    topology: str = ""
    """Name of its topology; "": the cluster's default."""
    preempt_mode: str = "OFF"


class TopologyDomain(msgspec.Struct, frozen=True):
    """A switch (with nodes or child switches) or a block."""

    name: str
    nodes: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    link_speed: int = 1


class TopologyConfig(msgspec.Struct, frozen=True):
    """How nodes are near each other; `kind` is tree, block or flat, `block_sizes` belongs to block, `level_names` to topology.yaml."""

    name: str
    kind: str
    default: bool = False
    domains: tuple[TopologyDomain, ...] = ()
    block_sizes: tuple[int, ...] = ()
    level_names: tuple[str, ...] = ()


class GresConfig(msgspec.Struct, frozen=True):
    """One line of gres.conf: so many devices of a name and type, on the named nodes (none: all)."""

    name: str
    type: str
    count: int
    files: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()


class ConfigWarning(msgspec.Struct, frozen=True):
    """A parameter that is known and does nothing here."""

    where: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name} does nothing here: {self.reason}"

    @property
    def place(self) -> str:
        """File and line, without the folder."""
        file, _, line = self.where.rpartition(":")
        return f"{file.rpartition('/')[2]}:{line}"


class SlurmConfig(msgspec.Struct, frozen=True):
    """All that the files said."""

    path: str
    parameters: dict[str, Value]
    """Typed values by Slurm's name, defaults filled in."""
    texts: dict[str, str]
    """What stands in the file, by Slurm's name; defaults where nothing does. For `scontrol show config`."""
    scheduler: dict[str, str]
    """The words of SchedulerParameters; "" for a word without a value."""
    nodes: tuple[NodeConfig, ...] = ()
    partitions: tuple[PartitionConfig, ...] = ()
    gres: tuple[GresConfig, ...] = ()
    cgroup: dict[str, Value] = {}
    warnings: tuple[ConfigWarning, ...] = ()
    topologies: tuple[TopologyConfig, ...] = ()

    def number(self, name: str) -> int:
        """The value of a numeric parameter; 0 where it is not set or unlimited."""
        value = self.parameters[name]
        return int(value) if isinstance(value, int) else 0

    def node(self, name: str) -> NodeConfig | None:
        return next((node for node in self.nodes if node.name == name), None)


NUMBERS = {
    "kill_wait_s": "KillWait",
    "wait_time_s": "WaitTime",
    "inactive_limit_s": "InactiveLimit",
    "min_job_age_s": "MinJobAge",
    "max_array_size": "MaxArraySize",
    "max_job_count": "MaxJobCount",
    "first_job_id": "FirstJobId",
    "max_batch_requeue": "MaxBatchRequeue",
    "def_mem_per_cpu_mib": "DefMemPerCPU",
    "def_mem_per_node_mib": "DefMemPerNode",
    "max_mem_per_cpu_mib": "MaxMemPerCPU",
    "max_mem_per_node_mib": "MaxMemPerNode",
    "def_cpus_per_gpu": "DefCpuPerGPU",
    "def_mem_per_gpu_mib": "DefMemPerGPU",
    "slurmd_timeout_s": "SlurmdTimeout",
    "over_time_limit_s": "OverTimeLimit",
    "max_step_count": "MaxStepCount",
    "max_tasks_per_node": "MaxTasksPerNode",
    "return_to_service": "ReturnToService",
}
SWITCHES = {"job_requeue": "JobRequeue", "job_file_append": "JobFileAppend", "kill_on_bad_exit": "KillOnBadExit"}
ENGINE_FIELDS = {name: field for field, name in (NUMBERS | SWITCHES).items()} | {"ClusterName": "cluster_name", "MailProg": "mail_prog"}
"""Slurm's name of a parameter to the engine's field."""


def engine_settings(config: SlurmConfig) -> dict[str, object]:
    """Keyword arguments of the engine's ClusterConfig, all but its partitions and the uid it serves."""
    settings: dict[str, object] = {field: config.number(name) for field, name in NUMBERS.items()}
    settings |= {field: bool(config.parameters[name]) for field, name in SWITCHES.items()}
    settings["cluster_name"] = config.parameters["ClusterName"] or "penstock"
    settings["mail_prog"] = config.parameters["MailProg"]
    settings["kill_invalid_depend"] = "kill_invalid_depend" in config.scheduler
    settings["requeue_delay_s"] = int(config.scheduler.get("requeue_delay") or 120)
    words = ((word.removeprefix(SCORE_PREFIX), value) for word, value in config.scheduler.items() if word.startswith(SCORE_PREFIX))
    settings["scores"] = tuple(sorted((name, int(value)) for name, value in words))
    settings["node_features"] = {node.name: node.features for node in config.nodes if node.features}
    settings["node_states"] = {n.name: (n.state, n.reason) for n in config.nodes if n.state in ("DOWN", "DRAIN", "FAIL", "FAILING")}
    settings["node_weights"] = {node.name: node.weight for node in config.nodes if node.weight != 1}
    settings["licenses"] = parse_licenses(str(config.parameters["Licenses"] or ""), "Licenses")[0]
    settings["shown"] = dict(config.texts)
    settings["inert"] = tuple(f"{warning.name}: {warning.reason}" for warning in config.warnings)
    settings["max_switch_wait_s"] = int(config.scheduler.get("max_switch_wait") or 300)
    settings["bf_reservations"] = int(config.scheduler.get("bf_reservations", 1))
    settings["bf_window_s"] = 60 * int(config.scheduler.get("bf_window", 0))
    settings["bf_resolution_s"] = int(config.scheduler.get("bf_resolution", 1))
    settings |= {word: int(config.scheduler.get(word, 0)) for word in ("bf_max_job_test", "bf_max_job_user", "bf_max_job_part")}
    return settings


def partition_settings(partition: PartitionConfig) -> dict[str, object]:
    """Keyword arguments of the engine's Partition: 0 where here it is None."""
    return {
        "name": partition.name,
        "nodes": partition.nodes,
        "default": partition.default,
        "state": partition.state,
        "max_time_s": partition.max_time_s or 0,
        "default_time_s": partition.default_time_s or 0,
        "priority_tier": partition.priority_tier,
        "max_nodes": partition.max_nodes or 0,
        "min_nodes": max(partition.min_nodes, 1),
        "def_mem_per_cpu_mib": partition.def_mem_per_cpu_mib,
        "max_mem_per_cpu_mib": partition.max_mem_per_cpu_mib,
        "def_mem_per_node_mib": partition.def_mem_per_node_mib,
        "max_mem_per_node_mib": partition.max_mem_per_node_mib,
        "def_cpus_per_gpu": partition.def_cpus_per_gpu,
        "def_mem_per_gpu_mib": partition.def_mem_per_gpu_mib,
        "allow_groups": partition.allow_groups,
        "allow_accounts": partition.allow_accounts,
        "topology": partition.topology,
        "preempt_mode": partition.preempt_mode,
    }


def own_nodes(config: SlurmConfig) -> list[NodeConfig]:
    """The nodes that are this machine: NodeHostname is its name or localhost."""
    here = (socket.gethostname(), socket.gethostname().partition(".")[0], "localhost")
    return [node for node in config.nodes if node.hostname in here]


def warning_lines(config: SlurmConfig) -> list[str]:
    """The warnings for a person: one line a reason, naming each parameter and where it stands."""
    by_reason: dict[str, list[str]] = {}
    for warning in config.warnings:
        by_reason.setdefault(warning.reason, []).append(f"{warning.name} ({warning.place})")
    return [f"no effect, {reason}: {', '.join(names)}" for reason, names in by_reason.items()]
