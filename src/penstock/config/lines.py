"""The line grammar that slurm.conf and its companions share: `Key=value` pairs, comments, continuation, quotes, Include.

`#` begins a comment unless escaped (`\\#`); a backslash at the end joins the next line; keys are case-insensitive; blanks may stand around
`=`; values with blanks are quoted; `Include FILE` reads another file in its place, relative to the including one.

Guarantees: every pair knows its file and line; sizes, lines and the depth of Include are bounded; a text that is not of this grammar is a
ConfigError with file and line. Bytes that are not UTF-8 are refused there too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from penstock.spec.errors import SpecError

MAX_FILE_BYTES = 16 << 20
MAX_LINES = 500_000  # of one configuration, its included files together
MAX_INCLUDE_DEPTH = 10
MAX_PROBLEMS = 20  # reported at once

_PAIR = re.compile(r'\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*(?:"([^"]*)"|([^\s"]*))(?=\s|$)')
_INCLUDE = re.compile(r"include\s+(\S+)\s*$", re.IGNORECASE)
_COMMENT = re.compile(r"(?<!\\)#.*$")


class ConfigError(SpecError):
    """What is wrong in the configuration; the text names file and line, several problems stand on lines of their own."""


class Pair(NamedTuple):
    key: str
    value: str


class Line(NamedTuple):
    """The pairs of one logical line, and where it begins."""

    where: str
    pairs: tuple[Pair, ...]


def read_lines(path: str) -> Iterator[Line]:
    """Every line with pairs, in order, included files in their place."""
    left = [MAX_LINES]
    yield from _read(path, 0, left)


def included(path: str, depth: int = 0) -> list[str]:
    """The files that this one includes, and those that they include; a file that cannot be read includes none."""
    found: list[str] = []
    try:
        lines = read_text(path).split("\n") if depth < MAX_INCLUDE_DEPTH else []
    except ConfigError:
        return found
    for line in lines:
        match = _INCLUDE.match(_COMMENT.sub("", line).strip())
        if match:
            target = os.path.join(os.path.dirname(path), match[1])
            found += [target, *included(target, depth + 1)] if os.path.exists(target) else []
    return found


def _read(path: str, depth: int, left: list[int]) -> Iterator[Line]:
    if depth > MAX_INCLUDE_DEPTH:
        raise ConfigError(f"{path}: Include is nested more than {MAX_INCLUDE_DEPTH} deep")
    logical = ""
    begin = 0
    for number, raw in enumerate(read_text(path).split("\n"), 1):
        left[0] -= 1
        if left[0] < 0:
            raise ConfigError(f"{path}:{number}: the configuration has more than {MAX_LINES} lines")
        part = _COMMENT.sub("", raw.rstrip("\r"))
        if not logical:
            begin = number
        if part.endswith("\\"):
            logical += part[:-1] + " "
            continue
        logical = (logical + part).replace("\\#", "#").strip()
        if logical:
            included = _INCLUDE.match(logical)
            if included:
                yield from _read(os.path.join(os.path.dirname(path), included[1]), depth + 1, left)
            else:
                yield Line(f"{path}:{begin}", _pairs(logical, f"{path}:{begin}"))
        logical = ""
    if logical:
        raise ConfigError(f"{path}:{begin}: the file ends inside a continued line")


def read_text(path: str) -> str:
    """The whole file as text; ConfigError where it cannot be read, is too large, or is not text."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from None
    if "\0" in text:
        raise ConfigError(f"{path}:{text.count(chr(10), 0, text.index(chr(0))) + 1}: a NUL byte")
    return text


def _pairs(text: str, where: str) -> tuple[Pair, ...]:
    pairs: list[Pair] = []
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if not found:
            raise ConfigError(f"{where}: cannot read {text[at:].strip()[:64]!r}: expected Key=value, values with blanks in quotes")
        pairs.append(Pair(found[1], found[2] if found[2] is not None else found[3]))
        at = found.end()
    return tuple(pairs)
