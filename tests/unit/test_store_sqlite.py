"""What is particular to the SQLite store: files, versions, damage, crashes. The shared promises are in test_store_conformance."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import apsw
import pytest

from penstock.store import sqlite_file
from penstock.store.base import (
    Batch,
    JobIndex,
    JobQuery,
    StoreBusy,
    StoreCorrupt,
    StoreFailed,
    StoreForeign,
    StoreNewer,
)
from penstock.store.blobs import script_blob
from penstock.store.schema import Migration, migrations
from penstock.store.sqlite import SqliteStore


def open_store(directory, **options):
    return SqliteStore(str(directory), **{"reserve_bytes": 4096, "low_water_bytes": 0, **options})


def picture(store):
    with store.load() as loaded:
        return loaded.seq, {kind: list(loaded.rows(kind)) for kind in loaded.kinds}


def edit(directory, *statements):
    """Somebody changes the file behind the store's back."""
    connection = apsw.Connection(os.path.join(directory, "state.db"))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def job(key, **fields):
    base = JobIndex(key, 0, 1000, key, 0, 0, 1, "j", "a", "p", "PENDING")
    return ("job", key, b"job %d" % key, base._replace(**fields))


# -- files ------------------------------------------------------------------------------------------------------------------------------


def test_everything_is_readable_by_the_owner_only_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        store = open_store(tmp_path / "a" / "cluster")
        store.commit(Batch(upserts=[("node", 1, b"", None)]))
        modes = {name: os.stat(tmp_path / "a" / "cluster" / name).st_mode & 0o777 for name in os.listdir(tmp_path / "a" / "cluster")}
        store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["state.db", "state.db-wal", "state.db-shm", "state.lock", "state.reserve"], 0o600)
    assert os.stat(tmp_path / "a" / "cluster").st_mode & 0o777 == 0o700


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    open_store(tmp_path).close()
    os.chmod(tmp_path / "state.db", 0o644)
    open_store(tmp_path).close()
    assert os.stat(tmp_path / "state.db").st_mode & 0o777 == 0o600


def test_every_commit_is_synchronised_before_it_returns(tmp_path):
    store = open_store(tmp_path)
    assert store._connection.pragma("synchronous") == 2  # FULL
    assert store._connection.pragma("journal_mode") == "wal"
    store.close()


def test_another_process_is_refused_by_pid_until_this_one_closes(tmp_path):
    code = (
        "import sys\nfrom penstock.store.sqlite import SqliteStore\nfrom penstock.store.base import StoreBusy\n"
        "try: SqliteStore(sys.argv[1]).close()\nexcept StoreBusy as error: print(error)\n"
    )
    store = open_store(tmp_path)
    held = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    store.close()
    free = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert f"in use by another process (pid {os.getpid()})" in held.stdout
    assert free.stdout == ""


def test_a_failed_opening_lets_go_of_the_lock(tmp_path):
    (tmp_path / "state.db").write_bytes(b"x" * 5000)
    for _ in range(2):
        with pytest.raises(StoreCorrupt):
            open_store(tmp_path)
    os.unlink(tmp_path / "state.db")
    open_store(tmp_path).close()


# -- versions ---------------------------------------------------------------------------------------------------------------------------

NOW = len(migrations())
NEXT = Migration(NOW + 1, "9999_test.sql", "ALTER TABLE job ADD COLUMN extra INTEGER; UPDATE job SET extra = id * 2;")


def test_an_older_store_is_brought_up_to_date_with_its_rows(tmp_path):
    store = open_store(tmp_path)
    store.commit(Batch(events=[(1, b"e")], upserts=[job(21)]))
    store.close()
    store = open_store(tmp_path, known=[*migrations(), NEXT])
    assert store.schema_version == NOW + 1
    assert store._connection.execute("SELECT id, extra FROM job").fetchall() == [(21, 42)]
    assert picture(store) == (1, {"job": [(21, b"job 21")]})
    store.close()


