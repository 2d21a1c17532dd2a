"""The user's terminal while a remote one is shown in it: its size, raw mode, and who may read from it."""

from __future__ import annotations

import os

_INPUT, _OUTPUT, _CONTROL, _LOCAL, _CHARACTERS = 0, 1, 2, 3, 6


class RawTerminal:
    """Keys pass as they are typed, until `restore`."""

    def __init__(self, fd: int) -> None:
        import termios  # a file of its own, and most steps have no terminal

        self._fd = fd
        self._before = termios.tcgetattr(fd)
        raw = termios.tcgetattr(fd)
        raw[_INPUT] &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
        raw[_INPUT] &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
        raw[_OUTPUT] &= ~termios.OPOST
        raw[_LOCAL] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[_CONTROL] = raw[_CONTROL] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        characters = list(raw[_CHARACTERS])
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        raw[_CHARACTERS] = characters
        termios.tcsetattr(fd, termios.TCSADRAIN, raw)

    def restore(self) -> None:
        import termios

        try:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)
        except termios.error:  # the terminal is gone
            return


def window_size(fd: int) -> tuple[int, int]:
    """Rows and columns, 0 where they are unknown."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return 0, 0
    return size.lines, size.columns


def in_foreground(fd: int) -> bool:
    """Whether this process may read from the terminal without being stopped."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return True
