"""The part of YAML that topology.yaml is written in: nested lists and mappings by indentation, plain and quoted scalars, lists of scalars
in brackets, comments, one document.

Not read, and refused by name with file and line: anchors, aliases, tags, mappings in braces, texts over several lines, tabs, a second
document, a key twice. A YAML library would read more than Slurm's files hold, for a dependency that has to be installed and kept up.

Guarantees: what it accepts means the same to every YAML reader, except that every scalar stays text; every value knows its line; size,
lines and depth are bounded.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeAlias

from penstock.config.lines import MAX_LINES, ConfigError, read_text

MAX_DEPTH = 16

Value: TypeAlias = "str | list[Item] | dict[str, Item]"

_KEY = re.compile(r"""("[^"\\]*"|'[^']*'|[^\s"'#&*!|>%@`{}\[\],:?-][^:#]*?)\s*:(?:\s+|$)""")


class Item(NamedTuple):
    """A value and where it begins."""

    value: Value
    where: str


class _Line(NamedTuple):
    indent: int
    text: str
    where: str


def read_yaml(path: str) -> Item:
    """The document of the file; an empty one is an empty text. ConfigError with file and line."""
    lines = _lines(path)
    if not lines:
        return Item("", f"{path}:1")
    item, rest = _block(lines, 0, lines[0].indent, 0)
    if rest < len(lines):
        raise ConfigError(f"{lines[rest].where}: indented less than what it belongs to")
    return item


def _lines(path: str) -> list[_Line]:
    found: list[_Line] = []
    begun = False
    for number, raw in enumerate(read_text(path).split("\n"), 1):
        where = f"{path}:{number}"
        if number > MAX_LINES:
            raise ConfigError(f"{where}: more than {MAX_LINES} lines")
        text = _without_comment(raw.rstrip())
        if text in ("---", "..."):
            if found or (begun and text == "---"):
                if text == "...":
                    break
                raise ConfigError(f"{where}: a second document: one is allowed")
            begun = True
            continue
        body = text.lstrip(" ")
        if not body:
            continue
        if body[0] == "\t":
            raise ConfigError(f"{where}: a tab in the indentation: only blanks are allowed")
        found.append(_Line(len(text) - len(body), body, where))
    return found


def _without_comment(text: str) -> str:
    quote = ""
    for at, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and (at == 0 or text[at - 1] in " [,"):
            quote = char
        elif char == "#" and (at == 0 or text[at - 1] in " \t"):
            return text[:at].rstrip()
    return text


def _block(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[Item, int]:
    """The list, mapping or scalar that begins at line `at` with this indentation, and the line after it."""
    line = lines[at]
    if depth > MAX_DEPTH:
        raise ConfigError(f"{line.where}: nested more than {MAX_DEPTH} deep")
    if line.text == "-" or line.text.startswith("- "):
        return _list(lines, at, indent, depth)
    if _KEY.match(line.text):
        return _mapping(lines, at, indent, depth)
    return Item(_scalar(line.text, line.where), line.where), at + 1


def _list(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[Item, int]:
    items: list[Item] = []
    where = lines[at].where
    while at < len(lines) and lines[at].indent == indent and (lines[at].text == "-" or lines[at].text.startswith("- ")):
        line = lines[at]
        body = line.text[1:].lstrip(" ")
        if body:  # what follows the dash is a block of its own, indented by where it stands
            lines[at] = _Line(indent + len(line.text) - len(body), body, line.where)
            item, at = _block(lines, at, lines[at].indent, depth + 1)
        elif at + 1 < len(lines) and lines[at + 1].indent > indent:
            item, at = _block(lines, at + 1, lines[at + 1].indent, depth + 1)
        else:
            item, at = Item("", line.where), at + 1
        items.append(item)
        _check_end(lines, at, indent)
    return Item(items, where), at


def _mapping(lines: list[_Line], at: int, indent: int, depth: int) -> tuple[Item, int]:
    entries: dict[str, Item] = {}
    where = lines[at].where
    while at < len(lines) and lines[at].indent == indent:
        line = lines[at]
        matched = _KEY.match(line.text)
        if not matched:
            raise ConfigError(f"{line.where}: cannot read {line.text[:64]!r}: expected 'key: value'")
        key = matched[1].strip("\"'")
        if key in entries:
            raise ConfigError(f"{line.where}: {key} stands twice in one mapping")
        text = line.text[matched.end() :].strip()
        below = lines[at + 1] if at + 1 < len(lines) else None
        dashed = below is not None and (below.text == "-" or below.text.startswith("- "))
        if text:
            item, at = Item(_flow(text, line.where), line.where), at + 1
        elif below is not None and (below.indent > indent or (dashed and below.indent == indent)):
            item, at = _block(lines, at + 1, below.indent, depth + 1)
        else:
            item, at = Item("", line.where), at + 1
        entries[key] = item
        _check_end(lines, at, indent)
    return Item(entries, where), at


def _check_end(lines: list[_Line], at: int, indent: int) -> None:
    if at < len(lines) and lines[at].indent > indent:
        raise ConfigError(f"{lines[at].where}: indented more than what it belongs to")


def _flow(text: str, where: str) -> Value:
    if not text.startswith("["):
        return _scalar(text, where)
    if not text.endswith("]") or "[" in text[1:]:
        raise ConfigError(f"{where}: cannot read {text[:64]!r}: expected a list of words in brackets on one line")
    inside = text[1:-1].strip()
    return [Item(_scalar(word.strip(), where), where) for word in inside.split(",")] if inside else []


def _scalar(text: str, where: str) -> str:
    if text[:1] in ('"', "'"):
        if len(text) < 2 or text[-1] != text[0] or text[0] in text[1:-1] or "\\" in text:
            raise ConfigError(f"{where}: cannot read {text[:64]!r}: expected a quoted word without quotes or backslashes in it")
        return text[1:-1]
    if text[:1] in tuple("&*!|>%@`{}[],?") or ": " in text or text.endswith(":"):
        raise ConfigError(f"{where}: cannot read {text[:64]!r}: expected a plain word; anchors, tags, braces and long texts are not read")
    return text
