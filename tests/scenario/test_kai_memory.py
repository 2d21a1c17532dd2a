"""GPUs shared by memory: shards that are GiB. KAI-Scheduler's cases of GPU memory in the words of Slurm; docs/design/gpu-cases.md has
the list."""

from __future__ import annotations

import pytest
from dsl import cluster


def test_half_the_memory_of_an_idle_gpu():
    cluster("1*n[gpu:1/100]").pending("a: 50shard").expect("a→n0#0")


def test_memory_of_the_gpu_is_there_but_the_host_has_none_until_a_job_ends():
    cluster("1*n[gpu:1/100,mem:2000M]").running("r: n0 1000M 1m").pending("a: 50shard 1500M").expect("a@1m→n0")


def test_room_on_a_gpu_in_use_but_not_in_the_host():
    busy = cluster("1*n[gpu:1/100,mem:2000M]").running("r: n0 25gpu#00 1000M", "s: n0 500M 1m")
    busy.pending("a: 50shard 750M").expect("a@1m→n0")


def test_an_idle_gpu_but_no_room_in_the_host():
    busy = cluster("1*n[gpu:2/100,mem:2000M]").running("r: n0 60gpu#00 1000M", "s: n0 500M 1m")
    busy.pending("a: 50shard 750M").expect("a@1m→n0")


def test_more_memory_than_one_gpu_has_is_refused_although_two_have_it():
    reason = cluster("1*n[gpu:2/80]").pending("a: 100shard").never("a")
    assert reason is not None
    assert (reason.asked, reason.most) == (100, 80)


@pytest.mark.parametrize(("gib", "place"), [(30, "n0#0"), (50, "m0#0"), (100, "h0#0")])
def test_the_smallest_gpu_that_has_the_memory(gib, place):
    cluster("1*h[gpu:1/141]", "1*m[gpu:1/80]", "1*n[gpu:1/40]").pending(f"a: {gib}shard").expect(f"a→{place}")


def test_memory_of_a_gpu_by_its_type():
    cluster("1*n[gpu:a100:2/40]", "1*m[gpu:h100:2/80]").pending("a: 30shard:h100", "b: 60shard:h100").expect("a→m0#0", "b→m0#1")
