"""Output file name patterns."""

import pytest

from penstock.spec import patterns

NAMES = {"A": "120", "a": "7", "b": "7", "J": "127.0", "j": "127", "N": "n1", "n": "0", "r": "2", "s": "0", "t": "3", "u": "ann", "x": "5"}


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("slurm-%j.out", "slurm-127.out"),
        ("slurm-%A_%a.out", "slurm-120_7.out"),
        ("%05j-%t", "00127-3"),
        ("%5j", "00127"),
        ("%99j", "0000000127"),
        ("%05x-%03N", "5-n1"),
        ("%05J", "00127.0"),
        ("100%%-%j", "100%-127"),
        ("%%j", "%j"),
        ("%%%j", "%127"),
        ("%q-%j", "%q-127"),
        ("%", "%"),
        ("a%", "a%"),
        ("y%3", "y3"),
        ("%2q", "2q"),
        ("x%%j%", "x%j%"),
        (r"\%j", "%j"),
        (r"a\\b%j", r"a\b%j"),
        ("plain", "plain"),
        ("", ""),
        ("%u/%x/%r", "ann/5/2"),
    ],
)
def test_fills(pattern, name):
    assert patterns.fill(pattern, NAMES) == name


def test_letters_tell_who_opens_the_file():
    assert patterns.letters_in("%j-%03t-%%N-%N-%j") == "jtN"
    assert patterns.letters_in(r"\%t") == ""
