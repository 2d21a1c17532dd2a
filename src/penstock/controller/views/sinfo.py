"""sinfo: partitions and nodes. Nodes of a partition that are equal in what the table shows share a line.

Request fields: see InfoRequest. Like Slurm a partition without a matching node keeps a line with 0 nodes and state `n/a`, unless the
table is per node.

Guarantees: the scans over jobs and nodes pause; the work is bounded by partitions times nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from penstock.controller.views import node_facts as facts
from penstock.controller.views.chunks import PAUSE, Fields, Notes, slices, table, time_value
from penstock.controller.views.order import Term, each, ordering
from penstock.controller.views.squeue import FIELDS_MAX, TERMS_MAX, known_nodes
from penstock.engine.cluster_config import Partition
from penstock.engine.state import Node, State
from penstock.spec import hostlist, states
from penstock.spec.errors import SlurmError
from penstock.spec.fields_sinfo import FIELDS, GROUPING, LETTERS, NODE_FIELDS
from penstock.spec.times import format_duration_short

NODES_MAX = 250
"""Nodes that one slice looks at: about 1 ms."""


class InfoRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Empty lists accept everything. `states`: one text of sinfo -t a list item, or with `all_states` every one has to hold."""

    fields: list[str] = []
    partitions: list[str] = []
    nodes: str = ""
    states: list[str] = []
    not_states: bool = False
    all_states: bool = False
    node_centric: bool = False
    reasons: bool = False
    exact: bool = False
    dead: bool = False
    responding: bool = False
    sort: str = ""


class Line:
    """One line of the table: a partition (None in -R without it) and its equal nodes."""

    __slots__ = ("members", "partition")

    def __init__(self, partition: Partition | None, members: list[Member]) -> None:
        self.partition = partition
        self.members = members


class Member:
    """A node with what is given out on it now."""

    __slots__ = ("held", "load", "node", "number")

    def __init__(self, node: Node, held: facts.Occupancy, load: tuple[int, int]) -> None:
        self.node = node
        self.held = held
        self.number = facts.state_number(node, held)
        self.load = load


def sinfo(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, InfoRequest)
    if not request.fields or len(request.fields) > FIELDS_MAX:
        raise SlurmError(3001, f"{len(request.fields)} columns, 1 to {FIELDS_MAX} are allowed")
    for field in request.fields:
        if field not in GETTERS:
            raise SlurmError(3001, f"unknown column {field[:64]}")
    terms = _terms(request.sort or "#P,-t", state)
    return _chunks(state, notes, request, terms)


def _chunks(state: State, notes: Notes, request: InfoRequest, terms: list[Term]) -> Iterator[bytes]:
    wanted = known_nodes(state, request.nodes) if request.nodes else None
    held = yield from facts.occupancy(state)
    members = {}
    for part in slices(list(state.nodes.values()), NODES_MAX):
        for node in part:
            member = Member(node, held.get(node.name, facts.EMPTY), notes.load(node.name))
            if (wanted is None or node.name in wanted) and accepts(request, member):
                members[node.name] = member
        yield PAUSE
    lines: list[Line] = []
    keys = [field for field in request.fields if field in (NODE_FIELDS if request.exact else GROUPING)]
    by_partition = any(field in PARTITION_FIELDS for field in request.fields)
    for partition in state.config.partitions if by_partition else (None,):
        if partition is not None and request.partitions and partition.name not in request.partitions:
            continue
        every = partition is None or not partition.nodes
        names = list(members) if every else [name for name in partition.nodes if name in members]  # type: ignore[union-attr]
        groups: dict[tuple[str, ...], list[Member]] = {}
        for some in slices(names, NODES_MAX):
            for name in some:
                member = members[name]
                key = (name,) if request.node_centric else tuple([GETTERS[field](Line(partition, [member])) for field in keys])
                groups.setdefault(key, []).append(member)
            yield PAUSE
        lines += [Line(partition, group) for group in groups.values()]
        if not groups and not request.node_centric and not request.reasons and partition is not None:
            lines.append(Line(partition, []))
        yield PAUSE
    work = ordering(lines, terms)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            order = stop.value
            break
        yield PAUSE
    columns = [_column(field) for field in request.fields]
    yield from table(lines, columns, None, order)


def _column(field: str) -> Callable[[Any, Any], list[str]]:
    getter = GETTERS[field]
    return lambda lines, context: [getter(line) for line in lines]


def accepts(request: InfoRequest, member: Member) -> bool:
    if request.reasons and not (member.node.reason and (member.node.drain or member.node.down)):
        return False
    if request.dead and not member.number & states.NODE_NOT_RESPONDING:
        return False
    if request.responding and member.number & states.NODE_NOT_RESPONDING:
        return False
    texts = [text for text in request.states if text.lower() != "all"]
    if not texts or len(texts) < len(request.states):
        return True
    found = [state_matches(member.number, text) for text in texts]
    answer = all(found) if request.all_states else any(found)
    return answer is not request.not_states


