"""A full disk: submissions are warned off early, endings go into the reserve, nothing acknowledged is lost.

Once on a real small filesystem (needs the right to mount), once with a file size limit, which any user may set.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from penstock.store.base import Batch, StoreFull
from penstock.store.memory import MemoryDisk, MemoryStore
from penstock.store.reserve import Reserve
from penstock.store.sqlite import SqliteStore

MIB = 1 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def batch(seq):
    return Batch(events=[(seq, b"e" * 10_000)], upserts=[("node", seq, b"r" * 10_000, None)])


def fill(store, seq=0):
    """Commits until the disk is full; the sequence of the last acknowledged batch, and whether low water was seen before the end."""
    warned = False
    try:
        while True:
            store.commit(batch(seq + 1))
            seq += 1
            warned = warned or store.low_water()
    except StoreFull as error:
        assert "full" in str(error)
        return seq, warned


def sequence(store):
    with store.load() as loaded:
        assert [key for key, _ in loaded.rows("node")] == list(range(1, loaded.seq + 1))
        return loaded.seq


def fill_up(path):
    """Takes every byte that is left."""
    with open(path, "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)):
                pass
        except OSError:
            pass


def life_on_a_full_disk(open_store, make_room):
    """The whole path, the same for the real disk and for the twin."""
    store = open_store()
    assert not store.low_water()
    seq, warned = fill(store)
    assert warned
    assert seq >= 10
    for _ in range(3):
        with pytest.raises(StoreFull):
            store.commit(batch(seq + 1))
    assert sequence(store) == seq
    assert store.release_reserve()
    for ending in range(seq + 1, seq + 11):
        store.commit(batch(ending))
    assert store.low_water()
    assert not store.restore_reserve()
    seq, _ = fill(store, seq + 10)
    store.close()
    make_room()
    store = open_store()
    assert sequence(store) == seq
    assert store.restore_reserve()
    assert not store.low_water()
    store.commit(batch(seq + 1))
    store.close()


def test_life_on_a_full_disk(small_disk):
    (small_disk / "ballast").write_bytes(bytes(3 * MIB))
    life_on_a_full_disk(
        lambda: SqliteStore(str(small_disk / "cluster"), reserve_bytes=MIB, low_water_bytes=MIB),
        (small_disk / "ballast").unlink,
    )


def test_life_on_the_twins_full_disk():
    disk = MemoryDisk(free_bytes=4 * MIB, reserve_bytes=MIB, low_water_bytes=MIB)

    def make_room():
        disk.free_bytes += 4 * MIB

    life_on_a_full_disk(lambda: MemoryStore(disk), make_room)


def test_a_store_opens_on_a_full_disk_by_its_reserve_and_takes_endings(small_disk):
    store = SqliteStore(str(small_disk), reserve_bytes=MIB, low_water_bytes=MIB)
    for seq in range(1, 20):
        store.commit(batch(seq))
    store.close()
    fill_up(small_disk / "ballast")
    store = SqliteStore(str(small_disk), reserve_bytes=MIB, low_water_bytes=MIB)
    assert sequence(store) == 19
    assert store.low_water()
    store.release_reserve()
    store.commit(batch(20))
    store.close()
    (small_disk / "ballast").unlink()
    store = SqliteStore(str(small_disk), reserve_bytes=MIB, low_water_bytes=MIB)
    assert sequence(store) == 20
    assert not store.low_water()
    store.close()


def test_a_new_store_on_a_full_disk_is_refused_with_a_clear_error(small_disk):
    fill_up(small_disk / "ballast")
    with pytest.raises(StoreFull, match="state"):
        SqliteStore(str(small_disk), reserve_bytes=MIB, low_water_bytes=MIB)


def test_a_reserve_that_does_not_fit_above_the_mark_is_not_taken(small_disk):
    reserve = Reserve(str(small_disk / "reserve"), 6 * MIB, 3 * MIB)
    assert not reserve.restore()
    assert reserve.low_water()
    assert os.listdir(small_disk) == []
    reserve.low_water_bytes = MIB
    assert reserve.restore()
    assert reserve.low_water() is False
    assert Reserve(str(small_disk / "reserve"), 6 * MIB, MIB).held
    assert os.stat(small_disk / "reserve").st_blocks * 512 >= 6 * MIB


LIMITED = """
import resource, sys
sys.path[:0] = sys.argv[2:]
from test_store_full_disk import MIB, batch, fill
from penstock.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1], reserve_bytes=4096, low_water_bytes=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, resource.RLIM_INFINITY))
acknowledged, _ = fill(store)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.commit(batch(acknowledged + 1))
print(acknowledged)
"""


def test_a_write_over_a_file_size_limit_is_a_full_disk_not_a_broken_one(tmp_path):
    """EFBIG, as a quota's EDQUOT, reaches SQLite as an I/O error."""
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path, os.path.dirname(__file__)], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    store = SqliteStore(str(tmp_path), reserve_bytes=4096, low_water_bytes=0)
    assert sequence(store) == int(done.stdout) + 1 > 10
    store.close()
