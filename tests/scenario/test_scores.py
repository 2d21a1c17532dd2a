"""Weights of placement scores: what each prefers, and what comes before all of them."""

from __future__ import annotations

import pytest
from dsl import Scenario, cluster

from penstock.core import weights
from penstock.spec import parameters


def weighed(scenario: Scenario, **scores: int) -> Scenario:
    scenario.columns.weights = weights.check_weights(scores)
    return scenario


def test_fragmentation_keeps_apart_what_waiting_jobs_need_together():
    jobs = ("a: 1gpu", "b: 2gpu", "c: 2gpu")
    nodes = ("1*n[gpu:2]", "1*m[gpu:3]", "1*o[gpu:2]")
    weighed(cluster(*nodes), fragmentation=100).pending(*jobs).expect("a→m0", "b→m0", "c→n0")
    cluster(*nodes).pending(*jobs).expect("a→n0", "b→o0", "c→m0")


def test_fragmentation_chooses_the_device_whose_rest_can_still_be_used():
    jobs = ("a: 3shard", "b: 7shard", "c: 7shard")
    cluster("1*n[gpu:2/10]").running("r: n0 3gpu#00").pending(*jobs).expect("a→n0#0", "b→n0#1", "c: Resources")
    scenario = weighed(cluster("1*n[gpu:2/10]"), fragmentation=100)
    scenario.running("r: n0 3gpu#00").pending(*jobs).expect("a→n0#1", "b→n0#0", "c→n0#1")


def test_remainders_opens_a_device_where_the_rest_of_another_is_worth_more():
    """Two of 47 fill a device well, and so do three of 32; 47 and 32 leave 21 that nobody wants."""
    jobs = ("a: 32shard", "b: 47shard", "c: 32shard")
    cluster("1*n[gpu:2/100]").running("r: n0 47gpu#00").pending(*jobs).expect("a→n0#0", "b→n0#1", "c→n0#1")
    scenario = weighed(cluster("1*n[gpu:2/100]"), remainders=100)
    scenario.running("r: n0 47gpu#00").pending(*jobs).expect("a→n0#1", "b→n0#0", "c→n0#1")


def test_remainders_values_each_kind_of_device_by_its_own_shares():
    """A rest of 30 of 80 is just right for b, and a fills a device of 48 as well as any."""
    jobs = ("a: 25shard", "b: 30shard", "c: 30shard", "d: 30shard")
    nodes = ("1*n[gpu:1/80]", "1*m[gpu:1/48]")
    held = ("r: n0 25gpu#00", "s: n0 25gpu#00")
    cluster(*nodes).running(*held).pending(*jobs).expect("a→n0#0", "b→m0#0", "c: Resources", "d: Priority")
    scenario = weighed(cluster(*nodes), remainders=100)
    scenario.running(*held).pending(*jobs).expect("a→m0#0", "b→n0#0", "c: Resources", "d: Priority")


def test_stranding_sends_a_job_that_needs_few_cpus_where_few_are_left():
    nodes = ("1*rich[gpu:2,cpu:32]", "1*poor[gpu:2,cpu:8]")
    jobs = ("a: 1gpu 2cpu", "b: 1gpu 12cpu", "c: 1gpu 12cpu")
    weighed(cluster(*nodes), stranding=100).pending(*jobs).expect("a→poor0", "b→rich0", "c→rich0")


def test_whole_nodes_keeps_an_idle_node_idle():
    scenario = cluster("1*n[gpu:2]", "1*m[gpu:8]").running("r: m0 1gpu")
    weighed(scenario, whole_nodes=100).pending("a: 1gpu").expect("a→m0")
    cluster("1*n[gpu:2]", "1*m[gpu:8]").running("r: m0 1gpu").pending("a: 1gpu").expect("a→n0")


def test_whole_nodes_does_not_mind_a_job_that_takes_all_of_the_node():
    scenario = cluster("1*n[gpu:2]", "1*m[gpu:8]").running("r: m0 1gpu")
    weighed(scenario, whole_nodes=100).pending("a: 2gpu").expect("a→n0")


def test_a_type_that_others_need_is_kept_for_them():
    nodes = ("2*h[gpu:h100:1]", "2*a[gpu:a100:1]")
    jobs = ("a: 1gpu", "b: 1gpu:h100", "c: 1gpu:h100")
    weighed(cluster(*nodes), scarce_types=100).pending(*jobs).expect("a→a0", "b→h0", "c→h1")
    cluster(*nodes).pending(*jobs).expect("a→h0", "b→h1", "c: Resources")


def test_devices_with_much_memory_are_kept_for_parts_that_need_it():
    nodes = ("1*n[gpu:1/80]", "1*m[gpu:1/40]")
    full = "r: n0 45gpu#00"
    jobs = ("a: 30shard", "b: 35shard")
    weighed(cluster(*nodes), scarce_types=100).running(full).pending(*jobs, "c: 60shard").expect("a→m0#0", "b→n0#0", "c: Resources")


def test_a_feature_that_others_need_is_kept_for_them():
    nodes = ("1*n[gpu:2,feature:nvlink]", "1*m[gpu:2]")
    jobs = ("a: 2gpu", "b: 2gpu has=nvlink")
    weighed(cluster(*nodes), scarce_types=100).pending(*jobs).expect("a→m0", "b→n0")


def test_best_fit_takes_the_fullest_node():
    scenario = cluster("2*n[gpu:4]").running("r: n1 2gpu")
    weighed(scenario, best_fit=100).pending("a: 1gpu").expect("a→n1")


def test_the_weight_of_a_node_comes_before_all_scores():
    scenario = cluster("1*n[gpu:8,weight:2]", "1*m[gpu:8,weight:1]").running("r: n0 7gpu")
    weighed(scenario, best_fit=1000, fragmentation=1000).pending("a: 1gpu").expect("a→m0")


def test_each_element_of_an_array_is_placed_by_itself():
    nodes = ("1*n[gpu:2]", "1*m[gpu:4]")
    weighed(cluster(*nodes), whole_nodes=100).pending("a: 1gpu x6").expect("a×6")


def test_a_gang_sits_in_one_leaf_and_a_single_job_is_placed_by_scores_beside_it():
    scenario = cluster("8*n[gpu:4]").tree("leaf: n0-3 n4-7", "spine: n0-7").running("r: n0 2gpu", "s: n5 1gpu")
    weighed(scenario, fragmentation=100, whole_nodes=100)
    scenario.pending("a: 4n 2gpu", "b: 1gpu").expect("a→n0,n1,n2,n3", "b→n5")


def test_weights_are_bounded_and_scores_have_names():
    with pytest.raises(
        ValueError, match=r"score 'heat': allowed are best_fit, fragmentation, remainders, scarce_types, stranding, whole_nodes"
    ):
        weights.check_weights({"heat": 1})
    with pytest.raises(ValueError, match="weight of score best_fit is -1: allowed are 0 to 1000"):
        weights.check_weights({"best_fit": -1})
    assert (weights.NAMES, weights.MOST_WEIGHT) == (parameters.SCORES, parameters.SCORE_MOST)
