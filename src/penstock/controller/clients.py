"""The commands' gateway: a unix socket on which the kernel says who calls.

Frames as in `wire.lite`. One connection carries one request after another; a held one (salloc, srun, sbatch --wait) stays until its
final frame. Bounds: MAX_CLIENTS connections, MAX_REQUEST_BYTES a request; a user other than root and the cluster's own has at most
MAX_CLIENTS_PER_UID connections and MAX_UNSERVED_BYTES of requests that are incomplete or wait. Who does not read his answers is not served
further: his view stops, and his next requests wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from penstock.engine.caller import Caller
from penstock.engine.reactor import BrokenEvent
from penstock.wire.messages import Deframer

MAX_CLIENTS = 16_384
MAX_REQUEST_BYTES = 64 << 20
MAX_CLIENTS_PER_UID = 4_096
MAX_UNSERVED_BYTES = 256 << 20
MAX_SECTIONS = 65_536
NAMES_LAST_S = 60.0
"""Names and groups of users are asked of the system again after this."""
WRITE_HIGH_BYTES = 1 << 20
"""A view pauses while so much of it waits to be read."""

log = logging.getLogger("penstock.controller")
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Handler = Callable[["Client", dict[str, Any], list[bytes]], None]


class Gateway:
    """All clients of one listening socket; `handle` gets each request, `gone` each client that left."""

    def __init__(self, handle: Handler, gone: Callable[[int], None]) -> None:
        self.handle = handle
        self.gone = gone
        self.clients: dict[int, Client] = {}
        self._next = 1
        self._callers: dict[tuple[int, int], Caller] = {}
        self._names_until_s = 0.0
        self._connections: dict[int, int] = {}
        self._unserved_bytes: dict[int, int] = {}

    def connect(self) -> Client:
        """Protocol factory."""
        client = Client(self, self._next)
        self._next += 1
        return client

    def caller(self, uid: int, gid: int) -> Caller:
        """Names of a uid and gid; numbers where the system knows none."""
        if time.monotonic() >= self._names_until_s:
            self._callers.clear()
            self._names_until_s = time.monotonic() + NAMES_LAST_S
        caller = self._callers.get((uid, gid))
        if caller is None:
            try:
                user = pwd.getpwuid(uid).pw_name
            except KeyError:
                user = str(uid)
            try:
                group = grp.getgrgid(gid).gr_name
            except KeyError:
                group = str(gid)
            groups = []
            for number in os.getgrouplist(user, gid) if user != str(uid) else ():
                with contextlib.suppress(KeyError):
                    groups.append(grp.getgrgid(number).gr_name)
            caller = self._callers[(uid, gid)] = Caller(uid, gid, user, group, tuple(groups))
        return caller

    def admit(self, client: Client) -> str:
        """Count the client in; why it cannot be served, or ""."""
        uid = client.caller.uid
        mine = self._connections.get(uid, 0)
        if len(self.clients) >= MAX_CLIENTS:
            return f"the controller serves {MAX_CLIENTS} connections already; try again"
        if uid not in (0, os.getuid()) and mine >= MAX_CLIENTS_PER_UID:
            return f"{client.caller.user} has {mine} connections already, {MAX_CLIENTS_PER_UID} are allowed"
        self._connections[uid] = mine + 1
        self.clients[client.number] = client
        return ""

    def dismiss(self, client: Client) -> None:
        """The connection is closed."""
        if self.clients.pop(client.number, None) is not None:
            uid = client.caller.uid
            self._connections[uid] -= 1
            if not self._connections[uid]:
                del self._connections[uid]
            self.gone(client.number)

    def has_room(self, uid: int, more_bytes: int) -> bool:
        """Count bytes of requests that are not served yet; False beyond the user's share of memory."""
        total = self._unserved_bytes.get(uid, 0) + more_bytes
        self._unserved_bytes[uid] = total
        if not total:
            del self._unserved_bytes[uid]
        return more_bytes <= 0 or total <= MAX_UNSERVED_BYTES or uid in (0, os.getuid())

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        """A frame to a client that may be gone."""
        target = self.clients.get(client)
        if target is not None:
            target.write(kind, payload)


class Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, gateway: Gateway, number: int) -> None:
        self.gateway = gateway
        self.number = number
        self.caller = Caller(-1, -1, "", "")
        self.view: Iterator[bytes] | None = None
        self.writable = True
        self.resume: Callable[[], None] | None = None
        self._deframer = Deframer(MAX_REQUEST_BYTES)
        self._unserved_bytes = 0
        self._frames: deque[bytes] = deque()
        self._serving = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer: socket.socket = transport.get_extra_info("socket")
        _, uid, gid = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        self.caller = self.gateway.caller(uid, gid)
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        problem = self.gateway.admit(self)
        if problem:
            self.write("!", f"2007\tToo many clients\t{problem}".encode())
            transport.close()

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        try:
            self._frames += self._deframer.feed(data)
        except ValueError as error:
            self._malformed(error)
            return
        self.go_on()
        if not self._count_unserved():
            self._malformed(ValueError(f"{self.caller.user} has more than {MAX_UNSERVED_BYTES} bytes of requests waiting here"))

    def go_on(self) -> None:
        """Serve the requests that wait, one after another, as long as their answers are read; meanwhile no more of them is taken."""
        if self._serving or self._transport is None:
            return
        self._serving = True
        while self._frames and self.writable and self.view is None and not self._transport.is_closing():
            self._serve(self._frames.popleft())
        self._serving = False
        if self._frames:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _count_unserved(self) -> bool:
        """Tell the gateway what is kept of requests that are incomplete or wait; False if that is too much."""
        now_bytes = self._deframer.pending + sum(map(len, self._frames))
        grown, self._unserved_bytes = now_bytes - self._unserved_bytes, now_bytes
        return self.gateway.has_room(self.caller.uid, grown)

    def _malformed(self, error: Exception) -> None:
        self.write("!", f"3001\tMalformed request\t{error}".encode("utf-8", "replace"))
        self._frames.clear()
        if self._transport is not None:
            self._transport.close()

    def _serve(self, frame: bytes) -> None:
        try:
            fields, sections = parse_request(frame)
            self.gateway.handle(self, fields, sections)
        except (ValueError, msgspec.DecodeError) as error:
            self._malformed(error)
        except BrokenEvent:
            raise
        except Exception:  # a mistake of ours: told at once, so that the client does not take it for a controller that restarts
            log.exception("a request of uid %d failed", self.caller.uid)
            self.write("!", b"-1\tUnspecified error\tthe controller failed at this request; its log says where")
            if self._transport is not None:
                self._transport.close()

    def write(self, kind: str, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write((len(payload) + 1).to_bytes(4, "big") + kind.encode() + payload)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.resume is not None:
            self.resume()
        self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.view = None
        self.resume = None
        self._frames.clear()
        self.gateway.has_room(self.caller.uid, -self._unserved_bytes)
        self._unserved_bytes = 0
        self.gateway.dismiss(self)


def parse_request(frame: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """(fields, sections); ValueError if the lengths do not add up."""
    size = int.from_bytes(frame[:4], "big")
    if size > len(frame) - 4:
        raise ValueError("the request's head is longer than the request")
    fields = _decode(frame[4 : 4 + size])
    sections: list[bytes] = []
    at = 4 + size
    while at < len(frame):
        length = int.from_bytes(frame[at : at + 4], "big")
        if at + 4 + length > len(frame) or len(sections) >= MAX_SECTIONS:
            raise ValueError(f"section {len(sections)} is longer than the request")
        sections.append(frame[at + 4 : at + 4 + length])
        at += 4 + length
    return fields, sections
