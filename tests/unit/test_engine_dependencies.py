"""What a dependent job does when its parents start, end, fail, are requeued, or were never there."""

from __future__ import annotations

import pytest
from engine_cluster import BOB, ROOT, EngineCluster, Refused

from penstock.engine import reactor
from penstock.engine.cluster_config import ClusterConfig
from penstock.spec import errors as err
from penstock.wire import messages as m

FAILED = 1 << 8


@pytest.fixture
def cluster():
    return EngineCluster(n0=4)


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("afterok", 0, "free"),
        ("afterok", FAILED, "never"),
        ("afternotok", 0, "never"),
        ("afternotok", FAILED, "free"),
        ("afterany", 0, "free"),
        ("afterany", FAILED, "free"),
        ("aftercorr", 0, "free"),
        ("aftercorr", FAILED, "never"),
    ],
)
def test_a_child_waits_for_the_end_and_then_for_how_it_was(cluster, kind, status, word):
    parent = cluster.submit(ntasks=4)
    child = cluster.submit(dependency=f"{kind}:{parent}")
    assert cluster.reason(child) == "Dependency"
    cluster.plan()
    assert cluster.word(child) == "PENDING"
    cluster.end(parent, status)
    cluster.plan()
    if word == "free":
        assert cluster.word(child) == "RUNNING"
    else:
        assert (cluster.word(child), cluster.reason(child)) == ("PENDING", "DependencyNeverSatisfied")


def test_after_waits_for_the_start_only(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"after:{parent}")
    cluster.plan()
    assert cluster.word(parent) == "RUNNING"
    cluster.plan()
    assert cluster.word(child) == "RUNNING"


def test_after_with_minutes_waits_that_long_after_the_start(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"after:{parent}+2")
    cluster.plan()
    cluster.tick(119)
    cluster.plan()
    assert cluster.word(child) == "PENDING"
    cluster.tick(1)
    cluster.plan()
    assert cluster.word(child) == "RUNNING"


def test_all_conditions_with_a_comma_any_with_a_question_mark(cluster):
    first, second = cluster.submit(), cluster.submit()
    both = cluster.submit(dependency=f"afterok:{first},afterok:{second}")
    either = cluster.submit(dependency=f"afterok:{first}?afterok:{second}")
    cluster.plan()
    cluster.end(first)
    assert cluster.job(both).dependency == f"afterok:{second}"
    assert cluster.job(either).dependency == ""
    cluster.end(second)
    assert cluster.job(both).dependency == ""


def test_any_is_never_satisfied_only_when_all_have_failed(cluster):
    first, second = cluster.submit(), cluster.submit()
    either = cluster.submit(dependency=f"afterok:{first}?afterok:{second}")
    cluster.plan()
    cluster.end(first, FAILED)
    assert cluster.reason(either) == "Dependency"
    cluster.end(second, FAILED)
    assert cluster.reason(either) == "DependencyNeverSatisfied"


def test_singleton_waits_for_earlier_jobs_of_the_same_name_and_user(cluster):
    first = cluster.submit(name="train")
    others = cluster.submit(BOB, name="train")
    second = cluster.submit(name="train", dependency="singleton")
    cluster.plan()
    assert (cluster.word(first), cluster.word(others), cluster.word(second)) == ("RUNNING", "RUNNING", "PENDING")
    cluster.end(first)
    cluster.plan()
    assert cluster.word(second) == "RUNNING"


@pytest.mark.parametrize(
    ("own", "kill_invalid_depend", "word"), [(True, False, "CANCELLED"), (None, True, "CANCELLED"), (False, True, "PENDING")]
)
def test_kill_on_invalid_dep_is_the_jobs_word_then_the_clusters(own, kill_invalid_depend, word):
    cluster = EngineCluster(ClusterConfig(kill_invalid_depend=kill_invalid_depend), n0=4)
    parent = cluster.submit()
    child = cluster.submit(dependency=f"afterok:{parent}", kill_on_invalid_dep=own)
    cluster.run(parent, FAILED)
    assert cluster.word(child) == word


def test_what_became_impossible_stays_so_when_the_parent_runs_again(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"afterok:{parent}")
    cluster.run(parent, FAILED)
    cluster.ask("requeue", ROOT, jobs=[str(parent)])
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.run(parent)
    assert cluster.reason(child) == "DependencyNeverSatisfied"


def test_a_chain_of_cancelled_children_ends_at_once(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"afterok:{parent}", kill_on_invalid_dep=True)
    grandchild = cluster.submit(dependency=f"afterok:{child}", kill_on_invalid_dep=True)
    cluster.run(parent, FAILED)
    assert cluster.word(child) == cluster.word(grandchild) == "CANCELLED"


@pytest.mark.parametrize("kind", ["afterok", "afterany", "afternotok"])
def test_a_dependency_on_an_array_is_on_all_of_it(cluster, kind):
    parent = cluster.submit(array="0-1")
    child = cluster.submit(dependency=f"{kind}:{parent}")
    cluster.plan()
    cluster.end(cluster.element(parent, 0).id, FAILED if kind == "afternotok" else 0)
    if kind != "afternotok":
        assert cluster.reason(child) == "Dependency"
        cluster.end(cluster.element(parent, 1).id)
    assert cluster.job(child).dependency == ""


