"""A folder says which rows it holds: what cannot be read is refused by its version."""

from __future__ import annotations

import msgspec
import pytest
from engine_cluster import EngineCluster

from penstock.engine import rows
from penstock.engine.rows import FORMAT, ROWS_VERSION, load
from penstock.store.base import Batch, StoreFailed, StoreNewer


@pytest.fixture
def store():
    return EngineCluster(n0=4).store


def test_a_controller_notes_the_version_that_it_writes(store):
    assert [msgspec.msgpack.decode(row) for _, row in store.load().rows(FORMAT)] == [ROWS_VERSION]
    load(store.load())


def test_rows_of_a_newer_program_are_refused(store):
    store.commit(Batch(upserts=[(FORMAT, "", msgspec.msgpack.encode(ROWS_VERSION + 1), None)]))
    with pytest.raises(StoreNewer, match=f"rows of version {ROWS_VERSION + 1}, this program reads"):
        load(store.load())


def test_rows_that_are_too_old_are_refused(store, monkeypatch):
    monkeypatch.setattr(rows, "ROWS_OLDEST", ROWS_VERSION + 1)
    with pytest.raises(StoreFailed, match=f"rows of version {ROWS_VERSION}, this program reads {ROWS_VERSION + 1} to"):
        load(store.load())


def test_a_row_that_is_no_row_is_an_error_that_names_the_way_out(store):
    store.commit(Batch(upserts=[("node", "n9", msgspec.msgpack.encode({"name": 7}), None)]))
    with pytest.raises(StoreFailed, match=r"cannot be read .*`penstock restore`"):
        load(store.load())
