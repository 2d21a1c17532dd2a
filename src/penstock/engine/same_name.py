"""Jobs by (uid, name), for singletons and for commands that name jobs. Most names belong to one job, which costs an entry and no more.

Each job belongs to a group: its array, or itself. `earliest` is the smallest group that is left under a name, the one that no singleton of
that name has to wait for; it costs the logarithm of the jobs of that name for each of them that ended, once, and nothing where nobody asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from heapq import heapify, heappop, heappush

Key = tuple[int, str]

SPARE = 16
"""A heap that has more dead entries than living ones and this many is made anew."""


class SameName:
    """Which jobs that have not finished bear a name."""

    __slots__ = ("_heaps", "_jobs")

    def __init__(self) -> None:
        self._jobs: dict[Key, int | dict[int, int]] = {}
        """The only job, which is its own group, or the groups of several."""
        self._heaps: dict[Key, list[tuple[int, int]]] = {}
        """(group, job) of names that were asked for, some of which may have gone."""

    def __iter__(self) -> Iterator[Key]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, key: Key, default: Collection[int] = ()) -> Collection[int]:
        """The jobs of that name, in the order in which they came; ``default`` where there are none."""
        found = self._jobs.get(key, 0)
        return found if isinstance(found, dict) else (found,) if found else default

    def earliest(self, key: Key) -> int:
        """The smallest group of that name; 0 where there is none."""
        found = self._jobs.get(key, 0)
        if not isinstance(found, dict):
            return found
        heap = self._heaps.get(key)
        if heap is None:
            heap = self._heaps[key] = [(group, job_id) for job_id, group in found.items()]
            heapify(heap)
        while heap[0][1] not in found:
            heappop(heap)
        return heap[0][0]

    def add(self, key: Key, job_id: int, group: int) -> bool:
        """Whether it was not there; ids and groups are from 1, and the group of a job never changes."""
        found = self._jobs.get(key, 0)
        if isinstance(found, dict):
            if job_id in found:
                return False
            found[job_id] = group
            heap = self._heaps.get(key)
            if heap is not None:
                heappush(heap, (group, job_id))
                if len(heap) > 2 * len(found) + SPARE:
                    del self._heaps[key]
        elif found == job_id:
            return False
        elif found or group != job_id:
            self._jobs[key] = {found: found, job_id: group} if found else {job_id: group}
        else:
            self._jobs[key] = job_id
        return True

    def discard(self, key: Key, job_id: int) -> bool:
        """Whether it was there."""
        found = self._jobs.get(key, 0)
        if isinstance(found, dict):
            if job_id not in found:
                return False
            del found[job_id]
            if not found:
                del self._jobs[key]
                self._heaps.pop(key, None)
        elif found == job_id and found:
            del self._jobs[key]
        else:
            return False
        return True
