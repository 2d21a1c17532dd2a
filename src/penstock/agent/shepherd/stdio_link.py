"""One connection of a step's I/O to a client (`srun` or `sattach`), as the shepherd keeps it: dial, greet, resume, give up.

States: waiting (for the next dial) → connecting → greeting (HELLO sent) → open; gone is final. A lost connection is dialled again with
growing pauses for GIVE_UP_S, then the client counts as gone. A unix address that refuses is gone at once: its listener died, and nobody
listens there again. A client that takes nothing for STALL_S although something waits for it is gone too.

Guarantees: never blocks; what a client is owed is bounded by the window of `wire.stdio`; the key and the output reach only a listener of
the step's owner or root (unix addresses: the kernel says who listens). The address is the user's, so it is dialled with the user's rights
(`dial_as`): what only root may connect to, or what trusts root, is not reached through us.
Assumes: one poll loop calls `handle` and `tick`; times are seconds of that loop's monotonic clock.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager

from penstock.wire import stdio

GIVE_UP_S = 10.0
"""From the loss of a connection, over every attempt to get it back."""
STALL_S = 300.0
"""A connected client that takes nothing, although something waits for it."""
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
_READ_BYTES = 1 << 16


class ClientLink:
    """`lossy`: output that finds the window full is skipped (sattach: a reader must not slow the job); otherwise the caller looks at
    `full` and waits. `reason` says in words why the link is gone."""

    def __init__(
        self,
        address: str,
        key: bytes,
        node: str,
        node_rank: int,
        *,
        owner_uid: int | None,
        lossy: bool = False,
        dial_as: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.lossy = lossy
        self.outbox = stdio.Outbox()
        self.gone = False
        self.reason = ""
        self.finish_offset = -1
        """Offset of the stream after FINISHED, -1 before that."""
        self.unacknowledged: deque[list[int]] = deque()
        """[offset after the frame, tasks that still hold it] of input frames, oldest first."""
        self._address = address
        self._key = key
        self._node = node
        self._node_rank = node_rank
        self._owner_uid = owner_uid
        self._dial_as = dial_as
        self._socket: socket.socket | None = None
        self._inbox = stdio.Inbox(at_client=False)
        self._received = 0
        self._acked = 0
        self._state = "waiting"
        self._greeting = b""
        self._lost_at_s: float | None = None
        self._dial_at_s: float | None = None
        self._pause_s = FIRST_PAUSE_S
        self._owing_since_s: float | None = None
        self._skipped_bytes = 0

    # --- what is sent

    @property
    def full(self) -> bool:
        """Nothing more may be read for this client; a client that is gone, or may miss output, never holds anyone up."""
        return not self.gone and not self.lossy and self.outbox.full

    def push(self, kind: int, rank: int, payload: bytes = b"") -> None:
        if self.gone:
            return
        if self.lossy and payload and kind in (stdio.OUT, stdio.ERR):
            if self.outbox.full:
                self._skipped_bytes += len(payload)
                return
            if self._skipped_bytes:
                self.outbox.push(stdio.NOTICE, 0, b"%d bytes of output were skipped: this reader was too slow" % self._skipped_bytes)
                self._skipped_bytes = 0
        self.outbox.push(kind, rank, payload)

    def finish(self) -> None:
        """Everything was said."""
        if self.finish_offset < 0:
            self.push(stdio.FINISHED, 0)
            self.finish_offset = self.outbox.end

    @property
    def delivered(self) -> bool:
        return self.gone or (self.finish_offset >= 0 and self.outbox.acknowledged >= self.finish_offset)

    def consumed(self) -> None:
        """Acknowledge the input that no task holds any more; not byte for byte, only when it matters to the client's window."""
        offset = self._acked
        while self.unacknowledged and self.unacknowledged[0][1] == 0:
            offset = self.unacknowledged.popleft()[0]
        if not self.unacknowledged:
            offset = self._received
        if offset - self._acked >= stdio.ACK_EVERY_BYTES:
            self._acked = offset
            self.outbox.push(stdio.ACK, 0, offset.to_bytes(8, "big"))

    def flush(self, now_s: float) -> None:
        """Send what the socket takes."""
        progress = False
        while self._state == "open" and self.outbox.unsent:
            sent = self._send(self.outbox.chunk(), now_s)
            if sent <= 0:
                break
            self.outbox.advance(sent)
            progress = True
        self._watch(now_s, progress)

    def _watch(self, now_s: float, progress: bool) -> None:
        """Note since when an open client keeps us waiting: for room in its socket or window, or for the last acknowledgement."""
        owing = self._state == "open" and (self.outbox.unsent or self.outbox.full or (self.finish_offset >= 0 and not self.delivered))
        if not owing:
            self._owing_since_s = None
        elif progress or self._owing_since_s is None:
            self._owing_since_s = now_s

    def _send(self, data: bytes, now_s: float) -> int:
        assert self._socket is not None
        try:
            return self._socket.send(data, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as exc:
            self._lose(now_s, exc.strerror or "send failed")
            return -1

    # --- the poll loop

    def poll_fd(self) -> tuple[int, int] | None:
        if self._socket is None:
            return None
        events = select.POLLIN
        if self._state == "connecting" or self._greeting or (self._state == "open" and self.outbox.unsent):
            events |= select.POLLOUT
        return self._socket.fileno(), events

    def handle(self, now_s: float) -> list[tuple[int, int, bytes, int]]:
        """The socket is ready: (kind, rank, payload, offset after it) of what the client sent for the tasks."""
        if self._state == "connecting" and not self._connected(now_s):
            return []
        if self._greeting:
            self._greet(now_s)
        if self._socket is None:
            return []
        try:
            data = self._socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            self.flush(now_s)
            return []
        except OSError as exc:
            self._lose(now_s, exc.strerror or "receive failed")
            return []
        if not data:
            self._lose(now_s, "the client closed the connection")
            return []
        try:
            out = self._take(data, now_s)
        except stdio.ProtocolError as exc:
            self._abandon(str(exc))
            return []
        self.flush(now_s)
        return out

    def _take(self, data: bytes, now_s: float) -> list[tuple[int, int, bytes, int]]:
        out: list[tuple[int, int, bytes, int]] = []
        for kind, rank, payload in self._inbox.feed(data):
            if (kind == stdio.WELCOME) != (self._state == "greeting"):
                raise stdio.ProtocolError("WELCOME comes first and once")
            if kind == stdio.WELCOME:
                self.outbox.resume(stdio.parse_offset(payload))
                self._state = "open"
                self._lost_at_s = None
                self._pause_s = FIRST_PAUSE_S
                continue
            self._received += stdio.HEADER_BYTES + len(payload)
            if kind == stdio.ACK:
                self.outbox.acknowledge(stdio.parse_offset(payload))
                self._watch(now_s, True)
            else:
                out.append((kind, rank, payload, self._received))
        return out

    def tick(self, now_s: float) -> None:
        if self._dial_at_s is not None and now_s >= self._dial_at_s:
            self.dial(now_s)
        elif self._state in ("connecting", "greeting") and self._lost_at_s is not None and now_s - self._lost_at_s >= GIVE_UP_S:
            self._abandon(f"no answer from {self._address} in {GIVE_UP_S:g} s")
        elif self._owing_since_s is not None and now_s - self._owing_since_s >= STALL_S:
            self._abandon(f"the client took nothing for {STALL_S:g} s")

    def next_deadline_s(self) -> float | None:
        if self.gone:
            return None
        if self._dial_at_s is not None:
            return self._dial_at_s
        if self._state in ("connecting", "greeting"):
            return None if self._lost_at_s is None else self._lost_at_s + GIVE_UP_S
        return None if self._owing_since_s is None else self._owing_since_s + STALL_S

    # --- connecting

    def dial(self, now_s: float) -> None:
        """Start a connection; the first one is asked for by the owner, the next ones by `tick`."""
        self._dial_at_s = None
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        try:
            family, address = parse_address(self._address)
        except ValueError as exc:
            self._abandon(str(exc))
            return
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._inbox = stdio.Inbox(at_client=False)
        self._state = "connecting"
        with self._dial_as():
            code = self._socket.connect_ex(address)
        if code == 0:
            self._begin(now_s)
        elif family == socket.AF_UNIX and code in (errno.ECONNREFUSED, errno.ENOENT):
            self._abandon(f"nobody listens on {self._address}")
        elif code != errno.EINPROGRESS:
            self._lose(now_s, f"connect to {self._address}: {errno.errorcode.get(code, str(code))}")

    def _connected(self, now_s: float) -> bool:
        assert self._socket is not None
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose(now_s, f"connect to {self._address}: {errno.errorcode.get(code, str(code))}")
            return False
        self._begin(now_s)
        return self._socket is not None

    def _begin(self, now_s: float) -> None:
        assert self._socket is not None
        if self._socket.family == socket.AF_UNIX and self._owner_uid is not None:
            _, uid, _ = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in (0, self._owner_uid):
                self._abandon(f"{self._address} is held by uid {uid}, the step belongs to uid {self._owner_uid}")
                return
        self._state = "greeting"
        self._greeting = stdio.hello(self._node, self._node_rank, self._key, self._received)
        self._greet(now_s)

    def _greet(self, now_s: float) -> None:
        sent = self._send(self._greeting, now_s)
        if sent > 0:
            self._greeting = self._greeting[sent:]

    def _lose(self, now_s: float, reason: str) -> None:
        self._close_socket()
        if self.delivered:
            self._abandon("everything was delivered")
            return
        if self._lost_at_s is None:
            self._lost_at_s = now_s
        if now_s - self._lost_at_s >= GIVE_UP_S:
            self._abandon(reason)
            return
        self._state = "waiting"
        self._dial_at_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _abandon(self, reason: str) -> None:
        self._close_socket()
        self._state = "gone"
        self._dial_at_s = None
        self.gone = True
        self.reason = reason

    def _close_socket(self) -> None:
        self._greeting = b""
        self._owing_since_s = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.close()
            self._socket = None

    def close(self) -> None:
        self._abandon("closed")


def parse_address(text: str) -> tuple[int, str | tuple[str, int]]:
    """Family and address of `unix:/path`, `unix:@abstract` or `tcp:HOST:PORT` (HOST is a number, IPv6 in brackets)."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("@") and len(rest) > 1:
        return socket.AF_UNIX, "\0" + rest[1:]
    if kind == "unix" and rest.startswith("/"):
        return socket.AF_UNIX, rest
    if kind == "tcp":
        host, _, port = rest.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0]
        except (ValueError, OSError) as exc:
            raise ValueError(f"{text!r} is not tcp:ADDRESS:PORT with a numeric address") from exc
        return found[0], (str(found[4][0]), int(found[4][1]))
    raise ValueError(f"{text!r} is no address: unix:/PATH, unix:@NAME or tcp:ADDRESS:PORT")
