"""Disk space kept back for the worst day: a preallocated file beside the database, and the low-water mark.

While free space is below the mark, submissions are refused with a clear error; when a commit still finds the disk full, the reserve is
released and the endings of running jobs go into its space. It is taken back once there is room for it above the mark.

Assumes the directory, the database and the reserve are on one filesystem.
"""

from __future__ import annotations

import os

RESERVE_BYTES = 16 << 20  # endings of some 10,000 jobs
LOW_WATER_BYTES = 64 << 20

_CHUNK_BYTES = 1 << 20


class Reserve:
    def __init__(self, path: str, reserve_bytes: int = RESERVE_BYTES, low_water_bytes: int = LOW_WATER_BYTES) -> None:
        self.path = path
        self.reserve_bytes = reserve_bytes
        self.low_water_bytes = low_water_bytes
        self._held = self._is_whole()

    @property
    def held(self) -> bool:
        return self._held

    def free_bytes(self) -> int:
        """What an unprivileged process may still use."""
        volume = os.statvfs(os.path.dirname(self.path))
        return volume.f_bavail * volume.f_frsize

    def low_water(self) -> bool:
        return not self._held or self.free_bytes() < self.low_water_bytes

    def release(self) -> bool:
        """Frees the space; False if it was free already."""
        if not self._held:
            return False
        self._held = False
        _unlink(self.path)
        return True

    def restore(self) -> bool:
        """Takes the space if it is there above the low-water mark; True if the reserve is whole afterwards."""
        if self._held:
            return True
        _unlink(self.path)
        if self.free_bytes() < self.low_water_bytes + self.reserve_bytes:
            return False
        try:
            self._allocate()
        except OSError:  # the space went to somebody else meanwhile, or a quota forbids it
            _unlink(self.path)
            return False
        self._held = True
        return True

    def _allocate(self) -> None:
        descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self.reserve_bytes)
            if os.fstat(descriptor).st_blocks * 512 < self.reserve_bytes:  # the filesystem compresses zeros away
                for offset in range(0, self.reserve_bytes, _CHUNK_BYTES):
                    os.pwrite(descriptor, os.urandom(min(_CHUNK_BYTES, self.reserve_bytes - offset)), offset)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _is_whole(self) -> bool:
        try:
            return os.stat(self.path).st_size == self.reserve_bytes
        except FileNotFoundError:
            return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
