"""A planner's view in comparable form."""

from __future__ import annotations

from penstock.core.view import Running, Topology, View


def canonical(view: View) -> dict[str, object]:
    """Everything in a view but the numbering of shapes and the order of running rows, on which nothing depends."""
    nodes, pending, licenses = view.nodes, view.pending, view.licenses
    return {
        "names": nodes.names,
        "pools": nodes.pools,
        "total": nodes.total.tolist(),
        "free": nodes.free.tolist(),
        "up": nodes.up.tolist(),
        "weight": nodes.weight.tolist(),
        "features": {name: mask.tolist() for name, mask in sorted(nodes.features.items())},
        "partitions": {
            name: (part.member.tolist(), part.state, part.max_time_s, part.max_nodes, part.priority_tier, _levels(part.topology))
            for name, part in sorted(view.partitions.items())
        },
        "running": _rows(view.running),
        "licenses": (licenses.names, licenses.total.tolist(), licenses.free.tolist(), _rows(licenses.running)),
        "pending": [pending.job_id.tolist(), pending.time_limit_s.tolist(), pending.count.tolist(), pending.startable.tolist()],
        "shapes": [view.shapes[number] for number in pending.shape.tolist()],
    }


def _rows(running: Running) -> list[tuple[object, ...]]:
    columns = (running.job_id.tolist(), running.node.tolist(), running.end_s.tolist(), map(tuple, running.amount.T.tolist()))
    return sorted(zip(*columns, strict=True))


def _levels(topology: Topology | None) -> object:
    if topology is None:
        return None
    levels = [(level.name, level.names, level.domains, level.domain.tolist(), level.of_leaf.tolist()) for level in topology.levels]
    return (topology.name, topology.kind, levels)
