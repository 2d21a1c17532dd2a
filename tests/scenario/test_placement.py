"""Which nodes a job gets, and what it holds there."""

from __future__ import annotations

from dsl import cluster


def held(plan, field="cpus"):
    return [[getattr(share, field) for share in start.shares] for start in plan.starts]


def test_best_fit_takes_the_fullest_node_that_is_enough():
    cluster("3*n[gpu:8]").running("r: n1 6gpu 1h").pending("a: 2gpu").expect("a→n1")


def test_whole_nodes_stay_whole():
    cluster("2*n[gpu:8]").running("r: n1 2gpu 1h").pending("a: 1gpu", "b: 8gpu").expect("a→n1", "b→n0")


def test_low_weight_goes_before_best_fit():
    cluster("1*big[cpu:64,weight:1]", "1*small[cpu:4,weight:9]").pending("a: 4cpu").expect("a→big0")


def test_heavy_nodes_are_used_when_the_light_ones_are_not_enough():
    cluster("1*a[cpu:2,weight:1]", "1*b[cpu:8,weight:9]").pending("j: 8cpu").expect("j→b0")


def test_jobs_without_gpus_keep_away_from_gpu_nodes():
    cluster("1*g[gpu:8]", "1*c").pending("a: 1cpu").expect("a→c0")


def test_equal_nodes_are_taken_in_order():
    cluster("3*n").pending("a: 2n 8cpu").expect("a→n0,n1")


def test_memory_is_consumed():
    cluster("1*n[mem:64G]").pending("a: 40G", "b: 30G", "c: 24G 1h").expect("a→n0", "c→n0", "b: Resources")


def test_memory_per_cpu_counts_all_cpus_of_the_task():
    plan = cluster("1*n[cpu:8,mem:64G]").pending("a: 4cpu 8G/cpu", "b: 5cpu 8G/cpu").expect("a→n0")
    assert held(plan, "memory_mib") == [[32 * 1024]]


def test_all_memory_of_a_node_needs_all_of_it_free():
    cluster("2*n[mem:64G]").running("r: n0 1G 1h").pending("a: allmem", "b: 1M on=n1").expect("a→n1", "b: Resources")


def test_a_job_without_memory_runs_beside_one_with_all():
    cluster("1*n").pending("a: allmem", "b: 1cpu").expect("a→n0", "b→n0")


def test_typed_gpus_come_from_that_type_only():
    cluster("1*n[gpu:a100:2]", "1*m[gpu:h100:2]").pending("a: 2gpu:h100", "b: 1gpu:h100", "c: 3gpu").expect(
        "a→m0", "b: Resources", "c: BadConstraints"
    )


def test_untyped_gpus_come_from_any_type():
    plan = cluster("1*n[gpu:a100:2,gpu:h100:2]").pending("a: 3gpu", "b: 1gpu").expect("a→n0", "b→n0")
    assert held(plan, "gres") == [[(("gpu:a100", 2), ("gpu:h100", 1))], [(("gpu:h100", 1),)]]


def test_typed_and_untyped_gpus_in_one_job_do_not_count_twice():
    cluster("1*n[gpu:a100:2,gpu:h100:1]").pending("a: 2gpu:a100 2gpu", "b: 2gpu:a100 1gpu").expect("b→n0", "a: BadConstraints")


def test_several_types_in_one_job():
    plan = cluster("1*n[gpu:a100:2,gpu:h100:2]").pending("a: 1gpu:a100 2gpu:h100").expect("a→n0")
    assert held(plan, "gres") == [[(("gpu:a100", 1), ("gpu:h100", 2))]]


def test_nodes_without_a_type_do_not_meet_a_typed_request():
    cluster("1*n[gpu:2]").pending("a: 1gpu:a100").expect("a: BadConstraints")


def test_gpus_per_task_stay_with_their_tasks():
    plan = cluster("2*n[gpu:2]").pending("a: 3t 1gpu/task").expect("a→n0:2,n1:1")
    assert held(plan, "gres") == [[(("gpu", 2),), (("gpu", 1),)]]


def test_gpus_in_total_spread_over_as_few_nodes_as_it_takes():
    plan = cluster("3*n[gpu:2]").pending("a: 4t 4gpu/job").expect("a→n0:3,n1:1")
    assert held(plan, "gres") == [[(("gpu", 2),), (("gpu", 2),)]]


def test_gpus_in_total_without_tasks_bring_a_task_each():
    cluster("3*n[gpu:2]").pending("a: 4gpu/job").expect("a→n0:1,n1:1")


