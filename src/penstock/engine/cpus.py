"""Which CPUs of a node a job has: ids from 0, as ranges in rows and as bits of one number while they are counted.

The planner counts CPUs; names are given when a start is carried out, the lowest free ones, so the same events give the same names. A row of
an older program has none: its CPUs stay unnamed, and there is always room to name those of others.
"""

from __future__ import annotations

Ranges = tuple[tuple[int, int], ...]
"""(first, last), ascending."""


def mask_of(ranges: Ranges) -> int:
    """One bit for each id."""
    mask = 0
    for first, last in ranges:
        mask |= (1 << last + 1) - (1 << first)
    return mask


def lowest_free(held: int, cpus: int, count: int) -> Ranges:
    """The `count` lowest ids below `cpus` that are not in `held`; () if there are not so many."""
    found: list[tuple[int, int]] = []
    taken = held
    while count > 0:
        first = (~taken & (taken + 1)).bit_length() - 1
        above = taken >> first
        room = (above & -above).bit_length() - 1 if above else cpus - first
        last = first + min(room, count, cpus - first) - 1
        if last < first:
            return ()
        found.append((first, last))
        count -= last - first + 1
        taken |= (1 << last + 1) - 1
    return tuple(found)


def shown(ranges: Ranges) -> str:
    """`0-3,6`, as CPU_IDs is written."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
