"""The embedded store: one SQLite file in the cluster's folder, in WAL mode, `synchronous=FULL`.

Guarantees (beyond `base`): one fsync a commit; files are readable by their owner only; one writer per folder (`lock`); a full disk is told
apart from a broken one, and a write that failed for want of space leaves nothing behind.

How a commit is made cheap: rows travel in statements of up to 64 rows each. A row a statement would be about as fast alone, but apsw gives
the interpreter lock back at every step of SQLite, and beside a busy event loop each way back can cost a switch interval; so a batch of 256
takes some twenty steps, not a thousand.

Readers have connections of their own, which WAL never blocks. A query first notes which rows match (8 bytes each), then reads them in
slices, so that a slow reader keeps no snapshot that would hold back the checkpoint.

Assumes a local filesystem with working fsync and locks, and that nothing but SQLite opens `state.db` in this process (closing any
descriptor of it would drop SQLite's locks).
"""

from __future__ import annotations

import errno
import os
import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import apsw

from penstock.store import query as queries
from penstock.store.base import (
    BLOBS_A_PRUNE,
    FEED_READ_MAX,
    FEED_VERSION,
    QUERY_ROWS_MAX,
    QUERY_TERMS_MAX,
    REQUEST_KEEP_MS,
    REQUESTS_MAX,
    Batch,
    BlobMissing,
    FeedPruned,
    JobIndex,
    JobQuery,
    Key,
    Loaded,
    QueryTooLarge,
    StepIndex,
    StoreCorrupt,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreNewer,
)
from penstock.store.blobs import check_bounds, verified
from penstock.store.lock import WriterLock
from penstock.store.reserve import LOW_WATER_BYTES, RESERVE_BYTES, Reserve
from penstock.store.schema import Migration, bring_up_to_date, check_not_newer, migrations, recorded_version

DATABASE = "state.db"
RESTORE_MARKER = "state.restoring"  # there while a restore is under way; a store with it is not opened

CACHE_KIB = 16_384  # page cache of the writer
READER_CACHE_KIB = 4_096
CHECKPOINT_PAGES = 4_000  # 16 MiB of WAL, then its pages move to the database
WAL_KEPT_BYTES = 64 << 20  # a WAL that a long backup let grow is cut to this afterwards
BUSY_TIMEOUT_MS = 5_000  # how long a foreign lock (somebody's sqlite3 shell) may delay a commit before it fails
SLICE_ROWS = 256

_SMALLEST_PAGE_BYTES = 512
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Bulk:
    """A statement over many rows, as text for 64, 8 and 1 of them (few texts, so that all stay prepared)."""

    def __init__(self, head: str, row: str, tail: str) -> None:
        self._texts = [(size, f"{head} {','.join([row] * size)} {tail}") for size in (64, 8, 1)]

    def run(self, connection: apsw.Connection, rows: Sequence[Sequence[Any]]) -> Iterator[Any]:
        at = 0
        for size, text in self._texts:
            while len(rows) - at >= size:
                yield from connection.execute(text, list(chain.from_iterable(rows[at : at + size])))
                at += size

    def __call__(self, connection: apsw.Connection, rows: Sequence[Sequence[Any]]) -> None:
        for _ in self.run(connection, rows):
            pass


def _upsert(table: str, key: str, columns: Sequence[str]) -> _Bulk:
    names = (*key.split(","), *columns)
    return _Bulk(
        f"INSERT INTO {table} ({','.join(names)}) VALUES",
        f"({','.join('?' * len(names))})",
        f"ON CONFLICT ({key}) DO UPDATE SET {','.join(f'{column} = excluded.{column}' for column in columns)}",
    )


