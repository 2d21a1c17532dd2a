"""Gangs in domains of a topology: the narrowest that has room, or one of a required level. KAI-Scheduler's topology cases in the words of
Slurm; docs/design/gpu-cases.md has the list. `within=` is the required level; what KAI calls a preferred level needs no word here,
because a gang always sits as narrow as it can. Nodes go in their order where KAI takes the last ones."""

from __future__ import annotations

import pytest
from dsl import Scenario, cluster


def racks_of_pairs(words: str = "gpu:2") -> Scenario:
    """Each node is a spine of its own, two make a rack."""
    return cluster(f"4*n[{words}]").tree("spine: n0 n1 n2 n3", "rack: n0-1 n2-3")


def hall(words: str = "gpu:1") -> Scenario:
    """Pairs in racks, two racks a spine, two spines."""
    return cluster(f"8*n[{words}]").tree("rack: n0-1 n2-3 n4-5 n6-7", "spine: n0-3 n4-7", "zone: n0-7")


def test_a_required_rack_that_has_room_for_all():
    busy = cluster("4*n[gpu:1]").tree("rack: n0-1 n2-3").running("r: n0 1gpu")
    busy.pending("a: 2t 1gpu/task within=rack").expect("a→n2,n3")


def test_a_required_rack_with_the_features_that_the_job_needs():
    asked = cluster("2*n[gpu:1]", "2*m[gpu:1,feature:fast]").tree("rack: n0-1 m0-1").pending("a: 2t 1gpu/task within=rack has=fast")
    asked.expect("a→m0,m1")


def test_a_required_level_below_the_widest():
    cluster("2*n[gpu:2]").tree("spine: n0 n1", "rack: n0-1").running("r: n0 1gpu").pending("a: 2t 1gpu/task within=spine").expect("a→n1:2")


def test_a_required_level_above_the_narrowest():
    racks_of_pairs().running("r: n0 1gpu").pending("a: 4t 1gpu/task within=rack").expect("a→n2:2,n3:2")


def test_a_required_rack_that_is_partly_in_use():
    """On one node of it where KAI spreads over both: narrower than asked."""
    cluster("2*n[gpu:2]").tree("spine: n0 n1", "rack: n0-1").running("r: n0 1gpu").pending("a: 2t 1gpu/task within=rack").expect("a→n1:2")
    cluster("2*n[gpu:2]").tree("spine: n0 n1", "rack: n0-1").running("r: n0 1gpu").pending("a: 3t 1gpu/task within=rack").expect(
        "a→n0:1,n1:2"
    )


def test_no_rack_has_room_so_the_gang_waits_for_the_first_that_will():
    busy = racks_of_pairs().running("r: n0 1gpu 2h", "s: n2 1gpu 1h")
    plan = busy.pending("a: 4t 1gpu/task within=rack", "b: 4t 1gpu/task 1h").expect("a@1h→n2,n3", "b: Priority")
    reason = plan.reason_of(busy.job_ids["a"])
    assert reason is not None
    assert (reason.what, reason.names) == ("topology", ("rack", "n0-1", "tasks"))


def test_a_rack_that_no_gang_of_this_size_can_have_is_refused():
    reason = racks_of_pairs().pending("a: 5t 1gpu/task within=rack").never("a")
    assert reason is not None
    assert reason.what == "topology"


def test_one_rack_without_a_word_where_one_has_room():
    cluster("2*n[gpu:2]").tree("rack: n0 n1", "zone: n0-1").running("r: n0 1gpu").pending("a: 2t 1gpu/task").expect("a→n1:2")


def test_two_racks_where_none_has_room():
    busy = cluster("2*n[gpu:2]").tree("rack: n0 n1", "zone: n0-1").running("r: n0,n1 1gpu")
    busy.pending("a: 2t 1gpu/task").expect("a→n0:1,n1:1")


