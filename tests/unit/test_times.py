"""Durations and points in time: the texts Slurm accepts, in a fixed zone and at a fixed moment."""

import time

import pytest

from penstock.spec import times
from penstock.spec.errors import SpecError

NOW_TEXT = "2026-08-20T14:30:00"  # a Thursday, summer time


@pytest.fixture(autouse=True)
def paris(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def now():
    return int(time.mktime(time.strptime(NOW_TEXT, "%Y-%m-%dT%H:%M:%S")))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("30:00", 1800),
        ("0:30", 60),
        ("1:00:00", 3600),
        ("0:0:1", 60),
        ("1-0", 86400),
        ("1-", 86400),
        ("0-", None),
        ("1-2:30", 95400),
        ("2-03:04:05", 183900),
        ("infinite", None),
        ("UNLIMITED", None),
        ("-1", None),
        ("0", None),
        ("90:90", 5520),
    ],
)
def test_time_limit_rounds_up_to_minutes(text, seconds):
    assert times.parse_time_limit(text) == seconds


@pytest.mark.parametrize(
    "text", ["", ":", "1:", ":1", "1-2:", "-", "-2", "1:2:3:4", "1-2:3:4:5", "1d", "1.5", "1-2-3", "9" * 13, "99999999-0", "²"]
)
def test_refuses_time_limits(text):
    with pytest.raises(SpecError):
        times.parse_time_limit(text)


def test_durations_are_exact_where_limits_are_not():
    assert times.parse_duration("0:30") == 30
    assert times.parse_duration("7-0") == 604_800


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [
        (21, "00:00:21", "0:21"),
        (6201, "01:43:21", "1:43:21"),
        (93784, "1-02:03:04", "1-02:03:04"),
        (0, "00:00:00", "0:00"),
        (-5, "INVALID", "INVALID"),
        (None, "UNLIMITED", "UNLIMITED"),
        (400 * 86400, "400-00:00:00", "INVALID"),
    ],
)
def test_duration_display(seconds, long, short):
    assert times.format_duration(seconds) == long
    assert times.format_duration_short(seconds) == short


def test_cpu_time_display():
    assert times.format_cpu_time(1, 250_000) == "00:01.250"
    assert times.format_cpu_time(1) == "00:00:01"
    assert times.format_cpu_time(3600, 250_000) == "01:00:00"


@pytest.mark.parametrize(
    ("text", "ahead", "back"),
    [
        ("16:00", "2026-08-20T16:00:00", "2026-08-20T16:00:00"),
        ("14:00", "2026-08-21T14:00:00", "2026-08-20T14:00:00"),
        ("4:05:06 PM", "2026-08-20T16:05:06", "2026-08-20T16:05:06"),
        ("12:30am", "2026-08-21T00:30:00", "2026-08-20T00:30:00"),
        ("noon", "2026-08-21T12:00:00", "2026-08-20T12:00:00"),
        ("fika tomorrow", "2026-08-21T15:00:00", "2026-08-21T15:00:00"),
        ("tomorrowT16:00", "2026-08-21T16:00:00", "2026-08-21T16:00:00"),
        ("today", "2026-08-20T00:00:00", "2026-08-20T00:00:00"),
        ("010227", "2027-01-02T00:00:00", "2027-01-02T00:00:00"),
        ("01/02", "2027-01-02T00:00:00", "2026-01-02T00:00:00"),
        ("12/25", "2026-12-25T00:00:00", "2025-12-25T00:00:00"),
        ("12.25.26", "2026-12-25T00:00:00", "2026-12-25T00:00:00"),
        ("2026-12-01", "2026-12-01T00:00:00", "2026-12-01T00:00:00"),
        ("2026-12-01T10:05", "2026-12-01T10:05:00", "2026-12-01T10:05:00"),
        ("10:05 2026-12-01", "2026-12-01T10:05:00", "2026-12-01T10:05:00"),
        ("now", NOW_TEXT, NOW_TEXT),
        ("now+90", "2026-08-20T14:31:30", "2026-08-20T14:31:30"),
        ("now + 2 hours", "2026-08-20T16:30:00", "2026-08-20T16:30:00"),
        ("now-1week", "2026-08-13T14:30:00", "2026-08-13T14:30:00"),
    ],
)
def test_points_in_time(text, ahead, back):
    assert times.format_time(times.parse_time(text, now())) == ahead
    assert times.format_time(times.parse_time(text, now(), past=True)) == back


def test_epoch_word():
    assert times.parse_time("uts2000000000", now()) == 2_000_000_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "foo",
        "16",
        "24:00",
        "2026-12-01T10",
        "13:00pm",
        "now+1mins",
        "midnight+1",
        "02/30",
        "2026-04-31",
        "10:00 11:00",
        "today tomorrow",
        "pm",
        "12/1/5",
        "0-0-0",
        "now+" + "9" * 12 + "weeks",
    ],
)
def test_refuses_points_in_time(text):
    with pytest.raises(SpecError):
        times.parse_time(text, now())


def test_calendar_days_survive_the_change_of_clocks():
    before = int(time.mktime((2026, 10, 24, 23, 0, 0, 0, 0, -1)))
    assert times.format_time(times.parse_time("tomorrow", before)) == "2026-10-25T00:00:00"
    assert times.format_time(times.parse_time("22:00", before)) == "2026-10-25T22:00:00"


def test_sacct_windows():
    since, until = times.parse_window("", "", now())
    assert (times.format_time(since), until) == ("2026-08-20T00:00:00", now())
    assert times.parse_window("", "2026-08-01", now())[0] == 0
    with pytest.raises(SpecError, match="after end time"):
        times.parse_window("2026-08-02", "2026-08-01", now())


@pytest.mark.parametrize(
    ("offset", "shown"),
    [
        (0, "14:30:00"),
        (86400, "Tomorr 14:30"),
        (-86400, "Ystday 14:30"),
        (3 * 86400, "Sun 14:30"),
        (30 * 86400, "19 Sep 14:30"),
        (400 * 86400, "24 Sep 2027"),
    ],
)
def test_relative_time_format(offset, shown):
    assert times.format_time(now() + offset, "relative", now()) == shown


def test_time_format_styles():
    assert times.format_time(now(), "standard") == NOW_TEXT
    assert times.format_time(now(), "%H-%M") == "14-30"
    assert times.format_time(0) == "Unknown"
    assert times.format_time(None) == "None"
