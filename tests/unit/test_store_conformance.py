"""What every store promises (`store.base`), asked of each implementation."""

from __future__ import annotations

import pytest

from penstock.store import base
from penstock.store.base import (
    UNSTARTED_TASKS,
    Batch,
    BlobMissing,
    BlobTooLarge,
    FeedPruned,
    JobIndex,
    JobQuery,
    QueryTooLarge,
    StepIndex,
    StoreBusy,
    StoreError,
    StoreFailed,
    run_key,
    step_key,
)
from penstock.store.blobs import environment_blob, launch_blob, script_blob
from penstock.store.memory import MemoryDisk, MemoryStore
from penstock.store.sqlite import SqliteStore


class Place:
    """Where a store lives: opened, closed and opened again by name."""

    def __init__(self, kind, directory):
        self.kind, self.directory, self.disk = kind, str(directory), MemoryDisk()
        self.opened = []

    def open(self):
        memory = self.kind == "memory"
        store = MemoryStore(self.disk) if memory else SqliteStore(self.directory, reserve_bytes=4096, low_water_bytes=0)
        self.opened.append(store)
        return store


@pytest.fixture(params=["memory", "sqlite"])
def place(request, tmp_path):
    place = Place(request.param, tmp_path / "cluster")
    yield place
    for store in place.opened:
        store.close()


@pytest.fixture
def store(place):
    return place.open()


def index(job_id, **fields):
    values = {
        "id": job_id,
        "array_job_id": 0,
        "uid": 1000,
        "submit_ms": job_id,
        "start_ms": 0,
        "end_ms": 0,
        "live": 1,
        "name": "j",
        "account": "a",
        "partition": "p",
        "state": "PENDING",
    }
    return JobIndex(**{**values, **fields})


def job(job_id, row=None, key=None, **fields):
    return ("job", job_id if key is None else key, row or b"job %d" % job_id, index(job_id, **fields))


def step(job_id, name, run=0, live=1, **blobs):
    return ("step", step_key(job_id, run, name), f"{job_id}.{run}.{name}".encode(), StepIndex(job_id, run, live, **blobs))


def rows(store, kind):
    with store.load() as loaded:
        return list(loaded.rows(kind))


def found(store, **fields):
    return [row.decode() for row in store.query_jobs(JobQuery(**fields))]


def test_a_new_store_is_empty(store):
    with store.load() as loaded:
        assert (loaded.seq, loaded.kinds, list(loaded.rows("job")), list(loaded.rows("node"))) == (0, (), [], [])
    assert store.feed(0, 10) == []


def test_a_batch_is_loaded_as_it_was_committed_also_after_reopening(place):
    store = place.open()
    store.commit(
        Batch(
            events=[(1, b"e1"), (2, b"e2")],
            upserts=[job(7), step(7, "batch"), ("node", "n0", b"node", None), ("counter", "job_id", b"8", None), ("effect", 3, b"x", None)],
        )
    )
    store.close()
    with place.open().load() as loaded:
        assert loaded.seq == 2
        assert loaded.kinds == ("counter", "effect", "job", "node", "step")
        assert {kind: list(loaded.rows(kind)) for kind in loaded.kinds} == {
            "counter": [("job_id", b"8")],
            "effect": [(3, b"x")],
            "job": [(7, b"job 7")],
            "node": [("n0", b"node")],
            "step": [("7.0.batch", b"7.0.batch")],
        }


def test_rows_come_in_key_order_and_integers_are_not_texts(store):
    keys = [10, 9, "10", "9", -1, "é", "\udcff", "z" * 300, 2**63 - 1]
    store.commit(Batch(upserts=[("node", key, repr(key).encode(), None) for key in keys]))
    assert [key for key, _ in rows(store, "node")] == [-1, 9, 10, 2**63 - 1, "10", "9", "z" * 300, "é", "\udcff"]
    assert all(row == repr(key).encode() for key, row in rows(store, "node"))


def test_the_last_upsert_of_a_key_wins_and_a_delete_in_the_same_batch_wins_over_it(store):
    store.commit(Batch(upserts=[("node", 1, b"a", None), ("node", 1, b"b", None), ("node", 2, b"c", None), job(5)], deletes=[("node", 2)]))
    assert rows(store, "node") == [(1, b"b")]
    store.commit(Batch(upserts=[("node", 1, b"d", None)], deletes=[("node", 99), ("job", 5), ("step", "none")]))
    assert rows(store, "node") == [(1, b"d")]
    assert rows(store, "job") == []


