"""One request on its way through the control plane."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.engine.caller import Caller

Fields = dict[str, Any]


class Call(NamedTuple):
    """Who asks what; `first` is the answer that the same request id got before, if any."""

    client: int
    caller: Caller
    fields: Fields
    sections: list[bytes]
    request_id: bytes
    now_ms: int
    first: bytes | None

    def section(self, index: int) -> bytes:
        return self.sections[index] if index < len(self.sections) else b""
