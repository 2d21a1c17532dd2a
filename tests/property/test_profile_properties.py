"""Shortcuts of the availability profile change no plan: many holds looked at together, searches that begin where the last one ended."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import NOW_S, World, draw_near_world, draw_world

from penstock.core import profile
from penstock.core.backfill import EVERY
from penstock.core.cycle import Budget, plan_now
from penstock.core.plan import Plan
from penstock.engine.snapshot import same_plan

seeds = st.integers(0, 1 << 40)
worlds = st.one_of(seeds.map(lambda seed: draw_world(Random(seed))), seeds.map(lambda seed: draw_near_world(Random(seed))))
thorough = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


def conservative(world: World) -> Plan:
    return plan_now(world.columns().view(1, NOW_S), Budget(reservations=EVERY))


@thorough
@given(worlds)
def test_few_holds_and_the_skyline_say_the_same(world):
    with patch.object(profile, "CROWDED_FROM", 1):
        together = conservative(world)
    with patch.object(profile, "CROWDED_FROM", 1 << 30):
        assert same_plan(together, conservative(world))


@thorough
@given(worlds)
def test_a_search_that_begins_where_the_last_one_ended_finds_the_same(world):
    earliest = profile.Profile.earliest

    def from_the_beginning(self, wish, duration_s, attempt, also=None, from_s=0):
        return earliest(self, wish, duration_s, attempt, also)

    plan = conservative(world)
    with patch.object(profile.Profile, "earliest", from_the_beginning):
        other = conservative(world)
    assert (plan.starts, plan.reservations, plan.reasons) == (other.starts, other.reservations, other.reasons)
