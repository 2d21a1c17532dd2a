"""How much a mean over jobs depends on which days the log happens to hold: 95 % intervals by a bootstrap over blocks of days.

Jobs are no independent samples: those of a day wait in one queue, and a queue can last for days. So days (by submission) are drawn again
and not jobs, and neighbours stay together: blocks of as many days as the cube root of their number, which is the order of length that
keeps the error least (Künsch, Annals of Statistics 1989; the circular form, in which the first day follows the last, is Politis and
Romano's, 1992). A draw is as long as the log and gives a mean over its jobs; the interval holds the middle 95 % of DRAWS draws. Two
policies on one log are compared on the same drawn days, so what a bad week does to both does not blur their ratio.

Not in it: that the schedule of the drawn days would have been another one (a day's wait is as it was behind the days before), other
loads (see ``--load``), users who react to waiting. Deterministic: the draws depend on the number of days alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.sim.metrics import Metrics

DRAWS = 1_000
SEED = 1
DAY_S = 86_400
LEAST_DAYS = 10
"""Of a shorter log nothing is said."""
MIDDLE = (2.5, 97.5)
MEANS = ("wait_s", "jct_s", "avebsld")


@dataclass(frozen=True, slots=True)
class Interval:
    """``value`` is what the whole log gives."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Days:
    """Sums over the jobs submitted on each day; ``sums`` by name of MEANS."""

    jobs: NDArray[np.float64]
    sums: dict[str, NDArray[np.float64]]

    def means(self) -> dict[str, Interval]:
        """Empty where the log has too few days."""
        return self._over({name: self.jobs for name in MEANS})

    def against(self, other: Days) -> dict[str, Interval]:
        """Ratios of our means to those of another schedule of the same log; without those that a draw of days cannot give, as where nobody
        waited in the other one."""
        if len(other.jobs) != len(self.jobs):
            raise ValueError(f"{len(self.jobs)} days are compared with {len(other.jobs)}: schedules of one log are wanted")
        return self._over(other.sums)

    def _over(self, divisors: dict[str, NDArray[np.float64]]) -> dict[str, Interval]:
        if len(self.jobs) < LEAST_DAYS:
            return {}
        found = {name: _middle(self.sums[name], divisors[name]) for name in MEANS}
        return {name: interval for name, interval in found.items() if interval is not None}


def by_day(metrics: Metrics) -> Days:
    jobs = metrics.jobs()
    day = (jobs.submit_s - jobs.submit_s.min()) // DAY_S
    values = {"wait_s": jobs.wait_s, "jct_s": jobs.jct_s, "avebsld": jobs.slowdown}
    sums = {name: np.bincount(day, weights=of_jobs).astype(np.float64) for name, of_jobs in values.items()}
    return Days(np.bincount(day).astype(np.float64), sums)


def _middle(above: NDArray[np.float64], below: NDArray[np.float64]) -> Interval | None:
    """Of the ratio of two sums over days; None where a draw has nothing to divide by."""
    days = len(above)
    length = max(1, round(days ** (1 / 3)))
    random = np.random.default_rng(SEED)
    ratios = np.empty(DRAWS)
    for draw in range(DRAWS):
        begins = random.integers(0, days, -(-days // length))
        drawn = (begins[:, None] + np.arange(length)).ravel()[:days] % days
        divisor = below[drawn].sum()
        if not divisor:
            return None
        ratios[draw] = above[drawn].sum() / divisor
    low, high = np.percentile(ratios, MIDDLE)
    return Interval(float(above.sum() / below.sum()), float(low), float(high))
