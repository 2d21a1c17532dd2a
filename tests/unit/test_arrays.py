"""Job array indices: what `--array` accepts, and how the set shrinks while its elements start."""

import time

import pytest

from penstock.spec import arrays
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "ranges", "limit"),
    [
        ("0-15", ((0, 15, 1),), 0),
        ("1,3,5,7", ((1, 1, 1), (3, 3, 1), (5, 5, 1), (7, 7, 1)), 0),
        ("1-7:2", ((1, 7, 2),), 0),
        ("0-15:4%3", ((0, 12, 4),), 3),
        ("7,1-3,4", ((1, 4, 1), (7, 7, 1)), 0),
        ("1-3,2", ((1, 3, 1),), 0),
        ("0-8:2,1-9:2", ((0, 9, 1),), 0),
        ("0-10:2,3", ((0, 0, 1), (2, 4, 1), (6, 10, 2)), 0),
        ("[1-5]", ((1, 5, 1),), 0),
        ("5-5", ((5, 5, 1),), 0),
        ("1,,2,", ((1, 2, 1),), 0),
        ("1-5%0", ((1, 5, 1),), 0),
        (" 1-2, 5", ((1, 2, 1), (5, 5, 1)), 0),
    ],
)
def test_parses_to_ranges(text, ranges, limit):
    spec = arrays.parse_array(text)
    assert (spec.ranges, spec.limit) == (ranges, limit)


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "3-1", "1-3:0", "1:2", "1-", ",", "%3", "1%", "1%x", "1-2%3%4", "1.5", "9999999", "1%9999999", "²"]
)
def test_refuses_malformed_arrays(text):
    with pytest.raises(SpecError):
        arrays.parse_array(text)


def test_the_highest_index_is_one_below_max_array_size():
    assert arrays.last(arrays.parse_array("0-1000", 1001).ranges) == 1000
    with pytest.raises(SpecError, match="MaxArraySize=1001"):
        arrays.parse_array("0-1001", 1001)


def test_refuses_more_ranges_than_the_bound():
    with pytest.raises(SpecError, match=str(arrays.MAX_RANGES)):
        arrays.parse_array(",".join(str(2 * i + i % 2 * 0) for i in range(arrays.MAX_RANGES + 1)))


@pytest.mark.parametrize("text", [",".join(f"{i}-1000000:2" for i in range(19_000)), "0-1000000:2,0-1000000:3"])
def test_bombs_of_overlapping_ranges_are_refused_quickly(text):
    started = time.process_time()
    with pytest.raises(SpecError):
        arrays.parse_array(text, 1_000_001)
    assert time.process_time() - started < 0.5


def test_a_million_elements_cost_as_little_as_ten():
    spec = arrays.parse_array("0-1000000%500", 1_000_001)
    started = time.perf_counter()
    ranges = spec.ranges
    for index in range(1000):
        taken, ranges = arrays.take(ranges, 1)
        assert taken == [index]
    assert arrays.count(ranges) == 999_001
    assert not arrays.contains(ranges, 999)
    assert len(ranges) == 1
    assert time.perf_counter() - started < 1  # elements in a list would need minutes


def test_taking_lowest_first_also_where_ranges_interleave():
    ranges = arrays.add(((1, 9, 2),), 4)
    assert arrays.take(ranges, 4) == ([1, 3, 4, 5], ((7, 9, 2),))
    assert arrays.take(ranges, 100) == ([1, 3, 4, 5, 7, 9], ())


def test_cancelled_elements_leave_and_requeued_ones_return():
    ranges = arrays.remove(((0, 9, 1),), ((3, 3, 1), (5, 6, 1)))
    assert arrays.format_ranges(ranges) == "0-2,4,7-9"
    assert arrays.format_ranges(arrays.add(ranges, 3)) == "0-4,7-9"
    assert arrays.keep(ranges, arrays.parse_ranges("2-5")) == ((2, 2, 1), (4, 4, 1))


@pytest.mark.parametrize(
    ("ranges", "limit", "text"),
    [
        (((3, 5, 1), (7, 7, 1)), 2, "3-5,7%2"),
        (((0, 12, 4),), 3, "0,4,8,12%3"),
        (((0, 10, 2),), 0, "0,2,4,6,8,10"),
        (((0, 12, 2),), 0, "0-12:2"),
        (((0, 15, 3),), 0, "0-15:3"),
        (((0, 20, 5),), 0, "0,5,10,15,20"),
        (((0, 33, 3), (36, 36, 1)), 0, "0-36:3"),
        (((0, 0, 1), (20, 20, 1)), 0, "0,20"),
        (((0, 2, 1), (3, 5, 1)), 0, "0-5"),
        ((), 0, ""),
    ],
)
def test_display(ranges, limit, text):
    assert arrays.format_ranges(ranges, limit) == text


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (64, "1,4,7,10,13,16,19,22,25,28,31,34,37,40,43,46,49,52,55,58,61-...%4"),
        (20, "1,4,7,10,13,16,1...%4"),
        (10, "1,4,7,...%4"),
        (3, "..%4"),
        (0, "1,4,7,10,13,16,19,22,25,28,31,34,37,40,43,46,49,52,55,58,61-62%4"),
        (5000, "1,4,7,10,13,16,19,22,25,28,31,34,37,40,43,46,49,52,55,58,61-62%4"),
    ],
)
def test_long_lists_are_cut_as_squeue_cuts_them(length, shown):
    ranges = arrays.parse_ranges(",".join(map(str, range(1, 60, 3))) + ",61,62")
    assert arrays.format_ranges(ranges, 4, length) == shown


def test_the_length_comes_from_the_environment():
    assert [arrays.bitstr_length(value) for value in (None, "20", "0", "x", "")] == [64, 20, 0, 0, 0]
