"""The embedded store: one SQLite file in the cluster's folder, in WAL mode, `synchronous=FULL`.

Guarantees (beyond `base`): one fsync a commit; one writer per folder (`lock`); a write that failed for want of space leaves nothing behind.

Its parts: `sqlite_file` opens the file and knows what its errors mean, `sqlite_write` has the statements of a commit, `sqlite_read` is what
readers use. Here is what ties them: who may write, transactions, and the failure after which nothing is written any more.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import apsw

from penstock.store.base import Batch, JobQuery, Loaded, StoreError, StoreFailed, StoreFull
from penstock.store.blobs import check_bounds
from penstock.store.lock import WriterLock
from penstock.store.reserve import LOW_WATER_BYTES, RESERVE_BYTES, Reserve
from penstock.store.schema import Migration, migrations
from penstock.store.sqlite_file import DATABASE, close_quietly, failure, make_private_directory, open_failure, open_writer
from penstock.store.sqlite_read import Reader
from penstock.store.sqlite_write import BatchWriter

RESTORE_MARKER = "state.restoring"  # there while a restore is under way; a store with it is not opened

_Result = TypeVar("_Result")


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
        self._known = migrations() if known is None else known
        self._failed: str | None = None
        self._closed = False
        self._write_lock = threading.Lock()
        try:
            make_private_directory(directory)
            self._lock = WriterLock(directory)
        except OSError as error:
            raise open_failure(error, directory) from error
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
            raise open_failure(error, directory) from error
        except BaseException:
            self._lock.release()
            raise

    # -- opening and closing ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._connection, self.schema_version = open_writer(self.path, self._known)
        try:
            self._seq: int = self._connection.execute("SELECT coalesce(max(seq), 0) FROM feed").get
            self._writer = BatchWriter(self._connection)
        except apsw.Error as error:
            meaning = failure(self.path, error, "cannot be opened", self._connection)
            close_quietly(self._connection)
            raise meaning from error
        self._reader = Reader(self.path, self.schema_version)

    def close(self) -> None:
        with self._write_lock:
            if self._closed:
                return
            self._closed = True
            self._reader.close()
            close_quietly(self._connection)
            self._lock.release()

    # -- writing ------------------------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        with self._write_lock:
            self._check_usable()
            next_blob = self._writer.next_blob
            try:
                for expected, (seq, _) in enumerate(batch.events, self._seq + 1):
                    if seq != expected:
                        raise StoreFailed(f"feed sequence {seq} does not follow {expected - 1}: events have to be contiguous")
                check_bounds(batch.blobs)
                self._in_transaction(lambda: self._writer.write(batch))
            except StoreFull:
                self._writer.next_blob = next_blob
                raise
            except StoreFailed as error:
                self._failed = str(error)
                raise
            if batch.events:
                self._seq = batch.events[-1][0]

    def prune_feed(self, before_seq: int, limit: int) -> int:
        return self._maintain(lambda: self._writer.prune_feed(before_seq, limit, self._seq))

    def prune_history(self, ended_before_ms: int, limit: int) -> int:
        return self._maintain(lambda: self._writer.prune_history(ended_before_ms, limit))

    def _maintain(self, work: Callable[[], int]) -> int:
        with self._write_lock:
            self._check_usable()
            try:
                return self._in_transaction(work)
            except StoreFailed as error:
                self._failed = str(error)
                raise

    def _in_transaction(self, work: Callable[[], _Result]) -> _Result:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work()
            connection.execute("COMMIT")
        except BaseException as error:
            meaning = failure(self.path, error, "cannot be written", connection) if isinstance(error, apsw.Error) else None
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except apsw.Error as second:
                raise StoreFailed(f"{self.path}: a failed commit cannot be rolled back: {second}") from error
            if meaning is not None:
                raise meaning from error
            if isinstance(error, (StoreError, KeyboardInterrupt, SystemExit)):
                raise
            raise StoreFailed(f"{self.path}: a batch that cannot be stored: {error!r}") from error
        return result

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        return self._reader.load()

    def get_blob(self, digest: bytes) -> bytes:
        return self._reader.get_blob(digest)

    def find_request(self, request_id: bytes, uid: int) -> bytes | None:
        return self._reader.find_request(request_id, uid)

    def feed(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        return self._reader.feed(after_seq, limit)

    def query_jobs(self, query: JobQuery) -> Iterator[bytes]:
        return self._reader.query_jobs(query)

    def query_steps(self, job_ids: Sequence[int]) -> Iterator[bytes]:
        return self._reader.query_steps(job_ids)

    # -- space --------------------------------------------------------------------------------------------------------------------

    def low_water(self) -> bool:
        return self._reserve.low_water()

    def release_reserve(self) -> bool:
        return self._reserve.release()

    def restore_reserve(self) -> bool:
        return self._reserve.restore()

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        if self._failed is not None:
            raise StoreFailed(f"{self.path} failed before and takes no more commits: {self._failed}")
