"""Nodes that are down, partitions that are closed, limits, arrays, and requests that can never be met."""

from __future__ import annotations

from dsl import cluster

from penstock.core.plan import Reason


def test_nothing_starts_on_a_drained_node():
    cluster("2*n").down("n0").pending("a: 8cpu", "b: 8cpu").expect("a→n1", "b: Resources")


def test_a_required_node_that_is_drained_is_named():
    plan = cluster("2*n").down("n0").pending("a: on=n0", "b: 1cpu").expect("a: ReqNodeNotAvail", "b→n1")
    assert plan.reason_of(1).names == ("n0",)


def test_a_job_larger_than_what_is_up_waits_without_a_reservation():
    plan = cluster("2*n").down("n1").pending("a: 2n 8cpu", "b: 8cpu 9h").expect("a: Resources", "b→n0")
    assert plan.reason_of(1).names == ("n1",)
    assert not plan.reservations


def test_a_reservation_keeps_to_nodes_that_are_up():
    cluster("3*n").down("n0").running("r: n1 8cpu 2h", "s: n2 8cpu 1h").pending("a: 8cpu").expect("a@1h→n2")


def test_a_running_job_on_a_drained_node_frees_nothing():
    cluster("2*n").down("n0").running("r: n0 8cpu 1h", "s: n1 8cpu 2h").pending("a: 8cpu").expect("a@2h→n1")


def test_a_partition_is_its_nodes():
    cluster("3*n").partition("p: n0", "q: n1,n2").pending("a: in=q 8cpu", "b: in=p 2n").expect("a→n1", "b: BadConstraints")


def test_a_partition_that_is_down_starts_nothing():
    cluster("1*n").partition("p: n0 state=DOWN").pending("a: in=p").expect("a: PartitionDown")


def test_an_inactive_partition_starts_nothing():
    cluster("1*n").partition("p: n0 state=INACTIVE").pending("a: in=p").expect("a: PartitionInactive")


def test_a_draining_partition_still_starts_what_is_queued():
    cluster("1*n").partition("p: n0 state=DRAIN").pending("a: in=p").expect("a→n0")


def test_an_unknown_partition_is_a_reason_and_not_an_error():
    cluster("1*n").partition("p: n0").pending("a: in=gone").expect("a: PartitionConfig")


def test_the_first_partition_that_has_room_is_used():
    plan = cluster("2*n").partition("p: n0", "q: n1").running("r: n0 8cpu 1h").pending("a: 8cpu in=p,q").expect("a→n1")
    assert plan.starts[0].partition == "q"


def test_an_array_overflows_into_its_second_partition():
    cluster("2*n[cpu:8]").partition("p: n0", "q: n1").pending("a: x99 in=p,q").expect("a×16")


def test_a_closed_partition_of_several_is_passed_over():
    cluster("2*n").partition("p: n0 state=DOWN", "q: n1").pending("a: in=p,q").expect("a→n1")


def test_a_reservation_goes_to_the_partition_that_is_free_first():
    (
        cluster("2*n")
        .partition("p: n0", "q: n1")
        .running("r: n0 8cpu 2h", "s: n1 8cpu 1h")
        .pending("a: 8cpu in=p,q")
        .expect("a@1h→n1", "a: Resources")
    )


def test_time_limits_of_the_partition_are_kept():
    plan = cluster("1*n").partition("p: n0 max=1h").pending("a: in=p 2h", "b: in=p 1h").expect("b→n0", "a: PartitionTimeLimit")
    assert (plan.reason_of(1).asked, plan.reason_of(1).most) == (7200, 3600)


def test_node_limits_of_the_partition_are_kept():
    cluster("4*n").partition("p: * nodes=2").pending("a: in=p 3n", "b: in=p 2n").expect("b→n0,n1", "a: PartitionNodeLimit")


def test_node_limits_of_the_partition_bound_what_tasks_spread_over():
    cluster("4*n[cpu:8]").partition("p: * nodes=2").pending("a: in=p 16t", "b: in=p 17t").expect("a→n0:8,n1:8", "b: BadConstraints")


def test_an_array_starts_as_many_elements_as_fit():
    cluster("2*n[cpu:64]").pending("a: x5000").expect("a×128", "a: Resources")


