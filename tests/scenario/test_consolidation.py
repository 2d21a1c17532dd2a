"""Which running jobs move so that a waiting one starts: three lines a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from tests.scenario.dsl import NOW_S, Scenario, _record, _seconds, cluster

from penstock.core.consolidation import (
    ENOUGH_NOWHERE,
    MOVES_MAX,
    NO_NEW_PLACE,
    NOBODY,
    NOT_ROOM,
    STARTS,
    TOO_MANY,
    UNKNOWN,
    UNPROMISED,
    Consolidation,
    NoPlan,
    consolidate,
    holds,
)
from penstock.core.cycle import Budget
from penstock.core.plan import Share
from penstock.core.records import PendingRecord
from penstock.core.statement import Waiter, waiter_of


class Moving:
    """A scenario in which some running jobs may move: ``NAME: NODES WORD... ran=TIME``, the words as of a job that waits."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.records: dict[int, PendingRecord] = {}
        self.ran_s: dict[int, int] = {}

    def movable_jobs(self, *texts: str) -> Moving:
        if not self.scenario.partitions:
            self.scenario.partition(f"main: * top={next(reversed(self.scenario.topologies), '')}")
        for text in texts:
            name, rest = text.split(": ")
            nodes, *words = rest.split()
            ran_s = next((_seconds(word[4:]) for word in words if word.startswith("ran=")), 60)
            record = _record(self.scenario._job(name), [word for word in words if not word.startswith("ran=")])
            request = record.request
            share = (1, request.cpus_per_task, 0, request.gres_per_node)
            shares = tuple(Share(node, *share) for node in nodes.split(","))
            self.scenario.columns.start_running(record.job_id, NOW_S + record.time_limit_s, shares, request.licenses)
            self.records[record.job_id], self.ran_s[record.job_id] = record, ran_s
        return self

    def waiters(self, job_ids: Sequence[int]) -> list[Waiter]:
        records = [self.records[job_id] for job_id in job_ids]
        return [waiter_of(record, place) for record, place in zip(records, self.scenario.columns.places_of(records), strict=True)]

    def plan(self, name: str = "", **bounds: int) -> Consolidation | NoPlan:
        view = self.scenario.columns.view(1, NOW_S)
        work = consolidate(view, self.ran_s, self.waiters, self.scenario.job_ids[name] if name else 0, Budget(**bounds))
        while True:
            try:
                next(work)
            except StopIteration as done:
                return done.value

    def moves(self, name: str, *texts: str) -> Consolidation:
        """``v→n1`` for each job that moves, and no other; ``NAME→n0`` where the waiting job starts."""
        found = self.plan(name)
        assert isinstance(found, Consolidation), found
        names = {job_id: name for name, job_id in self.scenario.job_ids.items()}
        starts = [found.start, *(move.start for move in found.moves)]
        told = [f"{names[start.job_id]}→{','.join(share.node for share in start.shares)}" for start in starts]
        assert sorted(told) == sorted(texts)
        return found

    def none(self, name: str, why: str, **bounds: int) -> None:
        found = self.plan(name, **bounds)
        assert isinstance(found, NoPlan)
        assert found.why == why


def test_pieces_become_a_node() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 4gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h").scenario.pending("big: 8gpu 2h")
    found = base.moves("big", "big→n0", "v→n1")
    assert found.promised.start_s == NOW_S + 8 * 3600
    assert found.worthwhile


def test_the_cheapest_move() -> None:
    base = Moving(cluster("3*n[gpu:8]").running("fixed: n2 1cpu 4gpu 9h"))
    base.movable_jobs("old: n0 4gpu 8h ran=3h", "new: n1 4gpu 8h ran=1m").scenario.pending("big: 8gpu 2h")
    found = base.moves("big", "big→n1", "new→n0")
    assert [move.before[0].node for move in found.moves] == ["n1"]


def test_no_move_is_superfluous() -> None:
    base = Moving(cluster("4*n[gpu:4]").running("fixed: n3 1cpu 2gpu 9h"))
    base.movable_jobs("a: n0 1gpu 8h ran=1m", "b: n1 1gpu 8h ran=2m", "c: n2 2gpu 8h ran=3m").scenario.pending("big: 4gpu 2h")
    base.moves("big", "big→n0", "a→n2")


def test_a_gang_gets_its_nodes() -> None:
    base = Moving(cluster("4*n[gpu:4]").running("fixed: n2,n3 1cpu 2gpu 9h"))
    base.movable_jobs("a: n0 2gpu 8h", "b: n1 2gpu 8h").scenario.pending("gang: 2n 4gpu 2h")
    base.moves("gang", "gang→n0,n1", "a→n2", "b→n3")


def test_a_gang_gets_its_rack() -> None:
    base = Moving(cluster("4*n[gpu:4]").tree("rack: n0-1 n2-3").running("fixed: n3 1cpu 4gpu 9h"))
    base.movable_jobs("a: n1 4gpu 8h").scenario.pending("gang: 2n 4gpu 2h within=rack")
    base.moves("gang", "gang→n0,n1", "a→n2")


def test_jobs_that_have_no_other_place_stay() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 5gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h").scenario.pending("big: 8gpu 2h")
    base.none("big", NO_NEW_PLACE)


