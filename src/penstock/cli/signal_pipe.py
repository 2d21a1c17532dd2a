"""Signals as bytes in a poll loop: the handlers do nothing, the interpreter's wake-up descriptor tells which signal came.

Guarantees: a signal that was ignored when the command started (nohup, a background job of a script) stays ignored. Assumes: Linux, one
of these at a time, closed before the command starts another program.
"""

from __future__ import annotations

import _signal
import os

HUP, INT, QUIT, USR1, USR2, TERM, CONT, CHLD, WINCH = 1, 2, 3, 10, 12, 15, 18, 17, 28


class SignalPipe:
    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, object] = {}
        for number in numbers:
            if _signal.getsignal(number) != _signal.SIG_IGN or number == CHLD:
                self._before[number] = _signal.signal(number, _hear)
        self._wakeup_before = _signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._read_fd

    def take(self) -> list[int]:
        """The numbers of the signals that came, oldest first."""
        try:
            return [number for number in os.read(self._read_fd, 512) if number in self._before]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Back to how it was."""
        _signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            _signal.signal(number, handler)
        os.close(self._read_fd)
        os.close(self._write_fd)


def _hear(number: int, frame: object) -> None:
    """The wake-up descriptor tells."""
