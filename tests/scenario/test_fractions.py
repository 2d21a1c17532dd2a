"""GPUs that jobs share: parts of one device, whole devices, and never both on the same one.

Cases as in the public fraction and memory scenarios of KAI-Scheduler (each told in our own words); shares may be tenths of a
device, its shards, or its memory in GiB, which then differs from device to device.
"""

from __future__ import annotations

import pytest
from dsl import cluster

from penstock.core.request import Request


def test_two_halves_share_the_only_gpu():
    cluster("1*n[gpu:1/10]").pending("a: 5shard", "b: 5shard").expect("a→n0#0", "b→n0#0")


def test_a_part_that_is_larger_than_what_is_left_of_each_device_waits():
    cluster("1*n[gpu:2/10]").running("r: n0 6gpu#00", "s: n0 5gpu#01 2h").pending("a: 6shard").expect("a: Resources", "a@1h→n0")


def test_parts_of_two_devices_do_not_add_up():
    cluster("1*n[gpu:2/10]").running("r: n0 6gpu#00", "s: n0 6gpu#01").pending("a: 8shard").expect("a: Resources", "a@1h→n0")


def test_a_part_fills_the_device_that_is_in_use_and_leaves_the_other_whole():
    cluster("1*n[gpu:2/10]").running("r: n0 5gpu#01").pending("a: 5shard", "b: 1gpu").expect("a→n0#1", "b→n0#0")


def test_a_part_goes_to_the_tightest_device_of_all_nodes():
    cluster("3*n[gpu:1/10]").running("r: n1 3gpu#00", "s: n2 5gpu#00").pending("a: 5shard").expect("a→n2#0")


def test_a_whole_gpu_is_not_a_device_of_which_a_part_is_taken():
    cluster("1*n[gpu:2/10]").running("r: n0 1gpu#00").pending("a: 2gpu", "b: 1gpu 30m").expect("a@1h→n0", "b→n0#1")


def test_a_device_given_whole_has_no_parts():
    cluster("1*n[gpu:1/10]").running("r: n0 10gpu#00").pending("a: 1shard").expect("a: Resources", "a@1h→n0")


def test_whole_gpus_take_untouched_devices_in_order():
    cluster("1*n[gpu:4/10]").running("r: n0 2gpu#01").pending("a: 2gpu").expect("a→n0#0#2")


def test_the_only_untouched_gpu_goes_to_the_whole_job_whichever_came_first():
    cluster("1*n[gpu:2/10]").running("r: n0 4gpu#00").pending("a: 6shard", "b: 1gpu", "c: 1shard").expect(
        "a→n0#0", "b→n0#1", "c: Resources"
    )


def test_memory_counts_what_the_device_has():
    cluster("1*n[gpu:1/40]", "1*m[gpu:1/80]").pending("a: 41shard", "b: 40shard", "c: 39shard").expect("a→m0#0", "b→n0#0", "c→m0#0")


def test_a_part_of_a_type():
    cluster("1*n[gpu:a100:1/8]", "1*m[gpu:h100:1/8]").pending("a: 2shard:h100", "b: 1gpu:h100").expect("a→m0#0", "b: Resources")


def test_whole_gpus_of_two_types_on_one_node():
    cluster("1*n[gpu:a100:2/8,gpu:h100:2/8]").pending("a: 1gpu:a100 1gpu:h100").expect("a→n0#0#2")


def test_a_request_without_type_takes_shared_and_unshared_devices_alike():
    cluster("1*n[gpu:2/8]", "1*m[gpu:2]").pending("a: 2n 2gpu").expect("a→n0,m0")


def test_a_part_on_each_node_of_a_gang():
    cluster("2*n[gpu:1/10]").running("r: n1 7gpu#00").pending("a: 2n 3shard", "b: 2n 1shard").expect("a→n0#0,n1#0", "b: Resources")


def test_tasks_of_a_node_share_one_device():
    cluster("1*n[gpu:2/10]").pending("a: 3t 3shard/task", "b: 4t 3shard/task").expect("a→n0#0", "b: BadConstraints")


def test_an_array_of_parts_fills_device_after_device():
    plan = cluster("2*n[gpu:2/4]").pending("a: 2shard x9").expect("a×8")
    assert len({(start.shares[0].node, start.shares[0].gres) for start in plan.starts}) == 4


def test_an_exclusive_job_takes_every_device():
    cluster("2*n[gpu:2/4]").running("r: n0 1gpu#01").pending("a: excl", "b: 1shard").expect("a→n1#0#1", "b→n0#1")


def test_more_than_any_device_has_is_refused_with_the_largest_that_could_be():
    reason = cluster("1*n[gpu:2/10]", "1*m[gpu:1/24]").pending("a: 25shard").never("a")
    assert reason is not None and (reason.what, reason.asked, reason.most) == ("shard", 25, 24)
    reason = cluster("1*n[gpu:2/10]").pending("a: 3gpu").never("a")
    assert reason is not None and (reason.what, reason.asked, reason.most) == ("gpu", 3, 2)


def test_parts_and_whole_gpus_in_one_request_are_refused():
    with pytest.raises(ValueError, match="whole GPUs or parts of one"):
        Request(gres_per_node=(("gpu", 1), ("shard", 1)))
