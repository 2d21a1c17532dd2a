"""A few nodes that meet several sums together: so many tasks and so many devices on at most so many unequal nodes.

With one sum the largest amounts decide. With several this is a knapsack in several dimensions, for which ``placement`` has a greedy choice
that misses a few sets; ``search`` is asked only where that choice failed and each sum alone could be met. It goes through the nodes, those
that cover most first, takes each or leaves it, and turns back where the largest amounts of the nodes behind cannot make up for a sum
(branch and bound). Of nodes with equal amounts it looks at no more than may be taken.

Guarantee: what it returns meets every sum. Exact for up to CANDIDATES_MAX nodes, without those that are too many of
a kind, unless STEPS_MAX is met; then the element waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from penstock.core.view import Int64

CANDIDATES_MAX = 64
"""Nodes that are looked at: those that cover the sums best."""
STEPS_MAX = 500
"""Nodes taken or left in one search: 1 to 2 ms."""

Sums = Sequence[tuple[Int64, int]]


def search(needs: Sums, order: Int64, forced: int, least: int, most: int) -> Int64 | None:
    """Positions of ``least`` to ``most`` nodes, as few as can be, that meet every need, the first ``forced`` of ``order`` among them. None
    where there are none, or none was found within the bounds."""
    order = _few_of_a_kind(needs, order, forced, most)[: max(CANDIDATES_MAX, forced)]
    amounts = [tuple(row) for row in np.stack([np.minimum(have[order], asked) for have, asked in needs], axis=1).tolist()]
    asked = [amount for _, amount in needs]
    best = _largest(amounts, min(most, len(amounts)))
    steps = 0
    for size in range(max(least, forced), min(most, len(amounts)) + 1):
        open_: list[tuple[int, tuple[int, ...], list[int]]] = [(0, (), asked)]
        while open_:
            at, taken, left = open_.pop()
            steps += 1
            if steps > STEPS_MAX:
                return None
            slots = size - len(taken)
            if slots == 0:
                if max(left) <= 0:
                    return order[list(taken)]
                continue
            if len(amounts) - at < slots or any(short > best[at][slots - 1][need] for need, short in enumerate(left)):
                continue
            if at >= forced:
                open_.append((at + 1, taken, left))
            open_.append((at + 1, (*taken, at), [short - amount for short, amount in zip(left, amounts[at], strict=True)]))
    return None


def _few_of_a_kind(needs: Sums, order: Int64, forced: int, most: int) -> Int64:
    """Without the nodes of which ``most`` alike come before."""
    kinds: dict[tuple[int, ...], int] = {}
    keep = []
    for at, row in enumerate(np.stack([np.minimum(have[order], asked) for have, asked in needs], axis=1).tolist()):
        kind = tuple(row)
        kinds[kind] = kinds.get(kind, 0) + 1
        if at < forced or kinds[kind] <= most:
            keep.append(at)
            if len(keep) >= max(CANDIDATES_MAX, forced):
                break
    return order[keep]


def _largest(amounts: list[tuple[int, ...]], most: int) -> list[list[list[int]]]:
    """``[at][k - 1][need]``: the sum of the ``k`` largest amounts from ``at`` on; of fewer where there are fewer."""
    table: list[list[list[int]]] = []
    width = len(amounts[0])
    sorted_: list[list[int]] = [[] for _ in range(width)]
    for row in reversed(amounts):
        for need, amount in enumerate(row):
            sorted_[need] = sorted([*sorted_[need], amount], reverse=True)[:most]
        running = [[*accumulate(values)] for values in sorted_]
        table.append([[sums[min(k, len(sums) - 1)] for sums in running] for k in range(most)])
    return table[::-1]
