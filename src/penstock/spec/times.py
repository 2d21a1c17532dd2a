"""Durations and points in time as Slurm reads and shows them.

Durations: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`; INFINITE, UNLIMITED and -1 are None. Limits are rounded up to whole minutes.
Points in time: `--begin` and sacct's `-S`/`-E` share one grammar; a time of day without a date is the next such moment when looking ahead
and today's when looking back. All calendar arithmetic is local time through the C library, so daylight saving follows TZ.

Guarantees: parsers return bounded ints or raise SpecError; the present is a parameter (`now`, epoch seconds), never read here.
"""

from __future__ import annotations

import time

from penstock.spec.errors import SpecError

MAX_DIGITS = 12  # digits of one number in a duration or date
MAX_LIMIT_S = 60 * 0x7FFF_FFFF  # what Slurm's 32-bit minutes hold
MAX_EPOCH_S = 253_402_300_799  # the year 9999
YEAR_S = 365 * 86400  # squeue shows INVALID above this

_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604_800}
_MOMENTS = {"midnight": 0, "elevenses": 11, "noon": 12, "fika": 15, "teatime": 16}


def parse_duration(text: str, what: str = "time") -> int | None:
    """Seconds, exactly as written; None for unlimited."""
    stripped = text.strip()
    if stripped == "-1" or stripped.upper() in ("INFINITE", "UNLIMITED"):
        return None
    days, dash, rest = stripped.partition("-")
    if not dash:
        days, rest = "0", stripped
    fields = ["0"] if dash and not rest else rest.split(":")  # `1-` is a day
    if not _is_number(days) or len(fields) > 3 or not all(map(_is_number, fields)):
        raise SpecError(f"invalid {what} {text[:64]!r}: expected minutes, M:S, H:M:S, D-H, D-H:M, D-H:M:S or UNLIMITED")
    numbers = [int(field) for field in fields]
    if dash:
        hours, minutes, seconds = numbers + [0] * (3 - len(numbers))
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, minutes, seconds = 0, numbers[0], numbers[1] if len(numbers) == 2 else 0
    value = int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if value > MAX_LIMIT_S:
        raise SpecError(f"invalid {what} {text[:64]!r}: longer than {MAX_LIMIT_S // 86400} days; UNLIMITED has no end")
    return value


