"""Parts of GPUs from --gres=shard to the device: who holds what, what is refused, what a job is told."""

from __future__ import annotations

import pytest
from engine_cluster import EngineCluster, Refused

from penstock.agent.inventory import simulated_gpus
from penstock.controller.views import job_facts, node_facts, show
from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.indexes import Indexes
from penstock.engine.planner_records import share_of
from penstock.spec import errors as err
from penstock.wire import messages as m


@pytest.fixture
def cluster():
    cluster = EngineCluster()
    cluster.node("n0", cpus=8, gpus=2, shards=4)
    return cluster


def shard(cluster, count, **fields):
    job = cluster.submit(gres=(f"shard:{count}",), **fields)
    cluster.plan()
    return job


def alloc(cluster, job):
    return cluster.job(job).allocs[0]


def assigned(cluster, job):
    return next(message for _, message in cluster.sent if isinstance(message, m.Assign) and message.job_id == job)


def test_two_jobs_hold_parts_of_one_gpu_and_a_third_of_the_other(cluster):
    jobs = [shard(cluster, 2) for _ in range(3)]
    assert [alloc(cluster, job).gpus for job in jobs] == [("GPU-n0-0",), ("GPU-n0-0",), ("GPU-n0-1",)]
    assert [alloc(cluster, job).shards for job in jobs] == [2, 2, 2]


def test_a_whole_gpu_is_one_that_nobody_shares(cluster):
    part = shard(cluster, 1)
    whole = cluster.submit(gres=("gpu:1",))
    late = cluster.submit(gres=("gpu:a100:1",))
    cluster.plan()
    assert alloc(cluster, whole).gpus == ("GPU-n0-1",) and alloc(cluster, whole).shards == 0
    assert cluster.word(late) == "PENDING"
    cluster.end(part)
    cluster.plan()
    assert alloc(cluster, late).gpus == ("GPU-n0-0",)


def test_no_part_of_a_gpu_that_is_held_whole(cluster):
    cluster.submit(gres=("gpu:2",))
    waiting = shard(cluster, 1)
    assert cluster.word(waiting) == "PENDING"


def test_a_job_is_told_its_device_and_how_many_shards_of_it(cluster):
    shard(cluster, 4)
    variables = assigned(cluster, shard(cluster, 3)).variables
    assert (variables["SLURM_JOB_GPUS"], variables["SLURM_SHARDS_ON_NODE"]) == ("1", "3")
    assert "SLURM_SHARDS_ON_NODE" not in assigned(cluster, finished_whole(cluster)).variables


def finished_whole(cluster):
    cluster.node("n1", gpus=1, shards=4)
    job = cluster.submit(gres=("gpu:1",))
    cluster.plan()
    return job


def test_an_exclusive_job_that_asks_for_shards_holds_its_gpus_whole(cluster):
    job = shard(cluster, 1, exclusive=True)
    assert (alloc(cluster, job).gpus, alloc(cluster, job).shards) == (("GPU-n0-0", "GPU-n0-1"), 0)


@pytest.mark.parametrize(
    ("gres", "code"),
    [
        (("shard:5",), err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
        (("shard:1", "gpu:1"), err.ESLURM_INVALID_GRES),
    ],
)
def test_what_no_gpu_can_give_is_refused(cluster, gres, code):
    with pytest.raises(Refused) as refused:
        cluster.submit(gres=gres)
    assert refused.value.code == code


def test_shards_where_no_gpu_is_shared_are_an_unknown_resource():
    cluster = EngineCluster()
    cluster.node("n0", gpus=2)
    with pytest.raises(Refused) as refused:
        cluster.submit(gres=("shard:1",))
    assert refused.value.code == err.ESLURM_INVALID_GRES


def test_steps_of_a_job_share_its_device(cluster):
    job = shard(cluster, 2, ntasks=2)
    for number in range(2):
        cluster.open("step_create", job_id=job, argv=("true",), ntasks=1, exact=True, gres=("shard:1",))
        step = cluster.reactor.state.steps[job, number]
        assert (step.allocs[0].gpus, step.allocs[0].shards) == (("GPU-n0-0",), 2)


def test_the_law_holds_when_gpus_take_other_places(cluster):
    shard(cluster, 2)
    second = shard(cluster, 3)
    state, indexes = cluster.reactor.state, cluster.reactor.indexes
    gpus = (m.GpuInfo("GPU-n0-1", "a100", 0, shards=4), m.GpuInfo("GPU-n0-0", "a100", 1, shards=4))
    hello = m.Hello(m.PROTOCOL_VERSION, "n0", "n0", "boot1", "test", 8, 8000, 0, gpus, runs_of(cluster))
    cluster.reactor.nodes.hello(hello, cluster.now_ms)
    cluster.reactor.flush()
    assert indexes.summary() == Indexes(state, indexes.clock_ms).summary()
    assert share_of(state.nodes, alloc(cluster, second)).gres == (("gpu:a100#00", 3),)


def runs_of(cluster):
    return tuple(m.RunReport(job.id, job.attempt) for job in cluster.reactor.state.jobs.values() if job.nodes_left)


def test_views_count_shards_and_name_the_devices(cluster):
    shard(cluster, 3)
    job = shard(cluster, 2)
    state = cluster.reactor.state
    held = node_facts.Occupancy()
    for other in state.jobs.values():
        node_facts._add({"n0": held}, other)
    assert node_facts.gres_text(state.nodes["n0"]) == "gpu:a100:2,shard:8"
    assert node_facts.gres_used_text(state.nodes["n0"], held) == "gpu:a100:0(IDX:N/A),shard:5(3/4,2/4)"
    assert node_facts.used_tres(held)["gres/shard"] == 5
    assert job_facts.allocated_tres(cluster.job(job).allocs)["gres/shard"] == 2
    assert job_facts.requested_tres(cluster.job(job).spec.request)["gres/shard"] == 2
    assert show.gres_of(state, "n0", alloc(cluster, job).gpus, 2) == "shard:2(0/4,2/4)"


def test_simulated_gpus_are_of_several_types_and_shared_evenly():
    found = simulated_gpus("n", "A100:2,h100:1,shard:12")
    assert [(gpu.type, gpu.index, gpu.shards, gpu.simulated) for gpu in found] == [
        ("a100", 0, 4, True),
        ("a100", 1, 4, True),
        ("h100", 2, 4, True),
    ]
    for text in ("2,shard:3", "shard:4", "2,shard:x", "a100:x", "101,shard:101"):
        with pytest.raises(ValueError, match="--gpus"):
            simulated_gpus("n", text)


def test_the_weights_of_the_configuration_reach_the_planner():
    cluster = EngineCluster(ClusterConfig(scores=(("whole_nodes", 100),)))
    cluster.node("n0", gpus=2)
    cluster.node("n1", gpus=4)
    assert cluster.reactor.view(cluster.now_ms).weights == (("whole_nodes", 100),)
    first = cluster.submit(gres=("gpu:1",), nodelist="n1")
    second = cluster.submit(gres=("gpu:1",))
    cluster.plan()
    assert (alloc(cluster, first).node, alloc(cluster, second).node) == ("n1", "n1")
