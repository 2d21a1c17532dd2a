"""What rests of devices are worth, against what must hold for any prices of a cutting-stock problem."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.cuttings import MOST_UNITS, WORTH, worth_of_rests

CAPACITY = 60
demands = st.dictionaries(st.integers(1, CAPACITY - 1), st.integers(1, 50), min_size=0, max_size=8).map(
    lambda found: tuple(sorted(found.items()))
)
SLACK = 1e-4
"""Prices are on a grid of a millionth."""


def first_fit(demands: tuple[tuple[int, int], ...]) -> int:
    """Devices that are enough, the largest parts first."""
    rooms: list[int] = []
    for size, count in sorted(demands, reverse=True):
        for _ in range(count):
            place = next((place for place, room in enumerate(rooms) if room >= size), len(rooms))
            rooms[place:place] = [CAPACITY] * (place == len(rooms))
            rooms[place] -= size
    return len(rooms)


@settings(max_examples=80, deadline=None)
@given(demands)
def test_two_rests_are_never_worth_more_than_one_of_their_sum(demands):
    worth = worth_of_rests(CAPACITY, demands).tolist()
    assert (worth[0], worth[CAPACITY]) == (0, WORTH)
    assert all(worth[one] + worth[both - one] <= worth[both] for both in range(CAPACITY + 1) for one in range(both + 1))


@settings(max_examples=80, deadline=None)
@given(demands)
def test_all_parts_cost_at_least_their_volume_and_at_most_the_devices_that_are_enough(demands):
    worth = worth_of_rests(CAPACITY, demands).tolist()
    cost = sum(count * worth[size] for size, count in demands) / WORTH
    assert cost <= first_fit(demands) + SLACK * len(demands)
    assert cost >= sum(size * count for size, count in demands) / CAPACITY * (1 - SLACK) - SLACK


@settings(max_examples=30, deadline=None)
@given(demands, st.integers(2, 40))
def test_a_device_of_many_shares_is_cut_in_units(demands, times):
    worth = worth_of_rests(CAPACITY, demands).tolist()
    finer = worth_of_rests(CAPACITY * times, tuple((size * times, count) for size, count in demands)).tolist()
    if CAPACITY * times <= MOST_UNITS:
        assert finer[::times] == worth
    assert finer[0] == 0 and finer[-1] == WORTH and finer == sorted(finer)
