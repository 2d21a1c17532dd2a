"""What a job of a given size gets on four idle nodes of 8 CPUs and 2 GPUs: the outcomes of a real Slurm 22.05 on the same cluster."""

import pytest
from engine_cluster import EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.environment import job_variables
from penstock.spec import errors as err

TWO = {"nodes_min": 2, "nodes_max": 2}
PAIR = {"nodelist": "n[0-1]"}


def four_nodes():
    partitions = (Partition("main", default=True), Partition("narrow", max_nodes=1))
    cluster = EngineCluster(ClusterConfig(partitions=partitions, def_mem_per_cpu_mib=100))
    for name in ("n0", "n1", "n2", "n3"):
        cluster.node(name, 8, gpus=2)
    return cluster


def given(**fields):
    """CPUs of the nodes, SLURM_TASKS_PER_NODE, GPUs of the nodes, SLURM_NTASKS."""
    cluster = four_nodes()
    job_id = cluster.submit(**fields)
    cluster.plan()
    job = cluster.job(job_id)
    variables = job_variables(cluster.reactor.state, job, "/cluster")
    gpus = ",".join(str(len(alloc.gpus)) for alloc in job.allocs)
    return variables.get("SLURM_JOB_CPUS_PER_NODE"), variables["SLURM_TASKS_PER_NODE"], gpus, variables.get("SLURM_NTASKS", "")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, ("1", "1", "0", "")),
        (PAIR, ("1(x2)", "1(x2)", "0,0", "")),
        (PAIR | {"ntasks": 5}, ("4,1", "4,1", "0,0", "5")),
        (PAIR | {"ntasks_per_node": 2}, ("2(x2)", "2(x2)", "0,0", "4")),
        (PAIR | {"gpus": ("gpu:5",)}, ("1(x3)", "1(x3)", "2,2,1", "")),
        ({"gpus": ("gpu:2",)}, ("1", "1", "2", "")),
        ({"gpus": ("gpu:5",)}, ("1(x3)", "1(x3)", "2,2,1", "")),
        ({"gpus": ("gpu:3",), "ntasks": 8}, ("7,1", "7,1", "2,1", "8")),
        ({"gpus": ("gpu:3",), "nodes_min": 1, "nodes_max": 3}, ("1(x2)", "1(x2)", "2,1", "")),
        ({"gpus": ("gpu:3",), "cpus_per_task": 2}, ("2(x2)", "1(x2)", "2,1", "")),
        ({"gpus": ("gpu:5",), "cpus_per_gpu": 3}, ("6(x2),3", "6(x2),3", "2,2,1", "")),
        ({"gpus": ("gpu:2",), "mem_per_gpu_mib": 5000}, ("1(x2)", "1(x2)", "1,1", "")),
        ({"gpus": ("gpu:4",), "gpus_per_node": ("gpu:2",)}, ("1(x2)", "1(x2)", "2,2", "")),
        ({"gpus": ("gpu:4",), "gpus_per_node": ("gpu:2",), "ntasks": 1}, ("1(x2)", "1,0", "2,2", "1")),
        ({"gpus": ("gpu:2",), "gres": ("gpu:1",), "ntasks": 3}, ("2,1", "2,1", "1,1", "3")),
        ({"gpus_per_task": ("gpu:1",), "gpus_per_node": ("gpu:2",), "ntasks": 4}, ("2(x2)", "2(x2)", "2,2", "4")),
        ({"ntasks_per_gpu": 2} | TWO, ("2(x2)", "2(x2)", "1,1", "4")),
        ({"ntasks_per_gpu": 2, "gpus": ("gpu:4",)} | TWO, ("4(x2)", "4(x2)", "2,2", "8")),
        ({"cpus_per_gpu": 2, "gpus_per_node": ("gpu:2",), "ntasks_per_node": 3} | TWO, ("4(x2)", "3(x2)", "2,2", "6")),
        ({"exclusive": True}, ("8", "8", "2", "")),
        ({"exclusive": True, "cpus_per_task": 3} | TWO, ("8(x2)", "2(x2)", "2,2", "")),
        ({"exclusive": True, "ntasks": 9}, ("8(x2)", "5,4", "2,2", "9")),
        ({"exclusive": True, "ntasks": 20}, ("8(x3)", "7(x2),6", "2,2,2", "20")),
        ({"mincpus": 4}, ("4", "4", "0", "")),
        ({"mincpus": 4, "ntasks": 2}, ("4", "2", "0", "2")),
    ],
)
def test_a_job_gets_what_slurm_would_give(fields, outcome):
    assert given(**fields) == outcome


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gpus": ("gpu:5",), "gpus_per_node": ("gpu:2",)}, "--gpus is not multiple of"),
        ({"gpus": ("gpu:3",), "nodes_min": 4}, "--gpus < -N"),
        ({"gpus": ("gpu:4",), "gpus_per_task": ("gpu:1",), "ntasks": 2}, "differ from -n/--ntasks"),
        (
            {"gpus": ("gpu:2",), "ntasks_per_gpu": 2, "ntasks": 5},
            "-n/--ntasks=5 is more than --ntasks-per-gpu=2 allows on 2 GPUs, which is 4",
        ),
        ({"gres": ("gpu:1",), "gpus_per_node": ("gpu:1",)}, "both say how many GPUs a node has"),
    ],
)
def test_sizes_that_exclude_each_other_are_refused(fields, words):
    with pytest.raises(Refused) as refusal:
        four_nodes().submit(**fields)
    assert refusal.value.code == err.ESLURM_INVALID_GRES
    assert words in refusal.value.detail


def test_the_most_that_a_refusal_names_can_be_had():
    with pytest.raises(Refused) as refusal:
        four_nodes().submit(gpus=("gpu:9",))
    assert "gpu 9 asked, 8 is the most" in refusal.value.detail
    assert given(gpus=("gpu:8",))[2] == "2,2,2,2"


@pytest.mark.parametrize("fields", [TWO, PAIR, {"nodes_min": 100}])
def test_a_job_beyond_the_partitions_nodes_waits_for_another_limit(fields):
    cluster = four_nodes()
    job_id = cluster.submit(partition="narrow", **fields)
    cluster.plan()
    assert cluster.reason(job_id) == "PartitionNodeLimit"


@pytest.mark.parametrize("fields", [{"ntasks": 9}, {"gpus": ("gpu:3",)}])
def test_what_the_nodes_that_a_partition_allows_cannot_hold_is_refused(fields):
    with pytest.raises(Refused) as refusal:
        four_nodes().submit(partition="narrow", **fields)
    assert refusal.value.code == err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE
