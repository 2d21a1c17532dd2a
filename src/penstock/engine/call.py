"""One request on its way through the control plane."""

from __future__ import annotations

from typing import Any, NamedTuple

from penstock.engine.caller import Caller

Fields = dict[str, Any]


class Call(NamedTuple):
    """Who asks what; `first` is the answer that the same request id got before, if any. `asked` is the request, decoded into the struct of
    its operation; submissions and steps decode `fields` themselves."""

    client: int
    caller: Caller
    fields: Fields
    sections: list[bytes]
    request_id: bytes
    now_ms: int
    first: bytes | None
    asked: Any = None

    def of(self, asked: Any) -> Call:
        """The same call, its request decoded."""
        return self._replace(asked=asked)

    def section(self, index: int) -> bytes:
        return self.sections[index] if index < len(self.sections) else b""
