"""Policies that can be read: one file for each family, each a set of pure functions over arrays (see ``policy``)."""

from __future__ import annotations

from penstock.core.policies.easy_plus_plus import EASY_PLUS_PLUS, EASY_SJBF
from penstock.core.policies.first_come import CONSERVATIVE, EASY, EASY_MOVES, FIFO, GREEDY
from penstock.core.policies.policy import Facts, Guidance, Policy, guide
from penstock.core.policies.shortest import AGED_SJF, SJF, SSF, SSF_EASY
from penstock.core.policies.slurm_like import SLURM

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (FIFO, GREEDY, EASY, EASY_MOVES, CONSERVATIVE, SLURM, SJF, SSF, SSF_EASY, AGED_SJF, EASY_SJBF, EASY_PLUS_PLUS)
}

__all__ = ["POLICIES", "Facts", "Guidance", "Policy", "guide"]