def state_matches(number: int, text: str) -> bool:
    """Whether a node is in a state as sinfo -t names it; `draining` and `drained` ask whether jobs are still there."""
    word = text.strip().lower().rstrip("*$@^#%~!-+")
    shown = {states.node_state(number).rstrip("*$@^#%~!-+"), states.node_state_compact(number).rstrip("*$@^#%~!-+")}
    if word in shown:
        return True
    if word in ("draining", "drained", "drng"):
        return False
    wanted = states.parse_node_state(word)
    if wanted <= states.NODE_BASE:
        busy = states.NODE_DRAIN | (states.NODE_COMPLETING if wanted == states.NODE_IDLE else 0)
        return number & states.NODE_BASE == wanted and not number & busy
    return bool(number & wanted)


Getter = Callable[[Line], str]


def _range(value: Callable[[Member], int], spread: bool = False, unit: Callable[[int], str] = str) -> Getter:
    """One number a line: `min+` where nodes differ, `min-max` with spread."""

    def get(line: Line) -> str:
        numbers = [value(member) for member in line.members]
        if not numbers:
            return "0" if not spread else "N/A"
        low, high = min(numbers), max(numbers)
        if low == high:
            return unit(low) if not spread or low >= 0 else "N/A"
        return f"{unit(low)}-{unit(high)}" if spread else f"{unit(low)}+"

    return get


def _first(value: Callable[[Member], str], absent: str = "n/a") -> Getter:
    return lambda line: value(line.members[0]) if line.members else absent


def _of_partition(value: Callable[[Partition], str]) -> Getter:
    return lambda line: value(line.partition) if line.partition is not None else "n/a"


def _always(text: str) -> Getter:
    return lambda line: text


def _aiot(line: Line) -> tuple[int, int, int, int]:
    allocated = idle = other = 0
    for member in line.members:
        base = member.number & states.NODE_BASE
        if facts.is_other(member.number):
            other += 1
        elif base in (states.NODE_ALLOCATED, states.NODE_MIXED) or member.number & states.NODE_COMPLETING:
            allocated += 1
        else:
            idle += 1
    return allocated, idle, other, len(line.members)


def _cpus(line: Line) -> str:
    totals = [0, 0, 0, 0]
    for member in line.members:
        for index, count in enumerate(facts.cpu_states(member.node, member.held, member.number)):
            totals[index] += count
    return "/".join(map(str, totals))


def _limit(seconds: int) -> str:
    return format_duration_short(seconds) if seconds else "infinite"


def _size(partition: Partition) -> str:
    if partition.max_nodes == partition.min_nodes:
        return str(partition.min_nodes)
    return f"{partition.min_nodes}-{partition.max_nodes or 'infinite'}"


def _centi(value: int) -> str:
    return f"{value // 100}.{value % 100:02d}"


def _user_of_reason(member: Member) -> str:
    return user_name(member.node.reason_uid) if member.node.reason else "Unknown"


