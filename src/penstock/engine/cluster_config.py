"""The configuration of a cluster as State keeps it: one frozen row that enters as an event, when a controller takes office or reads its
files again. What a configured name means for a node is said here too.

Defaults are Slurm's where Slurm has one (slurm.conf.5); times are seconds (`_s`), memory is MiB.
"""

from __future__ import annotations

import msgspec


class Partition(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A queue: which nodes, which limits. Part of the configuration."""

    name: str
    nodes: tuple[str, ...] = ()
    """Empty: all."""
    default: bool = False
    state: str = "UP"
    max_time_s: int = 0
    """0: unlimited."""
    default_time_s: int = 0
    """0: max_time_s."""
    priority_tier: int = 1
    max_nodes: int = 0
    min_nodes: int = 1
    def_mem_per_cpu_mib: int = 0
    max_mem_per_cpu_mib: int = 0
    def_mem_per_node_mib: int = 0
    max_mem_per_node_mib: int = 0
    def_cpus_per_gpu: int = 0
    def_mem_per_gpu_mib: int = 0
    allow_groups: tuple[str, ...] = ()
    allow_accounts: tuple[str, ...] = ()
    topology: str = ""
    """Name of one of the topologies; "": the default one."""
    preempt_mode: str = "OFF"
    """REQUEUE: its jobs may be moved."""


class TopologyDomain(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A switch (with nodes or with child switches) or a block."""

    name: str
    nodes: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    link_speed: int = 1


class Topology(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How nodes are near each other: `kind` is tree, block or flat; `block_sizes` belongs to block; `level_names` are those that somebody
    gave. Checked when it was read."""

    name: str
    kind: str
    default: bool = False
    domains: tuple[TopologyDomain, ...] = ()
    block_sizes: tuple[int, ...] = ()
    level_names: tuple[str, ...] = ()


class ClusterConfig(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The configuration in force; it enters State as an event."""

    cluster_name: str = "penstock"
    partitions: tuple[Partition, ...] = (Partition("main", default=True),)
    kill_wait_s: int = 30
    min_job_age_s: int = 300
    max_array_size: int = 1_000_001
    max_job_count: int = 1_000_000
    first_job_id: int = 1
    job_requeue: bool = True
    requeue_delay_s: int = 120
    scores: tuple[tuple[str, int], ...] = ()
    """Weights of placement scores (`core.weights`), sorted by name; none: plain best fit."""
    max_batch_requeue: int = 5
    def_mem_per_cpu_mib: int = 0
    """0: the node's memory divided by its CPUs."""
    def_mem_per_node_mib: int = 0
    max_mem_per_cpu_mib: int = 0
    max_mem_per_node_mib: int = 0
    def_cpus_per_gpu: int = 0
    def_mem_per_gpu_mib: int = 0
    slurmd_timeout_s: int = 300
    kill_invalid_depend: bool = False
    licenses: tuple[tuple[str, int], ...] = ()
    """(name, count) of all there are."""
    job_file_append: bool = False
    over_time_limit_s: int = 0
    single_user: int = -1
    """uid that a rootless cluster serves, and that may administer it; -1: root only."""
    mail_prog: str = "/bin/mail"
    max_step_count: int = 40_000
    max_tasks_per_node: int = 512
    node_features: dict[str, tuple[str, ...]] = {}
    node_weights: dict[str, int] = {}
    return_to_service: int = 1
    node_states: dict[str, tuple[str, str]] = {}
    """Nodes that the file declares DOWN, DRAIN, FAIL or FAILING, each with its reason: what they begin with."""
    inactive_limit_s: int = 0
    """An allocation whose salloc or srun is gone ends after this; 0: never."""
    wait_time_s: int = 0
    """srun ends a step this long after its first task ended, unless --wait says otherwise; 0: never."""
    kill_on_bad_exit: bool = False
    """srun ends a step whose task failed, unless --kill-on-bad-exit says otherwise."""
    bf_reservations: int = 1
    """Blocked jobs of each partition that get a reservation; a word of Penstock's own. The other bf_ fields are Slurm's words, without
    their defaults: 0 is no bound."""
    bf_window_s: int = 0
    bf_resolution_s: int = 1
    bf_max_job_test: int = 0
    bf_max_job_user: int = 0
    bf_max_job_part: int = 0
    shown: dict[str, str] = {}
    """Every parameter in Slurm's spelling, for `scontrol show config`."""
    topologies: tuple[Topology, ...] = ()
    """One is the default; none: all nodes are alike near."""
    max_switch_wait_s: int = 300
    """Longest that --switches delays a job, and as long as it does where the user gives no time."""
    inert: tuple[str, ...] = ()
    """What of the files does nothing here, each with its reason: said again only when it is new."""


def configured_node(config: ClusterConfig, name: str) -> tuple[tuple[str, ...], int]:
    """(features, weight) that the configuration gives a node."""
    return config.node_features.get(name, ()), config.node_weights.get(name, 1)


def ends_by_ms(config: ClusterConfig, start_ms: int, limit_s: int, stopped_ms: int = 0) -> int:
    """When a run with this limit is over at the latest, the grace of OverTimeLimit included; 0: it has no limit."""
    return start_ms + (limit_s + config.over_time_limit_s) * 1000 + stopped_ms if limit_s else 0


def declared_state(config: ClusterConfig, name: str) -> dict[str, object]:
    """What the configuration declares of a node's state, as changes of the node; nothing where it declares none."""
    word, reason = config.node_states.get(name, ("", ""))
    if not word:
        return {}
    return {"down" if word == "DOWN" else "drain": True, "reason": reason or f"State={word} in the configuration"}
