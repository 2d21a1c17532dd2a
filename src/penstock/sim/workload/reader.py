"""Opens a job log: which format, compressed or not, which part of it. Jobs come one by one, so a log of any length needs no memory.

with open_trace(path) as jobs: ...
"""

from __future__ import annotations

import gzip
import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TextIO

from penstock.sim.workload.job import TraceError, TraceJob
from penstock.sim.workload.swf import read_swf
from penstock.sim.workload.tables import read_helios, read_philly, read_venus

Reader = Callable[[Iterable[str], str], Iterator[TraceJob]]

FORMATS: dict[str, Reader] = {"swf": read_swf, "helios": read_helios, "venus": read_venus, "philly": read_philly}
HEADS = {"helios": "job_id,arrival_s,", "venus": "job_id,user,tenant,", "philly": "timestamp,duration,"}
"""How the first line of a table begins, by which its format is known."""
HEAD_LINES = 64
"""Lines of comments that may come before it."""
REORDERED_MAX = 1 << 17
"""Jobs that are held back so that a log which is not quite in order of submission is read in order; one that is further out of order is an
error (a table without order is sorted first by whoever has it)."""


@contextmanager
def open_trace(path: str, form: str = "", from_s: int = 0, until_s: int = 0, most: int = 0) -> Iterator[Iterator[TraceJob]]:
    """The jobs submitted in [from_s, until_s] of the log's own time (0: no bound), the first ``most`` of them (0: all)."""
    with _open(path) as file:
        head = list(islice(file, HEAD_LINES))
        form = form or _recognise(path, head)
        if form not in FORMATS:
            raise TraceError(f"{path}: unknown format {form}: {', '.join(FORMATS)} are allowed")
        jobs = in_order(FORMATS[form](_chained(head, file), path), path)
        wanted = (job for job in jobs if job.submit_s >= from_s and (not until_s or job.submit_s <= until_s))
        yield islice(wanted, most) if most else wanted


def _open(path: str) -> TextIO:
    try:
        if path.endswith(".gz"):
            return gzip.open(path, "rt", encoding="utf-8", errors="replace")
        return open(path, encoding="utf-8", errors="replace")
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from None


def _chained(head: list[str], file: TextIO) -> Iterator[str]:
    yield from head
    yield from file


def _recognise(path: str, head: list[str]) -> str:
    if path.removesuffix(".gz").endswith(".swf"):
        return "swf"
    first = next((line for line in head if not line.startswith("#")), "")
    for form, begin in HEADS.items():
        if first.startswith(begin):
            return form
    raise TraceError(f"{path}: its format is not known by its name or first line: say --format, one of {', '.join(FORMATS)}")


def in_order(jobs: Iterable[TraceJob], name: str) -> Iterator[TraceJob]:
    """By submission; jobs of one second in the order of the log."""
    held: list[tuple[int, int, TraceJob]] = []
    last_s = None
    for number, job in enumerate(jobs):
        heapq.heappush(held, (job.submit_s, number, job))
        if len(held) > REORDERED_MAX:
            submit_s, _, first = heapq.heappop(held)
            if last_s is not None and submit_s < last_s:
                raise TraceError(
                    f"{name}: job {first.name} is more than {REORDERED_MAX} jobs out of order: sort the log by submission first"
                )
            last_s = submit_s
            yield first
    while held:
        yield heapq.heappop(held)[2]