def test_a_newer_store_is_refused_and_left_alone(tmp_path):
    open_store(tmp_path, known=[*migrations(), NEXT]).close()
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StoreNewer, match=rf"state\.db has schema version {NOW + 1}, this program knows up to {NOW}"):
        open_store(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == before


def test_a_migration_that_fails_leaves_the_version_before(tmp_path):
    open_store(tmp_path).close()
    bad = Migration(NOW + 1, "9999_bad.sql", "CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1);")
    with pytest.raises(StoreFailed, match="nowhere"):
        open_store(tmp_path, known=[*migrations(), bad])
    store = open_store(tmp_path)
    assert store.schema_version == NOW
    assert store._connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").get == 0
    store.close()


def test_feed_entries_of_a_newer_encoding_are_refused(tmp_path):
    store = open_store(tmp_path)
    store.commit(Batch(events=[(1, b"e"), (2, b"e")]))
    store.close()
    edit(tmp_path, "UPDATE feed SET version = 99 WHERE seq = 2")
    store = open_store(tmp_path)
    assert store.feed(0, 1) == [(1, b"e")]
    with pytest.raises(StoreNewer, match="version 99 at sequence 2"):
        store.feed(0, 2)
    with pytest.raises(StoreNewer, match="version 99"):
        store.load()
    store.close()


def test_a_start_that_died_before_its_first_migration_is_a_new_store(tmp_path):
    edit(tmp_path, "PRAGMA journal_mode = wal")
    assert os.path.getsize(tmp_path / "state.db") > 0
    store = open_store(tmp_path)
    assert picture(store) == (0, {})
    store.close()


# -- foreign and damaged files ------------------------------------------------------------------------------------------------------------


def test_another_programs_database_is_refused_and_left_alone(tmp_path):
    edit(tmp_path, "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StoreForeign, match="belongs to another program"):
        open_store(tmp_path)
    edit(tmp_path, "PRAGMA application_id = 7")
    with pytest.raises(StoreForeign, match="application id 0x7"):
        open_store(tmp_path)
    edit(tmp_path, "PRAGMA application_id = 0")
    assert len((tmp_path / "state.db").read_bytes()) == len(before)


@pytest.mark.parametrize("content", [b"x", b"#!/bin/sh\n" * 1000, b"\0" * 8192], ids=["short", "text", "zeros"])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path, content):
    (tmp_path / "state.db").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="no penstock store"):
        open_store(tmp_path)
    assert (tmp_path / "state.db").read_bytes() == content


def test_a_damaged_page_is_an_error_that_names_the_way_out(tmp_path):
    store = open_store(tmp_path)
    store.commit(Batch(events=[(1, b"")], upserts=[("node", key, b"x" * 500, None) for key in range(1000)]))
    store.close()
    with open(tmp_path / "state.db", "r+b") as file:
        for page in range(40, 110):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    store = open_store(tmp_path)
    with pytest.raises(StoreCorrupt, match=r"damaged .* restore it from a backup"):
        picture(store)
    store.close()


def test_a_damaged_script_is_never_given_out(tmp_path):
    script = script_blob(b"rm -rf $SCRATCH/old")
    store = open_store(tmp_path)
    store.commit(Batch(blobs=[script], upserts=[job(1, script=script[0])]))
    store.close()
    edit(tmp_path, "UPDATE blob_content SET content = CAST('rm -rf $SCRATCH/' AS BLOB)")
    store = open_store(tmp_path)
    with pytest.raises(StoreCorrupt, match=script[0].hex()):
        store.get_blob(script[0])
    store.close()


def test_a_foreign_lock_makes_the_commit_fail_after_the_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_MS", 10)
    store = open_store(tmp_path)
    shell = apsw.Connection(str(tmp_path / "state.db"))
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailed, match="BusyError"):
        store.commit(Batch(upserts=[("node", 1, b"", None)]))
    shell.close()
    store.close()


# -- threads ----------------------------------------------------------------------------------------------------------------------------


def test_other_threads_read_whole_batches_while_one_commits(tmp_path):
    """Each batch sets all nodes to its number, so a reader that saw half a batch would see two numbers."""
    store = open_store(tmp_path)
    script = script_blob(b"true")
    store.commit(
        Batch(events=[(1, b"")], blobs=[script], upserts=[job(1, script=script[0]), *(("node", n, b"1", None) for n in range(50))])
    )
    wrong, done = [], threading.Event()

    def read():
        try:
            while True:
                last = done.is_set()
                seq, kinds = picture(store)
                if {row for _, row in kinds["node"]} != {b"%d" % seq}:
                    wrong.append((seq, kinds["node"]))
                store.feed(seq - 1, 10)
                if store.get_blob(script[0]) != b"true" or list(store.query_jobs(JobQuery())) != [b"job 1"]:
                    wrong.append(seq)
                if last:
                    return
        except BaseException as error:
            wrong.append(error)
            raise

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for seq in range(2, 150):
        store.commit(Batch(events=[(seq, b"")], upserts=[("node", n, b"%d" % seq, None) for n in range(50)]))
    done.set()
    for reader in readers:
        reader.join()
    store.close()
    assert wrong == []


