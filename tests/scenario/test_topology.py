"""Which nodes a job gets where nodes are near or far: levels, required and preferred; leaf switches; segments of blocks.

The cases follow what KAI-Scheduler tests of its topology plug-in (required and preferred level, best-fitting domain, gang) and Slurm's
manual pages of topology.conf and sbatch (--switches, --segment).
"""

from __future__ import annotations

import pytest
from dsl import cluster

from penstock.core.records import TopologyRecord


def racks(nodes: str = "16*n[gpu:8]"):
    """Four leaves of four nodes, two racks of two leaves, one spine."""
    return cluster(nodes).tree("leaf: n0-3 n4-7 n8-11 n12-15", "rack: n0-7 n8-15", "spine: n0-15")


# Preferred: the narrowest domain that has room


def test_a_gang_sits_in_the_narrowest_domain_that_has_room():
    racks().running("r: n0,n4,n5 8cpu 8gpu 1h").pending("a: 4n 8gpu").expect("a→n8,n9,n10,n11")


def test_the_smallest_domain_that_is_enough_is_taken_so_that_larger_ones_stay_whole():
    racks().running("r: n4,n5 8cpu 8gpu 1h").pending("a: 2n 8gpu", "b: 4n 8gpu").expect("a→n6,n7", "b→n0,n1,n2,n3")


def test_the_fuller_of_two_domains_of_one_size_is_taken():
    racks().running("r: n8,n9,n10,n11 1gpu 1h").pending("a: 4n 2gpu").expect("a→n8,n9,n10,n11")


def test_a_wider_domain_is_taken_when_no_narrow_one_has_room_now():
    racks().running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 4n 8cpu").expect("a→n1,n2,n3,n5")


def test_a_gang_larger_than_a_leaf_fills_whole_leaves_of_one_rack():
    racks().running("r: n3,n7 8cpu 1h").pending("a: 8n 8cpu").expect("a→n8,n9,n10,n11,n12,n13,n14,n15")


def test_the_rest_of_a_gang_goes_to_the_smallest_leaf_that_is_enough():
    racks("16*n").running("r: n0,n1,n2,n12,n13 8cpu 1h").pending("a: 6n 8cpu").expect("a→n8,n9,n10,n11,n14,n15")


def test_a_gang_over_racks_takes_one_whole_and_the_rest_from_one_leaf_of_another():
    racks("16*n").running("r: n0,n9 8cpu 1h").pending("a: 10n 8cpu").expect("a→n1,n2,n3,n4,n5,n6,n7,n8,n10,n11")


def test_all_of_a_gang_or_none():
    racks("16*n").running("r: n0-15 8cpu 1h".replace("n0-15", ",".join(f"n{i}" for i in range(15)))).pending("a: 2n 8cpu").expect(
        "a: Resources", "a@1h→n0,n1"
    )


def test_jobs_of_one_node_look_at_the_node_only():
    racks().running("r: n9 6gpu 1h").pending("a: 2gpu", "b: 1n 8gpu").expect("a→n9", "b→n0")


def test_tasks_that_need_several_nodes_stay_in_one_domain():
    racks("16*n[cpu:4]").running("r: n0,n1 4cpu 1h").pending("a: 16t").expect("a→n4,n5,n6,n7")


def test_devices_in_total_stay_in_one_domain():
    racks().running("r: n0 8gpu 1h").pending("a: 32gpu/job").expect("a→n4,n5,n6,n7")


def test_fewer_nodes_go_before_a_narrower_domain():
    """A job that one node can hold is not spread, whatever the leaves look like."""
    racks().running("r: n0,n1,n2,n3 6gpu 1h").pending("a: 8gpu/job").expect("a→n4")


def test_a_range_of_nodes_takes_what_the_widest_domain_can_give():
    racks("16*n").pending("a: 2-20n 8cpu").expect("a→" + ",".join(f"n{i}" for i in range(16)))


def test_a_range_of_nodes_stays_in_the_narrowest_domain_that_has_the_most():
    racks("16*n").running("r: n0 8cpu 1h").pending("a: 2-4n 8cpu").expect("a→n4,n5,n6,n7")


def test_light_domains_go_before_the_best_fitting_one():
    cluster("4*a[weight:1]", "2*b[weight:9]").tree("leaf: a0-3 b0-1", "root: a0-3,b0-1").pending("j: 2n 8cpu").expect("j→a0,a1")


# Required: never wider


def test_a_required_level_waits_though_a_wider_domain_has_room():
    racks("16*n").running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 4n 8cpu within=leaf").expect("a: Resources", "a@1h→n0,n1,n2,n3")


