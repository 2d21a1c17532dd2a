"""The planner's whole input in a file, and the plan that was made from it: `penstock snapshot`, `penstock sim replay`.

One JSON object:

    {"penstock_snapshot": VERSION, "program": "0.1.0", "budget": {...}, "view": {...}, "plan": {...}}

`view` is `core.view.View` field by field, `budget` and `plan` are `core.cycle.Budget` and `core.plan.Plan`. An array is
`{"dtype": "int64", "shape": [rows, columns], "values": [...]}` in C order. Names of nodes, partitions and features are in it, job ids and
requests; no users, no scripts, no environments, no paths.

Guarantees: what was read back plans to the same plan, because `cycle` is deterministic and every field of the View is here; a piece holds
at most about ITEMS_MAX numbers or a few records, so that a writer can do other work between two; a file of another version, or one that
is no snapshot, is a SnapshotError that says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import msgspec
import numpy as np

from penstock import __version__
from penstock.core.cycle import Budget
from penstock.core.plan import Plan
from penstock.core.view import View

VERSION = 1
ITEMS_MAX = 16_384
"""Numbers of one piece."""
RECORDS_MAX = 64
"""Records (starts, reservations, shapes) of one piece."""
FILE_BYTES_MAX = 1 << 30
"""A larger file is refused before it is parsed."""
DTYPES = ("int64", "int32", "bool")


class SnapshotError(ValueError):
    """A file that is no snapshot that this program reads."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file holds."""

    program: str
    budget: Budget
    view: View
    plan: Plan


class _Head(msgspec.Struct):
    penstock_snapshot: int
    program: str = ""


def pieces(budget: Budget, view: View, plan: Plan) -> Iterator[bytes]:
    """The file, piece by piece."""
    yield b'{"penstock_snapshot":%d,"program":%s' % (VERSION, _plain(__version__))
    for name, value in (("budget", budget), ("view", view), ("plan", plan)):
        yield b',"%s":' % name.encode()
        yield from _value(value)
    yield b"}\n"


def read(content: bytes) -> Snapshot:
    """SnapshotError for anything but a snapshot of this version."""
    if len(content) > FILE_BYTES_MAX:
        raise SnapshotError(f"{len(content)} bytes, at most {FILE_BYTES_MAX} are allowed")
    try:
        head = msgspec.json.decode(content, type=_Head)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise SnapshotError(f"not a snapshot of the planner: {error}") from None
    if head.penstock_snapshot != VERSION:
        raise SnapshotError(
            f"a snapshot of version {head.penstock_snapshot}, written by Penstock {head.program}; this program reads {VERSION}"
        )
    try:
        return msgspec.json.decode(content, type=Snapshot, dec_hook=_array)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
        raise SnapshotError(f"a damaged snapshot: {error}") from None


def same_plan(one: Plan, other: Plan) -> bool:
    """Whether two plans are equal in every field."""
    return b"".join(_value(one)) == b"".join(_value(other))


# --- values to JSON ---


def _value(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield from _array_pieces(value)
    elif is_dataclass(value):
        yield from _object((field.name, getattr(value, field.name)) for field in fields(value))
    elif isinstance(value, Mapping):
        yield from _object(value.items())
    elif isinstance(value, tuple) and len(value) > RECORDS_MAX and type(value) is tuple:
        before = b"["
        for at in range(0, len(value), RECORDS_MAX):
            yield before + _plain(value[at : at + RECORDS_MAX])[1:-1]
            before = b","
        yield b"]"
    else:
        yield _plain(value)


def _object(items: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    before = b"{"
    for name, value in items:
        yield before + _plain(name) + b":"
        yield from _value(value)
        before = b","
    yield b"}" if before == b"," else b"{}"


def _array_pieces(array: np.ndarray[Any, Any]) -> Iterator[bytes]:
    flat = array.ravel()
    yield b'{"dtype":%s,"shape":%s,"values":[' % (_plain(array.dtype.name), _plain(list(array.shape)))
    for at in range(0, len(flat), ITEMS_MAX):
        yield (b"," if at else b"") + _plain(flat[at : at + ITEMS_MAX].tolist())[1:-1]
    yield b"]}"


def _whole_array(value: Any) -> Any:
    """Arrays inside records (a topology's levels)."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "shape": list(value.shape), "values": value.ravel().tolist()}
    raise NotImplementedError(f"a {type(value).__name__} has no place in a snapshot")


_plain = msgspec.json.Encoder(enc_hook=_whole_array).encode


def _array(kind: Any, value: Any) -> Any:
    """For the decoder: an array back from its object, read-only as a View's are."""
    if not isinstance(value, dict) or value.get("dtype") not in DTYPES:
        raise ValueError(f"an array of dtype {value.get('dtype') if isinstance(value, dict) else value!r}: {', '.join(DTYPES)} are allowed")
    array = np.array(value["values"], dtype=value["dtype"]).reshape(value["shape"])
    array.setflags(write=False)
    return array
