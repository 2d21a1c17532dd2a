"""What a partition's and the cluster's limits make of a submission."""

from __future__ import annotations

import pytest
from engine_cluster import ROOT, EngineCluster, Refused

from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec import errors as err

CAROL = Caller(1002, 1002, "carol", "users", ("users", "physics"))


def cluster_with(*partitions: Partition, **settings: int) -> EngineCluster:
    return EngineCluster(ClusterConfig(partitions=partitions or (Partition("main", default=True),), **settings), n0=8)


def refused(cluster: EngineCluster, **fields: object) -> int:
    with pytest.raises(Refused) as caught:
        cluster.submit(**fields)
    return caught.value.code


@pytest.mark.parametrize("state", ["DRAIN", "INACTIVE"])
def test_a_closed_partition_takes_no_job(state):
    cluster = cluster_with(Partition("main", default=True, state=state))
    assert refused(cluster) == err.ESLURM_PARTITION_NOT_AVAIL
    assert refused(cluster, caller=ROOT) == err.ESLURM_PARTITION_NOT_AVAIL


def test_a_partition_that_is_down_takes_jobs_and_starts_none():
    cluster = cluster_with(Partition("main", default=True, state="DOWN"))
    job = cluster.submit()
    cluster.plan()
    assert cluster.word(job) == "PENDING"


def test_a_partition_for_some_groups_is_for_their_members_and_root():
    cluster = cluster_with(Partition("lab", default=True, allow_groups=("physics",)))
    assert refused(cluster) == err.ESLURM_JOB_MISSING_REQUIRED_PARTITION_GROUP
    assert cluster.submit(CAROL)
    assert cluster.submit(ROOT)


def test_a_partition_for_some_accounts_takes_no_other():
    cluster = cluster_with(Partition("paid", default=True, allow_accounts=("physics",)))
    assert refused(cluster) == refused(cluster, account="biology") == err.ESLURM_INVALID_ACCOUNT
    assert cluster.submit(account="physics")


def test_of_several_partitions_those_that_take_the_job_are_kept():
    cluster = cluster_with(Partition("lab", allow_groups=("physics",)), Partition("main", default=True))
    assert cluster.job(cluster.submit(partition="lab,main")).spec.partitions == ("main",)
    assert cluster.job(cluster.submit(CAROL, partition="lab,main")).spec.partitions == ("lab", "main")


def test_more_than_max_mem_per_node_is_refused():
    cluster = cluster_with(max_mem_per_node_mib=2000)
    assert refused(cluster, mem_per_node_mib=2001) == err.ESLURM_INVALID_TASK_MEMORY
    assert cluster.submit(mem_per_node_mib=2000)


def test_more_than_max_mem_per_cpu_gives_more_cpus():
    cluster = cluster_with(max_mem_per_cpu_mib=1000)
    request = cluster.job(cluster.submit(mem_per_cpu_mib=1500)).spec.request
    assert (request.cpus_per_task, request.memory_per_cpu_mib) == (2, 750)
    request = cluster.job(cluster.submit(ntasks=2, nodes_min=1, nodes_max=1, mem_per_node_mib=3500)).spec.request
    assert (request.cpus_per_task, request.memory_per_node_mib) == (2, 3500)


def test_a_partitions_own_max_mem_per_cpu_goes_before_the_clusters():
    cluster = cluster_with(Partition("main", default=True, max_mem_per_cpu_mib=4000), max_mem_per_cpu_mib=1000)
    assert cluster.job(cluster.submit(mem_per_cpu_mib=1500)).spec.request.cpus_per_task == 1


def test_a_partitions_own_memory_a_node_goes_before_the_clusters():
    own = Partition("main", default=True, def_mem_per_node_mib=700, max_mem_per_node_mib=3000)
    cluster = cluster_with(own, def_mem_per_node_mib=500, max_mem_per_node_mib=1000)
    assert cluster.job(cluster.submit()).spec.request.memory_per_node_mib == 700
    assert cluster.submit(mem_per_node_mib=3000)
    assert refused(cluster, mem_per_node_mib=3001) == err.ESLURM_INVALID_TASK_MEMORY


def test_a_step_has_at_most_max_tasks_per_node():
    cluster = cluster_with(max_tasks_per_node=3)
    job = cluster.submit(ntasks=4)
    cluster.plan()
    with pytest.raises(Refused):
        cluster.ask("step_create", job_id=job, argv=["true"], ntasks=4)
    assert cluster.ask("step_create", job_id=job, argv=["true"], ntasks=3).startswith("created\t")


def test_whole_gives_a_step_all_cpus_though_it_counts_them():
    cluster = cluster_with()
    job = cluster.submit(ntasks=4)
    cluster.plan()
    for fields, cpus in (({}, 2), ({"whole": True}, 4)):
        answer = cluster.ask("step_create", job_id=job, argv=["true"], ntasks=1, cpus_per_task=2, overlap=True, **fields)
        assert answer.split("\t")[5] == str(cpus)


def test_a_batch_of_arrays_counts_every_element_against_max_job_count():
    cluster = cluster_with(max_job_count=10)
    with pytest.raises(Refused, match="MaxJobCount"):
        cluster.ask("submit_many", sections=[b"#!/bin/sh\n", b""], requests=[{"array": "0-5"}, {"array": "0-5"}])
    assert not cluster.reactor.state.jobs