def test_aftercorr_lets_each_element_follow_its_own_counterpart(cluster):
    parent = cluster.submit(array="1-3")
    child = cluster.submit(array="1-3", dependency=f"aftercorr:{parent}")
    cluster.plan()
    cluster.end(cluster.element(parent, 2).id)
    cluster.plan()
    assert cluster.running(child) == [2]
    cluster.end(cluster.element(parent, 1).id, FAILED)
    cluster.plan()
    assert cluster.reason(cluster.element(child, 1).id) == "DependencyNeverSatisfied"
    cluster.end(cluster.element(parent, 3).id)
    cluster.plan()
    assert cluster.running(child) == [2, 3], "one failed element dooms only its own counterpart"


def test_aftercorr_without_a_counterpart_waits_for_the_whole_parent(cluster):
    parent = cluster.submit()
    child = cluster.submit(array="0-1", dependency=f"aftercorr:{parent}")
    cluster.plan()
    assert cluster.running(child) == []
    cluster.end(parent)
    cluster.plan()
    assert cluster.running(child) == [0, 1]


def test_aftercorr_beside_another_condition(cluster):
    parent, other = cluster.submit(array="0-1"), cluster.submit()
    child = cluster.submit(array="0-1", dependency=f"after:{other},aftercorr:{parent}")
    cluster.plan()
    cluster.end(cluster.element(parent, 0).id)
    cluster.plan()
    assert cluster.running(child) == [0]


def test_a_cancelled_child_that_is_requeued_is_judged_anew(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"afterok:{parent}")
    cluster.ask("cancel", jobs=[str(child)])
    cluster.plan()
    cluster.end(parent)
    cluster.ask("requeue", ROOT, jobs=[str(child)])
    assert cluster.job(child).dependency == ""
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.plan()
    assert cluster.word(child) == "RUNNING"


def test_a_dependency_on_oneself_in_a_circle_or_on_nobody_is_refused(cluster):
    first = cluster.submit(hold=True)
    second = cluster.submit(dependency=f"afterok:{first}")
    with pytest.raises(Refused) as circle:
        cluster.ask("update_job", jobs=[str(first)], keys=[f"Dependency=afterok:{second}"])
    assert circle.value.code == err.ESLURM_CIRCULAR_DEPENDENCY
    with pytest.raises(Refused) as nobody:
        cluster.submit(dependency="afterok:999")
    assert nobody.value.code == err.ESLURM_DEPENDENCY


def test_a_parent_that_is_waited_for_is_not_purged(cluster):
    parent = cluster.submit()
    child = cluster.submit(dependency=f"afterok:{parent}")
    cluster.run(parent, FAILED)
    cluster.tick(cluster.config.min_job_age_s + 1)
    assert parent in cluster.reactor.state.jobs
    cluster.ask("cancel", jobs=[str(child)])
    cluster.tick(cluster.config.min_job_age_s + 1)
    cluster.tick(1)
    assert parent not in cluster.reactor.state.jobs


def purge(cluster: EngineCluster, job_id: int) -> None:
    cluster.tick(cluster.reactor.state.config.min_job_age_s + 1)
    assert job_id not in cluster.reactor.state.jobs


@pytest.mark.parametrize(("kind", "status"), [("afterok", 0), ("afternotok", FAILED), ("afterany", FAILED), ("after", 0)])
def test_a_parent_that_left_memory_is_judged_by_the_accounting(cluster, kind, status):
    parent = cluster.submit()
    cluster.run(parent, status)
    purge(cluster, parent)
    child = cluster.submit(dependency=f"{kind}:{parent}")
    assert cluster.job(child).dependency == ""
    cluster.plan()
    assert cluster.word(child) == "RUNNING"


@pytest.mark.parametrize(("kind", "status"), [("afterok", FAILED), ("afternotok", 0)])
def test_a_condition_that_the_accounting_rules_out_is_refused_at_submit(cluster, kind, status):
    parent = cluster.submit()
    cluster.run(parent, status)
    purge(cluster, parent)
    with pytest.raises(Refused, match="can never be met"):
        cluster.submit(dependency=f"{kind}:{parent}")


def test_one_met_condition_of_an_any_list_frees_the_job(cluster):
    parent, other = cluster.submit(), cluster.submit(hold=True)
    cluster.run(parent)
    purge(cluster, parent)
    assert cluster.job(cluster.submit(dependency=f"afterok:{parent}?afterok:{other}")).dependency == ""


def test_minutes_after_a_start_are_judged_when_they_are_due_and_not_before(monkeypatch):
    judged = []
    real = reactor.evaluate
    monkeypatch.setattr(reactor, "evaluate", lambda state, indexes, job: judged.append(job.id) or real(state, indexes, job))
    cluster = EngineCluster(n0=4)
    parent = cluster.submit()
    child = cluster.submit(dependency=f"after:{parent}+2")
    array = cluster.submit(dependency=f"after:{parent}+3", array="0-3")
    cluster.plan()
    judged.clear()
    for _ in range(60):
        cluster.tick(1)
    assert judged == []
    assert cluster.reactor.next_wake_ms(cluster.now_ms + 59_900) == cluster.job(parent).start_ms + 120_000
    cluster.tick(60)
    assert (judged, cluster.job(child).dependency) == ([child], "")
    cluster.ask("hold", jobs=[f"{array}_2"])
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(parent, 0),))
    cluster.tick(60)
    assert not any(job.dependency for job in cluster.reactor.state.jobs.values())
