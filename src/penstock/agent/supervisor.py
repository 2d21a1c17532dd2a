"""The agent starts a controller or a command host that exited again: on its own machine, for a cluster that `penstock up` wants to be up.

Guarantees: nothing is started unless DIR/wanted says that the cluster is to be up (`penstock up` writes it, `penstock down` removes it
first of all), nor while somebody holds its lock; of several agents on the machine one supervises at a time (a lock). The
pause before each start doubles from RESTART_FIRST_S to RESTART_LAST_S; after RESTARTS_MAX starts in a row nothing more is tried until the
cluster is started again: a controller that cannot live needs a person, and `penstock status` says so.

Assumes that either takes its lock, with its pid in it, before it does anything else, and that one which was started here looks at
DIR/wanted once it can be found by its title: so none outlives a `penstock down` that came meanwhile.

Prior art: the restart limits of init systems (systemd's StartLimitBurst); here the limit counts starts that did not last.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable

from penstock.config.folder import ClusterFolder, Supervision

RESTART_FIRST_S = 1.0
"""How long the controller has to be away before it is started for the first time."""
RESTART_LAST_S = 60.0
RESTARTS_MAX = 10
STEADY_S = 300.0
"""A controller that was there this long without a break lives: earlier starts no longer count."""

log = logging.getLogger("penstock.agent")


class Supervisor:
    """Of one `role`, "controller" or "commands". Told at every tick whether it is there. `spawn` starts one and is replaced in tests."""

    def __init__(
        self, folder: ClusterFolder, node: str, spawn: Callable[[], subprocess.Popen[bytes]] | None = None, role: str = "controller"
    ) -> None:
        self._folder = folder
        self._node = node
        self._role = role
        self._spawn = spawn or self._start
        self._lock = -1
        self._child: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._absent_s: float | None = None
        self._present_s: float | None = None
        self._began_s = -RESTART_LAST_S
        self._gave_up = False

    def tick(self, there: bool, now_s: float) -> None:
        """`now_s` is any clock that does not go back."""
        if there:
            self._absent_s = None
            if self._present_s is None:
                self._present_s = now_s
            if self._starts and now_s - self._present_s >= STEADY_S:
                self._starts = 0
                self._gave_up = False
            return
        self._present_s = None
        if self._absent_s is None:
            self._absent_s = now_s
        pause_s = min(RESTART_FIRST_S * 2**self._starts, RESTART_LAST_S)
        if not self._gave_up and now_s - max(self._absent_s, self._began_s) >= pause_s and self._may_start():
            self._restart(now_s)

    def _may_start(self) -> bool:
        """Wanted, gone, and ours to start."""
        if not self._folder.wanted() or not self._take_lock():
            return False
        if self._child is not None and self._child.poll() is None:
            return False  # it is still loading, or hangs: it holds the office
        return not office_held(self._folder, self._role)

    def _take_lock(self) -> bool:
        """Be the one that supervises, until this agent ends."""
        if self._lock < 0:
            lock = os.open(f"{self._folder.path}/{self._role}.supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
        return True

    def _restart(self, now_s: float) -> None:
        code = self._child.returncode if self._child is not None else None
        how = "is gone" if code is None else f"exited with {code}"
        before = self._folder.supervision()
        count = before.restarts if before is not None else 0
        if self._starts >= RESTARTS_MAX:
            self._gave_up = True
            text = f"the {self._role} process {how} and was started {RESTARTS_MAX} times in a row: no more, see {self._folder.log}"
            log.critical("%s; then `penstock up --dir %s`", text, self._folder.path)
            self._note(Supervision(self._node, count, time.time_ns() // 1_000_000, gave_up=True))
            return
        self._starts += 1
        self._began_s = now_s
        log.warning("the %s process %s: starting one (%d of at most %d in a row)", self._role, how, self._starts, RESTARTS_MAX)
        self._note(Supervision(self._node, count + 1, time.time_ns() // 1_000_000))
        try:
            self._child = self._spawn()
        except OSError as error:
            log.error("no %s process could be started: %s", self._role, error)

    def _note(self, supervision: Supervision) -> None:
        """`penstock status` shows what was done for the controller; without a command host commands are slower, no more."""
        if self._role == "controller":
            self._folder.note_supervision(supervision)

    def _start(self) -> subprocess.Popen[bytes]:
        with open(f"{self._folder.log}/{self._role}.err", "wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "penstock", self._role, "--dir", self._folder.path, "--supervised"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )


def office_held(folder: ClusterFolder, role: str = "controller") -> bool:
    """Does a process hold the lock of this role? Read from the kernel's list: trying the lock could push a controller out that begins."""
    try:
        with open(f"{folder.path}/{role}.lock", encoding="ascii") as file:
            owner, inode = file.read().strip(), str(os.fstat(file.fileno()).st_ino)
        with open("/proc/locks", encoding="ascii") as file:
            locks = [line.split() for line in file if "->" not in line]
    except OSError:
        return False
    # NUMBER: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE START END; the device of some file systems is not the one that stat tells
    return any(lock[1] == "FLOCK" and lock[4] == owner and lock[5].rpartition(":")[2] == inode for lock in locks)
