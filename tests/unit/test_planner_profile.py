"""The availability profile: exact per node, over every window."""

from __future__ import annotations

import numpy as np

from penstock.core.placement import Placement
from penstock.core.priority import Queue, rank
from penstock.core.profile import MAX_PROBES, Profile
from penstock.core.skyline import Least, Wish
from penstock.core.slices import finish
from penstock.core.view import Pending, Running

NOW = 100


def running(*rows):
    """(end_s, node, cpus, memory)"""
    table = np.array(rows, np.int64).reshape(-1, 4)
    return Running(np.arange(len(table)), table[:, 0], table[:, 1].astype(np.int32), table[:, 2:].T.copy())


def place(node, cpus, memory_mib=0):
    return Placement(np.array([node]), np.array([1]), np.array([[cpus], [memory_mib]]))


def needs(cpus):
    return lambda room: (room[0] >= cpus).any() or None


def found(profile, duration_s, attempt, least=0):
    """``least`` CPUs are told beforehand to be what a node needs."""
    return finish(profile.earliest(Wish((Least((0,), least),), 1), duration_s, attempt))


def free(cpus):
    return np.array([cpus, [0] * len(cpus)], np.int64)


def test_amounts_come_back_at_the_end_and_not_before():
    profile = Profile(free([1, 0]), running((150, 1, 4, 0), (120, 1, 2, 0)), NOW)
    assert [profile.free_at(second)[0].tolist() for second in (100, 119, 120, 149, 150)] == [[1, 0], [1, 0], [1, 2], [1, 2], [1, 6]]


def test_a_hold_lowers_windows_that_reach_its_begin_and_no_others():
    profile = Profile(free([8]), running(), NOW)
    profile.reserve(place(0, 5), 200, 300)
    assert profile.room_now(200)[0].tolist() == [8]
    assert profile.room_now(201)[0].tolist() == [3]
    assert profile.room(250, 400)[0].tolist() == [3]
    assert profile.room(300, 400)[0].tolist() == [8]


def test_the_least_over_a_window_looks_at_each_instant_and_not_at_sums():
    profile = Profile(free([4]), running((200, 0, 4, 0)), NOW)
    profile.reserve(place(0, 4), 200, 300)
    assert profile.room_now(400)[0].tolist() == [4]
    profile.reserve(place(0, 4), 250, 260)
    assert profile.room_now(400)[0].tolist() == [0]


def test_a_start_lowers_what_holds_leave_only_while_it_runs():
    profile = Profile(free([8]), running(), NOW)
    profile.reserve(place(0, 5), 200, 300)
    profile.room_now(500)
    profile.start(place(0, 2), 1, 200)
    assert profile.room_now(200)[0].tolist() == [6]
    assert profile.room_now(500)[0].tolist() == [3]
    profile.start(place(0, 2), 1, 201)
    assert profile.room_now(500)[0].tolist() == [1]


def test_copies_are_taken_together():
    profile = Profile(free([8]), running(), NOW)
    profile.start(place(0, 2), 3, 150)
    assert profile.free[0].tolist() == [2]
    assert profile.free_at(150)[0].tolist() == [8]


def test_the_earliest_start_is_an_end():
    profile = Profile(free([0, 1]), running((150, 0, 2, 0), (160, 0, 2, 0), (130, 1, 1, 0)), NOW)
    assert found(profile, 10, needs(2))[0] == 130
    assert found(profile, 10, needs(4))[0] == 160
    assert found(profile, 10, needs(5)) is None


def test_the_earliest_start_may_lie_between_two_holds_or_must_be_behind_them():
    profile = Profile(free([0]), running((150, 0, 4, 0)), NOW)
    profile.reserve(place(0, 4), 200, 300)
    assert found(profile, 50, needs(4))[0] == 150
    assert found(profile, 51, needs(4))[0] == 300


def test_many_holds_bound_the_search_and_it_still_finds_a_start():
    profile = Profile(free([2]), running(), NOW)
    for number in range(MAX_PROBES + 50):
        profile.reserve(place(0, 1), 200 + 10 * number, 210 + 10 * number)
    probes = []

    def attempt(room):
        probes.append(1)
        return needs(2)(room)

    assert found(profile, 20, attempt)[0] == 210 + 10 * (MAX_PROBES + 49)
    assert len(probes) < MAX_PROBES + 50


def test_the_profile_does_not_change_the_view():
    amounts = free([8])
    Profile(amounts, running(), NOW).start(place(0, 2), 1, 150)
    assert amounts[0].tolist() == [8]


def test_ranks_order_by_tier_then_priority():
    assert sorted([(1, 5), (2, 0), (1, 9)], key=lambda pair: rank(*pair)) == [(2, 0), (1, 9), (1, 5)]


def queue(*shapes, limits=None, startable=None):
    count = np.ones(len(shapes), np.int64)
    limits = np.array(limits or count * 60, np.int64)
    return Queue(Pending(np.arange(len(shapes)), np.array(shapes, np.int32), limits, count, np.array(startable or count, np.int64), count))


def test_a_run_ends_before_the_first_row_of_another_shape():
    line = queue(3, 3, 5, 3, 5, 5)
    seen = []
    while line:
        run = line.next_run()
        seen.append((run.shape, run.rows.tolist()))
        line.advance(len(run.rows))
    assert seen == [(3, [0, 1]), (5, [2]), (3, [3]), (5, [4, 5])]


def test_a_run_ends_before_the_first_row_with_another_time_limit():
    line = queue(3, 3, 3, limits=[60, 60, 30])
    assert (line.next_run().time_limit_s, line.next_run().rows.tolist()) == (60, [0, 1])
    line.advance(2)
    assert (line.next_run().time_limit_s, line.next_run().rows.tolist()) == (30, [2])


def test_a_dropped_shape_is_gone_as_a_whole():
    line = queue(3, 3, 5, 3, 5)
    assert line.drop().tolist() == [0, 1, 3]
    assert line.next_run().rows.tolist() == [2, 4]


def test_of_a_shape_only_the_longer_rows_may_be_dropped():
    line = queue(3, 3, 3, 3, limits=[60, 30, 90, 59])
    assert line.drop(60).tolist() == [0, 2]
    assert line.next_run().rows.tolist() == [1]
    assert line.drop(30, 30).tolist() == [1]
    assert line.next_run().rows.tolist() == [3]


def test_rows_that_may_start_nothing_are_not_in_the_queue():
    assert queue(0, 0, 0, startable=[1, 0, 1]).next_run().rows.tolist() == [0, 2]
