"""The life of a job: one table, and the page that shows it."""

from __future__ import annotations

import pathlib

import msgspec
import pytest
from engine_cluster import EngineCluster

from penstock.engine.lifecycle import TERMINAL, TRANSITIONS, TransitionError, diagram, move
from penstock.engine.state import PENDING, RUNNING, STATE_NAMES, SUSPENDED

PAGE = pathlib.Path(__file__).parents[2] / "docs/design/job-states.md"


def a_job():
    cluster = EngineCluster(n0=4)
    return msgspec.structs.replace(cluster.job(cluster.submit()))


def test_the_page_shows_the_table():
    assert f"```mermaid\n{diagram()}```\n" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("source", range(len(STATE_NAMES)))
def test_exactly_the_arrows_of_the_table_are_allowed(source):
    for target in range(len(STATE_NAMES)):
        job = a_job()
        job.state = source
        if target in TRANSITIONS[source]:
            move(job, target)
            assert job.state == target
        else:
            with pytest.raises(TransitionError, match=f"{STATE_NAMES[source]} -> {STATE_NAMES[target]}"):
                move(job, target)
            assert job.state == source


def test_every_state_is_in_the_table_and_ends_or_goes_on():
    assert sorted(TRANSITIONS) == list(range(len(STATE_NAMES)))
    assert sorted([*TERMINAL, PENDING, RUNNING, SUSPENDED]) == list(range(len(STATE_NAMES)))
    assert all(TRANSITIONS[state] == (PENDING,) for state in TERMINAL), "what has ended goes on by a requeue only"


def test_every_state_is_reached_from_pending():
    reached, open_ = {PENDING}, [PENDING]
    while open_:
        for target in TRANSITIONS[open_.pop()]:
            if target not in reached:
                reached.add(target)
                open_.append(target)
    assert len(reached) == len(STATE_NAMES)
