"""Control groups of runs: tracking through a v2 mount, memory limits through v2 or v1, whichever has the controller.

Everything is made below the group that the process was started in, per hierarchy. A shepherd lives in a tracking group of its own (v2),
into which its children are born, so that what a killed shepherd leaves is found even if it cleaned its environment. Memory is limited in a
second group, which only the user's processes enter. What cannot be had is a warning in words, and polling takes its place.
"""

from __future__ import annotations

import contextlib
import os
import time

PREFIX = "penstock-"
REMOVE_TRIES = 5
REMOVE_PAUSE_S = 0.02
MEMORY_FILES = {1: ("memory.max_usage_in_bytes", "memory.oom_control"), 2: ("memory.peak", "memory.events")}
"""By version: where the peak is read and reset, where OOM kills are counted."""


def _own_paths() -> dict[str, str]:
    """Controller (or "" for v2) → the path of our group in its hierarchy."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                for controller in controllers.split(","):
                    found[controller] = path
    except OSError:
        pass
    return found


def _mounts() -> dict[str, str]:
    """Controller (or "" for v2) → where its hierarchy is mounted."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/mounts", encoding="utf-8") as file:
            for line in file:
                _, where, kind, options, *_ = line.split(" ")
                if kind == "cgroup2":
                    found[""] = where
                elif kind == "cgroup":
                    for option in options.split(","):
                        found.setdefault(option, where)
    except OSError:
        pass
    return found


class Hierarchies:
    """What this process may use: folders of our own group, "" where there is none. Found once, before any shepherd is forked."""

    def __init__(self) -> None:
        mounts, own = _mounts(), _own_paths()
        self.warnings: list[str] = []
        self.unified = self._usable(mounts.get(""), own.get(""))
        offered = bool(self.unified) and "memory" in _words(f"{self.unified}/cgroup.controllers")
        # Refused where processes live in our own group and it is not the root: then nothing below it can be limited.
        self.v2_memory = offered and _write(f"{self.unified}/cgroup.subtree_control", "+memory")
        self.v1_memory = "" if self.v2_memory else self._usable(mounts.get("memory"), own.get("memory"))
        if not self.unified:
            self.warnings.append("no cgroup v2 folder is writable: processes of a killed shepherd are found by their environment only")
        if not self.v1_memory and not self.v2_memory:
            self.warnings.append("no memory cgroup is writable: memory limits are enforced by polling once a second")

    @staticmethod
    def _usable(mount: str | None, own: str | None) -> str:
        if mount is None or own is None:
            return ""
        folder = f"{mount}{own.rstrip('/')}"
        return folder if os.access(folder, os.W_OK) and os.access(f"{folder}/cgroup.procs", os.W_OK) else ""