def test_within_a_required_level_the_narrowest_is_still_preferred():
    racks("16*n").running("r: n0 8cpu 1h").pending("a: 4n 8cpu within=rack").expect("a→n4,n5,n6,n7")


def test_a_required_level_is_widened_up_to_and_not_beyond():
    racks("16*n").running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 6n 8cpu within=rack", "b: 7n 8cpu within=rack").expect(
        "a→n1,n2,n3,n5,n6,n7", "b: Resources"
    )


def test_the_reserved_start_of_a_required_level_is_when_one_domain_is_free_and_not_when_the_number_is():
    racks("16*n").running("r: n0,n4,n8 8cpu 1h", "s: n12 8cpu 3h", "t: n1,n5,n9,n13 8cpu 2h").pending("a: 4n 8cpu within=leaf").expect(
        "a@2h"
    )


def test_a_later_job_leaves_the_domain_of_a_reservation_alone():
    racks("16*n").running("r: n0,n4,n8,n12 8cpu 1h", "s: n5,n9,n13 8cpu 3h").pending(
        "a: 4n 8cpu within=leaf", "b: 3n 8cpu 2h", "c: 3n 8cpu 30m"
    ).expect("a@1h→n0,n1,n2,n3", "b→n10,n11,n14", "c→n1,n2,n3")


def test_a_gang_larger_than_any_required_domain_is_refused_with_the_largest_that_could_be():
    scenario = racks().pending("a: 5n within=leaf")
    reason = scenario.never("a")
    assert (reason.word, reason.what, reason.asked, reason.most, reason.names) == ("BadConstraints", "topology", 5, 4, ("leaf", "n0-3"))


def test_devices_that_no_required_domain_has_together_are_refused_with_the_most_of_one():
    reason = racks().pending("a: 40gpu/job within=leaf").never("a")
    assert (reason.asked, reason.most, reason.names) == (40, 32, ("leaf", "n0-3", "gpu"))


def test_a_wait_for_devices_of_one_domain_tells_the_domain_that_comes_closest():
    plan = racks().running("r: n0,n5,n10,n15 8cpu 6gpu 1h", "s: n1 1gpu 1h", "t: n4,n11,n14 2gpu 1h").pending("a: 30gpu/job within=leaf")
    reason = plan.expect("a: Resources").reasons[0]
    assert (reason.what, reason.asked, reason.most, reason.names) == ("topology", 30, 23, ("leaf", "n0-3", "gpu"))


def test_required_nodes_of_two_domains_are_never_in_one():
    reason = racks().pending("a: 2n on=n0,n4 within=leaf").never("a")
    assert (reason.asked, reason.most, reason.names) == (2, 0, ("leaf", ""))


def test_a_required_level_and_few_switches_hold_together():
    racks("16*n").running("r: n0,n1,n9,n13 8cpu 1h").pending("a: 6n 8cpu within=rack sw=2", "b: 7n 8cpu within=rack sw=2").expect(
        "a→n2,n3,n4,n5,n6,n7", "b: Resources"
    )


def test_the_reason_of_a_wait_for_one_domain_names_the_level_and_the_room_there_is():
    plan = racks("16*n").running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 4n 8cpu within=leaf").expect("a: Resources")
    reason = plan.reasons[0]
    assert (reason.what, reason.asked, reason.most, reason.names) == ("topology", 4, 3, ("leaf", "n0-3"))


def test_an_unknown_level_never_starts():
    racks().pending("a: 2n within=pod").expect("a: BadConstraints")


def test_a_domain_that_holds_enough_only_when_nodes_are_up_waits_for_them():
    racks("16*n").down("n0", "n4", "n8", "n12").pending("a: 4n within=leaf").expect("a: Resources")


# Nodes that are asked for by name


def test_required_nodes_bring_their_domain():
    racks("16*n").pending("a: 4n on=n9").expect("a→n8,n9,n10,n11")


def test_required_nodes_in_two_leaves_fill_up_there_and_nowhere_else():
    racks("16*n").pending("a: 4n 8cpu on=n1,n5").expect("a→n0,n1,n2,n5")


def test_required_nodes_of_two_racks_contradict_a_required_rack():
    scenario = racks("16*n").pending("a: 4n on=n1,n9 within=rack")
    assert scenario.never("a") is not None
    scenario.expect("a: BadConstraints")


# Trees that are not even, nodes outside


def test_nodes_without_a_common_switch_are_never_joined():
    cluster("8*n").tree("leaf: n0-3 n4-7").pending("a: 5n", "b: 4n").expect("a: BadConstraints", "b→n0,n1,n2,n3")


