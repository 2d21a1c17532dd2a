"""Random batches against a model that is nothing but dictionaries; random accounting queries asked of both stores."""

from __future__ import annotations

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.store.base import Batch, JobIndex, JobQuery, StepIndex
from penstock.store.blobs import environment_blob, script_blob
from penstock.store.memory import MemoryDisk, MemoryStore
from penstock.store.query import key_of, key_order, matches, sql_key
from penstock.store.sqlite import SqliteStore

BLOBS = [script_blob(b"script %d" % number) for number in range(3)] + [environment_blob(b"A=%d" % number) for number in range(3)]
KEYS = st.one_of(st.integers(1, 6), st.sampled_from(["1", "a", "é", "x\udcff", ""]))
TIMES = st.integers(0, 3)
NAMES = st.sampled_from(["a", "b", "ü", "\udc80"])
STATES = st.sampled_from(["PENDING", "RUNNING", "COMPLETED", "FAILED"])
DIGESTS = st.sampled_from([None, *(digest for digest, _ in BLOBS)])
INDICES = st.builds(
    JobIndex,
    id=st.integers(1, 5),
    array_job_id=st.integers(0, 3),
    uid=st.integers(0, 2),
    submit_ms=TIMES,
    start_ms=TIMES,
    end_ms=TIMES,
    live=st.integers(0, 1),
    name=NAMES,
    account=NAMES,
    partition=NAMES,
    state=STATES,
    run=st.integers(0, 2),
    array_task_id=st.integers(-1, 2),
    script=DIGESTS,
    environment=DIGESTS,
)
ROWS = st.binary(max_size=20)
STEP_INDICES = st.builds(StepIndex, st.integers(1, 5), st.integers(0, 2), st.integers(0, 1), DIGESTS, DIGESTS)
UPSERTS = st.one_of(
    st.tuples(st.just("job"), KEYS, ROWS, INDICES),
    st.tuples(st.just("step"), KEYS, ROWS, STEP_INDICES),
    st.tuples(st.sampled_from(["node", "effect"]), KEYS, ROWS, st.none()),
)
DELETES = st.tuples(st.sampled_from(["job", "step", "node", "effect"]), KEYS)
BATCHES = st.lists(
    st.tuples(st.lists(ROWS, max_size=3), st.lists(UPSERTS, max_size=80), st.lists(DELETES, max_size=3), st.booleans(), st.integers(0, 8)),
    max_size=6,
)
SOME = {"max_size": 1}
QUERIES = st.builds(
    JobQuery,
    ids=st.lists(st.integers(0, 5), **SOME).map(tuple),
    tasks=st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), **SOME).map(tuple),
    uids=st.lists(st.integers(0, 2), **SOME).map(tuple),
    names=st.lists(NAMES, **SOME).map(tuple),
    accounts=st.lists(NAMES, **SOME).map(tuple),
    partitions=st.lists(NAMES, **SOME).map(tuple),
    states=st.lists(STATES, **SOME).map(tuple),
    from_ms=st.none() | TIMES,
    until_ms=st.none() | TIMES,
    earlier_runs=st.booleans(),
)


class Model:
    def __init__(self):
        self.rows = {}
        self.events = []

    def apply(self, batch):
        for kind, key, row, index in batch.upserts:
            self.rows[kind, key] = (row, index)
        for name in batch.deletes:
            self.rows.pop(name, None)
        self.events += batch.events

    def prune(self, ended_before_ms):
        gone = {
            name: (index.id, index.run)
            for name, (_, index) in self.rows.items()
            if name[0] == "job" and not index.live and 0 < index.end_ms < ended_before_ms
        }
        for name, (_, index) in list(self.rows.items()):
            if name in gone or (name[0] == "step" and (index.job_id, index.run) in gone.values()):
                del self.rows[name]
        return len(gone)

    def live(self):
        found = {}
        for (kind, key), (row, index) in self.rows.items():
            if index is None or index.live:
                found.setdefault(kind, []).append((key, row))
        return {kind: sorted(rows, key=lambda item: key_order(item[0])) for kind, rows in found.items()}

    def blobs(self):
        named = [
            (index.script if kind == "job" else index.launch, index.environment) for (kind, _), (_, index) in self.rows.items() if index
        ]
        return {digest for digests in named for digest in digests}

    def jobs(self, query):
        jobs = [(row, index) for (kind, _), (row, index) in self.rows.items() if kind == "job"]
        return sorted(
            row
            for row, index in jobs
            if matches(query, index)
            and (query.earlier_runs or not any(other.id == index.id and other.run > index.run for _, other in jobs))
        )


def picture(store):
    with store.load() as loaded:
        return loaded.seq, {kind: list(loaded.rows(kind)) for kind in loaded.kinds}


@settings(max_examples=40, deadline=None)
@given(batches=BATCHES, queries=st.lists(QUERIES, min_size=5, max_size=30), reopen=st.booleans())
def test_both_stores_hold_what_the_model_holds(batches, queries, reopen):
    with tempfile.TemporaryDirectory() as directory:
        disk = MemoryDisk()

        def open_both():
            return [MemoryStore(disk), SqliteStore(directory, reserve_bytes=4096, low_water_bytes=0)]

        model, stores = Model(), open_both()
        for rows, upserts, deletes, prune, prune_before in batches:
            seq = len(model.events)
            batch = Batch(events=list(enumerate(rows, seq + 1)), upserts=upserts, deletes=deletes, blobs=BLOBS)
            model.apply(batch)
            for store in stores:
                store.commit(batch)
            if prune:
                pruned = model.prune(prune_before)
                assert [store.prune_history(prune_before, 1000) for store in stores] == [pruned, pruned]
            if reopen:
                for store in stores:
                    store.close()
                stores = open_both()
        for store in stores:
            assert picture(store) == (len(model.events), model.live())
            assert store.feed(0, 10_000) == model.events
            for digest in model.blobs() - {None}:
                assert store.get_blob(digest) == dict(BLOBS)[digest]
        memory, database = stores
        assert list(memory.query_steps(range(6))) == list(database.query_steps(range(6)))
        for query in queries:
            found = [list(store.query_jobs(query)) for store in stores]
            assert found[0] == found[1]
            assert sorted(found[0]) == model.jobs(query)
        for store in stores:
            store.close()


@given(st.one_of(st.integers(), st.text(st.characters())))
def test_a_key_comes_back_as_it_went_in(key):
    assert key_of(sql_key(key)) == key


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(), max_size=3))))
def test_keys_have_one_order(keys):
    ordered = sorted(keys, key=key_order)
    assert [key for key in ordered if isinstance(key, int)] == sorted(key for key in keys if isinstance(key, int))
    assert ordered == [*(key for key in ordered if isinstance(key, int)), *(key for key in ordered if isinstance(key, str))]
