"""Which CPUs a job has: the lowest free ones, each only once, and the same again after a restart."""

from __future__ import annotations

import pytest
from engine_cluster import EngineCluster
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.cpus import lowest_free, mask_of, shown
from penstock.wire import messages as m


@pytest.mark.parametrize(
    ("held", "cpus", "count", "expected"),
    [
        (0, 8, 3, ((0, 2),)),
        (0b0111, 8, 2, ((3, 4),)),
        (0b0110, 8, 3, ((0, 0), (3, 4))),
        (0b1010_1010, 8, 4, ((0, 0), (2, 2), (4, 4), (6, 6))),
        (0, 8, 9, ()),
        (0b1111, 4, 1, ()),
        (0, 8, 0, ()),
    ],
)
def test_the_lowest_free_ids_are_taken(held, cpus, count, expected):
    assert lowest_free(held, cpus, count) == expected


@given(st.integers(1, 300).flatmap(lambda cpus: st.tuples(st.just(cpus), st.integers(0, 2**cpus - 1), st.integers(0, cpus))))
def test_ids_are_free_in_range_and_as_many_as_asked_for(drawn):
    cpus, held, count = drawn
    mask = mask_of(lowest_free(held, cpus, count))
    assert mask & held == 0 and mask < 1 << cpus
    assert mask.bit_count() == (count if count <= cpus - held.bit_count() else 0)


def test_shown_as_slurm_does():
    assert shown(((0, 3), (6, 6))) == "0-3,6"


def ids(cluster, job):
    return [shown(alloc.cpu_ids) for alloc in cluster.job(job).allocs]


def test_jobs_on_a_node_have_cpus_of_their_own_also_over_a_restart():
    cluster = EngineCluster(n0=8)
    first, second, third = (cluster.submit(ntasks=2) for _ in range(3))
    cluster.plan()
    assert [ids(cluster, job) for job in (first, second, third)] == [["0-1"], ["2-3"], ["4-5"]]
    cluster.end(second)
    cluster.crash()
    cluster.node("n0", 8, runs=(m.RunReport(first, 0), m.RunReport(third, 0)))
    wide = cluster.submit(ntasks=4)
    cluster.plan()
    assert ids(cluster, wide) == ["2-3,6-7"]
    cluster.check_law()