def test_a_required_rack_whose_spines_all_lack_room():
    busy = racks_of_pairs().running("r: n0 2gpu", "s: n1,n2,n3 1gpu")
    busy.pending("a: 2t 1gpu/task within=rack").expect("a→n2:1,n3:1")


def test_each_node_a_rack_and_all_of_them_in_one_zone():
    busy = cluster("4*n[gpu:2]").tree("rack: n0 n1 n2 n3", "zone: n0-1 n2-3").running("r: n0 2gpu")
    busy.pending("a: 2n 2gpu within=zone").expect("a→n2,n3")


@pytest.mark.parametrize("zone", ["within=zone", ""])
def test_pairs_in_spines_and_the_pairs_in_one_zone(zone):
    busy = cluster("8*n[gpu:2]").tree("spine: n0-1 n2-3 n4-5 n6-7", "zone: n0-3 n4-7", "site: n0-7").running("r: n0 2gpu")
    busy.pending(f"a: 4n 2gpu seg=2 {zone}").expect("a→n4,n5,n6,n7")


def test_pairs_in_spines_of_two_zones_where_no_zone_has_room():
    busy = cluster("8*n[gpu:2]").tree("spine: n0-1 n2-3 n4-5 n6-7", "zone: n0-3 n4-7", "site: n0-7").running("r: n0,n5 1gpu")
    busy.pending("a: 4n 2gpu seg=2").expect("a→n2,n3,n6,n7")


def test_a_small_job_goes_to_the_domain_in_use():
    cluster("2*n[gpu:10]").tree("rack: n0 n1").running("r: n1 1gpu").pending("a: 1gpu within=rack").expect("a→n1")


def test_replicas_of_two_nodes_tasks_each_in_the_zone_that_has_room_for_both():
    busy = cluster("4*n[gpu:4]").tree("rack: n0 n1 n2 n3", "zone: n0-1 n2-3").running("r: n0 1gpu")
    busy.pending("a: 4t 2gpu/task").expect("a→n2:2,n3:2")


def test_few_spines_within_a_rack():
    cluster("8*n[gpu:1]").tree("spine: n0-1 n2-3 n4-5 n6-7", "rack: n0-7").pending("a: 3t 1gpu/task within=rack").expect("a→n0,n1,n2")
    busy = cluster("8*n[gpu:1]").tree("spine: n0-1 n2-3 n4-5 n6-7", "rack: n0-7").running("r: n0,n3 1gpu")
    busy.pending("a: 3t 1gpu/task within=rack").expect("a→n1,n4,n5")


def test_a_gang_larger_than_a_spine_fills_one_and_takes_one_rack_of_the_next():
    hall().pending("a: 6t 1gpu/task").expect("a→n0,n1,n2,n3,n4,n5")
    hall().running("r: n1 1gpu").pending("a: 6t 1gpu/task").expect("a→n2,n3,n4,n5,n6,n7")


def test_two_halves_that_each_want_to_be_near():
    cluster("8*n[gpu:1]").tree("spine: n0-3 n4-7", "zone: n0-7").pending("a: 6n 1gpu seg=3").expect("a→n0,n1,n2,n4,n5,n6")


def test_the_last_free_node_of_a_spine():
    hall().running("r: n0,n1,n2 1gpu").pending("a: 1gpu").expect("a→n3")


def test_a_gang_takes_the_domain_with_the_least_room_that_is_enough():
    hall().running("r: n0 1gpu").pending("a: 3t 1gpu/task").expect("a→n1,n2,n3")
    cluster("5*n[gpu:1]").tree("rack: n0-2 n3-4", "zone: n0-4").pending("a: 2t 1gpu/task").expect("a→n3,n4")


def test_four_nodes_of_one_zone_in_two_racks():
    busy = cluster("8*n[gpu:2]").tree("rack: n0-1 n2-3 n4-5 n6-7", "zone: n0-3 n4-7").running("r: n1 1gpu")
    busy.pending("a: 4n 2gpu within=zone").expect("a→n4,n5,n6,n7")
