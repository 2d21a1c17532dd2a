"""Reading the store while it is written: pictures of all live rows, blobs, replies, the feed, and accounting.

Guarantees: only what is durable is seen; no reader holds a commit up. A query first notes which rows match (8 bytes each), then reads them
in slices, so that a slow reader keeps no snapshot that would hold back the checkpoint.

May be used from any thread: small reads share one connection and take turns, pictures and queries have connections of their own.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from penstock.store import query as queries
from penstock.store.base import (
    FEED_READ_MAX,
    FEED_VERSION,
    QUERY_ROWS_MAX,
    QUERY_TERMS_MAX,
    BlobMissing,
    FeedPruned,
    JobQuery,
    Key,
    Loaded,
    QueryTooLarge,
    StoreError,
    StoreNewer,
)
from penstock.store.blobs import verified
from penstock.store.sqlite_file import close_quietly, failure, open_reader

SLICE_ROWS = 256

_LOAD = {
    "job": "SELECT key, row FROM job WHERE live = 1 ORDER BY key",
    "step": "SELECT key, row FROM step WHERE live = 1 ORDER BY key",
}


class Reader:
    def __init__(self, path: str, schema_version: int) -> None:
        self.path = path
        self.schema_version = schema_version
        self._closed = False
        self._lock = threading.Lock()
        self._shared: apsw.Connection | None = None
        self._pictures: set[apsw.Connection] = set()

    def close(self) -> None:
        """Ends every picture; a query that is under way goes on."""
        with self._lock:
            self._closed = True
            for connection in (*self._pictures, self._shared):
                close_quietly(connection)
            self._pictures.clear()

    def load(self) -> Loaded:
        connection = self._connect()
        self._pictures.add(connection)

        def close() -> None:
            self._pictures.discard(connection)
            close_quietly(connection)

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
                raise failure(self.path, error, "cannot be read") from error

        try:
            connection.execute("BEGIN")
            seq, feed_version = connection.execute("SELECT seq, version FROM feed ORDER BY seq DESC LIMIT 1").get or (0, FEED_VERSION)
            kinds = {kind for (kind,) in connection.execute("SELECT DISTINCT kind FROM entity")}
            for kind in _LOAD:
                if connection.execute(f"SELECT EXISTS (SELECT 1 FROM {kind} WHERE live = 1)").get:
                    kinds.add(kind)
        except apsw.Error as error:
            close()
            raise failure(self.path, error, "cannot be read") from error
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
        connection = self._connect()
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
            raise failure(self.path, error, "cannot be read") from error
        finally:
            close_quietly(connection)

    def _read(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            try:
                if self._shared is None:
                    self._shared = self._connect()
                return self._shared.execute(statement, values).fetchall()
            except apsw.Error as error:
                raise failure(self.path, error, "cannot be read") from error

    def _connect(self) -> apsw.Connection:
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        return open_reader(self.path)

    def _newer_feed(self, seq: int, version: int) -> StoreNewer:
        return StoreNewer(f"{self.path} has a feed entry of version {version} at sequence {seq}, this program knows up to {FEED_VERSION}")
