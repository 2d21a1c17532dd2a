"""Sets of nodes that must have a shape as a whole: so many that carry this and so many that carry that, or neighbours only.

Both answers are exact. Counts: nodes that can be given to distinct open slots are the independent sets of a transversal matroid
(Edmonds and Fulkerson, 1965), so taking nodes in order of preference, each if the ones before it can still be given slots (an
augmenting path), yields the most preferred set that fills them all. Nodes with the same features are alike: once one of a kind finds no
slot, none of that kind will. Neighbours: for each begin the shortest window is found by halving over running sums.

Pure functions over arrays; columns are positions in the order of the nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from penstock.core.view import Bool, Int64


class Window(NamedTuple):
    """Columns ``begin`` to ``begin + size - 1``."""

    begin: int
    size: int


def runs(able: Bool) -> tuple[Int64, Int64]:
    """Begins and ends (exclusive) of the runs of neighbours that are able."""
    edges = np.diff(able.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def longest_run(able: Bool) -> int:
    begins, ends = runs(able)
    return int((ends - begins).max(initial=0))


def neighbours(
    able: Bool, needs: Sequence[tuple[Int64, int]], least: int, most: int, required: Int64, spread: bool, wanted: int = 1
) -> list[Window]:
    """The ``wanted`` best windows of neighbours that are all able, with ``least`` to ``most`` nodes, the required ones among them, and each
    need's sum (amounts on each node, sum asked) met: one for each begin, its shortest (with ``spread`` its longest). The best come first:
    fewest nodes (with ``spread`` most), then the shortest run to cut it from, so that long runs stay whole, then node order."""
    count = len(able)
    begins, ends = runs(able)
    if not len(begins):
        return []
    first = np.flatnonzero(able)
    of_run = np.searchsorted(begins, first, side="right") - 1
    reach = ends[of_run] - first
    size = np.full(len(first), least, np.int64)
    for amounts, asked in needs:
        sums = np.concatenate((np.zeros(1, np.int64), np.cumsum(amounts)))
        np.maximum(size, np.searchsorted(sums, sums[first] + asked) - first, out=size)
    if len(required):
        np.maximum(size, int(required[-1]) + 1 - first, out=size)
        size[first > int(required[0])] = count + 1
    longest = np.minimum(reach, most)
    fits = size <= longest
    if spread:
        size = longest
    at = np.flatnonzero(fits)
    length = (ends - begins)[of_run]
    at = at[np.lexsort((first[at], length[at], -size[at] if spread else size[at]))]
    return [Window(int(first[index]), int(size[index])) for index in at[:wanted]]


def cover(candidates: Int64, members: Sequence[Bool], counts: Sequence[int]) -> Int64 | None:
    """The most preferred columns that fill ``counts[g]`` slots with nodes of ``members[g]`` for each group g, every node in one slot at
    most; None where that cannot be. ``candidates``: columns in order of preference."""
    taken = _fill_slots(candidates, members, counts)
    return np.sort(np.array(taken, np.int64)) if len(taken) == sum(counts) else None


def most_covered(candidates: Int64, members: Sequence[Bool], counts: Sequence[int]) -> int:
    """How many slots can be filled at once."""
    return len(_fill_slots(candidates, members, counts))


def _fill_slots(candidates: Int64, members: Sequence[Bool], counts: Sequence[int]) -> list[int]:
    """Nodes that get slots, in order of preference. A node's kind is the set of its groups, as bits."""
    kinds = sum((member[candidates].astype(np.int64) << group for group, member in enumerate(members)), np.zeros(len(candidates), np.int64))
    held: list[dict[int, int]] = [{} for _ in counts]
    taken: list[int] = []
    wanted = sum(counts)
    left = np.flatnonzero(kinds)
    while len(taken) < wanted and len(left):
        part = left[: wanted - len(taken)]
        left = left[len(part) :]
        for at in part.tolist():
            kind = int(kinds[at])
            if not _augment(kind, held, counts):
                rest = np.concatenate((part[part > at], left))
                left = rest[kinds[rest] != kind]  # what found no slot for one of a kind finds none for any later one
                break
            taken.append(int(candidates[at]))
    return taken


def _augment(kind: int, held: list[dict[int, int]], counts: Sequence[int]) -> bool:
    """Give a node of this kind a slot, moving others along the shortest path; false where no path ends at an open slot.
    ``held[group][kind]`` is how many slots of the group nodes of the kind have."""
    came_from: dict[int, tuple[int, int]] = {group: (-1, kind) for group in range(len(counts)) if kind >> group & 1}
    queue = list(came_from)
    for group in queue:
        if sum(held[group].values()) < counts[group]:
            while group >= 0:
                before, mover = came_from[group]
                held[group][mover] = held[group].get(mover, 0) + 1
                if before >= 0:
                    held[before][mover] -= 1
                group = before
            return True
        for other, slots in held[group].items():
            for beyond in range(len(counts)):
                if slots and other >> beyond & 1 and beyond not in came_from:
                    came_from[beyond] = (group, other)
                    queue.append(beyond)
    return False
