"""One log, one cluster, one policy: the loop over instants.

At each instant first what ends ends, then what comes is submitted, in the order of the log, then the planner makes a pass, and what the
applier lets start is given its end: after its run time, or at its limit. Instants are submissions, ends, and the policy's interval. No
latency: what a pass starts, starts at that second.

The log is read as time goes on, one job ahead; what has ended is forgotten but for its row in the metrics.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from penstock.core.policies.policy import Facts, Policy, guide
from penstock.core.view import FIRST_POOL, Int64, View
from penstock.sim.clusterspec import Layout, NodeGroup
from penstock.sim.metrics import Metrics
from penstock.sim.record import Recorder
from penstock.sim.virtual import EPOCH_MS, VirtualCluster
from penstock.sim.workload.job import TraceError, TraceJob
from penstock.sim.workload.limits import Limits

EPOCH_S = EPOCH_MS // 1000
USAGE_HALF_LIFE_S = 7 * 86_400
"""Of what a user has used, jobs that run included; Slurm's PriorityDecayHalfLife."""
UNLIMITED_RUN_S = 1 << 40
"""The run time that no limit bounds."""


class Tracked:
    """A job that waits or runs: what the engine does not keep of it. ``last_s`` and ``before_s`` are the user's recent run times as it was
    submitted, ``expected_s`` what was expected of it when it started."""

    __slots__ = ("before_s", "begun_s", "end_s", "expected_s", "last_s", "limit_s", "run_s", "size", "submit_s", "user")

    def __init__(self, submit_s: int, run_s: int, limit_s: int, size: int, user: int, recent: User) -> None:
        self.submit_s = submit_s
        self.run_s = run_s
        self.limit_s = limit_s
        self.size = size
        self.user = user
        self.last_s = recent.last_s
        self.before_s = recent.before_s
        self.begun_s = self.expected_s = self.end_s = 0


@dataclass(slots=True)
class User:
    """What the scheduler has seen of a user: run times of the jobs that ended last, what they used, decayed, as it was at ``usage_s``."""

    last_s: int = -1
    before_s: int = -1
    usage: float = 0.0
    usage_s: int = 0

    def used(self, devices: int, seconds: int, now_s: int) -> None:
        """A job ends that ran so long."""
        self.usage = self.usage_at(now_s) + accrued(devices, seconds)
        self.usage_s = now_s

    def usage_at(self, now_s: int) -> float:
        return self.usage * math.exp2((self.usage_s - now_s) / USAGE_HALF_LIFE_S)


def accrued(devices: int, seconds: int) -> float:
    """Device-seconds of a run of so many seconds that lasts until now, each decayed since it passed."""
    return devices * USAGE_HALF_LIFE_S / math.log(2) * -math.expm1(-math.log(2) * seconds / USAGE_HALF_LIFE_S)


