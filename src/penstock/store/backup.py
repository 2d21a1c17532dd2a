"""Backup and restore of a cluster's store, and of the files that configure it, as one file.

`backup` copies the database while the controller works on it (one read snapshot, copied in slices) into a tar file: `manifest.json`, then
`state.db`, then the files. It holds everything acknowledged when it began. `restore` checks the manifest's versions, every sha256 and the
copy's structure before it touches anything, never replaces a cluster unless told to, and keeps what it replaces beside it, as
`state.db.replaced`, `slurm.conf.replaced` and so on.

A restore that is interrupted leaves a marker with which the store refuses to start, so that half of one state is never taken for a whole.

Assumes that the target's folder has room for the copy twice while it is made.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import apsw
import msgspec

import penstock
from penstock.store.base import FEED_VERSION, StoreCorrupt, StoreError, StoreFailed, StoreNewer
from penstock.store.lock import WriterLock
from penstock.store.schema import APPLICATION_ID, migrations, recorded_version
from penstock.store.sqlite import RESTORE_MARKER
from penstock.store.sqlite_file import DATABASE, make_private_directory, sync_directory

FORMAT_VERSION = 2
"""1 had no files; it is read as a backup without any."""
SLICE_PAGES = 1_000  # copied between two calls of `progress`
MANIFEST_MAX_BYTES = 64 << 10
FILES_MAX = 64
FILE_MAX_BYTES = 16 << 20  # of one file

FILES_PREFIX = "files/"
_CHUNK_BYTES = 1 << 20
_REPLACED = DATABASE + ".replaced"


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    format_version: int
    penstock_version: str
    schema_version: int
    feed_version: int
    seq: int
    made_s: int
    size_bytes: int
    sha256: str
    files: dict[str, str] = {}
    """Name of a file, relative to the cluster's folder, to the sha256 of its content."""