def test_an_array_starts_as_many_elements_as_its_limit_allows():
    cluster("2*n[cpu:64]").pending("a: x5000 %10").expect("a×10", "a: JobArrayTaskLimit")


def test_an_array_at_its_limit_does_not_block_others():
    cluster("1*n[cpu:8]").pending("a: x50 %0 prio=5", "b: 8cpu 9h").expect("b→n0", "a: JobArrayTaskLimit")


def test_an_array_that_starts_whole_waits_for_nothing():
    plan = cluster("2*n[cpu:64]").pending("a: x100").expect("a×100")
    assert plan.reason_of(1) is None
    assert len(plan.waiting_job_id) == 0


def test_an_array_fills_more_nodes_than_are_filled_at_once():
    cluster("150*n[cpu:2]").pending("a: x400", "b: 1cpu").expect("a×300", "a: Resources", "b: Priority")
    cluster("150*n[cpu:2]").pending("a: x257", "b: 2cpu").expect("a×257", "b→n129")


def test_array_elements_of_several_nodes_each():
    cluster("5*n[gpu:8]").pending("a: x9 2n 8gpu").expect("a×2", "a: Resources")


def test_array_elements_fill_mixed_gpu_types():
    cluster("1*n[cpu:64,gpu:a100:3,gpu:h100:2]").pending("a: x9 2gpu").expect("a×2")


def test_equal_jobs_are_started_in_order_and_each_once():
    plan = (
        cluster("1*n[cpu:3]")
        .pending(*(f"j{at}: 1cpu" for at in range(6)))
        .expect("j0→n0", "j1→n0", "j2→n0", "j3: Resources", "j4: Priority")
    )
    assert [start.job_id for start in plan.starts] == [1, 2, 3]


def never(request, *groups):
    reason = cluster(*groups).pending(f"a: {request}").never("a")
    return None if reason is None else (reason.what, reason.asked, reason.most)


def test_what_can_never_run_is_refused_with_the_most_there_is():
    assert never("9cpu", "3*n[cpu:8]") == ("cpus", 9, 8)
    assert never("65G", "3*n[mem:64G]") == ("memory_mib", 65 * 1024, 64 * 1024)
    assert never("9G/cpu 8cpu", "3*n[cpu:8,mem:64G]") == ("memory_mib", 72 * 1024, 64 * 1024)
    assert never("9gpu", "3*n[gpu:8]") == ("gpu", 9, 8)
    assert never("1gpu:h100", "3*n[gpu:a100:8]") == ("gpu:h100", 1, 0)
    assert never("4n", "3*n") == ("nodes", 4, 3)
    assert never("25t", "3*n[cpu:8]") == ("tasks", 25, 24)
    assert never("25t 25gpu/job", "3*n[cpu:64,gpu:8]") == ("gpu", 25, 24)
    assert never("2n 9t 4t/n", "3*n[cpu:8]") == ("tasks", 9, 8)


def test_what_could_run_on_an_idle_cluster_is_not_refused():
    busy = cluster("2*n[gpu:8]").running("r: n0,n1 8gpu 9h").down("n1").pending("a: 2n 8gpu")
    assert busy.never("a") is None


def test_the_largest_that_fits_is_not_refused():
    assert never("3n 8gpu 8cpu 64G", "3*n[cpu:8,gpu:8,mem:64G]") is None


def test_the_quantities_must_come_together_on_a_node():
    assert never("8gpu 16cpu", "1*g[cpu:8,gpu:8]", "1*c[cpu:64]") == ("nodes", 1, 0)


def test_a_reason_reads_as_a_sentence():
    reason = cluster("3*n[cpu:8]").pending("a: 9cpu").never("a")
    assert reason.sentence() == "BadConstraints: cpus 9 asked, 8 is the most there can be"
    limit = Reason("PartitionTimeLimit", "policy", "time_limit_s", 39_600, 36_000, ("main",))
    assert limit.sentence() == "PartitionTimeLimit: time limit 11:00:00 asked, 10:00:00 is the most there can be (main)"
    memory = Reason("Resources", "waiting", "memory_mib", 500, 100)
    assert memory.sentence() == "Resources: memory 500 MiB asked, 100 MiB is the most there can be"
