"""Gangs: all of a job starts, or none of it. KAI-Scheduler's gang cases in the words of Slurm; docs/design/gpu-cases.md has the list."""

from __future__ import annotations

import pytest
from dsl import cluster


def test_all_tasks_on_one_node():
    cluster("1*n[gpu:2]").pending("a: 2t 1gpu/task").expect("a→n0:2")


def test_one_task_on_each_of_two_nodes():
    cluster("2*n[gpu:1]").pending("a: 2t 1gpu/task").expect("a→n0:1,n1:1")


def test_a_gang_of_which_a_part_would_fit_does_not_start():
    cluster("2*n[gpu:2]").running("r: n1 1gpu").pending("a: 2t 2gpu/task").expect("a@1h→n0,n1")


def test_a_gang_that_the_cluster_can_never_hold_is_refused_with_what_it_could():
    reason = cluster("1*n[gpu:2]").pending("a: 2t 2gpu/task").never("a")
    assert reason is not None
    assert (reason.what, reason.asked, reason.most) == ("tasks", 2, 1)
    cluster("1*n[gpu:2]").pending("a: 2t 2gpu/task", "b: 1gpu").expect("a: BadConstraints", "b→n0")


def test_a_gang_waits_for_what_is_about_to_be_free_on_its_own_node():
    cluster("1*n[gpu:4]").running("r: n0 1gpu 1m").pending("a: 2t 2gpu/task").expect("a@1m→n0")


@pytest.mark.parametrize(
    ("tasks", "places"),
    [(2, "n0:2"), (3, "n0:3"), (4, "n0:4"), (5, "n0:4,n1:1"), (8, "n0:4,n1:4"), (10, "n0:4,n1:4,n2:2")],
)
def test_gangs_of_several_sizes_fill_nodes_in_order(tasks, places):
    cluster("3*n[gpu:4]").pending(f"a: {tasks}t 1gpu/task").expect(f"a→{places}")


def test_a_gang_takes_what_is_left_of_nodes_in_use():
    cluster("3*n[gpu:4]").running("r: n0 3gpu", "s: n1 2gpu", "t: n2 4gpu").pending("a: 3t 1gpu/task").expect("a→n0:1,n1:2")


def test_a_gang_that_waits_holds_no_gpu_that_a_short_job_could_use():
    cluster("2*n[gpu:2]").running("r: n1 2gpu").pending("a: 4t 1gpu/task", "b: 2gpu 30m", "c: 1gpu 2h").expect("a@1h→n0,n1", "b→n0")


def test_two_gangs_that_exclude_each_other_start_one_after_the_other_not_half_each():
    cluster("2*n[gpu:2]").pending("a: 3t 1gpu/task", "b: 3t 1gpu/task").expect("a→n0:2,n1:1", "b@1h→n0,n1")


def test_a_gang_by_nodes_needs_its_gpus_on_each_of_them():
    cluster("3*n[gpu:4]").running("r: n1 1gpu").pending("a: 2n 4gpu").expect("a→n0,n2")


def test_a_total_of_gpus_may_come_from_unequal_nodes():
    cluster("3*n[gpu:4]").running("r: n0 3gpu", "s: n1 2gpu", "t: n2 4gpu").pending("a: 2n 3gpu/job").expect("a→n0,n1")