def test_gpus_in_total_on_a_given_number_of_nodes():
    plan = cluster("2*n[gpu:2]").pending("a: 2n 3gpu/job").expect("a→n0,n1")
    assert held(plan, "gres") == [[(("gpu", 2),), (("gpu", 1),)]]


def test_one_task_cannot_use_gpus_of_two_nodes():
    cluster("2*n[gpu:2]").pending("a: 1t 3gpu/job").expect("a: BadConstraints")


def test_exclusive_takes_idle_nodes_whole():
    plan = cluster("2*n[cpu:8,gpu:2]").running("r: n0 1cpu 1h").pending("a: excl", "b: 1cpu on=n1").expect("a→n1", "b: Resources")
    assert held(plan) == [[8]]
    assert held(plan, "gres") == [[(("gpu", 2),)]]


def test_exclusive_waits_for_a_whole_node():
    cluster("1*n").running("r: n0 1cpu 1h").pending("a: excl").expect("a@1h", "a: Resources")


def test_exclusive_with_memory_per_cpu_gets_it_for_every_cpu():
    plan = cluster("1*n[cpu:8,mem:64G]").pending("a: excl 8G/cpu").expect("a→n0")
    assert held(plan, "memory_mib") == [[64 * 1024]]


def test_nodelist_puts_the_job_there():
    cluster("4*n").pending("a: 2n on=n2,n3").expect("a→n2,n3")


def test_nodelist_shorter_than_the_job_is_completed():
    cluster("4*n").running("r: n0 8cpu 1h").pending("a: 3n 8cpu on=n3").expect("a→n1,n2,n3")


def test_nodelist_longer_than_one_node_makes_a_job_of_that_many():
    cluster("4*n").pending("a: 1cpu on=n1,n2").expect("a→n1,n2")


def test_nodelist_waits_for_its_node_though_others_are_idle():
    cluster("2*n").running("r: n0 8cpu 1h").pending("a: 1cpu on=n0").expect("a@1h→n0")


def test_excluded_nodes_are_not_used():
    cluster("3*n").pending("a: 1cpu not=n0,n1").expect("a→n2")


def test_excluded_and_required_is_impossible():
    cluster("3*n").pending("a: 1cpu on=n0 not=n0").expect("a: BadConstraints")


def test_features_choose_nodes():
    cluster("2*n", "1*f[feature:nvme,feature:ib]").pending("a: 1cpu has=nvme&ib", "b: 1cpu has=gone").expect("a→f0", "b: BadConstraints")


def test_tasks_fill_the_first_node_and_leave_one_for_the_others():
    cluster("4*n[cpu:8]").pending("a: 2n 4t").expect("a→n0:3,n1:1")


def test_tasks_spill_over_to_the_next_node():
    cluster("4*n[cpu:8]").pending("a: 12t").expect("a→n0:8,n1:4")


def test_cpus_per_task_bound_the_tasks_of_a_node():
    plan = cluster("4*n[cpu:8]").pending("a: 2n 4t 3cpu").expect("a→n0:2,n1:2")
    assert held(plan) == [[6, 6]]


def test_ntasks_per_node_bounds_the_tasks_of_a_node():
    cluster("4*n[cpu:8]").pending("a: 10t 4t/n").expect("a→n0:4,n1:4,n2:2")


def test_ntasks_per_node_without_tasks_is_exact():
    cluster("4*n[cpu:8]").pending("a: 2n 4t/n").expect("a→n0:4,n1:4")


def test_a_range_of_nodes_takes_as_many_as_there_are():
    cluster("3*n").running("r: n1 8cpu 1h").pending("a: 1-3n").expect("a→n0,n2")


def test_a_range_of_nodes_with_tasks_spreads_them():
    cluster("4*n[cpu:8]").pending("a: 1-3n 6t").expect("a→n0:4,n1:1,n2:1")


def test_tasks_on_unequal_nodes_use_the_large_one_first():
    cluster("2*s[cpu:2]", "1*l[cpu:8]").pending("a: 10t").expect("a→s0:2,l0:8")


def test_a_node_bound_is_kept_by_taking_larger_nodes():
    cluster("4*s[cpu:2,weight:1]", "2*l[cpu:8,weight:5]").pending("a: 1-2n 12t").expect("a→l0:8,l1:4")


def test_several_nodes_need_that_many_nodes_and_not_their_sum():
    cluster("2*n[cpu:8]").pending("a: 3n 1cpu").expect("a: BadConstraints")
