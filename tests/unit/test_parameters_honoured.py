"""Nothing is read from slurm.conf and then ignored: what is not reported as inert is looked at by the daemons, and the reverse."""

import re
from pathlib import Path

import pytest

from penstock.config import cluster
from penstock.spec import parameters as p

PACKAGE = Path(p.__file__).resolve().parents[1]
DAEMONS = "\n".join(
    path.read_text()
    for room in ("core", "engine", "controller", "agent")
    for path in sorted((PACKAGE / room).rglob("*.py"))
    if path.name != "state.py"
)
CLUSTER = {
    **cluster.NUMBERS,
    **cluster.SWITCHES,
    **{"mail_prog": "MailProg", "cluster_name": "ClusterName", "topologies": "TopologyPlugin"},
}
PARTITION = {
    **{"nodes": "Nodes", "default": "Default", "state": "State", "max_time_s": "MaxTime", "default_time_s": "DefaultTime"},
    **{"priority_tier": "PriorityTier", "max_nodes": "MaxNodes", "def_mem_per_cpu_mib": "DefMemPerCPU"},
    **{"def_cpus_per_gpu": "DefCpuPerGPU", "def_mem_per_gpu_mib": "DefMemPerGPU"},
    **{"def_mem_per_node_mib": "DefMemPerNode", "max_mem_per_node_mib": "MaxMemPerNode"},
    **{"max_mem_per_cpu_mib": "MaxMemPerCPU", "allow_groups": "AllowGroups", "allow_accounts": "AllowAccounts", "topology": "Topology"},
}


def is_read(field: str, *objects: str) -> bool:
    return any(re.search(rf"\b{word}\.{field}\b", DAEMONS) for word in objects)


@pytest.mark.parametrize("field", CLUSTER)
def test_a_parameter_is_honoured_exactly_if_the_daemons_read_it(field):
    row = p.find(p.SLURM_CONF, CLUSTER[field])
    assert row.honoured == is_read(field, "config"), f"{row.name}: fix the table, or read config.{field}"


@pytest.mark.parametrize("field", PARTITION)
def test_honoured_partition_keys_are_read(field):
    assert p.find(p.PARTITION_LINE, PARTITION[field]).honoured
    assert is_read(field, "partition", "part", "place", "chosen", "first", "p")


def test_every_honoured_key_is_known_here():
    handled = {"SchedulerParameters", "GresTypes", "Licenses", *CLUSTER.values()}
    assert {row.name for row in p.SLURM_CONF.values() if row.honoured} <= handled
    assert {row.name for row in p.PARTITION_LINE.values() if row.honoured} == {"PartitionName", *PARTITION.values()}
