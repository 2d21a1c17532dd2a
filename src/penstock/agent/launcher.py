"""The launcher: a fork server that holds what a shepherd needs and nothing else, so that a shepherd costs a fork and not a start of Python.

One per host, user and cluster folder (`DIR/launcher.lock`). Agents of the same user ask over `launcher.sock`. It has exactly one thread,
checked before each fork. It is a child subreaper: what a killed shepherd leaves comes to it, and since a living shepherd keeps its own
orphans, every child that is not a shepherd is such a leftover; `Sweep` kills them. Shepherds do not depend on it once they are forked.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback

from setproctitle import setproctitle

from penstock.agent import processes
from penstock.agent.cgroups import Hierarchies
from penstock.agent.shepherd import loop
from penstock.agent.shepherd.protocol import (
    MAX_FORK_FRAME_BYTES,
    Fork,
    Forked,
    Sweep,
    Swept,
    decode_for_launcher,
    encode,
)
from penstock.wire.messages import Deframer, frame

MAX_CONNECTIONS = 256
MAX_LOG_BYTES = 1024 * 1024
"""DIR/log/launcher.log is begun anew when it is larger."""
SWEEP_S = 2.0
"""A sweep gives up on processes that survive SIGKILL this long."""
SWEEP_ROUND_S = 0.02


class Launcher:
    def __init__(self, cluster_dir: str, runtime_dir: str, lock: int) -> None:
        self._log_path = f"{cluster_dir}/log/launcher.log"
        self._hierarchies = Hierarchies()
        self._lock = lock
        self._shepherds: set[int] = set()
        self._connections: dict[int, tuple[socket.socket, Deframer]] = {}
        path = f"{runtime_dir}/launcher.sock"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        os.chmod(path, 0o600)
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)
        self._waker.setblocking(False)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, stack: None)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def serve(self) -> None:
        """For ever; a signal ends it, and the shepherds go on."""
        gc.collect()
        gc.freeze()
        while True:
            for fd, _ in self._poll.poll():
                if fd == self._listener.fileno():
                    self._accept()
                elif fd == self._wake.fileno():
                    with contextlib.suppress(BlockingIOError):
                        while self._wake.recv(4096):
                            pass
                    self._reap()
                elif fd in self._connections:
                    self._read(fd)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid() or len(self._connections) >= MAX_CONNECTIONS:
            connection.close()
            return
        self._connections[connection.fileno()] = (connection, Deframer(MAX_FORK_FRAME_BYTES))
        self._poll.register(connection, select.POLLIN)

    def _read(self, fd: int) -> None:
        connection, deframer = self._connections[fd]
        try:
            data = connection.recv(65536)
            requests = [decode_for_launcher(payload) for payload in deframer.feed(data)]
            if not data:
                raise ConnectionResetError
            for request in requests:
                answer = self._fork(request) if isinstance(request, Fork) else self._sweep(request)
                connection.sendall(frame(encode(answer)))
        except (OSError, ValueError):
            self._poll.unregister(fd)
            del self._connections[fd]
            connection.close()

    def _fork(self, request: Fork) -> Forked:
        threads = os.listdir("/proc/self/task")
        if len(threads) != 1:
            return Forked(request.request, error=f"the launcher has {len(threads)} threads; it may have one")
        try:
            pid = os.fork()
        except OSError as error:
            return Forked(request.request, error=f"fork: {error.strerror}")
        if pid == 0:
            self._become_shepherd(request)
        self._shepherds.add(pid)
        return Forked(request.request, pid)

    def _become_shepherd(self, request: Fork) -> None:
        """In the child: never returns."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            os.close(self._lock)  # it is the launcher's: a shepherd that held it would keep the next launcher out
            for one in (self._listener, self._wake, self._waker, *(connection for connection, _ in self._connections.values())):
                one.close()
            loop.main(request.node, request.node_dir, request.socket, self._hierarchies)
            status = 0
        except BaseException:  # noqa: BLE001 - what a shepherd dies of is written down; its agent sees the end
            write_log(self._log_path, f"shepherd {os.getpid()} of {request.node}:\n{traceback.format_exc()}")
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._shepherds.discard(pid)

    def _sweep(self, request: Sweep) -> Swept:
        """Kill every child that is no shepherd, and what is below it."""
        killed: set[int] = set()
        give_up = time.monotonic() + SWEEP_S
        while True:
            self._reap()
            table = processes.table()
            own = os.getpid()
            mine = [pid for pid, (parent, _, state) in table.items() if parent == own and state not in "ZX"]
            strays = [pid for pid in mine if pid not in self._shepherds]
            if not strays or time.monotonic() >= give_up:
                return Swept(request.request, len(killed))
            strays += processes.descendants(strays, table)
            processes.kill_each(strays, signal.SIGKILL)
            killed.update(strays)
            time.sleep(SWEEP_ROUND_S)


def write_log(path: str, text: str) -> None:
    """Append to a log that never grows over MAX_LOG_BYTES by more than one entry."""
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        mode = "a" if not os.path.exists(path) or os.path.getsize(path) < MAX_LOG_BYTES else "w"
        with open(path, mode, encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")


def read_runtime_dir(cluster_dir: str) -> str:
    """The runtime folder of a cluster folder, from DIR/socket. OSError if the cluster was never started."""
    with open(f"{cluster_dir}/socket", encoding="utf-8") as file:
        return file.read().strip()


def main(argv: list[str]) -> int:
    """`penstock launcher --dir DIR`: 0 if another launcher serves this folder already."""
    parser = argparse.ArgumentParser(prog="penstock launcher", description="Fork server of the shepherds of one host.")
    parser.add_argument("--dir", required=True, metavar="DIR", help="the cluster's folder")
    options = parser.parse_args(argv)
    cluster_dir = os.path.abspath(options.dir)
    try:
        runtime_dir = read_runtime_dir(cluster_dir)
        lock = os.open(f"{cluster_dir}/launcher.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        print(f"penstock launcher: error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    while os.open(os.devnull, os.O_RDWR) <= 2:  # 0, 1 and 2 are taken: no file of a job may land there
        pass
    setproctitle(f"penstock launcher --dir {cluster_dir}")
    processes.become_subreaper()
    os.chdir("/")
    Launcher(cluster_dir, runtime_dir, lock).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
