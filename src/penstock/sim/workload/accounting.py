"""Our own accounting (or a Slurm's) as a log: what `sacct` prints with

    sacct -a -X -P -S now-30days --format=JobID,Submit,ElapsedRaw,TimelimitRaw,AllocCPUS,AllocTRES,User

Columns may come in any order, and others may stand beside them. Lines of steps (an id with a dot), jobs that never started (no CPUs) and
jobs whose times are unknown are left out. Times without a zone are read as if they were UTC, so a log across a change of clocks is
an hour off there. A requeued job counts once for each run that has a line (`sacct -D`). Of a job with GPUs the GPUs alone are asked for.
"""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable, Iterator

from penstock.sim.workload.job import TraceError, TraceJob

NEEDED = ("JobID", "Submit", "ElapsedRaw")
MINUTE_S = 60
UNKNOWN = ("", "Unknown", "None", "N/A")


def read_sacct(lines: Iterable[str], name: str) -> Iterator[TraceJob]:
    columns: dict[str, int] | None = None
    for at, line in enumerate(lines, 1):
        fields = line.rstrip("\n").split("|")
        if columns is None:
            columns = {column: place for place, column in enumerate(fields)}
            missing = [column for column in NEEDED if column not in columns]
            if missing:
                raise TraceError(f"{name}:{at}: no column {', '.join(missing)}: sacct -P --format={','.join(NEEDED)},...")
            continue
        known = {column: fields[place] for column, place in columns.items() if place < len(fields)}
        if "." in known.get("JobID", "."):
            continue
        try:
            job = _job(known)
        except ValueError as error:
            raise TraceError(f"{name}:{at}: {error}") from None
        if job is not None:
            yield job


def _job(known: dict[str, str]) -> TraceJob | None:
    if known["Submit"] in UNKNOWN or known["ElapsedRaw"] in UNKNOWN:
        return None
    cpus = known.get("AllocCPUS") or known.get("NCPUS") or "0"
    gpus = 0
    for part in known.get("AllocTRES", "").split(","):
        key, _, count = part.partition("=")
        if key == "gres/gpu":
            gpus = int(count)
    if not int(cpus):
        return None
    limit = known.get("TimelimitRaw", "")
    limit_s = MINUTE_S * int(limit) if limit.isdecimal() else 0
    return TraceJob(known["JobID"], _seconds(known["Submit"]), int(known["ElapsedRaw"]), limit_s, int(cpus), gpus, known.get("User", ""))


def _seconds(text: str) -> int:
    date, _, time = text.partition("T")
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = (int(part) for part in time.split(":"))
    return timegm((year, month, day, hour, minute, second))
