"""Frames over one connection of the agent: collected, sent in one write a turn of the loop, and refused where they cannot be understood."""

from __future__ import annotations

import asyncio
import logging

from penstock.wire.messages import Deframer, frame

log = logging.getLogger("penstock.agent")


class Stream(asyncio.Protocol):
    """The base of each kind of connection: a subclass says what a frame means (`received`; ValueError: the connection ends)."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._deframer = Deframer()
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, payload: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame(payload))

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._deframer.feed(data):
                self.received(payload)
        except ValueError as error:
            log.error("%s sent what cannot be understood: %s", type(self).__name__, error)
            self.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def received(self, payload: bytes) -> None:
        raise NotImplementedError
