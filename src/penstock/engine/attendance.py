"""InactiveLimit: an allocation whose salloc or srun is gone ends after a while.

An interactive allocation is attended while its client is connected: the salloc that holds it, or an srun whose step runs or waits in it.
One that nobody attends for InactiveLimit ends as TIMEOUT with the reason InactiveLimit, as in Slurm. An allocation of `salloc --no-shell`
is meant to be alone and is never ended for it; neither is a suspended one. Who attends is not durable: a new controller gives every
client GRACE_MS to come back. Allocations are looked at every LOOK_MS, and not at all while there is no limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine import events as e
from penstock.engine.state import RUNNING, TIMEOUT

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor

LOOK_MS = 5_000
GRACE_MS = 60_000
"""More than a client takes to find a new controller."""


class Attendance:
    __slots__ = ("_alone", "_begun_ms", "_look_ms", "_reactor")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._alone: dict[int, int] = {}
        """Job -> since when nobody attends it."""
        self._look_ms = 0
        self._begun_ms = 0

    def tick(self, now_ms: int) -> None:
        limit_ms = self._reactor.state.config.inactive_limit_s * 1000
        self._begun_ms = self._begun_ms or now_ms
        if not limit_ms or now_ms < self._look_ms:
            return
        self._look_ms = now_ms + LOOK_MS
        state = self._reactor.state
        attended = self._reactor.requests.attended()
        alone: dict[int, int] = {}
        for jobs in self._reactor.indexes.node_jobs.values():
            for job_id in jobs:
                spec = state.jobs[job_id].spec
                if spec.interactive and not spec.unattended and state.jobs[job_id].state == RUNNING and job_id not in attended:
                    alone[job_id] = self._alone.get(job_id, now_ms)
        self._alone = alone
        if now_ms < self._begun_ms + GRACE_MS:
            return
        for job_id in [job_id for job_id, since_ms in alone.items() if since_ms + limit_ms <= now_ms]:
            del alone[job_id]
            detail = "its salloc or srun is gone"
            self._reactor.propose(e.JobEnding(now_ms, job_id, TIMEOUT, reason="InactiveLimit", detail=detail))
