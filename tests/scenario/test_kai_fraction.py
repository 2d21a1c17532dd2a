"""Parts of GPUs, in tenths. KAI-Scheduler's cases of fractions in the words of Slurm (shards); docs/design/gpu-cases.md has the list.

A part packs: the device, then the node, that has the least room that is enough. More of the same is in test_fractions.py.
"""

from __future__ import annotations

from dsl import cluster


def test_half_a_gpu_joins_the_other_half():
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#01").pending("a: 5shard").expect("a→n0#1")


def test_half_a_gpu_joins_the_other_half_on_another_node():
    cluster("2*n[gpu:2/10]").running("r: n1 5gpu#01").pending("a: 5shard").expect("a→n1#1")


def test_a_part_that_does_not_fit_beside_the_other_opens_a_gpu():
    cluster("1*n[gpu:2/10]").running("r: n0 6gpu#00").pending("a: 5shard").expect("a→n0#1")


def test_a_part_beside_a_gpu_that_is_held_whole():
    cluster("1*n[gpu:2/10]").running("r: n0 10gpu#00").pending("a: 5shard").expect("a→n0#1")


def test_a_whole_gpu_beside_one_that_is_shared():
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#01").pending("a: 1gpu").expect("a→n0#0")


def test_of_four_parts_three_find_room():
    jobs = cluster("1*n[gpu:2/10]").running("r: n0 5gpu#00").pending("a: 6shard", "b: 5shard", "c: 5shard", "d: 3shard")
    jobs.expect("a→n0#1", "b→n0#0", "c@1h→n0", "d→n0#1")


def test_a_part_opens_a_gpu_where_two_halves_fill_the_other():
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#00", "s: n0 5gpu#00").pending("a: 5shard").expect("a→n0#1")


def test_a_part_starts_on_an_idle_gpu_rather_than_wait_for_one_that_is_about_to_have_room():
    """Here KAI waits for the pod that is terminating; Slurm and Penstock start what can start."""
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#00", "s: n0 5gpu#00 1m").pending("a: 5shard").expect("a→n0#1")


def test_a_part_waits_for_the_device_that_is_free_first():
    busy = cluster("1*n[gpu:2/10]").running("r: n0 10gpu#01", "s: n0 5gpu#00", "t: n0 5gpu#00 1m")
    busy.pending("a: 5shard").expect("a@1m→n0")


def test_parts_are_packed_on_nodes():
    cluster("2*n[gpu:2/10]").running("r: n0 5gpu#00").pending("a: 2shard").expect("a→n0#0")


def test_parts_are_packed_on_gpus():
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#01", "s: n0 7gpu#00").pending("a: 2shard").expect("a→n0#0")


def test_more_parts_than_gpus_where_no_two_fit_on_one():
    plan = cluster("2*n[gpu:2/10]").pending("a: 7shard x8").expect("a×4")
    devices = [(share.node, share.gres) for start in plan.starts for share in start.shares]
    assert len(devices) == len(set(devices)) == 4


def test_a_gang_of_parts_starts_as_one_or_not_at_all():
    cluster("2*n[gpu:1/10]").running("r: n0 5gpu#00", "s: n1 6gpu#00 2h").pending("a: 2n 5shard").expect("a@2h→n0,n1")
    cluster("2*n[gpu:1/10]").running("r: n0 5gpu#00", "s: n1 4gpu#00").pending("a: 2n 5shard").expect("a→n0#0,n1#0")


def test_a_whole_gpu_waits_until_all_parts_of_one_are_given_back():
    busy = cluster("1*n[gpu:2/10]").running("r: n0 1gpu#00", "s: n0 1gpu#01 30m", "t: n0 1gpu#01 2h")
    busy.pending("a: 1gpu").expect("a@1h→n0")
