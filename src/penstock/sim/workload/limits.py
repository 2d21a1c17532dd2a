"""Where users' time limits come from: the log, or one of three stated models for logs that have none.

    log        as in the log; a job without one has the partition's maximum
    partition  every user asks for the maximum, as where nobody bothers
    modal      users ask for round values (Tsafrir, Etsion, Feitelson, "Modeling user runtime estimates", JSSPP 2005: some 20 values make
               up 90 % of all estimates, and the maximum is the most popular). Ours is simple: the maximum with MAXIMUM_SHARE, else the next
               or a later round value at or above the run time, each later one half as likely; the seed decides
    oracle     exactly the run time, the bound of what any prediction could give

No model but the log's own limits, and a partition maximum below a run time, ends a job earlier than its log did.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from random import Random

from penstock.sim.workload.job import TraceError, TraceJob

ROUND_S = tuple(
    60 * minutes for minutes in (5, 10, 15, 30, 60, 120, 180, 240, 300, 360, 480, 600, 720, 960, 1080, 1440, 2160, 2880, 4320, 7200)
)
MAXIMUM_SHARE = 0.25
MODELS = ("log", "partition", "modal", "oracle")

Limits = Callable[[TraceJob], int]


def limits_by(model: str, max_s: int, seed: int) -> Limits:
    """A function from job to time limit in seconds, at least 1. ``max_s`` is the partition's maximum; 0: it has none, then limits of the
    models that need one are unlimited (0)."""
    if model == "log":
        return lambda job: min(job.limit_s or max_s, max_s or job.limit_s)
    if model == "partition":
        return lambda job: max_s
    if model == "oracle":
        return lambda job: max(1, job.run_s)
    if model == "modal":
        return _modal(max_s, Random(seed))
    raise TraceError(f"limits {model}: {', '.join(MODELS)} are allowed")


def _modal(max_s: int, random: Random) -> Limits:
    values = [value for value in ROUND_S if not max_s or value < max_s]

    def limit(job: TraceJob) -> int:
        at = bisect_left(values, job.run_s)
        if random.random() < MAXIMUM_SHARE:
            return max_s
        while at < len(values) and random.random() < 0.5:
            at += 1
        return values[at] if at < len(values) else max_s

    return limit
