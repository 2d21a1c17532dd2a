"""Requests refuse what has no meaning, naming field, value and what is allowed."""

from __future__ import annotations

import pytest

from penstock.core.plan import Share
from penstock.core.records import NodeRecord, PendingRecord
from penstock.core.request import LARGEST, Request
from penstock.core.resources import resolve


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"nodes_min": 0}, "Request.nodes_min is 0: allowed are 1 to"),
        ({"cpus_per_task": 0}, "Request.cpus_per_task is 0"),
        ({"memory_per_node_mib": -2}, "Request.memory_per_node_mib is -2: allowed are -1"),
        ({"ntasks": LARGEST + 1}, f"Request.ntasks is {LARGEST + 1}"),
        ({"nodes_min": 3, "nodes_max": 2}, "Request.nodes_max is 2, below nodes_min, which is 3"),
        ({"nodes_min": 3, "ntasks": 2}, "each node runs a task"),
        ({"memory_per_node_mib": 1, "memory_per_cpu_mib": 1}, "exclude each other"),
        ({"gres_per_node": (("gpu", 0),)}, "Request.gres_per_node: gpu is 0"),
        ({"gres_per_node": (("gpu", 1), ("gpu", 1))}, "sorted, each once"),
        ({"gres_per_node": (("gpu:", 1),)}, "'name' or 'name:type'"),
        ({"gres_per_node": (("gpu", 1),), "gres_total": (("gpu:a100", 1),)}, "gpu is asked for per node, per task and in total at once"),
    ],
)
def test_a_request_without_meaning_is_refused(facts, text):
    with pytest.raises(ValueError, match="Request") as caught:
        Request(**facts)
    assert text in str(caught.value)


def test_equal_requests_are_one_key():
    assert len({Request(ntasks=2): 1, Request(ntasks=2): 2}) == 1


def test_an_untyped_need_counts_its_typed_siblings_and_is_drawn_last():
    demand = resolve(Request(gres_per_node=(("gpu", 1), ("gpu:a100", 2))), ("gpu:a100", "gpu:h100"))
    assert [(need.key, need.per_node) for need in demand.fits] == [("gpu:a100", 2), ("gpu", 3)]
    assert [(need.key, need.per_node, need.rows) for need in demand.draws] == [("gpu:a100", 2, (2,)), ("gpu", 1, (3, 2))]


def test_records_refuse_contradictions():
    with pytest.raises(ValueError, match="count is 0"):
        PendingRecord(1, Request(), ("p",), 0, 0, 60, count=0)
    with pytest.raises(ValueError, match="startable is 3: allowed are 0 to 2"):
        PendingRecord(1, Request(), ("p",), 0, 0, 60, count=2, startable=3)
    with pytest.raises(ValueError, match="no partition"):
        PendingRecord(1, Request(), (), 0, 0, 60)
    with pytest.raises(ValueError, match="time_limit_s is 0"):
        PendingRecord(1, Request(), ("p",), 0, 0, 0)
    with pytest.raises(ValueError, match="node n: cpus is -1"):
        NodeRecord("n", 0, -1, 0)


def test_a_share_without_devices_is_short():
    assert Share("n", 1, 2, 3) == ("n", 1, 2, 3, ())
