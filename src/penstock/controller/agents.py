"""The agents' door: a unix socket for the nodes of this machine. Only root and the cluster's own user may be agents here."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable

import msgspec

from penstock.wire import messages as m

MAX_UNREAD_BYTES = 256 << 20

log = logging.getLogger("penstock.controller")


class AgentDoor:
    """All agent sessions by node; a second session of a node replaces the first."""

    def __init__(
        self,
        hello: Callable[[m.Hello], None],
        message: Callable[[str, m.ToController], None],
        lost: Callable[[str], None],
    ) -> None:
        self.hello = hello
        self.message = message
        self.lost = lost
        self.sessions: dict[str, AgentSession] = {}

    def connect(self) -> AgentSession:
        return AgentSession(self)

    def send(self, node: str, message: m.ToAgent) -> None:
        session = self.sessions.get(node)
        if session is not None:
            session.send(message)


class AgentSession(asyncio.Protocol):
    """One connection; silent until its Hello."""

    def __init__(self, door: AgentDoor) -> None:
        self.door = door
        self.node = ""
        self._deframer = m.Deframer()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer: socket.socket = transport.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.getuid()):
            log.warning("uid %d is no agent", uid)
            transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._deframer.feed(data):
                message = m.decode_for_controller(frame)
                if not self.node:
                    self._greet(message)
                else:
                    self.door.message(self.node, message)
        except (ValueError, msgspec.DecodeError) as error:
            log.error("agent %s: %s; connection closed", self.node or "?", error)
            self._close()

    def _greet(self, message: m.ToController) -> None:
        if not isinstance(message, m.Hello):
            raise ValueError(f"an agent begins with Hello, not {type(message).__name__}")
        if message.protocol != m.PROTOCOL_VERSION:
            raise ValueError(f"agent {message.node} speaks protocol {message.protocol}, this controller {m.PROTOCOL_VERSION}")
        self.node = message.node
        old = self.door.sessions.get(self.node)
        self.door.sessions[self.node] = self
        if old is not None:
            old.node = ""
            old._close()
        self.door.hello(message)

    def send(self, message: m.ToAgent) -> None:
        """With what else leaves in this round of the loop, in one write. An agent that does not read is cut off; it reconciles later."""
        if self._transport is None or self._transport.is_closing():
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(m.frame(m.encode(message)))

    def _flush(self) -> None:
        data, self._out = b"".join(self._out), []
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            log.error("agent %s: %d bytes wait to be read; connection closed", self.node, self._transport.get_write_buffer_size())
            self._transport.abort()
            return
        self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.node and self.door.sessions.get(self.node) is self:
            del self.door.sessions[self.node]
            self.door.lost(self.node)
