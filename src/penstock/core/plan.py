"""What the planner answers: which jobs start where, which wait and why, which have a reserved start.

A plan is a proposal about the view it was made from (``seq``). The applier checks each start again against the state as it
is then (``Columns.refusal``). Reasons of waiting jobs are columns, because 100,000 jobs share a handful of reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.core.request import GresCounts
from penstock.spec.levels import nearness
from penstock.spec.times import format_duration

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]


class Share(NamedTuple):
    """What one job holds on one node. ``gres`` names concrete pools of the node (``gpu:a100``, or ``gpu`` where untyped)."""

    node: str
    ntasks: int
    cpus: int
    memory_mib: int
    gres: GresCounts = ()


class Start(NamedTuple):
    """Start one element of this job record now. An array record appears once for each element that starts; which
    element indices these are is the caller's choice (lowest first, as Slurm). Equal shares are the same object.
    ``licenses`` are held beside the shares; ``time_limit_s`` is the limit it gets where that is not the one it asked for, else 0."""

    job_id: int
    partition: str
    shares: tuple[Share, ...]
    licenses: GresCounts = ()
    time_limit_s: int = 0


class Reservation(NamedTuple):
    """The earliest start that the planner promises to the next element of a blocked job: nothing that starts in this
    plan delays it, as long as running jobs keep their time limits. ``end_s`` is exclusive."""

    job_id: int
    partition: str
    start_s: int
    end_s: int
    shares: tuple[Share, ...]
    licenses: GresCounts = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job does not start.

    word     Slurm's word for squeue: Resources, Priority, ReqNodeNotAvail, PartitionDown, PartitionInactive,
             PartitionTimeLimit, PartitionNodeLimit, JobArrayTaskLimit, BadConstraints
    tier     impossible (never on these nodes), policy (a limit or a switch), waiting (for others to end)
    what     the quantity that decides: cpus, memory_mib, a GRES key, tasks, nodes, time_limit_s, features, partition, priority, ...
    asked    how much of it the job asks for, ``most`` how much there is where it could run (0 where it has no number)
    names    nodes, partitions, features or (as decimal text) jobs that stand in the way; of a topology the level, the domain that comes
             closest, and what that has too little of where it is not nodes; without ``asked`` a level that is not there, and those that are
    """

    word: str
    tier: str
    what: str = ""
    asked: int = 0
    most: int = 0
    names: tuple[str, ...] = ()

    def sentence(self) -> str:
        """For a person, in one line."""
        text = self.word
        if self.what == "topology":
            return f"{text}: {nearness(self.names, self.asked, self.most, self.tier == 'impossible')}"
        if self.what:
            text += f": {WORDS_OF.get(self.what, self.what)}"
        if self.asked or self.most:
            text += f" {_amount(self.what, self.asked)} asked, {_amount(self.what, self.most)} is the most there can be"
        if self.names:
            text += f" ({','.join(self.names)})"
        return text


WORDS_OF = {"memory_mib": "memory", "time_limit_s": "time limit"}
"""What people call a quantity, where that is not its own name."""


def _amount(what: str, value: int) -> str:
    if what in ("time_limit_s", "deadline"):
        return format_duration(value)
    return f"{value} MiB" if what == "memory_mib" else str(value)


def _no_rows64() -> Int64:
    return np.empty(0, np.int64)


def _no_rows32() -> Int32:
    return np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer of one cycle.

    starts         in priority order; their sum fits into the view
    reservations   of the first blocked jobs of each partition, in priority order
    reasons        the distinct reasons; ``waiting_reason`` holds indices into it
    waiting_job_id all records that keep at least one pending element, in priority order
    waiting_reason parallel to it; -1: not examined (only where ``complete`` is false)
    complete       false: a bound of the budget ended the pass early; run another cycle after applying this plan
    tests          placement attempts made
    """

    seq: int
    now_s: int
    starts: tuple[Start, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    reasons: tuple[Reason, ...] = ()
    waiting_job_id: Int64 = field(default_factory=_no_rows64)
    waiting_reason: Int32 = field(default_factory=_no_rows32)
    complete: bool = True
    tests: int = 0

    def reason_of(self, job_id: int) -> Reason | None:
        """Why this record waits; None where it does not wait or was not examined. Linear; for many jobs read the columns."""
        rows = np.flatnonzero(self.waiting_job_id == job_id)
        if not len(rows):
            return None
        index = int(self.waiting_reason[rows[0]])
        return self.reasons[index] if index >= 0 else None

    def expected_start_s(self, job_id: int) -> int | None:
        """The reserved start of the next element of this record, where one is known."""
        for reservation in self.reservations:
            if reservation.job_id == job_id:
                return reservation.start_s
        return None
