"""A worker of the command host: runs one command after the other for one user, each as if Python had started for it alone.

The frames, in the machine's byte order:
  request   u32 magic "PNC1", length, arguments, umask, open descriptors, ignored signals | u64 mount namespace, root device, root inode
            then `length` bytes: arguments, then environment, each string ended by a NUL. With it come, as SCM_RIGHTS, the working
            directory and those of the descriptors 0 to 2 that are open (bit N of the mask). Later: a byte for each signal.
  answer    u32 kind, value:  w  taken, value is the worker's pid;  d  declined: nothing was done;  x  ended, value is the exit status

Guarantees: a declined command has done nothing. A worker serves one user with one set of groups, one command at a time, and dies with the
caller that is killed. After each command it shows that nothing stayed behind (descriptors, signal handlers), else it ends; it ends after
COMMANDS_OF_A_WORKER anyway. A command goes on when the host dies.
Assumes: one thread. A command that reads a terminal is declined: job control needs a process of the terminal's session.
"""

from __future__ import annotations

import fcntl
import gc
import io
import os
import signal
import socket
import struct
import sys
import time
from array import array

from setproctitle import setproctitle

from penstock.spec import submitter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

MAGIC = 0x31434E50
HEADER = struct.Struct("=6I3Q")
ANSWER = struct.Struct("=2I")
CREDENTIALS = struct.Struct("=3i")
TAKEN, DECLINED, ENDED = ord("w"), ord("d"), ord("x")
REQUEST_MAX_BYTES = 16 << 20
"""Arguments and environment of one command."""
REQUEST_TIMEOUT_S = 5
"""A caller that has not sent its command after this long is declined."""
COMMANDS_OF_A_WORKER = 1_000
HOSTED = ("sbatch", "srun", "squeue", "sinfo", "scancel", "scontrol", "sacct", "sstat", "sdiag")
READS_TERMINAL = ("srun",)
"""These are declined where standard input is a terminal."""
FORWARDED = (
    *(signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
    *(signal.SIGCONT, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCHLD),
)
"""What the starter passes on, beside SIGINT, and the end of a child: each begins a command as in an interpreter of its own."""
SO_PEERGROUPS = 59
GROUPS_MAX = 256
"""A caller in more groups is declined: Python asks the kernel for at most 1,024 bytes."""
TITLE = "penstock worker"


class Decline(Exception):
    """The command is to run in an interpreter of its own."""


class Identity(tuple[int, int, tuple[int, ...]]):
    """uid, gid and supplementary groups of a caller, as the kernel says."""

    @classmethod
    def of(cls, connection: socket.socket) -> Identity:
        _, uid, gid = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        groups = array("I")
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS_MAX))
        return cls((uid, gid, tuple(sorted(groups))))

    @classmethod
    def own(cls) -> Identity:
        return cls((os.geteuid(), os.getegid(), tuple(sorted(os.getgroups()))))

    def become(self) -> None:
        """For good: in a worker of root's host."""
        uid, gid, groups = self
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


