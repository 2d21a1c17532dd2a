"""srun's and sattach's end of a step's terminal I/O: listens for the shepherds, takes their streams, sends standard input.

The listener is an abstract unix socket: no file to leave behind, no path that is too long, and nothing to look for in $TMPDIR. The kernel
says who dials (only this user and root are heard; root hears all), the key says that it is a shepherd of this step. Protocol: `wire.stdio`.

Guarantees: never blocks; at most MAX_STRANGERS connections that have not said HELLO; frames reach `on_frame` once each and in the order of
their node, whatever connections break. Assumes: the caller polls `poll_fds` and calls `handle`; while it reads `listening_only` (its
outputs are full) only new connections are served.
"""

from __future__ import annotations

import _socket
import os
import select
from _operator import _compare_digest
from sys import byteorder

from penstock.wire import stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_STRANGERS = 64
BACKLOG = 1024
_READ_BYTES = 1 << 16


class _Stream:
    """The stream to and from one node; outlives its connections."""

    __slots__ = ("acked", "connection", "finished", "outbox", "received")

    def __init__(self) -> None:
        self.outbox = stdio.Outbox()
        self.received = 0
        self.acked = 0
        self.finished = False
        self.connection: _Connection | None = None


class _Connection:
    __slots__ = ("inbox", "node", "socket", "stream")

    def __init__(self, sock: _socket.socket) -> None:
        self.socket = sock
        self.inbox = stdio.Inbox(at_client=True)
        self.node = ""
        self.stream: _Stream | None = None


class StepClient:
    def __init__(self, on_frame: Callable[[str, int, int, bytes], None]) -> None:
        """`on_frame(node, kind, rank, payload)` for OUT, ERR, EXIT, NOTICE and FINISHED."""
        self.key = os.urandom(24)
        name = f"penstock-io-{os.getpid()}-{os.urandom(8).hex()}"
        self.address = f"unix:@{name}"
        self._on_frame = on_frame
        self._streams: dict[str, _Stream] = {}
        self._connections: dict[int, _Connection] = {}
        self._strangers = 0
        self._listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
        self._listener.bind("\0" + name)
        self._listener.listen(BACKLOG)

    def expect(self, nodes: Iterable[str]) -> None:
        """The nodes of the step; input is kept for those that have not dialled yet."""
        for node in nodes:
            self._streams.setdefault(node, _Stream())

    @property
    def finished(self) -> bool:
        """Every expected node said that nothing more comes."""
        return bool(self._streams) and all(stream.finished for stream in self._streams.values())

    @property
    def connected(self) -> bool:
        """At least one shepherd is on the line."""
        return any(connection.stream is not None for connection in self._connections.values())

    @property
    def input_full(self) -> bool:
        """Standard input must wait: a node that still takes input has its window full."""
        return any(stream.outbox.full and not stream.finished for stream in self._streams.values())

    def send(self, kind: int, rank: int, payload: bytes) -> None:
        """IN or RESIZE, to every node."""
        for stream in self._streams.values():
            if not stream.finished:
                stream.outbox.push(kind, rank, payload)
                self._flush(stream)

    # --- the poll loop

    def poll_fds(self, *, listening_only: bool = False) -> list[tuple[int, int]]:
        out = [(self._listener.fileno(), select.POLLIN)] if self._strangers < MAX_STRANGERS else []
        for fd, connection in self._connections.items():
            events = 0 if listening_only else select.POLLIN
            if connection.stream is not None and connection.stream.outbox.unsent:
                events |= select.POLLOUT
            if events:
                out.append((fd, events))
        return out

    def owns(self, fd: int) -> bool:
        return fd in self._connections or fd == self._listener.fileno()

    def handle(self, fd: int, events: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
            return
        connection = self._connections[fd]
        if events & select.POLLOUT and connection.stream is not None:
            self._flush(connection.stream)
        if events & ~select.POLLOUT and fd in self._connections:
            self._read(connection)

    def _accept(self) -> None:
        while True:
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
            if os.getuid() and int.from_bytes(credentials[4:8], byteorder) not in (0, os.getuid()):
                sock.close()
                continue
            self._connections[fd] = connection = _Connection(sock)
            self._strangers += 1
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            frames = connection.inbox.feed(data)
            for kind, rank, payload in frames:
                if connection.socket.fileno() not in self._connections:
                    return
                if connection.stream is None:
                    self._greet(connection, kind, payload)
                else:
                    self._take(connection.node, connection.stream, kind, rank, payload)
        except stdio.ProtocolError:
            self._drop(connection)
            return
        if connection.stream is not None:
            self._flush(connection.stream)

    def _greet(self, connection: _Connection, kind: int, payload: bytes) -> None:
        if kind != stdio.HELLO:
            raise stdio.ProtocolError("HELLO comes first")
        node, key, received = stdio.parse_hello(payload)
        if not _compare_digest(key, self.key):
            raise stdio.ProtocolError("another key")
        stream = self._streams.setdefault(node, _Stream())
        stream.outbox.resume(received)
        if stream.connection is not None:
            self._drop(stream.connection)
        connection.node, connection.stream, stream.connection = node, stream, connection
        self._strangers -= 1
        try:
            connection.socket.send(stdio.welcome(stream.received), _socket.MSG_NOSIGNAL)
        except OSError:  # it is gone again; it dials anew, or the controller tells of its end
            self._drop(connection)

    def _take(self, node: str, stream: _Stream, kind: int, rank: int, payload: bytes) -> None:
        if kind == stdio.HELLO:
            raise stdio.ProtocolError("HELLO comes once")
        stream.received += stdio.HEADER_BYTES + len(payload)
        if kind == stdio.ACK:
            stream.outbox.acknowledge(stdio.parse_offset(payload))
            return
        if kind == stdio.FINISHED:
            stream.finished = True
        self._on_frame(node, kind, rank, payload)
        if stream.finished or stream.received - stream.acked >= stdio.ACK_EVERY_BYTES:
            stream.acked = stream.received
            stream.outbox.push(stdio.ACK, 0, stream.received.to_bytes(8, "big"))

    def _flush(self, stream: _Stream) -> None:
        connection = stream.connection
        if connection is None:
            return
        try:
            while stream.outbox.unsent:
                stream.outbox.advance(connection.socket.send(stream.outbox.chunk(), _socket.MSG_NOSIGNAL))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        fd = connection.socket.fileno()
        if self._connections.pop(fd, None) is None:
            return
        if connection.stream is None:
            self._strangers -= 1
        elif connection.stream.connection is connection:
            connection.stream.connection = None
        connection.socket.close()

    def close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._listener.close()
