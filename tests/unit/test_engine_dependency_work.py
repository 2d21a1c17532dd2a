"""What dependencies cost: the rows that are looked at grow with the jobs that end, not with their square."""

import pytest
from engine_cluster import ALICE, EngineCluster

from penstock.engine.indexes import Indexes
from penstock.engine.same_name import SPARE, SameName

FEW, MANY = 30, 90
MOST = 3.6
"""Thrice the jobs may take so many times the looks; a square takes nine."""


class Looked(dict):
    """The jobs, and how many were looked at."""

    count = 0

    def __getitem__(self, job_id):
        self.count += 1
        return super().__getitem__(job_id)

    def get(self, job_id, default=None):
        self.count += 1
        return super().get(job_id, default)

    def values(self):
        self.count += len(self)
        return super().values()


def end_all(cluster, ids):
    for job_id in ids:
        cluster.end(job_id)


def singletons_that_end(number):
    cluster = EngineCluster(n0=1)
    ids = [cluster.submit(name="chain", dependency="singleton") for _ in range(number)]
    for job_id in ids:
        assert cluster.word(job_id) == "PENDING"
    jobs = cluster.reactor.state.jobs = Looked(cluster.reactor.state.jobs)
    for job_id in ids:
        cluster.run(job_id)
    return cluster, jobs.count


def singletons_that_are_cancelled(number):
    cluster = EngineCluster(n0=1)
    for _ in range(number):
        cluster.submit(name="chain", dependency="singleton")
    cluster.plan()
    jobs = cluster.reactor.state.jobs = Looked(cluster.reactor.state.jobs)
    cluster.ask("cancel", uid=ALICE.uid, states=["PENDING"])
    return cluster, jobs.count


def elements(number, dependency, array=""):
    cluster = EngineCluster(n0=number)
    parent = cluster.submit(array=f"0-{number - 1}", mem_per_cpu_mib=1)
    cluster.submit(array=array, mem_per_cpu_mib=1, dependency=dependency.format(parent))
    jobs = cluster.reactor.state.jobs = Looked(cluster.reactor.state.jobs)
    cluster.plan()
    end_all(cluster, [job.id for job in list(jobs.values()) if job.array_job_id == parent])
    return cluster, jobs.count


def one_to_one(number):
    return elements(number, "aftercorr:{}", f"0-{number - 1}")


def after_the_start(number):
    return elements(number, "after:{}")


def after_the_start_and_a_while(number):
    return elements(number, "after:{}+5")


@pytest.mark.parametrize(
    "work", [singletons_that_end, singletons_that_are_cancelled, one_to_one, after_the_start, after_the_start_and_a_while]
)
def test_the_work_of_dependencies_is_linear(work):
    cluster, few = work(FEW)
    _, many = work(MANY)
    assert many < MOST * few, (few, many)
    indexes = cluster.reactor.indexes
    assert indexes.summary() == Indexes(cluster.reactor.state, indexes.clock_ms).summary()
    cluster.check_law()


def test_singletons_go_in_the_order_in_which_they_came_arrays_together():
    cluster = EngineCluster(n0=8)
    first = cluster.submit(name="x")
    array = cluster.submit(name="x", array="0-1", dependency="singleton")
    last = cluster.submit(name="x", dependency="singleton")
    cluster.plan()
    assert (cluster.word(first), cluster.running(array)) == ("RUNNING", [])
    cluster.end(first)
    cluster.plan()
    assert cluster.running(array) == [0, 1]
    cluster.end(cluster.element(array, 1).id)
    cluster.plan()
    assert cluster.word(last) == "PENDING", "an element of the array that came before still runs"
    cluster.end(cluster.element(array, 0).id)
    cluster.plan()
    assert cluster.word(last) == "RUNNING"


def test_a_job_that_gets_another_name_is_out_of_the_way():
    cluster = EngineCluster(n0=8)
    first, other = cluster.submit(name="x"), cluster.submit(name="y")
    waits, heir = cluster.submit(name="x", dependency="singleton"), cluster.submit(name="z", dependency="singleton")
    cluster.ask("update_job", jobs=[str(first)], keys=["JobName=w"])
    cluster.ask("update_job", jobs=[str(heir)], keys=["JobName=y"])
    cluster.plan()
    assert [cluster.word(job) for job in (first, other, waits)] == ["RUNNING"] * 3
    assert cluster.reactor.indexes.job_count == 4
    for job in (first, other, waits):
        cluster.end(job)
    assert cluster.reactor.indexes.job_count == 1
    indexes = cluster.reactor.indexes
    assert indexes.summary() == Indexes(cluster.reactor.state, indexes.clock_ms).summary()


def test_the_earliest_of_a_name_outlives_any_coming_and_going():
    names, key = SameName(), (0, "x")
    assert names.earliest(key) == 0
    for job_id, group in ((5, 5), (9, 3), (7, 7)):
        assert names.add(key, job_id, group)
    assert names.earliest(key) == 3
    for _ in range(3 * SPARE):
        names.discard(key, 9)
        assert names.earliest(key) == 5
        names.add(key, 9, 3)
        names.discard(key, 7)
        names.add(key, 7, 7)
    assert list(names.get(key)) == [5, 9, 7]
    assert len(names._heaps.get(key, ())) <= 2 * 3 + SPARE
    for job_id in (5, 9, 7):
        assert names.discard(key, job_id)
    assert (len(names), names.earliest(key)) == (0, 0)
