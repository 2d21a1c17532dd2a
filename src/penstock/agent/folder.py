"""A job's folder on its node: who owns the run, what it began as, how it ended.

    nodes/<node>/berths/<pid>.<ns>/     a shepherd's berth: record, slurm_script, step-<id>.record
    nodes/<node>/jobs/<job>.<attempt>   a link to the berth of the shepherd that owns this run, or owned it

The link is the claim: making it is atomic, so a run is begun once however often it is assigned. The lock on the berth's record says
whether its shepherd is alive. The record is two blocks, begin and end, each with a length and a checksum and the run's name; it was
written and synced when the berth was made and is overwritten in place, so that an ending needs no free space and one fdatasync of data
alone (a new file costs a journal commit: 450 against 80 µs measured, more under contention). A berth serves the runs of a standing
shepherd one after another.

After a power cut a link or a begin may be lost; an end that was synced is found by looking into the berths. A link without a begin counts
as a run that was lost: it may have run.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import zlib

import msgspec

from penstock.agent.cgroups import remove_groups
from penstock.wire.messages import ExitRecord

BLOCK_BYTES = 4096
MAX_DETAIL_BYTES = 1024
"""Of `detail`: they fit a block together with everything else."""
BYTES_PER_TASK = 16
HIDDEN_S = 60
"""A berth that was never finished is removed after this time."""

RunKey = tuple[int, int]
EMPTY = bytes(8)


class Begin(msgspec.Struct, frozen=True, array_like=True):
    """First block of a record: whose run this is and where its processes are to be found."""

    job_id: int
    attempt: int
    uid: int
    pid: int
    boot_id: str
    start_ms: int
    marker: str
    cgroups: tuple[str, ...] = ()


class End(msgspec.Struct, frozen=True, array_like=True):
    """Second block of a record. `step_id` is -1 in the run's own."""

    job_id: int
    attempt: int
    step_id: int
    record: ExitRecord


_encode = msgspec.msgpack.Encoder().encode
_decode_begin = msgspec.msgpack.Decoder(Begin).decode
_decode_end = msgspec.msgpack.Decoder(End).decode


def pack(payload: bytes) -> bytes:
    """Length, checksum, payload."""
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


def unpack(block: bytes) -> bytes | None:
    """The payload, or None if the block is empty or torn."""
    length = int.from_bytes(block[:4], "big")
    payload = block[8 : 8 + length]
    if not length or len(payload) != length or zlib.crc32(payload) != int.from_bytes(block[4:8], "big"):
        return None
    return payload


def run_name(key: RunKey) -> str:
    return f"{key[0]}.{key[1]}"