_ADD_EVENTS = _Bulk("INSERT INTO feed (version, seq, event) VALUES", f"({FEED_VERSION},?,?)", "")
_PUT_ENTITIES = _upsert("entity", "kind,key", ["row"])
_PUT_JOBS = _upsert("job", "key", ["row", *JobIndex._fields])
_PUT_STEPS = _upsert("step", "key", ["row", *StepIndex._fields])
_DROP_ENTITIES = _Bulk("DELETE FROM entity WHERE (kind, key) IN (VALUES", "(?,?)", ")")
_DROP_JOBS = _Bulk("DELETE FROM job WHERE key IN (VALUES", "(?)", ")")
_DROP_STEPS = _Bulk("DELETE FROM step WHERE key IN (VALUES", "(?)", ")")
_KNOWN_BLOBS = _Bulk("SELECT digest FROM blob WHERE digest IN (VALUES", "(?)", ")")
_ADD_BLOBS = _Bulk("INSERT INTO blob (digest, number, refs) VALUES", "(?,?,0)", "")
_ADD_CONTENTS = _Bulk("INSERT INTO blob_content (number, content) VALUES", "(?,?)", "")
_ADD_REQUESTS = _Bulk("INSERT INTO request (id, uid, reply, at_ms) VALUES", "(?,?,?,?)", "ON CONFLICT DO NOTHING")
_LOAD = {
    "job": "SELECT key, row FROM job WHERE live = 1 ORDER BY key",
    "step": "SELECT key, row FROM step WHERE live = 1 ORDER BY key",
}


