"""Hostlists: the short form of many node names, `n[1-3,7],r[0-3]_b[0-41],login`.

Grammar: names joined by commas or white space; a name may hold several bracket groups (their product, the last one runs fastest); a group
holds numbers and ascending ranges; the digits of a range's first number fix the width, so `n[08-11]` is n08 n09 n10 n11. Text after a
bracket is allowed (`n[1-2]-ib`), which Slurm refuses.

Guarantees: the size of what a text expands to is known, and checked against MAX_HOSTS, before one name is made; every malformed text is a
SpecError; `expand(compress(names))` gives the sorted, unique names back. The compressed form joins only the last run of digits, as Slurm
does: r0b0 r0b1 r1b0 is `r0b[0-1],r1b0`.

Assumes nothing about which nodes exist: `ALL`, NodeSet names and `feature{x}` are resolved by whoever knows the cluster.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_HOSTS = 262_144  # names in one list; a longer list is refused before it is expanded
MAX_RANGES = 262_144  # numbers and ranges between brackets in one list
MAX_LENGTH = 4 << 20  # characters of one text
MAX_NAME = 255  # characters of one name, as in a host name
MAX_DIGITS = 18  # digits of a number: longer runs are plain text when compressing and refused in a range

_BREAKS = ", \t\n\r"


class Group:
    """One bracket group: inclusive ranges with the width of their numbers (1 = no leading zeros)."""

    __slots__ = ("count", "ranges")

    def __init__(self, ranges: list[tuple[int, int, int]]) -> None:
        self.ranges = ranges
        self.count = sum(last - first + 1 for first, last, _ in ranges)

    def texts(self) -> list[str]:
        out: list[str] = []
        for first, last, width in self.ranges:
            if width > 1:
                out += [str(value).zfill(width) for value in range(first, last + 1)]
            else:
                out += map(str, range(first, last + 1))
        return out


def parse(text: str) -> list[list[str | Group]]:
    """One list of parts (plain text or Group) per comma-separated item, in the order given. Refuses texts that are too large."""
    if len(text) > MAX_LENGTH:
        raise SpecError(f"hostlist of {len(text)} characters is longer than the {MAX_LENGTH} allowed")
    items: list[list[str | Group]] = []
    hosts = ranges = 0
    for item in _split(text):
        parts = _parse_item(item)
        size = 1
        for part in parts:
            if isinstance(part, Group):
                size *= part.count
                ranges += len(part.ranges)
        hosts += size
        if hosts > MAX_HOSTS:
            raise SpecError(f"hostlist {_short(text)} names more than {MAX_HOSTS} hosts")
        if ranges > MAX_RANGES:
            raise SpecError(f"hostlist {_short(text)} has more than {MAX_RANGES} ranges")
        items.append(parts)
    return items


def count(text: str) -> int:
    """How many names the text stands for (repeated names count each time), without making them."""
    total = 0
    for parts in parse(text):
        size = 1
        for part in parts:
            if isinstance(part, Group):
                size *= part.count
        total += size
    return total


def expand(text: str) -> list[str]:
    """Every name, in the order given, repeated ones repeated."""
    names: list[str] = []
    for parts in parse(text):
        made = [""]
        for part in parts:
            if isinstance(part, Group):
                numbers = part.texts()
                made = [head + number for head in made for number in numbers]
            else:
                made = [head + part for head in made]
        names += made
    return names


def unique(names: Iterable[str]) -> list[str]:
    """The names once each, in the order of their first appearance."""
    return list(dict.fromkeys(names))


def sort_key(name: str) -> tuple[str, int, int]:
    """Order of node lists: by prefix, number of digits, number; without leading zeros that is numeric order, and n09 stands before n10."""
    prefix, digits = split_name(name)
    return prefix, len(digits), int(digits or 0)


def sort(names: Iterable[str]) -> list[str]:
    """Node order, so that n2 comes before n10."""
    return sorted(names, key=sort_key)


def compress(names: Iterable[str]) -> str:
    """The sorted, unique short form that node lists are shown in: what compress_in_order makes of the sorted names, at half the cost."""
    groups: dict[tuple[str, int], list[int]] = {}
    for name in set(names):
        prefix, digits = split_name(name)
        groups.setdefault((prefix, len(digits)), []).append(int(digits or 0))
    items: list[str] = []
    pieces: list[str] = []  # finished ranges of the prefix
    prefix, first, low, high = "", "", -1, -2  # the open range: its first number as written, and both ends
    for (head, width), numbers in sorted(groups.items()):
        if head != prefix or not width:
            _close(items, pieces, prefix, first, (low, high))
            prefix, low, high = head, -1, -2
        if not width:
            items.append(head)
            continue
        numbers.sort()
        for value in numbers:
            if value == high + 1 and (
                value > numbers[0] or len(str(value)) == width
            ):  # from one width to the next: 99 to 100, never to 0100
                high = value
                continue
            if low >= 0:
                pieces.append(first if low == high else f"{first}-{str(high).zfill(len(first))}")
            first = str(value).zfill(width)
            low = high = value
    _close(items, pieces, prefix, first, (low, high))
    return ",".join(items)


def compress_in_order(names: Iterable[str]) -> str:
    """The short form in the order given, repeated names kept: what `scontrol show hostlist` prints."""
    items: list[str] = []
    prefix = ""
    ranges: list[str] = []
    low = high = -1  # the open range, -1: none
    width = 0  # digits of the open range's first number

    def close_range() -> None:
        if low >= 0:
            first = str(low).zfill(width)
            ranges.append(first if low == high else f"{first}-{str(high).zfill(width)}")

    def close_item() -> None:
        close_range()
        if not ranges:
            return
        only = ranges[0]
        items.append(prefix + only if len(ranges) == 1 and "-" not in only else f"{prefix}[{','.join(ranges)}]")

    for name in names:
        head, digits = split_name(name)
        if not digits:
            close_item()
            ranges, low, high = [], -1, -1
            items.append(name)
            continue
        value = int(digits)
        if head != prefix or low < 0:
            close_item()
            prefix, ranges = head, []
            low = high = value
            width = len(digits)
        elif value == high + 1 and str(value).zfill(width) == digits:
            high = value
        else:
            close_range()
            low = high = value
            width = len(digits)
    close_item()
    return ",".join(items)


def compress_counts(counts: Sequence[int]) -> str:
    """Runs of equal numbers as Slurm writes them: [2, 2, 2, 1] is `2(x3),1`."""
    out: list[str] = []
    index = 0
    while index < len(counts):
        value = counts[index]
        end = index + 1
        while end < len(counts) and counts[end] == value:
            end += 1
        out.append(str(value) if end - index == 1 else f"{value}(x{end - index})")
        index = end
    return ",".join(out)


def expand_counts(text: str) -> list[int]:
    """The reverse of compress_counts, bounded by MAX_HOSTS."""
    counts: list[int] = []
    for item in text.split(","):
        value, _, repeat = item.partition("(x")
        times = repeat[:-1] if repeat.endswith(")") else ("" if repeat else "1")
        if not (_is_number(value) and _is_number(times)):
            raise SpecError(f"invalid counts {_short(text)}: expected numbers such as 2(x3),1")
        if len(counts) + int(times) > MAX_HOSTS:
            raise SpecError(f"counts {_short(text)} stand for more than {MAX_HOSTS} numbers")
        counts += [int(value)] * int(times)
    return counts


def split_name(name: str) -> tuple[str, str]:
    """Prefix and the digits that end the name; without digits, or with more than MAX_DIGITS, the digits are empty."""
    prefix = name.rstrip("0123456789")
    digits = name[len(prefix) :]
    if len(digits) > MAX_DIGITS:
        return name, ""
    return prefix, digits


def _close(items: list[str], pieces: list[str], prefix: str, first: str, ends: tuple[int, int]) -> None:
    """Moves the ranges of one prefix, the open one included, to the items."""
    low, high = ends
    if low >= 0:
        pieces.append(first if low == high else f"{first}-{str(high).zfill(len(first))}")
    if pieces:
        items.append(prefix + pieces[0] if len(pieces) == 1 and "-" not in pieces[0] else f"{prefix}[{','.join(pieces)}]")
    pieces.clear()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def _short(text: str) -> str:
    return repr(text) if len(text) <= 64 else repr(text[:61] + "...")


def _split(text: str) -> list[str]:
    """Items between commas and white space that stand outside brackets; empty items vanish."""
    if "[" not in text:
        for mark in " \t\n\r":
            if mark in text:
                text = text.replace(mark, ",")
        items = [item for item in text.split(",") if item]
    else:
        items = []
        start = depth = 0
        for index, char in enumerate(text):
            if char == "[":
                depth += 1
                if depth > 1:
                    raise SpecError(f"invalid hostlist {_short(text)}: '[' inside brackets")
            elif char == "]":
                depth -= 1
                if depth < 0:
                    raise SpecError(f"invalid hostlist {_short(text)}: ']' without '['")
            elif not depth and char in _BREAKS:
                if index > start:
                    items.append(text[start:index])
                start = index + 1
        if depth:
            raise SpecError(f"invalid hostlist {_short(text)}: '[' is never closed")
        if start < len(text):
            items.append(text[start:])
    return items


def _parse_item(item: str) -> list[str | Group]:
    if "[" not in item:
        if "]" in item:
            raise SpecError(f"invalid hostlist {_short(item)}: ']' without '['")
        if len(item) > MAX_NAME:
            raise SpecError(f"invalid host name {_short(item)}: longer than {MAX_NAME} characters")
        return [item]
    parts: list[str | Group] = []
    length = 0
    while item:
        plain, bracket, rest = item.partition("[")
        if plain:
            parts.append(plain)
            length += len(plain)
        if not bracket:
            break
        inside, _, item = rest.partition("]")
        parts.append(_parse_group(inside))
        length += MAX_DIGITS
        if length > MAX_NAME:
            raise SpecError(f"invalid hostlist {_short(plain + bracket + rest)}: names longer than {MAX_NAME} characters")
    return parts


def _parse_group(inside: str) -> Group:
    ranges: list[tuple[int, int, int]] = []
    for piece in inside.split(","):
        first, dash, last = piece.partition("-")
        first, last = first.strip(), last.strip()
        if not _is_number(first) or (dash and not _is_number(last)):
            raise SpecError(f"invalid hostlist range {_short(piece)}: expected a number or first-last")
        low, high = int(first), int(last) if dash else int(first)
        if high < low:
            raise SpecError(f"invalid hostlist range {_short(piece)}: the last number is below the first")
        if high - low >= MAX_HOSTS:
            raise SpecError(f"too many hosts in range {_short(piece)}: at most {MAX_HOSTS}")
        ranges.append((low, high, len(first)))
    return Group(ranges)
