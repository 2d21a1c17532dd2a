"""One writer per cluster folder: the lock that a store holds while it is open.

A POSIX record lock, so that a forked child does not keep it and the kernel drops it with the process. It says nothing between two opens in
one process, therefore these are also kept in a set.
"""

from __future__ import annotations

import fcntl
import os

from penstock.store.base import StoreBusy

_held_here: set[str] = set()


class WriterLock:
    """Held from construction to `release`. Raises StoreBusy with the holder's pid."""

    def __init__(self, directory: str) -> None:
        self._directory = os.path.realpath(directory)
        if self._directory in _held_here:
            raise StoreBusy(f"{directory} is open in this process already (pid {os.getpid()})")
        self._descriptor = os.open(os.path.join(directory, "state.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreBusy(f"{directory} is in use by another process (pid {holder}); a cluster has one controller that writes") from None
        _held_here.add(self._directory)
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError:  # a full disk; the lock holds all the same, only the hint is missing
            pass

    def release(self) -> None:
        if self._directory in _held_here:
            _held_here.discard(self._directory)
            os.close(self._descriptor)
