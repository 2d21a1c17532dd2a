"""Intervals of means over jobs: days are drawn again, neighbours together."""

from __future__ import annotations

from random import Random

import pytest

from penstock.sim.confidence import DAY_S, LEAST_DAYS, by_day
from penstock.sim.metrics import Metrics


def schedule(waits_s: list[int], run_s: int = 100) -> Metrics:
    """One job a day."""
    metrics = Metrics("GPU", 1)
    for day, wait_s in enumerate(waits_s):
        submit_s = 1_000 + day * DAY_S
        metrics.ended(submit_s, submit_s + wait_s, submit_s + wait_s + run_s, 1, 0, False)
    return metrics


def waits(days: int, seed: int) -> list[int]:
    random = Random(seed)
    return [random.randrange(1_000) for _ in range(days)]


def test_equal_days_leave_no_doubt():
    found = by_day(schedule([300] * 30)).means()
    assert {name: (of.value, of.low, of.high) for name, of in found.items()} == {
        "wait_s": (300, 300, 300),
        "jct_s": (400, 400, 400),
        "avebsld": (4, 4, 4),
    }


def test_independent_days_give_the_interval_of_the_textbook():
    """Uniform in 0 to 999: deviation 288.7, so the mean of 400 is known to 28.3 either way."""
    found = by_day(schedule(waits(400, 7))).means()["wait_s"]
    assert found.low < found.value < found.high
    assert (found.high - found.low) / 2 == pytest.approx(28.3, rel=0.2)


def test_weeks_that_are_alike_leave_more_doubt_than_days_that_are_not():
    days = waits(50, 3)
    rough, smooth = (by_day(schedule(found)).means()["wait_s"] for found in (sorted(days) * 8, [day for day in days for _ in range(8)]))
    apart = by_day(schedule(days * 8)).means()["wait_s"]
    assert smooth.value == pytest.approx(apart.value) == pytest.approx(rough.value)
    assert smooth.high - smooth.low > 1.5 * (apart.high - apart.low)


def test_a_schedule_against_itself_is_equal_and_against_a_slower_one_the_factor_is_sure():
    days = waits(60, 5)
    ours, slower = by_day(schedule(days)), by_day(schedule([2 * day for day in days]))
    assert {(of.value, of.low, of.high) for of in ours.against(ours).values()} == {(1.0, 1.0, 1.0)}
    found = slower.against(ours)["wait_s"]
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_the_same_schedule_gives_the_same_interval():
    assert by_day(schedule(waits(40, 1))).means() == by_day(schedule(waits(40, 1))).means()


def test_nothing_is_said_of_a_few_days_and_of_ratios_to_nothing():
    short = by_day(schedule([5] * (LEAST_DAYS - 1)))
    assert short.means() == short.against(short) == {}
    idle = by_day(schedule([0] * 30))
    assert set(by_day(schedule([5] * 30)).against(idle)) == {"jct_s", "avebsld"}


def test_schedules_of_two_logs_are_not_compared():
    with pytest.raises(ValueError, match="30 days are compared with 31"):
        by_day(schedule([5] * 30)).against(by_day(schedule([5] * 31)))
