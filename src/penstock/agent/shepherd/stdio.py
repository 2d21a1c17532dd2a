"""The standard descriptors of a step's tasks on one node, and their way to the client.

For each task `open_task` gives the three descriptors of the child (`stdio_task`). Files and /dev/null are the child's own from then on,
nothing of them passes this process; what goes to the client is a pipe (or a terminal with `pty`, for stdout with `unbuffered`) that this
class reads and sends through a `ClientLink`. The shepherd's poll loop drives it:

    io = StepIo(...); for each rank: fds = io.open_task(rank); spawn; close fds
    io.start()
    loop: poll(io.poll_fds() + ...) → io.handle(fd, events); io.tick(now_s) at io.next_deadline_s(); io.task_exited(rank, status)
    io.finished() → io.close()

A task with `needs_terminal(rank)` must be a session leader and call `stdio_task.take_terminal` before exec, to own its terminal.

sattach: nothing listens here. `sattach` listens as srun does and asks the controller (op step_attach: address and key, the kernel says who
asks); the controller sends AttachStep to the step's agents, they hand it to the shepherd, and `attach` dials. Such a reader gets the last
REPLAY_BYTES first, may type into tasks that read from the client, and never slows the job: what it is too slow for is skipped, and said.

Guarantees: bytes arrive whole, in order and unchanged; memory is bounded (one window of `wire.stdio` a client); a slow srun stops the
tasks' pipes, a dead one does not: after the bound in `stdio_link` output is read and thrown away and the tasks see the end of their
standard input.
Assumes: the caller kills what the tasks leave behind; a pipe that is still held LINGER_S after the last exit, silent, is closed.
Times are seconds of `clock`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections import deque
from typing import TYPE_CHECKING

from penstock.agent.shepherd.stdio_link import ClientLink
from penstock.agent.shepherd.stdio_task import Opener, TaskEnds, set_window
from penstock.wire import stdio

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from penstock.wire.messages import TaskIo

LINGER_S = 2.0
"""After the last task's exit, for silent pipes that something still holds open."""
ATTACHED_FLUSH_S = 2.0
"""After the end of all output, for readers that attached later."""
REPLAY_BYTES = 1 << 16
TERMINAL_LOOK_S = 0.1
"""Between two looks at a terminal that a living task has closed: closing our side would hang it up, and /dev/tty may open it again."""
MAX_ATTACHED = 16
_END_OF_FILE_KEY = b"\x04"


