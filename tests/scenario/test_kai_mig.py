"""MIG: slices of a GPU as types of gpu. KAI-Scheduler's MIG cases in the words of Slurm, and what Slurm's words allow beyond them;
docs/design/gpu-cases.md has the list."""

from __future__ import annotations

import numpy as np
import pytest
from dsl import cluster

from penstock.core.fragmentation import MIX_WEIGHT, Fragments
from penstock.core.request import Request

MIXED = "1*n[gpu:1g.10gb:4,gpu:3g.40gb:1,gpu:a100:2]"


def test_a_slice_that_no_node_has_is_refused():
    asked = cluster("1*n[gpu:1g.5gb:1]").pending("a: 1gpu:1g.10gb")
    assert asked.never("a") is not None
    asked.expect("a: BadConstraints")


def test_one_slice():
    cluster("1*n[gpu:1g.10gb:1]").pending("a: 1gpu:1g.10gb").expect("a→n0")


def test_a_slice_of_which_all_are_held_is_waited_for():
    cluster("1*n[gpu:1g.10gb:2,gpu:3g.40gb:1]").running("r: n0 2gpu:1g.10gb").pending("a: 1gpu:1g.10gb").expect("a@1h→n0")


def test_several_profiles_in_one_job_and_a_job_between_that_finds_one_of_its_two():
    jobs = cluster("1*n[gpu:1g.5gb:2,gpu:1g.10gb:3]").pending(
        "a: 3gpu:1g.10gb 1gpu:1g.5gb", "b: 1gpu:1g.10gb 1gpu:1g.5gb", "c: 1gpu:1g.5gb 30m"
    )
    jobs.expect("a→n0", "b@1h→n0", "c→n0")


@pytest.mark.parametrize("kind", ["1g.10gb", "1g.10gb+me", "7g.80gb", "1c.3g.40gb", "a100_3g.20gb", "nvidia_a100-sxm4-40gb_1g.5gb"])
def test_the_names_of_profiles(kind):
    cluster("1*m[gpu:a100:8]", f"2*n[gpu:{kind}:7]").pending(f"a: 2n 7gpu:{kind}").expect("a→n0,n1")


def test_a_profile_is_another_type_than_the_one_whose_name_begins_alike():
    cluster("1*n[gpu:1g.10gb+me:1,gpu:1g.10gb:1]").pending("a: 2gpu:1g.10gb", "b: 1gpu:1g.10gb+me").expect("a: BadConstraints", "b→n0")


def test_without_a_type_any_device_will_do():
    """As in Slurm: a cluster whose users mean whole GPUs names their type, or keeps slices in a partition of their own."""
    cluster("1*n[gpu:1g.10gb:2]").pending("a: 2gpu").expect("a→n0")
    cluster(MIXED).pending("a: 7gpu", "b: 1gpu").expect("a→n0", "b@1h→n0")


def test_slices_and_whole_gpus_of_one_node_do_not_stand_for_each_other():
    jobs = cluster(MIXED).pending("a: 2gpu:a100", "b: 1gpu:a100", "c: 4gpu:1g.10gb", "d: 1gpu:3g.40gb 1h")
    jobs.expect("a→n0", "b@1h→n0", "c→n0", "d→n0")


def test_slices_beside_each_task():
    cluster("2*n[gpu:1g.10gb:3]").pending("a: 4t 1gpu:1g.10gb/task").expect("a→n0:3,n1:1")


def test_slices_in_total():
    cluster("2*n[gpu:1g.10gb:3]").pending("a: 2n 5gpu:1g.10gb/job").expect("a→n0,n1")


def test_an_array_of_slices_fills_the_cluster():
    cluster("3*n[gpu:1g.10gb:7]").pending("a: 1gpu:1g.10gb 1cpu x30").expect("a×21")


def test_without_a_type_whole_gpus_go_before_slices():
    plan = cluster(MIXED).pending("a: 2gpu", "b: 2gpu").expect("a→n0", "b→n0")
    taken = [start.shares[0].gres for start in plan.starts]
    assert taken == [(("gpu:a100", 2),), (("gpu:1g.10gb", 1), ("gpu:3g.40gb", 1))]


def test_a_slice_is_no_device_when_nodes_are_compared():
    """Seven free slices are as much as one free GPU: the node that has them is the fuller one."""
    cluster("1*m[gpu:a100:4]", "1*n[gpu:a100:1,gpu:1g.10gb:7]").pending("a: 1gpu:a100").expect("a→n0")


def test_slices_that_no_typical_request_can_use_are_a_fragment_of_their_size():
    """Nobody asks for what is there: seven slices are wasted as one whole device is."""
    view = cluster("1*n[gpu:1g.10gb:7]", "1*m[gpu:a100:1]").partition("main: *").columns.view(1, 0)
    asked = Fragments(view, {Request(gres_per_node=(("gpu:h100", 1),)): 1})
    assert [int(cost) // MIX_WEIGHT for cost in asked.expected(view.nodes.total, np.arange(2))] == [7 * 142, 1000]


@pytest.mark.parametrize("score", ["best_fit", "whole_nodes"])
def test_scores_count_a_slice_as_a_part_of_a_device(score):
    asked = cluster("1*m[gpu:a100:4]", "1*n[gpu:a100:1,gpu:1g.10gb:7]")
    asked.columns.weights = ((score, 100),)
    asked.pending("a: 1gpu:a100").expect("a→n0")
