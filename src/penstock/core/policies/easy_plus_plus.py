"""EASY++: backfill on predictions that the scheduler makes itself, shortest first.

Tsafrir, Etsion, Feitelson, "Backfilling using system-generated predictions rather than user runtime estimates", TPDS 18(6), 2007.

A job is expected to run as long as the mean of the two jobs of its user that had ended last when it was submitted, at most its time limit;
without two such jobs, its limit. Whoever runs longer than expected is expected to run longer by the next increment of a fixed ladder, up to
its limit; that alone makes no pass. The queue is first come, first served for the one reservation; those that may overtake are tried
shortest expectation first (SJBF).

What the paper leaves open is read as the simulator of Gaussier, Glesser, Reis and Trystram (SC 2015) does, whose published figure for
KTH-SP2 comes out so: the expectation stands from submission on, and each increment counts from it and not from the one before.

Guarantee: the limit alone ends a job, so a wrong prediction never kills. The first blocked job may start later than first promised, where
predictions were too short; it keeps its place at the head of the queue, so it does not starve.
"""

from __future__ import annotations

import numpy as np

from penstock.core.cycle import Budget
from penstock.core.policies.policy import Facts, Policy
from penstock.core.view import Int64, View

LADDER_S = tuple(60 * minutes for minutes in (1, 5, 15, 30, 60, 120, 300, 600, 1_200, 3_000, 6_000))
"""What is added to a prediction that was exceeded: the first that is enough; behind the last one only the limit counts."""
_GRANTED_S = np.array((0, *LADDER_S, 1 << 40), np.int64)


def mean_of_last_two(view: View, facts: Facts) -> Int64:
    """int64[pending]: expected run times; the time limit where the user has no two ended jobs."""
    last, before = facts.recent_s
    return np.where(before >= 0, (last + before) // 2, view.pending.time_limit_s)


def corrected(view: View, facts: Facts) -> Int64:
    """int64[running]: expectations that the elapsed time has not yet refuted."""
    exceeded_s = view.now_s - facts.begun_s - facts.expected_s
    steps = np.searchsorted(_GRANTED_S, exceeded_s, side="right")
    steps[exceeded_s < 0] = 0
    extended: Int64 = facts.expected_s + _GRANTED_S[np.minimum(steps, len(_GRANTED_S) - 1)]
    return extended


def shortest_first(view: View, facts: Facts) -> Int64:
    return view.pending.time_limit_s


EASY_PLUS_PLUS = Policy(
    "easy++",
    "backfill on the mean of the user's last two run times, corrected, shortest first (Tsafrir 2007)",
    Budget(reservations=1),
    expected=mean_of_last_two,
    running=corrected,
    behind=shortest_first,
)
EASY_SJBF = Policy("easy-sjbf", "backfill behind one reservation, shortest limit first", Budget(reservations=1), behind=shortest_first)
