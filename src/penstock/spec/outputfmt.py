"""How tables are printed: format strings of squeue, sinfo, sacct and sstat become columns, columns become one `%` template.

Two families, as in Slurm:

- *letters* (`squeue -o "%.18i %T"`) and *long names* (`-O jobid:.18,name:20x`): a value is padded to its width and cut to it, head kept;
  times, node lists and reasons overflow instead. Nothing stands between columns but the text the user wrote.
- *fields* (`sacct -o jobid%20,state`): a blank after every column, positive width right, negative left; a value that does not fit ends
  in `+`. Parsable output (-p, -P) is never padded or cut.

Guarantees: the field names a column asks for are the keys of `penstock.spec.fields_*`; every refusal is a SpecError naming the token.
A value of a TIME column that is a number is epoch seconds and is shown in the reader's time zone.

Assumes nothing about where values come from; imported by commands, so it imports nothing heavy.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CUT, OVERFLOW, TIME = range(3)
"""Kinds of a squeue or sinfo field."""
WIDTH_MAX = 10_000
"""A wider column is refused: it would only fill the terminal with blanks."""
FORMAT_MAX = 65_536
"""Characters of one format string."""
LONG_WIDTH = 20
"""Of a -O column without a width."""


class Column:
    """One column: `field` is what the controller is asked for, the rest is how it is shown. `width` 0: natural."""

    __slots__ = ("field", "header", "kind", "right", "suffix", "width")

    def __init__(self, field: str, header: str, width: int = 0, right: bool = False, *, kind: int = CUT, suffix: str = "") -> None:
        self.field = field
        self.header = header
        self.width = width
        self.right = right
        self.kind = kind
        self.suffix = suffix

    def __repr__(self) -> str:
        return f"Column({self.field!r}, {self.header!r}, {self.width}, {self.right}, {self.kind}, {self.suffix!r})"


def parse_letters(text: str, letters: Mapping[str, str], fields: Mapping[str, tuple[str, int]]) -> tuple[str, list[Column]]:
    """`-o`: text before the first column, and the columns. `letters` gives a field by its letter, `fields` (header, kind) by field."""
    _check_length(text)
    if text.lower() == "%all":
        return "", [Column(field, fields[field][0], kind=fields[field][1], suffix="|") for field in letters.values()]
    prefix, percent, rest = text.partition("%")
    columns: list[Column] = []
    while percent:
        at = 0
        right = rest[:1] == "."
        at += right
        start = at
        while at < len(rest) and rest[at].isdigit():
            at += 1
        width = _width(rest[start:at], text)
        letter = rest[at : at + 1]
        if letter not in letters or not letter:
            raise _refusal(f"Invalid job format specification: {letter or '%'}")
        suffix, percent, following = rest[at + 1 :].partition("%")
        header, kind = fields[letters[letter]]
        columns.append(Column(letters[letter], header, width, right, kind=kind, suffix=suffix))
        rest = following
    if not columns:
        raise _refusal(f"Invalid format specification: {text[:64]!r} has no %field")
    return prefix, columns


def parse_long(text: str, names: Mapping[str, str], fields: Mapping[str, tuple[str, int]]) -> list[Column]:
    """`-O name[:[.]width[suffix]],...`: names are case-insensitive, 20 wide unless said otherwise."""
    _check_length(text)
    columns: list[Column] = []
    if text.lower() in ("all", "%all"):
        return [Column(field, fields[field][0], kind=fields[field][1], suffix="|") for field in dict.fromkeys(names.values())]
    for token in _tokens(text):
        name, colon, rest = token.partition(":")
        field = names.get(name.strip().lower())
        if field is None:
            near = _nearest(name.strip().lower(), names)
            raise _refusal(f"Invalid job format specification: {name}" + (f" (the nearest known field is {near})" if near else ""))
        right = rest[:1] == "."
        at = start = int(right)
        while at < len(rest) and rest[at].isdigit():
            at += 1
        width = _width(rest[start:at], token) if at > start else LONG_WIDTH
        if colon and not rest:
            raise _refusal(f"Invalid job format specification: {token} (a width has to follow the colon)")
        header, kind = fields[field]
        columns.append(Column(field, header, width, right, kind=kind, suffix=rest[at:]))
    if not columns:
        raise _refusal("Invalid format specification: it names no field")
    return columns


def parse_fields(text: str, table: Mapping[str, tuple[str, int]], program: str) -> list[Column]:
    """`sacct --format`: names, unique abbreviations, `%width`. `table` maps the lower-case name to (header, width); ALL is everything.

    Like Slurm the first field in the table that begins with the text is taken when no name is equal to it.
    """
    _check_length(text)
    columns: list[Column] = []
    for token in text.split(","):
        name, percent, width_text = token.strip().partition("%")
        wanted = name.strip().lower()
        if not wanted:
            continue
        if wanted == "all":
            columns += [_field(key, *table[key]) for key in table]
            continue
        if wanted not in table:
            found = next((key for key in table if key.startswith(wanted)), "")
            if not found:
                near = _nearest(wanted, table)
                raise _refusal(f'Invalid field requested: "{name}"' + (f" (the nearest known field is {table[near][0]})" if near else ""))
            wanted = found
        header, width = table[wanted]
        if percent:
            sign = width_text[:1] == "-"
            given = _width(width_text[1:] if sign else width_text, token)
            if given:
                width = -given if sign else given
        columns.append(_field(wanted, header, width))
    if not columns:
        raise _refusal("Invalid field list: it names no field")
    return columns


def template(columns: Sequence[Column], prefix: str = "") -> str:
    """One row of a letters or long-names table as a `%` template, newline included."""
    parts = [_escape(prefix)]
    for column in columns:
        width = column.width
        if not width:
            spec = "%s"
        elif column.kind == CUT:
            spec = f"%{'' if column.right else '-'}{width}.{width}s"
        else:
            spec = f"%{'' if column.right else '-'}{width}s"
        parts.append(spec + _escape(column.suffix))
    return "".join(parts) + "\n"


def header_line(columns: Sequence[Column], prefix: str = "") -> str:
    """Headers are always cut, also where values overflow."""
    parts = [prefix]
    for column in columns:
        text = column.header
        if column.width:
            text = text[: column.width]
            text = text.rjust(column.width) if column.right else text.ljust(column.width)
        parts.append(text + column.suffix)
    return "".join(parts) + "\n"


def field_template(columns: Sequence[Column]) -> str:
    """One row of a fields table (padded)."""
    return "".join(f"%{'' if column.right else '-'}{column.width}s " for column in columns) + "\n"


def field_header(columns: Sequence[Column]) -> str:
    """Header and the line of dashes."""
    names = "".join(_fit(column.header, column) + " " for column in columns)
    return names + "\n" + "".join("-" * column.width + " " for column in columns) + "\n"


def parsable_template(columns: Sequence[Column], delimiter: str, ending: bool) -> str:
    """`ending`: a delimiter after the last field too (-p)."""
    return _escape(delimiter).join(["%s"] * len(columns)) + (_escape(delimiter) if ending else "") + "\n"


def cut_with_plus(values: Sequence[str], width: int) -> Sequence[str]:
    """What does not fit keeps its head and ends in `+`. The same sequence comes back when all fit."""
    if max(map(len, values), default=0) <= width:
        return values
    return [value if len(value) <= width else value[: width - 1] + "+" for value in values]


def time_shower(style: str, now: int) -> Callable[[str], str]:
    """Shows a value of a TIME column: epoch seconds become local time, other words stay. `style`: SLURM_TIME_FORMAT."""
    known: dict[str, str] = {}

    def show(value: str) -> str:
        text = known.get(value)
        if text is None:
            from penstock.spec.times import format_time

            text = format_time(int(value), style, now) if value.isdecimal() and value != "0" else value
            if len(known) < 65_536:
                known[value] = text
        return text

    return show


def fill_times(text: str, show: Callable[[str], str]) -> str:
    """Ready-made text (scontrol show) holds each time as `\\x1fSECONDS\\x1f`: put the local time there."""
    parts = text.split("\x1f")
    parts[1::2] = map(show, parts[1::2])
    return "".join(parts)


def _refusal(text: str) -> ValueError:
    """A SpecError; its module is read only when there is something to refuse."""
    from penstock.spec.errors import SpecError

    return SpecError(text)


def _field(key: str, header: str, width: int) -> Column:
    return Column(key, header, abs(width), width > 0)


def _fit(text: str, column: Column) -> str:
    cut = text[: column.width]  # headers lose their tail without a `+`
    return cut.rjust(column.width) if column.right else cut.ljust(column.width)


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _width(digits: str, token: str) -> int:
    if not digits:
        return 0
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 9 or int(digits) > WIDTH_MAX:
        raise _refusal(f"Invalid field width in {token[:64]!r}: a number up to {WIDTH_MAX} is allowed")
    return int(digits)


def _check_length(text: str) -> None:
    if len(text) > FORMAT_MAX:
        raise _refusal(f"format string of {len(text)} characters is longer than the {FORMAT_MAX} allowed")


def _tokens(text: str) -> list[str]:
    """Comma list in which a comma right after a width belongs to the suffix only when another comma follows it (`id:8,,name`)."""
    return [token for token in text.split(",") if token.strip()]


def _nearest(name: str, known: Mapping[str, object]) -> str:
    """The known name that shares the longest beginning, or holds the text; "" if none is near."""
    best, length = "", 2
    for candidate in known:
        shared = 0
        for left, right in zip(name, candidate, strict=False):
            if left != right:
                break
            shared += 1
        if name and name in candidate:
            shared = max(shared, len(name))
        if shared > length:
            best, length = candidate, shared
    return best
