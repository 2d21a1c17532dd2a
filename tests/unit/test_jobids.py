"""Job and step ids as commands take and show them."""

import pytest

from penstock.spec import arrays, jobids
from penstock.spec.errors import SpecError
from penstock.spec.jobids import JobSelector, parse_job_id, parse_job_ids


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("123", JobSelector(123)),
        ("123_4", JobSelector(123, ((4, 4, 1),))),
        ("123_[1-5,7%2]", JobSelector(123, ((1, 5, 1), (7, 7, 1)))),
        ("123_*", JobSelector(123)),
        ("123.0", JobSelector(123, None, 0)),
        ("123.batch", JobSelector(123, None, jobids.STEP_BATCH)),
        ("123_4.extern", JobSelector(123, ((4, 4, 1),), jobids.STEP_EXTERN)),
    ],
)
def test_reads_ids(text, selector):
    assert parse_job_id(text) == selector


def test_one_task_is_known_from_many():
    assert parse_job_id("123_4").task_id == 4
    assert parse_job_id("123_[4-5]").task_id is None
    assert parse_job_id("123").task_id is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "a",
        "123_",
        "123_a",
        "123_[",
        "123_[a]",
        "123.",
        "123.x",
        "123.-1",
        "123+1",
        "123_4+1",
        "99999999",
        "1" * 30,
        "1.2.3",
        "12 3",
    ],
)
def test_refuses_other_texts(text):
    with pytest.raises(SpecError):
        parse_job_id(text)


def test_lists_keep_commas_inside_brackets():
    assert [str(s) for s in parse_job_ids("1,2_[1,3],4.batch,")] == ["1", "2_[1,3]", "4.batch"]
    with pytest.raises(SpecError):
        parse_job_ids("1_[1,2")
    with pytest.raises(SpecError, match="more than 3"):
        parse_job_ids("1,2,3,4", 3)


def test_shows_ids():
    assert jobids.format_job(123) == "123"
    assert jobids.format_job(123, arrays.parse_ranges("4")) == "123_4"
    assert jobids.format_job(123, arrays.parse_ranges("3-5,7"), 2) == "123_[3-5,7%2]"
    assert jobids.format_job(123, arrays.parse_ranges("4"), 2) == "123_[4%2]"
    assert jobids.format_step(jobids.STEP_BATCH) == "batch"
    assert jobids.format_step(7) == "7"
