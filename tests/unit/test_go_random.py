"""The numbers that Go's programs are known for, where they set no seed or the seed 1, and what must hold for any seed."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.sim.go_random import GoRandom


def test_seed_1_gives_the_numbers_that_go_programs_print():
    random = GoRandom(1)
    assert [random.below(100) for _ in range(10)] == [81, 87, 47, 59, 81, 18, 25, 40, 56, 0]


def test_int63_of_seed_1():
    assert GoRandom(1).int63() == 5577006791947779410


def test_a_seed_and_its_rest_are_the_same():
    assert GoRandom(7).int63() == GoRandom(7 + (1 << 31) - 1).int63() != GoRandom(8).int63()


def test_a_permutation_and_a_shuffle_keep_every_element_once():
    random = GoRandom(42)
    shuffled = list(range(500))
    random.shuffle(shuffled)
    assert sorted(shuffled) == sorted(random.permutation(500)) == list(range(500))
    assert shuffled != list(range(500))


@pytest.mark.parametrize("bound", [3, 8])
def test_numbers_below_a_bound_are_as_frequent(bound):
    random = GoRandom(1)
    counts = Counter(random.below(bound) for _ in range(3000))
    assert set(counts) == set(range(bound))
    assert max(counts.values()) < 1.25 * min(counts.values())


@pytest.mark.parametrize("bound", [0, -1, 1 << 31])
def test_a_bound_that_is_none_is_refused(bound):
    with pytest.raises(ValueError, match=f"bound {bound}: allowed are 1 to 2147483647"):
        GoRandom(1).below(bound)