class StepIo:
    def __init__(
        self,
        io: TaskIo,
        *,
        node: str,
        job_id: int,
        attempt: int,
        step_id: int,
        ranks: tuple[int, ...],
        names: dict[str, str],
        open_file: Callable[[str, int], int],
        owner_uid: int | None = None,
        dial_as: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`names`: what a letter of a file pattern stands for (n, N, j, s, u ...; t is the rank); `open_file(path, flags)` opens as the
        user and raises OSError; `owner_uid`: only this user (or root) may be the client, None: our own user;
        `dial_as`: the rights with which clients are dialled."""
        self._io = io
        self._opener = Opener(io, {"N": node, "j": str(job_id), "J": f"{job_id}.{step_id}", "s": str(step_id), **names}, open_file)
        self._node_rank = int(names.get("n", "0"))
        self._clock = clock
        self._node = node
        self._owner_uid = os.getuid() if owner_uid is None else owner_uid
        self._dial_as = dial_as
        self._tasks = {rank: TaskEnds(rank) for rank in ranks}
        self._readers = [rank for rank in ranks if self._opener.reads_client(rank)]
        self._by_fd: dict[int, TaskEnds] = {}
        self._replay: deque[tuple[int, int, bytes]] = deque()
        self._replay_bytes = 0
        self._quiet_since_s: float | None = None
        self._complete_at_s: float | None = None
        self._links: list[ClientLink] = []
        self._main: ClientLink | None = None
        if io.address:
            self._main = self._link(io.address, io.key, lossy=False)
            self._links.append(self._main)

    # --- before the tasks start

    def open_task(self, rank: int) -> tuple[int, int, int]:
        """Three distinct descriptors for the child, close-on-exec; OSError where a file cannot be opened."""
        task = self._tasks[rank]
        fds = self._opener.open(task)
        for fd in task.fds():
            self._by_fd[fd] = task
        return fds

    def needs_terminal(self, rank: int) -> bool:
        """True where the child must call `stdio_task.take_terminal` (--pty, task 0)."""
        return self._opener.needs_terminal(rank)

    def _link(self, address: str, key: bytes, *, lossy: bool) -> ClientLink:
        return ClientLink(address, key, self._node, self._node_rank, owner_uid=self._owner_uid, lossy=lossy, dial_as=self._dial_as)

    # --- while they run

    def start(self) -> None:
        """Dial the client."""
        if self._main is not None:
            self._main.dial(self._clock())
            self._note_gone()

    def attach(self, address: str, key: bytes) -> None:
        """Dial a further reader (sattach). ValueError when there are too many or the tasks' output does not come through here."""
        if not self._io.address:
            raise ValueError("this step's output goes to files, there is nothing to attach to")
        self._links = [link for link in self._links if link is self._main or not link.gone]
        if len(self._links) > MAX_ATTACHED:
            raise ValueError(f"{MAX_ATTACHED} readers are attached to this step already")
        link = self._link(address, key, lossy=True)
        for kind, rank, data in self._replay:
            link.push(kind, rank, data)
        for task in self._tasks.values():
            if task.exit:
                link.push(stdio.EXIT, task.rank, task.exit)
        self._links.append(link)
        link.dial(self._clock())

    def poll_fds(self) -> list[tuple[int, int]]:
        """(fd, events) for poll; also sends what was collected since the last call."""
        now_s = self._clock()
        out: list[tuple[int, int]] = []
        for link in self._links:
            link.flush(now_s)
            wanted = link.poll_fd()
            if wanted is not None:
                out.append(wanted)
        blocked = self._blocked
        for fd, task in self._by_fd.items():
            events = 0
            if fd in task.streams and not blocked and task.look_at_s is None:
                events |= select.POLLIN
            if fd == task.stdin_fd and (task.pending or task.pending_eof) and task.look_at_s is None:
                events |= select.POLLOUT
            if events:
                out.append((fd, events))
        return out

    @property
    def _blocked(self) -> bool:
        """The window of srun is full: nothing more is read from the tasks."""
        return self._main is not None and self._main.full

    def owns(self, fd: int) -> bool:
        """Whether `handle` is for this descriptor."""
        return fd in self._by_fd or any(wanted[0] == fd for wanted in map(ClientLink.poll_fd, self._links) if wanted is not None)

    def handle(self, fd: int, events: int) -> None:
        """poll said that `fd` is ready."""
        task = self._by_fd.get(fd)
        if task is None:
            for link in self._links:
                wanted = link.poll_fd()
                if wanted is not None and wanted[0] == fd:
                    self._from_client(link, link.handle(self._clock()))
                    break
            return
        if fd == task.stdin_fd and events & (select.POLLOUT | select.POLLERR):
            self._feed(task)
        if fd in task.streams and events & (select.POLLIN | select.POLLHUP | select.POLLERR) and not self._blocked:
            self._read(task, fd)

    def _read(self, task: TaskEnds, fd: int) -> bool:
        """One piece of output; False when there is none now."""
        kind = task.streams[fd]
        try:
            data = os.read(fd, stdio.MAX_PAYLOAD_BYTES)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as exc:
            if exc.errno == errno.EIO and fd == task.stdin_fd and not task.exit:
                task.look_at_s = self._clock() + TERMINAL_LOOK_S
                return False
            if exc.errno != errno.EIO:  # EIO: every descriptor of the terminal's other side is closed
                self.notice(f"slurmstepd-{self._node}: error: task {task.rank}: output lost: {exc.strerror}")
            data = b""
        if data:
            self._quiet_since_s = None
            self._remember(kind, task.rank, data)
            for link in self._links:
                link.push(kind, task.rank, data)
            return True
        self._end_stream(task, fd)
        return False

    def _remember(self, kind: int, rank: int, data: bytes) -> None:
        replay = self._replay
        replay.append((kind, rank, data))
        self._replay_bytes += len(data)
        while self._replay_bytes > REPLAY_BYTES and len(replay) > 1:
            self._replay_bytes -= len(replay.popleft()[2])

    def _end_stream(self, task: TaskEnds, fd: int) -> None:
        kind = task.streams.pop(fd)
        del self._by_fd[fd]
        os.close(fd)
        if fd == task.stdin_fd:
            task.stdin_fd = -1
            self._drop_input(task)
        for link in self._links:
            link.push(kind, task.rank)

    def _from_client(self, link: ClientLink, frames: list[tuple[int, int, bytes, int]]) -> None:
        for kind, rank, payload, offset in frames:
            if kind == stdio.RESIZE:
                self._resize(payload)
                continue
            readers = [self._tasks[number] for number in self._readers if rank in (stdio.ALL, number)]
            readers = [task for task in readers if not task.exit]
            if payload:
                entry = [offset, len(readers)]
                link.unacknowledged.append(entry)
                for task in readers:
                    task.pending.append((payload, entry))
            elif link is self._main:
                for task in readers:
                    task.pending_eof = True
            for task in readers:
                self._feed(task)
        link.consumed()
        self._note_gone()

    def _resize(self, payload: bytes) -> None:
        try:
            rows, columns = stdio.parse_resize(payload)
        except stdio.ProtocolError:
            return
        for task in self._tasks.values():
            if self._io.pty and task.stdin_fd >= 0:
                set_window(task.stdin_fd, rows, columns)

    def _feed(self, task: TaskEnds) -> None:
        """Write input to the task until its pipe is full."""
        if task.stdin_fd < 0:
            return  # not opened yet: the input waits
        while task.pending:
            data, entry = task.pending[0]
            try:
                count = os.write(task.stdin_fd, data)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # EPIPE: the task closed its standard input
                self._close_input(task)
                return
            if count < len(data):
                task.pending[0] = (data[count:], entry)
                continue
            task.pending.popleft()
            _release(entry)
        for link in self._links:
            link.consumed()
        if task.pending_eof:
            if task.stdin_fd in task.streams:  # a terminal: its end of file is a key
                with contextlib.suppress(OSError):
                    os.write(task.stdin_fd, _END_OF_FILE_KEY)
                task.pending_eof = False
            else:
                self._close_input(task)

    def _close_input(self, task: TaskEnds) -> None:
        if task.stdin_fd >= 0 and task.stdin_fd not in task.streams:
            del self._by_fd[task.stdin_fd]
            os.close(task.stdin_fd)
        if task.stdin_fd not in task.streams:
            task.stdin_fd = -1
        self._drop_input(task)

    def _drop_input(self, task: TaskEnds) -> None:
        if task.rank in self._readers:
            self._readers.remove(task.rank)
        task.pending_eof = False
        while task.pending:
            _release(task.pending.popleft()[1])
        for link in self._links:
            link.consumed()

    def notice(self, text: str) -> None:
        """A line for the standard error of every client, such as `slurmstepd-n1: error: ...`."""
        data = text.encode(errors="surrogateescape")[: stdio.MAX_PAYLOAD_BYTES]
        for link in self._links:
            link.push(stdio.NOTICE, 0, data)

    def task_exited(self, rank: int, wait_status: int, cause: str = "") -> None:
        """The task was reaped; `cause` is one of wire.messages.CAUSES."""
        task = self._tasks[rank]
        task.exit = f"{wait_status}\t{cause}".encode()
        task.look_at_s = None
        self._close_input(task)
        self._quiet_since_s = None
        for link in self._links:
            link.push(stdio.EXIT, rank, task.exit)

    # --- time and the end

    def next_deadline_s(self) -> float | None:
        """When `tick` must be called, in seconds of `clock`; None: no time matters."""
        deadlines = [when for when in (link.next_deadline_s() for link in self._links) if when is not None]
        deadlines += [task.look_at_s for task in self._tasks.values() if task.look_at_s is not None]
        if self._lingering():
            if self._quiet_since_s is None:
                self._quiet_since_s = self._clock()
            deadlines.append(self._quiet_since_s + LINGER_S)
        if self._complete_at_s is not None and any(not link.delivered for link in self._links):
            deadlines.append(self._complete_at_s + ATTACHED_FLUSH_S)
        return min(deadlines, default=None)

    def tick(self, now_s: float) -> None:
        for link in self._links:
            link.tick(now_s)
        self._note_gone()
        for task in self._tasks.values():
            if task.look_at_s is not None and now_s >= task.look_at_s:
                task.look_at_s = None
        if self._lingering():
            if self._quiet_since_s is None:
                self._quiet_since_s = now_s
            elif now_s - self._quiet_since_s >= LINGER_S:
                self._end_silent_streams()

    def _lingering(self) -> bool:
        """Every task exited, some output is still held open, and it is not us who wait for the client."""
        if self._main is not None and self._main.full:
            self._quiet_since_s = None
            return False
        tasks = self._tasks.values()
        return all(task.exit for task in tasks) and any(task.streams for task in tasks)

    def _end_silent_streams(self) -> None:
        for task in self._tasks.values():
            for fd in list(task.streams):
                if not self._read(task, fd) and fd in task.streams:
                    self._end_stream(task, fd)

    def _note_gone(self) -> None:
        """srun is gone: nobody will ever type again."""
        if self._main is not None and self._main.gone:
            for rank in list(self._readers):
                task = self._tasks[rank]
                if task.stdin_fd in task.streams:  # the terminal hangs up
                    self._end_stream(task, task.stdin_fd)
                else:
                    self._close_input(task)

    def finished(self) -> bool:
        """All output is with the clients, or a bound said that it never will be."""
        if not all(task.exit and not task.streams for task in self._tasks.values()):
            return False
        now_s = self._clock()
        if self._complete_at_s is None:
            self._complete_at_s = now_s
            for link in self._links:
                link.finish()
                link.flush(now_s)
        late = now_s - self._complete_at_s >= ATTACHED_FLUSH_S
        return all(link.delivered or (late and link.lossy) for link in self._links)

    def close(self) -> None:
        self._by_fd.clear()
        for task in self._tasks.values():
            task.close()
        for link in self._links:
            link.close()


def _release(entry: list[int] | None) -> None:
    if entry is not None:
        entry[1] -= 1
