"""What a run's shepherd is told: at once, or in the same order when there is one.

Guarantees: a message waits at most until its run ends; at most MAX_BACKLOG wait for one run. Over it the oldest is dropped, never in
silence: a signal is answered with an error, and for anything else the agent closes the controller's connection once the shepherd is there,
so that both say anew what is to be (a launch that was dropped is unknown in that Hello, and is made again).
"""

from __future__ import annotations

from penstock.agent.events import Command, SendShepherd
from penstock.agent.link import ControllerLink
from penstock.agent.runs import Run
from penstock.agent.shepherd.protocol import ToShepherd
from penstock.wire.messages import LaunchStep, SignalDone, SignalRun

MAX_BACKLOG = 64


class Backlog:
    """Of all runs; the messages lie in the run (`Run.backlog`) and go with it."""

    def __init__(self, link: ControllerLink, commands: list[Command]) -> None:
        self._link = link
        self._commands = commands

    def tell(self, run: Run, message: ToShepherd) -> None:
        if run.shepherd is not None:
            self._commands.append(SendShepherd(run.shepherd, message))
            return
        run.backlog.append(message)
        if len(run.backlog) > MAX_BACKLOG:
            self._drop(run, run.backlog.popleft())

    def _drop(self, run: Run, message: ToShepherd) -> None:
        if isinstance(message, SignalRun):
            self._link.send(SignalDone(message.signal_id, "too many messages wait for the run's shepherd"))
            return
        run.missed = True
        if isinstance(message, LaunchStep):
            run.steps.pop(message.step_id, None)

    def flush(self, run: Run) -> None:
        """The run has a shepherd now."""
        while run.backlog:
            self._commands.append(SendShepherd(run.shepherd, run.backlog.popleft()))
        if run.missed:
            run.missed = False
            self._link.close()

    def end(self, run: Run) -> None:
        """The run is over: nobody is told any more."""
        for message in run.backlog:
            if isinstance(message, SignalRun):
                self._link.send(SignalDone(message.signal_id, "the run ended before the signal reached it"))
        run.backlog.clear()
