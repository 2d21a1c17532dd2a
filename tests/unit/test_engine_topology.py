"""Topology through the engine: from the configuration event to placements, waits for few switches, segments, addresses."""

import json
from types import SimpleNamespace

import pytest
from engine_cluster import ALICE, EngineCluster, Refused

from penstock.controller.reading import Reading
from penstock.engine.cluster_config import ClusterConfig, Partition, Topology, TopologyDomain
from penstock.engine.effects import assign
from penstock.engine.indexes import Indexes

TREE = Topology(
    "ib",
    "tree",
    True,
    (
        TopologyDomain("s0", ("n0", "n1")),
        TopologyDomain("s1", ("n2", "n3", "n4")),
        TopologyDomain("top", (), ("s0", "s1")),
    ),
)
BLOCKS = Topology("nvl", "block", False, (TopologyDomain("b0", ("n0", "n1")), TopologyDomain("b1", ("n2", "n3"))), (2, 4))
CONFIG = ClusterConfig(
    topologies=(TREE, BLOCKS, Topology("none", "flat")),
    partitions=(Partition("main", default=True), Partition("blocks", topology="nvl"), Partition("flat", topology="none")),
)


@pytest.fixture
def cluster():
    return EngineCluster(CONFIG, n0=4, n1=4, n2=4, n3=4, n4=4)


def nodes(cluster, job):
    return [alloc.node for alloc in cluster.job(job).allocs]


def test_a_gang_starts_below_one_switch(cluster):
    first = cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n0")
    second = cluster.submit(nodes_min=2, nodes_max=2, cpus_per_task=4)
    cluster.plan()
    assert (nodes(cluster, first), nodes(cluster, second)) == (["n0"], ["n2", "n3"])


def test_each_partition_has_its_own_topology(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n0")
    jobs = [cluster.submit(partition=name, nodes_min=3, nodes_max=3, segment=1) for name in ("blocks", "flat")]
    cluster.plan()
    assert [len(nodes(cluster, job)) for job in jobs] == [3, 3]
    with pytest.raises(Refused, match="2178"):
        cluster.submit(partition="blocks", nodes_min=5, nodes_max=5)
    assert cluster.word(cluster.submit(partition="flat", nodes_min=5, nodes_max=5)) == "PENDING"


def test_a_job_waits_for_few_switches_and_then_takes_any(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n0")
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, switches=1, switch_wait_s=60)
    cluster.plan()
    cluster.tick(59)
    cluster.plan()
    assert cluster.word(job) == "PENDING"
    cluster.tick(1)
    cluster.plan()
    assert nodes(cluster, job) == ["n1", "n3", "n4"]
    cluster.check_law()


def test_the_wait_is_bounded_by_max_switch_wait(cluster):
    assert cluster.job(cluster.submit(nodes_min=2, nodes_max=2, switches=1, switch_wait_s=10_000)).spec.switch_wait_s == 300
    assert cluster.job(cluster.submit(nodes_min=2, nodes_max=2, switches=1)).spec.switch_wait_s == 300
    assert cluster.job(cluster.submit(nodes_min=2, nodes_max=2)).spec.switch_wait_s == 0


def test_nobody_waits_for_so_few_switches_as_there_never_are(cluster):
    job = cluster.submit(nodes_min=4, nodes_max=4, switches=1, switch_wait_s=60)
    cluster.plan()
    assert len(nodes(cluster, job)) == 4
    assert cluster.ask("test_only", nodes_min=4, nodes_max=4, switches=1, sections=[b"", b""])


def test_an_array_under_a_limit_waits_for_few_switches_too(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n0")
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    array = cluster.submit(array="0-3%1", nodes_min=3, nodes_max=3, cpus_per_task=4, switches=1, switch_wait_s=5)
    cluster.tick(5)
    cluster.plan()
    assert cluster.running(array) == [0]
    rebuilt = Indexes(cluster.reactor.state, cluster.reactor.indexes.clock_ms, cluster.history)
    assert rebuilt.summary() == cluster.reactor.indexes.summary()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"nodes_min": 3, "nodes_max": 3, "segment": 2}, "3 nodes are no multiple of the segment size 2"),
        ({"nodes_min": 4, "nodes_max": 4, "segment": 4}, "the segment size 4 is larger than a base block, which has 2 nodes"),
        ({"nodes_min": 5, "nodes_max": 5}, "no block4 has 5 nodes; the best, b[0-1], has 4"),
    ],
)
def test_a_layout_that_blocks_never_have_is_refused(cluster, fields, words):
    with pytest.raises(Refused) as refused:
        cluster.submit(partition="blocks", **fields)
    assert refused.value.code == 2178
    assert words in refused.value.detail


