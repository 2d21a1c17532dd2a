"""--topology as it is typed, and the words for what a topology is short of."""

import pytest

from penstock.spec.errors import SpecError
from penstock.spec.levels import NO_END, WAIT_MAX_S, format_level, nearness, parse_level


@pytest.mark.parametrize(
    ("text", "level", "wait_s"),
    [
        ("rack", "rack", NO_END),
        ("prefer", "prefer", NO_END),
        ("prefer:rack", "rack", None),
        ("prefer:rack@10:00", "rack", 600),
        ("prefer:rack@0", "rack", 0),
        ("prefer:rack@UNLIMITED", "rack", WAIT_MAX_S),
    ],
)
def test_what_is_typed(text, level, wait_s):
    assert parse_level(text) == (level, wait_s)


@pytest.mark.parametrize(
    "text", ["", "prefer:", "prefer:@5", "rack@5", "a:b", "prefer:a:b", "a,b", "a b", "prefer:rack@soon", "prefer:rack@"]
)
def test_what_is_no_level_is_refused(text):
    with pytest.raises(SpecError):
        parse_level(text)


@pytest.mark.parametrize("text", ["rack", "prefer:rack@00:10:00", "prefer:rack@2-00:00:00"])
def test_what_is_shown_can_be_typed(text):
    level, wait_s = parse_level(text)
    assert format_level(level, wait_s) == text


@pytest.mark.parametrize(
    ("names", "asked", "most", "impossible", "scarce", "words"),
    [
        (("rack", "r2"), 4, 3, True, "", "no rack has 4 nodes; the best, r2, has 3"),
        (("rack", "r2"), 4, 3, False, "", "no rack has 4 free nodes; the best, r2, has 3"),
        (("rack", "r2"), 4, 3, False, "gpu", "no rack has 4 nodes with enough gpu free; the best, r2, has 3"),
        (("rack", "r2", "gpu"), 16, 12, False, "gpu", "no rack has 16 gpu free; the best, r2, has 12"),
        (("rack", "r2", "tasks"), 16, 12, True, "", "no rack has room for 16 tasks; the best, r2, has 12"),
        (("rack", ""), 4, 1, True, "", "no rack has 4 nodes; the best has 1"),
        (("rack", ""), 2, 0, True, "", "the nodes it names do not lie in one rack"),
        (("rack", "leaf", "top"), 0, 0, True, "", "there is no topology level rack: the levels are leaf, top"),
        (("rack",), 0, 0, True, "", "there is no topology level rack"),
    ],
)
def test_what_a_topology_is_short_of(names, asked, most, impossible, scarce, words):
    assert nearness(names, asked, most, impossible, scarce) == words
