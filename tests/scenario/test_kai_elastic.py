"""Jobs that take between a least and a most number of nodes. KAI-Scheduler's elastic cases in the words of Slurm (`-N min-max`);
docs/design/gpu-cases.md has the list and says where the two differ: a job that has started neither grows nor waits to."""

from __future__ import annotations

from dsl import cluster


def test_all_that_it_may_have_where_there_is_room():
    cluster("2*n[gpu:1]").pending("a: 1-2n 1gpu").expect("a→n0,n1")


def test_what_there_is_where_room_is_short():
    cluster("1*n[gpu:1]").pending("a: 1-2n 1gpu").expect("a→n0")
    cluster("3*n[gpu:1]").running("r: n1 1gpu").pending("a: 1-3n 1gpu").expect("a→n0,n2")


def test_less_than_its_least_is_nothing():
    cluster("3*n[gpu:1]").running("r: n0 1gpu", "s: n1 1gpu 2h").pending("a: 2-3n 1gpu").expect("a@1h→n0,n2")


def test_two_elastic_jobs_the_first_whole_and_the_second_in_part():
    cluster("5*n[gpu:1]").pending("a: 1-3n 1gpu", "b: 1-3n 1gpu").expect("a→n0,n1,n2", "b→n3,n4")


def test_the_first_takes_all_that_it_may_have_before_the_second_has_its_least():
    """KAI deals one pod a turn (3 and 2); in Slurm priority decides, and the second takes what is left or waits."""
    cluster("5*n[gpu:1]").pending("a: 1-4n 1gpu", "b: 1-4n 1gpu").expect("a→n0,n1,n2,n3", "b→n4")
    cluster("4*n[gpu:1]").pending("a: 1-4n 1gpu", "b: 1-4n 1gpu").expect("a→n0,n1,n2,n3", "b@1h→n0,n1,n2,n3")


def test_all_of_an_elastic_job_goes_before_a_job_of_lower_priority():
    cluster("2*n[gpu:1]").pending("a: 1n 1gpu prio=1", "b: 1-2n 1gpu prio=9").expect("b→n0,n1", "a@1h→n0")


def test_what_an_elastic_job_takes_beyond_its_least_delays_no_reservation():
    busy = cluster("3*n[gpu:2]").running("r: n0 2gpu 30m", "s: n1 1gpu 30m")
    busy.pending("a: 2n 2gpu 1h", "b: 1-2n 1gpu 1h").expect("a@30m→n0,n1", "b→n2")
    busy = cluster("3*n[gpu:2]").running("r: n0 2gpu 30m", "s: n1 1gpu 30m")
    busy.pending("a: 2n 2gpu 1h", "b: 1-2n 1gpu 30m").expect("a@30m→n0,n1", "b→n1,n2")


def test_an_elastic_job_stays_in_the_domain_that_has_its_least():
    cluster("4*n[gpu:1]").tree("rack: n0-1 n2-3").running("r: n0 1gpu").pending("a: 2-4n 1gpu within=rack").expect("a→n2,n3")
