"""sattach: shows the input and output of a running step once more, here.

It listens as srun does; the controller, which knows from the kernel who asks, tells the step's shepherds to dial. What was said before
comes with the last 64 KiB of it; too slow a reader misses output and is told so, the step never waits. It ends with the step.
Interrupting sattach ends sattach only.
"""

from __future__ import annotations

import os
import select
import sys

from penstock.cli import signal_pipe, terminal
from penstock.cli.step_client import StepClient
from penstock.cli.step_output import Sink, label_width
from penstock.spec import options
from penstock.spec.options import InvalidOption
from penstock.spec.options_control import SATTACH
from penstock.wire import lite, stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sattach"
USAGE = "Usage: sattach [options] <jobid.stepid>"
DIAL_S = 15.0
"""How long the shepherds may take to dial."""
GONE_S = 12.0
"""Without any connection after there was one: the shepherd tries GIVE_UP_S (10 s) to come back."""
SIGNALS = (signal_pipe.HUP, signal_pipe.INT, signal_pipe.QUIT, signal_pipe.TERM, signal_pipe.WINCH)
ANY = -1


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
        _say(f"error: Could not get job step info: {error.text}")
        return 1


def run(arguments: Sequence[str]) -> int:
    """Everything from the command line to the exit status; failures are exceptions."""
    known = options.entries(SATTACH, PROGRAM)
    settings, words = options.parse(arguments, known, PROGRAM, permute=True)
    typed = {options.destination(entry): value for entry, value in settings}
    for key in ("help", "usage", "version"):
        if key in typed:
            from penstock.cli.manual import show

            show(PROGRAM, key, known)
            return 0
    merged = options.merge(known, PROGRAM, os.environ, settings)
    if len(words) != 1:
        what = "too many parameters" if len(words) > 1 else "No job step was named"
        raise InvalidOption([f"{PROGRAM}: error: {what}", USAGE], 1)
    job, _, step = words[0].partition(".")
    if not (job.isdecimal() and step.isdecimal() and len(job) < 11 and len(step) < 11):
        raise InvalidOption([f"{PROGRAM}: error: Failed to parse stepid from command line options", USAGE], 1)
    job_id, step_id = int(job), int(step)
    if "layout" in merged:
        _tell_layout(lite.request({"op": "step_info", "job_id": job_id, "step_id": step_id}))
        return 0
    reader = Reader(
        label="label" in merged,
        raw="pty" in merged,
        tasks={key: _task(merged.text(f"{key}_filter"), key) for key in ("input", "output", "error")},
    )
    verbose = bool(merged.text("verbose")) and not merged.text("quiet")
    try:
        return reader.run(job_id, step_id, verbose=verbose)
    finally:
        reader.close()


def _task(text: str, key: str) -> int:
    """A filter's task, ANY without one."""
    if not text or text.lower() == "all":
        return ANY
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidOption([f"{PROGRAM}: error: Invalid --{key}-filter {text[:32]!r}: a task's number is expected"], 1)
    return int(text)


def _tell_layout(text: str) -> None:
    """Slurm's own form. Ranks are counted in blocks."""
    fields = text.split("\t")
    names, counts = fields[2].split(","), [int(count) for count in fields[3].split(",")]
    lines = ["Job step layout:", f"\t{fields[1]} tasks, {len(names)} nodes ({','.join(names)})", ""]
    first = 0
    for index, (name, count) in enumerate(zip(names, counts, strict=True)):
        ranks = "".join(f"{rank} " for rank in range(first, first + count))
        lines.append(f"\tNode {index} ({name}), {count} task(s): {ranks}")
        first += count
    os.write(1, ("\n".join(lines) + "\n").encode())