def parse_time_limit(text: str, what: str = "time limit") -> int | None:
    """Seconds, rounded up to whole minutes; None for unlimited, which is also what 0 asks for."""
    value = parse_duration(text, what)
    return None if not value else -(-value // 60) * 60


def format_duration(seconds: int | None) -> str:
    """`HH:MM:SS` or `D-HH:MM:SS`, zero padded: scontrol, sacct, sinfo. None is UNLIMITED."""
    if seconds is None:
        return "UNLIMITED"
    if seconds < 0:
        return "INVALID"
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def format_duration_short(seconds: int | None) -> str:
    """squeue's TIME and TIME_LIMIT: leading parts dropped (`0:21`, `1:43:21`, `1-02:03:04`); INVALID when negative or over a year."""
    if seconds is None:
        return "UNLIMITED"
    if not 0 <= seconds <= YEAR_S:
        return "INVALID"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days}-{hours:02d}:{rest // 60:02d}:{rest % 60:02d}"
    if hours:
        return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
    return f"{rest // 60}:{rest % 60:02d}"


def format_cpu_time(seconds: int, micros: int = 0) -> str:
    """sacct's CPU columns: below an hour with milliseconds (`00:01.250`) unless they are zero, else as format_duration."""
    seconds += micros // 1_000_000
    millis = micros % 1_000_000 // 1000
    if millis and 0 <= seconds < 3600:
        return f"{seconds // 60:02d}:{seconds % 60:02d}.{millis:03d}"
    return format_duration(seconds)


def format_time(epoch_s: int | None, style: str = "", now: int = 0) -> str:
    """A local timestamp, `2026-01-01T10:00:00`; 0 is `Unknown`, None is `None`.

    `style` is the value of SLURM_TIME_FORMAT: "" or `standard`, `relative` (needs `now`), or a strftime pattern beginning with %.
    """
    if epoch_s is None:
        return "None"
    if not epoch_s:
        return "Unknown"
    try:
        at = time.localtime(epoch_s)
    except (OverflowError, ValueError, OSError):
        return "Unknown"
    if not style or style == "standard":
        return f"{at[0]:04d}-{at[1]:02d}-{at[2]:02d}T{at[3]:02d}:{at[4]:02d}:{at[5]:02d}"
    if style == "relative":
        return _relative(at, time.localtime(now))
    if style[0] == "%":
        return time.strftime(style, at)
    return f"{at[0]:04d}-{at[1]:02d}-{at[2]:02d}T{at[3]:02d}:{at[4]:02d}:{at[5]:02d}"


def parse_time(text: str, now: int, *, past: bool = False) -> int:
    """Epoch seconds of a `--begin` text, or with `past` of sacct's -S and -E.

    Words, in any order, separated by blanks or joined by T: `now[+|-N[units]]`, `today`, `tomorrow`, `midnight`, `noon`, `elevenses`,
    `fika`, `teatime`, `HH:MM[:SS]` with AM or PM, `MMDDYY`, `MM/DD[/YY]`, `MM.DD[.YY]`, `YYYY-MM-DD`, `utsEPOCH`. A date without a time is
    midnight. A day that does not exist (02/30) is refused, where Slurm silently takes the next one.
    """
    words = _words(text)
    if not words:
        raise _bad_time(text)
    if words[0].startswith("now") or words[0].startswith("uts"):
        return _absolute(text, words, now)
    here = time.localtime(now)
    clock: tuple[int, int, int] | None = None
    date: tuple[int, int, int] | None = None  # year 0: the nearest
    for index, word in enumerate(words):
        if word in ("am", "pm"):
            if index == 0 or ":" not in words[index - 1] or clock is None:
                raise _bad_time(text)
            clock = _half_day(text, clock, word)
            continue
        if word in ("today", "tomorrow"):
            found_date = _plus_days(here, 1 if word == "tomorrow" else 0)
        elif word in _MOMENTS or ":" in word:
            if clock is not None:
                raise _bad_time(text)
            clock = (_MOMENTS[word], 0, 0) if word in _MOMENTS else _clock(text, word)
            continue
        else:
            found_date = _date(text, word)
        if date is not None:
            raise _bad_time(text)
        date = found_date
    hour, minute, second = clock or (0, 0, 0)
    if date is None:
        later = (hour, minute) > (here[3], here[4])
        date = _plus_days(here, 0 if past or later else 1)
    year, month, day = date
    if not year:
        year = here[0]
        wanted, present = (month, day, hour, minute), (here[1], here[2], here[3], here[4])
        if past and wanted[:2] > present[:2]:
            year -= 1
        elif not past and wanted < present:
            year += 1
    return _epoch(text, (year, month, day), (hour, minute, second))


def parse_window(start: str, end: str, now: int) -> tuple[int, int]:
    """sacct's -S and -E, either may be empty: from today's midnight (or, when only the end is given, from 0) to now."""
    until = parse_time(end, now, past=True) if end else now
    if start:
        since = parse_time(start, now, past=True)
    elif end:
        since = 0
    else:
        since = midnight(now)
    if since > until:
        raise SpecError(f"start time {format_time(since)} is after end time {format_time(until)}")
    return since, until


def midnight(now: int) -> int:
    """The beginning of the local day that holds `now`."""
    here = time.localtime(now)
    return int(time.mktime((here[0], here[1], here[2], 0, 0, 0, 0, 0, -1)))


def _words(text: str) -> list[str]:
    words: list[str] = []
    if len(text) > 256:
        raise SpecError(f"invalid time {text[:61] + '...'!r}: longer than 256 characters")
    for word in text.lower().split():
        joint = next((index for index in range(1, len(word) - 1) if word[index] == "t" and word[index + 1].isdigit()), 0)
        if joint:
            words += [word[:joint], word[joint + 1 :]]
        elif word[-2:] in ("am", "pm") and word[0].isdigit():
            words += [word[:-2], word[-2:]]
        else:
            words.append(word)
    return words


def _absolute(text: str, words: list[str], now: int) -> int:
    joined = "".join(words)
    if joined.startswith("uts"):
        digits = joined[3:]
        if not _is_number(digits) or int(digits) > MAX_EPOCH_S:
            raise _bad_time(text)
        return int(digits)
    rest = joined[3:]
    if not rest:
        return now
    sign, amount = rest[0], rest[1:]
    digits = amount.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = amount[len(digits) :] or "second"
    factor = _UNITS_S.get(unit.removesuffix("s"))
    if sign not in "+-" or not _is_number(digits) or factor is None:
        raise _bad_time(text)
    value = now + (1 if sign == "+" else -1) * int(digits) * factor
    if not 0 <= value <= MAX_EPOCH_S:
        raise SpecError(f"invalid time {text[:64]!r}: outside the years 1970 to 9999")
    return value


def _clock(text: str, word: str) -> tuple[int, int, int]:
    fields = word.split(":")
    if not 2 <= len(fields) <= 3 or not all(_is_number(field) and len(field) <= 2 for field in fields):
        raise _bad_time(text)
    hour, minute, second = int(fields[0]), int(fields[1]), int(fields[2]) if len(fields) == 3 else 0
    if hour > 23 or minute > 59 or second > 59:
        raise _bad_time(text)
    return hour, minute, second


def _half_day(text: str, clock: tuple[int, int, int], half: str) -> tuple[int, int, int]:
    hour, minute, second = clock
    if hour > 12:
        raise _bad_time(text)
    return hour % 12 + (12 if half == "pm" else 0), minute, second


def _date(text: str, word: str) -> tuple[int, int, int]:
    """Year (0 when not given), month, day."""
    if "-" in word:
        fields = word.split("-")
        order = (1, 2, 0)
        full_year = True
    elif "/" in word or "." in word:
        fields = word.split("/" if "/" in word else ".")
        order = (0, 1, 2)
        full_year = False
    else:
        fields = [word[:2], word[2:4], word[4:6]] if len(word) == 6 else []
        order = (0, 1, 2)
        full_year = False
    if not all(_is_number(field) for field in fields) or len(fields) not in ((3,) if full_year else (2, 3)):
        raise _bad_time(text)
    numbers = [int(field) for field in fields]
    month, day = numbers[order[0]], numbers[order[1]]
    year = 0
    if len(numbers) == 3:
        year = numbers[order[2]]
        if len(fields[order[2]]) not in ((4,) if full_year else (2, 4)):
            raise _bad_time(text)
        if year < 100:
            year += 2000
        if year < 1970:
            raise _bad_time(text)
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise _bad_time(text)
    return year, month, day


def _plus_days(here: time.struct_time, days: int) -> tuple[int, int, int]:
    there = time.localtime(time.mktime((here[0], here[1], here[2] + days, 12, 0, 0, 0, 0, -1)))
    return there[0], there[1], there[2]


def _epoch(text: str, date: tuple[int, int, int], clock: tuple[int, int, int]) -> int:
    try:
        value = time.mktime((*date, *clock, 0, 0, -1))
    except (OverflowError, ValueError):
        raise _bad_time(text) from None
    if time.localtime(value)[2] != date[2]:  # 31 April; a moment skipped by daylight saving stays on its day
        raise _bad_time(text)
    return int(value)


def _relative(at: time.struct_time, here: time.struct_time) -> str:
    distance = round((time.mktime((*at[:3], 12, 0, 0, 0, 0, -1)) - time.mktime((*here[:3], 12, 0, 0, 0, 0, -1))) / 86400)
    if distance == 0:
        return time.strftime("%H:%M:%S", at)
    if distance == 1:
        return time.strftime("Tomorr %H:%M", at)
    if distance == -1:
        return time.strftime("Ystday %H:%M", at)
    if abs(distance) < 7:
        return time.strftime("%a %H:%M", at)
    if abs(distance) < 365:
        return time.strftime("%-d %b %H:%M", at)
    return time.strftime("%-d %b %Y", at)


def _bad_time(text: str) -> SpecError:
    allowed = "HH:MM[:SS], MMDDYY, MM/DD[/YY], YYYY-MM-DD[THH:MM[:SS]], now[+N[units]], or a word such as noon"
    return SpecError(f"invalid time {text[:64]!r}: expected {allowed}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