def test_a_node_outside_the_topology_runs_jobs_of_one_node():
    cluster("5*n").tree("leaf: n0-3").running("r: n0,n1 8cpu 1h").pending("a: 3n 8cpu 30m", "b: 1n on=n4").expect("a: Resources", "b→n4")


def test_leaves_directly_below_the_top_count_at_every_level():
    cluster("8*n").tree("leaf: n0-1 n2-3 n4-7", "rack: n0-3", "top: n0-7").running("r: n0,n4,n5,n6 8cpu 1h").pending(
        "a: 3n 8cpu within=rack"
    ).expect("a→n1,n2,n3")


def test_partitions_choose_their_topology():
    scenario = cluster("8*n").tree("leaf: n0-3 n4-7", "top: n0-7").blocks("block: n0-1 n2-3 n4-5 n6-7", "all: n0-7")
    scenario.partition("t: * top=tree", "b: * top=block", "f: *").running("r: n0,n1,n4 8cpu 1h")
    scenario.pending("x: 3n 8cpu in=t sw=1", "y: 2n 8cpu in=b sw=1", "z: 6n 1cpu in=f").expect("x→n5,n6,n7", "y→n2,n3", "z: Resources")


# --switches


def test_switches_bound_the_leaves_and_not_the_width():
    racks("16*n").running("r: n2,n3,n7,n11,n14,n15 8cpu 1h").pending("a: 6n 8cpu sw=2", "b: 5n 8cpu sw=1").expect(
        "a→n4,n5,n6,n8,n9,n10", "b: BadConstraints"
    )


def test_switches_wait_for_room_on_few_leaves():
    racks("16*n").running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 4n 8cpu sw=1").expect("a: Resources", "a@1h→n0,n1,n2,n3")


def test_switches_count_the_leaf_of_a_required_node():
    racks("16*n").pending("a: 6n 8cpu sw=2 on=n9").expect("a→n8,n9,n10,n11,n12,n13")


def test_without_a_topology_all_nodes_are_one_switch():
    cluster("4*n").pending("a: 4n sw=1").expect("a→n0,n1,n2,n3")


# --segment


def blocks():
    """Four base blocks of four nodes, aggregated by two."""
    return cluster("16*n").blocks("block: n0-3 n4-7 n8-11 n12-15", "block2: n0-7 n8-15", "all: n0-15")


def test_segments_are_whole_inside_a_base_block():
    blocks().running("r: n3,n7 8cpu 1h").pending("a: 6n 8cpu seg=2").expect("a→n8,n9,n10,n11,n12,n13")


def test_segments_use_what_blocks_have_left():
    blocks().running("r: n0,n4,n8,n12 8cpu 1h").pending("a: 6n 8cpu seg=3", "b: 4n 8cpu seg=2").expect(
        "a→n1,n2,n3,n5,n6,n7", "b→n9,n10,n13,n14"
    )


def test_single_nodes_of_many_blocks_make_no_segment():
    blocks().running("r: n0,n1,n2,n4,n5,n6,n8,n9,n10 8cpu 1h").pending("a: 6n 8cpu seg=2").expect("a: Resources", "a@1h→n0,n1,n2,n3,n4,n5")


def test_a_segment_larger_than_every_block_never_fits():
    reason = blocks().pending("a: 10n seg=5").never("a")
    assert (reason.what, reason.asked, reason.most) == ("topology", 10, 0)


def test_segments_beside_a_required_level_stay_in_one_aggregated_block():
    blocks().running("r: n0,n1,n2,n8 8cpu 1h").pending("a: 8n 8cpu seg=2 within=block2", "b: 6n 8cpu seg=2 within=block2 1h").expect(
        "a@1h→n0,n1,n2,n3,n4,n5,n6,n7", "b→n9,n10,n12,n13,n14,n15"
    )


def test_required_nodes_come_with_their_segment():
    blocks().pending("a: 4n 8cpu seg=2 on=n5,n9").expect("a→n4,n5,n8,n9")


# What is no hierarchy


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((), "has no level"),
        ((("leaf", (("a", ("n0", "n1")), ("b", ("n1",)))),), "node n1 is in a and in b"),
        ((("leaf", (("a", ("n0", "n1")),)), ("top", (("x", ("n0",)), ("y", ("n1",))))), "a lies in x and in y of level top"),
        ((("leaf", (("a", ("n0", "n1")),)), ("top", (("x", ("n0",)),))), "node n1 of a is missing from level top"),
    ],
)
def test_what_is_no_hierarchy_is_refused(levels, words):
    with pytest.raises(ValueError, match=words):
        TopologyRecord("t", "tree", levels)