def _words(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _write(path: str, text: str) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        os.write(fd, text.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


class RunGroups:
    """The groups of one shepherd, used by its runs one after another. `name` is the berth's."""

    def __init__(self, hierarchies: Hierarchies, name: str) -> None:
        self.paths: tuple[str, ...] = ()
        """Folders whose processes belong to the run, for whoever cleans up after us."""
        self.enter: tuple[int, ...] = ()
        """Descriptors: whoever writes "0" into them joins the group."""
        self.leave: tuple[int, ...] = ()
        """The way back out of `enter`, for the shepherd."""
        self.limits_memory = False
        self._hierarchies = hierarchies
        self._name = PREFIX + name
        self._track = ""
        self._memory = ""
        self._version = 0
        self._ooms_before = 0
        self._limit_mib = 0
        self._peak_fd = self._events_fd = -1
        self._peak_known = self._had_run = False
        """The peak is that of this run alone: it was reset, or no other run was in the group."""
        if hierarchies.unified:
            folder = f"{hierarchies.unified}/{self._name}"
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                if _write(f"{folder}/cgroup.procs", "0"):
                    self._track = folder
                    self.paths = (folder,)
                else:
                    os.rmdir(folder)

    def reset(self, memory_mib: int) -> None:
        """For the next run: its limit (0: none), counters from zero."""
        if memory_mib and not self._memory:
            self._make_memory()
        if not self._memory:
            return
        limited = memory_mib > 0
        if memory_mib != self._limit_mib:
            limited = self._set_limit(memory_mib)
            self._limit_mib = memory_mib
        self.limits_memory = limited and memory_mib > 0
        self._peak_known = self._reset_peak() or not self._had_run
        self._had_run = True

    def _reset_peak(self) -> bool:
        try:
            os.pwrite(self._peak_fd, b"0", 0)
        except OSError:  # there is none, or (Linux before 6.12) it can only be read
            return False
        return True

    def _make_memory(self) -> None:
        hierarchies = self._hierarchies
        with contextlib.suppress(OSError):
            if hierarchies.v1_memory:
                folder = f"{hierarchies.v1_memory}/{self._name}"
                os.mkdir(folder)
                self._version = 1
            elif hierarchies.v2_memory:
                folder = f"{hierarchies.unified}/{self._name}-run"
                os.mkdir(folder)
                self._version = 2
            else:
                return
            # One thread: in v1 moving a task is cheaper than moving a process.
            name = "tasks" if self._version == 1 else "cgroup.procs"
            back = hierarchies.v1_memory if self._version == 1 else self._track or hierarchies.unified
            peak, events = MEMORY_FILES[self._version]
            self._events_fd = os.open(f"{folder}/{events}", os.O_RDONLY | os.O_CLOEXEC)
            self._peak_fd = _open_peak(f"{folder}/{peak}")
            self.enter = (os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CLOEXEC),)
            self.leave = (os.open(f"{back}/{name}", os.O_WRONLY | os.O_CLOEXEC),)
            self.paths = (*self.paths, folder)
            self._memory = folder

    def _set_limit(self, memory_mib: int) -> bool:
        value = str(memory_mib * 1024 * 1024) if memory_mib else ("-1" if self._version == 1 else "max")
        if self._version == 2:
            _write(f"{self._memory}/memory.swap.max", "0")
            return _write(f"{self._memory}/memory.max", value)
        # Memory + swap may never be below memory: raise it first, tighten it afterwards; it does not exist everywhere.
        _write(f"{self._memory}/memory.memsw.limit_in_bytes", "-1")
        done = _write(f"{self._memory}/memory.limit_in_bytes", value)
        _write(f"{self._memory}/memory.memsw.limit_in_bytes", value)
        return done

    def ooms(self) -> int:
        """Processes of this run that the kernel killed for memory."""
        if not self.limits_memory:
            return 0
        words = os.pread(self._events_fd, 4096, 0).split()
        ever = int(words[words.index(b"oom_kill") + 1]) if b"oom_kill" in words else 0
        return ever - self._ooms_before

    def peak_kib(self) -> int:
        """Most memory the run used at one time, page cache included; 0 if nobody counted."""
        if self._peak_fd < 0 or not self._peak_known:
            return 0
        return int(os.pread(self._peak_fd, 64, 0)) // 1024

    def end_run(self) -> None:
        """What was counted so far belongs to the run that ended."""
        self._ooms_before += self.ooms()

    def remove(self) -> None:
        """When the shepherd leaves; our own process goes back to the group above first."""
        if self._track:
            _write(f"{self._hierarchies.unified}/cgroup.procs", "0")
        for folder in self.paths:
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def _open_peak(path: str) -> int:
    """To be read and, where the kernel lets us, reset; -1 where there is none (v2 before Linux 5.19)."""
    for flags in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(OSError):
            return os.open(path, flags | os.O_CLOEXEC)
    return -1


def remove_groups(paths: tuple[str, ...]) -> None:
    """Remove the groups of a dead shepherd; only folders that can be ours. The kernel may need a moment after the last process."""
    for folder in paths:
        if not os.path.basename(folder).startswith(PREFIX):
            continue
        for _ in range(REMOVE_TRIES):
            try:
                os.rmdir(folder)
                break
            except FileNotFoundError:
                break
            except OSError:
                time.sleep(REMOVE_PAUSE_S)
