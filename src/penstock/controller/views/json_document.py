"""--json of squeue, sinfo, scontrol and sacct: the envelope and the values of Slurm's data parser (slurm.md C.10).

A number that may be unset is `{"set", "infinite", "number"}`, times are such numbers in epoch seconds, states and flags are lists of
words, an exit code is an object. The list is streamed, RECORDS_MAX records a piece, between head and tail of the envelope.

Guarantees: the whole reply is one valid JSON document, also when it lists nothing. Texts that are not UTF-8 get replacement characters.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from penstock import SLURM_VERSION
from penstock.controller.views.chunks import PAUSE, Notes
from penstock.engine.state import PENDING, State
from penstock.spec import states

RECORDS_MAX = 20
"""Records of one piece."""
PARSER = "data_parser/v0.0.43"

_encode = msgspec.json.Encoder().encode


def number(value: int, *, unset: bool = False, infinite: bool = False) -> dict[str, Any]:
    return {"set": not unset and not infinite, "infinite": infinite, "number": 0 if unset or infinite else value}


def moment(ms: int) -> dict[str, Any]:
    """A time, unset while it has not happened."""
    return number(ms // 1000, unset=not ms)


def exit_code(wait_status: int, state: int = 0) -> dict[str, Any]:
    code, signal = states.split_wait_status(wait_status)
    status = "SUCCESS" if not wait_status else "SIGNALED" if signal else "ERROR"
    if state == PENDING:
        status = "PENDING"
    name = signals.Signals(signal).name.removeprefix("SIG") if signal and signal in {s.value for s in signals.Signals} else ""
    return {
        "status": [status],
        "return_code": number(code),
        "signal": {"id": number(signal, unset=not signal), "name": name},
    }


def envelope(state: State, notes: Notes, key: str, records: Iterable[dict[str, Any] | None], extra: dict[str, Any]) -> Iterator[bytes]:
    """The document in pieces; a record None is a pause."""
    yield b'{"' + key.encode() + b'":['
    buffer: list[bytes] = []
    first = True
    for record in records:
        if record is not None:
            buffer.append(_encode_text(record))
        if buffer and (record is None or len(buffer) == RECORDS_MAX):
            yield (b"" if first else b",") + b",".join(buffer)
            first = False
            buffer.clear()
        elif record is None:
            yield PAUSE
    if buffer:
        yield (b"" if first else b",") + b",".join(buffer)
    yield b"]," + _encode_text(extra | {"meta": _meta(state), "errors": [], "warnings": []})[1:] + b"\n"


def _encode_text(record: Any) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return _encode(_valid(record))


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value


def _meta(state: State) -> dict[str, Any]:
    major, minor, micro = SLURM_VERSION.split(".")
    return {
        "plugin": {"type": "", "name": "", "data_parser": PARSER, "accounting_storage": ""},
        "client": {"source": "", "user": "", "group": ""},
        "command": [],
        "slurm": {
            "version": {"major": major, "micro": micro, "minor": minor},
            "release": SLURM_VERSION,
            "cluster": state.config.cluster_name,
        },
    }
