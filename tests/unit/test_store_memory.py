"""What only the in-memory twin can do: crashes at a chosen moment."""

from __future__ import annotations

import pytest

from penstock.store.base import Batch, StoreError, StoreFailed, StoreFull
from penstock.store.memory import MemoryDisk, MemoryStore


def batch(seq):
    return Batch(events=[(seq, b"%d" % seq)], upserts=[("node", 0, b"%d" % seq, None)])


def picture(store):
    with store.load() as loaded:
        return loaded.seq, list(loaded.rows("node"))


def test_what_was_committed_survives_a_crash():
    store = MemoryStore()
    store.commit(batch(1))
    assert picture(store.crash()) == (1, [(0, b"1")])


@pytest.mark.parametrize(("keep", "seq"), [(False, 1), (True, 2)])
def test_a_batch_in_flight_is_lost_or_kept_as_the_crash_says_and_never_in_part(keep, seq):
    store = MemoryStore()
    store.commit(batch(1))
    store.begin(batch(2))
    assert picture(store) == (1, [(0, b"1")])
    store = store.crash(keep_in_flight=keep)
    assert picture(store) == (seq, [(0, b"%d" % seq)])
    assert store.feed(0, 10) == [(number, b"%d" % number) for number in range(1, seq + 1)]
    store.commit(batch(seq + 1))


def test_a_finished_batch_is_durable():
    store = MemoryStore()
    store.begin(batch(1))
    store.finish()
    assert picture(store.crash()) == (1, [(0, b"1")])
    with pytest.raises(StoreError):
        store.finish()


def test_there_is_one_batch_in_flight():
    store = MemoryStore()
    store.begin(batch(1))
    with pytest.raises(StoreFailed, match="in flight already"):
        store.begin(batch(2))


def test_a_crashed_process_cannot_write_any_more():
    zombie = MemoryStore()
    zombie.begin(batch(1))
    heir = zombie.crash()
    for use in (lambda: zombie.commit(batch(1)), zombie.finish, zombie.crash, zombie.load, lambda: list(zombie.query_steps([]))):
        with pytest.raises(StoreError, match="crashed"):
            use()
    zombie.close()
    heir.commit(batch(1))
    assert picture(heir) == (1, [(0, b"1")])


def test_a_full_disk_counts_its_bytes():
    disk = MemoryDisk(free_bytes=30, reserve_bytes=10, low_water_bytes=5)
    store = MemoryStore(disk)
    assert disk.free_bytes == 20
    store.commit(Batch(events=[(1, b"x" * 16)]))
    assert store.low_water()
    with pytest.raises(StoreFull):
        store.commit(Batch(events=[(2, b"x" * 5)]))
    store.release_reserve()
    store = store.crash()
    store.commit(Batch(events=[(2, b"x" * 5)]))
    assert (disk.free_bytes, store.low_water()) == (9, True)
