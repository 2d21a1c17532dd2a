"""What a store is: rows of entities, the event feed, blobs and remembered requests, moved forward by whole batches.

Guarantees, for every implementation (`sqlite`, `memory`), held by one conformance suite:

- `commit` returns only when the whole batch is durable; after a crash a batch is there entirely or not at all, and batches never overtake
  each other. Within a batch the order is blobs, upserts, deletes, events, requests; a key that is upserted and deleted is gone.
- The feed is contiguous: the first event of a batch follows the last one stored. A gap is a bug of the caller and fails the commit.
- A job or step row keeps the blobs it names: they stay until the last row that names them, live or history, is deleted or names them no
  more.
- `StoreFull` leaves the store as it was and usable: free space (`release_reserve`) and commit the same batch again. `StoreFailed` is fatal:
  this object refuses every later commit; the process has to exit, start again and load.

Assumes one writer process per store and one thread that commits. Reads (`get_blob`, `find_request`, `feed`, `query_jobs`, `query_steps`)
may come from any thread and see only what is durable: what is in flight is for the caller to remember.

Kinds "job" and "step" have index columns, so that accounting can ask for rows that have left memory; every other kind is a plain table of
key and row. A kind is a short lowercase word, a key is a 64-bit integer or a text. Rows and events are opaque here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

FEED_VERSION = 1  # the encoding of events that this program writes; a feed entry with a greater one is refused

SCRIPT_MAX_BYTES = 4 << 20  # Slurm's default max_script_size
LAUNCH_MAX_BYTES = 5 << 20  # what a step was asked to be: its arguments, names and patterns
ENVIRONMENT_MAX_BYTES = 6 << 20  # the most that Linux itself passes through execve
BLOB_MAX_BYTES = ENVIRONMENT_MAX_BYTES  # a larger blob fails with BlobTooLarge
DIGEST_BYTES = 32  # sha256

BLOBS_A_PRUNE = 5_000  # unnamed blobs that one `prune_history` deletes at most: each step leaves one

REQUEST_KEEP_MS = 3_600_000  # a reply is remembered this long for a client that tries again
REQUESTS_MAX = 200_000  # beyond it the oldest remembered replies go first

QUERY_TERMS_MAX = 10_000  # ids, names, uids... in one JobQuery; more fails with QueryTooLarge
QUERY_ROWS_MAX = 2_000_000  # rows that one query may match; more fails with QueryTooLarge
FEED_READ_MAX = 10_000  # entries that one `feed` call returns at most, whatever the limit asked for

UNSTARTED_TASKS = -1  # array_task_id of the row that stands for the elements not started yet, and of a job that is no array

Key = int | str


class StoreError(Exception):
    """Something the store will not or cannot do; the text names the file, the value and the way out."""


class StoreFull(StoreError):
    """The disk is full. Nothing of the batch is stored; the same batch may be committed again once there is room."""


class StoreFailed(StoreError):
    """A commit or a read failed for good: exit, start again, load."""


class StoreCorrupt(StoreFailed):
    """The file or a blob is damaged."""


class StoreForeign(StoreError):
    """The file is not a penstock store."""


class StoreNewer(StoreError):
    """The file was written by a newer penstock."""


class StoreBusy(StoreError):
    """Another process has this store open for writing."""


class FeedPruned(StoreError):
    """The feed no longer reaches back that far: load the rows and follow from their sequence."""


class BlobMissing(StoreError):
    """No blob has this digest."""


class BlobTooLarge(StoreError):
    """The content exceeds its bound."""


class QueryTooLarge(StoreError):
    """The query has too many terms, or matches too many rows."""


class JobIndex(NamedTuple):
    """Index columns of a job row: what accounting searches by. Times in ms since the epoch, 0 = not yet.

    `live` = 0 makes the row history: `load` leaves it out, queries find it. `run` counts requeues: the current run has the job's own key,
    an earlier one keeps a history row under a key of its own (`run_key`) with the same `id` and its own `run`.
    """

    id: int
    array_job_id: int  # 0 = not of an array
    uid: int
    submit_ms: int
    start_ms: int
    end_ms: int
    live: int
    name: str
    account: str
    partition: str
    state: str  # base state by Slurm's name: PENDING, RUNNING, COMPLETED, ...
    run: int = 0
    array_task_id: int = UNSTARTED_TASKS
    script: bytes | None = None  # digest of a blob; it has to be stored, at the latest in the same batch
    environment: bytes | None = None


class StepIndex(NamedTuple):
    """Index columns of a step row."""

    job_id: int
    run: int
    live: int
    launch: bytes | None = None  # digests of blobs, as with a job: what its launch needs while it runs; None once it has ended
    environment: bytes | None = None


def run_key(job_id: int, run: int) -> str:
    """Key of the history row that keeps an earlier run of a requeued job."""
    return f"{job_id}.{run}"


def step_key(job_id: int, run: int, step: int | str) -> str:
    """Key of a step row: one per job, run and step ("batch", "extern", "interactive" or its number)."""
    return f"{job_id}.{run}.{step}"


class Batch(msgspec.Struct):
    """One group commit: all of it or nothing."""

    events: list[tuple[int, bytes]] = msgspec.field(default_factory=list)  # (feed sequence, encoded event), contiguous
    upserts: list[tuple[str, Key, bytes, tuple[Any, ...] | None]] = msgspec.field(
        default_factory=list
    )  # (kind, key, row, JobIndex | StepIndex | None)
    deletes: list[tuple[str, Key]] = msgspec.field(default_factory=list)
    blobs: list[tuple[bytes, bytes]] = msgspec.field(default_factory=list)  # (sha256 digest, content), see store.blobs
    requests: list[tuple[bytes, int, bytes, int]] = msgspec.field(default_factory=list)  # (request id, uid, first reply, now_ms)


class JobQuery(msgspec.Struct, frozen=True):
    """Which job rows to return. Fields are joined by AND, the values of one field by OR; an empty field accepts all.

    `ids` and `tasks` are one field: a row matches an id by its job id or array job id, a task (array job id, task id) by that element's
    own row or by the row of the elements not started yet.

    The window [from_ms, until_ms] accepts a row that was in the system during it. With `states`, each state is tested against the window
    as users mean it: PENDING waited in it, RUNNING ran in it, an ending (COMPLETED, FAILED, ...) happened in it. Without a window, `states`
    compares with the recorded state.
    """

    ids: tuple[int, ...] = ()
    tasks: tuple[tuple[int, int], ...] = ()
    uids: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    from_ms: int | None = None
    until_ms: int | None = None
    earlier_runs: bool = False  # also the history rows of runs before a requeue (sacct --duplicates)

    def check_bounds(self) -> None:
        terms = sum(map(len, (self.ids, self.tasks, self.uids, self.names, self.accounts, self.partitions, self.states)))
        if terms > QUERY_TERMS_MAX:
            raise QueryTooLarge(f"accounting query has {terms} terms (ids, users, names, ...); at most {QUERY_TERMS_MAX} are allowed")


class Loaded(msgspec.Struct):
    """A consistent picture of the live rows at feed sequence `seq`.

    `rows(kind)` iterates over (key, row), integer keys first, each sort ascending. `close` ends the picture; a store's `close` does too.
    """

    seq: int
    schema_version: int
    feed_version: int
    kinds: tuple[str, ...]  # those that have live rows, sorted
    rows: Callable[[str], Iterator[tuple[Key, bytes]]]
    close: Callable[[], None]

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Store(Protocol):
    def load(self) -> Loaded:
        """The live rows, all at one sequence."""

    def commit(self, batch: Batch) -> None:
        """Returns when the batch is durable. Raises StoreFull (nothing stored, try again) or StoreFailed (fatal)."""

    def get_blob(self, digest: bytes) -> bytes:
        """The content, checked against its digest. Raises BlobMissing, StoreCorrupt."""

    def find_request(self, request_id: bytes, uid: int) -> bytes | None:
        """The first reply to this user's request, while it is remembered (REQUEST_KEEP_MS, REQUESTS_MAX)."""

    def feed(self, after_seq: int, limit: int) -> list[tuple[int, bytes]]:
        """Entries after a sequence, oldest first, at most `limit` and FEED_READ_MAX. Raises FeedPruned, StoreNewer."""

    def query_jobs(self, query: JobQuery) -> Iterator[bytes]:
        """Rows of matching jobs, live and history, by job id and run. Read in slices: a slow reader holds nothing up."""

    def query_steps(self, job_ids: Sequence[int]) -> Iterator[bytes]:
        """Rows of all steps of these jobs, live and history, by job id and run, in order of their creation."""

    def prune_feed(self, before_seq: int, limit: int) -> int:
        """Deletes at most `limit` feed entries older than `before_seq`, never the last one; returns how many."""

    def prune_history(self, ended_before_ms: int, limit: int) -> int:
        """Deletes at most `limit` history jobs that ended before a time, with their steps; returns how many.

        Blobs that no row names any more go with them (at most BLOBS_A_PRUNE a call).
        """

    def low_water(self) -> bool:
        """True while free space is below the low-water mark or the reserve is spent: refuse submissions, take endings."""

    def release_reserve(self) -> bool:
        """Gives the reserve's space to the store; False if it was released before."""

    def restore_reserve(self) -> bool:
        """Takes the reserve back if there is room above the low-water mark; True if the reserve is whole."""

    def close(self) -> None:
        """Ends all use. Committed work is durable without it."""
