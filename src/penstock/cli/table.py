"""How the view commands run: options in, requests to the controller, tables out, errors in Slurm's words.

Guarantees: rows are printed as their chunk arrives, one write a chunk; a closed pipe ends the command quietly; every failure is one of the
exceptions that `run` turns into text and status, so that a command's own code is only the happy path.
"""

from __future__ import annotations

import os
import sys
import time

from penstock.spec import options
from penstock.spec.options import InvalidOption
from penstock.spec.outputfmt import TIME, cut_with_plus, field_header, field_template, parsable_template, time_shower
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from penstock.spec.options import Entry, Options
    from penstock.spec.outputfmt import Column

BAD_ARGUMENT = 3001
"""Slurm's number for a request that is wrong in itself: its text stands alone."""
ITERATE_MAX_S = 86_400
"""Longest interval of -i."""


class Failed(Exception):
    """The command ends: the lines go to stderr as they are."""

    def __init__(self, *lines: str, status: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.status = status


class PipeClosed(Exception):
    """Nobody reads the output any more. Not an OSError: those are retried as lost connections while an answer is read."""


class OutputFailed(Exception):
    """The output cannot be written (its disk is full); not an OSError, for the same reason."""


def run(program: str, command: Callable[[Sequence[str]], int], arguments: Sequence[str] | None, load: str) -> int:
    """Runs a command's body. `load` is Slurm's name of the failed call (`slurm_load_jobs error`), put before the controller's text."""
    try:
        status = command(sys.argv[1:] if arguments is None else list(arguments))
        _flush()
        return status
    except InvalidOption as error:
        complain(*error.lines)
        return error.status
    except Failed as error:
        complain(*error.lines)
        return error.status
    except lite.Unreachable as error:
        if error.detail:
            complain(f"{program}: error: {error.detail}")
        complain(f"{load}: {error.text}")
        return 1
    except lite.Refused as error:
        if error.detail:
            complain(f"{program}: error: {error.detail}")
        complain(f"{f'{program}: error' if error.number == BAD_ARGUMENT else load}: {error.text}")
        return 1
    except ValueError as error:  # SpecError is one
        complain(f"{program}: error: {error}")
        return 1
    except (PipeClosed, BrokenPipeError):
        _let_go_of_stdout()
        return 141
    except OutputFailed as error:
        _let_go_of_stdout()
        complain(f"{program}: error: standard output cannot be written: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def read_options(program: str, table: Sequence[Entry], arguments: Sequence[str]) -> tuple[Options, list[str]] | None:
    """Merged options and the other words; None when help or version was printed."""
    known = options.entries(table, program)
    settings, words = options.parse(arguments, known, program, permute=True)
    for entry, _ in settings:
        if options.destination(entry) in ("help", "usage", "version"):
            from penstock.cli.manual import show

            show(program, options.destination(entry), known)
            return None
    merged = options.merge(known, program, os.environ, settings)
    for warning in merged.warnings:
        complain(f"{program}: warning: {warning}")
    return merged, words


def rows(chunk: str) -> list[list[str]]:
    """A chunk's columns."""
    return [column.split("\x1f") for column in chunk.split("\x1e")] if chunk else []


def print_rows(request: Mapping[str, object], columns: Sequence[Column], template: str, head: str = "") -> int:
    """Asks for the columns' fields and prints the header and every row; how many there were. A refused request prints no header."""
    fill = template.__mod__
    show = time_shower(os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
    times = [index for index, column in enumerate(columns) if column.kind == TIME]
    count = 0
    before = head

    def consume(chunk: str) -> None:
        nonlocal count, before
        values = rows(chunk)
        if not values:
            return
        for index in times:
            values[index] = list(map(show, values[index]))
        count += len(values[0])
        write(before + "".join(map(fill, zip(*values, strict=True))))
        before = ""

    lite.request({**request, "fields": [column.field for column in columns]}, on_chunk=consume)
    write(before)
    return count


def fetch_rows(request: Mapping[str, object], columns: Sequence[Column]) -> list[list[str]]:
    """All rows of a small table at once, column by column; empty without rows."""
    values: list[list[str]] = []

    def consume(chunk: str) -> None:
        part = rows(chunk)
        if not values:
            values.extend(part)
        else:
            for whole, piece in zip(values, part, strict=False):
                whole += piece

    lite.request({**request, "fields": [column.field for column in columns]}, on_chunk=consume)
    show = time_shower(os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
    return [list(map(show, value)) if column.kind == TIME else value for column, value in zip(columns, values, strict=False)]


def print_fields(request: Mapping[str, object], columns: Sequence[Column], times: frozenset[str], given: Options) -> int:
    """A table of sacct's family: padded and cut with `+`, or parsable (-p, -P, --delimiter); how many rows there were."""
    parsable = "parsable" in given or "parsable2" in given
    delimiter = given.values.get("delimiter") or "|"
    if parsable:
        ending = "parsable" in given and "parsable2" not in given
        fill = parsable_template(columns, delimiter, ending).__mod__
        head = delimiter.join([column.header for column in columns]) + (delimiter if ending else "") + "\n"
    else:
        fill = field_template(columns).__mod__
        head = field_header(columns)
    show = time_shower(os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
    before = "" if "noheader" in given else head
    count = 0

    def consume(chunk: str) -> None:
        nonlocal before, count
        values = rows(chunk)
        if not values:
            return
        shown: list[Sequence[str]] = []
        for column, value in zip(columns, values, strict=True):
            texts: Sequence[str] = list(map(show, value)) if column.field in times else value
            shown.append(texts if parsable else cut_with_plus(texts, column.width))
        count += len(values[0])
        write(before + "".join(map(fill, zip(*shown, strict=True))))
        before = ""

    lite.request({**request, "fields": [column.field for column in columns]}, on_chunk=consume)
    write(before)
    return count


def print_help_format(fields: Mapping[str, tuple[str, int]]) -> None:
    """The names of all fields, four a line."""
    names = [header for header, _ in fields.values()]
    for start in range(0, len(names), 4):
        write("".join([f"{name:<19} " for name in names[start : start + 4]]) + "\n")


def print_raw(request: Mapping[str, object]) -> None:
    """A reply that is ready to print (JSON)."""
    last = lite.request(request, on_chunk=write)
    if last:
        write(last)


def write(text: str) -> None:
    """To stdout as bytes: names that are not valid UTF-8 leave as they came."""
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError as error:
        raise OutputFailed(error.strerror) from None


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise PipeClosed from None
    except OSError as error:
        raise OutputFailed(error.strerror) from None


def _let_go_of_stdout() -> None:
    """What is still buffered is lost, in silence."""
    void = os.open(os.devnull, os.O_WRONLY)
    os.dup2(void, 1)
    os.close(void)


def complain(*lines: str) -> None:
    sys.stdout.flush()
    sys.stderr.write("".join([line.encode("utf-8", "backslashreplace").decode() + "\n" for line in lines]))


def say(given: Options, *lines: str) -> int:
    """Complain, unless -Q silences the command; the status that it ends with."""
    if "quiet" not in given:
        complain(*lines)
    return 1


def words_of(text: str | None) -> list[str]:
    """A comma list, blanks around the items dropped."""
    return [item.strip() for item in (text or "").split(",") if item.strip()]


def id_texts(text: str | None) -> list[str]:
    """A list of job ids, in which commas inside brackets belong to the id."""
    if not text:
        return []
    from penstock.spec.jobids import parse_job_ids

    return [str(selector) for selector in parse_job_ids(text)]


def user_ids(program: str, text: str | None) -> list[str]:
    """User names and ids as uids; an unknown name is told and kept, so that it matches nobody."""
    found: list[str] = []
    if not text:
        return found
    from pwd import getpwnam

    for word in words_of(text):
        if word.isdecimal():
            found.append(word)
            continue
        try:
            found.append(str(getpwnam(word).pw_uid))
        except KeyError:
            complain(f"{program}: error: Invalid user: {word}")
            found.append(word)
    return found


def date_line() -> None:
    write(time.strftime("%a %b %d %H:%M:%S %Y\n"))


def iterate(program: str, text: str | None, body: Callable[[], int]) -> int:
    """Runs the body once, or for ever every so many seconds (-i) under a date line."""
    if text is None:
        return body()
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:9]) <= ITERATE_MAX_S:
        raise Failed(f"{program}: error: Invalid interval: {text[:32]} (1 to {ITERATE_MAX_S} seconds are allowed)")
    while True:
        date_line()
        body()
        write("\n")
        sys.stdout.flush()
        time.sleep(int(text))


def check_json(program: str, value: str | None) -> None:
    """--json takes no value here, or the name of the newest data parser, `latest`."""
    if value not in (None, "", "latest"):
        raise Failed(f"{program}: error: --json={value[:32] if value else ''}: only the plain --json is supported")