def backup(
    directory: str, target_file: str, progress: Callable[[int, int], None] | None = None, files: Mapping[str, str] | None = None
) -> Manifest:
    """Writes a consistent copy of the store in `directory`, also of a running one, to `target_file`, which must not exist.

    `files`: name in the backup to path on disk. `progress(copied pages, all pages)` is called after each slice. Raises StoreError.
    """
    source_path = os.path.join(directory, DATABASE)
    if not os.path.exists(source_path):
        raise StoreError(f"{directory} holds no cluster: there is no {DATABASE}")
    if os.path.lexists(target_file):
        raise StoreError(f"{target_file} exists already; name a new file")
    copy_path, partial_path = f"{target_file}.copy", f"{target_file}.partial"
    try:
        for path in (copy_path, partial_path):
            _remove(path)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        contents = _read_files(files or {})
        schema_version, feed_version, seq = _copy_database(source_path, copy_path, progress)
        with open(copy_path, "rb") as copied:
            sha256 = hashlib.file_digest(copied, "sha256").hexdigest()
            size_bytes = copied.seek(0, os.SEEK_END)
            digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
            version, made_s = penstock.__version__, int(time.time())
            manifest = Manifest(FORMAT_VERSION, version, schema_version, feed_version, seq, made_s, size_bytes, sha256, digests)
            copied.seek(0)
            with open(partial_path, "wb") as out:
                _write_archive(out, manifest, copied, contents)
                out.flush()
                os.fsync(out.fileno())
        os.rename(partial_path, target_file)
        sync_directory(os.path.dirname(os.path.abspath(target_file)))
        return manifest
    except apsw.Error as error:
        raise StoreFailed(f"backup of {source_path} failed: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise StoreError(f"backup to {target_file} failed: {error.strerror}") from error
    finally:
        for path in (copy_path, partial_path):
            _remove(path)


def read_manifest(file: str) -> Manifest:
    """What the backup says of itself. Raises StoreError if the file is no backup."""
    try:
        with tarfile.open(file, "r:") as archive:
            return _manifest(archive, file)
    except (tarfile.TarError, OSError) as error:
        raise StoreError(f"{file} is no penstock backup: {error}") from error


def restore(file: str, directory: str, replace: bool = False, files_directory: str = "") -> Manifest:
    """Puts a backup's store into `directory`, whose cluster must be down, and its files into `files_directory` (empty: nowhere). Raises
    StoreError and leaves what was there.

    Jobs acknowledged after the backup was made are not in it, and their ids will be given again.
    """
    make_private_directory(directory)
    lock = WriterLock(directory)
    database, marker = os.path.join(directory, DATABASE), os.path.join(directory, RESTORE_MARKER)
    incoming = os.path.join(directory, DATABASE + ".incoming")
    try:
        interrupted = os.path.exists(marker)
        if os.path.exists(database) and not replace and not interrupted:
            raise StoreError(f"{directory} holds a cluster already; restore into an empty folder, or say that it may be replaced")
        with tarfile.open(file, "r:") as archive:
            manifest = _manifest(archive, file)
            try:
                _unpack(archive, manifest, file, incoming)
                _check_database(incoming, manifest)
                contents = _unpack_files(archive, manifest, file) if files_directory else {}
            except BaseException:
                _remove(incoming)
                raise
        _put_in_place(
            incoming, database, os.path.join(directory, _REPLACED), marker, lambda: _put_files(contents, files_directory, interrupted)
        )
        return manifest
    except tarfile.TarError as error:
        raise StoreError(f"{file} is no penstock backup: {error}") from error
    except OSError as error:
        raise StoreError(f"restore of {file} into {directory} failed: {error.strerror} ({error.filename})") from error
    finally:
        lock.release()


def _put_in_place(incoming: str, database: str, replaced: str, marker: str, put_files: Callable[[], None]) -> None:
    """Every line may be the last before a crash; with the marker there, the next restore goes on from wherever this one came to."""
    directory = os.path.dirname(database)
    if not os.path.exists(marker):
        _remove(replaced)
        _remove(replaced + "-wal")
        sync_directory(directory)
        os.close(os.open(marker, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        sync_directory(directory)
    if not os.path.exists(replaced):  # else what lies at `database` is a former attempt's
        for suffix in ("-wal", ""):  # the log first: beside another database it would be replayed into that one
            if os.path.exists(database + suffix):
                os.rename(database + suffix, replaced + suffix)
        sync_directory(directory)
    put_files()
    _remove(database + "-shm")
    os.rename(incoming, database)
    sync_directory(directory)
    os.unlink(marker)
    sync_directory(directory)


def _put_files(contents: dict[str, bytes], directory: str, interrupted: bool) -> None:
    """Each as a whole; what it replaces is kept, and what a former attempt replaced stays kept."""
    for name, content in contents.items():
        path = os.path.join(directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path) and not (interrupted and os.path.exists(f"{path}.replaced")):
            os.replace(path, f"{path}.replaced")
        with open(f"{path}.new", "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(f"{path}.new", path)
        sync_directory(os.path.dirname(path))


def _read_files(files: Mapping[str, str]) -> dict[str, bytes]:
    if len(files) > FILES_MAX:
        raise StoreError(f"{len(files)} files belong to the configuration; a backup holds at most {FILES_MAX}")
    contents = {}
    for name, path in files.items():
        with open(path, "rb") as file:
            contents[name] = file.read(FILE_MAX_BYTES + 1)
        if len(contents[name]) > FILE_MAX_BYTES:
            raise StoreError(f"{path} is longer than {FILE_MAX_BYTES} bytes, too long for a backup")
    return contents


def _unpack_files(archive: tarfile.TarFile, manifest: Manifest, file: str) -> dict[str, bytes]:
    """The files, checked. A name that would leave the cluster's folder is refused, whoever wrote it."""
    contents = {}
    if len(manifest.files) > FILES_MAX:
        raise StoreCorrupt(f"{file} names {len(manifest.files)} files, at most {FILES_MAX} are allowed")
    for name, sha256 in manifest.files.items():
        if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
            raise StoreCorrupt(f"{file} names the file {name[:64]!r}, which is not below the cluster's folder")
        try:
            found = archive.extractfile(FILES_PREFIX + name)
        except KeyError as error:
            raise StoreCorrupt(f"{file} has no {name}; the backup is incomplete") from error
        content = found.read(FILE_MAX_BYTES + 1) if found is not None else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise StoreCorrupt(f"{file} is damaged: {name} does not have the sha256 of its manifest")
        contents[name] = content
    return contents


def _copy_database(source_path: str, copy_path: str, progress: Callable[[int, int], None] | None) -> tuple[int, int, int]:
    source = apsw.Connection(source_path, flags=apsw.SQLITE_OPEN_READONLY)
    target = apsw.Connection(copy_path, flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        source.execute("BEGIN")  # every slice is of the snapshot that the first read below takes
        version = recorded_version(source, source_path)
        seq, feed_version = source.execute("SELECT seq, version FROM feed ORDER BY seq DESC LIMIT 1").get or (0, FEED_VERSION)
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(SLICE_PAGES)
                if progress is not None:
                    progress(copying.page_count - copying.remaining, copying.page_count)
        target.pragma("journal_mode", "delete")  # one file, without a log beside it
        return version, feed_version, seq
    finally:
        source.close(True)
        target.close(True)


def _write_archive(out: BinaryIO, manifest: Manifest, copied: BinaryIO, files: dict[str, bytes]) -> None:
    text = json.dumps(msgspec.to_builtins(manifest), indent=2).encode() + b"\n"
    with tarfile.open(fileobj=out, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        members: list[tuple[str, int, BinaryIO]] = [
            ("manifest.json", len(text), io.BytesIO(text)),
            (DATABASE, manifest.size_bytes, copied),
            *((FILES_PREFIX + name, len(content), io.BytesIO(content)) for name, content in files.items()),
        ]
        for name, size_bytes, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = size_bytes, 0o600, manifest.made_s
            archive.addfile(member, content)


def _manifest(archive: tarfile.TarFile, file: str) -> Manifest:
    """The members are read by name and never unpacked by the names in the archive."""
    try:
        member = archive.getmember("manifest.json")
        content = archive.extractfile(member)
        if content is None or member.size > MANIFEST_MAX_BYTES:
            raise StoreError(f"{file} is no penstock backup: its manifest is no plain file of at most {MANIFEST_MAX_BYTES} bytes")
        fields: dict[str, Any] = msgspec.json.decode(content.read(), type=dict)
        if fields.get("format_version", 0) > FORMAT_VERSION:
            raise StoreNewer(f"{file} has backup format {fields['format_version']}, this program knows up to {FORMAT_VERSION}")
        manifest = msgspec.convert(fields, Manifest)
    except (KeyError, TypeError, msgspec.MsgspecError) as error:
        raise StoreError(f"{file} is no penstock backup: {error}") from error
    known = migrations()[-1].version
    if manifest.schema_version > known or manifest.feed_version > FEED_VERSION:
        raise StoreNewer(
            f"{file} was made by penstock {manifest.penstock_version} (schema {manifest.schema_version}, feed {manifest.feed_version}); "
            f"this program knows schema {known} and feed {FEED_VERSION}: use one at least as new"
        )
    return manifest


def _unpack(archive: tarfile.TarFile, manifest: Manifest, file: str, path: str) -> None:
    try:
        content = archive.extractfile(DATABASE)
    except KeyError as error:
        raise StoreCorrupt(f"{file} has no {DATABASE}; the backup is incomplete") from error
    if content is None:
        raise StoreCorrupt(f"{DATABASE} in {file} is no plain file")
    digest, size_bytes = hashlib.sha256(), 0
    _remove(path)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as out:
        while size_bytes <= manifest.size_bytes and (chunk := content.read(_CHUNK_BYTES)):
            digest.update(chunk)
            size_bytes += out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    if size_bytes != manifest.size_bytes or digest.hexdigest() != manifest.sha256:
        raise StoreCorrupt(f"{file} is damaged: {DATABASE} does not have the {manifest.size_bytes} bytes and the sha256 of its manifest")


def _check_database(path: str, manifest: Manifest) -> None:
    """A right checksum says that the copy is what was written; this says that what was written is a sound store."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        if connection.pragma("application_id") != APPLICATION_ID:
            raise StoreCorrupt("the backup's database is no penstock store")
        version = recorded_version(connection, path)
        found = connection.execute("PRAGMA quick_check(1)").get
        seq = connection.execute("SELECT coalesce(max(seq), 0) FROM feed").get
        if found != "ok" or version != manifest.schema_version or seq != manifest.seq:
            raise StoreCorrupt(f"the backup's database is not what its manifest says: schema {version}, sequence {seq}, check: {found}")
    except apsw.Error as error:
        raise StoreCorrupt(f"the backup's database cannot be read: {error}") from error
    finally:
        connection.close(True)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
