"""Who goes first, who may overtake whom."""

from __future__ import annotations

from dsl import NOW_S, cluster


def test_earlier_submission_goes_first():
    cluster("1*n[cpu:4]").pending("a: 4cpu", "b: 4cpu").expect("a→n0", "b: Resources")


def test_higher_priority_goes_first():
    cluster("1*n[cpu:4]").pending("a: 4cpu", "b: 4cpu prio=7").expect("b→n0", "a: Resources")


def test_higher_partition_tier_goes_before_higher_priority():
    (
        cluster("1*n[cpu:4]")
        .partition("low: *", "high: * tier=2")
        .pending("a: 4cpu in=low prio=99", "b: 4cpu in=high")
        .expect("b→n0", "a: Resources")
    )


def test_only_the_first_blocked_job_says_resources():
    cluster("1*n[cpu:4]").running("r: n0 4cpu 1h").pending("a: 4cpu", "b: 4cpu", "c: 1cpu 2h").expect(
        "a: Resources", "b: Priority", "c: Priority"
    )


def test_priority_names_the_job_in_front():
    plan = cluster("1*n[cpu:4]").running("r: n0 4cpu 1h").pending("a: 4cpu", "b: 1cpu").expect()
    assert plan.reason_of(3).names == ("2",)


def test_resources_says_what_is_short_and_how_much_there_is():
    plan = cluster("1*n[cpu:4]").running("r: n0 3cpu 1h").pending("a: 2cpu").expect("a: Resources")
    assert (plan.reason_of(2).what, plan.reason_of(2).asked, plan.reason_of(2).most) == ("cpus", 2, 1)


def test_a_short_job_fills_the_hole_before_the_reservation():
    cluster("2*n[gpu:8]").running("r: n0 8gpu 1h").pending("a: 2n 8gpu 1h", "b: 1gpu 10m").expect("b→n1", "a@1h→n0,n1")


def test_a_job_that_ends_exactly_at_the_shadow_time_may_start():
    cluster("2*n[gpu:8]").running("r: n0 8gpu 1h").pending("a: 2n 8gpu", "b: 1gpu 1h").expect("b→n1", "a@1h")


def test_a_job_one_second_longer_than_the_hole_waits():
    cluster("2*n[gpu:8]").running("r: n0 8gpu 1h").pending("a: 2n 8gpu", "b: 1gpu 3601s").expect("a@1h", "b: Priority")


def test_a_long_job_may_use_what_the_reservation_leaves():
    cluster("1*n[cpu:8]").running("r: n0 6cpu 1h").pending("a: 6cpu", "b: 2cpu 9h").expect("a@1h", "b→n0")


def test_long_jobs_together_may_not_use_more_than_the_reservation_leaves():
    cluster("1*n[cpu:8]").running("r: n0 5cpu 1h").pending("a: 6cpu", "b: 1cpu 9h x9").expect("a@1h", "b×2", "b: Priority")


def test_short_jobs_use_what_is_reserved_for_later():
    cluster("1*n[cpu:8]").running("r: n0 5cpu 1h").pending("a: 6cpu", "b: 1cpu 30m x9").expect("a@1h", "b×3")


def test_the_reservation_is_on_nodes_and_other_nodes_are_free_for_long_jobs():
    cluster("2*n[cpu:8]").running("r: n0 8cpu 1h", "s: n1 4cpu 9h").pending("a: 8cpu 1h", "b: 4cpu 2h").expect("a@1h→n0", "b→n1")


def test_totals_that_would_fit_but_no_single_node_do_not_start_a_job():
    cluster("2*n[cpu:8]").running("r: n0,n1 4cpu 1h").pending("a: 8cpu").expect("a@1h", "a: Resources")


def test_the_shadow_time_is_the_first_end_that_is_enough():
    cluster("1*n[cpu:8]").running("r: n0 2cpu 10m", "s: n0 4cpu 20m", "t: n0 2cpu 30m").pending("a: 6cpu").expect("a@20m")


def test_an_end_that_has_passed_is_expected_at_the_next_second():
    cluster("1*n[cpu:8]").running("r: n0 8cpu 0s").pending("a: 6cpu").expect("a@1s")


def test_the_second_blocked_job_has_no_reservation_under_easy():
    plan = cluster("1*n[cpu:8]").running("r: n0 8cpu 1h").pending("a: 8cpu", "b: 8cpu").expect()
    assert [entry.job_id for entry in plan.reservations] == [2]


def test_conservative_backfill_reserves_in_priority_order():
    (
        cluster("1*n[cpu:8]")
        .running("r: n0 8cpu 1h")
        .pending("a: 8cpu 1h", "b: 8cpu 2h", "c: 8cpu 1h")
        .within(reservations=10)
        .expect("a@1h", "b@2h", "c@4h")
    )


