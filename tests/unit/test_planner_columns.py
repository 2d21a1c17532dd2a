"""The columns refuse contradictions, share what has not changed, and check shares for the applier."""

from __future__ import annotations

import pytest

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord
from penstock.core.plan import Share
from penstock.core.request import Request


@pytest.fixture
def columns():
    made = Columns()
    made.upsert_node(NodeRecord("a", 0, 4, 100, (("gpu", 2),)))
    made.upsert_node(NodeRecord("b", 1, 4, 100))
    made.upsert_partition(PartitionRecord("p", ("a", "b")))
    made.upsert_partition(PartitionRecord("q", ("b", "later")))
    return made


def pending(job_id, **facts):
    return PendingRecord(job_id, Request(), ("p",), 0, job_id, 60, **facts)


def words(reason):
    return reason and (reason.word, reason.what, reason.asked, reason.most, reason.names)


def test_shares_that_fit_are_not_refused(columns):
    assert columns.refusal("p", (Share("a", 1, 4, 100, (("gpu", 2),)), Share("b", 1, 4, 100))) is None


def test_refusals_name_what_is_short_and_where(columns):
    columns.start_running(1, 99, (Share("a", 1, 3, 60, (("gpu", 1),)),))
    assert words(columns.refusal("p", (Share("a", 1, 2, 0),))) == ("Resources", "cpus", 2, 1, ("a",))
    assert words(columns.refusal("p", (Share("a", 1, 1, 50),))) == ("Resources", "memory_mib", 50, 40, ("a",))
    assert words(columns.refusal("p", (Share("a", 1, 1, 0, (("gpu", 2),)),))) == ("Resources", "gpu", 2, 1, ("a",))
    assert words(columns.refusal("p", (Share("b", 1, 1, 0, (("tape", 1),)),))) == ("Resources", "tape", 1, 0, ("b",))
    assert columns.refusal("gone", (Share("a", 1, 1, 0),)).word == "PartitionConfig"
    assert columns.refusal("q", (Share("a", 1, 1, 0),)).word == "ReqNodeNotAvail"
    assert columns.refusal("p", (Share("nowhere", 1, 1, 0),)).word == "ReqNodeNotAvail"


def test_a_closed_partition_and_a_drained_node_are_refused(columns):
    columns.upsert_partition(PartitionRecord("p", ("a", "b"), "DOWN"))
    assert columns.refusal("p", (Share("a", 1, 1, 0),)).word == "PartitionDown"
    columns.upsert_node(NodeRecord("b", 1, 4, 100, up=False))
    assert columns.refusal("q", (Share("b", 1, 1, 0),)).names == ("b",)


def test_what_ends_is_free_again(columns):
    columns.start_running(1, 99, (Share("a", 1, 4, 100, (("gpu", 2),)),))
    columns.end_running(1)
    view = columns.view(7, 5)
    assert (view.seq, view.now_s) == (7, 5)
    assert view.nodes.free.tolist() == view.nodes.total.tolist() == [[4, 4], [100, 100], [2, 0]]
    assert len(view.running) == 0


def test_a_node_that_shrinks_under_its_job_has_less_than_nothing_free(columns):
    columns.start_running(1, 99, (Share("a", 1, 4, 100, (("gpu", 2),)),))
    columns.upsert_node(NodeRecord("a", 0, 2, 100))
    view = columns.view(1, 1)
    assert view.nodes.pools == ("gpu",)
    assert view.nodes.free[:, 0].tolist() == [-2, 0, -2]
    columns.end_running(1)
    assert columns.view(2, 2).nodes.pools == ()


def test_a_partition_gets_its_node_when_it_appears(columns):
    assert columns.view(1, 1).partitions["q"].member.tolist() == [False, True]
    columns.upsert_node(NodeRecord("later", 2, 4, 100))
    assert columns.view(2, 1).partitions["q"].member.tolist() == [False, True, True]


def test_nodes_stand_in_the_order_of_their_index_whenever_they_come(columns):
    columns.start_running(1, 99, (Share("b", 1, 4, 100),))
    columns.upsert_node(NodeRecord("first", -5, 1, 1))
    view = columns.view(1, 1)
    assert view.nodes.names == ("first", "a", "b")
    assert view.nodes.free[0].tolist() == [1, 4, 0]
    assert view.running.node.tolist() == [2]


def test_unchanged_parts_are_shared_between_views(columns):
    columns.upsert_pending(pending(1))
    one = columns.view(1, 1)
    columns.start_running(2, 99, (Share("a", 1, 1, 0),))
    other = columns.view(2, 2)
    assert other.pending is one.pending
    assert other.nodes.total is one.nodes.total
    assert other.nodes.free is not one.nodes.free


def test_shapes_are_forgotten_with_their_last_record(columns):
    for round_ in range(1, 50):
        columns.upsert_pending(PendingRecord(round_, Request(ntasks=round_), ("p",), 0, 0, 60))
        columns.remove_pending(round_)
    assert columns.view(1, 1).shapes == (None,)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda c: c.remove_node("x"), "node x is not known"),
        (lambda c: c.remove_node("a"), "node a still holds shares"),
        (lambda c: c.remove_partition("x"), "partition x is not known"),
        (lambda c: c.remove_pending(9), "job 9 is not among the pending"),
        (lambda c: c.start_running(1, 9, (Share("b", 1, 1, 0),)), "job 1 already holds shares"),
        (lambda c: c.start_running(3, 9, (Share("x", 1, 1, 0),)), "shares on unknown nodes: \\['x'\\]"),
        (lambda c: c.start_running(3, 9, ()), "job 3: no shares"),
        (lambda c: c.end_running(9), "job 9 holds no shares"),
        (lambda c: c.change_end(9, 1), "job 9 holds no shares"),
        (lambda c: (c.upsert_node(NodeRecord("c", 1, 1, 1)), c.view(1, 1)), "nodes b and c have the same index 1"),
        (lambda c: c.upsert_pending(PendingRecord(5, Request(), ("p",), -1, 0, 60)), "priority -1: allowed are 0"),
    ],
)
def test_contradictions_are_errors(columns, wrong, text):
    columns.start_running(1, 99, (Share("a", 1, 1, 0),))
    with pytest.raises(ValueError, match=text):
        wrong(columns)
