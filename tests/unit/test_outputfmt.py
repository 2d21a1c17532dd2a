"""Format strings become columns: letters, long names, sacct's fields, and how values are padded, cut and marked."""

import pytest

from penstock.spec import fields_sacct, fields_sinfo, fields_squeue
from penstock.spec.errors import SpecError
from penstock.spec.outputfmt import (
    cut_with_plus,
    field_header,
    field_template,
    fill_times,
    header_line,
    parsable_template,
    parse_fields,
    parse_letters,
    parse_long,
    template,
    time_shower,
)

LETTERS = (fields_squeue.LETTERS, fields_squeue.FIELDS)


def row(text, *values):
    prefix, columns = parse_letters(text, *LETTERS)
    return header_line(columns, prefix) + template(columns, prefix) % values


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("%i|%T", ("7", "RUNNING"), "JOBID|STATE\n7|RUNNING\n"),
        ("%.8i %3j", ("7", "abcdef"), "   JOBID NAM\n       7 abc\n"),
        ("<%2u>%%", None, None),
        ("100% %i", None, None),
        ("job %i done", ("7",), "job JOBID done\njob 7 done\n"),
        ("%.4M %3N", ("1-02:03:04", "n[1-9]"), "TIME NOD\n1-02:03:04 n[1-9]\n"),
    ],
)
def test_letters(text, values, expected):
    if expected is None:
        with pytest.raises(SpecError, match="Invalid job format specification"):
            parse_letters(text, *LETTERS)
    else:
        assert row(text, *values) == expected


def test_all_letters_are_joined_by_bars():
    prefix, columns = parse_letters("%all", *LETTERS)
    assert prefix == ""
    assert header_line(columns).count("|") == len(fields_squeue.LETTERS)


def test_long_names():
    columns = parse_long("JobID,Name:4,state:.9x,tres-alloc:6|", fields_squeue.NAMES, fields_squeue.FIELDS)
    assert header_line(columns) == "JOBID               NAME    STATExTRES_A|\n"
    assert template(columns) % ("1", "abcdef", "RUNNING", "cpu=1,mem=2") == "1                   abcd  RUNNINGxcpu=1,|\n"


@pytest.mark.parametrize("text", ["", ",", "jobid:", "jobid:10001", "nme", "x" * 70_000])
def test_bad_long_names_are_refused(text):
    with pytest.raises(SpecError):
        parse_long(text, fields_squeue.NAMES, fields_squeue.FIELDS)


def test_accounting_fields_may_be_shortened_and_given_a_width():
    columns = parse_fields("JobID%6,jobn%-5,stat,MAXR", fields_sacct.FIELDS, "sacct")
    assert [column.field for column in columns] == ["jobid", "jobname", "state", "maxrss"]
    assert field_header(columns) == " JobID JobNa      State     MaxRSS \n------ ----- ---------- ---------- \n"
    assert field_template(columns) % ("1", "a", "RUNNING", "1K") == "     1 a        RUNNING         1K \n"
    assert parsable_template(columns, "%", True) % ("1", "a", "b", "c") == "1%a%b%c%\n"
    assert parsable_template(columns, "|", False) % ("1", "a", "b", "c") == "1|a|b|c\n"


@pytest.mark.parametrize("text", ["", "nope", "jobid%x", "jobid%99999999999"])
def test_bad_accounting_fields_are_refused(text):
    with pytest.raises(SpecError):
        parse_fields(text, fields_sacct.FIELDS, "sacct")


def test_what_does_not_fit_ends_in_a_plus():
    assert cut_with_plus(["abc", "abcd", "abcde"], 4) == ["abc", "abcd", "abc+"]
    short = ["a", "b"]
    assert cut_with_plus(short, 4) is short


def test_every_default_format_names_known_fields():
    for text in (fields_squeue.DEFAULT, fields_squeue.LONG, fields_squeue.START, fields_squeue.ONLY_STATE):
        assert parse_letters(text, *LETTERS)[1]
    assert parse_letters(fields_squeue.STEPS, fields_squeue.STEP_LETTERS, fields_squeue.STEP_FIELDS)[1]
    for name in ("DEFAULT", "LONG", "SUMMARY", "NODES", "NODES_LONG", "REASONS", "REASONS_LONG"):
        assert parse_letters(getattr(fields_sinfo, name), fields_sinfo.LETTERS, fields_sinfo.FIELDS)[1]
    for text in (fields_sacct.DEFAULT, fields_sacct.BRIEF, fields_sacct.LONG):
        assert parse_fields(text, fields_sacct.FIELDS, "sacct")
    assert parse_fields(fields_sacct.STAT_DEFAULT, fields_sacct.STAT_FIELDS, "sstat")


@pytest.mark.parametrize("module", [fields_squeue, fields_sinfo])
def test_letters_and_names_lead_to_fields(module):
    assert set(module.LETTERS.values()) <= set(module.FIELDS)
    assert set(module.NAMES.values()) == set(module.FIELDS)


def test_times_are_the_readers(monkeypatch):
    show = time_shower("%Y", 0)
    assert (show("86400000"), show("N/A"), show("0")) == ("1972", "N/A", "0")
    assert fill_times("a=\x1f86400000\x1f b", show) == "a=1972 b"
