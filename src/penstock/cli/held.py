"""A request on a connection that stays open: allocations, steps and attached readers, in a command's own poll loop.

The controller may die meanwhile: the same frame with the same id is sent again, with the pauses of `wire.lite`, and the controller goes on
where it was (a known id is not done twice). Notices that it repeats are handed on once.

Guarantees: `read` never waits once poll says that the descriptor is readable, but for the rest of a frame that has begun. Assumes: the
caller calls `retry` at `retry_at_s`, and gives up by itself when `lost_since_s` is too long ago for its purpose.
"""

from __future__ import annotations

import time

from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FRAME_TIMEOUT_S = 30.0
"""For connecting, sending the request, and the rest of a frame that has begun."""


class HeldRequest:
    """`done` once the final frame came or the controller refused. `stays`: events may follow the final frame (an allocation that is
    revoked), so it stays connected until `close`."""

    def __init__(self, fields: dict[str, object], sections: Sequence[bytes] = (), *, stays: bool = False, folder: str = "") -> None:
        self._frame = lite.encode(fields, sections)
        self._folder = folder or lite.find_cluster()
        self._connection: lite.Connection | None = None
        self._tries = 0
        self._seen: set[tuple[bytes, str]] = set()
        self._stays = stays
        self.done = False
        self.retry_at_s: float | None = None
        self.lost_since_s: float | None = None

    def start(self) -> None:
        """First connection. Raises Unreachable if there is no controller for RETRY_FOR_S."""
        until_s = time.monotonic() + lite.RETRY_FOR_S
        while not self._connect():
            if time.monotonic() >= until_s or (self._tries == 1 and not self._exists()):
                raise lite.Unreachable(f"no controller answers in {self._folder}")
            time.sleep(max(0.0, (self.retry_at_s or 0.0) - time.monotonic()))

    def _exists(self) -> bool:
        try:
            lite.socket_path(self._folder)
        except lite.Unreachable:
            return False
        return True

    def retry(self) -> None:
        """Connect again if it is time."""
        if self.retry_at_s is not None and time.monotonic() >= self.retry_at_s:
            self._connect()

    def _connect(self) -> bool:
        try:
            connection = lite.Connection(lite.socket_path(self._folder), FRAME_TIMEOUT_S)
        except (OSError, lite.Unreachable) as error:
            if isinstance(error, PermissionError):
                raise lite.Unreachable(f"you may not use the cluster in {self._folder}") from None
            self._lose()
            return False
        try:
            connection.send(self._frame)
        except OSError:
            connection.close()
            self._lose()
            return False
        self._connection = connection
        self.retry_at_s = None
        return True

    def _lose(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        now_s = time.monotonic()
        if self.lost_since_s is None:
            self.lost_since_s = now_s
        self.retry_at_s = now_s + lite.RETRY_STEPS_S[min(self._tries, len(lite.RETRY_STEPS_S) - 1)]
        self._tries += 1

    def fileno(self) -> int:
        """-1 while there is no connection."""
        return -1 if self._connection is None else self._connection.fileno()

    def read(self) -> list[tuple[bytes, str]]:
        """Every frame that is here: (kind, text). A lost connection is no frame. Raises Refused, once."""
        out: list[tuple[bytes, str]] = []
        connection = self._connection
        while connection is not None and not self.done:
            try:
                kind, payload = connection.read()
            except OSError:
                self._lose()
                break
            self._tries = 0
            self.lost_since_s = None
            text = payload.decode("utf-8", "surrogateescape")
            if kind == lite.ERROR:
                self.close()
                raise lite.refused(text)
            if kind == lite.FINAL and not self._stays:
                self.close()
            if (kind, text) not in self._seen:
                out.append((kind, text))
                self._seen.add((kind, text))
            if self.done or not connection.buffered():
                break
        return out

    def close(self) -> None:
        self.done = True
        self.retry_at_s = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
