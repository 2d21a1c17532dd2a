"""The command host: workers that have Python started run the commands that `native/command.c` hands over.

One host for each cluster, `penstock commands --dir DIR`, on `commands.sock` in the runtime folder. It asks the kernel who calls and passes
the connection to a worker of that user, which takes the caller's descriptors, working directory, environment, umask and ignored signals
upon itself and runs `penstock.cli.NAME.main`. A command then costs 1 ms of CPU instead of the 8 ms in which Python starts (measured:
docs/design/commands.md). There is one implementation of each command; where no worker can take it, it runs in an interpreter of its own.

The frames, in the machine's byte order:
  request   u32 magic "PNC1", length, arguments, umask, open descriptors, ignored signals | u64 mount namespace, root device, root inode
            then `length` bytes: arguments, then environment, each string ended by a NUL. With it come, as SCM_RIGHTS, the working
            directory and those of the descriptors 0 to 2 that are open (bit N of the mask). Later: a byte for each signal.
  answer    u32 kind, value:  w  taken, value is the worker's pid;  d  declined: nothing was done;  x  ended, value is the exit status

Guarantees: a declined command has done nothing. A worker serves one user with one set of groups, one command at a time, and dies with the
caller that is killed. After each command it shows that nothing stayed behind (descriptors, signal handlers), else it ends; it ends after
COMMANDS_OF_A_WORKER anyway. A command goes on when the host dies. Workers are bounded (WORKERS_MAX, WORKERS_OF_A_USER), more are declined.
Assumes: one thread. A command that reads a terminal is declined: job control needs a process of the terminal's session.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import io
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array

from setproctitle import setproctitle

import penstock.cli
import penstock.spec
import penstock.wire
from penstock.spec import submitter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
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
WORKERS_MAX = 512
"""Commands that run at once; one more is declined."""
WORKERS_OF_A_USER = 256
IDLE_WORKERS_MAX = 64
IDLE_WORKERS_OF_A_USER = 8
"""Workers beyond these numbers are ended when their command is over."""
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


class Handle:
    """The host's end of one worker: it writes a byte whenever it is ready for the next command."""

    __slots__ = ("control", "identity", "idle", "pid")

    def __init__(self, pid: int, identity: Identity, control: socket.socket) -> None:
        self.pid, self.identity, self.control = pid, identity, control
        self.idle = False


class Host:
    """Accepts, looks who calls, gives the connection to an idle worker of that identity or to a new one."""

    def __init__(self, path: str, lock: int) -> None:
        """`lock`: the descriptor that keeps a second host out; no worker may keep it."""
        self._lock = lock
        self._root = os.geteuid() == 0
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o666 if self._root else 0o600)
        self._listener.listen(1024)
        self._listener.setblocking(False)
        self._workers: dict[int, Handle] = {}
        """By the descriptor of their control socket."""
        self._idle: dict[Identity, list[Handle]] = {}
        self._idle_count = 0
        self._of_user: dict[int, int] = {}
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it may be ignored where the cluster was started
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps; the closed control socket tells

    def serve(self) -> None:
        """For ever."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._start(Identity.own(), None)
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._workers:  # else it was forgotten in this very round
                    self._hear(self._workers[fd])

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            try:
                identity = Identity.of(connection)
            except OSError:
                return  # the caller sees the closed connection and runs its command itself
            if not self._root and identity != Identity.own():
                return
            idle = self._idle.get(identity)
            while idle:
                worker = idle.pop()
                worker.idle = False
                self._idle_count -= 1
                try:
                    socket.send_fds(worker.control, [b"c"], [connection.fileno()])
                    return
                except OSError:
                    self._forget(worker)
            if len(self._workers) < WORKERS_MAX and self._of_user.get(identity[0], 0) < WORKERS_OF_A_USER:
                with contextlib.suppress(OSError):  # no process or descriptor to be had: declined as above
                    self._start(identity, connection)

    def _start(self, identity: Identity, connection: socket.socket | None) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            theirs.close()
            raise
        if pid == 0:
            inherited = [self._lock, self._poll.fileno(), self._listener.fileno(), ours.fileno(), *self._workers]
            if connection is not None:
                inherited.append(connection.fileno())
                connection = connection.dup()
            Worker(identity, theirs, inherited).serve(connection)
        theirs.close()
        worker = Handle(pid, identity, ours)
        self._workers[ours.fileno()] = worker
        self._of_user[identity[0]] = self._of_user.get(identity[0], 0) + 1
        self._poll.register(ours, select.EPOLLIN)

    def _hear(self, worker: Handle) -> None:
        try:
            ready = bool(worker.control.recv(64, socket.MSG_DONTWAIT))
        except BlockingIOError:  # the event was of a descriptor that has another owner by now
            return
        except OSError:
            ready = False
        idle = self._idle.setdefault(worker.identity, [])
        if not ready or self._idle_count >= IDLE_WORKERS_MAX or len(idle) >= IDLE_WORKERS_OF_A_USER:
            self._forget(worker)
        elif not worker.idle:
            worker.idle = True
            self._idle_count += 1
            idle.append(worker)

    def _forget(self, worker: Handle) -> None:
        """An idle worker ends when its control socket is closed."""
        del self._workers[worker.control.fileno()]
        self._poll.unregister(worker.control)
        worker.control.close()
        left = self._of_user[worker.identity[0]] - 1
        if left:
            self._of_user[worker.identity[0]] = left
        else:
            del self._of_user[worker.identity[0]]
        idle = self._idle.get(worker.identity, [])
        if worker.idle:
            worker.idle = False
            self._idle_count -= 1
            idle.remove(worker)
        if not idle:
            self._idle.pop(worker.identity, None)


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


def _load() -> None:
    """Import whatever a command may need, and no more: every worker has it."""
    for package, names in (
        (penstock.spec, _modules(penstock.spec)),
        (penstock.wire, ("lite", "stdio")),
        (penstock.cli, _modules(penstock.cli)),
    ):
        for name in names:
            importlib.import_module(f"{package.__name__}.{name}")


def _modules(package: ModuleType) -> list[str]:
    """Without pkgutil, which brings half of the standard library along."""
    return [name.removesuffix(".py") for name in sorted(os.listdir(package.__path__[0])) if name.endswith(".py") and name != "__init__.py"]


def main(argv: list[str]) -> int:
    """`penstock commands --dir DIR [--supervised]`: serves until it is ended; 0 at once if another host serves this folder, 1 if it
    cannot. A supervised one, which an agent starts after its predecessor exited, runs only while the cluster is to be up."""
    if argv[:1] != ["--dir"] or len(argv) < 2 or argv[2:] not in ([], ["--supervised"]):
        print("usage: penstock commands --dir DIR [--supervised]", file=sys.stderr)
        return 2
    folder = os.path.abspath(argv[1])
    try:
        with open(f"{folder}/socket", "rb", 0) as file:
            runtime = os.fsdecode(file.read(4096).strip())
        lock = os.open(f"{folder}/commands.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        print(f"penstock commands: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    setproctitle(f"penstock commands --dir {folder}")
    if argv[2:] and not os.path.exists(f"{folder}/wanted"):  # looked at under the title that `penstock down` searches for
        return 0
    os.chdir("/")
    _load()
    Host(f"{runtime}/commands.sock", lock).serve()
    return 0


_PLACE = [os.stat("/proc/self/ns/mnt").st_ino, os.stat("/").st_dev, os.stat("/").st_ino]
"""Mount namespace and root folder: only where the caller's are the same, a path names the same file for both."""
