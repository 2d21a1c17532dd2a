"""Hostlists: what Slurm's own `scontrol show hostnames` and `show hostlist` print for the same text."""

import pytest

from penstock.spec import hostlist
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n[1-3,7]", "n1 n2 n3 n7"),
        ("n[008-011]", "n008 n009 n010 n011"),
        ("n[8-011]", "n8 n9 n10 n11"),
        ("r[0-1]b[0-1]", "r0b0 r0b1 r1b0 r1b1"),
        ("n[1-2],login m3", "n1 n2 login m3"),
        (",,n1,", "n1"),
        ("[1-2]", "1 2"),
        ("n[1-2]-ib", "n1-ib n2-ib"),
        ("n1-3", "n1-3"),
        ("n1,n1", "n1 n1"),
        ("n[1- 2]", "n1 n2"),
        ("", ""),
    ],
)
def test_expands_as_slurm_does(text, names):
    assert hostlist.expand(text) == names.split()
    assert hostlist.count(text) == len(names.split())


@pytest.mark.parametrize(
    "text", ["n[3-1]", "n[]", "n[a-b]", "n[1,,2]", "n[1-", "n]1", "n[[1]]", "n[1-2-3]", "n[1", "n[²]", "n[-1]", "n[1]]", "n" * 300]
)
def test_refuses_malformed_lists(text):
    with pytest.raises(SpecError):
        hostlist.expand(text)


@pytest.mark.parametrize(
    "text", ["n[0-99999999999]", "n[0-9999][0-9999]", "a[1-262144],b", "x[0-9][0-9][0-9][0-9][0-9][0-9]", "n[" + "1," * 262_144 + "1]"]
)
def test_refuses_bombs_before_expanding(text):
    with pytest.raises(SpecError, match=str(hostlist.MAX_HOSTS)):
        hostlist.count(text)


def test_refuses_a_text_that_is_too_long():
    with pytest.raises(SpecError, match="longer than"):
        hostlist.parse("n," * hostlist.MAX_LENGTH)


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ("n1 n2 n3", "n[1-3]"),
        ("n3 n1", "n[3,1]"),
        ("n001 n2 n003", "n[001,2,003]"),
        ("n1 n1 n2", "n[1,1-2]"),
        ("a b n1", "a,b,n1"),
        ("r0b0 r0b1 r1b0 r1b1", "r0b[0-1],r1b[0-1]"),
        ("n0 n1 n00 n01", "n[0-1,00-01]"),
        ("n9 n10", "n[9-10]"),
        ("n09 n10", "n[09-10]"),
        ("n1 a n2", "n1,a,n2"),
        ("1 2", "[1-2]"),
        ("n1x n2x", "n1x,n2x"),
        ("", ""),
    ],
)
def test_compresses_in_the_order_given(names, short):
    assert hostlist.compress_in_order(names.split()) == short


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ("n10 n2 n01 n1 m3", "m3,n[1-2,01,10]"),
        ("n10 n09 n9", "n[9,09-10]"),
        ("n3 n1 n2 n1 a b", "a,b,n[1-3]"),
        ("n10 n9 n8", "n[8-10]"),
    ],
)
def test_node_lists_are_sorted_and_unique(names, short):
    assert hostlist.compress(names.split()) == short


def test_digits_beyond_the_bound_are_plain_text():
    name = "n" + "1" * 40
    assert hostlist.compress([name]) == name


def test_counts():
    assert hostlist.compress_counts([2, 2, 2, 1]) == "2(x3),1"
    assert hostlist.compress_counts([]) == ""
    assert hostlist.compress_counts([72, 72, 36, 72]) == "72(x2),36,72"
    assert hostlist.expand_counts("2(x3),1") == [2, 2, 2, 1]


@pytest.mark.parametrize("text", ["2(x3", "a", "2(x)", "1(x999999999)", ""])
def test_refuses_malformed_counts(text):
    with pytest.raises(SpecError):
        hostlist.expand_counts(text)
