"""Writing batches into the database, and forgetting what is old: the statements of one transaction.

How a commit is made cheap: rows travel in statements of up to 64 rows each. A row a statement would be about as fast alone, but apsw gives
the interpreter lock back at every step of SQLite, and beside a busy event loop each way back can cost a switch interval; so a batch of 256
takes some twenty steps, not a thousand.

Assumes that the caller holds the transaction: nothing here begins, commits or rolls back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import apsw

from penstock.store import query as queries
from penstock.store.base import BLOBS_A_PRUNE, FEED_VERSION, REQUEST_KEEP_MS, REQUESTS_MAX, Batch, JobIndex, StepIndex


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


class BatchWriter:
    """Over the writer's connection. `next_blob` is the number of the next content: who rolls back puts it back too."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.next_blob: int = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM blob_content").get
        self._connection = connection

    def write(self, batch: Batch) -> None:
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
        numbered = [(digest, number) for number, digest in enumerate(contents, self.next_blob)]
        _ADD_BLOBS(self._connection, numbered)
        _ADD_CONTENTS(self._connection, [(number, contents[digest]) for digest, number in numbered])
        self.next_blob += len(numbered)

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

    def prune_feed(self, before_seq: int, limit: int, last_seq: int) -> int:
        first = self._connection.execute("SELECT min(seq) FROM feed").get or 0
        upto = min(before_seq, first + limit, last_seq)
        self._connection.execute("DELETE FROM feed WHERE seq < ?", (upto,))
        return max(0, upto - first)

    def prune_history(self, ended_before_ms: int, limit: int) -> int:
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


def _job_columns(index: tuple[Any, ...] | None) -> tuple[Any, ...]:
    job = JobIndex(*index or ())
    if not (job.name + job.account + job.partition + job.state).isascii():
        text = queries.sql_text
        job = job._replace(name=text(job.name), account=text(job.account), partition=text(job.partition), state=text(job.state))  # type: ignore[arg-type]
    return job
