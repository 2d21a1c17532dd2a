"""salloc: gets an allocation, runs a command or the user's shell in it here, and gives it back when that ends.

On a terminal the command gets a process group of its own and the foreground, as a shell would do; when it is stopped, salloc stops with it.

Signals while the command runs: TERM, USR1 and USR2 are forwarded to it, INT and QUIT are left to it, HUP gives the allocation back and
leaves without waiting. When the allocation is revoked the command goes on without it; --kill-command signals it (TERM, HUP for a shell).
Exit status: the command's; 0 where HUP, INT, QUIT or KILL ended it, 1 for other signals and where it could not be run.
"""

from __future__ import annotations

import os
import select
import sys
import time
from errno import ENOENT

from penstock.cli import signal_pipe
from penstock.cli.allocation import Allocation, GivenUp, allocate
from penstock.cli.step_plan import find_program
from penstock.spec import options
from penstock.spec.export import pack
from penstock.spec.options import InvalidOption, Options
from penstock.spec.options_submit import OPTIONS
from penstock.spec.request import build, settle
from penstock.spec.request_values import fail
from penstock.spec.submitter import describe_submitter
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "salloc"
DEFAULT_NAME = "interactive"
SIGTTIN, SIGTTOU, SIGPIPE, SIGXFSZ, SIGSTOP = 21, 22, 13, 25, 19
FORWARDED = (signal_pipe.TERM, signal_pipe.USR1, signal_pipe.USR2)
HEARD = (signal_pipe.HUP, signal_pipe.INT, signal_pipe.QUIT, *FORWARDED, signal_pipe.CONT, signal_pipe.CHLD)
ORDINARY_ENDS = (signal_pipe.HUP, signal_pipe.INT, signal_pipe.QUIT, 9)
"""Signals that the user most likely sent: no failure."""
RETRY_POLL_MS = 200
IMMEDIATE = (2016, 2155)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return run(arguments)
    except InvalidOption as error:
        _stderr("\n".join(error.lines))
        return error.status
    except (lite.Refused, lite.Unreachable) as error:
        if error.detail:
            _say(f"error: {error.detail}")
        _say(f"error: Job submit/allocate failed: {error.text}")
        immediate = os.environ.get("SLURM_EXIT_IMMEDIATE", "")
        if isinstance(error, lite.Refused) and error.number in IMMEDIATE and immediate.isdecimal():
            return int(immediate) & 0xFF
    except GivenUp as error:
        if error.job_id:
            _say(f"Job allocation {error.job_id} has been revoked.")
        _say("Job aborted due to signal")
        return 1
    except ValueError as error:
        _say(f"error: {error}")
    text = os.environ.get("SLURM_EXIT_ERROR", "")
    return int(text) & 0xFF if text.isdecimal() and len(text) < 4 and int(text) else 1


def run(arguments: Sequence[str]) -> int:
    """Everything from the command line to the exit status; failures are exceptions."""
    known = options.entries(OPTIONS, PROGRAM)
    settings, words = options.parse(arguments, known, PROGRAM)
    typed = {options.destination(entry): value for entry, value in settings}
    for key in ("help", "usage", "version"):
        if key in typed:
            from penstock.cli.manual import show

            show(PROGRAM, key, known)
            return 0
    merged = options.merge(known, PROGRAM, os.environ, settings)
    for warning in merged.warnings:
        _say(f"warning: {warning}")
    kill_command = _kill_command(merged, bool(words))
    quiet = bool(merged.text("quiet"))
    if "no_shell" in merged and words:
        raise InvalidOption([f"{PROGRAM}: error: --no-shell does not allow a command, {words[0][:64]!r} was given"], 1)
    fields: dict[str, object] = {"name": DEFAULT_NAME, **build(merged, PROGRAM, int(time.time()))}
    for line in settle(fields, PROGRAM):
        _say(line)
    fields.update(describe_submitter(merged, PROGRAM, arguments))
    waited = False

    def tell(text: str) -> None:
        if not quiet:
            _say(text)

    def pending(job_id: int) -> None:
        nonlocal waited
        waited = True
        tell(f"Pending job allocation {job_id}")
        tell(f"job {job_id} queued and waiting for resources")

    if "no_shell" in merged:
        fields["unattended"] = True
    allocation = allocate(fields, pack(os.environb), pending, tell, stays="no_shell" not in merged)
    if waited:
        tell(f"job {allocation.job_id} has been allocated resources")
    tell(f"Granted job allocation {allocation.job_id}")
    if "no_shell" in merged:
        return 0
    if "chdir" in merged:
        try:
            os.chdir(str(fields["work_dir"]))
        except OSError as exc:
            _say(f"error: couldn't chdir to {fields['work_dir']}: {exc.strerror}")
    session = Session(allocation, list(words), kill_command, quiet=quiet)
    return session.run()


def _kill_command(merged: Options, has_command: bool) -> int:
    """The signal of --kill-command, 0 if it was not given."""
    if "kill_command" not in merged:
        return 0
    text = merged.text("kill_command")
    if not text or text == "yes":
        return signal_pipe.TERM if has_command else signal_pipe.HUP
    from penstock.spec.signals import parse_signal

    try:
        return parse_signal(text)
    except ValueError as error:
        raise fail(PROGRAM, [f"--kill-command: {error}"], 255) from None


