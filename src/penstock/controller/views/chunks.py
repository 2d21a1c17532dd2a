"""Pieces of a table reply, and the pauses between them.

A view is a generator of bytes: each item is one chunk of at most ROWS_MAX rows (columns joined by `\\x1e`, the values of a column by
`\\x1f`), or PAUSE, which holds no rows and only gives the event loop its turn. So a reply over any number of jobs never holds the
controller longer than one slice.

Guarantees: a value never contains a separator; all columns of a chunk have equally many values.
Assumes: rows may change between two slices; each chunk shows its rows as they are when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from penstock.engine.state import Job

ROWS_MAX = 1_000
"""Rows of one chunk: 8 columns of 1,000 jobs take 1 to 2 ms."""
SCAN_MAX = 5_000
"""Jobs that one slice looks at while it filters."""
PAUSE = b""

_SEPARATORS = {0x1E: "?", 0x1F: "?"}


class Notes(Protocol):
    """What the planner knows and State does not: it is recomputed all the time and never stored."""

    @property
    def now_ms(self) -> int:
        """The time of the reply."""

    def reason(self, job: Job) -> str:
        """Why a pending job waits: Resources, Priority, Dependency, BeginTime, JobHeldUser, ..."""

    def expected_start_ms(self, job_id: int) -> int:
        """0: not known."""

    def sched_nodes(self, job_id: int) -> str:
        """Hostlist of the nodes that a pending job is planned on, or ""."""

    def load(self, node: str) -> tuple[int, int]:
        """(load average in hundredths, free memory in MiB) of a node; negative: not known."""


def encode(columns: Sequence[Sequence[str]]) -> bytes:
    """One chunk. Separators inside values become `?`."""
    joined = ["\x1f".join(column) for column in columns]
    between = len(columns[0]) - 1
    for index, text in enumerate(joined):
        if "\x1e" in text or text.count("\x1f") != between:
            joined[index] = "\x1f".join([value.translate(_SEPARATORS) for value in columns[index]])
    return "\x1e".join(joined).encode("utf-8", "surrogateescape")


def table(
    rows: Sequence[Any], getters: Sequence[Callable[[Sequence[Any], Any], list[str]]], context: Any, order: Any = None
) -> Iterator[bytes]:
    """Chunks of rows; `order` (an array of row numbers) says which comes when, else they come as they are."""
    count = len(rows) if order is None else len(order)
    for start in range(0, count, ROWS_MAX):
        end = start + ROWS_MAX
        part = rows[start:end] if order is None else [rows[index] for index in order[start:end].tolist()]
        yield encode([getter(part, context) for getter in getters])


def slices(items: Sequence[Any], size: int = SCAN_MAX) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def marked_time(ms: int, absent: str = "Unknown") -> str:
    """A time inside ready-made text: the reader's command puts local time there (`outputfmt.fill_times`)."""
    return f"\x1f{ms // 1000}\x1f" if ms else absent


def time_value(ms: int, absent: str) -> str:
    """A time as the value of a TIME column: epoch seconds, or the word for none."""
    return str(ms // 1000) if ms else absent


def clean(text: str) -> str:
    """User text inside ready-made text: no separators, so that it cannot pretend to be a time."""
    return text.translate(_SEPARATORS) if "\x1f" in text or "\x1e" in text else text


Fields = dict[str, Any]
"""A decoded request."""
