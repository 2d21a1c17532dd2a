"""The database file itself: made, opened for the writer and for readers, and what its errors mean.

Guarantees: the file is readable by its owner only and durable in its folder; a damaged, foreign or newer file is refused before anything is
written into it; a full disk is told apart from a broken one.

Assumes a local filesystem with working fsync and locks, and that nothing but SQLite opens the file in this process (closing any descriptor
of it would drop SQLite's locks).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import apsw

from penstock.store.base import StoreCorrupt, StoreError, StoreFailed, StoreFull
from penstock.store.schema import Migration, bring_up_to_date, check_not_newer, recorded_version

DATABASE = "state.db"

CACHE_KIB = 16_384  # page cache of the writer
READER_CACHE_KIB = 4_096
CHECKPOINT_PAGES = 4_000  # 16 MiB of WAL, then its pages move to the database
WAL_KEPT_BYTES = 64 << 20  # a WAL that a long backup let grow is cut to this afterwards
BUSY_TIMEOUT_MS = 5_000  # how long a foreign lock (somebody's sqlite3 shell) may delay a commit before it fails

_SMALLEST_PAGE_BYTES = 512
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def open_writer(path: str, known: Sequence[Migration]) -> tuple[apsw.Connection, int]:
    """Makes the file if need be and brings its schema up to date; the connection and the schema's version. Raises StoreError, OSError."""
    if os.path.exists(path):
        os.chmod(path, 0o600)
        if 0 < os.path.getsize(path) < _SMALLEST_PAGE_BYTES:  # SQLite would take it for an empty database and write into it
            raise StoreCorrupt(f"{path} is no penstock store; move it away, or restore from a backup (`penstock restore`)")
    else:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)
        _configure(connection, CACHE_KIB)
        check_not_newer(recorded_version(connection, path), known[-1].version, path)
        if connection.pragma("journal_mode", "wal") != "wal":
            raise StoreFailed(f"{path}: this filesystem cannot hold a write-ahead log (no shared memory); use a local one")
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        connection.pragma("journal_size_limit", WAL_KEPT_BYTES)
        schema_version = bring_up_to_date(connection, path, known)
        sync_directory(os.path.dirname(path))
        return connection, schema_version
    except apsw.Error as error:
        meaning = failure(path, error, "cannot be opened", connection)
        close_quietly(connection)
        raise meaning from error
    except BaseException:
        close_quietly(connection)
        raise


def open_reader(path: str) -> apsw.Connection:
    """A connection of its own, which WAL never blocks. Raises StoreError."""
    connection: apsw.Connection | None = None
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        _configure(connection, READER_CACHE_KIB)
        return connection
    except apsw.Error as error:
        meaning = failure(path, error, "cannot be read", connection)
        close_quietly(connection)
        raise meaning from error


def _configure(connection: apsw.Connection, cache_kib: int) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("temp_store", "memory")
    connection.pragma("trusted_schema", False)


def close_quietly(connection: apsw.Connection | None) -> None:
    """Closing may checkpoint, and that may fail on a full disk; what was committed is safe in the WAL either way."""
    if connection is not None:
        try:
            connection.close(True)
        except apsw.Error:
            pass


def failure(path: str, error: apsw.Error, what: str, connection: apsw.Connection | None = None) -> StoreError:
    """What an error of SQLite means for the caller; `connection` is asked for the system's reason."""
    if isinstance(error, apsw.FullError):
        return StoreFull(f"{path} {what}: the disk is full")
    if isinstance(error, (apsw.IOError, apsw.CantOpenError)) and getattr(error, "extendedresult", 0) != apsw.SQLITE_IOERR_FSYNC:
        code = 0 if connection is None else connection.system_errno
        if code in _FULL_ERRNOS:
            return StoreFull(f"{path} {what}: the disk is full or a limit on its use is reached ({os.strerror(code)})")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreCorrupt(f"{path} is damaged or no penstock store ({error}); restore it from a backup (`penstock restore`)")
    return StoreFailed(f"{path} {what}: {type(error).__name__}: {error}")


def open_failure(error: OSError, directory: str) -> StoreError:
    kind = StoreFull if error.errno in _FULL_ERRNOS else StoreFailed
    return kind(f"{error.filename or directory}: the store cannot be opened: {error.strerror}")


def make_private_directory(directory: str) -> None:
    """Creates the folder for its owner alone; a new one is durable in its parent."""
    if not os.path.isdir(directory):
        os.makedirs(directory, 0o700, exist_ok=True)
        sync_directory(os.path.dirname(os.path.abspath(directory)))


def sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
