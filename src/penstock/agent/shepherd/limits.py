"""Time as a run sees it: its limit, the warning before it, and suspension, during which the limit stands still.

Pure: times are milliseconds of boot time (which goes on while the machine sleeps), given by the caller.
"""

from __future__ import annotations

import time

MIN_KILL_WAIT_S = 5
"""At a time limit SIGKILL follows SIGTERM after the configured KillWait, but not sooner than this (Slurm's rule)."""
FIRST_WARNING_MS = 1_000
"""A warning is not given before the run is so old, however early it was asked for: its handler is not there yet. Slurm looks at limits
only now and then, which has the same effect."""
STOP_AFTER_MS = 2_000
"""Suspension: SIGSTOP follows SIGTSTP after this time."""


def boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class TimeLimit:
    """The limit of a run or step that began at `start_ms`. `limit_s` 0: none. `warn_before_s` None: no warning."""

    __slots__ = ("_limit_ms", "_over", "_start_ms", "_stood_ms", "_suspended_ms", "_warn_ms", "_warned")

    def __init__(self, start_ms: int, limit_s: int, warn_before_s: int | None = None) -> None:
        self._start_ms = start_ms
        self._limit_ms = limit_s * 1000
        self._warn_ms = None if warn_before_s is None else warn_before_s * 1000
        self._stood_ms = 0
        self._suspended_ms: int | None = None
        self._warned = False
        self._over = False

    @property
    def suspended(self) -> bool:
        return self._suspended_ms is not None

    def change(self, limit_s: int) -> None:
        """A new limit, counted from the start. A warning that was given is not given again."""
        self._limit_ms = limit_s * 1000

    def suspend(self, now_ms: int) -> None:
        if self._suspended_ms is None:
            self._suspended_ms = now_ms

    def resume(self, now_ms: int) -> None:
        if self._suspended_ms is not None:
            self._stood_ms += now_ms - self._suspended_ms
            self._suspended_ms = None

    def run_ms(self, now_ms: int) -> int:
        """How long it has run, suspension not counted."""
        return (now_ms if self._suspended_ms is None else self._suspended_ms) - self._start_ms - self._stood_ms

    def next_ms(self) -> int | None:
        """When `due` has something to say; None: never, as things are."""
        if not self._limit_ms or self._suspended_ms is not None or self._over:
            return None
        end_ms = self._start_ms + self._stood_ms + self._limit_ms
        if self._warn_ms is not None and not self._warned:
            return min(end_ms, max(self._start_ms + self._stood_ms + FIRST_WARNING_MS, end_ms - self._warn_ms))
        return end_ms

    def due(self, now_ms: int) -> tuple[bool, bool]:
        """(the warning is due, the limit is reached); each is said once."""
        if not self._limit_ms or self._suspended_ms is not None:
            return False, False
        age_ms = self.run_ms(now_ms)
        left_ms = self._limit_ms - age_ms
        warn = self._warn_ms is not None and not self._warned and left_ms <= self._warn_ms and age_ms >= FIRST_WARNING_MS
        over = not self._over and left_ms <= 0
        self._warned |= warn
        self._over |= over
        return warn, over


def ending_line(what: str, node: str, wall_s: float, why: str = "") -> str:
    """Slurm's line in the job's log; `what` is "JOB 12" or "STEP 12.0", `why` such as "DUE TO TIME LIMIT"."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(wall_s))
    return f"slurmstepd: error: *** {what} ON {node} CANCELLED AT {at}{' ' + why if why else ''} ***"


def oom_line(what: str, count: int) -> str:
    """Slurm's line after the kernel, or we, killed for memory; `what` is "StepId=12.0" or "StepId=12.batch"."""
    events = "event" if count == 1 else "events"
    return f"slurmstepd: error: Detected {count} oom_kill {events} in {what}. Some of the step tasks have been OOM Killed."
