"""The terminal I/O of a step: what the shepherds of its nodes and a client (`srun`, `sattach`) say to each other.

The client listens on an address that it hands to the controller together with a random key; each shepherd dials it, so nothing of the
user's ever listens on a node. A frame is `kind u8 | rank u32 | length u32 | payload`, big-endian, payload at most MAX_PAYLOAD_BYTES.

1. The shepherd sends HELLO: node, key, and how many bytes of the client's stream it has. The client compares the key and closes silently
   if it is another one. Otherwise it answers WELCOME with how many bytes of the shepherd's stream it has.
2. From there each side sends one stream of frames. Its offset counts whole frames since the first connection (HELLO and WELCOME do not
   count). The sender keeps what is not acknowledged (`Outbox`), at most WINDOW_BYTES and one frame, so that after a broken connection the
   shepherd dials again and both go on at the other's offset: nothing is lost or doubled.
3. A full window is the back-pressure: who cannot push stops reading its source, so a slow terminal stops the task's pipe and an idle
   task stops the client's standard input.
4. The shepherd sends FINISHED when every task has exited and its output is complete; the acknowledgement of that frame is the end.

kind       direction  rank          payload
---------  ---------  ------------  ------------------------------------------------------------------------------------
OUT, ERR   to client  of the task   bytes; empty: that output is at its end
EXIT       to client  of the task   wait status, decimal, TAB, cause (a word of wire.messages.CAUSES or empty)
NOTICE     to client  0             a line for the client's standard error, as it is, without a newline
FINISHED   to client  0             empty
IN         to node    task or ALL   bytes of standard input; empty: its end
RESIZE     to node    0             rows u16, columns u16
ACK        both       0             offset u64 of the other's stream, up to which everything was taken

Guarantees: pure (bytes in, frames out, no I/O, no clock); bytes are never decoded; a malformed or oversized frame is a ProtocolError and
the connection is dropped. Assumes: on an address that others can reach, the transport is encrypted; "unix:" addresses are not.
"""

from __future__ import annotations

VERSION = 1
HEADER_BYTES = 9
MAX_PAYLOAD_BYTES = 65536
WINDOW_BYTES = 1 << 20
"""Unacknowledged bytes of one stream: above this its source is not read."""
ACK_EVERY_BYTES = 1 << 17
"""The receiver acknowledges at the latest after this many bytes."""
MAX_KEY_BYTES = 64
ALL = 0xFFFFFFFF
"""Rank of an IN frame that is for every task that reads."""

HELLO, WELCOME, ACK = b"HWA"
OUT, ERR, EXIT, NOTICE, FINISHED = b"oexnf"
IN, RESIZE = b"ir"
_TO_CLIENT = frozenset((HELLO, OUT, ERR, EXIT, NOTICE, FINISHED, ACK))
_TO_NODE = frozenset((WELCOME, IN, RESIZE, ACK))


class ProtocolError(ValueError):
    """The other side does not speak this protocol; the connection is of no more use."""


def frame(kind: int, rank: int, payload: bytes) -> bytes:
    """One frame; ValueError over MAX_PAYLOAD_BYTES, because the sender cuts its data."""
    size = len(payload)
    if size > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a frame of {size} bytes is over the bound of {MAX_PAYLOAD_BYTES}")
    return b"%c%b%b%b" % (kind, rank.to_bytes(4, "big"), size.to_bytes(4, "big"), payload)


def hello(node: str, node_rank: int, key: bytes, received: int) -> bytes:
    """First frame of a shepherd; `received` is its offset in the client's stream."""
    return frame(HELLO, node_rank, b"%c%b%c%b%b" % (VERSION, received.to_bytes(8, "big"), len(key), key, node.encode()))


def parse_hello(payload: bytes) -> tuple[str, bytes, int]:
    """Node, key, received of a HELLO."""
    if len(payload) < 10 or payload[0] != VERSION:
        raise ProtocolError(f"this is not terminal I/O of version {VERSION}")
    size = payload[9]
    if size > MAX_KEY_BYTES or len(payload) < 10 + size:
        raise ProtocolError(f"a key of {size} bytes does not fit")
    try:
        node = payload[10 + size :].decode()
    except UnicodeDecodeError as exc:
        raise ProtocolError("the node's name is not UTF-8") from exc
    return node, payload[10 : 10 + size], int.from_bytes(payload[1:9], "big")


