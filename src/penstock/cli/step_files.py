"""srun's own files: those that --input, --output and --error name here, the sinks that write them, standard input.

Guarantees: a file whose name is known before the step is opened before it, so that a bad name costs no step; a file that is named twice is
opened once and has one sink; standard input is read only by a foreground process, as a shell's child must.
"""

from __future__ import annotations

import os

from penstock.cli import terminal
from penstock.cli.step_output import Sink, label_width
from penstock.spec.patterns import fill, letters_in
from penstock.wire import stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.cli.step_plan import Endpoint, StepPlan

STEP_LETTERS = "sJ"
"""Letters of a file pattern that the step's number fills."""


class StepFailed(Exception):
    """Lines for stderr, without the program's name."""


class StepFiles:
    """`names` fill the patterns; the step's number is added once it is known."""

    def __init__(self, plan: StepPlan, names: dict[str, str]) -> None:
        self.sinks: list[Sink] = []
        self.out: Sink | None = None
        self.err: Sink | None = None
        self.stdin_fd = -1
        self._plan = plan
        self._names = names
        self._opened: dict[str, int] = {}

    def open(self, job_id: int, step_id: int = -1) -> None:
        """What can be opened by now, `step_id` -1: before the step. Raises StepFailed."""
        plan = self._plan
        if plan.pty:
            return
        truncate = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if plan.append else os.O_TRUNC)
        for end, flags in ((plan.stdin, os.O_RDONLY), (plan.stdout, truncate), (plan.stderr, truncate)):
            path = end.path
            if not path or path in self._opened or (step_id < 0 and any(letter in STEP_LETTERS for letter in letters_in(path))):
                continue
            name = fill(path, {**self._names, "s": str(step_id), "J": f"{job_id}.{step_id}"})
            try:
                self._opened[path] = os.open(name, flags | os.O_CLOEXEC, 0o666)
            except OSError as exc:
                raise StepFailed(f"Could not open {name}: {exc.strerror}") from None

    def begin(self, ntasks: int, on_error: Callable[[str], None]) -> None:
        """The step is there: its sinks, and where its input comes from."""
        plan = self._plan
        if plan.pty:
            self.stdin_fd = 0
        elif plan.stdin.word == "client" or plan.stdin.word.startswith("task:"):
            self.stdin_fd = self._opened.get(plan.stdin.path, 0)
        raw = plan.pty or plan.unbuffered or ntasks == 1
        width = label_width(ntasks) if plan.label and not plan.pty else 0
        made: dict[int, Sink] = {}

        def sink(end: Endpoint, fd: int) -> Sink:
            fd = self._opened.get(end.path, fd)
            if fd not in made:
                made[fd] = Sink(fd, raw=raw, label_width=width, on_error=lambda why: on_error(f"write to {end.path or fd} failed: {why}"))
            return made[fd]

        self.out, self.err = sink(plan.stdout, 1), sink(plan.stderr, 2)
        self.sinks = list(made.values())

    @property
    def full(self) -> bool:
        """A sink holds all it may: nothing more is to be taken from the shepherds."""
        return any(sink.full for sink in self.sinks)

    @property
    def pending(self) -> bool:
        return any(sink.pending for sink in self.sinks)

    def may_read(self) -> bool:
        return self.stdin_fd >= 0 and (not os.isatty(self.stdin_fd) or terminal.in_foreground(self.stdin_fd))

    def waits_for_foreground(self) -> bool:
        """The terminal belongs to somebody else: it has to be looked at again, nothing tells."""
        return self.stdin_fd >= 0 and os.isatty(self.stdin_fd) and not terminal.in_foreground(self.stdin_fd)

    def read(self) -> bytes | None:
        """A piece of standard input; empty at its end, None where there is nothing now."""
        try:
            data = os.read(self.stdin_fd, stdio.MAX_PAYLOAD_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:  # closed, or the terminal is gone
            data = b""
        if not data:
            self.stdin_fd = -1
        return data

    def close(self) -> None:
        for fd in self._opened.values():
            os.close(fd)
