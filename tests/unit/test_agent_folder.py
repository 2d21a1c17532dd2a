"""The job's folder: one owner, an end that stays, and what others can read of it."""

from __future__ import annotations

import os

import pytest

from penstock.agent import folder
from penstock.agent.folder import Begin, Berth
from penstock.wire.messages import ExitRecord

KEY = (7, 1)
END = ExitRecord(wait_status=3 << 8, end_ms=5, detail="x" * 5000)


@pytest.fixture
def node_dir(tmp_path):
    folder.prepare(str(tmp_path))
    return str(tmp_path)


def begin(berth: Berth) -> None:
    berth.begin(Begin(*KEY, 0, os.getpid(), "boot", 1, "marker"))


def test_a_run_is_claimed_once(node_dir):
    first, second = Berth(node_dir), Berth(node_dir)
    assert first.claim(KEY) and not second.claim(KEY)
    assert folder.scan(node_dir) == [KEY]
    assert folder.look(node_dir, KEY).locked


def test_an_end_outlives_its_shepherd_and_a_lost_link(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    begin(berth)
    berth.end(END)
    os.close(berth._record)  # the shepherd is dead
    os.unlink(f"{node_dir}/jobs/7.1")  # and a power cut took the link
    assert folder.scan(node_dir) == [KEY]
    found = folder.look(node_dir, KEY)
    assert found.end.wait_status == 3 << 8 and len(found.end.detail) == folder.MAX_DETAIL_BYTES
    found.close()
    folder.forget(node_dir, KEY)
    assert folder.look(node_dir, KEY) is None and os.listdir(f"{node_dir}/berths") == []


def test_a_torn_end_is_no_end(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    begin(berth)
    berth.end(END)
    os.pwrite(berth._record, b"?", folder.BLOCK_BYTES + 20)
    os.close(berth._record)
    found = folder.look(node_dir, KEY)
    assert found.end is None and found.begin.start_ms == 1
    found.close()


def test_the_end_of_an_earlier_run_in_the_same_berth_is_not_taken_for_this_one(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    begin(berth)
    berth.end(END)
    berth.release()
    berth.claim((8, 0))
    os.close(berth._record)
    found = folder.look(node_dir, (8, 0))
    assert found.end is None
    found.close()
    assert folder.look(node_dir, KEY) is None


def test_a_script_that_the_user_touched_is_written_again(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    path = berth.write_script(b"#!/bin/sh\n", os.getuid(), os.getgid())
    with open(path, "ab") as file:
        file.write(b"rm -rf /\n")
    berth.write_script(b"#!/bin/sh\n", os.getuid(), os.getgid())
    with open(path, "rb") as file:
        assert file.read() == b"#!/bin/sh\n"
    assert os.stat(path).st_mode & 0o777 == 0o700


def test_empty_berths_of_the_dead_are_swept_and_the_living_stay(node_dir):
    living, dead = Berth(node_dir), Berth(node_dir)
    os.close(dead._record)
    folder.sweep_berths(node_dir)
    assert os.listdir(f"{node_dir}/berths") == [living.name]


def test_a_long_detail_in_any_script_leaves_the_end_readable(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    begin(berth)
    berth.end(ExitRecord(wait_status=9, detail="🧊" * 3000))
    os.close(berth._record)
    found = folder.look(node_dir, KEY)
    assert found.end.wait_status == 9 and found.end.detail.startswith("🧊🧊")
    found.close()


def test_a_script_that_a_full_disk_cut_is_not_in_the_way_of_the_next(node_dir, monkeypatch):
    berth = Berth(node_dir)
    berth.claim(KEY)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space"):
            berth.write_script(b"#!/bin/sh\n", 0, 0)
    with open(berth.write_script(b"#!/bin/sh\ntrue\n", 0, 0), "rb") as file:
        assert file.read() == b"#!/bin/sh\ntrue\n"


def test_a_folder_that_cannot_be_read_does_not_stay_locked(node_dir):
    berth = Berth(node_dir)
    berth.claim(KEY)
    begin(berth)
    os.close(berth._record)
    with open(f"{berth.path}/step-0.record", "wb") as file:
        file.write(folder.pack(b"not what a record is"))
    for _ in range(2):
        with pytest.raises(ValueError, match="xpected"):
            folder.look(node_dir, KEY)
    os.unlink(f"{berth.path}/step-0.record")
    found = folder.look(node_dir, KEY)
    assert not found.locked
    found.close()
