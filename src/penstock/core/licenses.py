"""Licences: counted things that belong to the whole cluster and to no node (``Licenses=`` of slurm.conf, ``--licenses``).

To the planner they are one more profile, whose columns are the licences: what running jobs give back at the ends of their limits, and
what reserved starts hold from their begin on, by the same code as for nodes. So a reservation keeps licences as it keeps nodes, and
nobody who starts beside it takes them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.core.placement import Placement
from penstock.core.plan import Reason
from penstock.core.profile import Profile
from penstock.core.request import GresCounts
from penstock.core.view import Int64, Licenses, Running

WORD = "Licenses"
"""Slurm's reason of a job that waits for licences."""


class LicenseHoldings:
    """Which jobs hold which licences, for ``Columns``."""

    def __init__(self) -> None:
        self._total: dict[str, int] = {}
        self._held: dict[int, tuple[int, GresCounts]] = {}
        self._used: dict[str, int] = {}
        self._view: Licenses | None = None

    def set_total(self, counts: Mapping[str, int]) -> None:
        """All licences there are; names that jobs hold and that are not among them count 0."""
        self._total = dict(counts)
        self._view = None

    def start(self, job_id: int, end_s: int, licenses: GresCounts) -> None:
        if licenses:
            self._held[job_id] = (end_s, licenses)
            for name, count in licenses:
                self._used[name] = self._used.get(name, 0) + count
            self._view = None

    def change_end(self, job_id: int, end_s: int) -> None:
        if job_id in self._held:
            self._held[job_id] = (end_s, self._held[job_id][1])
            self._view = None

    def end(self, job_id: int) -> None:
        if job_id in self._held:
            for name, count in self._held.pop(job_id)[1]:
                self._used[name] -= count
            self._view = None

    def refusal(self, licenses: GresCounts) -> Reason | None:
        """Why these cannot be given now; None: they can."""
        for name, count in licenses:
            free = self._total.get(name, 0) - self._used.get(name, 0)
            if count > free:
                return Reason(WORD, "waiting", name, count, free)
        return None

    def view(self) -> Licenses:
        """The same object until something changes."""
        if self._view is None:
            names = tuple(sorted({name: None for name in (*self._total, *(name for name, used in self._used.items() if used))}))
            column_of = {name: column for column, name in enumerate(names)}
            rows = [(job_id, end_s, column_of[name], count) for job_id, (end_s, held) in self._held.items() for name, count in held]
            facts: Int64 = np.array(rows, np.int64).reshape(-1, 4)
            running = Running(facts[:, 0], facts[:, 1], facts[:, 2].astype(np.int32), facts[:, 3:].T)
            total = np.array([self._total.get(name, 0) for name in names], np.int64)
            used = np.array([self._used.get(name, 0) for name in names], np.int64)
            for array in (total, used, running.job_id, running.end_s, running.node, running.amount):
                array.setflags(write=False)
            self._view = Licenses(names, total, total - used, running)
        return self._view


class LicenseBook:
    """The licences of one pass. A request's licences are (name, count) pairs; times are as in ``Profile``."""

    def __init__(self, licenses: Licenses, now_s: int) -> None:
        self._column_of = {name: column for column, name in enumerate(licenses.names)}
        self._total = licenses.total
        self._profile = Profile(licenses.free[np.newaxis, :], licenses.running, now_s)

    def stuck(self, licenses: GresCounts) -> Reason | None:
        """Why so many could not be had even if no job held any."""
        for name, count in licenses:
            most = self._most(self._total, name)
            if count > most:
                return Reason(WORD, "impossible", name, count, most)
        return None

    def waits(self, licenses: GresCounts, end_s: int) -> Reason | None:
        """Which licences are too few over [now, end_s)."""
        if licenses:
            room = self._profile.room_now(end_s)[0]
            for name, count in licenses:
                most = self._most(room, name)
                if count > most:
                    return Reason(WORD, "waiting", name, count, most)
        return None

    def copies(self, licenses: GresCounts, end_s: int, wanted: int) -> int:
        """How many of ``wanted`` elements can have theirs over [now, end_s)."""
        if licenses:
            room = self._profile.room_now(end_s)[0]
            wanted = min(wanted, *(self._most(room, name) // count for name, count in licenses))
        return wanted

    def fit(self, licenses: GresCounts, start_s: int, end_s: int) -> bool:
        """Whether one element can have them over [start_s, end_s)."""
        room = self._profile.room(start_s, end_s)[0]
        return all(count <= self._most(room, name) for name, count in licenses)

    def rises(self, from_s: int) -> Int64:
        """When from then on some licence becomes more."""
        return self._profile.rises(from_s)

    def start(self, licenses: GresCounts, times: int, end_s: int) -> None:
        if licenses:
            self._profile.start(self._placement(licenses), times, end_s)

    def reserve(self, licenses: GresCounts, start_s: int, end_s: int) -> None:
        if licenses:
            self._profile.reserve(self._placement(licenses), start_s, end_s)

    def _most(self, room: Int64, name: str) -> int:
        """None of a licence that is not configured any more."""
        return max(0, int(room[self._column_of[name]])) if name in self._column_of else 0

    def _placement(self, licenses: GresCounts) -> Placement:
        pairs = sorted((self._column_of[name], count) for name, count in licenses)
        columns, counts = np.array(pairs, np.int64).T
        return Placement(columns, np.zeros_like(columns), counts[np.newaxis, :])
