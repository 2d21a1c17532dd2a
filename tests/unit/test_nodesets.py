"""Shaped sets of nodes against a search through all of them."""

from itertools import combinations
from random import Random

import numpy as np

from penstock.core.nodesets import cover, longest_run, most_covered, neighbours


def can_fill(nodes, members, counts):
    """By brute force: whether the nodes can be given to all slots, each to one."""
    slots = [group for group, count in enumerate(counts) for _ in range(count)]

    def assign(left, open_slots):
        if not open_slots:
            return True
        return any(members[open_slots[0]][node] and assign(left - {node}, open_slots[1:]) for node in sorted(left))

    return assign(frozenset(nodes), slots)


def test_counts_are_filled_by_the_most_preferred_nodes_that_can():
    for seed in range(300):
        random = Random(seed)
        size = random.randint(1, 6)
        members = [np.array([random.random() < 0.5 for _ in range(size)]) for _ in range(random.randint(1, 3))]
        counts = [random.randint(1, 2) for _ in members]
        order = random.sample(range(size), size)
        possible = [set(some) for some in combinations(order, sum(counts)) if can_fill(some, members, counts)]
        found = cover(np.array(order, np.int64), members, counts)
        assert (found is not None) == bool(possible), seed
        if found is not None:
            assert set(found.tolist()) == possible[0], seed  # combinations come in order of preference
        covered = most_covered(np.array(order, np.int64), members, counts)
        assert (covered == sum(counts)) == bool(possible), seed


def test_windows_are_the_shortest_that_meet_every_need():
    for seed in range(300):
        random = Random(seed)
        size = random.randint(1, 9)
        able = np.array([random.random() < 0.7 for _ in range(size)])
        amounts = np.array([random.randint(0, 4) for _ in range(size)], np.int64)
        asked, least, most = random.randint(1, 8), random.randint(1, 3), random.randint(1, 9)
        required = np.array(sorted(random.sample(range(size), random.randint(0, min(2, size)))), np.int64)
        good = [
            (length, begin)
            for length in range(least, min(most, size) + 1)
            for begin in range(size - length + 1)
            if able[begin : begin + length].all()
            and amounts[begin : begin + length].sum() >= asked
            and all(begin <= node < begin + length for node in required)
        ]
        found = neighbours(able, [(amounts, asked)], least, most, required, spread=False)
        assert bool(found) == bool(good), seed
        if found:
            assert (found[0].size, found[0].begin) in good and found[0].size == min(good)[0], seed


def test_a_window_is_cut_from_the_shortest_run():
    able = np.array([True, True, True, False, True, True])
    nothing = np.empty(0, np.int64)
    assert neighbours(able, [], 2, 6, nothing, spread=False)[0] == (4, 2)
    assert neighbours(able, [], 1, 3, nothing, spread=True)[0] == (0, 3)
    assert (longest_run(able), longest_run(~able), longest_run(able[:0])) == (3, 1, 0)