# --topology


def test_a_required_level_waits_as_long_as_it_takes(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, topology="leaf")
    cluster.tick(10_000)
    cluster.plan()
    assert cluster.word(job) == "PENDING"
    cluster.check_law()


def test_a_preferred_level_is_waited_for_and_then_any_will_do(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, topology="prefer:leaf@1:00")
    at_once = cluster.submit(nodes_min=1, nodes_max=1, cpus_per_task=4, topology="prefer:leaf@0")
    cluster.plan()
    assert (cluster.word(job), nodes(cluster, at_once)) == ("PENDING", ["n0"])
    cluster.tick(59)
    cluster.plan()
    assert cluster.word(job) == "PENDING"
    cluster.tick(1)
    cluster.plan()
    assert nodes(cluster, job) == ["n1", "n3", "n4"]
    cluster.check_law()
    rebuilt = Indexes(cluster.reactor.state, cluster.reactor.indexes.clock_ms, cluster.history)
    assert rebuilt.summary() == cluster.reactor.indexes.summary()


def test_two_waits_end_one_after_the_other(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, topology="prefer:leaf@2:00", switches=1, switch_wait_s=60)
    cluster.tick(60)
    assert cluster.reactor.indexes.columns.pending_record(job).request.switches == 0
    assert cluster.reactor.indexes.columns.pending_record(job).request.level == "leaf"
    cluster.tick(60)
    assert cluster.reactor.indexes.columns.pending_record(job).request.level == ""


def test_the_wait_for_a_preferred_level_is_that_of_few_switches_unless_said(cluster):
    waits = {"prefer:leaf": 300, "prefer:leaf@10:00:00": 36_000, "leaf": -1, "": -1}
    for text, wait_s in waits.items():
        assert cluster.job(cluster.submit(nodes_min=2, nodes_max=2, topology=text)).spec.request.level_wait_s == wait_s


def test_nobody_waits_for_a_preferred_level_that_never_has_room(cluster):
    job = cluster.submit(nodes_min=4, nodes_max=4, topology="prefer:leaf@60:00")
    cluster.plan()
    assert (len(nodes(cluster, job)), cluster.job(job).spec.request.level_wait_s) == (4, 0)


def test_a_waiting_job_gets_another_level(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2")
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, topology="leaf")
    cluster.plan()
    assert cluster.word(job) == "PENDING"
    with pytest.raises(Refused, match="no topology level is called rack"):
        cluster.ask("update_job", jobs=[str(job)], keys=["Topology=rack"])
    with pytest.raises(Refused, match="no leaf has 4 nodes; the best, s1, has 3"):
        cluster.ask("update_job", jobs=[str(job)], keys=["NumNodes=4"])
    for keys, wait_s in ((["Topology=level1", "Switches=2@0:30"], 30), (["Wait-for-Switch=20"], 20), (["Wait-for-Switch=1000"], 300)):
        cluster.ask("update_job", jobs=[str(job)], keys=keys)
        assert (cluster.job(job).spec.request.switches, cluster.job(job).spec.switch_wait_s) == (2, wait_s)
    cluster.plan()
    assert nodes(cluster, job) == ["n0", "n1", "n3"]