@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 200])
def test_batches_of_any_size_are_whole(store, count):
    store.commit(
        Batch(
            events=[(seq, b"%d" % seq) for seq in range(1, count + 1)],
            upserts=[job(key) for key in range(1, count + 1)] + [("effect", key, b"%d" % key, None) for key in range(count)],
        )
    )
    assert [key for key, _ in rows(store, "job")] == list(range(1, count + 1))
    assert store.feed(0, 1000) == [(seq, b"%d" % seq) for seq in range(1, count + 1)]
    store.commit(Batch(deletes=[("effect", key) for key in range(count)] + [("job", key) for key in range(2, count + 1)]))
    assert rows(store, "effect") == []
    assert rows(store, "job") == [(1, b"job 1")]


@pytest.mark.parametrize(
    "batch",
    [
        Batch(events=[(3, b"gap")]),
        Batch(events=[(1, b"again")]),
        Batch(events=[(2, b"ok"), (4, b"gap")]),
        Batch(events=[(2, b"ok")], upserts=[job(9, script=b"\0" * 32)]),
        Batch(events=[(2, b"ok")], upserts=[("node", 1 << 63, b"", None)]),
        Batch(events=[(2, b"ok")], upserts=[("job", 9, b"", None)]),
        Batch(events=[(2, b"ok")], upserts=[("step", "9", b"", None)]),
        Batch(events=[(2, b"ok")], blobs=[(b"short", b"")]),
    ],
    ids=["gap", "repeated", "gap inside", "unknown blob", "huge key", "job without index", "step without index", "bad digest"],
)
def test_a_wrong_batch_fails_for_good_and_leaves_nothing(place, batch):
    store = place.open()
    store.commit(Batch(events=[(1, b"one")], upserts=[("node", 1, b"a", None)]))
    batch.upserts.insert(0, ("node", 1, b"changed", None))
    with pytest.raises(StoreFailed):
        store.commit(batch)
    with pytest.raises(StoreFailed, match="failed before"):
        store.commit(Batch(events=[(2, b"two")]))
    store.close()
    store = place.open()
    assert rows(store, "node") == [(1, b"a")]
    assert store.feed(0, 10) == [(1, b"one")]
    store.commit(Batch(events=[(2, b"two")]))


def test_a_picture_does_not_change_under_its_reader(store):
    store.commit(Batch(events=[(1, b"")], upserts=[("node", key, b"old", None) for key in range(500)]))
    with store.load() as loaded:
        nodes = loaded.rows("node")
        assert next(nodes) == (0, b"old")
        store.commit(Batch(events=[(2, b"")], upserts=[("node", key, b"new", None) for key in range(500)]))
        assert {row for _, row in nodes} == {b"old"}
        assert loaded.seq == 1
    with store.load() as loaded:
        assert loaded.seq == 2
        assert {row for _, row in loaded.rows("node")} == {b"new"}


def test_a_closed_store_says_so_and_only_one_is_open_at_a_time(place):
    store = place.open()
    with pytest.raises(StoreBusy):
        place.open()
    store.close()
    store.close()
    for use in (store.load, lambda: store.commit(Batch()), lambda: store.feed(0, 1), lambda: store.find_request(b"", 0)):
        with pytest.raises(StoreError, match="closed"):
            use()
    place.open()


# -- feed -------------------------------------------------------------------------------------------------------------------------------


def test_the_feed_is_read_from_any_sequence_and_bounded(store, monkeypatch):
    store.commit(Batch(events=[(seq, b"%d" % seq) for seq in range(1, 101)]))
    assert store.feed(97, 2) == [(98, b"98"), (99, b"99")]
    assert store.feed(100, 2) == []
    assert len(store.feed(0, 10**9)) == 100
    for module in ("memory", "sqlite_read"):
        monkeypatch.setattr(f"penstock.store.{module}.FEED_READ_MAX", 10)
    assert len(store.feed(0, 10**9)) == 10


def test_the_feed_is_pruned_within_a_bound_and_keeps_its_sequence(place):
    store = place.open()
    store.commit(Batch(events=[(seq, b"%d" % seq) for seq in range(1, 101)]))
    assert store.prune_feed(50, 30) == 30
    assert store.prune_feed(50, 30) == 19
    assert store.prune_feed(50, 30) == 0
    assert store.feed(49, 1) == [(50, b"50")]
    with pytest.raises(FeedPruned, match="begins at sequence 50"):
        store.feed(48, 1)
    assert store.prune_feed(10**6, 1000) == 50
    store.close()
    store = place.open()
    assert store.feed(99, 5) == [(100, b"100")]
    store.commit(Batch(events=[(101, b"101")]))
    assert store.feed(99, 5) == [(100, b"100"), (101, b"101")]


