"""What is refused at submit time, with which of Slurm's errors; and what is filled in."""

from __future__ import annotations

import pytest
from engine_cluster import BEGIN_MS, ROOT, SCRIPT, EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.environment import job_variables
from penstock.spec import errors as err
from penstock.spec import times


def a_cluster(**parameters):
    config = ClusterConfig(
        partitions=(Partition("main", default=True, max_time_s=3600, default_time_s=600), Partition("gpu", nodes=("n1",))), **parameters
    )
    cluster = EngineCluster(config, n0=4)
    cluster.node("n1", 8, gpus=2)
    return cluster


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"partition": "nowhere"}, err.ESLURM_INVALID_PARTITION_NAME),
        ({"ntasks": 100}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        ({"cpus_per_task": 9}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        ({"nodes_min": 3}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        ({"mem_per_node_mib": 1_000_000}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        ({"gres": ("gpu:3",)}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        ({"gres": ("gpu",)}, err.ESLURM_INVALID_GRES),
        ({"nodelist": "n9"}, err.ESLURM_INVALID_NODE_NAME),
        ({"nodelist": "n[0-"}, err.ESLURM_INVALID_NODE_NAME),
        ({"partition": "gpu", "nodelist": "n0"}, err.ESLURM_REQUESTED_NODES_NOT_IN_PARTITION),
        ({"constraint": "moon"}, err.ESLURM_INVALID_FEATURE),
        ({"reservation": "mine"}, err.ESLURM_RESERVATION_INVALID),
        ({"nice": -5}, err.ESLURM_INVALID_NICE),
        ({"dependency": "afterok:4711"}, err.ESLURM_DEPENDENCY),
        ({"dependency": "sometimes:1"}, err.ESLURM_DEPENDENCY),
        ({"ntasks": 0}, err.ESLURM_NOT_SUPPORTED),
        ({"mem_per_cpu_mib": -1}, err.ESLURM_INVALID_TASK_MEMORY),
        ({"unheard_of": 1}, err.ESLURM_NOT_SUPPORTED),
        ({"name": "a\0b"}, err.ESLURM_NOT_SUPPORTED),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_queued(fields, code):
    cluster = a_cluster()
    with pytest.raises(Refused) as refusal:
        cluster.submit(**fields)
    assert refusal.value.code == code, refusal.value
    assert cluster.reactor.state.jobs == {}
    assert cluster.submit() == 1, "no id is spent on a refusal"


def test_a_job_without_a_script_is_refused():
    cluster = a_cluster()
    with pytest.raises(Refused) as refusal:
        cluster.ask("submit", sections=[b"", b""])
    assert refusal.value.code == err.ESLURM_JOB_SCRIPT_MISSING


@pytest.mark.parametrize("fields", [{"array": "0-5"}, {}])
def test_more_jobs_than_allowed_are_refused(fields):
    cluster = a_cluster(max_job_count=5)
    for _ in range(0 if fields else 5):
        cluster.submit(hold=True)
    with pytest.raises(Refused) as refusal:
        cluster.submit(**fields)
    assert refusal.value.code == err.ESLURM_MAX_JOB_COUNT


def test_a_full_disk_refuses_submissions_in_words():
    cluster = a_cluster()
    cluster.reactor.refusing = "the disk of /cluster is full"
    with pytest.raises(Refused) as refusal:
        cluster.submit()
    assert refusal.value.code == err.ESLURM_SUBMISSIONS_DISABLED
    assert refusal.value.detail == "the disk of /cluster is full"


def test_defaults_are_the_partitions_and_the_nodes():
    cluster = a_cluster()
    spec = cluster.job(cluster.submit()).spec
    assert spec.partitions == ("main",)
    assert spec.time_limit_s == 600
    assert (spec.request.ntasks, spec.request.cpus_per_task) == (1, 1)
    assert spec.request.memory_per_cpu_mib == 1000, "the node's memory divided by its CPUs"
    assert spec.name == "sbatch"


def test_earlier_jobs_go_first_and_nice_ones_later():
    cluster = a_cluster()
    first, second, nice = cluster.submit(), cluster.submit(), cluster.submit(nice=100)
    assert cluster.job(first).priority > cluster.job(second).priority > cluster.job(nice).priority > 0
    assert cluster.job(cluster.submit(ROOT, nice=-100)).priority > cluster.job(first).priority


def test_a_held_job_has_no_priority_and_a_begin_time_waits():
    cluster = a_cluster()
    held, later = cluster.submit(hold=True), cluster.submit(begin_s=BEGIN_MS // 1000 + 60)
    cluster.plan()
    assert (cluster.job(held).priority, cluster.reason(held)) == (0, "JobHeldUser")
    assert cluster.reason(later) == "BeginTime"
    cluster.tick(60)
    cluster.plan()
    assert (cluster.word(held), cluster.word(later)) == ("PENDING", "RUNNING")


def test_script_and_environment_are_stored_once_however_many_jobs_have_them():
    cluster = a_cluster()
    for _ in range(3):
        cluster.submit()
    assert sorted(cluster.store.disk.blobs.values()) == sorted([SCRIPT, b"A=1"])


def test_all_of_a_batch_is_queued_or_nothing():
    cluster = a_cluster()
    with pytest.raises(Refused):
        cluster.ask("submit_many", requests=[{}, {"partition": "nowhere"}], sections=[SCRIPT, b""])
    assert cluster.reactor.state.jobs == {}
    assert cluster.ask("submit_many", requests=[{}, {"array": "0-3"}, {}], sections=[SCRIPT, b""]) == "1,2,3"


def test_test_only_says_when_and_where_and_queues_nothing():
    cluster = a_cluster()
    text = cluster.ask("test_only", ntasks=2)
    assert text.startswith("Job 1 to start at ")
    assert text.endswith(" a using 2 processors on nodes n0 in partition main")
    assert cluster.reactor.state.jobs == {}


def test_test_only_is_behind_the_promised_starts_of_those_ahead():
    cluster = EngineCluster(ClusterConfig(partitions=(Partition("main", default=True, default_time_s=600),)), n0=4)
    cluster.submit(exclusive=True, time_limit_s=600)
    cluster.submit(exclusive=True, time_limit_s=1200)
    cluster.plan()
    cluster.plan()
    begins = [cluster.now_ms // 1000 + seconds for seconds in (600, 1800)]
    assert times.format_time(begins[1]) in cluster.ask("test_only", exclusive=True)
    assert times.format_time(begins[0]) in cluster.ask("test_only", exclusive=True, nice=-100, caller=ROOT)


@pytest.mark.parametrize(
    ("keys", "where", "tasks"),
    [
        ({"gpus": ("gpu:2",)}, ["n0"], "1"),
        ({"gpus": ("gpu:3",)}, ["n0", "n1"], "1(x2)"),
        ({"gpus": ("gpu:6",), "cpus_per_task": 2}, ["n0", "n1", "n2"], "1(x3)"),
        ({"gpus": ("gpu:4",), "cpus_per_gpu": 2}, ["n0", "n1"], "4(x2)"),
        ({"gpus": ("gpu:4",), "ntasks_per_node": 3}, ["n0", "n1"], "3(x2)"),
        ({"gpus": ("gpu:4",), "exclusive": True}, ["n0", "n1"], "8(x2)"),
    ],
)
def test_gpus_of_a_job_lie_on_as_many_nodes_as_they_need(keys, where, tasks):
    """As Slurm 22.05 places them, and what it tells of tasks that nobody counted: as many as a node's CPUs are for."""
    cluster = EngineCluster()
    for name in ("n0", "n1", "n2"):
        cluster.node(name, 8, gpus=2)
    job = cluster.submit(**keys)
    cluster.plan()
    record = cluster.job(job)
    assert [alloc.node for alloc in record.allocs] == where
    assert job_variables(cluster.reactor.state, record, "/c")["SLURM_TASKS_PER_NODE"] == tasks
    with pytest.raises(Refused, match="gpu 7 asked, 6 is the most there can be"):
        cluster.submit(gpus=("gpu:7",))
    with pytest.raises(Refused, match="gpu 3 asked, 2 is the most there can be"):
        cluster.submit(gpus=("gpu:3",), ntasks=1)
    cluster.check_law()
