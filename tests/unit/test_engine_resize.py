"""A running job gives nodes back: what is free when, what ends, what a crash, a lost node or a late message does to it."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, BOB, ROOT, EngineCluster, Refused

from penstock.controller.views import node_facts
from penstock.engine.indexes import Indexes
from penstock.spec import errors as err
from penstock.wire import messages as m


@pytest.fixture
def cluster():
    cluster = EngineCluster()
    for number in range(3):
        cluster.node(f"n{number}", cpus=4, gpus=2)
    return cluster


def wide(cluster, **fields):
    job = cluster.submit(nodes_min=3, nodes_max=3, **fields)
    cluster.plan()
    assert nodes(cluster, job) == ["n0", "n1", "n2"]
    return job


def nodes(cluster, job):
    return [alloc.node for alloc in cluster.job(job).allocs]


def shrink(cluster, job, count, caller=ALICE):
    return cluster.ask("update_job", caller, jobs=[str(job)], keys=[f"NumNodes={count}"])


def killed(cluster, job):
    return [(node, message.signal) for node, message in cluster.sent if isinstance(message, m.Terminate) and message.job_id == job]


def law(cluster):
    state, indexes = cluster.reactor.state, cluster.reactor.indexes
    assert indexes.summary() == Indexes(state, indexes.clock_ms).summary()
    cluster.check_law()


def test_the_last_nodes_are_given_back_and_the_job_runs_on(cluster):
    job = wide(cluster)
    shrink(cluster, job, 1)
    assert (nodes(cluster, job), cluster.word(job)) == (["n0"], "RUNNING")
    assert killed(cluster, job) == [("n1", 9), ("n2", 9)]
    for node in ("n2", "n1"):
        cluster.end(job, 9, "Cancelled", node=node)
        assert cluster.word(job) == "RUNNING"
    assert cluster.job(job).nodes_left == ("n0",)
    assert len(killed(cluster, job)) == 2
    law(cluster)
    cluster.end(job)
    assert cluster.word(job) == "COMPLETED"


def test_a_node_is_free_when_it_has_said_that_nothing_is_left(cluster):
    job = wide(cluster, gres=("gpu:2",))
    shrink(cluster, job, 2)
    late = cluster.submit(nodelist="n2", gres=("gpu:2",))
    cluster.plan()
    assert cluster.word(late) == "PENDING"
    held = node_facts.Occupancy()
    node_facts._add({"n2": held}, cluster.job(job))
    assert (held.completing, held.running, len(held.gpus)) == (1, 0, 2)
    law(cluster)
    cluster.end(job, 9, "Cancelled", node="n2")
    cluster.plan()
    assert cluster.word(late) == "RUNNING"
    law(cluster)


def test_steps_end_on_the_nodes_that_are_given_back_and_go_on_elsewhere(cluster):
    job = wide(cluster, ntasks=3)
    for nodelist in ("n0,n1,n2", "n2"):
        count = nodelist.count(",") + 1
        cluster.open("step_create", job_id=job, argv=("true",), ntasks=count, nodes_min=count, nodelist=nodelist, overlap=True)
    shrink(cluster, job, 2)
    cluster.end(job, 9, "Cancelled", node="n2")
    steps = cluster.reactor.state.steps
    assert (steps[job, 0].nodes_left, steps[job, 1].nodes_left) == (("n0", "n1"), ())
    with pytest.raises(Refused):
        cluster.ask("step_create", job_id=job, argv=("true",), ntasks=1, nodelist="n2")
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=2, overlap=True)
    assert [alloc.node for alloc in steps[job, 2].allocs] == ["n0", "n1"]


@pytest.mark.parametrize(
    ("count", "code"),
    [("4", err.ESLURM_NOT_SUPPORTED), ("0", err.ESLURM_INVALID_NODE_COUNT), ("1-2", err.ESLURM_JOB_NOT_PENDING)],
)
def test_what_a_running_job_cannot_become_is_refused(cluster, count, code):
    job = wide(cluster)
    with pytest.raises(Refused) as refused:
        shrink(cluster, job, count)
    assert refused.value.code == code
    assert nodes(cluster, job) == ["n0", "n1", "n2"]


def test_the_same_number_changes_nothing_and_only_the_owner_may_ask(cluster):
    job = wide(cluster)
    shrink(cluster, job, 3)
    assert (nodes(cluster, job), cluster.job(job).resized, killed(cluster, job)) == (["n0", "n1", "n2"], None, [])
    with pytest.raises(Refused) as refused:
        shrink(cluster, job, 1, BOB)
    assert refused.value.code == err.ESLURM_ACCESS_DENIED


def test_other_keys_of_the_same_update_count_too(cluster):
    job = wide(cluster, time_limit_s=3600)
    cluster.ask("update_job", jobs=[str(job)], keys=["NumNodes=2", "TimeLimit=20"])
    assert (nodes(cluster, job), cluster.job(job).spec.time_limit_s) == (["n0", "n1"], 1200)


def test_a_suspended_job_may_shrink_and_shrink_again(cluster):
    job = wide(cluster)
    cluster.ask("suspend", ROOT, jobs=[str(job)])
    shrink(cluster, job, 2)
    shrink(cluster, job, 1)
    assert ([alloc.node for alloc in cluster.job(job).shed], cluster.word(job)) == (["n2", "n1"], "SUSPENDED")
    law(cluster)


@pytest.mark.parametrize("cause", ["NodeFail", "ShepherdKilled", "LaunchFailed", ""])
def test_however_a_node_that_was_given_back_ends_the_job_goes_on(cluster, cause):
    job = wide(cluster, requeue=True)
    shrink(cluster, job, 2)
    cluster.end(job, 9, cause, node="n2")
    assert (cluster.word(job), cluster.job(job).requeue_after, cluster.job(job).nodes_left) == ("RUNNING", "", ("n0", "n1"))


def test_the_job_ends_while_a_node_is_still_being_given_back(cluster):
    job = wide(cluster)
    shrink(cluster, job, 2)
    cluster.end(job, node="n0")
    cluster.end(job, node="n1")
    assert (cluster.job(job).nodes_left, cluster.job(job).finished) == (("n2",), False)
    cluster.end(job, 9, "Cancelled", node="n2")
    assert (cluster.word(job), cluster.job(job).finished) == ("COMPLETED", True)
    law(cluster)


def test_a_requeued_job_has_the_size_that_it_asked_for(cluster):
    job = wide(cluster)
    shrink(cluster, job, 1)
    for node in ("n1", "n2"):
        cluster.end(job, 9, "Cancelled", node=node)
    cluster.ask("requeue", jobs=[str(job)])
    cluster.tick(20)
    cluster.end(job)
    assert (cluster.word(job), cluster.job(job).resized) == ("PENDING", None)
    cluster.tick(300)
    cluster.plan()
    assert nodes(cluster, job) == ["n0", "n1", "n2"]


def test_a_node_that_comes_back_after_a_crash_is_told_again(cluster):
    job = wide(cluster)
    shrink(cluster, job, 2)
    cluster.crash()
    run = m.RunReport(job, 0)
    for name in ("n0", "n1", "n2"):
        cluster.node(name, gpus=2, runs=(run,))
    assert killed(cluster, job) == [("n2", 9)]
    cluster.crash()
    for name in ("n0", "n1"):
        cluster.node(name, gpus=2, runs=(run,))
    cluster.node("n2", gpus=2)
    assert (cluster.job(job).nodes_left, cluster.word(job)) == (("n0", "n1"), "RUNNING")
    assert not [node for node, message in cluster.sent if isinstance(message, m.Assign)]


def test_a_node_that_is_lost_after_it_was_given_back_does_not_end_the_job(cluster):
    job = wide(cluster, requeue=True)
    shrink(cluster, job, 2)
    cluster.node("n2", gpus=2, boot="boot2")
    assert (cluster.job(job).nodes_left, cluster.word(job)) == (("n0", "n1"), "RUNNING")
