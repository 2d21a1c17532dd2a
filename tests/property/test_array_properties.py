"""Array index sets behave like plain sets of numbers."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.spec import arrays
from penstock.spec.errors import SpecError

pieces = st.one_of(
    st.integers(0, 60).map(str),
    st.tuples(st.integers(0, 40), st.integers(0, 30)).map(lambda p: f"{p[0]}-{p[0] + p[1]}"),
    st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(1, 7)).map(lambda p: f"{p[0]}-{p[0] + p[1]}:{p[2]}"),
)
texts = st.lists(pieces, min_size=1, max_size=8).map(",".join)


def model(text):
    out = set()
    for piece in text.split(","):
        span, _, step = piece.partition(":")
        low, _, high = span.partition("-")
        out |= set(range(int(low), int(high or low) + 1, int(step or 1)))
    return out


def check(ranges, expected):
    assert list(arrays.indices(ranges)) == sorted(expected)
    assert arrays.count(ranges) == len(expected)
    assert list(ranges) == sorted(ranges)
    assert arrays.first(ranges) == min(expected, default=-1)
    assert arrays.last(ranges) == max(expected, default=-1)
    assert all(low <= high and step >= 1 and not (high - low) % step for low, high, step in ranges)


@given(texts)
def test_parse_is_the_union(text):
    check(arrays.parse_ranges(text), model(text))


@given(texts, texts, st.integers(0, 70), st.integers(0, 30))
def test_operations_match_a_set(text, gone, index, number):
    ranges, expected = arrays.parse_ranges(text), model(text)
    ranges = arrays.remove(ranges, arrays.parse_ranges(gone))
    expected -= model(gone)
    check(ranges, expected)
    ranges = arrays.add(ranges, index)
    expected.add(index)
    check(ranges, expected)
    taken, ranges = arrays.take(ranges, number)
    assert taken == sorted(expected)[:number]
    expected -= set(taken)
    check(ranges, expected)
    assert {i for i in range(80) if arrays.contains(ranges, i)} == expected


@given(texts, texts)
def test_the_bitmap_path_gives_the_same_set(text, gone):
    ranges, cut = arrays.parse_ranges(text), arrays.parse_ranges(gone)
    bound = arrays.BITMAP_FROM
    try:
        arrays.BITMAP_FROM = -1
        left = arrays.remove(ranges, cut)
    finally:
        arrays.BITMAP_FROM = bound
    check(left, model(text) - model(gone))


@given(texts)
def test_display_parses_back(text):
    ranges = arrays.parse_ranges(text)
    check(arrays.parse_ranges(arrays.format_ranges(ranges)), model(text))


@given(st.one_of(st.text(max_size=40), st.text(alphabet="0123456789,-:%[] ", max_size=30)))
def test_any_text_is_parsed_or_refused(text):
    try:
        spec = arrays.parse_array(text, 1_000_001)
    except SpecError:
        return
    assert arrays.count(spec.ranges) <= 1_000_001