def user_name(uid: int) -> str:
    """The passwd entry's name, else the number."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


GETTERS: dict[str, Getter] = {
    "allocmem": _range(lambda member: member.held.memory_mib),
    "allocnodes": _of_partition(lambda partition: "all"),
    "available": _of_partition(lambda partition: partition.state.lower()),
    "cluster": _always("N/A"),
    "comment": _first(lambda member: member.node.comment or "(null)"),
    "cores": _range(lambda member: member.node.cpus),
    "cpus": _range(lambda member: member.node.cpus),
    "cpusload": _range(lambda member: member.load[0], spread=True, unit=_centi),
    "cpusstate": _cpus,
    "defaulttime": _of_partition(lambda partition: format_duration_short(partition.default_time_s) if partition.default_time_s else "n/a"),
    "disk": _range(lambda member: member.node.tmp_disk_mib),
    "extra": _first(lambda member: member.node.extra or "(null)"),
    "features": _first(lambda member: ",".join(member.node.features) or "(null)", "(null)"),
    "featuresact": _first(lambda member: ",".join(member.node.features) or "(null)", "(null)"),
    "freemem": _range(lambda member: member.load[1], spread=True),
    "gres": _first(lambda member: facts.gres_text(member.node) or "(null)", "(null)"),
    "gresused": _first(lambda member: facts.gres_used_text(member.node, member.held) or "gpu:0", "gpu:0"),
    "groups": _of_partition(lambda partition: ",".join(partition.allow_groups) or "all"),
    "maxcpuspernode": _of_partition(lambda partition: "UNLIMITED"),
    "memory": _range(lambda member: member.node.memory_mib),
    "nodeaddr": _first(lambda member: member.node.hostname),
    "nodeai": lambda line: "/".join(map(str, _aiot(line)[:2])),
    "nodeaiot": lambda line: "/".join(map(str, _aiot(line))),
    "nodehost": _first(lambda member: member.node.hostname),
    "nodelist": lambda line: hostlist.compress([member.node.name for member in line.members]),
    "nodes": lambda line: str(len(line.members)),
    "oversubscribe": _of_partition(lambda partition: "NO"),
    "partition": _of_partition(lambda partition: partition.name + ("*" if partition.default else "")),
    "partitionname": _of_partition(lambda partition: partition.name),
    "port": _first(lambda member: "0"),
    "preemptmode": _of_partition(lambda partition: partition.preempt_mode),
    "priorityjobfactor": _of_partition(lambda partition: "1"),
    "prioritytier": _of_partition(lambda partition: str(partition.priority_tier)),
    "reason": _first(lambda member: member.node.reason or "none", "none"),
    "reservation": _always(""),
    "root": _of_partition(lambda partition: "no"),
    "size": _of_partition(_size),
    "socketcorethread": _first(lambda member: f"1:{member.node.cpus}:1", "0:0:0"),
    "sockets": _range(lambda member: 1),
    "statecompact": _first(lambda member: states.node_state_compact(member.number)),
    "statelong": _first(lambda member: states.node_state(member.number)),
    "statecomplete": _first(lambda member: states.node_state_complete(member.number).lower()),
    "threads": _range(lambda member: 1),
    "time": _of_partition(lambda partition: _limit(partition.max_time_s)),
    "timestamp": _first(lambda member: time_value(member.node.reason_ms, "Unknown"), "Unknown"),
    "user": _first(_user_of_reason, "Unknown"),
    "userlong": _first(
        lambda member: f"{_user_of_reason(member)}({member.node.reason_uid})" if member.node.reason else "Unknown", "Unknown"
    ),
    "version": _first(lambda member: member.node.version or "N/A"),
    "weight": _range(lambda member: member.node.weight),
}

PARTITION_FIELDS = frozenset(
    (
        *("allocnodes", "available", "defaulttime", "groups", "maxcpuspernode", "oversubscribe", "partition", "partitionname"),
        *("preemptmode", "priorityjobfactor", "prioritytier", "root", "size", "time"),
    )
)

_NUMERIC_KEYS: dict[str, Callable[[Line], int]] = {
    "cpus": lambda line: line.members[0].node.cpus if line.members else 0,
    "disk": lambda line: line.members[0].node.tmp_disk_mib if line.members else 0,
    "memory": lambda line: line.members[0].node.memory_mib if line.members else 0,
    "nodes": lambda line: len(line.members),
    "statecompact": lambda line: line.members[0].number if line.members else 0,
    "statelong": lambda line: line.members[0].number if line.members else 0,
    "time": lambda line: (line.partition.max_time_s if line.partition else 0) or 1 << 40,
    "timestamp": lambda line: line.members[0].node.reason_ms if line.members else 0,
    "weight": lambda line: line.members[0].node.weight if line.members else 0,
}


def _nodes_key(state: State) -> Callable[[Line], int]:
    order = {name: index for index, name in enumerate(hostlist.sort(state.nodes))}
    return lambda line: order[line.members[0].node.name] if line.members else 1 << 40


def _terms(sort: str, state: State) -> list[Term]:
    terms: list[Term] = []
    for word in sort.split(","):
        letter = word.strip().lstrip("+-#")
        field = LETTERS.get(letter, "")
        if not field:
            raise SlurmError(3001, f"Invalid sort specification: {word.strip()[:32]}")
        key: Callable[[Line], int | str]
        if field == "nodelist":
            key = _nodes_key(state)
        elif field.startswith("partition") and "#" in word:
            order = {partition.name: index for index, partition in enumerate(state.config.partitions)}
            key = _partition_key(order)
        else:
            key = _NUMERIC_KEYS.get(field) or GETTERS[field]
        terms.append((each(key), "-" in word))
    if len(terms) > TERMS_MAX:
        raise SlurmError(3001, f"{len(terms)} sort terms, at most {TERMS_MAX} are allowed")
    return terms


def _partition_key(order: dict[str, int]) -> Callable[[Line], int]:
    return lambda line: order[line.partition.name] if line.partition else 0


if GETTERS.keys() != FIELDS.keys():
    raise AssertionError(f"sinfo fields without a getter, or the reverse: {GETTERS.keys() ^ FIELDS.keys()}")
