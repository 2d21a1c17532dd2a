"""Backup of a living store, and restores that never mix two clusters."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile

import msgspec
import pytest
from test_store_sqlite import job, numbered_batch, open_store, picture, whole_batches

import penstock
from penstock.config.folder import ClusterFolder
from penstock.store import backup as backups
from penstock.store.backup import backup, read_manifest, restore
from penstock.store.base import Batch, StoreBusy, StoreCorrupt, StoreError, StoreFailed, StoreNewer
from penstock.store.blobs import script_blob
from penstock.store.schema import migrations

SCRIPT = script_blob(b"#!/bin/sh\n")


@pytest.fixture
def cluster(tmp_path):
    """A cluster that is down, with two batches."""
    store = open_store(tmp_path / "cluster")
    store.commit(Batch(events=[(1, b"e")], blobs=[SCRIPT], upserts=[job(1, script=SCRIPT[0]), ("node", "n0", b"node", None)]))
    store.commit(Batch(events=[(2, b"e")], upserts=[job(2)]))
    store.close()
    return tmp_path / "cluster"


def contents(directory):
    store = open_store(directory)
    try:
        return picture(store)
    finally:
        store.close()


def files(directory):
    """What matters there: not the lock, the reserve, and what a reader's connection leaves."""
    return sorted({*os.listdir(directory)} - {"state.lock", "state.reserve", "state.db-wal", "state.db-shm"})


def test_a_restored_cluster_is_the_one_that_was_backed_up(cluster, tmp_path):
    made = backup(str(cluster), str(tmp_path / "b.tar"))
    assert (made.penstock_version, made.schema_version, made.feed_version, made.seq) == (penstock.__version__, len(migrations()), 1, 2)
    assert os.stat(tmp_path / "b.tar").st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["b.tar", "cluster"]
    assert read_manifest(str(tmp_path / "b.tar")) == made
    assert restore(str(tmp_path / "b.tar"), str(tmp_path / "new")) == made
    assert files(tmp_path / "new") == ["state.db"]
    assert os.stat(tmp_path / "new" / "state.db").st_mode & 0o777 == 0o600
    assert contents(tmp_path / "new") == contents(cluster)
    store = open_store(tmp_path / "new")
    assert store.get_blob(SCRIPT[0]) == SCRIPT[1]
    store.commit(Batch(events=[(3, b"goes on")]))
    store.close()


def test_a_backup_of_a_living_store_is_one_moment_of_it(tmp_path, monkeypatch):
    """The store commits between any two slices of the copy; the backup holds what was there when it began."""
    monkeypatch.setattr(backups, "SLICE_PAGES", 5)
    store = open_store(tmp_path / "cluster")
    store.commit(numbered_batch(1))
    store.commit(numbered_batch(2))
    number, slices = 2, []

    def commit_more(copied, total):
        nonlocal number
        number += 1
        store.commit(numbered_batch(number))
        slices.append((copied, total))

    made = backup(str(tmp_path / "cluster"), str(tmp_path / "b.tar"), commit_more)
    store.close()
    assert made.seq == 2 * 3
    assert len(slices) >= 3
    assert slices[-1][0] == slices[-1][1] > 0
    restore(str(tmp_path / "b.tar"), str(tmp_path / "new"))
    restored = open_store(tmp_path / "new")
    assert whole_batches(restored) == 2
    restored.close()


def test_a_killed_cluster_is_backed_up_with_what_is_still_in_its_log(tmp_path):
    code = (
        "import os, sys\nsys.path.insert(0, sys.argv[2])\nfrom test_store_sqlite import numbered_batch, open_store\n"
        "store = open_store(sys.argv[1])\nfor number in (1, 2, 3): store.commit(numbered_batch(number))\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "cluster", os.path.dirname(__file__)])
    assert done.returncode == -signal.SIGKILL
    assert os.path.getsize(tmp_path / "cluster" / "state.db-wal") > 0
    assert backup(str(tmp_path / "cluster"), str(tmp_path / "b.tar")).seq == 9


def test_a_backup_replaces_no_file_and_needs_a_cluster(cluster, tmp_path):
    (tmp_path / "b.tar").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        backup(str(cluster), str(tmp_path / "b.tar"))
    assert (tmp_path / "b.tar").read_text() == "precious"
    with pytest.raises(StoreError, match="holds no cluster"):
        backup(str(tmp_path), str(tmp_path / "c.tar"))
    with pytest.raises(StoreError, match="No such file"):
        backup(str(cluster), str(tmp_path / "no" / "c.tar"))


def test_a_cluster_is_replaced_only_when_told_and_then_kept_beside(cluster, tmp_path):
    backup(str(cluster), str(tmp_path / "b.tar"))
    store = open_store(cluster)
    store.commit(Batch(events=[(3, b"later")]))
    with pytest.raises(StoreBusy):
        restore(str(tmp_path / "b.tar"), str(cluster), replace=True)
    store.close()
    with pytest.raises(StoreError, match="holds a cluster already"):
        restore(str(tmp_path / "b.tar"), str(cluster))
    assert contents(cluster)[0] == 3
    restore(str(tmp_path / "b.tar"), str(cluster), replace=True)
    assert contents(cluster)[0] == 2
    assert files(cluster) == ["state.db", "state.db.replaced"]
    os.rename(cluster / "state.db.replaced", cluster / "state.db")
    assert contents(cluster)[0] == 3


def rewrite(source, target, change):
    """A copy of a backup with its members changed by `change(name, bytes) -> bytes or None`."""
    with tarfile.open(source) as old, tarfile.open(target, "w:") as new:
        for member in old:
            content = change(member.name, old.extractfile(member).read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))