def welcome(received: int) -> bytes:
    """First frame of a client; `received` is its offset in the shepherd's stream."""
    return frame(WELCOME, 0, received.to_bytes(8, "big"))


def ack(received: int) -> bytes:
    return frame(ACK, 0, received.to_bytes(8, "big"))


def parse_offset(payload: bytes) -> int:
    """The offset in a WELCOME or an ACK."""
    if len(payload) != 8:
        raise ProtocolError(f"an offset of {len(payload)} bytes instead of 8")
    return int.from_bytes(payload, "big")


def resize(rows: int, columns: int) -> bytes:
    """Payload of RESIZE."""
    return min(rows, 65535).to_bytes(2, "big") + min(columns, 65535).to_bytes(2, "big")


def parse_resize(payload: bytes) -> tuple[int, int]:
    if len(payload) != 4:
        raise ProtocolError(f"a window size of {len(payload)} bytes instead of 4")
    return int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")


def parse_exit(payload: bytes) -> tuple[int, str]:
    """Wait status and cause of an EXIT."""
    status, _, cause = payload.partition(b"\t")
    try:
        return int(status), cause.decode()
    except ValueError as exc:
        raise ProtocolError(f"{payload[:40]!r} is not a wait status and a cause") from exc


class Inbox:
    """Cuts one connection's bytes into (kind, rank, payload)."""

    __slots__ = ("_buffer", "_kinds")

    def __init__(self, *, at_client: bool) -> None:
        self._buffer = bytearray()
        self._kinds = _TO_CLIENT if at_client else _TO_NODE

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, int, bytes]] = []
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            kind = buffer[at]
            size = int.from_bytes(buffer[at + 5 : at + HEADER_BYTES], "big")
            if kind not in self._kinds or size > MAX_PAYLOAD_BYTES:
                raise ProtocolError(f"a frame of kind {kind} and {size} bytes is not allowed here")
            end = at + HEADER_BYTES + size
            if len(buffer) < end:
                break
            frames.append((kind, int.from_bytes(buffer[at + 1 : at + 5], "big"), bytes(buffer[at + HEADER_BYTES : end])))
            at = end
        if at:
            del buffer[:at]
        return frames


class Outbox:
    """The sending end of a stream: keeps every byte until it is acknowledged. `end` is the offset after the last frame."""

    __slots__ = ("_base", "_buffer", "_sent", "end")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._base = 0  # offset of the first byte that is kept
        self._sent = 0  # offset of the next byte to send
        self.end = 0

    def push(self, kind: int, rank: int, payload: bytes = b"") -> None:
        data = frame(kind, rank, payload)
        self._buffer += data
        self.end += len(data)

    @property
    def acknowledged(self) -> int:
        return self._base

    @property
    def full(self) -> bool:
        """The window is used up: read no more from the source of this stream."""
        return len(self._buffer) >= WINDOW_BYTES

    @property
    def unsent(self) -> bool:
        return self._sent < self.end

    def chunk(self) -> bytes:
        """What to send next, at most four payloads."""
        at = self._sent - self._base
        return bytes(self._buffer[at : at + 4 * MAX_PAYLOAD_BYTES])

    def advance(self, count: int) -> None:
        """`count` bytes of the chunk left."""
        self._sent += count

    def acknowledge(self, offset: int) -> None:
        """The other side has everything below `offset`."""
        if offset > self._sent:
            raise ProtocolError(f"offset {offset} is acknowledged, {self._sent} was sent")
        if offset > self._base:
            del self._buffer[: offset - self._base]
            self._base = offset

    def resume(self, offset: int) -> None:
        """A new connection: the other side wants the stream from `offset`."""
        if not self._base <= offset <= self.end:
            raise ProtocolError(f"offset {offset} is wanted, {self._base} to {self.end} are kept")
        self._sent = self.end  # so that acknowledge accepts what the broken connection delivered
        self.acknowledge(offset)
        self._sent = offset
