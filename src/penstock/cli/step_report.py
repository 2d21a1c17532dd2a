"""How the tasks of a step ended: what srun says of them, and its exit status.

Ends that come together are said together (`n1: tasks 0-3: Exited with exit code 1`), so that the first waits up to COLLECT_S for others.
"""

from __future__ import annotations

import _signal

from penstock.cli.step_output import ranges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

COLLECT_S = 0.05
OUT_OF_MEMORY_CODE = 253
_CORE_DUMPED = 0x80
_SIGKILL = 9


def exit_code(wait_status: int, cause: str = "") -> int:
    """The code, 128 + signal, or 253 for a task that the memory limit ended."""
    if cause == "OutOfMemory":
        return OUT_OF_MEMORY_CODE
    number = wait_status & 0x7F
    return 128 + number if number else wait_status >> 8 & 0xFF


def describe(wait_status: int, cause: str = "") -> str:
    """In Slurm's words."""
    if cause == "OutOfMemory":
        return "Out Of Memory"
    number = wait_status & 0x7F
    if not number:
        return f"Exited with exit code {wait_status >> 8 & 0xFF}"
    text = _signal.strsignal(number) or f"Signal {number}"
    return text + " (core dumped)" if wait_status & _CORE_DUMPED else text


class StepReport:
    """`codes` by rank. `said` is called with the lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._waiting: dict[tuple[str, str], list[int]] = {}
        self.codes: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.due_s: float | None = None
        self.silent_signal = 0
        """A signal that the user sent: ends by it are no news."""

    def ended(self, node: str, rank: int, wait_status: int, cause: str, now_s: float) -> None:
        self.codes[rank] = exit_code(wait_status, cause)
        self.statuses[rank] = wait_status
        if self.codes[rank] == 0 or (self.silent_signal and wait_status & 0x7F == self.silent_signal):
            return
        self._waiting.setdefault((node, describe(wait_status, cause)), []).append(rank)
        if self.due_s is None:
            self.due_s = now_s + COLLECT_S

    def flush(self, cause: str = "") -> None:
        """Say what is known. `cause` of the whole step: who was killed, was killed by that."""
        if cause == "OutOfMemory":
            for rank, status in self.statuses.items():
                if status & 0x7F == _SIGKILL:
                    self.codes[rank] = OUT_OF_MEMORY_CODE
        for (node, text), ranks in self._waiting.items():
            ranks.sort()
            if cause == "OutOfMemory" and text == "Killed":
                text = "Out Of Memory"
            self._say(f"{node}: task{'s' if len(ranks) > 1 else ''} {ranges(ranks)}: {text}")
        self._waiting.clear()
        self.due_s = None

    @property
    def forced(self) -> bool:
        """A task was ended by SIGKILL or SIGTERM."""
        return any(status & 0x7F in (9, 15) for status in self.statuses.values())

    def worst(self) -> int:
        return max(self.codes.values(), default=0)
