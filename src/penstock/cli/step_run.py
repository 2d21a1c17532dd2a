"""srun while its step runs: one poll loop over the controller, the shepherds, the terminal and the signals.

The step is made and its end is told by the controller (a held request that survives the controller's restart); output, input and the ends
of tasks come and go directly to the shepherds. srun leaves when the controller says that the end is durable and everything that the
shepherds have was written; where the controller does not come back, LOST_S after the last shepherd has said all.

Signals: SIGINT asks once and kills at the second within INTERRUPT_S; TERM, HUP and QUIT kill; USR1 and USR2 pass; WINCH resizes.
"""

from __future__ import annotations

import select
import time

from penstock.cli import signal_pipe, terminal
from penstock.cli.held import HeldRequest
from penstock.cli.step_client import StepClient
from penstock.cli.step_files import StepFailed, StepFiles
from penstock.cli.step_output import ranges
from penstock.cli.step_plan import for_the_nodes
from penstock.cli.step_report import StepReport, exit_code
from penstock.wire import lite, stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.cli.step_plan import StepPlan

INTERRUPT_S = 1.0
"""Between the two Ctrl-C that end a step."""
INTERRUPT_GRACE_S = 0.5
"""From the SIGINT that the second Ctrl-C sends to SIGKILL."""
ABORT_WAIT_S = 32
"""KillWait and 2 s: how long an ended step may take before srun leaves."""
LAST_OUTPUT_S = 2.0
"""After the controller told the end: for output of shepherds that are still there."""
LOST_S = 20.0
"""Without a controller, after the shepherds said everything."""
MAX_KILLS = 16
"""Signals that wait for the controller; one more is dropped with a message."""
FOREGROUND_POLL_S = 1.0
"""How often a background srun looks whether it may read the terminal again."""
SIGNALS = (
    *(signal_pipe.HUP, signal_pipe.INT, signal_pipe.QUIT, signal_pipe.TERM),
    *(signal_pipe.USR1, signal_pipe.USR2, signal_pipe.CONT, signal_pipe.WINCH),
)