def test_conservative_backfill_lets_a_small_job_in_beside_reservations():
    (
        cluster("1*n[cpu:8]")
        .running("r: n0 4cpu 1h")
        .pending("a: 8cpu 1h", "b: 4cpu 1h", "c: 4cpu 90m", "d: 2cpu 1h")
        .within(reservations=10)
        .expect("a@1h", "b→n0", "c@2h", "d@2h")
    )


def test_conservative_backfill_takes_a_hole_between_reservations():
    (
        cluster("2*n[cpu:8]")
        .running("r: n0 8cpu 1h", "s: n1 8cpu 3h")
        .pending("a: 2n 8cpu 1h", "b: 8cpu 2h", "c: 8cpu 1h")
        .within(reservations=10)
        .expect("a@3h→n0,n1", "b@1h→n0", "c@4h")
    )


def test_easy_would_delay_what_conservative_protects():
    jobs = ("a: 8cpu 1h", "b: 2n 4cpu 1h", "c: 4cpu on=n1 9h")
    cluster("2*n[cpu:8]").running("r: n0 8cpu 1h", "s: n1 4cpu 2h").pending(*jobs).expect("a@1h", "c→n1")
    cluster("2*n[cpu:8]").running("r: n0 8cpu 1h", "s: n1 4cpu 2h").pending(*jobs).within(reservations=9).expect(
        "a@1h", "b@2h→n0,n1", "c→n1"
    )


def test_array_elements_get_their_own_reservations_under_conservative():
    plan = cluster("1*n[cpu:8]").running("r: n0 8cpu 1h").pending("a: 8cpu 1h x3").within(reservations=2).expect("a@1h")
    assert [entry.start_s - NOW_S for entry in plan.reservations] == [3600, 7200]


def test_each_partition_has_its_own_first_blocked_job():
    (
        cluster("2*n[cpu:8]")
        .partition("p: n0", "q: n1")
        .running("r: n0 8cpu 1h", "s: n1 8cpu 2h")
        .pending("a: 8cpu in=p", "b: 8cpu in=q", "c: 8cpu in=q")
        .expect("a@1h", "b@2h", "a: Resources", "b: Resources", "c: Priority")
    )


def test_a_blocked_partition_does_not_block_another():
    cluster("2*n[cpu:8]").partition("p: n0", "q: n1").running("r: n0 8cpu 1h").pending("a: 8cpu in=p", "b: 8cpu 9h in=q").expect(
        "b→n1", "a@1h"
    )


def test_a_job_that_cannot_run_blocks_nobody():
    cluster("1*n[cpu:8]").pending("a: 9cpu prio=9", "b: 8cpu").expect("b→n0", "a: BadConstraints")


def test_unlimited_running_jobs_still_yield_a_reservation():
    cluster("1*n[cpu:8]").running("r: n0 8cpu 365d").pending("a: 8cpu 1h", "b: 1cpu 1m").expect("a@365d", "b: Priority")


def test_an_interleaved_queue_keeps_strict_order():
    cluster("1*n[cpu:4]").pending("a: 1cpu", "b: 2cpu", "c: 1cpu", "d: 2cpu", "e: 1cpu").expect(
        "a→n0", "b→n0", "c→n0", "d: Resources", "e: Priority"
    )


def test_a_job_of_the_same_shape_with_a_shorter_limit_may_still_backfill():
    cluster("1*n[cpu:8]").running("r: n0 4cpu 1h").pending("a: 8cpu", "b: 4cpu 2h", "c: 4cpu 1h").expect("a@1h", "c→n0", "b: Priority")


def test_a_bound_on_starts_ends_the_pass_and_says_so():
    plan = cluster("4*n[cpu:8]").pending("a: 1cpu x100").within(max_starts=5).expect("a×5")
    assert not plan.complete
    assert plan.reason_of(1) is None


def test_a_bound_on_tests_ends_the_pass_and_says_so():
    plan = cluster("1*n[cpu:8]").running("r: n0 8cpu 1h").pending(*(f"j{at}: {at}cpu" for at in range(1, 9))).within(max_tests=3).expect()
    assert not plan.complete
    assert plan.reason_of(9) is None


def test_a_limit_that_opens_another_partition_is_not_dropped_with_a_longer_one():
    (
        cluster("2*n")
        .partition("p: n0", "q: n1 max=10m")
        .running("r: n0 8cpu 1h")
        .pending("a: 8cpu 20m in=p,q", "b: 8cpu 10m in=p,q")
        .expect("a@1h→n0", "b→n1")
    )


def test_jobs_that_are_too_long_each_say_their_own_limit():
    plan = cluster("1*n").partition("p: n0 max=1h").pending("a: in=p 3h", "b: in=p 2h", "c: in=p 1h").expect("c→n0")
    assert [plan.reason_of(job_id).asked for job_id in (1, 2)] == [10_800, 7_200]