# -- remembered requests ----------------------------------------------------------------------------------------------------------------


def test_the_first_reply_to_a_request_is_the_one_that_is_found(store):
    store.commit(Batch(requests=[(b"id1", 1000, b"Submitted 1", 5), (b"id1", 1001, b"other user", 5)]))
    store.commit(Batch(requests=[(b"id1", 1000, b"Submitted 2", 6)]))
    assert store.find_request(b"id1", 1000) == b"Submitted 1"
    assert store.find_request(b"id1", 1001) == b"other user"
    assert store.find_request(b"id1", 1002) is None
    assert store.find_request(b"id2", 1000) is None


def test_requests_are_forgotten_by_age(store):
    store.commit(Batch(requests=[(b"%d" % number, 0, b"", number) for number in range(500)]))
    now_ms = base.REQUEST_KEEP_MS + 100
    for late in range(10):  # each commit forgets a bounded number
        store.commit(Batch(requests=[(b"late%d" % late, 0, b"", now_ms)]))
    assert [number for number in range(500) if store.find_request(b"%d" % number, 0) is not None] == list(range(100, 500))
    assert all(store.find_request(b"late%d" % late, 0) == b"" for late in range(10))


def test_requests_are_bounded_by_number(store, monkeypatch):
    for module in ("memory", "sqlite_write"):
        monkeypatch.setattr(f"penstock.store.{module}.REQUESTS_MAX", 20)
    for number in range(30):
        store.commit(Batch(requests=[(b"%d" % number, 0, b"", 1)]))
    assert [number for number in range(30) if store.find_request(b"%d" % number, 0) is not None] == list(range(10, 30))


# -- blobs ------------------------------------------------------------------------------------------------------------------------------

SCRIPT = script_blob(b"#!/bin/sh\ntrue\n")
ENVIRONMENT = environment_blob(b"HOME=/\0A=\xff")


def has_blob(store, blob):
    try:
        return store.get_blob(blob[0]) == blob[1]
    except BlobMissing:
        return False


def test_a_blob_is_stored_once_and_given_back_exactly(store):
    store.commit(Batch(blobs=[SCRIPT, SCRIPT, ENVIRONMENT], upserts=[job(1, script=SCRIPT[0], environment=ENVIRONMENT[0])]))
    store.commit(Batch(blobs=[SCRIPT], upserts=[job(2, script=SCRIPT[0])]))
    store.commit(Batch(upserts=[job(3, script=SCRIPT[0])]))
    assert store.get_blob(SCRIPT[0]) == SCRIPT[1]
    assert store.get_blob(ENVIRONMENT[0]) == ENVIRONMENT[1]
    with pytest.raises(BlobMissing, match="00ff"):
        store.get_blob(b"\0\xff" * 16)


def test_a_blob_lives_as_long_as_any_job_row_names_it(store):
    other = script_blob(b"other")
    store.commit(
        Batch(
            blobs=[SCRIPT, ENVIRONMENT, other],
            upserts=[job(1, script=SCRIPT[0], environment=ENVIRONMENT[0]), job(2, script=SCRIPT[0]), job(3, script=other[0])],
        )
    )
    store.commit(Batch(upserts=[job(1, live=0, end_ms=100, script=SCRIPT[0], environment=ENVIRONMENT[0])]))
    store.commit(Batch(deletes=[("job", 3)], upserts=[job(4, script=SCRIPT[0])]))
    assert store.prune_history(100, 10) == 0
    assert [has_blob(store, blob) for blob in (SCRIPT, ENVIRONMENT, other)] == [True, True, False]
    assert store.prune_history(101, 10) == 1
    assert [has_blob(store, blob) for blob in (SCRIPT, ENVIRONMENT)] == [True, False]
    store.commit(Batch(upserts=[job(2, script=None)]))
    store.prune_history(0, 10)
    assert has_blob(store, SCRIPT)
    store.commit(Batch(upserts=[job(4, script=None)]))
    store.prune_history(0, 10)
    assert not has_blob(store, SCRIPT)
    store.commit(Batch(blobs=[SCRIPT], upserts=[job(5, script=SCRIPT[0])]))
    assert has_blob(store, SCRIPT)