class SqliteStore:
    """Opens or creates the store of a cluster's folder.

    Raises StoreBusy, StoreForeign, StoreNewer, StoreCorrupt, StoreFull, StoreFailed.
    """

    def __init__(
        self,
        directory: str,
        *,
        reserve_bytes: int = RESERVE_BYTES,
        low_water_bytes: int = LOW_WATER_BYTES,
        known: Sequence[Migration] | None = None,
    ) -> None:
        self.path = os.path.join(directory, DATABASE)
        self._directory = directory
        self._known = migrations() if known is None else known
        self._failed: str | None = None
        self._closed = False
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._reader: apsw.Connection | None = None
        self._pictures: set[apsw.Connection] = set()
        try:
            make_private_directory(directory)
            self._lock = WriterLock(directory)
        except OSError as error:
            raise _open_failure(error, directory) from error
        try:
            if os.path.exists(os.path.join(directory, RESTORE_MARKER)):
                raise StoreFailed(f"a restore into {directory} was interrupted; run `penstock restore` again before starting the cluster")
            self._reserve = Reserve(os.path.join(directory, "state.reserve"), reserve_bytes, low_water_bytes)
            try:
                self._open()
            except StoreFull:
                if not self._reserve.release():
                    raise
                self._open()
            self._reserve.restore()
        except OSError as error:
            self._lock.release()
            raise _open_failure(error, directory) from error
        except BaseException:
            self._lock.release()
            raise

    # -- opening and closing ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        if os.path.exists(self.path):
            os.chmod(self.path, 0o600)
            if 0 < os.path.getsize(self.path) < _SMALLEST_PAGE_BYTES:  # SQLite would take it for an empty database and write into it
                raise StoreCorrupt(f"{self.path} is no penstock store; move it away, or restore from a backup (`penstock restore`)")
        else:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection: apsw.Connection | None = None
        try:
            connection = self._connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
            _configure(connection, CACHE_KIB)
            check_not_newer(recorded_version(connection, self.path), self._known[-1].version, self.path)
            if connection.pragma("journal_mode", "wal") != "wal":
                raise StoreFailed(f"{self.path}: this filesystem cannot hold a write-ahead log (no shared memory); use a local one")
            connection.pragma("synchronous", "full")
            connection.pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            connection.pragma("journal_size_limit", WAL_KEPT_BYTES)
            self.schema_version = bring_up_to_date(connection, self.path, self._known)
            self._seq: int = connection.execute("SELECT coalesce(max(seq), 0) FROM feed").get
            self._next_blob: int = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM blob_content").get
            sync_directory(self._directory)
        except apsw.Error as error:
            failure = self._failure(error, "cannot be opened", connection)
            _close_quietly(connection)
            raise failure from error
        except StoreError:
            _close_quietly(connection)
            raise

    def close(self) -> None:
        if self._closed:
            return
        with self._write_lock, self._read_lock:
            self._closed = True
            for connection in (*self._pictures, self._reader, self._connection):
                _close_quietly(connection)
            self._pictures.clear()
            self._lock.release()

    # -- writing ------------------------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        with self._write_lock:
            self._check_usable()
            next_blob = self._next_blob
            try:
                for expected, (seq, _) in enumerate(batch.events, self._seq + 1):
                    if seq != expected:
                        raise StoreFailed(f"feed sequence {seq} does not follow {expected - 1}: events have to be contiguous")
                check_bounds(batch.blobs)
                self._in_transaction(lambda: self._write(batch))
            except StoreFull:
                self._next_blob = next_blob
                raise
            except StoreFailed as error:
                self._failed = str(error)
                raise
            if batch.events:
                self._seq = batch.events[-1][0]

    def _write(self, batch: Batch) -> None:
        connection = self._connection
        if batch.blobs:
            self._write_blobs(batch.blobs)
        jobs: list[Sequence[Any]] = []
        steps: list[Sequence[Any]] = []
        entities: list[Sequence[Any]] = []
        for kind, key, row, index in batch.upserts:
            if kind == "job":
                jobs.append((queries.sql_key(key), row, *_job_columns(index)))
            elif kind == "step":
                steps.append((queries.sql_key(key), row, *StepIndex(*index or ())))
            else:
                entities.append((kind, queries.sql_key(key), row))
        _PUT_ENTITIES(connection, entities)
        _PUT_JOBS(connection, jobs)
        _PUT_STEPS(connection, steps)
        if batch.deletes:
            for kind, drop in (("job", _DROP_JOBS), ("step", _DROP_STEPS)):
                drop(connection, [(queries.sql_key(key),) for its_kind, key in batch.deletes if its_kind == kind])
            _DROP_ENTITIES(connection, [(kind, queries.sql_key(key)) for kind, key in batch.deletes if kind not in ("job", "step")])
        _ADD_EVENTS(connection, batch.events)
        if batch.requests:
            _ADD_REQUESTS(connection, batch.requests)
            self._forget_requests(len(batch.requests), max(now_ms for *_, now_ms in batch.requests))

    def _write_blobs(self, blobs: Sequence[tuple[bytes, bytes]]) -> None:
        contents = dict(blobs)
        for (digest,) in list(_KNOWN_BLOBS.run(self._connection, [(digest,) for digest in contents])):
            del contents[digest]
        numbered = [(digest, number) for number, digest in enumerate(contents, self._next_blob)]
        _ADD_BLOBS(self._connection, numbered)
        _ADD_CONTENTS(self._connection, [(number, contents[digest]) for digest, number in numbered])
        self._next_blob += len(numbered)

    def _forget_requests(self, added: int, now_ms: int) -> None:
        """Drops expired and surplus replies, oldest first, at most about twice as many as were added: bounded, and it catches up."""
        upto: Any = 0
        oldest: list[Any] = self._connection.execute(
            "SELECT number, at_ms FROM request ORDER BY number LIMIT ?", (2 * added + 64,)
        ).fetchall()
        last: Any = self._connection.execute("SELECT max(number) FROM request").get
        for number, at_ms in oldest:
            if at_ms >= now_ms - REQUEST_KEEP_MS and number > last - REQUESTS_MAX:
                break
            upto = number
        self._connection.execute("DELETE FROM request WHERE number <= ?", (upto,))

    def prune_feed(self, before_seq: int, limit: int) -> int:
        def prune() -> int:
            first = self._connection.execute("SELECT min(seq) FROM feed").get or 0
            upto = min(before_seq, first + limit, self._seq)
            self._connection.execute("DELETE FROM feed WHERE seq < ?", (upto,))
            return max(0, upto - first)

        return self._maintain(prune)

    def prune_history(self, ended_before_ms: int, limit: int) -> int:
        def prune() -> int:
            execute = self._connection.execute
            gone = execute(
                "SELECT rowid, id, run FROM job WHERE end_ms > 0 AND end_ms < ? AND live = 0 ORDER BY end_ms, rowid LIMIT ?",
                (ended_before_ms, limit),
            ).fetchall()
            for rowid, job_id, run in gone:
                execute("DELETE FROM step WHERE job_id = ? AND run = ?", (job_id, run))
                execute("DELETE FROM job WHERE rowid = ?", (rowid,))
            for digest, number in execute(
                "SELECT digest, number FROM blob WHERE refs = 0 ORDER BY number LIMIT ?", (BLOBS_A_PRUNE,)
            ).fetchall():
                execute("DELETE FROM blob_content WHERE number = ?", (number,))
                execute("DELETE FROM blob WHERE digest = ?", (digest,))
            return len(gone)

        return self._maintain(prune)

    def _maintain(self, work: Any) -> int:
        with self._write_lock:
            self._check_usable()
            try:
                return int(self._in_transaction(work))
            except StoreFailed as error:
                self._failed = str(error)
                raise

    def _in_transaction(self, work: Any) -> Any:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work()
            connection.execute("COMMIT")
        except BaseException as error:
            failure = self._failure(error, "cannot be written", connection) if isinstance(error, apsw.Error) else None
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except apsw.Error as second:
                raise StoreFailed(f"{self.path}: a failed commit cannot be rolled back: {second}") from error
            if failure is not None:
                raise failure from error
            if isinstance(error, (StoreError, KeyboardInterrupt, SystemExit)):
                raise
            raise StoreFailed(f"{self.path}: a batch that cannot be stored: {error!r}") from error
        return result

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        connection = self._new_reader()
        self._pictures.add(connection)

        def close() -> None:
            self._pictures.discard(connection)
            _close_quietly(connection)

        def rows(kind: str) -> Iterator[tuple[Key, bytes]]:
            known = _LOAD.get(kind)
            found = (
                connection.execute(known)
                if known
                else connection.execute("SELECT key, row FROM entity WHERE kind = ? ORDER BY key", (kind,))
            )
            try:
                for key, row in found:
                    yield queries.key_of(key), row
            except apsw.Error as error:
                raise self._failure(error, "cannot be read") from error

        try:
            connection.execute("BEGIN")
            seq, feed_version = connection.execute("SELECT seq, version FROM feed ORDER BY seq DESC LIMIT 1").get or (0, FEED_VERSION)
            kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT kind FROM entity")}
            for kind in _LOAD:
                if connection.execute(f"SELECT EXISTS (SELECT 1 FROM {kind} WHERE live = 1)").get:
                    kinds.add(kind)
        except apsw.Error as error:
            close()
            raise self._failure(error, "cannot be read") from error
        if feed_version > FEED_VERSION:
            close()
            raise self._newer_feed(seq, feed_version)
        return Loaded(seq, self.schema_version, feed_version, tuple(sorted(kinds)), rows, close)

    def get_blob(self, digest: bytes) -> bytes:
        found = self._read("SELECT content FROM blob_content WHERE number = (SELECT number FROM blob WHERE digest = ?)", (digest,))
        if not found:
            raise BlobMissing(f"no script or environment with sha256 {digest.hex()} is stored; it may have been pruned with its jobs")
        return verified(digest, found[0][0])

    def find_request(self, request_id: bytes, uid: int) -> bytes | None:
        found = self._read("SELECT reply FROM request WHERE id = ? AND uid = ?", (request_id, uid))
        return found[0][0] if found else None

    def feed(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        found = self._read(
            "SELECT seq, event, version, (SELECT min(seq) FROM feed) FROM feed WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, min(limit, FEED_READ_MAX)),
        )
        if found and found[0][0] != after_seq + 1:
            raise FeedPruned(
                f"the feed begins at sequence {found[0][3]}; entries after {after_seq} are pruned: load the rows and follow from there"
            )
        for seq, _, version, _ in found:
            if version > FEED_VERSION:
                raise self._newer_feed(seq, version)
        return [(seq, event) for seq, event, _, _ in found]

    def query_jobs(self, query: JobQuery) -> Iterator[bytes]:
        query.check_bounds()
        condition, values = queries.where(query)
        yield from self._slices(
            # with the plus the index on id does not tempt SQLite to walk all history in order
            f"SELECT rowid FROM job WHERE {condition} ORDER BY +id, run, rowid LIMIT {QUERY_ROWS_MAX + 1}",
            values,
            "job",
        )

    def query_steps(self, job_ids: Sequence[int]) -> Iterator[bytes]:
        if len(job_ids) > QUERY_TERMS_MAX:
            raise QueryTooLarge(f"steps of {len(job_ids)} jobs were asked for at once; at most {QUERY_TERMS_MAX} are allowed")
        marks = ",".join("?" * len(job_ids))
        yield from self._slices(
            f"SELECT rowid FROM step WHERE job_id IN ({marks}) ORDER BY job_id, run, rowid LIMIT {QUERY_ROWS_MAX + 1}",
            list(job_ids),
            "step",
        )

    def _slices(self, select: str, values: list[Any], table: str) -> Iterator[bytes]:
        connection = self._new_reader()
        try:
            matching = array("q", (rowid for (rowid,) in connection.execute(select, values)))
            if len(matching) > QUERY_ROWS_MAX:
                raise QueryTooLarge(f"more than {QUERY_ROWS_MAX} {table}s match; narrow the time window or name {table}s or users")
            for at in range(0, len(matching), SLICE_ROWS):
                rowids = matching[at : at + SLICE_ROWS]
                found = dict(
                    connection.execute(f"SELECT rowid, row FROM {table} WHERE rowid IN ({','.join('?' * len(rowids))})", list(rowids))
                )
                for rowid in rowids:
                    if rowid in found:  # not pruned since
                        yield found[rowid]
        except apsw.Error as error:
            raise self._failure(error, "cannot be read") from error
        finally:
            _close_quietly(connection)

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        with self._read_lock:
            try:
                if self._reader is None:
                    self._reader = self._new_reader()
                return self._reader.execute(statement, values).fetchall()
            except apsw.Error as error:
                raise self._failure(error, "cannot be read") from error

    def _new_reader(self) -> apsw.Connection:
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        connection: apsw.Connection | None = None
        try:
            connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READONLY)
            _configure(connection, READER_CACHE_KIB)
            return connection
        except apsw.Error as error:
            failure = self._failure(error, "cannot be read", connection)
            _close_quietly(connection)
            raise failure from error

    # -- space --------------------------------------------------------------------------------------------------------------------

    def low_water(self) -> bool:
        return self._reserve.low_water()

    def release_reserve(self) -> bool:
        return self._reserve.release()

    def restore_reserve(self) -> bool:
        return self._reserve.restore()

    # -- failures -----------------------------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        if self._failed is not None:
            raise StoreFailed(f"{self.path} failed before and takes no more commits: {self._failed}")

    def _failure(self, error: apsw.Error, what: str, connection: apsw.Connection | None = None) -> StoreError:
        if isinstance(error, apsw.FullError):
            return StoreFull(f"{self.path} {what}: the disk is full")
        if isinstance(error, (apsw.IOError, apsw.CantOpenError)) and getattr(error, "extendedresult", 0) != apsw.SQLITE_IOERR_FSYNC:
            code = 0 if connection is None else connection.system_errno
            if code in _FULL_ERRNOS:
                return StoreFull(f"{self.path} {what}: the disk is full or a limit on its use is reached ({os.strerror(code)})")
        if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
            return StoreCorrupt(f"{self.path} is damaged or no penstock store ({error}); restore it from a backup (`penstock restore`)")
        return StoreFailed(f"{self.path} {what}: {type(error).__name__}: {error}")

    def _newer_feed(self, seq: int, version: int) -> StoreNewer:
        return StoreNewer(f"{self.path} has a feed entry of version {version} at sequence {seq}, this program knows up to {FEED_VERSION}")


def _open_failure(error: OSError, directory: str) -> StoreError:
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


def _configure(connection: apsw.Connection, cache_kib: int) -> None:
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("temp_store", "memory")
    connection.pragma("trusted_schema", False)


def _close_quietly(connection: apsw.Connection | None) -> None:
    """Closing may checkpoint, and that may fail on a full disk; what was committed is safe in the WAL either way."""
    if connection is not None:
        try:
            connection.close(True)
        except apsw.Error:
            pass


def _job_columns(index: tuple[Any, ...] | None) -> tuple[Any, ...]:
    job = JobIndex(*index or ())
    if not (job.name + job.account + job.partition + job.state).isascii():
        text = queries.sql_text
        job = job._replace(name=text(job.name), account=text(job.account), partition=text(job.partition), state=text(job.state))  # type: ignore[arg-type]
    return job
