"""Bounds of a pass that make it another policy: strict order, an order of its own for backfilling, a window, a grid, a depth."""

from __future__ import annotations

import numpy as np
import pytest
from dsl import NOW_S, cluster

from penstock.core.backfill import EVERY
from penstock.core.cycle import Budget, plan_now
from penstock.core.grounds import Memory

WIDE = ("wide: 2n 8cpu 1h", "a: 2cpu 30m", "b: 2cpu 20m", "c: 2cpu 10m")


def half_full():
    return cluster("2*n[cpu:8]").running("r: n0 8cpu 1h", "s: n1 6cpu 1h")


def test_strict_order_starts_nothing_behind_a_blocked_job():
    plan = half_full().pending("first: 2cpu 1h", *WIDE).within(strict=True, reservations=0).expect("first→n1", "a: Priority")
    assert plan.reservations == ()


def test_strict_order_holds_wherever_the_blocked_job_may_run():
    world = cluster("2*n[cpu:4]").partition("p: n0", "q: n1").running("r: n0 4cpu 1h", "s: n1 2cpu 1h")
    world.pending("a: 4cpu in=p,q", "b: 1cpu in=q")
    world.within(strict=True, reservations=0).expect("b: Priority")


def test_strict_order_holds_in_each_partition_for_itself():
    world = half_full().partition("main: n0", "other: n1").pending("wide: 8cpu", "a: 2cpu", "b: 2cpu in=other", "c: 2cpu in=main,other")
    world.within(strict=True, reservations=0).expect("b→n1", "a: Priority", "c: Priority")


def test_a_job_of_two_partitions_starts_in_the_one_that_is_not_blocked():
    world = half_full().partition("main: n0", "other: n1").pending("wide: 8cpu", "a: 2cpu in=main,other")
    world.within(strict=True, reservations=0).expect("a→n1")


def test_without_reservations_whoever_fits_starts():
    half_full().pending("wide: 2n 8cpu 1h", "long: 2cpu 9h").within(reservations=0).expect("long→n1")


def test_one_reservation_keeps_a_long_job_from_delaying_it():
    half_full().pending("wide: 2n 8cpu 1h", "long: 2cpu 9h").expect("wide@1h→n0,n1", "long: Priority")


def test_every_blocked_job_has_a_reservation_under_conservative_backfill():
    half_full().pending("wide: 2n 8cpu 1h", "next: 2n 8cpu 1h", "long: 2cpu 9h").within(reservations=EVERY).expect(
        "wide@1h", "next@2h", "long@3h"
    )


def test_those_behind_are_tried_in_the_order_that_is_given():
    world = half_full().pending(*WIDE)
    view_of = world.columns.view
    world.plan()
    limits_s = view_of(1, NOW_S).pending.time_limit_s
    plan = plan_now(view_of(1, NOW_S), Budget(), behind=np.argsort(limits_s, kind="stable"))
    assert [start.job_id for start in plan.starts] == [world.job_ids["c"]]
    assert [entry.job_id for entry in plan.reservations] == [world.job_ids["wide"]]


def test_no_reservation_begins_behind_the_window():
    half_full().pending("wide: 2n 8cpu 1h", "long: 2cpu 9h").within(window_s=1_800).expect("long→n1", "wide: Resources")


def test_ends_are_rounded_up_to_the_grid():
    scenario = half_full().pending("wide: 2n 8cpu 1h", "a: 2cpu 61m").within(resolution_s=3_600)
    reserved = scenario.plan().reservations[0].start_s
    assert reserved % 3_600 == 0 and NOW_S + 3_600 <= reserved < NOW_S + 7_200


def test_records_beyond_the_depth_are_not_looked_at_and_say_so():
    half_full().pending(*WIDE).within(max_jobs=2).expect("a→n1", "b: Priority", "c: Priority")


def test_so_many_jobs_of_a_partition_are_looked_at():
    world = (
        cluster("2*n[cpu:8]").partition("main: n0", "other: n1").pending("a: 2cpu", "b: 2cpu", "c: 2cpu in=other", "d: 2cpu in=other,main")
    )
    world.within(max_partition_jobs=1).expect("a→n0", "c→n1", "b: Priority", "d: Priority")


def test_so_many_jobs_of_a_user_are_looked_at():
    world = cluster("1*n[cpu:8]").pending("a: 2cpu user=7", "b: 2cpu user=7", "c: 2cpu user=8", "d: 2cpu user=7")
    world.within(max_user_jobs=2).expect("a→n0", "b→n0", "c→n0", "d: Priority")


@pytest.mark.parametrize(
    "bound", ["slice_cells", "max_starts", "max_tests", "resolution_s", "reservations", "window_s", "max_jobs", "max_user_jobs"]
)
def test_a_bound_that_makes_no_sense_is_refused_by_name(bound):
    with pytest.raises(ValueError, match=bound):
        Budget(**{bound: -1})


def test_what_was_remembered_is_forgotten_when_a_node_goes_down():
    world = half_full().partition("main: *").pending("a: on=n1 2cpu")
    memory = Memory()
    assert len(plan_now(world.columns.view(1, NOW_S), memory=memory).starts) == 1
    world.down("n1")
    reason = plan_now(world.columns.view(2, NOW_S), memory=memory).reason_of(world.job_ids["a"])
    assert reason is not None and reason.word == "ReqNodeNotAvail"