@pytest.mark.parametrize(
    ("partition", "text", "words"),
    [
        ("main", "rack", "no topology level is called rack: the levels of partition main are leaf, level1"),
        ("main,blocks", "rack", "the levels of partition main,blocks are leaf, level1, block, block4"),
        ("flat", "leaf", "no topology level is called leaf: partition flat has no topology"),
        ("main", "prefer:", "invalid --topology 'prefer:': expected LEVEL or prefer:LEVEL[@TIME]"),
        ("main", "leaf@3", "invalid --topology 'leaf@3'"),
        ("main", "leaf", "no leaf has 4 nodes; the best, s1, has 3"),
    ],
)
def test_a_level_that_is_not_there_or_never_has_room_is_refused(cluster, partition, text, words):
    with pytest.raises(Refused) as refused:
        cluster.submit(partition=partition, nodes_min=4, nodes_max=4, topology=text)
    assert refused.value.code == 2178
    assert words in refused.value.detail


def test_why_names_the_level_the_best_domain_and_what_would_help(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n2", time_limit_s=3600)
    cluster.plan()
    job = cluster.submit(nodes_min=3, nodes_max=3, cpus_per_task=4, topology="leaf", time_limit_s=600)
    cluster.plan()
    reading = Reading(cluster.reactor, cluster.store)
    pieces = reading.open(SimpleNamespace(caller=ALICE, number=1), {"op": "why", "job": str(job)}, cluster.now_ms)
    document = json.loads(b"".join(pieces))
    assert document["blockers"][0]["sentence"] == "no leaf has 3 nodes with enough memory free; the best, s0, has 2"
    assert [(change["option"], change["value"], change["now"]) for change in document["sooner"] if change["option"] == "--topology"] == [
        ("--topology", "level1", True)
    ]


def test_segments_stay_whole(cluster):
    cluster.submit(ntasks=1, cpus_per_task=4, nodelist="n0")
    cluster.plan()
    job = cluster.submit(partition="blocks", nodes_min=2, nodes_max=2, cpus_per_task=4, segment=2)
    late = cluster.submit(partition="blocks", nodes_min=2, nodes_max=2, cpus_per_task=4, segment=2)
    cluster.plan()
    assert (nodes(cluster, job), cluster.word(late)) == (["n2", "n3"], "PENDING")


def test_a_node_that_registers_later_is_where_the_configuration_says(cluster):
    config = ClusterConfig(topologies=(Topology("ib", "tree", True, (TopologyDomain("s0", ("n1", "n9")), TopologyDomain("s1", ("n0",)))),))
    late = EngineCluster(config, n0=4, n1=4)
    with pytest.raises(Refused, match="2178"):
        late.submit(nodes_min=2, nodes_max=2)
    late.node("n9")
    job = late.submit(nodes_min=2, nodes_max=2)
    late.plan()
    assert nodes(late, job) == ["n1", "n9"]


def test_jobs_know_their_address(cluster):
    job = cluster.submit(nodes_min=2, nodes_max=2, cpus_per_task=4, segment=1)
    cluster.plan()
    record = cluster.job(job)
    variables = assign(cluster.reactor.state, record, 1, b"", b"", "/cluster", cluster.now_ms).variables
    assert (variables["SLURM_TOPOLOGY_ADDR"], variables["SLURM_TOPOLOGY_ADDR_PATTERN"]) == ("top.s0.n1", "switch.switch.node")
    assert variables["SLURM_JOB_SEGMENT_SIZE"] == "1"
    flat = cluster.submit(partition="flat", ntasks=1, nodelist="n4")
    cluster.plan()
    variables = assign(cluster.reactor.state, cluster.job(flat), 0, b"", b"", "/cluster", cluster.now_ms).variables
    assert (variables["SLURM_TOPOLOGY_ADDR"], variables["SLURM_TOPOLOGY_ADDR_PATTERN"]) == ("n4", "node")
