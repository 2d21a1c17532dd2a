"""Licences, deadlines and least limits through the engine: refused, waited for, counted, given back, shown."""

import pytest
from engine_cluster import ROOT, EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig

LICENSED = ClusterConfig(licenses=(("fluent", 3), ("matlab", 1)), requeue_delay_s=1)


def test_licences_are_held_from_start_to_end():
    cluster = EngineCluster(LICENSED, n0=4)
    first, second = (cluster.submit(licenses="fluent:2") for _ in range(2))
    cluster.plan()
    assert (cluster.word(first), cluster.word(second), cluster.reason(second)) == ("RUNNING", "PENDING", "Licenses")
    assert cluster.job(first).licenses == (("fluent", 2),)
    cluster.end(first)
    cluster.plan()
    assert cluster.word(second) == "RUNNING"
    cluster.check_law()


def test_a_suspended_job_keeps_its_licences_and_a_requeued_one_does_not():
    cluster = EngineCluster(LICENSED, n0=4)
    job = cluster.submit(licenses="matlab")
    other = cluster.submit(licenses="matlab")
    cluster.plan()
    cluster.ask("suspend", ROOT, jobs=[str(job)])
    cluster.plan()
    assert cluster.reason(other) == "Licenses"
    cluster.ask("requeue", jobs=[str(job)])
    cluster.tick(10)
    cluster.end(job)
    cluster.plan()
    assert (cluster.job(job).licenses, cluster.word(other)) == ((), "RUNNING")
    cluster.check_law()


def test_one_of_two_licences_is_the_one_that_is_free():
    cluster = EngineCluster(LICENSED, n0=4)
    cluster.submit(licenses="fluent:3")
    job = cluster.submit(licenses="fluent:1|matlab:1")
    cluster.plan()
    assert cluster.job(job).licenses == (("matlab", 1),)


@pytest.mark.parametrize("text", ["fluent:4", "nosuch", "fluent:x", "fluent:2,fluent:2", "nosuch|matlab:2", "fluent|matlab,fluent"])
def test_licences_that_can_never_be_had_are_refused(text):
    with pytest.raises(Refused, match="Invalid license specification"):
        EngineCluster(LICENSED, n0=4).submit(licenses=text)


def test_elements_of_an_array_hold_licences_each():
    cluster = EngineCluster(LICENSED, n0=4)
    array = cluster.submit(array="0-9", licenses="fluent")
    cluster.plan()
    assert cluster.running(array) == [0, 1, 2]
    cluster.check_law()


def test_a_job_that_cannot_keep_its_deadline_ends():
    cluster = EngineCluster(n0=4)
    begin_s = cluster.now_ms // 1000
    late = cluster.submit(time_limit_s=600, deadline_s=begin_s + 120)
    held = cluster.submit(time_limit_s=60, deadline_s=begin_s + 300, hold=True)
    array = cluster.submit(time_limit_s=600, deadline_s=begin_s + 660, array="0-3", hold=True)
    cluster.plan()
    assert cluster.reason(late) == "DeadLine"
    cluster.tick()
    assert (cluster.word(late), cluster.job(late).reason, cluster.word(held)) == ("DEADLINE", "DeadLine", "PENDING")
    cluster.tick(60)
    assert (cluster.word(held), cluster.word(array)) == ("PENDING", "DEADLINE")
    cluster.tick(180)
    assert cluster.word(held) == "DEADLINE"
    cluster.check_law()


