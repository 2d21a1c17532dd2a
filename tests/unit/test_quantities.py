"""Memory, counts and node counts: Slurm's suffixes, rounding and display."""

import pytest

from penstock.spec import quantities as q
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("16G", 16384),
        ("16GB", 16384),
        ("300", 300),
        ("300M", 300),
        ("1k", 1),
        ("1025K", 2),
        ("0", 0),
        ("2T", 2 << 20),
        ("4tb", 4 << 20),
        (" 5g ", 5120),
    ],
)
def test_memory(text, mib):
    assert q.parse_memory(text) == mib


@pytest.mark.parametrize("text", ["", "G", "-1", "1.5G", "1GG", "1P", "1BG", "9" * 19, "2000000T", "16 G", "x", "²G"])
def test_refuses_memory(text):
    with pytest.raises(SpecError):
        q.parse_memory(text)


@pytest.mark.parametrize(
    ("mib", "exact", "short"),
    [(16384, True, "16G"), (16000, True, "16000M"), (2560, False, "2.50G"), (300, True, "300M"), (0, True, "0"), (3 << 20, True, "3T")],
)
def test_memory_display(mib, exact, short):
    assert q.format_memory(mib, exact=exact) == short


def test_usage_display():
    assert q.format_quantity(4988928, "") == "4872K"
    assert q.format_quantity(4872, "K", to="M") == "4.76M"
    assert q.format_quantity(512, "M", to="K") == "524288K"
    assert q.format_quantity(7, "") == "7"


def test_counts():
    assert q.parse_count("2k") == 2048
    assert q.parse_count("1M") == 1 << 20
    assert q.parse_node_count("2-4") == (2, 4)
    assert q.parse_node_count("1k") == (1024, 1024)
    assert q.format_node_count(2, 4) == "2-4"
    assert q.format_node_count(2, 2) == "2"


@pytest.mark.parametrize("text", ["", "0", "4-2", "-2", "2-", "a", "1-2-3", "99999999999", "1g"])
def test_refuses_node_counts(text):
    with pytest.raises(SpecError):
        q.parse_node_count(text)


def test_int_errors_name_what_is_allowed():
    with pytest.raises(SpecError, match=r"invalid --ntasks '0': expected 1 to 2147483647"):
        q.parse_int("0", "--ntasks", 1)
    with pytest.raises(SpecError, match="whole number"):
        q.parse_int("1e3", "--ntasks")
    assert q.parse_int("-5", "--nice", -10) == -5
