"""Starting one process of a user's: identity, descriptors, limits, environment; nothing else of the shepherd reaches it.

Two ways. `spawn_shared` (batch scripts) puts on what the child is to inherit - the user's identity, folder, umask, control group - starts
it with posix_spawn, which shares memory instead of copying it, and takes everything off again: half the CPU time of a fork (1.1 against
2.2 ms a job, measured). While the identity is on, the saved user id stays 0: the kernel then lets the user signal us, which can hurt only
his own job, but not trace us. `spawn` forks, and the child does everything to itself: for tasks, which must know their own pid
(SLURM_TASK_PID) and may own a terminal, and wherever `needs_child` says so. It does not wait for exec: what went wrong before it comes
through a pipe that `failure_of` reads once the child is reaped.

Files are opened and folders made with the user's rights. Assumes one thread, and that every descriptor of the shepherd is close-on-exec.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import stat
from typing import TYPE_CHECKING

from penstock.agent.shepherd.stdio_task import take_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FAILURE_BYTES = 4096
OUTPUT_MODE = 0o666
PARENT_MODE = 0o755


class Identity:
    """Whom processes run as. Only root can be somebody else; for everybody else this is who we are."""

    __slots__ = ("gid", "groups", "own_groups", "switch", "uid", "user")

    def __init__(self, user: str, uid: int, gid: int) -> None:
        self.user, self.uid, self.gid = user, uid, gid
        self.switch = os.geteuid() == 0 and uid != 0
        self.own_groups = os.getgroups()
        self.groups = self.own_groups
        if self.switch:
            try:
                self.groups = os.getgrouplist(user, gid)
            except (KeyError, OSError):
                self.groups = [gid]

    def become(self) -> None:
        """For good: in a child."""
        if self.switch:
            os.setgroups(self.groups)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)

    @contextlib.contextmanager
    def as_user(self) -> Iterator[None]:
        """The file system sees the user; signals and ptrace still see root, so the user cannot touch us."""
        if not self.switch:
            yield
            return
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(self.own_groups)

    @contextlib.contextmanager
    def worn(self) -> Iterator[None]:
        """What we start inside is born as the user; the saved ids are the way back."""
        if not self.switch:
            yield
            return
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, 0)
        os.setresuid(self.uid, self.uid, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(self.own_groups)

    def open(self, path: str, flags: int) -> int:
        """Open as the user; folders that are missing above a file to be written are made. OSError names the file."""
        with self.as_user():
            return open_output(path, flags) if flags & os.O_CREAT else os.open(path, flags | os.O_CLOEXEC)


def open_output(path: str, flags: int) -> int:
    """Open a file for writing, make missing folders above it (0755)."""
    try:
        return os.open(path, flags | os.O_CLOEXEC, OUTPUT_MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), mode=PARENT_MODE, exist_ok=True)
        return os.open(path, flags | os.O_CLOEXEC, OUTPUT_MODE)


class Launch:
    """What to start. Descriptors either stand in `fds`, or `files` = (stdin, stdout, stderr, append) are opened by the child; an empty
    stderr joins stdout. `enter`: descriptors of the groups that the
    child is to be born in (see `cgroups.RunGroups`); `leave`: the way back from there."""

    __slots__ = (
        "argv",
        "cwd",
        "enter",
        "environment",
        "fds",
        "files",
        "identity",
        "leave",
        "path",
        "rlimits",
        "task_pid",
        "terminal",
        "umask",
    )

    def __init__(self, identity: Identity, argv: list[bytes], environment: dict[bytes, bytes]) -> None:
        self.identity = identity
        self.argv = argv
        self.path = b""
        """The file to execute; empty: argv[0], looked for in the environment's PATH if it has no slash."""
        self.environment = environment
        self.cwd = "/"
        self.umask = 0o022
        self.rlimits: dict[str, int] = {}
        self.fds: tuple[int, int, int] | None = None
        self.files: tuple[str, str, str, bool] | None = None
        self.terminal = False
        self.task_pid = False
        """Tell the child its pid in SLURM_TASK_PID."""
        self.enter: tuple[int, ...] = ()
        self.leave: tuple[int, ...] = ()


FILES_FAILED_EXIT = 253
"""Exit code of a child that could not open its files; the text is in `failure_of`."""


class Failed(Exception):
    """A file of the user's could not be opened; nothing was started."""


class NotExecuted(Exception):
    """The file could not be executed; that was told on its standard error. `status` is what Slurm exits with: the error's number."""

    def __init__(self, status: int) -> None:
        super().__init__(os.strerror(status))
        self.status = status


def needs_child(launch: Launch) -> bool:
    """True where only a forked child can do what is asked: limits that are not ours, a terminal, its own pid, files whose opening may
    block."""
    if launch.terminal or launch.task_pid or launch.files is None:
        return True
    for name in (name for name in launch.files[:3] if name and name != os.devnull):
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.stat(name).st_mode):
                return True
    for name, wanted in launch.rlimits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is not None and resource.getrlimit(which)[0] != _soft(which, wanted):
            return True
    return False


