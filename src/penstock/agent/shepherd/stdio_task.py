"""The standard descriptors of one task: what its child is given, and the ends that stay with us.

A word of `TaskIo` says what a descriptor is: "client" (a pipe, or a terminal, to the client), "none" (/dev/null), "task:N" (as client for
task N, as none for the others), else the pattern of a file's name. Files and /dev/null are the child's own from then on; ours are the
other ends of pipes and terminals, never blocking.

Guarantees: what is given to a child is close-on-exec; a file that several tasks of the node share is truncated once and appended to by all.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from collections import deque
from typing import TYPE_CHECKING

from penstock.spec.patterns import fill
from penstock.wire import stdio

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.wire.messages import TaskIo


class TaskEnds:
    """Our ends of one task's descriptors, and what is still to be written to it."""

    __slots__ = ("exit", "look_at_s", "pending", "pending_eof", "rank", "stdin_fd", "streams")

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.exit = b""
        """Payload of its EXIT, empty while it runs."""
        self.look_at_s: float | None = None
        """Nobody has the terminal open, but the task lives: it is looked at again then."""
        self.stdin_fd = -1
        self.pending: deque[tuple[bytes, list[int] | None]] = deque()
        """Input not yet written, each with its entry in the link's `unacknowledged`."""
        self.pending_eof = False
        self.streams: dict[int, int] = {}
        """Descriptors that are read: fd → OUT or ERR. A terminal is among them and is `stdin_fd` too."""

    def fds(self) -> set[int]:
        return {*self.streams, self.stdin_fd} - {-1}

    def close(self) -> None:
        for fd in self.fds():
            os.close(fd)
        self.streams.clear()
        self.stdin_fd = -1


class Opener:
    """Opens the descriptors of a step's tasks. `names`: what a letter of a file pattern stands for (t is the rank);
    `open_file(path, flags)` opens as the user and raises OSError."""

    def __init__(self, io: TaskIo, names: dict[str, str], open_file: Callable[[str, int], int]) -> None:
        self._io = io
        self._names = names
        self._open_file = open_file
        self._truncated: set[str] = set()

    def open(self, task: TaskEnds) -> tuple[int, int, int]:
        """Three distinct descriptors for the child; OSError where a file cannot be opened, and then nothing stays open."""
        opened: list[int] = []
        try:
            if self.needs_terminal(task.rank):
                opened.append(self._open_terminal(task))
                opened += [os.dup(opened[0]), os.dup(opened[0])]
            elif self._io.pty:
                opened += [os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) for _ in range(3)]
            else:
                opened.append(self._open_input(task))
                opened.append(self._open_output(task, self._io.stdout, stdio.OUT))
                opened.append(self._open_output(task, self._io.stderr or self._io.stdout, stdio.ERR))
        except OSError:
            for fd in opened:
                os.close(fd)
            task.close()
            raise
        return opened[0], opened[1], opened[2]

    def needs_terminal(self, rank: int) -> bool:
        """True where the child must call `take_terminal` (--pty, task 0)."""
        return self._io.pty and rank == 0 and bool(self._io.address)

    def reads_client(self, rank: int) -> bool:
        return self._word(self._io.stdin, rank) == "client"

    def _word(self, word: str, rank: int) -> str:
        if word.startswith("task:"):
            word = "client" if word[5:] == str(rank) else "none"
        return "none" if word == "client" and not self._io.address else word

    def _path(self, pattern: str, rank: int) -> str:
        return fill(pattern, {**self._names, "t": str(rank)})

    def _open_input(self, task: TaskEnds) -> int:
        word = self._word(self._io.stdin, task.rank)
        if word == "none":
            return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        if word != "client":
            return self._open_file(self._path(word, task.rank), os.O_RDONLY | os.O_CLOEXEC)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write_fd, False)
        task.stdin_fd = write_fd
        return read_fd

    def _open_output(self, task: TaskEnds, word: str, kind: int) -> int:
        word = self._word(word, task.rank)
        if word == "none":
            return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        if word != "client":
            path = self._path(word, task.rank)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            if not self._io.append and path not in self._truncated:
                flags |= os.O_TRUNC
            fd = self._open_file(path, flags)
            self._truncated.add(path)
            return fd
        if self._io.unbuffered and kind == stdio.OUT:
            read_fd, write_fd = os.openpty()
            attributes = termios.tcgetattr(write_fd)
            attributes[1] &= ~termios.OPOST  # bytes as they are written
            attributes[3] &= ~termios.ECHO
            termios.tcsetattr(write_fd, termios.TCSANOW, attributes)
        else:
            read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        _watch(task, read_fd, kind)
        return write_fd

    def _open_terminal(self, task: TaskEnds) -> int:
        master_fd, slave_fd = os.openpty()
        set_window(master_fd, self._io.rows, self._io.columns)
        _watch(task, master_fd, stdio.OUT)
        task.stdin_fd = master_fd
        return slave_fd


def _watch(task: TaskEnds, fd: int, kind: int) -> None:
    os.set_blocking(fd, False)
    task.streams[fd] = kind


def take_terminal() -> None:
    """In the child of a task that needs a terminal, after setsid and with the terminal as descriptor 0: make it the controlling one."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def set_window(fd: int, rows: int, columns: int) -> None:
    if rows > 0 and columns > 0:
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", min(rows, 65535), min(columns, 65535), 0, 0))
