"""Shortest job first, by what the planner believes a job will take: its time limit. With true run times as limits these are the oracles.

sjf        The job with the shortest limit goes first and stops all behind it (non-preemptive, strict).
ssf        The same for the smallest service, limit times devices (GPU time); what QSSF of Helios (Hu et al., SC 2021) approximates by
           prediction. Strict.
ssf-easy   That order with backfill behind one reservation.
aged-sjf   Submission plus AGE_PER_SECOND of the limit is the key, with backfill behind one reservation: among jobs of one hour the
           shorter goes first, but a job of T seconds is overtaken only by what comes within AGE_PER_SECOND x T after it, so nobody starves.

Guarantee of the strict ones: none to long jobs, which wait as long as shorter ones come.
"""

from __future__ import annotations

from penstock.core.cycle import Budget
from penstock.core.policies.policy import Facts, Policy
from penstock.core.view import Int64, View

AGE_TENTHS = 3
"""Tenths of a second of age that a second of time limit weighs."""


def by_limit(view: View, facts: Facts) -> Int64:
    return view.pending.time_limit_s


def by_service(view: View, facts: Facts) -> Int64:
    service: Int64 = view.pending.time_limit_s * facts.devices
    return service


def by_age_and_limit(view: View, facts: Facts) -> Int64:
    key: Int64 = 10 * facts.submit_s + AGE_TENTHS * view.pending.time_limit_s
    return key


SJF = Policy("sjf", "shortest time limit first, strict", Budget(reservations=0, strict=True), by_limit)
SSF = Policy("ssf", "smallest limit x devices first, strict", Budget(reservations=0, strict=True), by_service)
SSF_EASY = Policy("ssf-easy", "smallest limit x devices first, with backfill", Budget(reservations=1), by_service)
AGED_SJF = Policy("aged-sjf", "submission + 0.3 x limit first, with backfill", Budget(reservations=1), by_age_and_limit)
