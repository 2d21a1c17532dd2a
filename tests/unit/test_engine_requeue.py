"""When a run comes back: by request, by the job's word, by the cluster's; and when it must not."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, BOB, ROOT, EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.reactor import REQUEUE_LEAD_MS
from penstock.engine.rows import decode_job
from penstock.spec import errors as err
from penstock.wire import messages as m


def a_cluster(**parameters):
    return EngineCluster(ClusterConfig(**parameters), n0=4)


@pytest.mark.parametrize(
    ("cause", "own", "cluster_default", "again"),
    [
        ("ShepherdKilled", True, True, "PENDING"),
        ("ShepherdKilled", None, True, "FAILED"),
        ("ShepherdKilled", False, True, "FAILED"),
        ("LaunchFailed", None, True, "PENDING"),
        ("LaunchFailed", None, False, "FAILED"),
        ("LaunchFailed", False, True, "FAILED"),
        ("TimeLimit", True, True, "TIMEOUT"),
        ("OutOfMemory", True, True, "OUT_OF_MEMORY"),
        ("", True, True, "FAILED"),
    ],
)
def test_which_ends_bring_a_run_back(cause, own, cluster_default, again):
    cluster = a_cluster(job_requeue=cluster_default)
    job = cluster.submit(requeue=own)
    cluster.plan()
    cluster.end(job, 9 if cause else 256, cause)
    assert cluster.word(job) == again
    assert cluster.job(job).attempt == (1 if again == "PENDING" else 0)


def test_a_failed_launch_comes_back_held():
    cluster = a_cluster()
    job = cluster.submit()
    cluster.plan()
    cluster.end(job, 256, "LaunchFailed")
    assert (cluster.word(job), cluster.reason(job)) == ("PENDING", "launch failed requeued held")
    cluster.ask("release_hold", jobs=[str(job)])
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.run(job)
    assert cluster.word(job) == "COMPLETED"


@pytest.mark.parametrize(("own", "word"), [(None, "PENDING"), (False, "NODE_FAIL")])
def test_a_lost_node_brings_its_runs_back_unless_they_forbid_it(own, word):
    cluster = a_cluster(slurmd_timeout_s=30)
    job = cluster.submit(requeue=own)
    cluster.plan()
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.tick(29)
    assert cluster.word(job) == "RUNNING", "a node may be away for a while"
    cluster.tick(1)
    assert cluster.word(job) == word
    assert cluster.reactor.state.nodes["n0"].down


def test_by_request_it_comes_back_after_the_delay_with_a_new_attempt():
    cluster = a_cluster(requeue_delay_s=7)
    job = cluster.submit()
    cluster.plan()
    cluster.ask("requeue", jobs=[str(job)])
    assert cluster.messages(m.Terminate) == [], "whoever asked may run in the job: the answer comes first"
    cluster.tick(REQUEUE_LEAD_MS / 1000)
    assert cluster.messages(m.Terminate)[0].job_id == job
    cluster.end(job, 15, "Cancelled")
    assert (cluster.word(job), cluster.reason(job)) == ("PENDING", "BeginTime")
    cluster.tick(6)
    cluster.plan()
    assert cluster.word(job) == "PENDING"
    cluster.tick(1)
    cluster.plan()
    assert (cluster.word(job), cluster.job(job).attempt) == ("RUNNING", 1)
    assert [one.attempt for one in cluster.messages(m.Assign)] == [0, 1]


def test_the_earlier_run_keeps_its_row_as_it_ended():
    cluster = a_cluster()
    job = cluster.submit()
    cluster.run(job, 3 << 8)
    cluster.ask("requeue", jobs=[str(job)])
    row = decode_job(cluster.store.disk.jobs[f"{job}.0"][0])
    assert (row.state, row.wait_status, row.attempt) == (5, 3 << 8, 0)
    cluster.check_law()


def test_requeuehold_waits_for_a_release():
    cluster = a_cluster()
    job = cluster.submit()
    cluster.run(job)
    cluster.ask("requeue_hold", jobs=[str(job)])
    assert (cluster.word(job), cluster.reason(job)) == ("PENDING", "JobHeldUser")
    cluster.ask("release_hold", jobs=[str(job)])
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.run(job)
    assert cluster.word(job) == "COMPLETED"


def test_too_many_restarts_hold_the_job():
    cluster = a_cluster(max_batch_requeue=2)
    job = cluster.submit(requeue=True)
    for _ in range(3):
        cluster.plan()
        assert cluster.word(job) == "RUNNING"
        cluster.end(job, 9, "ShepherdKilled")
        cluster.tick(1)
    assert (cluster.word(job), cluster.reason(job)) == ("PENDING", "JobHoldMaxRequeue")


@pytest.mark.parametrize(
    ("caller", "fields", "code"),
    [
        (ALICE, {"requeue": False}, err.ESLURM_DISABLED),
        (BOB, {}, err.ESLURM_ACCESS_DENIED),
    ],
)
def test_who_may_not_requeue_is_told(caller, fields, code):
    cluster = a_cluster()
    job = cluster.submit(**fields)
    cluster.plan()
    with pytest.raises(Refused) as refusal:
        cluster.ask("requeue", caller, jobs=[str(job)])
    assert refusal.value.code == code


def test_a_requeue_that_is_under_way_can_be_cancelled():
    cluster = a_cluster()
    job = cluster.submit()
    cluster.plan()
    cluster.ask("requeue", jobs=[str(job)])
    cluster.ask("cancel", ROOT, jobs=[str(job)])
    cluster.end(job, 15, "Cancelled")
    assert cluster.word(job) == "CANCELLED"
    assert cluster.job(job).finished


def test_a_job_that_ended_twice_is_purged_once():
    cluster = a_cluster(min_job_age_s=10, requeue_delay_s=1)
    job = cluster.submit()
    cluster.run(job)
    cluster.ask("requeue", jobs=[str(job)])
    cluster.tick(1)
    cluster.run(job)
    cluster.tick(30)
    assert job not in cluster.reactor.state.jobs
    cluster.check_law()