def boot_id() -> str:
    """Identity of this boot of the machine: a pid or a lock of another boot means nothing."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def _clip(record: ExitRecord) -> ExitRecord:
    detail = record.detail.encode(errors="replace")
    if len(detail) <= MAX_DETAIL_BYTES:
        return record
    return msgspec.structs.replace(record, detail=detail[:MAX_DETAIL_BYTES].decode(errors="ignore"))


class Berth:
    """The owner's side: a shepherd's own folder, its lock held from `__init__` until the process ends."""

    def __init__(self, node_dir: str) -> None:
        self.jobs = f"{node_dir}/jobs"
        self.name = f"{os.getpid()}.{time.time_ns()}"
        self.path = f"{node_dir}/berths/{self.name}"
        # Locked before anybody can see it: an unlocked berth without a run is taken for a dead one's and removed.
        hidden = f"{node_dir}/berths/.{self.name}"
        os.mkdir(hidden, 0o711)
        self._record = os.open(f"{hidden}/record", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._record, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(self._record, bytes(2 * BLOCK_BYTES), 0)
        os.fsync(self._record)
        os.rename(hidden, self.path)
        self._groups: tuple[str, ...] = ()
        self.key: RunKey | None = None
        self._steps: dict[int, int] = {}
        self._script = b""
        self._script_state: tuple[int, int] | None = None

    def note_groups(self, paths: tuple[str, ...]) -> None:
        """Write down the control groups of this shepherd, for whoever removes the berth."""
        if paths != self._groups:
            self._groups = paths
            with open(f"{self.path}/groups", "w", encoding="utf-8") as file:
                file.write("\n".join(paths))

    def claim(self, key: RunKey) -> bool:
        """Make this run ours; False if somebody owns it or owned it."""
        try:
            os.symlink(f"../berths/{self.name}", f"{self.jobs}/{run_name(key)}")
        except FileExistsError:
            return False
        self.key = key
        return True

    def disclaim(self) -> None:
        """Take a claim back, of a run that was not begun."""
        os.unlink(f"{self.jobs}/{run_name(self.key)}")
        self.key = None

    def begin(self, begin: Begin) -> None:
        os.pwrite(self._record, pack(_encode(begin)), 0)

    def end(self, record: ExitRecord) -> None:
        """Durable when it returns."""
        os.pwrite(self._record, pack(_encode(End(*self.key, -1, _clip(record)))), BLOCK_BYTES)
        os.fdatasync(self._record)

    def write_script(self, script: bytes, uid: int, gid: int) -> str:
        """Store the script, executable by its user; the name to start it by. The same script again is not written again, unless its file
        was touched since."""
        path = f"{self.path}/slurm_script"
        if self._script_state is not None:
            state = os.stat(path) if os.path.lexists(path) else None
            if state is None or script != self._script or (state.st_ctime_ns, state.st_uid) != self._script_state:
                self._script_state = None
                if state is not None:
                    os.unlink(path)
        if self._script_state is None:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o700)
            try:
                view = memoryview(script)
                while view:
                    view = view[os.write(fd, view) :]
                os.fchmod(fd, 0o700)
                if os.geteuid() == 0:
                    os.fchown(fd, uid, gid)
                state = os.fstat(fd)
            except OSError:  # a full disk: half a script must not be in the way of the next one
                os.unlink(path)
                raise
            finally:
                os.close(fd)
            self._script, self._script_state = script, (state.st_ctime_ns, state.st_uid)
        return f"{self.jobs}/{run_name(self.key)}/slurm_script"

    def begin_step(self, step_id: int, ntasks: int) -> None:
        """Make room for the step's ending before anything of it starts."""
        fd = os.open(f"{self.path}/step-{step_id}.record", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._steps[step_id] = fd
        os.pwrite(fd, bytes(BLOCK_BYTES + ntasks * BYTES_PER_TASK), 0)

    def end_step(self, step_id: int, record: ExitRecord) -> None:
        """Durable when it returns."""
        fd = self._steps[step_id]
        os.pwrite(fd, pack(_encode(End(*self.key, step_id, _clip(record)))), 0)
        os.fdatasync(fd)

    def forget_step(self, step_id: int) -> None:
        fd = self._steps.pop(step_id, None)
        if fd is not None:
            os.close(fd)
            os.unlink(f"{self.path}/step-{step_id}.record")

    def release(self) -> None:
        """The run is acknowledged: forget it. A crash in between leaves an ended run, which is acknowledged again."""
        for step_id in list(self._steps):
            self.forget_step(step_id)
        os.pwrite(self._record, EMPTY, 0)
        os.pwrite(self._record, EMPTY, BLOCK_BYTES)
        os.unlink(f"{self.jobs}/{run_name(self.key)}")
        self.key = None

    def remove(self) -> None:
        """Give the berth up; only without a run."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._record)


# --- the agent's side ----------------------------------------------------------------------------------------------------------


class Found(msgspec.Struct):
    """What the folder of a run tells: `locked` by a living shepherd; `begin` and `end` as far as they were written; `steps` begun, with
    how they ended. `lock` is the descriptor of the record, locked by us: whoever gets a Found closes it."""

    key: RunKey
    berth: str = ""
    locked: bool = False
    begin: Begin | None = None
    end: ExitRecord | None = None
    steps: dict[int, ExitRecord | None] = {}
    lock: int = -1

    def close(self) -> None:
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1


def prepare(node_dir: str) -> None:
    """Make the folders of a node."""
    os.makedirs(f"{node_dir}/berths", mode=0o711, exist_ok=True)
    os.makedirs(f"{node_dir}/jobs", mode=0o711, exist_ok=True)


def _read(fd: int, key: RunKey) -> tuple[Begin | None, ExitRecord | None]:
    begin_raw, end_raw = unpack(os.pread(fd, BLOCK_BYTES, 0)), unpack(os.pread(fd, BLOCK_BYTES, BLOCK_BYTES))
    begin = _decode_begin(begin_raw) if begin_raw is not None else None
    end = _decode_end(end_raw) if end_raw is not None else None
    return (
        begin if begin is not None and (begin.job_id, begin.attempt) == key else None,
        end.record if end is not None and (end.job_id, end.attempt) == key else None,
    )


def _read_step(path: str, key: RunKey) -> ExitRecord | None:
    with open(path, "rb") as file:
        raw = unpack(file.read())
    end = _decode_end(raw) if raw is not None else None
    return end.record if end is not None and (end.job_id, end.attempt) == key else None


def scan(node_dir: str) -> list[RunKey]:
    """The runs that a claim or a durable end in a berth tells of."""
    found: dict[RunKey, None] = {}
    for name in sorted(os.listdir(f"{node_dir}/jobs")):
        job_id, _, attempt = name.partition(".")
        if job_id.isdecimal() and attempt.isdecimal():
            found[(int(job_id), int(attempt))] = None
    for name in sorted(os.listdir(f"{node_dir}/berths")):
        try:
            with open(f"{node_dir}/berths/{name}/record", "rb") as file:
                file.seek(BLOCK_BYTES)
                raw = unpack(file.read(BLOCK_BYTES))
        except OSError:
            continue
        if raw is not None:
            end = _decode_end(raw)
            found[(end.job_id, end.attempt)] = None
    return list(found)


def _berth_of(node_dir: str, key: RunKey) -> str | None:
    try:
        return os.path.basename(os.readlink(f"{node_dir}/jobs/{run_name(key)}"))
    except FileNotFoundError:
        pass
    for name in sorted(os.listdir(f"{node_dir}/berths")):
        try:
            with open(f"{node_dir}/berths/{name}/record", "rb") as file:
                if _read(file.fileno(), key)[1] is not None:
                    return name
        except OSError:
            continue
    return None


def look(node_dir: str, key: RunKey) -> Found | None:
    """What is known of this run; None if there is no trace of it."""
    name = _berth_of(node_dir, key)
    if name is None:
        return None
    found = Found(key, f"{node_dir}/berths/{name}", steps={})
    try:
        fd = os.open(f"{found.berth}/record", os.O_RDWR)
    except FileNotFoundError:
        return found
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        found.locked = True
        return found
    found.lock = fd
    try:
        found.begin, found.end = _read(fd, key)
        for entry in sorted(os.listdir(found.berth)):
            if entry.startswith("step-") and entry.endswith(".record"):
                found.steps[int(entry[5:-7])] = _read_step(f"{found.berth}/{entry}", key)
    except BaseException:  # with the lock left behind the dead would be taken for alive
        found.close()
        raise
    return found


def end_lost(found: Found, record: ExitRecord) -> None:
    """Write the end of a run whose shepherd is dead, and of its steps; durable when it returns, except on a full disk without a record."""
    for step_id, ended in found.steps.items():
        if ended is None:
            found.steps[step_id] = record
            _overwrite(f"{found.berth}/step-{step_id}.record", 0, End(*found.key, step_id, record))
    if os.path.exists(f"{found.berth}/record"):
        _overwrite(f"{found.berth}/record", BLOCK_BYTES, End(*found.key, -1, record))
    found.end = record


def _overwrite(path: str, at: int, end: End) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        os.pwrite(fd, pack(_encode(end)), at)
        os.fdatasync(fd)
    finally:
        os.close(fd)


def forget(node_dir: str, key: RunKey) -> None:
    """Remove what is left of an acknowledged run that no shepherd owns; nothing if one does, or if there is nothing."""
    found = look(node_dir, key)
    if found is None:
        return
    try:
        if found.locked:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{node_dir}/jobs/{run_name(key)}")
        _remove(found.berth)
    finally:
        found.close()


def _remove(berth: str) -> None:
    """Remove a berth of the dead, with its control groups."""
    with contextlib.suppress(OSError), open(f"{berth}/groups", encoding="utf-8") as file:
        remove_groups(tuple(file.read().split("\n")))
    shutil.rmtree(berth, ignore_errors=True)


def sweep_berths(node_dir: str) -> None:
    """Remove berths that no shepherd holds and no run names (a shepherd died idle)."""
    for name in os.listdir(f"{node_dir}/berths"):
        path = f"{node_dir}/berths/{name}"
        if name.startswith("."):
            with contextlib.suppress(OSError):
                if time.time() - os.stat(path).st_mtime > HIDDEN_S:
                    shutil.rmtree(path, ignore_errors=True)
            continue
        try:
            fd = os.open(f"{path}/record", os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(fd, 4, 0) == bytes(4) and os.pread(fd, 4, BLOCK_BYTES) == bytes(4):
                _remove(path)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)
