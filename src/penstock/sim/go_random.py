"""The random numbers of Go's ``math/rand`` for a seed, so that experiments whose authors used it arrive in the authors' own order.

The generator is an additive lagged Fibonacci sequence, x[n] = x[n-607] + x[n-273] modulo 2**64 (Mitchell and Reeds; Knuth, TAOCP 2, 3.2.2).
A seed fills the first 607 terms from a Lehmer generator and mixes them with the terms that the sequence itself reaches 7.8e12 steps after
seed 1. Go ships those as a table; here they are computed, by raising x to that power modulo the sequence's characteristic polynomial,
which takes 60 ms once. How a term becomes a number below a bound, a shuffle and a permutation follows the documented behaviour of
Go 1.10 to 1.19: programs printed these for a seed, so it cannot change.
"""

from __future__ import annotations

from collections.abc import MutableSequence
from functools import cache

import numpy as np

LAG, SHORT_LAG = 607, 273
WARM_UP_STEPS = 7_800_000_000_000
WORD = (1 << 64) - 1
LEHMER_FACTOR, LEHMER_MODULUS = 48_271, (1 << 31) - 1
LEHMER_SKIPPED = 20
SEED_OF_ZERO = 89_482_311
WARM_UP_SHIFTS, SEED_SHIFTS = (20, 10, 0), (40, 20, 0)


class GoRandom:
    def __init__(self, seed: int) -> None:
        terms = zip(_lehmer_terms(seed, SEED_SHIFTS), _warmed_up(), strict=True)
        self._terms = [(one ^ other) & WORD for one, other in terms]
        """The last LAG terms as a ring."""
        self._at = 0

    def int63(self) -> int:
        at = self._at
        term = (self._terms[at] + self._terms[(at - SHORT_LAG) % LAG]) & WORD
        self._terms[at] = term
        self._at = (at + 1) % LAG
        return term & (WORD >> 1)

    def below(self, bound: int) -> int:
        """``Intn``, for bounds below 2**31."""
        if not 0 < bound < 1 << 31:
            raise ValueError(f"bound {bound}: allowed are 1 to {(1 << 31) - 1}")
        if bound & (bound - 1) == 0:
            return (self.int63() >> 32) & (bound - 1)
        most = (1 << 31) - 1 - (1 << 31) % bound
        while (drawn := self.int63() >> 32) > most:
            pass
        return drawn % bound

    def shuffle(self, items: MutableSequence) -> None:
        """In place; its bounded numbers are made by multiplication (Lemire), not by division."""
        for last in range(len(items) - 1, 0, -1):
            other = self._scaled(last + 1)
            items[last], items[other] = items[other], items[last]

    def permutation(self, size: int) -> list[int]:
        """``Perm``."""
        numbers = [0] * size
        for number in range(size):
            other = self.below(number + 1)
            numbers[number] = numbers[other]
            numbers[other] = number
        return numbers

    def _scaled(self, bound: int) -> int:
        least = (1 << 32) % bound
        while True:
            product = (self.int63() >> 31) * bound
            if product & 0xFFFFFFFF >= least:
                return product >> 32


def _lehmer_terms(seed: int, shifts: tuple[int, ...]) -> list[int]:
    """The LAG first terms, in the order of the sequence: Go fills its ring from the front and reads it backwards from behind the lag."""
    state = seed % LEHMER_MODULUS or SEED_OF_ZERO
    for _ in range(LEHMER_SKIPPED):
        state = state * LEHMER_FACTOR % LEHMER_MODULUS
    ring = []
    for _ in range(LAG):
        word = 0
        for shift in shifts:
            state = state * LEHMER_FACTOR % LEHMER_MODULUS
            word ^= state << shift
        ring.append(word & WORD)
    return [ring[(LAG - SHORT_LAG - 1 - number) % LAG] for number in range(LAG)]


@cache
def _warmed_up() -> tuple[int, ...]:
    """What the sequence of seed 1 has in its ring after WARM_UP_STEPS, in the order of ``_lehmer_terms``."""
    terms = np.zeros(2 * LAG, np.uint64)
    terms[:LAG] = _lehmer_terms(1, WARM_UP_SHIFTS)
    for number in range(LAG, 2 * LAG):
        terms[number] = terms[number - LAG] + terms[number - SHORT_LAG]
    power = _power_of_x(WARM_UP_STEPS)
    firsts = ((slot - WARM_UP_STEPS) % LAG for slot in range(LAG))
    return tuple(int((power * terms[first : first + LAG]).sum(dtype=np.uint64)) for first in firsts)


def _power_of_x(exponent: int) -> np.ndarray:
    """uint64[LAG]: coefficients of x**exponent modulo x**LAG - x**(LAG - SHORT_LAG) - 1 and 2**64."""
    power = np.zeros(LAG, np.uint64)
    power[0] = 1
    for bit in f"{exponent:b}":
        square = np.zeros(2 * LAG, np.uint64)
        for degree in np.flatnonzero(power).tolist():
            square[degree : degree + LAG] += power[degree] * power
        if bit == "1":
            square = np.roll(square, 1)  # its highest coefficient is 0
        for end in range(2 * LAG, LAG, -SHORT_LAG):
            high = square[max(LAG, end - SHORT_LAG) : end]
            square[end - SHORT_LAG - len(high) : end - SHORT_LAG] += high
            square[end - LAG - len(high) : end - LAG] += high
        power = square[:LAG]
    return power
