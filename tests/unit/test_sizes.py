"""Sizes that must agree: GPUs per node, per task and in total, -n, -N and --nodelist, in Slurm's words."""

import pytest

from penstock.spec.errors import SpecError
from penstock.spec.options import InvalidOption
from penstock.spec.request import settle
from penstock.spec.sizes import Size, agreed

GPU = "gpu"


def agree(per_node=0, per_task=0, total=0, **size):
    """(GPUs per node, per task, in total) and (least nodes, most nodes, tasks, tasks a node)."""
    forms = ({GPU: count} if count else {} for count in (per_node, per_task, total))
    *left, found = agreed(*forms, Size(**size))
    return tuple(form.get(GPU, 0) for form in left), (found.nodes_min, found.nodes_max, found.ntasks, found.ntasks_per_node)


def settled(program="sbatch", **request):
    """What is said, and what is left of the request."""
    return settle(request, program), request


@pytest.mark.parametrize(
    ("asked", "gpus", "size"),
    [
        ({"total": 5}, (0, 0, 5), (1, 0, 0, 0)),
        ({"per_node": 2, "total": 4}, (2, 0, 0), (2, 2, 0, 0)),
        ({"per_node": 2, "total": 4, "ntasks": 1}, (2, 0, 0), (2, 2, 1, 0)),
        ({"per_node": 2, "total": 4, "nodes_max": 3}, (2, 0, 0), (2, 2, 0, 0)),
        ({"per_task": 2, "total": 4}, (0, 2, 0), (1, 0, 2, 0)),
        ({"per_task": 1, "total": 4, "ntasks": 4}, (0, 1, 0), (1, 0, 4, 0)),
        ({"per_node": 2, "per_task": 1, "ntasks": 3}, (2, 0, 0), (1, 0, 3, 2)),
        ({"per_node": 2, "per_task": 1, "total": 4}, (2, 0, 0), (2, 2, 4, 2)),
    ],
)
def test_two_forms_say_what_the_third_would(asked, gpus, size):
    assert agree(**asked) == (gpus, size)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"per_node": 2, "total": 5}, "--gpus is not multiple of --gres=gpu/--gpus-per-node"),
        (
            {"per_node": 2, "total": 4, "nodes_min": 3, "nodes_max": 3},
            "required nodes (2) doesn't fall between min_nodes (3) and max_nodes (3)",
        ),
        ({"per_node": 2, "total": 2, "nodes_min": 2}, "required nodes (1) doesn't fall between min_nodes (2)"),
        ({"per_task": 2, "total": 5}, "--gpus not multiple of --gpus-per-task"),
        ({"per_task": 1, "total": 4, "ntasks": 2}, "number of requested tasks differ from -n/--ntasks"),
        ({"per_node": 3, "per_task": 2, "ntasks": 2}, "--gres=gpu/--gpus-per-node not multiple of --gpus-per-task"),
        ({"per_node": 2, "per_task": 1, "ntasks_per_node": 3}, "number of tasks per node differ from --ntasks-per-node"),
        ({"total": 3, "nodes_min": 4}, "--gpus < -N"),
    ],
)
def test_a_contradiction_is_told(asked, words):
    with pytest.raises(SpecError) as caught:
        agree(**asked)
    assert words in str(caught.value)


def test_a_type_stands_in_all_forms_or_in_none():
    size = Size()
    assert agreed({"gpu:a": 1}, {}, {"gpu:a": 2}, size)[3].nodes_min == 2
    for forms in (({"gpu:a": 1}, {}, {"gpu": 2}), ({}, {"gpu:a": 1}, {"gpu": 2}), ({"gpu": 1}, {"gpu:a": 1}, {})):
        with pytest.raises(SpecError, match="with and without type"):
            agreed(*forms, size)


def test_nodes_without_a_task_are_left_out():
    lines, left = settled(nodelist="b[1-3]", ntasks=2)
    assert (lines, left["nodelist"]) == (["Warning: can't run 2 processes on 3 nodes, setting nnodes to 2"], "b1,b2")
    lines, left = settled(nodes_min=2, nodes_max=4, ntasks=1, nodelist="b3")
    assert (lines, left) == (
        ["Warning: can't run 1 processes on 2 nodes, setting nnodes to 1"],
        {"nodes_min": 1, "nodes_max": 1, "ntasks": 1, "nodelist": "b3"},
    )
    assert settled(nodelist="b[1-3]") == ([], {"nodelist": "b[1-3]"})
    assert settled(nodelist="b[1-3]", ntasks=9)[0] == []


def test_more_named_nodes_than_there_may_be():
    with pytest.raises(InvalidOption) as caught:
        settled(nodelist="b[1-3]", nodes_min=1, nodes_max=2)
    assert (caught.value.lines, caught.value.status) == (["sbatch: error: invalid number of nodes (-N 3-2)"], 1)
    lines, left = settled("srun", nodelist="b[1-3]", nodes_min=2, nodes_max=2)
    assert ("Eliminating nodes" in lines[0], left["nodelist"]) == (True, "b1,b2")


def test_a_contradiction_ends_the_command():
    with pytest.raises(InvalidOption) as caught:
        settled(gpus=["gpu:3"], nodes_min=4, nodes_max=4)
    assert caught.value.lines[0].endswith("Failed to validate job spec, --gpus < -N")
    assert caught.value.lines[1].endswith("Invalid generic resource (gres) specification")
    with pytest.raises(InvalidOption):
        settled(gpus=["gpu:1"], nodelist="b[1-2]")
