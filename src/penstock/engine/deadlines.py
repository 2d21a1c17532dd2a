"""Jobs that have to be over by a time (`--deadline`): who is too late is ended, with the state DEADLINE, while it still waits.

A heap of (the last moment at which the job could start, job) is an index of State: entries are checked when they come up, so a change of
deadline or limit just adds one. A job that runs is bounded by its time limit, which was cut to the deadline as it started.
"""

from __future__ import annotations

import heapq

from penstock.engine.state import PENDING, Job, JobSpec, State

LEAST_MS = 60_000
"""What a job without a time limit needs at least."""


def last_start_ms(spec: JobSpec) -> int:
    """The last moment at which the job could start and be over by its deadline; 0: it has none."""
    if not spec.deadline_ms:
        return 0
    return max(1, spec.deadline_ms - ((spec.time_min_s or spec.time_limit_s) * 1000 or LEAST_MS))


class Deadlines:
    """Follows the jobs of one State."""

    __slots__ = ("_heap", "_known")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []
        self._known: dict[int, int] = {}

    def follow(self, job: Job) -> None:
        """A row has changed."""
        last_ms = last_start_ms(job.spec) if job.state == PENDING else 0
        if last_ms and self._known.get(job.id) != last_ms:
            self._known[job.id] = last_ms
            heapq.heappush(self._heap, (last_ms, job.id))
        elif not last_ms:
            self._known.pop(job.id, None)

    def due(self, state: State, now_ms: int) -> list[int]:
        """Jobs that wait and can no longer make it; each is named once."""
        late = []
        while self._heap and self._heap[0][0] < now_ms:
            last_ms, job_id = heapq.heappop(self._heap)
            if self._known.get(job_id) == last_ms:
                del self._known[job_id]
                job = state.jobs.get(job_id)
                if job is not None and job.state == PENDING:
                    late.append(job_id)
        return late

    def next_ms(self) -> int | None:
        """When `due` may name somebody."""
        return self._heap[0][0] + 1 if self._heap else None
