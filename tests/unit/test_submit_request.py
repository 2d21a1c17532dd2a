"""What the controller makes of a submit request: sizes per GPU, feature lists, and the order of nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.request import Request
from penstock.engine.indexes import node_rank
from penstock.engine.request import SubmitRequest
from penstock.engine.state import Partition, State
from penstock.engine.submit import feature_names, resolve_request
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
    ("keys", "cpus_per_task", "per_node_mib", "per_cpu_mib"),
    [
        ({"gpus_per_node": ("gpu:4",)}, 8, 400, 0),
        ({"gres": ("gpu:h100:4", "shard:8")}, 8, 400, 0),
        ({"gres": ("gpu:4",), "ntasks_per_node": 4, "nodes_min": 2, "nodes_max": 2}, 2, 400, 0),
        ({"gpus_per_node": ("gpu:3",), "ntasks": 4, "nodes_min": 2, "nodes_max": 2}, 3, 300, 0),
        ({"gpus": ("gpu:4",)}, 8, 400, 0),
        ({"gpus": ("gpu:4",), "nodes_min": 2, "nodes_max": 2}, 4, 200, 0),
        ({"gpus_per_task": ("gpu:2",), "ntasks": 3}, 4, 0, 50),
    ],
)
def test_sizes_per_gpu(keys, cpus_per_task, per_node_mib, per_cpu_mib):
    request = resolved(cpus_per_gpu=2, mem_per_gpu_mib=100, **keys)
    assert (request.cpus_per_task, request.memory_per_node_mib, request.memory_per_cpu_mib) == (cpus_per_task, per_node_mib, per_cpu_mib)


@pytest.mark.parametrize(
    "keys",
    [{}, {"gres": ("shard:2",)}, {"gpus": ("gpu:4",), "ntasks": 4}, {"gpus": ("gpu:3",), "nodes_min": 2, "nodes_max": 2}],
)
def test_without_a_number_of_gpus_there_is_no_size_per_gpu(keys):
    with pytest.raises(SlurmError, match="generic resource"):
        resolved(cpus_per_gpu=2, **keys)


def test_feature_lists():
    assert (feature_names(""), feature_names("b&a&b")) == ((), ("b", "a"))
    for text in ("a|b", "[a|b]", "a*2", "(a&b)", "a&", "!a", "a,b"):
        with pytest.raises(SlurmError, match="Invalid feature specification") as caught:
            feature_names(text)
        assert text in caught.value.detail
