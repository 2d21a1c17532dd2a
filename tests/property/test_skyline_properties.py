"""The skyline says of every node, window and second what a table with one cell a second says."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.skyline import FEW, Least, Skyline, Taking, Wish, order_of

HORIZON_S = 40
ROWS = 3


class Drawn:
    """A skyline and the table: amounts of (resource, node, second)."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.width = random.choice((1, 3, 2 * FEW))
        free = self.ints(ROWS, self.width, most=6)
        count = random.choice((0, 5, 3 * self.width))
        node = np.array([random.randrange(self.width) for _ in range(count)], np.int64)
        end_s = np.array([random.randint(1, HORIZON_S - 1) for _ in range(count)], np.int64)
        amount = self.ints(ROWS, count, most=4)
        self.table = np.repeat(free[:, :, None], HORIZON_S, axis=2)
        for column in range(count):
            self.table[:, node[column], end_s[column] :] += amount[:, column, None]
        self.skyline = Skyline(free, end_s, node, amount)
        takings = [self.taking() for _ in range(random.choice((0, 1, 4, 12)))]
        batch = random.choice((1, 3))
        for at in range(0, len(takings), batch):
            self.skyline.take(takings[at : at + batch])

    def ints(self, rows: int, columns: int, most: int) -> np.ndarray:
        return np.array([[self.random.randint(0, most) for _ in range(columns)] for _ in range(rows)], np.int64).reshape(rows, columns)

    def taking(self) -> Taking:
        nodes = np.array(sorted(self.random.sample(range(self.width), self.random.randint(1, self.width))), np.int64)
        begin_s = self.random.choice((0, self.random.randint(0, HORIZON_S - 2)))
        end_s = self.random.randint(begin_s + 1, HORIZON_S - 1)
        taking = Taking(nodes, begin_s, end_s, self.ints(ROWS, len(nodes), most=2))
        self.table[:, nodes, begin_s:end_s] -= taking.amount[:, :, None]
        return taking

    def wish(self) -> Wish:
        random = self.random
        each = np.array([random.choice((0, 2, 99)) for _ in range(self.width)], np.int64)
        least = (
            Least((0,), random.randint(1, 4), random.choice((0, 9)), each if random.random() < 0.3 else None),
            Least(random.choice(((1,), (1, 2))), random.randint(0, 3), random.choice((0, 5))),
        )
        return Wish(least, random.choice((1, 2, max(1, self.width // 2))))

    def able(self, wish: Wish) -> np.ndarray:
        """bool[N, seconds]"""
        met = np.ones(self.table.shape[1:], bool)
        for least in wish.least:
            have = self.table[list(least.rows)].sum(axis=0)
            met &= have >= least.one if least.one > 0 else True
            if least.each is not None:
                met &= have >= least.each[:, None]
        return met


drawn = st.integers(0, 1 << 40).map(lambda seed: Drawn(Random(seed)))
quick = settings(max_examples=120, deadline=None)


@quick
@given(drawn)
def test_the_least_over_a_window_is_the_least_of_its_seconds(world):
    for _ in range(5):
        begin_s = world.random.randint(0, HORIZON_S - 2)
        end_s = world.random.randint(begin_s + 1, HORIZON_S - 1)
        assert (world.skyline.window(begin_s, end_s) == world.table[:, :, begin_s:end_s].min(axis=2)).all()


@quick
@given(drawn)
def test_the_first_opening_is_the_first_second_from_which_enough_nodes_have_enough(world):
    wish = world.wish()
    met = world.able(wish)
    duration_s, from_s = world.random.randint(1, 12), world.random.randint(1, 9)
    open_at = [second for second in range(from_s, HORIZON_S) if met[:, second : second + duration_s].all(axis=1).sum() >= wish.nodes]
    openings = world.skyline.openings(wish, duration_s, from_s)
    assert openings.first(wish.nodes) == (open_at[0] if open_at else None)
    seconds = np.arange(from_s, HORIZON_S)
    assert seconds[openings.enough(seconds, wish.nodes)].tolist() == open_at


@quick
@given(drawn)
def test_rises_are_the_seconds_at_which_something_becomes_more(world):
    more = (np.diff(world.table, axis=2) > 0).any(axis=(0, 1))
    assert world.skyline.rises(0).tolist() == (np.flatnonzero(more) + 1).tolist()


@quick
@given(drawn)
def test_before_the_sums_are_enough_they_are_not_enough(world):
    wish = world.wish()
    met = world.able(wish)
    needed = [least for least in wish.least if least.whole > least.one * wish.nodes]
    sums = [np.where(met, np.maximum(world.table[list(least.rows)].sum(axis=0), 0), 0).sum(axis=0) for least in needed]
    enough = [np.flatnonzero(have >= least.whole) for have, least in zip(sums, needed, strict=True)]
    least_s = max((int(seconds[0]) if len(seconds) else HORIZON_S for seconds in enough), default=0)
    assert min(world.skyline.enough_from(wish), HORIZON_S) == least_s


@given(st.lists(st.one_of(st.integers(0, 5), st.integers(0, 1 << 50))))
def test_the_radix_sort_is_a_stable_sort(numbers):
    numbers = np.array(numbers, np.int64)
    assert order_of(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()
