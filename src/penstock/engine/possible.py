"""Whether a request could run at all, judged at submit and on an update against the cluster as if every node were up and idle.

A refusal names what is too much and the largest that could be; a shape that was judged is remembered until nodes or partitions change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.core.feasible import never_fits
from penstock.core.plan import Reason
from penstock.core.request import Request, gres_name, parsed
from penstock.core.slots import gres_names
from penstock.engine.cluster_config import Partition
from penstock.engine.indexes import Indexes
from penstock.engine.planner_records import gres_of
from penstock.engine.state import State
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError
from penstock.spec.levels import NO_END

FEASIBLE_MAX = 10_000
"""Shapes whose feasibility is remembered."""
FEATURES_NAMED = 20
"""Known features that a refusal names."""


def check_possible(indexes: Indexes, partitions: Sequence[Partition], request: Request) -> None:
    """ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE where even the empty cluster could never run it in any of the partitions; --switches and a
    preferred level are wishes that end, so they make nothing impossible."""
    state = indexes.state
    request = without_preference(replace(request, switches=0) if request.switches else request)
    if not state.nodes:
        return
    for text, refused in ((request.constraint, err.ESLURM_INVALID_FEATURE), (request.prefer, err.ESLURM_INVALID_PREFER)):
        check_features(state, text, refused)
    first = None
    for partition in partitions:
        reason = _never_fits(indexes, partition.name, request)
        if reason is None:
            return
        first = first or reason
    reason = first
    if reason is None:
        return
    code = err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE
    detail = reason.sentence()
    if reason.what == "memory_mib":
        detail = f"{reason.asked} MiB asked, {reason.most} MiB is the most there can be\nMemory specification can not be satisfied"
    if reason.what == "topology":
        code = err.ESLURM_REQUESTED_TOPO_CONFIG_UNAVAILABLE
    wanted = {gres_name(key) for key, _ in (*request.gres_per_node, *request.gres_per_task, *request.gres_total)}
    if wanted - {name for node in state.nodes.values() for pool, _ in gres_of(node) for name in gres_names(pool)}:
        code = err.ESLURM_INVALID_GRES
    outside = request.required_nodes and reason.what == "nodes" and set(reason.names) & set(request.required_nodes)
    if outside and not any(set(reason.names) <= set(p.nodes or state.nodes) for p in partitions):
        code = err.ESLURM_REQUESTED_NODES_NOT_IN_PARTITION
    raise SlurmError(code, detail=detail)


def without_preference(request: Request) -> Request:
    """The request without a level that is only preferred."""
    return request if request.level_wait_s == NO_END else replace(request, level="", level_wait_s=NO_END)


def worth_waiting(indexes: Indexes, partitions: Sequence[Partition], request: Request) -> bool:
    """Whether the empty cluster could run it, with all its wishes, in one of the partitions."""
    return not all(_never_fits(indexes, partition.name, request) for partition in partitions)


def _never_fits(indexes: Indexes, partition: str, request: Request) -> Reason | None:
    """`never_fits`, remembered until nodes or partitions change: bursts ask the same again and again."""
    known = indexes.feasible
    key = (partition, request)
    if key not in known:
        if len(known) >= FEASIBLE_MAX:
            known.clear()
        state = indexes.state
        known[key] = never_fits(indexes.columns.view(state.seq, state.counters.now_ms // 1000), partition, request)
    return known[key]


def check_features(state: State, text: str, code: int) -> None:
    """SlurmError(code) where the constraint names a feature that no node has, whatever else would do."""
    names = parsed(text).names() if text else ()
    unknown = [name for name in names if not any(name in node.features for node in state.nodes.values())]
    if unknown:
        known = sorted({feature for node in state.nodes.values() for feature in node.features})
        detail = f"no node has the feature {', '.join(unknown)}; known are {', '.join(known[:FEATURES_NAMED]) or 'none'}"
        raise SlurmError(code, detail=detail)
