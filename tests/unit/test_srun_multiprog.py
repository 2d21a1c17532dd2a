"""The file of --multi-prog: Slurm's grammar and words."""

from __future__ import annotations

import pytest

from penstock.cli import multiprog
from penstock.cli.multiprog import MultiProgError, parse


def test_ranks_ranges_and_the_rest():
    text = "# comment\n\n0,3 a %t %o\n1-2 b %t %o x%%t\n* c %t %o\n"
    assert parse(text, "f", 6) == [
        ["a", "0", "0"],
        ["b", "1", "0", "x%1"],
        ["b", "2", "1", "x%2"],
        ["a", "3", "1"],
        ["c", "4", "4"],
        ["c", "5", "5"],
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 p 'c d' e", ["p", "c d", "e"]),
        ('0 p "a b"', ["p", '"a', 'b"']),
        ("0 p e\\ f", ["p", "e f"]),
        ("0 p x#y # no comment", ["p", "x#y", "#", "no", "comment"]),
        ("0 p a \\\n b", ["p", "a", "b"]),
        ("0\tp\t''", ["p", ""]),
    ],
)
def test_words(line, words):
    assert parse(line, "f", 1) == [words]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("0 a\n0 b\n", ("Duplicate record for task 0", "Line 2 of configuration file f invalid")),
        ("0-5 a\n", ("Invalid task id, 5 >= ntasks", "Line 1 of configuration file f invalid")),
        ("0 a\n", ("Configuration file f invalid, no record for task id 1",)),
        ("0-1\n", ("Line 1 of configuration file f invalid",)),
        ("1-0 a\n", ("Invalid task id range 1-0", "Line 1 of configuration file f invalid")),
        ("x a\n", ("Invalid task id specification 'x': numbers, ranges and * are allowed", "Line 1 of configuration file f invalid")),
        ("0- a\n", ("Invalid task id specification '0-': numbers, ranges and * are allowed", "Line 1 of configuration file f invalid")),
    ],
)
def test_bad_files(text, lines):
    with pytest.raises(MultiProgError) as caught:
        parse(text, "f", 2)
    assert caught.value.lines == lines


def test_a_huge_range_is_refused_before_it_is_expanded():
    with pytest.raises(MultiProgError):
        parse("0-999999999 a\n", "f", 2)


def test_a_missing_and_an_oversized_file(tmp_path):
    with pytest.raises(MultiProgError, match="Could not open multi_prog config file"):
        multiprog.read(str(tmp_path / "none"), 1)
    (tmp_path / "big").write_bytes(b"#" * (multiprog.MAX_FILE_BYTES + 1))
    with pytest.raises(MultiProgError, match="larger than"):
        multiprog.read(str(tmp_path / "big"), 1)
