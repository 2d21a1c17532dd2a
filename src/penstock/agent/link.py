"""The agent's connection to the controller: when to make it, when to prove that it lives, when to give it up.

Guarantees: at most one Connect is under way; the pause before each doubles from BACKOFF_FIRST_MS to BACKOFF_LAST_MS and is short again once
a controller said Welcome; a connection on which nothing was heard for SILENCE_MS is closed. A new agent waits up to SETTLE_MS with its
first connection, until the shepherds of the runs that it found are back: its first Hello then knows their steps.

Assumes a `tick` at least every TICK_MS. No clock, no input or output: `commands` is where it appends what the shell is to do.
"""

from __future__ import annotations

from penstock.agent.events import CloseController, Command, Connect, ReportLoad, SendController
from penstock.wire.messages import Ping, ToController

TICK_MS = 250
PING_MS = 5_000
SILENCE_MS = 60_000
"""A controller that says nothing for this long is taken for dead: the connection is closed and opened again."""
SETTLE_MS = 2_000
BACKOFF_FIRST_MS = 250
BACKOFF_LAST_MS = 5_000


class ControllerLink:
    """Told of the connection's ups and downs; what is sent while it is down is dropped: the next Hello says it anew."""

    def __init__(self, commands: list[Command]) -> None:
        self.up = False
        self._commands = commands
        self._connecting = False
        self._connect_at_ms = 0
        self._settle_until_ms = 0
        self._backoff_ms = BACKOFF_FIRST_MS
        self._heard_ms = 0
        self._ping_at_ms = 0

    def opened(self, now_ms: int) -> None:
        self._connecting = False
        self.up = True
        self._heard_ms = now_ms
        self._ping_at_ms = now_ms + PING_MS

    def lost(self, now_ms: int) -> None:
        """The connection ended, or could not be made."""
        self._connecting = False
        self.up = False
        self._connect_at_ms = now_ms + self._backoff_ms
        self._backoff_ms = min(self._backoff_ms * 2, BACKOFF_LAST_MS)

    def heard(self, now_ms: int) -> None:
        self._heard_ms = now_ms

    def welcomed(self) -> None:
        """This is a controller that wants us: the next connection is tried at once."""
        self._backoff_ms = BACKOFF_FIRST_MS

    def settle(self, now_ms: int) -> None:
        """Runs were found on disk: their shepherds may need a moment to come back."""
        self._settle_until_ms = now_ms + SETTLE_MS

    def send(self, message: ToController) -> None:
        if self.up:
            self._commands.append(SendController(message))

    def close(self) -> None:
        if self.up:
            self._commands.append(CloseController())

    def tick(self, now_ms: int, *, settled: bool) -> None:
        """`settled`: the shepherds of all runs that were found are back, or known to be gone."""
        if not self.up:
            if not self._connecting and now_ms >= self._connect_at_ms and (settled or now_ms >= self._settle_until_ms):
                self._connecting = True
                self._commands.append(Connect())
        elif now_ms - self._heard_ms >= SILENCE_MS:
            self._heard_ms = now_ms
            self.close()
        elif now_ms >= self._ping_at_ms:
            self._ping_at_ms = now_ms + PING_MS
            self.send(Ping(now_ms))
            self._commands.append(ReportLoad())
