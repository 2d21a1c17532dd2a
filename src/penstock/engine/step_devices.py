"""Which of a job's GPUs a step takes on a node.

Guarantees: a wish that names a type (`gpu:a100:1`, `gpu:1g.10gb:2`) is met by GPUs of that type only, one without a type by what the typed
ones leave; what `fits` says can be had is what `chosen` takes. The GPUs of a step whose tasks each get their own are in the order of the
tasks. Pure arithmetic over what is free; a job that shares a GPU shares it with all of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NO_TYPES: Mapping[str, str] = {}

Wish = dict[str, int]
"""Type of GPU -> count; "" is any type."""


class Free(NamedTuple):
    """What a job has left for steps on one node."""

    cpus: int
    memory_mib: int
    gpus: tuple[str, ...]
    shards: int = 0
    types: Mapping[str, str] = NO_TYPES
    """Of the GPUs by UUID; one that is missing has none."""


def wish_of(items: tuple[str, ...] | None) -> Wish:
    """`gpu:2` and `gpu:a100:2` by type; other resources and `none` ask for no GPU."""
    wish: Wish = {}
    for item in items or ():
        name, _, rest = item.partition(":")
        kind, _, count = rest.rpartition(":")
        if name == "gpu" and count.isdecimal():
            wish[kind] = wish.get(kind, 0) + int(count)
    return wish


def fits(have: Free, wish: Wish) -> int:
    """How many times the wish can be met; the number of free GPUs bounds it, so a wish for nothing is met that often."""
    total = sum(wish.values())
    times = len(have.gpus) // max(1, total)
    for kind, count in wish.items():
        if kind and count:
            times = min(times, sum([have.types.get(uuid) == kind for uuid in have.gpus]) // count)
    return times


def chosen(have: Free, wish: Wish, times: int = 1) -> tuple[str, ...]:
    """The GPUs that meet the wish so many times, the first ones first; as many as there are where they are too few."""
    typed = {kind: [uuid for uuid in have.gpus if have.types.get(uuid) == kind][: count * times] for kind, count in wish.items() if kind}
    named = {uuid for uuids in typed.values() for uuid in uuids}
    lots = [(typed[kind], count) for kind, count in wish.items() if kind]
    lots.append(([uuid for uuid in have.gpus if uuid not in named], wish.get("", 0)))
    return tuple([uuid for turn in range(times) for uuids, count in lots for uuid in uuids[turn * count : (turn + 1) * count]])


def bounded(have: Free, left: Wish) -> tuple[str, ...]:
    """What a node adds to a total of which so much is left; `left` is lowered."""
    taken = chosen(have, left)
    for uuid in taken:
        kind = have.types.get(uuid, "")
        left[kind if left.get(kind) else ""] -= 1
    return taken
