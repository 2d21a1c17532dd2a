"""What the reader accepts, the planner plans with: numbers at the edges of what their types hold, alone and together."""

import tempfile
from pathlib import Path

import pytest
from engine_cluster import EngineCluster, Refused
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.cluster import engine_settings, partition_settings
from penstock.config.lines import ConfigError
from penstock.config.reader import read
from penstock.core.cycle import plan_now
from penstock.core.priority import TIER_LIMIT
from penstock.core.request import LARGEST
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec import parameters as p
from penstock.wire import messages as m

NUMERIC = (p.INT, p.COUNT, p.MIB, p.SECONDS, p.MINUTES, p.DURATION)
EDGES = ("0", "1", "2", "65535", "65536", "2147483647", "2147483648", "4294967295", "UNLIMITED", "4194304T")


NONE: dict[str, str] = {}


def numbers(table):
    names = [row.name for row in table.values() if row.honoured and row.type in NUMERIC]
    return st.dictionaries(st.sampled_from(names), st.sampled_from(EDGES), max_size=2)


words = st.dictionaries(st.sampled_from(list(p.SCHEDULER_NUMBERS)), st.sampled_from(EDGES), max_size=2)


def written(settings):
    return " ".join(f"{name}={value}" for name, value in settings.items())


TABLES = {"general": p.SLURM_CONF, "node": p.NODE_LINE, "partition": p.PARTITION_LINE}
ROWS = [(place, row.name) for place, table in TABLES.items() for row in table.values() if row.honoured and row.type in NUMERIC]
ROWS += [("words", name) for name in p.SCHEDULER_NUMBERS]


@pytest.mark.parametrize(("place", "name"), ROWS)
def test_a_number_that_is_accepted_can_be_planned_with(place, name):
    accepted = [value for value in EDGES if plan(**{place: {name: value}})]
    assert accepted, "no edge of the type is allowed"


@settings(max_examples=60, deadline=None)
@given(numbers(p.SLURM_CONF), numbers(p.NODE_LINE), numbers(p.PARTITION_LINE), words)
def test_numbers_that_are_accepted_together_can_be_planned_with(general, node, partition, words):
    plan(general, node, partition, words)


def plan(general=NONE, node=NONE, partition=NONE, words=NONE):
    """Read a configuration with these numbers, submit to it and plan; False where the reader refuses it."""
    parameters = ",".join(f"{name}={value}" for name, value in words.items())
    lines = (
        *("ClusterName=t", written(general), f"SchedulerParameters={parameters}" if words else "", f"NodeName=n0 {written(node)}"),
        f"PartitionName=main Default=YES Nodes=ALL {written(partition)}",
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "slurm.conf").write_text("\n".join(lines) + "\n")
        try:
            found = read(folder)
        except ConfigError:
            return False
    partitions = tuple(Partition(**partition_settings(part)) for part in found.partitions)
    cluster = EngineCluster(ClusterConfig(**engine_settings(found), partitions=partitions))
    declared = found.nodes[0]
    hello = m.Hello(m.PROTOCOL_VERSION, "n0", "n0", "boot", "test", declared.cpus, declared.memory_mib, 0, (), ())
    cluster.reactor.nodes.hello(hello, cluster.now_ms)
    for fields in ({}, {"ntasks": 2}, {"array": "0-1"}, {"time_limit_s": 60}):
        try:
            cluster.submit(**fields)
        except Refused as refusal:
            assert "malformed" not in refusal.detail
    reactor = cluster.reactor
    reactor.planned(plan_now(reactor.view(cluster.now_ms), reactor.budget), cluster.now_ms)
    cluster.tick()
    cluster.check_law()
    return True


def test_the_bounds_are_those_of_the_planner():
    assert p.BOUNDS["PriorityTier"][1] == TIER_LIMIT - 1
    assert p.MIB_MOST == LARGEST
