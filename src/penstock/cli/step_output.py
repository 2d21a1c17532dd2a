"""Where srun and sattach write what the tasks said: lines kept whole, labelled, and never a block on a slow terminal.

A Sink is one destination on this host. With more than one task, output is put together from whole lines, so that two tasks never share
one; with a label every line begins with the right-aligned rank (`%*d: `), and a last line without a newline gets one. `raw` hands bytes on
as they come (one task without a label, --unbuffered, --pty).

Guarantees: bytes of one task stay in order and unchanged; nothing is decoded; what waits is bounded by the reader looking at `full`;
a reader that went away (`srun ... | head -1`) is no error: the rest is dropped, as Slurm does, and the tasks go on.
Assumes: the descriptor may be shared with the shell, so it is not made non-blocking; a pipe that poll calls writable takes PIPE_BYTES.
"""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FULL_BYTES = 1 << 20
"""Waiting output above this stops the reading of the shepherds."""
MAX_LINE_BYTES = 1 << 16
"""A longer line is handed on in pieces."""
PIPE_BYTES = 4096
_FILE_BYTES = 1 << 18
_S_IFMT, _S_IFREG = 0o170000, 0o100000


class Sink:
    def __init__(self, fd: int, *, raw: bool, label_width: int = 0, on_error: Callable[[str], None]) -> None:
        """`label_width`: 0 = no label; `on_error` gets the reason of the first failed write, not for a closed pipe."""
        self.fd = fd
        self._raw = raw and not label_width
        self._label_width = label_width
        self._on_error = on_error
        self._partial: dict[tuple[int, int], bytes] = {}
        self._pending = bytearray()
        self._dropping = False
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._chunk = _FILE_BYTES if os.fstat(fd).st_mode & _S_IFMT == _S_IFREG else PIPE_BYTES

    @property
    def pending(self) -> bool:
        return bool(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= FULL_BYTES

    def take(self, stream: int, rank: int, data: bytes) -> None:
        """Output of a task; empty data is the end of that stream."""
        if self._raw:
            self._add(data)
            return
        key = (stream, rank)
        before = self._partial.pop(key, b"")
        if not data:
            if before:
                self._add_lines(rank, before + b"\n" if self._label_width else before)
            return
        end = data.rfind(b"\n") + 1
        if end:
            self._add_lines(rank, before + data[:end])
            before, data = b"", data[end:]
        rest = before + data
        if len(rest) > MAX_LINE_BYTES:
            self._add_lines(rank, rest + b"\n" if self._label_width else rest)
        elif rest:
            self._partial[key] = rest

    def take_line(self, line: bytes) -> None:
        """A whole line of nobody's, with its newline."""
        self._add(line)

    def flush_partial(self) -> None:
        """Hand on the last lines of streams whose end never came."""
        for stream, rank in list(self._partial):
            self.take(stream, rank, b"")

    def _add_lines(self, rank: int, lines: bytes) -> None:
        if self._label_width:
            label = b"%*d: " % (self._label_width, rank)
            lines = label + lines[:-1].replace(b"\n", b"\n" + label) + b"\n"
        self._add(lines)

    def _add(self, data: bytes) -> None:
        if not self._dropping:
            self._pending += data

    def write(self, *, wait: bool = False) -> None:
        """Write what the destination takes without waiting; with `wait`, at least something."""
        pending = self._pending
        while pending and self._poll.poll(None if wait else 0):
            wait = False
            try:
                count = os.write(self.fd, pending[: self._chunk])
            except BlockingIOError:
                return
            except OSError as exc:
                self._dropping = True
                pending.clear()
                if not isinstance(exc, BrokenPipeError):
                    self._on_error(exc.strerror or str(exc))
                return
            del pending[:count]


def label_width(ntasks: int) -> int:
    """Digits of the highest rank."""
    return len(str(max(ntasks - 1, 0)))


def ranges(numbers: list[int]) -> str:
    """`0-3,5` of ascending task ids."""
    out: list[str] = []
    at = 0
    while at < len(numbers):
        end = at
        while end + 1 < len(numbers) and numbers[end + 1] == numbers[end] + 1:
            end += 1
        out.append(str(numbers[at]) if end == at else f"{numbers[at]}-{numbers[end]}")
        at = end + 1
    return ",".join(out)