# -- crashes ------------------------------------------------------------------------------------------------------------------------------

NODES = 40


def numbered_batch(number):
    """Batch n: three events, forty rows that all say n, one row of its own."""
    upserts = [("node", node, b"%d" % number, None) for node in range(NODES)] + [job(number)]
    return Batch(
        events=[(3 * number - back, b"%d" % number) for back in (2, 1, 0)], upserts=upserts, requests=[(b"%d" % number, 0, b"ok", number)]
    )


def whole_batches(store):
    """How many numbered batches the store holds; fails if one of them is there in part, or one is missing."""
    seq, kinds = picture(store)
    number, rest = divmod(seq, 3)
    assert rest == 0
    assert [event for _, event in store.feed(0, 10_000)] == [b"%d" % n for n in range(1, number + 1) for _ in range(3)]
    if number:
        assert kinds["node"] == [(node, b"%d" % number) for node in range(NODES)]
        assert kinds["job"] == [(n, b"job %d" % n) for n in range(1, number + 1)]
    assert [store.find_request(b"%d" % n, 0) for n in range(1, number + 3)] == [b"ok"] * number + [None, None]
    return number


WRITER = """
import os, sys
sys.path[:0] = sys.argv[2:]
from test_store_sqlite import numbered_batch, open_store
store = open_store(sys.argv[1])
number = store.load().seq // 3
while True:
    number += 1
    store.commit(numbered_batch(number))
    os.write(1, b"%d\\n" % number)
"""


def test_twenty_sigkills_in_the_middle_of_committing_lose_and_split_nothing(tmp_path):
    acknowledged, unheard = 0, 0
    for kill in range(20):
        here = os.path.dirname(__file__)
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, here], stdout=subprocess.PIPE) as writer:
            for _ in range(1 + kill * 2):
                acknowledged = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                acknowledged = int(line)
        assert writer.returncode == -signal.SIGKILL
        store = open_store(tmp_path)
        found = whole_batches(store)
        store.close()
        assert found in (acknowledged, acknowledged + 1)  # the one that was durable before it could be told
        unheard += found - acknowledged
    assert acknowledged >= 20 * 20


def test_a_log_torn_or_damaged_at_any_byte_leaves_whole_batches(tmp_path):
    """What a power cut can do to the end of the file: every commit that was synchronised before the tear stays."""
    store = open_store(tmp_path / "live")
    store.commit(numbered_batch(1))
    ends = {1: os.path.getsize(tmp_path / "live" / "state.db-wal")}
    for number in range(2, 9):
        store.commit(numbered_batch(number))
        ends[number] = os.path.getsize(tmp_path / "live" / "state.db-wal")
    whole_log = (tmp_path / "live" / "state.db-wal").read_bytes()
    for place, at in enumerate(end + shift for end in ends.values() for shift in (-4097, -1, 0, 1)):
        damaged = whole_log[: at - 1] + bytes(byte ^ 0xFF for byte in whole_log[at - 1 : at]) + whole_log[at:]
        for name, log, kept_bytes in (("torn", whole_log[:at], at), ("damaged", damaged, min(at, len(whole_log) + 1) - 1)):
            copy = tmp_path / f"{name}{place}"
            copy.mkdir()
            shutil.copyfile(tmp_path / "live" / "state.db", copy / "state.db")
            (copy / "state.db-wal").write_bytes(log)
            reopened = open_store(copy)
            assert whole_batches(reopened) == max((number for number, end in ends.items() if end <= kept_bytes), default=0)
            reopened.close()
    store.close()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        "import os, sys\nfrom penstock.store.sqlite import SqliteStore\n"
        "store = SqliteStore(sys.argv[1])\nos.write(1, b'.')\nos.read(0, 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as holder:
        assert holder.stdout.read(1) == b"."
        with pytest.raises(StoreBusy, match=f"pid {holder.pid}"):
            open_store(tmp_path)
        holder.kill()
    open_store(tmp_path).close()
