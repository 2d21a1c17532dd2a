"""The in-memory twin of the store, for tests and the whole-system simulation.

The same semantics as `sqlite`, held by the same conformance suite, plus what a simulation needs to say explicitly:

- `MemoryDisk` is what survives; a `MemoryStore` is one process's open store on it. `crash` ends the process: the old store refuses
  everything (a zombie cannot write), the disk stays.
- `begin` hands a batch to the disk, `finish` makes it durable; `commit` is both. A crash between them loses the batch or, with
  `keep_in_flight`, finds it durable although nobody was told: a real disk may do either, and callers have to live with both.
- `free_bytes` bounds the disk. It counts what is written and gives nothing back: raise it to simulate an administrator who makes room.

Assumes one thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

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
    StoreBusy,
    StoreError,
    StoreFailed,
    StoreFull,
)
from penstock.store.blobs import check_bounds, verified
from penstock.store.query import key_order, matches

SCHEMA_VERSION = 2

_KEY_MIN, _KEY_MAX = -(1 << 63), (1 << 63) - 1


class MemoryDisk:
    """What survives a crash. `free_bytes` None means a disk that is never full."""

    def __init__(self, free_bytes: int | None = None, reserve_bytes: int = 1 << 20, low_water_bytes: int = 1 << 20) -> None:
        self.free_bytes = free_bytes
        self.reserve_bytes = reserve_bytes
        self.low_water_bytes = low_water_bytes
        self.reserve_held = False
        self.owner: MemoryStore | None = None
        self.seq = 0
        self.events: dict[int, bytes] = {}
        self.jobs: dict[Key, tuple[bytes, JobIndex]] = {}
        self.steps: dict[Key, tuple[bytes, StepIndex]] = {}
        self.entities: dict[str, dict[Key, bytes]] = {}
        self.blobs: dict[bytes, bytes] = {}
        self.blob_refs: Counter[bytes] = Counter()
        self.requests: dict[tuple[bytes, int], tuple[bytes, int]] = {}  # oldest first

    def take(self, size_bytes: int) -> None:
        if self.free_bytes is not None:
            if size_bytes > self.free_bytes:
                raise StoreFull(f"memory disk: the disk is full ({size_bytes} bytes to write, {self.free_bytes} free)")
            self.free_bytes -= size_bytes


class MemoryStore:
    """One process's open store. Raises StoreBusy while another one is open on the disk."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        self.disk = MemoryDisk() if disk is None else disk
        if self.disk.owner is not None:
            raise StoreBusy("memory disk is in use by another store; crash or close that one first")
        self.disk.owner = self
        self.in_flight: Batch | None = None
        self._failed: str | None = None
        self.restore_reserve()

    # -- what only the twin has ---------------------------------------------------------------------------------------------------

    def begin(self, batch: Batch) -> None:
        """Hands the batch to the disk, where it is checked and stays in flight until `finish` or `crash`. Raises as `commit` does."""
        self._check_usable()
        if self.in_flight is not None:
            raise StoreFailed("a batch is in flight already: there is one writer, and it waits for its commit")
        try:
            self._check(batch)
        except StoreFull:
            raise
        except StoreFailed as error:
            self._failed = str(error)
            raise
        except Exception as error:
            self._failed = f"a batch that cannot be stored: {error!r}"
            raise StoreFailed(self._failed) from error
        self.in_flight = batch

    def finish(self) -> None:
        """The batch in flight is durable from here on."""
        self._check_usable()
        if self.in_flight is None:
            raise StoreFailed("no batch is in flight")
        batch, self.in_flight = self.in_flight, None
        self._write(batch)

    def crash(self, keep_in_flight: bool = False) -> MemoryStore:
        """The process dies; returns the store that the next process opens on the same disk."""
        self._check_open()
        if self.in_flight is not None and keep_in_flight:
            self._write(self.in_flight)
        self.in_flight = None
        self.disk.owner = None
        return MemoryStore(self.disk)

    # -- Store --------------------------------------------------------------------------------------------------------------------

    def load(self) -> Loaded:
        self._check_open()
        disk = self.disk
        live: dict[str, list[tuple[Key, bytes]]] = {kind: list(rows.items()) for kind, rows in disk.entities.items()}
        live["job"] = [(key, row) for key, (row, index) in disk.jobs.items() if index.live]
        live["step"] = [(key, row) for key, (row, step) in disk.steps.items() if step.live]
        for rows in live.values():
            rows.sort(key=lambda item: key_order(item[0]))
        kinds = tuple(sorted(kind for kind, rows in live.items() if rows))
        return Loaded(disk.seq, SCHEMA_VERSION, FEED_VERSION, kinds, lambda kind: iter(live.get(kind, ())), live.clear)

    def commit(self, batch: Batch) -> None:
        self.begin(batch)
        self.finish()

    def get_blob(self, digest: bytes) -> bytes:
        self._check_open()
        if digest not in self.disk.blobs:
            raise BlobMissing(f"no script or environment with sha256 {digest.hex()} is stored; it may have been pruned with its jobs")
        return verified(digest, self.disk.blobs[digest])

    def find_request(self, request_id: bytes, uid: int) -> bytes | None:
        self._check_open()
        found = self.disk.requests.get((request_id, uid))
        return found[0] if found else None

    def feed(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        self._check_open()
        disk = self.disk
        first = next(iter(disk.events), disk.seq + 1)
        if after_seq < disk.seq and after_seq + 1 < first:
            raise FeedPruned(
                f"the feed begins at sequence {first}; entries after {after_seq} are pruned: load the rows and follow from there"
            )
        upto = min(disk.seq, after_seq + min(limit, FEED_READ_MAX))
        return [(seq, disk.events[seq]) for seq in range(max(after_seq + 1, first), upto + 1)]

    def query_jobs(self, query: JobQuery) -> Iterator[bytes]:
        query.check_bounds()
        self._check_open()
        last_run: dict[int, int] = {}
        for _, job in self.disk.jobs.values():
            last_run[job.id] = max(job.run, last_run.get(job.id, job.run))
        found = [
            (job.id, job.run, row)
            for row, job in self.disk.jobs.values()
            if matches(query, job) and (query.earlier_runs or job.run == last_run[job.id])
        ]
        if len(found) > QUERY_ROWS_MAX:
            raise QueryTooLarge(f"more than {QUERY_ROWS_MAX} jobs match; narrow the time window or name jobs or users")
        found.sort(key=lambda item: item[:2])
        for _, _, row in found:
            yield row

    def query_steps(self, job_ids: Sequence[int]) -> Iterator[bytes]:
        if len(job_ids) > QUERY_TERMS_MAX:
            raise QueryTooLarge(f"steps of {len(job_ids)} jobs were asked for at once; at most {QUERY_TERMS_MAX} are allowed")
        self._check_open()
        wanted = set(job_ids)
        found = [(step.job_id, step.run, row) for row, step in self.disk.steps.values() if step.job_id in wanted]
        found.sort(key=lambda item: item[:2])
        for _, _, row in found:
            yield row

    def prune_feed(self, before_seq: int, limit: int) -> int:
        self._check_usable()
        events = self.disk.events
        gone = [seq for seq, _ in zip(events, range(limit), strict=False) if seq < min(before_seq, self.disk.seq)]
        for seq in gone:
            del events[seq]
        return len(gone)

    def prune_history(self, ended_before_ms: int, limit: int) -> int:
        self._check_usable()
        disk = self.disk
        ended = [(job.end_ms, key) for key, (_, job) in disk.jobs.items() if not job.live and 0 < job.end_ms < ended_before_ms]
        ended.sort(key=lambda item: item[0])
        runs = set()
        for _, key in ended[:limit]:
            job = disk.jobs[key][1]
            runs.add((job.id, job.run))
            self._drop("job", key)
        for step_key in [key for key, (_, step) in disk.steps.items() if (step.job_id, step.run) in runs]:
            self._drop("step", step_key)
        for digest in [digest for digest in disk.blobs if not disk.blob_refs[digest]][:BLOBS_A_PRUNE]:
            del disk.blobs[digest]
        return len(ended[:limit])

    def low_water(self) -> bool:
        disk = self.disk
        return not disk.reserve_held or (disk.free_bytes is not None and disk.free_bytes < disk.low_water_bytes)

    def release_reserve(self) -> bool:
        disk = self.disk
        if not disk.reserve_held:
            return False
        disk.reserve_held = False
        if disk.free_bytes is not None:
            disk.free_bytes += disk.reserve_bytes
        return True

    def restore_reserve(self) -> bool:
        disk = self.disk
        if disk.reserve_held:
            return True
        if disk.free_bytes is not None:
            if disk.free_bytes < disk.low_water_bytes + disk.reserve_bytes:
                return False
            disk.free_bytes -= disk.reserve_bytes
        disk.reserve_held = True
        return True

    def close(self) -> None:
        if self.disk.owner is self:
            self.disk.owner = None

    # -- the batch ----------------------------------------------------------------------------------------------------------------

    def _check(self, batch: Batch) -> None:
        """All that can fail, before anything changes."""
        for expected, (seq, _) in enumerate(batch.events, self.disk.seq + 1):
            if seq != expected:
                raise StoreFailed(f"feed sequence {seq} does not follow {expected - 1}: events have to be contiguous")
        check_bounds(batch.blobs)
        size_bytes = sum(len(event) for _, event in batch.events) + sum(len(row) for _, _, row, _ in batch.upserts)
        new = {digest: content for digest, content in batch.blobs if digest not in self.disk.blobs}
        size_bytes += sum(map(len, new.values())) + sum(len(reply) for _, _, reply, _ in batch.requests)
        for kind, key, _, index in batch.upserts:
            if type(key) is int and not _KEY_MIN <= key <= _KEY_MAX:
                raise StoreFailed(f"{kind} key {key} does not fit 64 bits")
            if kind == "job":
                job = JobIndex(*index or ())
                for digest in (job.script, job.environment):
                    if digest is not None and digest not in new and digest not in self.disk.blobs:
                        raise StoreFailed(f"a job row names a blob that is not stored: job {job.id}, sha256 {digest.hex()}")
            elif kind == "step":
                step = StepIndex(*index or ())
                for digest in (step.launch, step.environment):
                    if digest is not None and digest not in new and digest not in self.disk.blobs:
                        raise StoreFailed(f"a step row names a blob that is not stored: step {key}, sha256 {digest.hex()}")
        self.disk.take(size_bytes)

    def _write(self, batch: Batch) -> None:
        disk = self.disk
        for digest, content in batch.blobs:
            disk.blobs.setdefault(digest, content)
        for kind, key, row, index in batch.upserts:
            if kind == "job":
                job = JobIndex(*index or ())
                self._count((job.script, job.environment), 1)
                if key in disk.jobs:
                    old = disk.jobs[key][1]
                    self._count((old.script, old.environment), -1)
                disk.jobs[key] = (row, job)
            elif kind == "step":
                step = StepIndex(*index or ())
                self._count((step.launch, step.environment), 1)
                if key in disk.steps:
                    was = disk.steps[key][1]
                    self._count((was.launch, was.environment), -1)
                disk.steps[key] = (row, step)
            else:
                disk.entities.setdefault(kind, {})[key] = row
        for kind, key in batch.deletes:
            self._drop(kind, key)
        for seq, event in batch.events:
            disk.events[seq] = event
            disk.seq = seq
        for request_id, uid, reply, now_ms in batch.requests:
            disk.requests.setdefault((request_id, uid), (reply, now_ms))
        if batch.requests:
            self._forget_requests(len(batch.requests), max(now_ms for *_, now_ms in batch.requests))

    def _forget_requests(self, added: int, now_ms: int) -> None:
        requests = self.disk.requests
        surplus = len(requests) - REQUESTS_MAX
        gone: list[Any] = []
        for place, (name, (_, at_ms)) in enumerate(requests.items()):
            if place >= 2 * added + 64 or (at_ms >= now_ms - REQUEST_KEEP_MS and place >= surplus):
                break
            gone.append(name)
        for name in gone:
            del requests[name]

    def _drop(self, kind: str, key: Key) -> None:
        if kind == "job":
            if key in self.disk.jobs:
                job = self.disk.jobs.pop(key)[1]
                self._count((job.script, job.environment), -1)
        elif kind == "step":
            if key in self.disk.steps:
                step = self.disk.steps.pop(key)[1]
                self._count((step.launch, step.environment), -1)
        else:
            self.disk.entities.get(kind, {}).pop(key, None)

    def _count(self, digests: tuple[bytes | None, bytes | None], change: int) -> None:
        for digest in digests:
            if digest is not None:
                self.disk.blob_refs[digest] += change

    def _check_open(self) -> None:
        if self.disk.owner is not self:
            raise StoreError("this store is closed, or its process has crashed")

    def _check_usable(self) -> None:
        self._check_open()
        if self._failed is not None:
            raise StoreFailed(f"this store failed before and takes no more commits: {self._failed}")
