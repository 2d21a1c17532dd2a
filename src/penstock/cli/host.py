"""The command host: workers that have Python started run the commands that `native/command.c` hands over.

One host for each cluster, `penstock commands --dir DIR`, on `commands.sock` in the runtime folder. It asks the kernel who calls and passes
the connection to a worker of that user, which takes the caller's descriptors, working directory, environment, umask and ignored signals
upon itself and runs `penstock.cli.NAME.main`. A command then costs 1 ms of CPU instead of the 8 ms in which Python starts (measured:
docs/design/commands.md). There is one implementation of each command; where no worker can take it, it runs in an interpreter of its own.

What they say to each other, and what a worker guarantees, is in `worker`.

Guarantees: the kernel says who calls, and a worker is that user's from its first command on. Workers are bounded (WORKERS_MAX,
WORKERS_OF_A_USER), more commands are declined; idle ones too (IDLE_WORKERS_MAX, IDLE_WORKERS_OF_A_USER). The host runs no command itself.
Assumes: one thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import os
import select
import signal
import socket
import sys

from setproctitle import setproctitle

import penstock.cli
import penstock.spec
import penstock.wire
from penstock.cli.worker import Identity, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

WORKERS_MAX = 512
"""Commands that run at once; one more is declined."""
WORKERS_OF_A_USER = 256
IDLE_WORKERS_MAX = 64
IDLE_WORKERS_OF_A_USER = 8
"""Workers beyond these numbers are ended when their command is over."""


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