class Worker:
    """A process that runs one command after the other for one user."""

    def __init__(self, identity: Identity, control: socket.socket, inherited: list[int]) -> None:
        self._control = control
        for fd in inherited:
            os.close(fd)
        gc.enable()
        for number in FORWARDED:  # whoever started the host may have ignored them, as nohup and a shell's background jobs do
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.setsid()
        if os.geteuid() == 0:
            identity.become()
        setproctitle(TITLE)
        self._connection: socket.socket | None = None
        signal.signal(signal.SIGIO, self._on_caller)
        self._handlers = [signal.getsignal(number) for number in range(1, 32)]
        self._first_free = -1
        self._fault = False

    def serve(self, connection: socket.socket | None) -> NoReturn:
        """Until the host or the bound on commands ends it."""
        status = 1
        try:
            if connection is None:
                self._control.send(b"r")
            for _ in range(COMMANDS_OF_A_WORKER):
                if connection is None:
                    _, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
                    if not descriptors:
                        break
                    connection = socket.socket(fileno=descriptors[0])
                self._serve_one(connection)
                connection = None
                if not self._clean():
                    break
                self._control.send(b"r")
            status = 0
        except BrokenPipeError:  # the host or the caller has ended
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it is, this process is no worker any more
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _serve_one(self, connection: socket.socket) -> None:
        with connection:
            try:
                name, words = self._take_over(connection)
            except (Decline, OSError, ValueError):
                answer = ANSWER.pack(DECLINED, 0)
            else:
                connection.send(ANSWER.pack(TAKEN, os.getpid()))
                answer = ANSWER.pack(ENDED, self._run(name, words))
            fcntl.fcntl(connection, fcntl.F_SETFL, 0)
            self._connection = None
            self._leave()
            connection.send(answer)

    def _run(self, name: str, words: list[str]) -> int:
        """The exit status. An exception is a fault: its text goes to the caller, the worker ends."""
        try:
            return int(sys.modules[f"penstock.cli.{name}"].main(words)) & 0xFF
        except SystemExit as error:
            return error.code & 0xFF if isinstance(error.code, int) else int(error.code is not None)
        except KeyboardInterrupt:
            return 130
        except Exception:  # noqa: BLE001 - as an interpreter of its own would do
            sys.excepthook(*sys.exc_info())
            self._fault = True
            return 1

    def _take_over(self, connection: socket.socket) -> tuple[str, list[str]]:
        """Put the caller's circumstances on; name and arguments of the command. Decline, OSError or ValueError if that cannot be."""
        connection.settimeout(REQUEST_TIMEOUT_S)
        pid, _, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        data, descriptors, _, _ = socket.recv_fds(connection, 1 << 18, 4)
        try:
            return self._put_on(connection, pid, data, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _put_on(self, connection: socket.socket, pid: int, data: bytes, descriptors: list[int]) -> tuple[str, list[str]]:
        if len(data) < HEADER.size:
            raise Decline
        magic, length, arguments, umask, open_descriptors, ignored, *place = HEADER.unpack_from(data)
        if magic != MAGIC or length > REQUEST_MAX_BYTES or place != _PLACE or pid <= 0:
            raise Decline
        if len(descriptors) != 1 + (open_descriptors & 7).bit_count():
            raise Decline
        strings = _receive(connection, data[HEADER.size :], length).split(b"\0")[:-1]
        name, *words = [os.fsdecode(word) for word in strings[:arguments]]
        if name not in HOSTED or (name in READS_TERMINAL and open_descriptors & 1 and os.isatty(descriptors[1])):
            raise Decline
        connection.settimeout(None)
        os.fchdir(descriptors[0])
        given = iter(descriptors[1:])
        for number in range(3):
            if open_descriptors >> number & 1:
                os.dup2(next(given), number)
            else:
                os.close(number)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8", "surrogateescape")
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), "utf-8", "backslashreplace", write_through=True)
        os.umask(umask)
        for number in range(1, 32):
            if ignored >> number & 1 and number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGIO):
                signal.signal(number, signal.SIG_IGN)
        os.environ.clear()
        for item in strings[arguments:]:
            key, equals, value = item.partition(b"=")
            if key and equals:
                os.environb[key] = value
        time.tzset()
        sys.argv = [name, *words]
        submitter.caller_pid = pid
        setproctitle(f"{TITLE} for pid {pid}: {name}")
        self._connection = connection
        fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
        return name, words

    def _on_caller(self, number: int, frame: object) -> None:
        """SIGIO: the caller sends signals, or is gone."""
        if self._connection is None:
            return
        try:
            data = self._connection.recv(64, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            os.kill(os.getpid(), signal.SIGKILL)
        for signalled in data:
            signal.raise_signal(signalled)

    def _leave(self) -> None:
        """Let go of what is the caller's, before it hears that its command is over."""
        void = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            if number != void:
                os.dup2(void, number)
        if void > 2:
            os.close(void)
        sys.stdout = sys.stderr = sys.__stderr__ = sys.__stdout__ = None  # type: ignore[assignment]
        os.chdir("/")
        for number, handler in enumerate(self._handlers, 1):
            if signal.getsignal(number) is signal.SIG_IGN and handler is not signal.SIG_IGN:
                signal.signal(number, handler)
        submitter.caller_pid = 0
        setproctitle(TITLE)

    def _clean(self) -> bool:
        """Whether the last command left nothing behind."""
        free = os.dup(0)
        os.close(free)
        if self._first_free == -1:
            self._first_free = free
        return not self._fault and free == self._first_free and self._handlers == [signal.getsignal(number) for number in range(1, 32)]


def _receive(connection: socket.socket, begun: bytes, length: int) -> bytes:
    pieces, missing = [begun], length - len(begun)
    while missing > 0:
        piece = connection.recv(missing)
        if not piece:
            raise Decline
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


_PLACE = [os.stat("/proc/self/ns/mnt").st_ino, os.stat("/").st_dev, os.stat("/").st_ino]
"""Mount namespace and root folder: only where the caller's are the same, a path names the same file for both."""
