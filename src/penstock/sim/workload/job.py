"""One job of a log, whatever its format: when it was submitted, what it asked for, how long it ran."""

from __future__ import annotations

from typing import NamedTuple


class TraceJob(NamedTuple):
    """Seconds count from any begin that the log has; a log is read in order of submission, and jobs of one second keep its order.

    name      the job's id in the log
    run_s     how long it ran, or would have run without a limit
    limit_s   the user's time limit; 0: the log has none
    cpus      CPUs in the whole job; 0 where the log counts GPUs alone
    gpus      GPUs in the whole job
    user      as in the log, or "" where it names none
    """

    name: str
    submit_s: int
    run_s: int
    limit_s: int
    cpus: int
    gpus: int
    user: str = ""


class TraceError(ValueError):
    """The log, or what was asked of it, is wrong: names the file, the line, the value and what is allowed."""
