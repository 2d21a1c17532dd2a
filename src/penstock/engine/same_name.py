"""Jobs by (uid, name), for singletons and for commands that name jobs. Most names belong to one job, which costs an entry and no more."""

from __future__ import annotations

from collections.abc import Collection, Iterator

Key = tuple[int, str]


class SameName:
    """Which jobs that have not finished bear a name."""

    __slots__ = ("_jobs",)

    def __init__(self) -> None:
        self._jobs: dict[Key, int | dict[int, None]] = {}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, key: Key, default: Collection[int] = ()) -> Collection[int]:
        """The jobs of that name, in the order in which they came; ``default`` where there are none."""
        found = self._jobs.get(key, 0)
        return found if isinstance(found, dict) else (found,) if found else default

    def add(self, key: Key, job_id: int) -> bool:
        """Whether it was not there; ids are from 1."""
        found = self._jobs.get(key, 0)
        if isinstance(found, dict):
            if job_id in found:
                return False
            found[job_id] = None
        elif found == job_id:
            return False
        else:
            self._jobs[key] = {found: None, job_id: None} if found else job_id
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
        elif found == job_id and found:
            del self._jobs[key]
        else:
            return False
        return True