def with_field(name, value):
    return lambda member, content: json.dumps({**json.loads(content), name: value}).encode() if member == "manifest.json" else content


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda name, content: content[:-1] + b"x" if name == "state.db" else content, StoreCorrupt, "is damaged"),
        (lambda name, content: content[:-1] if name == "state.db" else content, StoreCorrupt, "is damaged"),
        (lambda name, content: content + b"x" if name == "state.db" else content, StoreCorrupt, "is damaged"),
        (lambda name, content: None if name == "state.db" else content, StoreCorrupt, "has no state.db"),
        (lambda name, content: None if name == "manifest.json" else content, StoreError, "no penstock backup"),
        (lambda name, content: b"{}" if name == "manifest.json" else content, StoreError, "no penstock backup"),
        (lambda name, content: b" " * 100_000 if name == "manifest.json" else content, StoreError, "no penstock backup"),
        (with_field("format_version", 99), StoreNewer, "backup format 99"),
        (with_field("schema_version", 99), StoreNewer, "schema 99"),
        (with_field("feed_version", 99), StoreNewer, "feed 99"),
        (with_field("seq", 77), StoreCorrupt, "not what its manifest says"),
    ],
)
def test_a_backup_that_is_damaged_or_too_new_changes_nothing(cluster, tmp_path, change, error, text):
    backup(str(cluster), str(tmp_path / "b.tar"))
    rewrite(tmp_path / "b.tar", tmp_path / "bad.tar", change)
    with pytest.raises(error, match=text):
        restore(str(tmp_path / "bad.tar"), str(cluster), replace=True)
    assert files(cluster) == ["state.db"]
    assert contents(cluster)[0] == 2


@pytest.mark.parametrize("content", [b"", b"hello" * 1000])
def test_a_file_that_is_no_archive_is_refused(cluster, tmp_path, content):
    (tmp_path / "b.tar").write_bytes(content)
    for use in (lambda file: restore(file, str(cluster), replace=True), read_manifest):
        with pytest.raises(StoreError, match="no penstock backup"):
            use(str(tmp_path / "b.tar"))
    assert files(cluster) == ["state.db"]
    with pytest.raises(StoreError, match="No such file"):
        restore(str(tmp_path / "none.tar"), str(cluster), replace=True)


class PowerCutError(BaseException):
    pass


def test_a_restore_interrupted_anywhere_is_finished_by_the_next_one(cluster, tmp_path, monkeypatch):
    """The restore is cut before each of its renames, removals and creations in turn; the replaced cluster survives every time."""
    backup(str(cluster), str(tmp_path / "b.tar"))
    store = open_store(cluster)
    store.commit(Batch(events=[(3, b"later")]))
    crashed = tmp_path / "crashed"  # its last commit is only in the log
    subprocess.run(["cp", "-r", cluster, crashed], check=True)
    store.close()
    (crashed / "state.db.replaced").write_bytes(b"an older one")
    cuts = 0
    for cut_at in range(50):
        trial = tmp_path / f"trial{cut_at}"
        subprocess.run(["cp", "-r", crashed, trial], check=True)
        left = [cut_at]

        def cut(function, left=left):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] < 0:
                    raise PowerCutError
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patched:
            for name in ("rename", "unlink"):
                patched.setattr(backups.os, name, cut(getattr(os, name)))
            patched.setattr(backups, "sync_directory", cut(backups.sync_directory))
            try:
                restore(str(tmp_path / "b.tar"), str(trial), replace=True)
                finished = True
            except PowerCutError:
                finished = False
        if finished:
            break
        cuts += 1
        if os.path.exists(trial / "state.restoring"):
            with pytest.raises(StoreFailed, match="was interrupted"):
                open_store(trial)
            restore(str(tmp_path / "b.tar"), str(trial))
            assert contents(trial)[0] == 2
            for suffix in ("", "-wal"):
                os.rename(trial / f"state.db.replaced{suffix}", trial / f"state.db{suffix}")
            assert contents(trial)[0] == 3
        else:
            assert contents(trial)[0] in (2, 3)
    assert cuts >= 8