def spawn_shared(launch: Launch) -> int:
    """Start it in a session of its own without copying our memory; the pid. Failed or NotExecuted if it does not run."""
    identity, opened = launch.identity, []
    umask = os.umask(launch.umask)
    try:
        with identity.as_user():
            fds = _open_files(launch, opened)
            _change_folder(launch.cwd, fds[2])
            _complete_environment(launch.environment)
        for group in launch.enter:
            os.write(group, b"0")
        try:
            with identity.worn():
                return os.posix_spawn(
                    launch.argv[0],
                    launch.argv,
                    launch.environment,
                    file_actions=[(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)],
                    setsid=True,
                    setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
                )
        except OSError as error:
            _complain(f"execve(): {os.fsdecode(launch.argv[0])}: {error.strerror}", fds[2])
            raise NotExecuted(error.errno) from None
    finally:
        for group in launch.leave:
            os.write(group, b"0")
        os.chdir("/")
        os.umask(umask)
        for fd in opened:
            os.close(fd)


def spawn(launch: Launch) -> tuple[int, int]:
    """Start it in a session of its own. Gives the pid and the descriptor for `failure_of`; OSError if there can be no process at all."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        pid = os.fork()
    except OSError:
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        _child(launch, writer)
    os.close(writer)
    return pid, reader


def failure_of(reader: int) -> str:
    """Why the child never became the user's program, after it was reaped; empty if it did. Closes the descriptor (-1: none)."""
    if reader < 0:
        return ""
    try:
        return os.read(reader, MAX_FAILURE_BYTES).decode(errors="replace")
    except BlockingIOError:
        return ""
    finally:
        os.close(reader)


def _child(launch: Launch, writer: int) -> None:
    """In the child: never returns."""
    status = 1
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for group in launch.enter:
            os.write(group, b"0")
        os.setsid()
        os.umask(launch.umask)
        _limit(launch.rlimits)
        launch.identity.become()
        _descriptors(launch)
        if launch.terminal:
            take_terminal()
        _change_folder(launch.cwd, 2)
        if launch.task_pid:
            launch.environment[b"SLURM_TASK_PID"] = str(os.getpid()).encode()
        _complete_environment(launch.environment)
        status = _execute(launch)
    except Failed as failure:
        status = FILES_FAILED_EXIT
        os.write(writer, str(failure).encode(errors="replace")[:MAX_FAILURE_BYTES])
    except BaseException as error:  # noqa: BLE001 - this process may do nothing but report and end
        os.write(writer, repr(error).encode(errors="replace")[:MAX_FAILURE_BYTES])
    finally:
        os._exit(status)


def _limit(rlimits: dict[str, int]) -> None:
    """Soft limits as they were where the job was submitted, as far as the hard limits here allow."""
    for name, wanted in rlimits.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is None:
            continue
        resource.setrlimit(which, (_soft(which, wanted), resource.getrlimit(which)[1]))


def _soft(which: int, wanted: int) -> int:
    """The soft limit that is wanted, as far as the hard one allows."""
    hard = resource.getrlimit(which)[1]
    soft = resource.RLIM_INFINITY if wanted < 0 else wanted
    if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
        return hard
    return soft


def _descriptors(launch: Launch) -> None:
    fds = list(launch.fds) if launch.fds is not None else _open_files(launch, [])
    # Out of the way of 0, 1 and 2 first: they may come in any order.
    fds = [fd if fd > 2 else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in fds]
    for target, fd in enumerate(fds):
        os.dup2(fd, target)


def _open_files(launch: Launch, opened: list[int]) -> list[int]:
    """The three files, each descriptor also noted in `opened`. Failed where one cannot be opened."""
    stdin, stdout, stderr, append = launch.files
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | (0 if append else os.O_TRUNC)
    opened.append(_open_or_fail("stdin", stdin, os.O_RDONLY | os.O_NOCTTY))
    opened.append(_open_or_fail("stdout", stdout, flags))
    if stderr in ("", stdout):
        return [opened[0], opened[1], opened[1]]
    opened.append(_open_or_fail("stderr", stderr, flags))
    return list(opened)


def _open_or_fail(what: str, path: str, flags: int) -> int:
    try:
        return open_output(path, flags) if flags & os.O_CREAT else os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(f"Could not open {what} file {path}: {error.strerror}") from None


def _change_folder(cwd: str, stderr: int) -> None:
    try:
        os.chdir(cwd)
    except OSError as error:
        _complain(f"couldn't chdir to `{cwd}': {error.strerror}: going to /tmp instead", stderr)
        os.chdir("/tmp")


def _complete_environment(environment: dict[bytes, bytes]) -> None:
    """TMPDIR names a folder that is there."""
    temporary = environment.get(b"TMPDIR")
    if not temporary or (temporary != b"/tmp" and not os.path.isdir(temporary)):
        environment[b"TMPDIR"] = b"/tmp"


def _execute(launch: Launch) -> int:
    """Execute; only on failure it returns, with the exit status that tells it (the error's number, as Slurm's step daemon does)."""
    argv, name = launch.argv, launch.path or launch.argv[0]
    candidates = [name]
    if b"/" not in name:
        search = launch.environment.get(b"PATH", os.defpath.encode())
        candidates = [os.path.join(folder or b".", name) for folder in search.split(b":")]
    number = errno.ENOENT
    for candidate in candidates:
        try:
            os.execve(candidate, argv, launch.environment)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                number = error.errno
                if number != errno.EACCES:
                    break
    _complain(f"execve(): {os.fsdecode(name)}: {os.strerror(number)}", 2)
    return number


def _complain(text: str, stderr: int) -> None:
    os.write(stderr, f"slurmstepd: error: {text}\n".encode(errors="surrogateescape"))
