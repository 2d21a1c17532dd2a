"""When a job that is not in the queue could start."""

from __future__ import annotations

from dsl import NOW_S, Scenario, cluster

from penstock.core.outlook import outlook
from penstock.core.plan import Reason
from penstock.core.request import Request
from penstock.core.view import Batch


def ask(scenario: Scenario, partition: str = "main", seconds: int = 60, **facts: int) -> object:
    if not scenario.partitions:
        scenario.partition("main: *")
    found = outlook(scenario.columns.view(1, NOW_S), Batch(Request(**facts), (partition,), seconds))
    if isinstance(found, Reason):
        return found.word
    return (found.start_s - NOW_S, found.end_s - found.start_s, [share.node for share in found.shares])


def test_now_where_it_fits():
    assert ask(cluster("2*n").running("r: n0 8cpu 1h"), cpus_per_task=8) == (0, 60, ["n1"])


def test_at_the_end_of_what_is_in_the_way():
    assert ask(cluster("2*n").running("r: n0 8cpu 1h", "s: n1 8cpu 2h"), cpus_per_task=8) == (3600, 60, ["n0"])


def test_waiting_jobs_are_not_looked_at():
    assert ask(cluster("1*n").pending("a: 8cpu"), cpus_per_task=8) == (0, 60, ["n0"])


def test_a_reason_where_it_cannot():
    assert ask(cluster("1*n"), cpus_per_task=9) == "BadConstraints"
    assert ask(cluster("1*n").down("n0")) == "Resources"
    assert ask(cluster("1*n").partition("p: n0 max=1m"), "p", 61) == "PartitionTimeLimit"