def test_another_set_is_tried() -> None:
    base = Moving(cluster("2*n[gpu:8]", "1*m[gpu:4]")).movable_jobs("pinned: n0 2gpu 8h on=n0 ran=1m", "free: n1 2gpu 8h ran=5h")
    base.scenario.pending("big: 8gpu 2h")
    base.moves("big", "big→n1", "free→m0")


def test_promised_starts_of_others_are_kept() -> None:
    base = Moving(cluster("2*n[gpu:8]", "1*m[gpu:4]").running("fixed: m0 1cpu 2gpu 10m"))
    base.movable_jobs("v: n0 2gpu 8h").scenario.partition("other: m0").pending("first: 4gpu 1h in=other prio=9", "big: 2n 8gpu 2h")
    base.none("big", NO_NEW_PLACE)


def test_a_licence_is_nothing_that_a_move_makes_room_for() -> None:
    base = Moving(cluster("2*n[gpu:8]").licenses("tool:1").running("fixed: n1 1cpu 1gpu 9h lic=tool:1"))
    base.movable_jobs("v: n0 1gpu 8h").scenario.pending("big: 7gpu 2h lic=tool:1")
    base.none("big", NOT_ROOM)


def test_moved_jobs_keep_their_licences() -> None:
    base = Moving(cluster("2*n[gpu:8]").licenses("tool:1").running("fixed: n1 1cpu 4gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h lic=tool:1").scenario.pending("big: 8gpu 2h")
    assert base.moves("big", "big→n0", "v→n1").moves[0].start.licenses == (("tool", 1),)


def test_only_what_is_promised_is_helped() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 4gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h").scenario.pending("first: 2n 8gpu 1h", "second: 8gpu 1h", "small: 1gpu 1m")
    base.none("second", UNPROMISED)
    base.none("small", STARTS)
    base.scenario.job_ids["nobody"] = 99
    base.none("nobody", UNKNOWN)


def test_with_more_promises_more_can_be_helped() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 4gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h").scenario.pending("first: 2n 8gpu 1h", "second: 8gpu 1h")
    base.none("second", UNPROMISED)
    assert isinstance(base.plan("second", reservations=2), Consolidation)


def test_nothing_helps() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n0,n1 1cpu 6gpu 9h"))
    base.movable_jobs("v: n0 2gpu 8h")
    base.none("", NOBODY)
    base.scenario.pending("big: 8gpu 2h")
    base.none("big", ENOUGH_NOWHERE)


def test_too_many_moves() -> None:
    base = Moving(cluster(f"{MOVES_MAX + 1}*n[gpu:1]", f"{MOVES_MAX + 1}*m[gpu:1,cpu:1]")).movable_jobs(
        *(f"v{n}: n{n} 1cpu 1gpu 8h" for n in range(MOVES_MAX + 1))
    )
    base.scenario.pending(f"gang: {MOVES_MAX + 1}n 2cpu 1gpu 2h")
    base.none("gang", TOO_MANY)


def test_the_first_that_can_be_helped_is() -> None:
    base = Moving(cluster("2*n[gpu:8]", "2*m[gpu:4]").running("fixed: n0,n1 1cpu 2gpu 9h", "more: m1 1cpu 2gpu 9h"))
    base.movable_jobs("v: m0 1gpu 8h").scenario.partition("small: m0,m1").pending("big: 8gpu 2h", "next: 4gpu 2h in=small")
    found = base.plan()
    assert isinstance(found, Consolidation)
    assert found.start.job_id == base.scenario.job_ids["next"]


def test_cheap_waiting_is_not_worth_dear_work() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 4gpu 1m"))
    base.movable_jobs("v: n0 4gpu 8h ran=5h").scenario.pending("big: 8gpu 2h")
    found = base.plan("big")
    assert isinstance(found, Consolidation)
    assert not found.worthwhile


def test_a_plan_is_checked_against_what_has_become_of_the_cluster() -> None:
    base = Moving(cluster("2*n[gpu:8]").running("fixed: n1 1cpu 4gpu 9h"))
    base.movable_jobs("v: n0 4gpu 8h").scenario.pending("big: 8gpu 2h")
    found = base.moves("big", "big→n0", "v→n1")
    elsewhere = found.start._replace(shares=(found.start.shares[0]._replace(node="gone"),))
    columns, waiters = base.scenario.columns, base.waiters(list(base.records))
    assert holds(columns.view(2, NOW_S), found, waiters)
    assert not holds(columns.view(2, NOW_S), replace(found, start=elsewhere), waiters)
    columns.start_running(77, NOW_S + 60, (Share("n1", 1, 1, 0, (("gpu", 1),)),))
    assert not holds(columns.view(3, NOW_S), found, waiters), "what was free for the moved job is taken"
    columns.end_running(77)
    columns.end_running(next(iter(base.records)))
    assert not holds(columns.view(4, NOW_S), found, waiters), "the job that was to move has ended"


@pytest.mark.parametrize("order", [1, -1])
def test_the_same_plan_whatever_order_the_jobs_are_told_in(order: int) -> None:
    base = Moving(cluster("4*n[gpu:4]").running("fixed: n3 1cpu 2gpu 9h"))
    base.movable_jobs(*["a: n0 1gpu 8h", "b: n1 1gpu 8h", "c: n2 1gpu 8h"]).scenario.pending("big: 4gpu 2h")
    base.ran_s = dict(list(base.ran_s.items())[::order])
    base.moves("big", "big→n0", "a→n3")
