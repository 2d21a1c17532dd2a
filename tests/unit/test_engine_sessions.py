"""A node comes back: what it says it runs, against what the controller knows."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, ROOT, EngineCluster

from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.sessions import NOT_RESPONDING, STRAYS
from penstock.wire import messages as m


@pytest.fixture
def cluster():
    return EngineCluster(ClusterConfig(slurmd_timeout_s=30, kill_wait_s=5), n0=4)


def running(cluster, **fields):
    job = cluster.submit(**fields)
    cluster.plan()
    cluster.sent.clear()
    return job


def back(cluster, *runs, boot="boot1"):
    """The session is lost and there again."""
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.node("n0", runs=runs, boot=boot)


def test_a_run_that_goes_on_is_left_alone(cluster):
    job = running(cluster)
    back(cluster, m.RunReport(job, 0))
    assert cluster.word(job) == "RUNNING"
    assert cluster.messages(m.Assign) == cluster.messages(m.Terminate) == []


def test_a_run_that_the_node_never_got_is_assigned_again(cluster):
    job = running(cluster)
    back(cluster)
    assert [one.job_id for one in cluster.messages(m.Assign)] == [job]


def test_a_run_that_a_restarted_machine_forgot_is_not_begun_again_there(cluster):
    job = running(cluster)
    back(cluster, boot="boot2")
    assert cluster.messages(m.Assign) == []
    assert (cluster.word(job), cluster.job(job).attempt) == ("PENDING", 1), "requeued, as the cluster's JobRequeue says"


def test_an_end_that_was_missed_is_taken_from_the_hello_and_acknowledged_when_durable(cluster):
    job = running(cluster)
    cluster.automatic = False
    back(cluster, m.RunReport(job, 0, m.ExitRecord(2 << 8)))
    assert (cluster.word(job), cluster.job(job).wait_status) == ("FAILED", 2 << 8)
    while cluster.store.in_flight:
        assert cluster.messages(m.AckEnded) == [] or cluster.reactor.durable_seq == cluster.reactor.state.seq
        cluster.durable()
        cluster.reactor.flush()
    assert [one.job_id for one in cluster.messages(m.AckEnded)] == [job]


def test_a_cancel_that_was_missed_is_said_again(cluster):
    job = running(cluster)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.ask("cancel", jobs=[str(job)])
    cluster.sent.clear()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert [one.job_id for one in cluster.messages(m.Terminate)] == [job]


def test_a_cancelled_run_that_the_node_does_not_know_is_over(cluster):
    job = running(cluster)
    cluster.ask("cancel", jobs=[str(job)])
    assert cluster.job(job).completing
    back(cluster)
    assert cluster.job(job).finished


@pytest.mark.parametrize("resumed", [False, True])
def test_a_suspension_or_its_end_that_was_missed_is_said_again(cluster, resumed):
    job = running(cluster)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.ask("suspend", ROOT, jobs=[str(job)])
    if resumed:
        cluster.ask("resume", ROOT, jobs=[str(job)])
    cluster.sent.clear()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert [one.resume for one in cluster.messages(m.Suspend)] == [resumed]


def test_a_changed_time_limit_that_was_missed_is_said_again(cluster):
    job = running(cluster, time_limit_s=600)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.ask("update_job", jobs=[str(job)], keys=["TimeLimit=5"])
    cluster.sent.clear()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert [one.time_limit_s for one in cluster.messages(m.SetTimeLimit)] == [300]


def test_a_signal_is_delivered_when_the_node_is_back_and_once(cluster):
    job = running(cluster)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.ask("cancel", jobs=[str(job)], signal=10)
    cluster.sent.clear()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    (signal,) = cluster.messages(m.SignalRun)
    cluster.tell("n0", m.SignalDone(signal.signal_id))
    cluster.sent.clear()
    back(cluster, m.RunReport(job, 0))
    assert cluster.messages(m.SignalRun) == []


def test_a_node_that_was_given_up_takes_no_job_before_its_old_runs_have_ended(cluster):
    old = running(cluster, ntasks=4)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.tick(30)
    assert cluster.reactor.state.nodes["n0"].reason == NOT_RESPONDING
    new = cluster.submit(ntasks=4)
    cluster.node("n0", runs=(m.RunReport(old, 0),))
    assert cluster.messages(m.Welcome)[-1].kill == ((old, 0),)
    cluster.plan()
    assert cluster.word(new) == "PENDING"
    cluster.tell("n0", m.Ended(old, 0, m.ExitRecord(9, cause="Cancelled")))
    cluster.plan()
    assert cluster.word(new) == "RUNNING"


def test_a_run_that_begins_although_it_was_given_up_is_ended_first(cluster):
    job = running(cluster, ntasks=4)
    cluster.ask("cancel", jobs=[str(job)])
    back(cluster)
    cluster.sent.clear()
    cluster.tell("n0", m.Started(job, 0, 77))
    assert [one.job_id for one in cluster.messages(m.Terminate)] == [job]
    assert cluster.reactor.state.nodes["n0"].reason == STRAYS
    other = cluster.submit()
    cluster.plan()
    assert cluster.word(other) == "PENDING"
    cluster.tell("n0", m.Ended(job, 0, m.ExitRecord(9, cause="Cancelled")))
    cluster.plan()
    assert cluster.word(other) == "RUNNING"


def test_a_node_that_was_drained_by_hand_stays_drained_when_it_returns(cluster):
    cluster.ask("update_node", ROOT, nodes=["n0"], keys=["State=DOWN", "Reason=disk"])
    back(cluster)
    assert cluster.reactor.state.nodes["n0"].down


def allocation(cluster):
    cluster.open("allocate", ALICE, ntasks=2)
    cluster.plan()
    return max(cluster.reactor.state.jobs)


def launches(cluster):
    return [(node, one.step_id, one.argv, one.environment) for node, one in cluster.sent if isinstance(one, m.LaunchStep)]


def test_a_step_that_a_killed_controller_had_not_launched_is_launched_by_its_successor(cluster):
    job = allocation(cluster)
    cluster.open("step_create", job_id=job, argv=("train", "--deep"), ntasks=1, sections=[b"A=1\0B=2"])
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert launches(cluster) == [("n0", 0, ("train", "--deep"), b"A=1\0B=2")]


def test_a_step_whose_commit_was_lost_with_the_controller_is_not_launched(cluster):
    job = allocation(cluster)
    cluster.automatic = False
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1)
    assert launches(cluster) == []
    cluster.automatic = True
    cluster.crash(keep_in_flight=False)
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert launches(cluster) == [] and not cluster.reactor.state.steps


def test_a_step_that_the_node_never_got_is_launched_with_its_job(cluster):
    job = allocation(cluster)
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1)
    cluster.crash()
    cluster.node("n0", runs=())
    kinds = [type(one).__name__ for one in cluster.messages(m.Assign | m.LaunchStep)]
    assert kinds == ["Assign", "LaunchStep"]


def test_a_step_that_runs_is_not_launched_again(cluster):
    job = allocation(cluster)
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1)
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(job, 0, None, (0,)),))
    assert launches(cluster) == []


def test_a_step_that_was_asked_to_end_is_ended_and_not_launched(cluster):
    job = allocation(cluster)
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1)
    cluster.ask("step_kill", job_id=job, step_id=0, signal=9)
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    assert launches(cluster) == []
    assert [(one.job_id, one.step_id) for one in cluster.messages(m.Terminate)] == [(job, 0)]


def test_what_a_launch_needs_goes_with_the_step_and_is_in_no_row_or_event(cluster):
    job = allocation(cluster)
    before = len(cluster.store.disk.blobs)
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1, key="5ec4e7", sections=[b"SECRET=5ec4e7"])
    disk = cluster.store.disk
    kept = [row for row, _ in disk.steps.values()] + list(disk.events.values())
    assert not any(b"SECRET" in row or b"5ec4e7" in row for row in kept)
    assert len(disk.blobs) == before + 2
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(job, 0, None, (0,)),))
    cluster.reactor.nodes.message("n0", m.StepEnded(job, 0, 0, m.ExitRecord(end_ms=cluster.now_ms)), cluster.now_ms)
    cluster.reactor.flush()
    step = cluster.reactor.state.steps[(job, 0)]
    assert (step.nodes_left, step.launch, step.environment) == ((), b"", b"")
    cluster.store.prune_history(0, 100)
    assert len(cluster.store.disk.blobs) == before


def test_the_end_of_a_step_that_was_missed_is_asked_for_again(cluster):
    job = allocation(cluster)
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=1)
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.ask("step_kill", job_id=job, step_id=0, signal=9)
    cluster.sent.clear()
    cluster.node("n0", runs=(m.RunReport(job, 0, None, (0,)),))
    assert [(one.job_id, one.step_id) for one in cluster.messages(m.Terminate)] == [(job, 0)]