class Session:
    """The command inside its allocation."""

    def __init__(self, allocation: Allocation, words: list[str], kill_command: int, *, quiet: bool) -> None:
        self._allocation = allocation
        self._words = words or [os.environ.get("SHELL", "") or _passwd_shell()]
        self._kill_command = kill_command
        self._quiet = quiet
        self._pid = 0
        self._wait_status: int | None = None
        self._revoked = False
        self._left = False
        # as a shell would: only where we own the terminal may we hand it on
        self._terminal = os.isatty(0) and _foreground() == os.getpgrp()

    def run(self) -> int:
        """The exit status."""
        signals = signal_pipe.SignalPipe(HEARD)
        try:
            self._start()
            while self._wait_status is None and not self._left:
                self._turn(signals)
        except OSError as exc:
            name = self._words[0]
            _say(f'error: Unable to find command "{name}"' if exc.errno == ENOENT else f"error: {name}: {exc.strerror}")
            self._wait_status = 1 << 8
        finally:
            self._take_terminal(os.getpgrp())
            signals.close()
        if not self._revoked:
            self._tell(f"Relinquishing job allocation {self._allocation.job_id}")
            try:
                self._allocation.release(self._wait_status or 0)
            except lite.Unreachable as error:
                _say(f"error: Unable to release job allocation {self._allocation.job_id}: {error.text}")
        elif self._allocation.request is not None:
            self._allocation.request.close()
        status = self._wait_status or 0
        number = status & 0x7F
        return status >> 8 if not number else 0 if number in ORDINARY_ENDS else 1

    def _start(self) -> None:
        environment = dict(os.environb)
        environment.update({os.fsencode(name): os.fsencode(value) for name, value in self._allocation.variables.items()})
        program = find_program(self._words[0])
        defaults = (SIGPIPE, SIGXFSZ, SIGTTOU)
        if not self._terminal:
            self._pid = os.posix_spawn(program, self._words, environment, setsigdef=defaults)
        else:
            self._pid = os.posix_spawn(program, self._words, environment, setsigdef=defaults, setpgroup=0)
            self._take_terminal(self._pid)
            os.killpg(self._pid, signal_pipe.CONT)  # it may have asked for the terminal before it had it

    def _turn(self, signals: signal_pipe.SignalPipe) -> None:
        request = self._allocation.request
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        if request is not None and request.fileno() >= 0:
            poll.register(request.fileno(), select.POLLIN)
        retrying = request is not None and request.retry_at_s is not None
        for fd, _ in poll.poll(RETRY_POLL_MS if retrying else None):
            if fd == signals.fileno():
                for number in signals.take():
                    self._on_signal(number)
            elif request is not None:
                self._hear(request.read)
        if request is not None:
            request.retry()

    def _hear(self, read: object) -> None:
        assert callable(read)
        try:
            frames = read()
        except lite.Refused as error:  # after a restart of the controller: the job is over
            frames = [(lite.EVENT, f"revoked\t{error.text}")]
        for kind, text in frames:
            word, _, reason = text.partition("\t")
            if kind == lite.EVENT and word == "revoked" and not self._revoked:
                self._on_revoked(reason)

    def _on_revoked(self, reason: str) -> None:
        self._revoked = True
        job_id = self._allocation.job_id
        if "TimeLimit" in reason or "TIMEOUT" in reason.upper():
            self._tell(f"Job {job_id} has exceeded its time limit and its allocation has been revoked.")
        else:
            self._tell(f"Job allocation {job_id} has been revoked.")
        if self._terminal:
            group = _foreground()
            if group not in (self._pid, os.getpgrp(), -1):
                _send(os.killpg, group, signal_pipe.HUP)  # what an interactive shell runs in the foreground
        if self._kill_command:
            self._forward(self._kill_command)

    def _on_signal(self, number: int) -> None:
        if number == signal_pipe.CHLD:
            self._reap()
        elif number == signal_pipe.HUP:
            self._left = True
        elif number in FORWARDED:
            self._forward(number)
        elif number == signal_pipe.CONT and self._terminal:
            self._take_terminal(self._pid)
            self._forward(signal_pipe.CONT)

    def _forward(self, number: int) -> None:
        if self._terminal:
            _send(os.killpg, self._pid, number)
        else:
            _send(os.kill, self._pid, number)

    def _reap(self) -> None:
        pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED)
        if pid != self._pid:
            return
        if os.WIFSTOPPED(status):
            if self._terminal:  # Ctrl-Z: the shell that started us takes over until it sends SIGCONT
                self._take_terminal(os.getpgrp())
                os.kill(0, SIGSTOP)
            return
        self._wait_status = status

    def _take_terminal(self, group: int) -> None:
        """Make `group` the terminal's foreground; we may be in the background ourselves, so SIGTTOU must not stop us."""
        if not self._terminal:
            return
        import _signal

        before = _signal.signal(SIGTTOU, _signal.SIG_IGN)
        try:
            os.tcsetpgrp(0, group)
        except OSError:  # the terminal, or the group, is gone
            return
        finally:
            _signal.signal(SIGTTOU, before)

    def _tell(self, text: str) -> None:
        if not self._quiet:
            _say(text)


def _foreground() -> int:
    try:
        return os.tcgetpgrp(0)
    except OSError:
        return -1


def _send(kill: object, target: int, number: int) -> None:
    assert callable(kill)
    try:
        kill(target, number)
    except (ProcessLookupError, PermissionError):
        return


def _passwd_shell() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_shell or "/bin/sh"
    except KeyError:
        return "/bin/sh"


def _say(text: str) -> None:
    _stderr(f"{PROGRAM}: {text}")


def _stderr(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:  # nobody listens
        return