class StepRun:
    """One step, from its request to srun's exit code (`run`). `names` fill the patterns of files here; the step's number is added."""

    def __init__(self, plan: StepPlan, job_id: int, environment: bytes, names: dict[str, str], say: Callable[[str], None]) -> None:
        self.plan = plan
        self.job_id = job_id
        self._files = StepFiles(plan, names)
        self._say_line = say
        self._client = StepClient(self._on_frame)
        fields = {"op": "step_create", "id": lite.new_id(), "job_id": job_id, **plan.fields}
        for end, key in ((plan.stdin, "stdin"), (plan.stdout, "stdout"), (plan.stderr, "stderr")):
            fields[key] = for_the_nodes(end.word, names)
        fields.update(address=self._client.address, key=self._client.key.hex())
        self._raw: terminal.RawTerminal | None = None
        self._pty = plan.pty
        if plan.pty:
            rows, columns = terminal.window_size(0)
            fields.update(pty=True, rows=rows, columns=columns, stdin="client", stdout="client", stderr="client")
        self._request = HeldRequest(fields, [environment])
        self._report = StepReport(self._error)
        self._kills: list[HeldRequest] = []
        self._early: list[tuple[str, int, int, bytes]] = []
        self._nodes: list[str] = []
        self._ntasks = 0
        self.step_id = -1
        self._waited = False
        self._final: list[str] | None = None
        self._final_at_s = 0.0
        self._interrupted_at_s = -INTERRUPT_S
        self._first_exit_s: float | None = None
        self._aborted_at_s: float | None = None
        self._kill_at_s: float | None = None
        self._signalled = 0

    @property
    def step_name(self) -> str:
        return f"StepId={self.job_id}.{self.step_id}"

    # --- messages

    def _say(self, text: str) -> None:
        if self._raw is not None:
            text += "\r"
        self._say_line(text)

    def _info(self, text: str) -> None:
        if not self.plan.quiet:
            self._say(text)

    def _error(self, text: str) -> None:
        self._say(f"error: {text}")

    # --- the loop

    def run(self) -> int:
        """The exit code. Raises Refused (no step), Unreachable, StepFailed."""
        self._files.open(self.job_id)
        signals = signal_pipe.SignalPipe(SIGNALS)
        try:
            self._request.start()
            while not self._over():
                self._turn(signals)
            self._finish()
        finally:
            if self._raw is not None:
                self._raw.restore()
            signals.close()
            self._request.close()
            self._client.close()
            for kill in self._kills:
                kill.close()
            self._files.close()
        return self._report.worst()

    def _turn(self, signals: signal_pipe.SignalPipe) -> None:
        poll = select.poll()
        poll.register(signals.fileno(), select.POLLIN)
        if self._request.fileno() >= 0:
            poll.register(self._request.fileno(), select.POLLIN)
        wait = self.step_id < 0 or self._files.full
        for fd, events in self._client.poll_fds(listening_only=wait):
            poll.register(fd, events)
        for sink in self._files.sinks:
            if sink.pending:
                poll.register(sink.fd, select.POLLOUT)
        kills = {kill.fileno(): kill for kill in self._kills if kill.fileno() >= 0}
        for fd in kills:
            poll.register(fd, select.POLLIN)
        reads_stdin = self.step_id >= 0 and not self._client.input_full and not self._client.finished and self._files.may_read()
        if reads_stdin:
            poll.register(self._files.stdin_fd, select.POLLIN)
        deadline_s = self._deadline_s()
        timeout_ms = None if deadline_s is None else max(0, int((deadline_s - time.monotonic()) * 1000) + 1)
        for fd, events in poll.poll(timeout_ms):
            if fd == signals.fileno():
                for number in signals.take():
                    self._on_signal(number)
            elif self._client.owns(fd):
                self._client.handle(fd, events)
            elif fd == self._request.fileno():
                for kind, text in self._request.read():
                    self._on_controller(kind, text)
            elif fd in kills:
                self._read_kill(kills[fd])
            elif fd == self._files.stdin_fd and reads_stdin and events & ~select.POLLOUT:
                self._read_stdin()
        for sink in self._files.sinks:
            sink.write()
        self._on_time(time.monotonic())

    def _over(self) -> bool:
        now_s = time.monotonic()
        if self._gave_up(now_s):
            return True
        if self._files.pending:
            return False
        if self._final is not None:
            return self._client.finished or now_s >= self._final_at_s + LAST_OUTPUT_S
        return self._client.finished and self._lost(now_s)

    def _gave_up(self, now_s: float) -> bool:
        return self._aborted_at_s is not None and now_s >= self._aborted_at_s + ABORT_WAIT_S

    def _lost(self, now_s: float) -> bool:
        lost_s = self._request.lost_since_s
        return lost_s is not None and now_s >= lost_s + LOST_S

    def _deadline_s(self) -> float | None:
        retries = [request.retry_at_s for request in (self._request, *self._kills)]
        times = [when for when in (*retries, self._report.due_s, self._kill_at_s) if when is not None]
        if self._final is not None:
            times.append(self._final_at_s + LAST_OUTPUT_S)
        if self._client.finished and self._request.lost_since_s is not None:
            times.append(self._request.lost_since_s + LOST_S)
        if self._aborted_at_s is not None:
            times.append(self._aborted_at_s + ABORT_WAIT_S)
        elif self.plan.wait_s and self._first_exit_s is not None:
            times.append(self._first_exit_s + self.plan.wait_s)
        if self.step_id >= 0 and self._files.waits_for_foreground():
            times.append(time.monotonic() + FOREGROUND_POLL_S)
        return min(times, default=None)

    def _on_time(self, now_s: float) -> None:
        for request in (self._request, *self._kills):
            request.retry()
        if self._report.due_s is not None and now_s >= self._report.due_s:
            self._report.flush()
        if self._kill_at_s is not None and now_s >= self._kill_at_s:
            self._kill_at_s = None
            if len(self._report.codes) < self._ntasks:
                self._kill(9)
        started = self._first_exit_s
        if self.plan.wait_s and started is not None and self._aborted_at_s is None and now_s >= started + self.plan.wait_s:
            if len(self._report.codes) < self._ntasks:
                self._info(f"First task exited {self.plan.wait_s}s ago")
                self._tell_states()
                self._info(f"Terminating {self.step_name}")
                self._abort(forcing=False)
            else:
                self._first_exit_s = None

    # --- the controller

    def _on_controller(self, kind: bytes, text: str) -> None:
        if kind == lite.NOTICE:
            if not self.plan.fields.get("immediate_s"):  # who will not wait is not told of waiting
                self._info(text)
                self._waited = True
        elif kind == lite.EVENT:
            word, _, rest = text.partition("\t")
            if word == "created":
                self._created(rest.split("\t"))
            elif word == "revoked":
                self._info(f"Job allocation {self.job_id} has been revoked ({rest})")
                self._wait_for_the_end()
        elif kind == lite.FINAL:
            self._final = text.split("\t")
            self._final_at_s = time.monotonic()

    def _created(self, fields: Sequence[str]) -> None:
        """step, node list, tasks, tasks of each node, CPUs of each node, nodes, WaitTime, KillOnBadExit."""
        if self.step_id >= 0:
            return
        if self.plan.wait_s is None:
            self.plan.wait_s = int(fields[6])
        if self.plan.kill_on_bad_exit is None:
            self.plan.kill_on_bad_exit = fields[7] == "1"
        self.step_id, self._ntasks, self._nodes = int(fields[0]), int(fields[2]), fields[5].split(",")
        if self._waited:
            self._info(f"Step created for {self.step_name}")
        if self.plan.verbose:
            self._tell_layout(fields)
        try:
            self._files.open(self.job_id, self.step_id)
        except StepFailed:
            self._kill(9)
            raise
        self._files.begin(self._ntasks, self._error)
        self._client.expect(self._nodes)
        if self._pty:
            self._raw = terminal.RawTerminal(0)
        early, self._early = self._early, []
        for frame in early:
            self._on_frame(*frame)

    def _tell_layout(self, fields: Sequence[str]) -> None:
        self._info(f"jobid {self.job_id}: nodes({len(self._nodes)}):`{fields[1]}', cpu counts: {fields[4]}")
        first = 0
        for node, count in zip(self._nodes, map(int, fields[3].split(",")), strict=True):
            self._info(f"launching {self.step_name} on host {node}, {count} tasks: [{ranges(list(range(first, first + count)))}]")
            first += count

    def _read_stdin(self) -> None:
        data = self._files.read()
        if data is not None:
            self._client.send(stdio.IN, stdio.ALL, data)

    # --- the shepherds

    def _on_frame(self, node: str, kind: int, rank: int, payload: bytes) -> None:
        out, err = self._files.out, self._files.err
        if out is None or err is None or self.step_id < 0:
            self._early.append((node, kind, rank, payload))
        elif kind == stdio.OUT:
            out.take(kind, rank, payload)
        elif kind == stdio.ERR:
            err.take(kind, rank, payload)
        elif kind == stdio.NOTICE:
            err.take_line(payload + (b"\r\n" if self._raw is not None else b"\n"))
        elif kind == stdio.EXIT:
            self._task_ended(node, rank, *stdio.parse_exit(payload))

    def _task_ended(self, node: str, rank: int, wait_status: int, cause: str) -> None:
        now_s = time.monotonic()
        if rank in self._report.codes:
            return
        self._report.ended(node, rank, wait_status, cause, now_s)
        if self._first_exit_s is None:
            self._first_exit_s = now_s
        if self.plan.kill_on_bad_exit and exit_code(wait_status, cause) and not self._signalled and self._aborted_at_s is None:
            self._report.flush()
            self._info(f"Terminating {self.step_name}")
            self._kill(signal_pipe.TERM)

    # --- signals

    def _on_signal(self, number: int) -> None:
        if number == signal_pipe.WINCH:
            if self._pty and self.step_id >= 0:
                self._client.send(stdio.RESIZE, 0, stdio.resize(*terminal.window_size(0)))
        elif number == signal_pipe.CONT:
            return
        elif self.step_id < 0:
            if number in (signal_pipe.USR1, signal_pipe.USR2):
                return
            self._info(f"Cancelled pending job step with signal {number}")
            raise StepFailed(f"Unable to create step for job {self.job_id}: Job/step already completing or completed")
        elif number == signal_pipe.INT:
            self._interrupt()
        elif number in (signal_pipe.USR1, signal_pipe.USR2):
            self._kill(number)
        else:
            self._abort()

    def _interrupt(self) -> None:
        now_s = time.monotonic()
        if self.plan.disable_status:
            self._info(f"sending Ctrl-C to {self.step_name}")
            self._kill(signal_pipe.INT)
        elif self.plan.quit_on_interrupt or now_s - self._interrupted_at_s <= INTERRUPT_S:
            self._info(f"sending Ctrl-C to {self.step_name}")
            self._report.silent_signal = signal_pipe.INT
            self._abort(first=signal_pipe.INT)
        else:
            self._interrupted_at_s = now_s
            self._info("interrupt (one more within 1 sec to abort)")
            self._tell_states()

    def _tell_states(self) -> None:
        ended = set(self._report.codes)
        for word, ranks in (("running", [n for n in range(self._ntasks) if n not in ended]), ("exited", sorted(ended))):
            if ranks:
                self._info(f"{self.step_name} task{'s' if len(ranks) > 1 else ''} {ranges(ranks)}: {word}")

    def _abort(self, *, forcing: bool = True, first: int = 0) -> None:
        """End the step at once, or with a moment for those who hear the signal `first`; a second call never waits."""
        if self._aborted_at_s is None and forcing:
            self._info("forcing job termination")
        if first and self._aborted_at_s is None:
            self._kill(first)
            self._kill_at_s = time.monotonic() + INTERRUPT_GRACE_S
        else:
            self._kill(9)
        self._wait_for_the_end()

    def _wait_for_the_end(self) -> None:
        if self._aborted_at_s is None:
            self._info(f"Job step aborted: Waiting up to {ABORT_WAIT_S} seconds for job step to finish.")
            self._aborted_at_s = time.monotonic()

    def _kill(self, number: int) -> None:
        """SIGKILL and SIGTERM end the step, other signals are delivered."""
        if number in (9, signal_pipe.TERM):
            self._signalled = number
        if len(self._kills) >= MAX_KILLS:
            self._error(f"signal {number} to {self.step_name} was dropped: {MAX_KILLS} wait for the controller")
            return
        fields: dict[str, object] = {"op": "step_kill", "id": lite.new_id(), "job_id": self.job_id, "step_id": self.step_id}
        self._kills.append(HeldRequest({**fields, "signal": number}))
        self._send_kill()

    def _send_kill(self) -> None:
        """One after the other, so that signals arrive in the order they were sent."""
        if self._kills and self._kills[0].fileno() < 0 and self._kills[0].retry_at_s is None:
            self._kills[0].retry_at_s = 0.0
            self._kills[0].retry()

    def _read_kill(self, kill: HeldRequest) -> None:
        try:
            kill.read()
        except lite.Refused as error:
            if self.plan.verbose:
                self._error(f"signal to {self.step_name}: {error.text}")
        if kill.done:
            self._kills.remove(kill)
            self._send_kill()

    # --- the end

    def _finish(self) -> None:
        now_s = time.monotonic()
        cause = self._final[2] if self._final is not None and len(self._final) > 2 else ""
        if self._final is not None:
            if len(self._report.codes) < self._ntasks:
                self._take_unknown_ends(cause)
        elif self._gave_up(now_s):
            self._error("Timed out waiting for job step to complete")
        else:
            self._error(f"the controller does not answer: the end of {self.step_name} may not be recorded yet")
        self._report.flush(cause)
        for sink in self._files.sinks:
            sink.flush_partial()
            while sink.pending and not self._gave_up(now_s):
                sink.write(wait=True)
        if self._report.forced and self._aborted_at_s is None:
            self._info(f"Force Terminated {self.step_name}")

    def _take_unknown_ends(self, cause: str) -> None:
        """A shepherd or its node is gone: what the controller knows of the step must do."""
        assert self._final is not None
        missing = [rank for rank in range(self._ntasks) if rank not in self._report.codes]
        status = int(self._final[1]) if len(self._final) > 1 and self._final[1] else 0
        code = exit_code(status, cause) or (1 if cause else 0)
        for rank in missing:
            self._report.codes[rank] = code
        if code and self.step_id >= 0:
            why = cause or "no shepherd told of their end"
            self._error(f"{self.step_name} task{'s' if len(missing) > 1 else ''} {ranges(missing)}: {why}")