class Reader:
    """The attached client and its poll loop."""

    def __init__(self, *, label: bool, raw: bool, tasks: dict[str, int]) -> None:
        self._label = label and not raw
        self._tasks = tasks
        self._client = StepClient(self._on_frame)
        self._signals = signal_pipe.SignalPipe(SIGNALS)
        self._terminal = terminal.RawTerminal(0) if raw and os.isatty(0) else None
        self._raw = raw
        self._sinks: dict[int, Sink] = {}
        self._early: list[tuple[int, int, bytes]] = []
        self._stdin_open = True
        self._heard = False

    def run(self, job_id: int, step_id: int, *, verbose: bool) -> int:
        """0 at the step's end, 128 + signal if we were ended before, 1 if no shepherd dialled."""
        fields: dict[str, object] = {"op": "step_attach", "id": lite.new_id(), "job_id": job_id, "step_id": step_id}
        text = lite.request({**fields, "address": self._client.address, "key": self._client.key.hex()})
        ntasks, names = int(text.split("\t")[1]), text.split("\t")[2].split(",")
        if verbose:
            _say(f"attached to StepId={job_id}.{step_id}: {ntasks} tasks on {','.join(names)}")
        width = label_width(ntasks) if self._label else 0
        for kind, fd in ((stdio.OUT, 1), (stdio.ERR, 2)):
            self._sinks[kind] = Sink(
                fd, raw=self._raw or ntasks == 1, label_width=width, on_error=lambda why: _say(f"error: write failed: {why}")
            )
        self._client.expect(names)
        for frame in self._early:
            self._on_frame("", *frame)
        while not (self._client.finished and not any(sink.pending for sink in self._sinks.values())):
            number = self._turn()
            if number:
                return 128 + number
            if number is None:
                _say("error: no shepherd of the step answers")
                return 1
        for sink in self._sinks.values():
            sink.flush_partial()
            while sink.pending:
                sink.write(wait=True)
        return 0

    def _turn(self) -> int | None:
        """0 to go on, a signal's number, None when nobody is there."""
        poll = select.poll()
        poll.register(self._signals.fileno(), select.POLLIN)
        full = any(sink.full for sink in self._sinks.values())
        for fd, events in self._client.poll_fds(listening_only=full):
            poll.register(fd, events)
        for sink in self._sinks.values():
            if sink.pending:
                poll.register(sink.fd, select.POLLOUT)
        reads = self._stdin_open and self._heard and not self._client.input_full and terminal.in_foreground(0)
        if reads:
            poll.register(0, select.POLLIN)
        connected = self._client.connected
        self._heard = self._heard or connected
        timeout_s = None if connected else GONE_S if self._heard else DIAL_S
        ready = poll.poll(None if timeout_s is None else int(timeout_s * 1000))
        if not ready:
            return None
        for fd, events in ready:
            if fd == self._signals.fileno():
                for number in self._signals.take():
                    if number != signal_pipe.WINCH:
                        return number
                    self._client.send(stdio.RESIZE, 0, stdio.resize(*terminal.window_size(0)))
            elif self._client.owns(fd):
                self._client.handle(fd, events)
            elif fd == 0 and reads and events & ~select.POLLOUT:
                self._read_stdin()
        for sink in self._sinks.values():
            sink.write()
        return 0

    def _read_stdin(self) -> None:
        """Our end of input is only ours: the step's goes on."""
        try:
            data = os.read(0, stdio.MAX_PAYLOAD_BYTES)
        except OSError:
            data = b""
        if data:
            self._client.send(stdio.IN, stdio.ALL if self._tasks["input"] == ANY else self._tasks["input"], data)
        else:
            self._stdin_open = False

    def _on_frame(self, node: str, kind: int, rank: int, payload: bytes) -> None:
        if not self._sinks:
            self._early.append((kind, rank, payload))
        elif kind in self._sinks:
            if self._tasks["output" if kind == stdio.OUT else "error"] in (ANY, rank):
                self._sinks[kind].take(kind, rank, payload)
        elif kind == stdio.NOTICE:
            self._sinks[stdio.ERR].take_line(payload + (b"\r\n" if self._terminal is not None else b"\n"))

    def close(self) -> None:
        if self._terminal is not None:
            self._terminal.restore()
        self._signals.close()
        self._client.close()


def _say(text: str) -> None:
    _stderr(f"{PROGRAM}: {text}")


def _stderr(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:  # nobody listens
        return
