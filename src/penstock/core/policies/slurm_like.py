"""A reference for what Slurm does with its two schedulers and the multifactor priority, so that gains are told against it.

At each event the main scheduler walks the queue by priority and stops at the first job that does not fit, after DEPTH jobs at most.
At multiples of INTERVAL_S, if anything has changed since, the backfill scheduler walks the first BACKFILL_DEPTH jobs and gives each that
does not fit a reservation, where one begins within WINDOW_S; ends are rounded up to RESOLUTION_S. These are the defaults of slurm.conf(5)
(default_queue_depth, bf_interval, bf_window, bf_resolution) and, for bf_max_job_test, that of the source (the page says 100).

Priority is the multifactor plug-in's sum (slurm.conf(5), PriorityType): age, up to MAX_AGE_S; fair share, 2 to the power of minus the
user's decayed share of all use (jobs that run included) over an equal share; size, the share of the cluster that the job asks for. Weights
are those of the example in SchedMD's description of the plug-in.

Not modelled: partitions' and QOS factors (logs have none), Fair Tree, the time that Slurm's passes take.
Guarantee: none to jobs whose reservation would begin behind the window or that are deeper in the queue than BACKFILL_DEPTH.
"""

from __future__ import annotations

import numpy as np

from penstock.core.backfill import EVERY
from penstock.core.cycle import Budget
from penstock.core.policies.policy import Facts, Policy
from penstock.core.view import Int64, View

DEPTH = 100
BACKFILL_DEPTH = 500
INTERVAL_S = 30
WINDOW_S = 86_400
RESOLUTION_S = 60
CALCULATION_S = 300
"""Slurm's PriorityCalcPeriod: while nothing else happens, priorities and so plans do not change in between."""
MAX_AGE_S = 7 * 86_400
WEIGHT_AGE = 1_000
WEIGHT_FAIR_SHARE = 10_000
WEIGHT_SIZE = 1_000


def multifactor(view: View, facts: Facts) -> Int64:
    """Keys, lower first: the negative priority."""
    age = np.minimum(view.now_s - facts.submit_s, MAX_AGE_S) / MAX_AGE_S
    share = facts.usage / max(1, facts.usage_of_all)
    fair = np.exp2(-share * facts.users)
    size = facts.devices / facts.capacity
    key: Int64 = -(WEIGHT_AGE * age + WEIGHT_FAIR_SHARE * fair + WEIGHT_SIZE * size).astype(np.int64)
    return key


SLURM = Policy(
    "slurm",
    "multifactor priority; strict order at events, backfill with reservations for 500 jobs every 30 s",
    Budget(reservations=EVERY, window_s=WINDOW_S, resolution_s=RESOLUTION_S, max_jobs=BACKFILL_DEPTH),
    order=multifactor,
    at_events=Budget(reservations=0, strict=True, max_jobs=DEPTH),
    interval_s=INTERVAL_S,
    recheck_s=CALCULATION_S,
)
