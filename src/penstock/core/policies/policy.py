"""What a scheduling policy is: an order of the queue, an expectation of run times, bounds of the pass. The planner does the rest.

A policy is data and pure functions over arrays. It reads a View and the Facts beside it and answers with a changed View: rows of the
queue in another order, expected run times where the time limits stood. ``core.cycle`` then plans as it always does, so every policy has
the same profile, the same placement and the same applier behind it. It never sees a job's true run time: a *clairvoyant* (oracle) variant
is the same policy on a queue whose time limits are the true run times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from penstock.core.cycle import Budget
from penstock.core.outlook import with_rows
from penstock.core.view import Int64, View


@dataclass(frozen=True, slots=True)
class Facts:
    """What a policy may know beside the View. Integer seconds; one entry for each row.

    Of ``view.pending``:
      submit_s   when the job was submitted
      user       a number for each user
      devices    GPUs of the job (CPUs where the cluster has no GPUs)
      recent_s   int64[2, rows]: run times of the two jobs of the user that had ended last when this one was submitted, the last first; -1
                 where there are none
      usage      what the user has used: device-seconds, decayed with the half-life that the caller says
    Of ``view.running``:
      begun_s    when the job started
      expected_s the run time that was expected when it started (its time limit where the policy expects nothing)
    ``capacity`` is the number of devices of the cluster, ``users`` how many there were so far, ``usage_of_all`` what they used together.
    """

    submit_s: Int64
    user: Int64
    devices: Int64
    recent_s: Int64
    usage: Int64
    begun_s: Int64
    expected_s: Int64
    capacity: int
    users: int = 1
    usage_of_all: int = 0


Rows = Callable[[View, Facts], Int64]


@dataclass(frozen=True, slots=True)
class Policy:
    """``text`` is one line for a list of policies; the functions are None where the policy leaves a thing as it is.

    order       keys of pending rows, lower first; equal keys keep the order of submission
    expected    run times of pending rows to plan with, in place of their limits
    running     run times of running rows to plan with, counted from their begin: what was expected and is corrected now
    behind      keys of pending rows, lower first: the order in which those are tried that have no reservation
    budget      of a pass
    at_events   of the passes between two of those, at each event; None: every event gives a full pass
    interval_s  from one full pass to the next, where ``at_events`` is given
    recheck_s   the same while nothing happens between them (keys grow with age)
    moves_s     from one search for running jobs that move (``consolidation``) to the next; 0: none moves. Only where the queue's own
                order counts and every event gives a full pass
    """

    name: str
    text: str
    budget: Budget = field(default_factory=Budget)
    order: Rows | None = None
    expected: Rows | None = None
    running: Rows | None = None
    behind: Rows | None = None
    at_events: Budget | None = None
    interval_s: int = 0
    recheck_s: int = 0
    moves_s: int = 0

    def __post_init__(self) -> None:
        if self.moves_s and (self.needs_facts or self.at_events is not None):
            raise ValueError(f"policy {self.name}: jobs can move in the queue's own order only")

    @property
    def needs_facts(self) -> bool:
        return any((self.order, self.expected, self.running, self.behind))


class Guidance(NamedTuple):
    """The view to plan with, and rows of its queue in the order for backfilling (see ``cycle``)."""

    view: View
    behind: Int64 | None = None


def guide(policy: Policy, view: View, facts: Facts) -> Guidance:
    """What the policy makes of a view."""
    pending, running = view.pending, view.running
    if policy.expected is not None:
        expected = np.clip(policy.expected(view, facts), 1, pending.time_limit_s)
        pending = replace(pending, time_limit_s=expected)
    if policy.running is not None and len(running):
        running = replace(running, end_s=np.minimum(facts.begun_s + policy.running(view, facts), running.end_s))
    guided = replace(view, pending=pending, running=running)
    behind = None if policy.behind is None else np.argsort(policy.behind(guided, facts), kind="stable")
    if policy.order is not None:
        rows = np.argsort(policy.order(guided, facts), kind="stable")
        guided = with_rows(guided, rows)
        if behind is not None:
            places = np.empty_like(rows)
            places[rows] = np.arange(len(rows))
            behind = places[behind]
    return Guidance(guided, behind)