def test_a_blob_lives_while_a_step_row_names_it(store):
    launch = launch_blob(b"srun train")
    running = step(1, 0, launch=launch[0], environment=ENVIRONMENT[0])
    store.commit(Batch(blobs=[launch, ENVIRONMENT], upserts=[running, step(1, 1, environment=ENVIRONMENT[0])]))
    store.commit(Batch(upserts=[running]))
    store.prune_history(0, 10)
    assert [has_blob(store, blob) for blob in (launch, ENVIRONMENT)] == [True, True]
    store.commit(Batch(upserts=[step(1, 0)]))
    store.prune_history(0, 10)
    assert [has_blob(store, blob) for blob in (launch, ENVIRONMENT)] == [False, True]
    store.commit(Batch(deletes=[("step", step_key(1, 0, 1))]))
    store.prune_history(0, 10)
    assert not has_blob(store, ENVIRONMENT)


def test_a_step_row_that_names_an_unknown_blob_is_refused(store):
    with pytest.raises(StoreFailed, match="a step row names a blob that is not stored"):
        store.commit(Batch(upserts=[step(1, 0, launch=SCRIPT[0])]))


def test_oversized_blobs_are_refused_by_name():
    with pytest.raises(BlobTooLarge, match="batch script has 4194305 bytes; at most 4194304"):
        script_blob(bytes(base.SCRIPT_MAX_BYTES + 1))
    with pytest.raises(BlobTooLarge, match="job environment"):
        environment_blob(bytes(base.ENVIRONMENT_MAX_BYTES + 1))
    assert len(script_blob(bytes(base.SCRIPT_MAX_BYTES))[0]) == base.DIGEST_BYTES


# -- accounting -------------------------------------------------------------------------------------------------------------------------


def test_history_leaves_the_live_rows_but_not_the_accounts(store):
    store.commit(Batch(upserts=[job(1), job(2), step(1, "batch"), step(2, "batch")]))
    store.commit(Batch(upserts=[job(1, b"done", live=0, end_ms=9, state="COMPLETED"), step(1, "batch", live=0)]))
    assert rows(store, "job") == [(2, b"job 2")]
    assert [key for key, _ in rows(store, "step")] == ["2.0.batch"]
    assert found(store) == ["done", "job 2"]
    assert list(store.query_steps([1])) == [b"1.0.batch"]


def test_a_requeued_job_keeps_one_record_per_run(store):
    store.commit(Batch(upserts=[job(1, b"first"), step(1, "batch")]))
    store.commit(
        Batch(
            upserts=[
                job(1, b"second", run=1),
                job(1, b"first ended", key=run_key(1, 0), run=0, live=0, end_ms=5, state="NODE_FAIL"),
                step(1, "batch", live=0),
                step(1, "batch", run=1),
            ]
        )
    )
    assert rows(store, "job") == [(1, b"second")]
    assert found(store) == ["second"]
    assert found(store, earlier_runs=True) == ["first ended", "second"]
    assert found(store, states=("NODE_FAIL",)) == []
    assert found(store, states=("NODE_FAIL",), earlier_runs=True) == ["first ended"]
    assert list(store.query_steps([1])) == [b"1.0.batch", b"1.1.batch"]
    assert store.prune_history(6, 10) == 1
    assert found(store, earlier_runs=True) == ["second"]
    assert list(store.query_steps([1])) == [b"1.1.batch"]


def test_jobs_are_found_by_id_array_and_task(store):
    store.commit(
        Batch(
            upserts=[
                job(10, b"rest of 10", array_job_id=10),
                job(11, b"10_1", array_job_id=10, array_task_id=1),
                job(12, b"10_2", array_job_id=10, array_task_id=2),
                job(13, b"plain"),
            ]
        )
    )
    assert index(13).array_task_id == UNSTARTED_TASKS
    assert found(store, ids=(10,)) == ["rest of 10", "10_1", "10_2"]
    assert found(store, ids=(12, 13)) == ["10_2", "plain"]
    assert found(store, tasks=((10, 2),)) == ["rest of 10", "10_2"]
    assert found(store, tasks=((10, 1), (10, 2), (11, 1))) == ["rest of 10", "10_1", "10_2"]
    assert found(store, tasks=((10, 1),), ids=(13,)) == ["rest of 10", "10_1", "plain"]
    assert found(store, ids=(99,)) == []


