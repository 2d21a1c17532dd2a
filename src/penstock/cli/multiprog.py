"""The configuration file of `srun --multi-prog`: which task runs which program.

A line is `RANKS PROGRAM ARGUMENTS`; RANKS are numbers and ranges joined by commas, or `*` for all tasks that no other line names. Single
quotes protect blanks, a backslash the next character, a backslash at the end of a line joins the next one; double quotes mean nothing, as
in Slurm. In arguments `%t` is the rank and `%o` its position in the line's RANKS. Blank lines and lines that begin with `#` are skipped.

Guarantees: every task has one program, or MultiProgError says in Slurm's words which has none, two, or does not exist.
"""

from __future__ import annotations

MAX_FILE_BYTES = 1 << 20


class MultiProgError(ValueError):
    """`lines`: what is printed after `srun: error: `."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def read(path: str, ntasks: int) -> list[list[str]]:
    """The argument vector of each task, by rank."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError:
        raise MultiProgError(f"Could not open multi_prog config file {path}") from None
    if len(data) > MAX_FILE_BYTES:
        raise MultiProgError(f"Configuration file {path} is larger than the {MAX_FILE_BYTES} bytes allowed")
    return parse(data.decode("utf-8", "surrogateescape"), path, ntasks)


def parse(text: str, path: str, ntasks: int) -> list[list[str]]:
    programs: list[list[str] | None] = [None] * ntasks
    rest: list[str] | None = None
    for number, line in _lines(text):
        ranks, words = _split(line)
        if not words:
            raise MultiProgError(f"Line {number} of configuration file {path} invalid")
        if ranks == "*":
            rest = words
            continue
        try:
            listed = _ranks(ranks, ntasks)
            for offset, rank in enumerate(listed):
                if programs[rank] is not None:
                    raise MultiProgError(f"Duplicate record for task {rank}")
                programs[rank] = _fill(words, rank, offset)
        except MultiProgError as error:
            raise MultiProgError(*error.lines, f"Line {number} of configuration file {path} invalid") from None
    out: list[list[str]] = []
    for rank, program in enumerate(programs):
        if program is None:
            if rest is None:
                raise MultiProgError(f"Configuration file {path} invalid, no record for task id {rank}")
            program = _fill(rest, rank, rank)
        out.append(program)
    return out


def _lines(text: str) -> list[tuple[int, str]]:
    """Joined lines with the number of their first."""
    out: list[tuple[int, str]] = []
    before, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not before:
            first = number
        if line.endswith("\\") and (len(line) - len(line.rstrip("\\"))) % 2:
            before += line[:-1] + " "
            continue
        line, before = (before + line).strip(), ""
        if line and not line.startswith("#"):
            out.append((first, line))
    if before.strip():
        out.append((first, before.strip()))
    return out


def _split(line: str) -> tuple[str, list[str]]:
    words: list[str] = []
    word: list[str] | None = None
    quoted = False
    at = 0
    while at < len(line):
        char = line[at]
        at += 1
        if char == "'":
            quoted = not quoted
            word = word or []
        elif char == "\\" and not quoted and at < len(line):
            word = word or []
            word.append(line[at])
            at += 1
        elif char in " \t" and not quoted:
            if word is not None:
                words.append("".join(word))
            word = None
        else:
            word = word or []
            word.append(char)
    if word is not None:
        words.append("".join(word))
    return words[0], words[1:]


def _ranks(text: str, ntasks: int) -> list[int]:
    out: list[int] = []
    for item in text.split(","):
        low, dash, high = item.partition("-")
        if not (low.isascii() and low.isdigit() and len(low) < 10) or (dash and not (high.isascii() and high.isdigit() and len(high) < 10)):
            raise MultiProgError(f"Invalid task id specification {item[:64]!r}: numbers, ranges and * are allowed")
        first, last = int(low), int(high) if dash else int(low)
        if last >= ntasks:
            raise MultiProgError(f"Invalid task id, {last} >= ntasks")
        if last < first:
            raise MultiProgError(f"Invalid task id range {item}")
        out += range(first, last + 1)
    return out


def _fill(words: list[str], rank: int, offset: int) -> list[str]:
    return [words[0], *(word.replace("%t", str(rank)).replace("%o", str(offset)) for word in words[1:])]
