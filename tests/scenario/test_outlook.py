"""When a job that is not in the queue could start."""

from __future__ import annotations

from dsl import NOW_S, Scenario, cluster

from penstock.core.outlook import outlook
from penstock.core.plan import Reason, Reservation, Share
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


def behind(scenario: Scenario, *ahead: Reservation, seconds: int = 60, **facts: int) -> object:
    found = outlook(scenario.partition("main: *").columns.view(1, NOW_S), Batch(Request(**facts), ("main",), seconds), ahead)
    return (found.start_s - NOW_S, [share.node for share in found.shares])


def expected(node: str, begin_s: int, end_s: int, cpus: int = 8) -> Reservation:
    return Reservation(9, "main", NOW_S + begin_s, NOW_S + end_s, (Share(node, 1, cpus, 0),))


def test_expected_starts_of_those_ahead_are_left_alone():
    assert behind(cluster("1*n"), expected("n0", 60, 3600), cpus_per_task=8) == (0, ["n0"])
    assert behind(cluster("1*n"), expected("n0", 60, 3600), seconds=61, cpus_per_task=8) == (3600, ["n0"])
    assert behind(cluster("2*n"), expected("n0", 60, 3600), seconds=61, cpus_per_task=8) == (0, ["n1"])
    assert behind(cluster("1*n"), expected("n0", 60, 3600, cpus=4), seconds=61, cpus_per_task=4) == (0, ["n0"])


def test_expected_starts_of_a_node_that_has_gone_hold_nothing():
    assert behind(cluster("1*n"), expected("gone", 60, 3600), seconds=99, cpus_per_task=8) == (0, ["n0"])


def test_a_reason_where_it_cannot():
    assert ask(cluster("1*n"), cpus_per_task=9) == "BadConstraints"
    assert ask(cluster("1*n").down("n0")) == "Resources"
    assert ask(cluster("1*n").partition("p: n0 max=1m"), "p", 61) == "PartitionTimeLimit"