def test_a_dependent_of_a_job_that_missed_its_deadline_never_runs():
    cluster = EngineCluster(n0=4)
    late = cluster.submit(time_limit_s=600, deadline_s=cluster.now_ms // 1000 + 120)
    child = cluster.submit(dependency=f"afterok:{late}")
    cluster.tick()
    assert (cluster.word(late), cluster.reason(child)) == ("DEADLINE", "DependencyNeverSatisfied")


def test_a_limit_is_cut_to_the_deadline_for_the_run_alone():
    cluster = EngineCluster(ClusterConfig(requeue_delay_s=1), n0=4)
    job = cluster.submit(time_limit_s=600, time_min_s=60, deadline_s=cluster.now_ms // 1000 + 200)
    cluster.plan()
    row = cluster.job(job)
    assert (row.spec.time_limit_s, row.end_limit_ms) == (180, row.start_ms + 180_000)
    cluster.ask("requeue", jobs=[str(job)])
    cluster.tick(10)
    cluster.end(job)
    assert (cluster.word(job), cluster.job(job).spec.time_limit_s) == ("PENDING", 600)
    cluster.check_law()


def test_times_that_exclude_each_other_are_refused():
    cluster = EngineCluster(n0=4)
    now_s = cluster.now_ms // 1000
    with pytest.raises(Refused, match="Requested time limit is invalid"):
        cluster.submit(deadline_s=now_s - 1)
    with pytest.raises(Refused, match="Requested time limit is invalid"):
        cluster.submit(deadline_s=now_s + 100, begin_s=now_s + 200)
    with pytest.raises(Refused, match="Invalid time-min specification"):
        cluster.submit(time_limit_s=60, time_min_s=120)


def test_constraints_are_refused_in_slurms_words():
    cluster = EngineCluster(ClusterConfig(node_features={"n0": ("red",), "n1": ("blue",)}), n0=4, n1=4)
    for key, text, words in (
        ("constraint", "red|nosuch", "Invalid feature specification"),
        ("constraint", "red&blue", "Requested node configuration is not available"),
        ("constraint", "red*2", "Requested node configuration is not available"),
        ("prefer", "nosuch", "Invalid preferred feature specification"),
    ):
        with pytest.raises(Refused, match=words):
            cluster.submit(**{key: text})
    job = cluster.submit(constraint="[red*1&blue*1]")
    cluster.plan()
    assert [alloc.node for alloc in cluster.job(job).allocs] == ["n0", "n1"]


def test_what_a_waiting_job_asks_for_can_be_changed():
    config = ClusterConfig(node_features={"n0": ("red",), "n1": ("blue",)}, licenses=(("fluent", 3),))
    cluster = EngineCluster(config, n0=4, n1=4)
    job = cluster.submit(hold=True, time_limit_s=600)
    keys = ["Features=blue", "Licenses=fluent:2", "TimeMin=5", "Contiguous=1", "Prefer=red", "NumTasks=2", "MinMemoryNode=300M"]
    cluster.ask("update_job", ROOT, jobs=[str(job)], keys=[*keys, "Deadline=now+1hour"])
    spec = cluster.job(job).spec
    assert (spec.request.constraint, spec.request.licenses, spec.licenses, spec.time_min_s) == ("blue", (("fluent", 2),), "fluent:2", 300)
    assert (spec.request.contiguous, spec.request.prefer, spec.request.ntasks, spec.request.memory_per_node_mib) == (True, "red", 2, 300)
    assert spec.deadline_ms == cluster.now_ms + 3_600_000
    cluster.ask("update_job", jobs=[str(job)], keys=["Prefer=", "ReqNodeList=n1", "ExcNodeList=n0", "NumNodes=1-2", "Licenses="])
    cluster.ask("release", jobs=[str(job)])
    cluster.plan()
    assert ([alloc.node for alloc in cluster.job(job).allocs], cluster.job(job).licenses) == (["n1"], ())
    with pytest.raises(Refused, match="no longer pending"):
        cluster.ask("update_job", jobs=[str(job)], keys=["Features=red"])
    cluster.check_law()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("Features=nosuch", "Invalid feature specification"),
        ("Features=red&blue", "Requested node configuration is not available"),
        ("Prefer=[", "Invalid preferred feature specification"),
        ("Licenses=fluent:4", "Invalid license specification"),
        ("TimeMin=20", "Invalid time-min specification"),
        ("Deadline=2020-01-01", "Requested time limit is invalid"),
        ("NumNodes=9", "Requested node configuration is not available"),
        ("ReqNodeList=n9", "Invalid node name specified"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(key, words):
    config = ClusterConfig(node_features={"n0": ("red",), "n1": ("blue",)}, licenses=(("fluent", 3),))
    cluster = EngineCluster(config, n0=4, n1=4)
    job = cluster.submit(hold=True, time_limit_s=600)
    before = cluster.job(job).spec
    with pytest.raises(Refused, match=words):
        cluster.ask("update_job", jobs=[str(job)], keys=["Comment=new", key])
    assert cluster.job(job).spec == before