def test_the_manifest_is_the_readable_first_member(cluster, tmp_path):
    made = backup(str(cluster), str(tmp_path / "b.tar"))
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert archive.getnames() == ["manifest.json", "state.db"]
        assert json.load(archive.extractfile("manifest.json")) == msgspec.to_builtins(made)


# -- the files that configure a cluster -------------------------------------------------------------------------------------------------

CONF = b"ClusterName=b\n"


@pytest.fixture
def configured(cluster, tmp_path):
    """(a backup with two files, a folder with another slurm.conf)."""
    (tmp_path / "slurm.conf").write_bytes(CONF)
    (tmp_path / "extra.conf").write_bytes(b"")
    made = backup(
        str(cluster), str(tmp_path / "b.tar"), files={"slurm.conf": str(tmp_path / "slurm.conf"), "d/x.conf": str(tmp_path / "extra.conf")}
    )
    assert list(made.files) == ["slurm.conf", "d/x.conf"]
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "slurm.conf").write_bytes(b"ClusterName=old\n")
    return tmp_path / "b.tar", folder


def test_the_files_come_back_and_what_they_replace_is_kept(configured):
    archive, folder = configured
    restore(str(archive), str(folder / "store"), files_directory=str(folder))
    assert (folder / "slurm.conf").read_bytes() == CONF
    assert (folder / "slurm.conf.replaced").read_bytes() == b"ClusterName=old\n"
    assert (folder / "d" / "x.conf").read_bytes() == b""
    assert contents(folder / "store")[0] == 2


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda name, content: content + b"x" if name == "files/slurm.conf" else content, "slurm.conf does not have the sha256"),
        (lambda name, content: None if name == "files/slurm.conf" else content, "has no slurm.conf"),
        (with_field("files", {"../evil": "0"}), "not below the cluster's folder"),
        (with_field("files", {"/etc/evil": "0"}), "not below the cluster's folder"),
        (with_field("files", {str(number): "0" for number in range(100)}), "at most 64"),
    ],
)
def test_files_that_are_damaged_or_would_leave_the_folder_change_nothing(configured, tmp_path, change, text):
    archive, folder = configured
    rewrite(archive, tmp_path / "bad.tar", change)
    with pytest.raises(StoreCorrupt, match=text):
        restore(str(tmp_path / "bad.tar"), str(folder / "store"), files_directory=str(folder))
    assert sorted(os.listdir(folder)) == ["slurm.conf", "store"] and files(folder / "store") == []
    assert (folder / "slurm.conf").read_bytes() == b"ClusterName=old\n"


def test_a_backup_of_the_first_format_has_no_files(configured, tmp_path):
    archive, folder = configured

    def older(name, content):
        fields = json.loads(content) if name == "manifest.json" else {}
        fields.pop("files", None)
        return json.dumps({**fields, "format_version": 1}).encode() if fields else None if name.startswith("files/") else content

    rewrite(archive, tmp_path / "old.tar", older)
    assert restore(str(tmp_path / "old.tar"), str(folder / "store"), files_directory=str(folder)).files == {}
    assert (folder / "slurm.conf").read_bytes() == b"ClusterName=old\n"


def test_the_configuration_of_a_folder_is_its_files_and_what_they_include(tmp_path):
    folder = ClusterFolder(str(tmp_path / "c"))
    folder.make()
    (tmp_path / "c" / "slurm.conf").write_text("Include nodes/all.conf\nInclude ../outside.conf # site\nInclude missing.conf\n")
    (tmp_path / "c" / "nodes").mkdir()
    (tmp_path / "c" / "nodes" / "all.conf").write_text("include more.conf\n")
    (tmp_path / "c" / "nodes" / "more.conf").write_text("")
    (tmp_path / "c" / "gres.conf").write_text("")
    (tmp_path / "outside.conf").write_text("")
    inside, outside = folder.configuration_files()
    assert list(inside) == ["slurm.conf", "gres.conf", "nodes/all.conf", "nodes/more.conf"]
    assert [os.path.realpath(path) for path in outside] == [str(tmp_path / "outside.conf")]
