"""Opens a job log: which format, compressed or not, which part of it. Jobs come one by one, so a log of any length needs no memory.

with open_trace(path) as jobs: ...
"""

from __future__ import annotations

import gzip
import heapq
import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO, TextIO

from penstock.sim.workload.accounting import read_sacct
from penstock.sim.workload.job import TraceError, TraceJob
from penstock.sim.workload.swf import read_swf
from penstock.sim.workload.tables import read_helios, read_philly, read_venus

Reader = Callable[[Iterable[str], str], Iterator[TraceJob]]

FORMATS: dict[str, Reader] = {"swf": read_swf, "helios": read_helios, "venus": read_venus, "philly": read_philly, "sacct": read_sacct}
OPENB = "openb"
"""A list of pods that arrive and never leave: no log, but `sim run` knows what to do with it (``sim.arrivals``)."""
HEADS = {"helios": "job_id,arrival_s,", "venus": "job_id,user,tenant,", "philly": "timestamp,duration,", OPENB: "name,cpu_milli,"}
"""How the first line of a table begins, by which its format is known."""
HEAD_LINES = 64
"""Lines of comments that may come before it."""
REORDERED_FEW = 1_024
REORDERED = {"philly": 1 << 17, "sacct": 1 << 17}
"""Jobs that are held back so that a log which is not quite in order of submission is read in order; one that is further out of order is an
error (sort such a log first)."""


class Trace:
    """The jobs of a log, one by one, and how much of it has been read."""

    def __init__(self, raw: BinaryIO, size: int, jobs: Iterator[TraceJob], most: int) -> None:
        self._raw = raw
        self._size = size
        self._jobs = jobs
        self._most = most
        self._read = 0

    def __iter__(self) -> Iterator[TraceJob]:
        return self

    def __next__(self) -> TraceJob:
        if self._most and self._read >= self._most:
            raise StopIteration
        job = next(self._jobs)
        self._read += 1
        return job

    def total(self) -> int:
        """How many jobs it has in all, by the part of the file that was read so far."""
        part = min(1.0, self._raw.tell() / self._size) if self._size else 1.0
        estimate = max(self._read, round(self._read / part)) if part else self._read
        return min(self._most, estimate) if self._most else estimate


@contextmanager
def open_trace(path: str, form: str = "", from_s: int = 0, until_s: int = 0, most: int = 0, load: float = 1.0) -> Iterator[Trace]:
    """The jobs submitted in [from_s, until_s] of the log's own time (0: no bound), the first ``most`` of them (0: all), the times between
    their submissions divided by ``load``."""
    with _raw(path) as raw:
        size = raw.seek(0, io.SEEK_END)
        raw.seek(0)
        file = _unpacked(path, raw)
        head = _head(path, file)
        form = form or _recognise(path, head)
        if form not in FORMATS:
            raise TraceError(f"{path}: no log of jobs has the format {form}: {', '.join(FORMATS)} are allowed")
        jobs = in_order(FORMATS[form](_chained(head, file), path), path, REORDERED.get(form, REORDERED_FEW))
        wanted = (job for job in jobs if job.submit_s >= from_s and (not until_s or job.submit_s <= until_s))
        yield Trace(raw, size, scaled(wanted, load), most)


def format_of(path: str) -> str:
    """By its name or first line."""
    with _raw(path) as raw, _unpacked(path, raw) as file:
        return _recognise(path, _head(path, file))


def scaled(jobs: Iterator[TraceJob], load: float) -> Iterator[TraceJob]:
    """The same jobs in the same order, with ``load`` times as much work a second: the first comes when it came, the distance of each from
    it is divided. Run times stay. What users would have done otherwise under another load is not modelled."""
    first = next(jobs, None)
    if first is None:
        return
    yield first
    for job in jobs:
        yield job if load == 1.0 else job._replace(submit_s=first.submit_s + int((job.submit_s - first.submit_s) / load))


def _unpacked(path: str, raw: BinaryIO) -> TextIO:
    packed = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
    return io.TextIOWrapper(packed, encoding="utf-8", errors="replace")


def _head(path: str, file: TextIO) -> list[str]:
    try:
        return list(islice(file, HEAD_LINES))
    except (OSError, EOFError) as error:
        raise TraceError(f"{path}: {error}") from None


def _raw(path: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def _chained(head: list[str], file: TextIO) -> Iterator[str]:
    yield from head
    yield from file


def _recognise(path: str, head: list[str]) -> str:
    if path.removesuffix(".gz").endswith(".swf"):
        return "swf"
    first = next((line for line in head if not line.startswith("#")), "")
    if "JobID" in first.rstrip("\n").split("|"):
        return "sacct"
    for form, begin in HEADS.items():
        if first.startswith(begin):
            return form
    raise TraceError(f"{path}: its format is not known by its name or first line: say --format, one of {', '.join(FORMATS)}")


def in_order(jobs: Iterable[TraceJob], name: str, held_most: int) -> Iterator[TraceJob]:
    """By submission; jobs of one second in the order of the log."""
    held: list[tuple[int, int, TraceJob]] = []
    last_s: int | None = None
    for number, job in enumerate(jobs):
        if last_s is not None and job.submit_s < last_s:
            raise TraceError(f"{name}: job {job.name or number + 1} is more than {held_most} jobs out of order: sort the log by submission")
        heapq.heappush(held, (job.submit_s, number, job))
        if len(held) > held_most:
            last_s, _, first = heapq.heappop(held)
            yield first
    while held:
        yield heapq.heappop(held)[2]