class Experiment:
    def __init__(self, groups: tuple[NodeGroup, ...], policy: Policy, limits: Limits, pictures: bool = False) -> None:
        self.layout = Layout(groups)
        self.cluster = VirtualCluster(groups)
        self.policy = policy
        self.metrics = Metrics(self.layout.what, self.layout.devices)
        self.recorder = Recorder(self.layout.lanes) if pictures else None
        self._limits = limits
        self._jobs: dict[int, Tracked] = {}
        self._ends: list[tuple[int, int]] = []
        self._users: dict[str, int] = {}
        self._seen: list[User] = []
        self._everyone = User()
        self._waiting = 0
        self._next_full_s = self._next_moves_s = 0

    def run(self, jobs: Iterator[TraceJob], progress: Callable[[int, int], None] | None = None) -> Metrics:
        """To the end of the last job. ``progress`` hears (jobs submitted, jobs ended) now and then."""
        coming = next(jobs, None)
        submitted = ended = 0
        wake_s: int | None = None
        while coming is not None or self._ends or self._waiting:
            instants = [] if coming is None else [coming.submit_s]
            if self._ends:
                instants.append(self._ends[0][0])
            if wake_s is not None:
                instants.append(wake_s)
            if not instants:
                stuck = next(iter(self._jobs.values()))
                raise TraceError(
                    f"{self._waiting} jobs can never start on this cluster, the first asks for {stuck.size} {self.layout.what}s"
                )
            now_s = min(instants)
            while self._ends and self._ends[0][0] <= now_s:
                ended += self._end(*heapq.heappop(self._ends))
            while coming is not None and coming.submit_s <= now_s:
                self._submit(coming)
                submitted += 1
                coming = next(jobs, None)
            wake_s = self._pass(now_s)
            if progress is not None:
                progress(submitted, ended)
        return self.metrics

    def _submit(self, job: TraceJob) -> None:
        user = self._users.setdefault(job.user, len(self._users))
        if user == len(self._seen):
            self._seen.append(User())
        limit_s = self._limits(job)
        size = self.layout.size(job)
        job_id = self.cluster.submit(job.submit_s, user, self.layout.request(job), limit_s)
        self._jobs[job_id] = Tracked(job.submit_s, job.run_s, limit_s or UNLIMITED_RUN_S, size, user, self._seen[user])
        self._waiting += 1

    def _end(self, now_s: int, job_id: int) -> bool:
        """Whether it ends: the end of a run that was moved has no meaning any more."""
        if job_id not in self._jobs or self._jobs[job_id].end_s != now_s:
            return False
        job = self._jobs.pop(job_id)
        timeout = job.run_s > job.limit_s
        self.cluster.end(now_s, job_id, "TimeLimit" if timeout else "")
        user = self._seen[job.user]
        user.last_s, user.before_s = now_s - job.begun_s, user.last_s
        user.used(job.size, now_s - job.begun_s, now_s)
        self._everyone.used(job.size, now_s - job.begun_s, now_s)
        self.metrics.ended(job.submit_s, job.begun_s, now_s, job.size, job.user, timeout)
        if self.recorder is not None:
            self.recorder.bars.end(job_id, job.begun_s, now_s, job.user)
        return True

    def _pass(self, now_s: int) -> int | None:
        """Plan and start; when to look again though nothing happens, or None."""
        wake_s = None
        policy = self.policy
        budget = policy.budget
        view = self.cluster.view(now_s)
        while self._waiting:
            if policy.at_events is not None:
                budget = policy.budget if self._full_is_due(now_s) else policy.at_events
            guided, behind = guide(policy, view, self._facts(view)) if policy.needs_facts else (view, None)
            plan = self.cluster.plan(guided, budget, behind)
            self.metrics.passes += 1
            expected = dict(zip(guided.pending.job_id.tolist(), guided.pending.time_limit_s.tolist(), strict=True)) if plan.starts else {}
            started = self.cluster.carry_out(plan)
            for job_id in started:
                job = self._jobs[job_id]
                job.begun_s = now_s
                job.expected_s = expected[job_id]
                job.end_s = now_s + min(job.run_s, job.limit_s)
                heapq.heappush(self._ends, (job.end_s, job_id))
                if self.recorder is not None:
                    self.recorder.bars.start(job_id, self._parts(job_id, view))
            self._waiting -= len(started)
            if started:
                view = self.cluster.view(now_s)
            if plan.complete and self._waiting and self._moved(now_s):
                view = self.cluster.view(now_s)
                continue
            if plan.complete:
                if policy.at_events is not None:
                    wake_s = self._full_after(now_s, budget is policy.budget, bool(started))
                break
        self._observe(now_s, view)
        return wake_s if self._waiting else None

    def _moved(self, now_s: int) -> bool:
        """Whether running jobs have moved, so that another pass is to be made."""
        if not self.policy.moves_s or now_s < self._next_moves_s:
            return False
        ran_s = {job_id: now_s - job.begun_s for job_id, job in self._jobs.items() if job.end_s}
        found = self.cluster.moves(ran_s, self.policy.budget)
        if found is None:
            self._next_moves_s = now_s + self.policy.moves_s
            return False
        self.cluster.move(found)
        for one in found.moves:
            job = self._jobs[one.job_id]
            self.metrics.moved(job.size * (now_s - job.begun_s))
            if self.recorder is not None:
                self.recorder.bars.end(one.job_id, job.begun_s, now_s, job.user)
            job.end_s = 0
        self._waiting += len(found.moves)
        return True

    def _full_is_due(self, now_s: int) -> bool:
        """Full passes stand on the grid of the interval. One that would have been due while nobody waited is made at its next point."""
        if self._next_full_s < now_s:
            self._next_full_s = _grid(now_s - 1, self.policy.interval_s)
        return now_s == self._next_full_s

    def _full_after(self, now_s: int, was_full: bool, started: bool) -> int:
        """The instant of the next full pass."""
        if not was_full:
            self._next_full_s = min(self._next_full_s, _grid(now_s, self.policy.interval_s))
        else:
            self._next_full_s = _grid(now_s, self.policy.interval_s if started else self.policy.recheck_s)
        return self._next_full_s

    def _observe(self, now_s: int, view: View) -> None:
        rows = slice(FIRST_POOL, None) if self.layout.gpus_each else slice(0, 1)
        free = view.nodes.free[rows].sum(axis=0)
        broken = free < view.nodes.total[rows].sum(axis=0)
        self.metrics.instant(now_s, int(free.sum()), int(free[broken].sum()), self._waiting)
        if self.recorder is not None:
            self.recorder.series.step(now_s, self._waiting, self.layout.devices - int(free.sum()))

    def _parts(self, job_id: int, view: View) -> list[tuple[int, int]]:
        """(node's column, devices) of each part of a job that has just started."""
        allocs = self.cluster.state.jobs[job_id].allocs
        return [(view.nodes.index_of[alloc.node], len(alloc.gpus) if self.layout.gpus_each else alloc.cpus) for alloc in allocs]

    def _facts(self, view: View) -> Facts:
        waiting = [self._jobs[job_id] for job_id in view.pending.job_id.tolist()]
        running = [self._jobs[job_id] for job_id in view.running.job_id.tolist()]
        now_s = view.now_s - EPOCH_S
        used = [user.usage_at(now_s) for user in self._seen]
        of_all = self._everyone.usage_at(now_s)
        for job_id in dict.fromkeys(view.running.job_id.tolist()):
            job = self._jobs[job_id]
            so_far = accrued(job.size, now_s - job.begun_s)
            used[job.user] += so_far
            of_all += so_far
        return Facts(
            submit_s=_column(job.submit_s + EPOCH_S for job in waiting),
            user=_column(job.user for job in waiting),
            devices=_column(job.size for job in waiting),
            recent_s=np.array([[job.last_s for job in waiting], [job.before_s for job in waiting]], np.int64),
            usage=_column(int(used[job.user]) for job in waiting),
            begun_s=_column(job.begun_s + EPOCH_S for job in running),
            expected_s=_column(job.expected_s for job in running),
            capacity=self.layout.devices,
            users=len(self._seen),
            usage_of_all=int(of_all),
        )


def _column(values: Iterator[int]) -> Int64:
    return np.fromiter(values, np.int64)


def _grid(now_s: int, step_s: int) -> int:
    """The first multiple of ``step_s`` behind now."""
    return (now_s // step_s + 1) * step_s
