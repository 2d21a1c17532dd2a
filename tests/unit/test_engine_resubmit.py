"""scontrol update of what sizes follow from: GPUs, CPUs a task, least CPUs of a node; judged as at submission."""

import pytest
from engine_cluster import EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec import errors as err

TWO = {"nodes_min": 2, "nodes_max": 2}


@pytest.fixture
def cluster():
    cluster = EngineCluster(ClusterConfig(partitions=(Partition("main", default=True),), def_mem_per_cpu_mib=100))
    for name in ("n0", "n1", "n2"):
        cluster.node(name, 8, gpus=2)
    return cluster


def updated(cluster, key, **fields):
    """The request of a held job after an update of one key."""
    job_id = cluster.submit(hold=True, **fields)
    cluster.ask("update_job", jobs=[str(job_id)], keys=[key])
    return cluster.job(job_id).spec


@pytest.mark.parametrize(
    ("key", "fields", "change"),
    [
        ("TresPerNode=gres:gpu:2", {"gpus_per_node": ("gpu:1",)}, {"gres_per_node": (("gpu", 2),)}),
        ("Gres=gpu:a100:1", {}, {"gres_per_node": (("gpu:a100", 1),)}),
        ("Gres=", {"gres": ("gpu:2",)}, {"gres_per_node": ()}),
        ("TresPerJob=gres:gpu:5", {"gpus": ("gpu:1",)}, {"gres_total": (("gpu", 5),), "nodes_min": 1, "nodes_max": 0}),
        ("TresPerJob=gres:gpu:6", {"gpus": ("gpu:4",), "gpus_per_node": ("gpu:2",)}, {"nodes_min": 3, "nodes_max": 3}),
        ("TresPerNode=gpu:2", {"gres": ("gpu:1",), "cpus_per_gpu": 3}, {"cpus_per_node": 6, "cpus_per_task": 1}),
        ("TresPerNode=gpu:1", {"gres": ("gpu:2",), "cpus_per_gpu": 3}, {"cpus_per_node": 3}),
        ("TresPerNode=gpu:1", {"gres": ("gpu:2",), "mincpus": 7, "cpus_per_gpu": 3}, {"cpus_per_node": 7}),
        ("CPUsPerTask=4", {"ntasks": 2}, {"cpus_per_task": 4, "ntasks": 2}),
        ("MinCPUsNode=4", {"ntasks": 2}, {"cpus_per_node": 4}),
        ("NumCPUs=8", TWO, {"cpus_per_node": 4}),
        ("NumCPUs=3", {}, {"cpus_per_node": 3}),
        ("OverSubscribe=no", {"exclusive": True}, {"exclusive": True}),
        ("Shared=no", {}, {"exclusive": False}),
    ],
)
def test_one_thing_changes_and_what_follows_from_it(cluster, key, fields, change):
    request = updated(cluster, key, **fields).request
    assert {name: getattr(request, name) for name in change} == change


def test_what_does_not_follow_stays(cluster):
    fields = {"nodelist": "n[0-1]", "ntasks": 4, "mem_per_cpu_mib": 50, "contiguous": True, "licenses": ""}
    before = cluster.job(cluster.submit(hold=True, **fields)).spec
    after = updated(cluster, "MinCPUsNode=2", **fields)
    assert after.request.cpus_per_node == 2
    assert after.request.required_nodes == before.request.required_nodes == ("n0", "n1")
    same = ("nodes_min", "nodes_max", "ntasks", "memory_per_cpu_mib", "contiguous")
    assert [getattr(after.request, name) for name in same] == [getattr(before.request, name) for name in same]


@pytest.mark.parametrize(
    ("key", "fields", "words"),
    [
        ("TresPerNode=gres:gpu:2", {"gpus": ("gpu:1",)}, "--gpus is not multiple of"),
        ("TresPerNode=gpu:3", {}, "gpu 3 asked, 2 is the most there can be"),
        ("TresPerJob=shard:2", {}, "gpus are allowed, such as gres:gpu:2"),
        ("Gres=gpu:x:y:z", {}, "Gres"),
        ("NumCPUs=4", {"ntasks": 2}, "MinCPUsNode or CPUsPerTask is allowed"),
        ("CPUsPerTask=9", {}, "cpus 9 asked, 8 is the most there can be"),
        ("OverSubscribe=yes", {}, "no two jobs share a CPU here; no is allowed"),
        ("OverSubscribe=maybe", {}, "yes, 1, no, 0 are allowed"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(cluster, key, fields, words):
    job_id = cluster.submit(hold=True, **fields)
    before = cluster.job(job_id).spec
    with pytest.raises(Refused) as refusal:
        cluster.ask("update_job", jobs=[str(job_id)], keys=[key])
    assert words in refusal.value.detail
    assert cluster.job(job_id).spec == before


def test_a_changed_job_starts_with_what_it_asks_for_now(cluster):
    job_id = cluster.submit(gpus=("gpu:1",), hold=True)
    cluster.ask("update_job", jobs=[str(job_id)], keys=["TresPerJob=gres:gpu:3"])
    cluster.ask("release", jobs=[str(job_id)])
    cluster.plan()
    assert [len(alloc.gpus) for alloc in cluster.job(job_id).allocs] == [2, 1]
    cluster.check_law()


def test_a_running_job_keeps_its_sizes(cluster):
    job_id = cluster.submit(gpus=("gpu:1",))
    cluster.plan()
    with pytest.raises(Refused) as refusal:
        cluster.ask("update_job", jobs=[str(job_id)], keys=["TresPerJob=gres:gpu:2"])
    assert refusal.value.code == err.ESLURM_JOB_NOT_PENDING
