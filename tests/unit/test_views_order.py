"""The sliced sort of tables: the same order as Python's stable sort, however long the input."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.controller.views import order


def ordered(rows, terms):
    work = order.ordering(rows, terms)
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value.tolist()


ROWS = st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 3), st.text("abc", max_size=2)), max_size=60)


@settings(deadline=None)
@given(ROWS, st.booleans(), st.booleans(), st.booleans())
def test_the_order_is_that_of_successive_stable_sorts(rows, first, second, third):
    keys = [(lambda row: row[2], first), (lambda row: row[1], second), (lambda row: row[0], third)]
    terms = [(order.each(key), descending) for key, descending in keys]
    expected = list(range(len(rows)))
    for key, descending in reversed(keys):
        low_first = sorted({key(row) for row in rows})
        rank = {value: index for index, value in enumerate(low_first)}
        expected.sort(key=lambda index: -rank[key(rows[index])] if descending else rank[key(rows[index])])
    before = (order.SORT_MAX, order.RUN_MAX, order.SLICE_MAX)
    try:
        order.SORT_MAX, order.RUN_MAX, order.SLICE_MAX = 7, 2, 5
        assert ordered(rows, terms) == expected
    finally:
        order.SORT_MAX, order.RUN_MAX, order.SLICE_MAX = before


def test_equal_rows_keep_their_order():
    assert ordered([5] * 50_000, [(list, True)]) == list(range(50_000))
