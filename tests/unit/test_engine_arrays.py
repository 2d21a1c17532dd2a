"""Arrays: one row until elements start, a limit on how many run, and commands that mean only some."""

from __future__ import annotations

import pytest
from engine_cluster import ROOT, EngineCluster, Refused

from penstock.spec import arrays
from penstock.spec import errors as err


@pytest.fixture
def cluster():
    return EngineCluster(n0=4, n1=4)


def waiting(cluster, array_id):
    """Elements that have not started, over all rows."""
    found = []
    for job in cluster.reactor.state.jobs.values():
        if job.array_job_id == array_id and job.state == 0:
            found += [job.array_task_id] if job.array_task_id >= 0 else arrays.indices(job.pending_tasks)
    return sorted(found)


def test_an_array_is_one_row_until_its_elements_start(cluster):
    array = cluster.submit(array="0-999")
    assert list(cluster.reactor.state.jobs) == [array]
    cluster.plan()
    assert cluster.running(array) == list(range(8))
    assert len(cluster.reactor.state.jobs) == 9


def test_each_started_element_has_an_id_of_its_own_and_the_last_keeps_the_arrays(cluster):
    array = cluster.submit(array="1-3")
    cluster.plan()
    ids = [cluster.element(array, task).id for task in (1, 2, 3)]
    assert len(set(ids)) == 3
    assert ids[2] == array
    assert cluster.submit() > max(ids)


def test_the_limit_holds_and_every_end_lets_the_next_start(cluster):
    array = cluster.submit(array="0-4%2")
    cluster.plan()
    assert cluster.running(array) == [0, 1]
    assert cluster.reason(array) == "JobArrayTaskLimit"
    cluster.plan()
    assert cluster.running(array) == [0, 1]
    cluster.end(cluster.element(array, 0).id)
    cluster.plan()
    assert cluster.running(array) == [1, 2]


def test_a_split_element_under_the_limit_starts_when_its_turn_comes(cluster):
    array = cluster.submit(array="0-2%1")
    cluster.plan()
    assert cluster.running(array) == [0]
    cluster.ask("hold", jobs=[f"{array}_2"])
    cluster.ask("release_hold", jobs=[f"{array}_2"])
    cluster.end(cluster.element(array, 0).id)
    cluster.plan()
    cluster.end(cluster.element(array, cluster.running(array)[0]).id)
    cluster.plan()
    assert len(cluster.running(array)) == 1
    assert waiting(cluster, array) == []


def test_a_raised_limit_lets_more_start_at_once(cluster):
    array = cluster.submit(array="0-4%1")
    cluster.plan()
    cluster.ask("update_job", jobs=[str(array)], keys=["ArrayTaskThrottle=3"])
    cluster.plan()
    assert cluster.running(array) == [0, 1, 2]


def test_cancel_of_a_subset_leaves_the_others(cluster):
    array = cluster.submit(array="0-9")
    answer = cluster.ask("cancel", jobs=[f"{array}_[2-4]"])
    assert answer.split("\t")[0] == f"{array}_[2-4]"
    assert waiting(cluster, array) == [0, 1, 5, 6, 7, 8, 9]
    cluster.plan()
    cluster.plan()
    assert cluster.running(array) == [0, 1, 5, 6, 7, 8, 9]


def test_cancel_of_the_array_ends_what_runs_and_what_waits(cluster):
    array = cluster.submit(array="0-9")
    cluster.plan()
    cluster.ask("cancel", jobs=[str(array)])
    rows = [job for job in cluster.reactor.state.jobs.values() if job.array_job_id == array]
    assert {job.state for job in rows} == {4}
    for job in rows:
        if job.nodes_left:
            cluster.end(job.id, 15)
    assert all(job.finished for job in rows)


def test_hold_of_a_subset_keeps_only_it(cluster):
    array = cluster.submit(array="0-5")
    cluster.ask("hold", jobs=[f"{array}_[0-1]"])
    cluster.plan()
    assert cluster.running(array) == [2, 3, 4, 5]
    cluster.ask("release_hold", jobs=[f"{array}_[0-1]"])
    cluster.plan()
    assert cluster.running(array) == [0, 1, 2, 3, 4, 5]


def test_requeue_of_one_element(cluster):
    array = cluster.submit(array="0-1")
    cluster.plan()
    element = cluster.element(array, 1)
    cluster.end(element.id, 1 << 8)
    cluster.ask("requeue", ROOT, jobs=[f"{array}_1"])
    cluster.tick(cluster.config.requeue_delay_s)
    cluster.plan()
    assert (element.state, element.attempt) == (1, 1)


def test_an_element_that_does_not_exist_is_an_invalid_id(cluster):
    array = cluster.submit(array="0-3")
    assert cluster.ask("hold", jobs=[f"{array}_7"]) == f"{array}_7: Invalid job id specified"


@pytest.mark.parametrize("text", ["0-3000000", "x", "3-1", ""])
def test_absurd_arrays_are_refused(cluster, text):
    if not text:
        assert cluster.submit(array=text)
        return
    with pytest.raises(Refused) as refusal:
        cluster.submit(array=text)
    assert refusal.value.code == err.ESLURM_INVALID_ARRAY


def test_ids_in_a_batch_stay_their_own_when_one_of_it_splits(cluster):
    """An aftercorr array whose counterparts have ended is split as it is submitted, and takes ids."""
    parent = cluster.submit(array="0-1")
    cluster.plan()
    for task in (0, 1):
        cluster.end(cluster.element(parent, task).id)
    requests = [{"array": "0-2", "dependency": f"aftercorr:{parent}"}, {"name": "after"}]
    first, second = cluster.ask("submit_many", requests=requests, sections=[b"#!/bin/sh\n", b""]).split(",")
    assert cluster.job(int(second)).spec.name == "after"
    assert cluster.job(int(first)).array_job_id == int(first)
    cluster.check_law()
