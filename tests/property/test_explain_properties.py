"""Explanations, forecasts and snapshots over random clusters: what they say is what the planner does."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_planner_properties import peak_excess, windows_of
from worlds import NOW_S, World, draw_near_world, draw_world

from penstock.core.cycle import Budget, plan_now
from penstock.core.explain import ABOUT_TO_START, RESERVED, explain
from penstock.core.outlook import batch_at, forecast
from penstock.core.plan import Plan
from penstock.core.view import View
from penstock.engine.snapshot import pieces, read, same_plan
from penstock.engine.why import planner_part
from penstock.spec.explanation import WIDTH, render

seeds = st.integers(0, 1 << 40)
worlds = st.one_of(seeds.map(lambda seed: draw_world(Random(seed))), seeds.map(lambda seed: draw_near_world(Random(seed))))
thorough = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BUDGET = Budget(max_tests=10_000)


def finish(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def settled(world: World) -> tuple[World, View]:
    """After passes until nothing starts any more: what waits then is blocked."""
    for _ in range(20):
        view = world.columns().view(1, NOW_S)
        plan = plan_now(view, BUDGET)
        if not plan.starts:
            return world, view
        world = world.after(plan)
    raise AssertionError("passes go on for ever")


@thorough
@given(worlds, st.integers(0, 1000))
def test_a_job_that_waits_has_a_blocker_and_the_start_that_was_promised(world, which):
    _, view = settled(world)
    rows = [row for row in range(len(view.pending)) if view.pending.startable[row]]
    if not rows:
        return
    row = rows[which % len(rows)]
    job_id = int(view.pending.job_id[row])
    found = finish(explain(view, job_id, batch_at(view, row), tuple(view.partitions), BUDGET))
    promised = {one.job_id: one for one in reversed(plan_now(view, BUDGET).reservations)}
    assert found.tier != ABOUT_TO_START and found.blockers
    if job_id in promised:
        assert (found.basis, found.start) == (RESERVED, promised[job_id])
    for change in found.changes:
        assert found.start is None or change.start.start_s < found.start.start_s


@thorough
@given(worlds, st.integers(0, 1000))
def test_with_a_change_that_starts_now_the_next_pass_starts_it(world, which):
    world, view = settled(world)
    rows = [row for row in range(len(view.pending)) if view.pending.startable[row]]
    if not rows:
        return
    row = rows[which % len(rows)]
    job_id = int(view.pending.job_id[row])
    own = world.pending[job_id]
    tier = {name: partition.priority_tier for name, partition in world.partitions.items()}
    for change in finish(explain(view, job_id, batch_at(view, row), tuple(view.partitions), BUDGET)).changes:
        same_place = max(map(tier.__getitem__, change.batch.partitions)) == max(map(tier.__getitem__, own.partitions))
        if change.start.start_s == NOW_S and same_place:
            changed = replace(own, **change.batch._asdict())
            queue = replace(world, pending=world.pending | {job_id: changed})
            assert job_id in [start.job_id for start in plan_now(queue.columns().view(1, NOW_S), BUDGET).starts], change


@thorough
@given(worlds)
def test_a_forecast_over_allocates_nothing_at_any_second_and_keeps_the_promised_starts(world):
    world, view = settled(world)
    promised = plan_now(view, BUDGET).reservations
    expected = finish(forecast(view, promised))
    already = peak_excess(world, windows_of(world, Plan(1, NOW_S)))
    assert peak_excess(world, windows_of(world, expected)).keys() <= already.keys()
    assert expected.reservations[: len(promised)] == promised


@thorough
@given(worlds)
def test_a_snapshot_plans_to_the_same_plan(world):
    view = world.columns().view(7, NOW_S)
    plan = plan_now(view, BUDGET)
    snapshot = read(b"".join(pieces(BUDGET, view, plan)))
    assert same_plan(snapshot.plan, plan) and same_plan(plan_now(snapshot.view, snapshot.budget), plan)
    assert b"".join(pieces(snapshot.budget, snapshot.view, snapshot.plan)) == b"".join(pieces(BUDGET, view, plan))


@thorough
@given(worlds, st.integers(0, 1000))
def test_every_explanation_has_its_words(world, which):
    view = world.columns().view(1, NOW_S)
    if not len(view.pending):
        return
    row = which % len(view.pending)
    batch = batch_at(view, row)
    found = finish(explain(view, int(view.pending.job_id[row]), batch, tuple(view.partitions), BUDGET))
    head = {
        "job": "1",
        "name": "a",
        "user": "b",
        "state": "PENDING",
        "partition": "p",
        "asks": "x",
        "submit_s": 1,
        "start_s": 0,
        "end_s": 0,
        "ended": False,
    }
    text = render(head | planner_part(found, batch.request, lambda number: (str(number), "")))
    assert all(len(line) <= WIDTH or len(line.split()) <= 3 for line in text.splitlines())
    assert "None" not in text
