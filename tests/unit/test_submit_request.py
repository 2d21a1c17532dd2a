"""What the controller makes of a submit request: sizes per GPU, constraints, and the order of nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.request import Request
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.planner_records import node_rank
from penstock.engine.request import SubmitRequest
from penstock.engine.sizes import resolve_request
from penstock.engine.state import State
from penstock.spec import hostlist
from penstock.spec.errors import SlurmError

NAMES = st.lists(st.from_regex(r"[a-z]{1,3}-?[0-9]{0,6}", fullmatch=True), unique=True)


def resolved(**keys: object) -> Request:
    return resolve_request(State(), (Partition("main"),), SubmitRequest(**keys))


@given(NAMES)
def test_nodes_rank_as_a_hostlist_sorts(names):
    assert sorted(names, key=node_rank) == hostlist.sort(names)
    assert len({node_rank(name) for name in names}) == len(names)


@pytest.mark.parametrize(
    ("keys", "cpus", "memory_mib"),
    [
        ({"gpus_per_node": ("gpu:4",)}, "8 a node", "400 a node"),
        ({"gres": ("gpu:h100:4", "nic:8")}, "8 a node", "400 a node"),
        ({"gres": ("gpu:4",), "ntasks_per_node": 4, "nodes_min": 2, "nodes_max": 2}, "8 a node", "400 a node"),
        ({"gpus_per_node": ("gpu:3",), "ntasks": 4, "nodes_min": 2, "nodes_max": 2}, "6 a node", "300 a node"),
        ({"gpus_per_node": ("gpu:3",), "gpus": ("gpu:6",)}, "6 a node", "300 a node"),
        ({"gpus": ("gpu:4",), "nodes_min": 2, "nodes_max": 2}, "4 a node", "200 a node"),
        ({"gpus_per_task": ("gpu:2",), "ntasks": 3}, "4 a task", "50 a CPU"),
    ],
)
def test_sizes_per_gpu(keys, cpus, memory_mib):
    request = resolved(cpus_per_gpu=2, mem_per_gpu_mib=100, **keys)
    of_node = request.cpus_per_node > 0
    assert cpus == (f"{request.cpus_per_node} a node" if of_node else f"{request.cpus_per_task} a task")
    assert request.cpus_per_task == 1 or not of_node
    of_node = request.memory_per_node_mib > 0
    assert memory_mib == (f"{request.memory_per_node_mib} a node" if of_node else f"{request.memory_per_cpu_mib} a CPU")


@pytest.mark.parametrize(
    "keys",
    [{}, {"gres": ("shard:2",)}],
)
def test_without_a_number_of_gpus_there_is_no_size_per_gpu(keys):
    with pytest.raises(SlurmError, match="generic resource"):
        resolved(cpus_per_gpu=2, **keys)


@pytest.mark.parametrize(
    "keys", [{"gpus": ("gpu:4",)}, {"gpus": ("gpu:4",), "ntasks": 4}, {"gpus": ("gpu:3",), "nodes_min": 2, "nodes_max": 2}]
)
def test_the_planner_decides_what_each_node_brings_for_its_gpus(keys):
    request = resolved(cpus_per_gpu=2, mem_per_gpu_mib=100, **keys)
    assert (request.cpus_per_gpu, request.memory_per_gpu_mib, request.cpus_per_task, request.memory_per_node_mib) == (2, 100, 1, 0)


@pytest.mark.parametrize(
    ("keys", "ntasks", "per_node", "total"),
    [
        ({"gpus": ("gpu:2",)}, 4, 0, (("gpu", 2),)),
        ({"gpus": ("gpu:2",), "ntasks": 3}, 3, 0, (("gpu", 2),)),
        ({"ntasks": 4}, 4, 0, (("gpu", 2),)),
        ({"gres": ("gpu:a100:2",), "nodes_min": 3, "nodes_max": 3}, 0, 4, ()),
    ],
)
def test_tasks_per_gpu(keys, ntasks, per_node, total):
    request = resolved(ntasks_per_gpu=2, **keys)
    assert (request.ntasks, request.ntasks_per_node, request.gres_total) == (ntasks, per_node, total)
    with pytest.raises(SlurmError, match="generic resource"):
        resolved(ntasks_per_gpu=2, ntasks=3)


def test_what_a_gpu_brings_by_default():
    config = ClusterConfig(def_cpus_per_gpu=3, def_mem_per_gpu_mib=500)
    state = State()
    state.config = config
    partition = Partition("main", def_cpus_per_gpu=2)
    asked = SubmitRequest(gpus_per_node=("gpu:2",))
    request = resolve_request(state, (partition,), asked)
    assert (request.cpus_per_task, request.cpus_per_node, request.memory_per_node_mib) == (1, 4, 1000)
    request = resolve_request(state, (Partition("main"),), SubmitRequest(gpus_per_node=("gpu:2",), cpus_per_task=1, mem_per_node_mib=7))
    assert (request.cpus_per_task, request.cpus_per_node, request.memory_per_node_mib) == (1, 0, 7)
    assert resolve_request(state, (partition,), SubmitRequest()).cpus_per_node == 0


def test_constraints_are_checked_and_kept_as_shown():
    request = resolved(constraint="b,a|c", prefer="[d|e]", contiguous=True)
    assert (request.constraint, request.prefer, request.contiguous) == ("b&a|c", "[d|e]", True)
    for key, words in (("constraint", "Invalid feature specification"), ("prefer", "Invalid preferred feature specification")):
        for text in ("a&", "!a", "a*", "[a"):
            with pytest.raises(SlurmError, match=words) as caught:
                resolved(**{key: text})
            assert text in caught.value.detail


def test_counts_of_features_are_nodes():
    request = resolved(constraint="[a*2&b*1]")
    assert (request.nodes_min, request.nodes_max, request.ntasks) == (3, 0, 0)
    request = resolved(constraint="a*2", ntasks=8)
    assert (request.nodes_min, request.ntasks) == (2, 8)
    assert resolved(constraint="a*2", nodes_min=4, nodes_max=4).nodes_min == 4
