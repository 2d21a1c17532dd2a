"""First come first served and EASY backfilling on identical processors, as a textbook writes them: nothing of the planner is used.

Both return the start of each job. Limits bound run times; at one instant ends come before submissions.
"""

from __future__ import annotations

from collections.abc import Callable

Job = tuple[int, int, int, int]
"""submitted, run time, limit, processors"""


def starts(jobs: list[Job], processors: int, backfill: bool, shortest_first: bool = False) -> list[int]:
    begun: dict[int, int] = {}
    running: dict[int, tuple[int, int]] = {}
    queue: list[int] = []
    free = processors
    coming = 0

    def start(job: int, now: int) -> None:
        nonlocal free
        _, run, limit, size = jobs[job]
        begun[job] = now
        running[job] = (now + min(run, limit), now + limit)
        free -= size
        queue.remove(job)

    while coming < len(jobs) or running:
        now = min([end for end, _ in running.values()] + ([jobs[coming][0]] if coming < len(jobs) else []))
        for job in [job for job, (end, _) in running.items() if end <= now]:
            del running[job]
            free += jobs[job][3]
        while coming < len(jobs) and jobs[coming][0] <= now:
            queue.append(coming)
            coming += 1
        while queue and jobs[queue[0]][3] <= free:
            start(queue[0], now)
        if not queue or not backfill:
            continue
        shadow, extra = _shadow(jobs[queue[0]][3], free, [(limit_end, jobs[job][3]) for job, (_, limit_end) in running.items()])
        behind = queue[1:]
        if shortest_first:
            behind.sort(key=_limit_of(jobs))
        for job in behind:
            size = jobs[job][3]
            in_time = now + jobs[job][2] <= shadow
            if size <= free and (in_time or size <= extra):
                start(job, now)
                extra -= 0 if in_time else size
    return [begun[job] for job in range(len(jobs))]


def _limit_of(jobs: list[Job]) -> Callable[[int], int]:
    return lambda job: jobs[job][2]


def _shadow(size: int, free: int, ends: list[tuple[int, int]]) -> tuple[int, int]:
    """When so many processors are free by the limits, and how many more are free then."""
    ends.sort()
    at = 0
    for end, held in ends:
        if free >= size and end > at:
            break
        free += held
        at = end
    return at, free - size