def test_jobs_are_found_by_who_and_what_also_by_names_that_are_no_utf8(store):
    store.commit(
        Batch(
            upserts=[
                job(1, uid=1, name="x\udcff"),
                job(2, uid=2, name="é", account="b"),
                job(3, uid=2, partition="q"),
                job(4, uid=3, name="x\\xff"),
            ]
        )
    )
    assert found(store, uids=(2, 3)) == ["job 2", "job 3", "job 4"]
    assert found(store, names=("x\udcff", "é")) == ["job 1", "job 2"]
    assert found(store, uids=(2,), partitions=("q",)) == ["job 3"]
    assert found(store, accounts=("b",)) == ["job 2"]


def test_the_window_means_for_each_state_what_users_mean(store):
    """One job waits 100-200 and runs 200-300; one was cancelled while waiting at 150; one waits since 120; one runs since 130."""
    store.commit(
        Batch(
            upserts=[
                job(1, b"ran", submit_ms=100, start_ms=200, end_ms=300, live=0, state="COMPLETED"),
                job(2, b"cancelled", submit_ms=110, end_ms=150, live=0, state="CANCELLED"),
                job(3, b"waiting", submit_ms=120, state="PENDING"),
                job(4, b"running", submit_ms=125, start_ms=130, state="RUNNING"),
            ]
        )
    )

    def at(from_ms, until_ms, *states):
        return found(store, from_ms=from_ms, until_ms=until_ms, states=states)

    assert at(0, 99) == []
    assert at(0, 100) == ["ran"]
    assert at(151, 151) == ["ran", "waiting", "running"]
    assert at(301, None) == ["waiting", "running"]
    assert at(140, 145, "PENDING") == ["ran", "cancelled", "waiting"]
    assert at(201, None, "PENDING") == ["waiting"]
    assert at(250, 260, "RUNNING") == ["ran", "running"]
    assert at(100, 130, "RUNNING") == ["running"]
    assert at(100, 129, "RUNNING") == []
    assert at(300, 400, "RUNNING") == ["ran", "running"]
    assert at(131, 199, "RUNNING") == ["running"]
    assert at(None, 149, "CANCELLED") == []
    assert at(150, 150, "CANCELLED", "COMPLETED") == ["cancelled"]
    assert at(250, None, "CANCELLED", "COMPLETED", "RUNNING") == ["ran", "running"]
    assert at(None, None, "COMPLETED") == ["ran"]


def test_a_query_is_bounded(store, monkeypatch):
    with pytest.raises(QueryTooLarge, match="10001 terms"):
        list(store.query_jobs(JobQuery(ids=tuple(range(10_001)))))
    with pytest.raises(QueryTooLarge, match="10001 jobs"):
        list(store.query_steps(range(10_001)))
    store.commit(Batch(upserts=[job(key) for key in range(1, 12)]))
    assert len(found(store, ids=tuple(range(10_000)))) == 11
    assert found(store, tasks=tuple((key, 1) for key in range(10_000))) == []
    assert found(store, states=tuple(map(str, range(10_000))), from_ms=1) == []
    for module in ("memory", "sqlite_read"):
        monkeypatch.setattr(f"penstock.store.{module}.QUERY_ROWS_MAX", 10)
    with pytest.raises(QueryTooLarge, match="more than 10 jobs"):
        found(store)
    assert len(found(store, ids=tuple(range(11)))) == 10


def test_a_slow_reader_sees_every_match_while_others_commit(store):
    store.commit(Batch(upserts=[job(key) for key in range(1, 1001)]))
    reader = store.query_jobs(JobQuery())
    assert next(reader) == b"job 1"
    store.commit(Batch(upserts=[job(key) for key in range(1001, 1101)]))
    assert sum(1 for _ in reader) == 999


def test_history_is_pruned_oldest_first_and_within_a_bound(store):
    ended = [job(key, live=0, end_ms=1000 - key, state="COMPLETED") for key in range(1, 21)]
    store.commit(Batch(upserts=[*ended, job(50), *(step(key, name) for key in (1, 20) for name in ("batch", 0))]))
    assert store.prune_history(1000, 5) == 5
    assert found(store) == [f"job {key}" for key in [*range(1, 16), 50]]
    assert list(store.query_steps([1, 20])) == [b"1.0.batch", b"1.0.0"]
    assert store.prune_history(1000, 100) == 15
    assert found(store) == ["job 50"]


def test_the_reserve_is_given_and_taken_back(store):
    assert not store.low_water()
    assert store.release_reserve()
    assert not store.release_reserve()
    assert store.low_water()
    store.commit(Batch(events=[(1, b"an ending")]))
    assert store.restore_reserve()
    assert store.restore_reserve()
    assert not store.low_water()
