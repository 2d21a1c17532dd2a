"""What a rest of a device is worth if the expected parts fill it as well as they can: the one-dimensional cutting-stock problem.

Prior art: Gilmore and Gomory, "A linear programming approach to the cutting-stock problem" (Operations Research 9, 1961). Parts of known
sizes and demands are to be cut from as few devices as possible. The dual of the linear relaxation gives each size a *price*: the share of
a device that one more part of that size costs. The *worth* of a rest is the most that the parts which fit into it would cost elsewhere, so
a rest that no expected part fits into is worth nothing, and one that two parts fill well may be worth all of its size and more.

Guarantees: the worth of nothing is 0 and of a whole device WORTH; two rests are never worth more than one of their sum
(``worth[a] + worth[b] <= worth[a + b]``), so cutting never gains. The same demands give the same prices: patterns are chosen by integers,
and the first of equals is taken. Bounds: MOST_SIZES sizes, MOST_UNITS steps of a device, PIVOTS_PER_SIZE; where that many are not enough,
the prices reached so far are scaled down to possible ones. 20 sizes on devices of 1,000 shares take 5 ms, kept for the next pass.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from penstock.core.view import Int64

WORTH = 1 << 20
"""Of a whole device, and the grid of prices."""
MOST_UNITS = 1024
"""A device of more shares is cut in units of several."""
MOST_SIZES = 24
"""Those whose demand is the largest share of devices."""
PIVOTS_PER_SIZE = 20
KEPT_TABLES = 64
SMALLEST = 1e-9
Demands = tuple[tuple[int, int], ...]
"""Pairs of size and how many are expected, ascending."""


@lru_cache(maxsize=KEPT_TABLES)
def worth_of_rests(capacity: int, demands: Demands) -> Int64:
    """int64[capacity + 1]: by the shares that are left of a device of ``capacity`` shares. Do not write to it."""
    unit = -(-capacity // MOST_UNITS)
    units = capacity // unit
    counts: dict[int, int] = {}
    for size, count in demands:
        cut = -(-size // unit)
        if 0 < cut <= units and count > 0:
            counts[cut] = counts.get(cut, 0) + count
    largest = sorted(counts, key=lambda size: (-size * counts[size], size))[:MOST_SIZES]
    sizes = sorted(largest, reverse=True)
    best = _fill(units, sizes, _prices(units, sizes, [counts[size] for size in sizes]))
    best[units] = max(int(best[units]), WORTH)
    worth: Int64 = best[np.arange(capacity + 1) // unit] * WORTH // best[units]
    worth.flags.writeable = False
    return worth


def _prices(units: int, sizes: list[int], counts: list[int]) -> list[int]:
    """By size, in parts of WORTH: the revised simplex method, its columns found by filling a device with what costs most."""
    basis = [[units // size if row == column else 0 for row in range(len(sizes))] for column, size in enumerate(sizes)]
    costs: NDArray[np.float64] = np.ones(len(sizes))
    inverse: NDArray[np.float64] = np.diag([1.0 / column[place] for place, column in enumerate(basis)])
    amounts: NDArray[np.float64] = np.array([count / (units // size) for size, count in zip(sizes, counts, strict=True)])
    prices = [WORTH // (units // size) for size in sizes]
    for _ in range(PIVOTS_PER_SIZE * len(sizes)):
        duals = (costs[:, None] * inverse).sum(axis=0)
        prices = np.rint(np.maximum(duals, 0.0) * WORTH).astype(np.int64).tolist()
        cheapest = int(duals.argmin())
        if duals[cheapest] < -SMALLEST:  # there are more of it than are asked for: a surplus enters
            column = np.zeros(len(sizes))
            column[cheapest], cost = -1.0, 0.0
        else:
            pattern = _pattern(units, sizes, prices)
            if sum(price * times for price, times in zip(prices, pattern, strict=True)) <= WORTH + sum(pattern):  # each is rounded
                break
            column, cost = np.array(pattern, np.float64), 1.0
        change = (inverse * column).sum(axis=1)
        ratios = np.where(change > SMALLEST, amounts / np.where(change > SMALLEST, change, 1.0), np.inf)
        leaving = int(ratios.argmin())
        if not np.isfinite(ratios[leaving]):
            break
        row = inverse[leaving] / change[leaving]
        inverse = inverse - change[:, None] * row
        inverse[leaving] = row
        amounts = amounts - change * ratios[leaving]
        amounts[leaving] = ratios[leaving]
        costs[leaving] = cost
    return prices


def _fill(units: int, sizes: list[int], prices: list[int]) -> Int64:
    """int64[units + 1]: the most that parts in so much room cost. Parts come singly, in twos, fours and so on."""
    best: Int64 = np.zeros(units + 1, np.int64)
    for size, price in zip(sizes, prices, strict=True):
        length, value = size, price
        while length <= units:
            best[length:] = np.maximum(best[length:], best[: units + 1 - length] + value)
            length, value = 2 * length, 2 * value
    return best


def _pattern(units: int, sizes: list[int], prices: list[int]) -> list[int]:
    """How many of each size fill a device with what costs most."""
    best = _fill(units, sizes, prices).tolist()
    pattern = [0] * len(sizes)
    room = units
    while best[room]:
        for place, size in enumerate(sizes):
            if prices[place] and size <= room and best[room - size] + prices[place] == best[room]:
                pattern[place] += 1
                room -= size
                break
        else:
            room -= 1
    return pattern
