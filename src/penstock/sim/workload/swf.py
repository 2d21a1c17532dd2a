"""The Standard Workload Format of the Parallel Workloads Archive (Feitelson, Tsafrir, Krakov, JPDC 2014): 18 fields a job.

Read are: job number (1), submit time (2), run time (4), allocated and requested processors (5, 8), requested time (9), user (12). The
requested number of processors counts where it is given, as schedulers saw it. A job that never ran (no run time) or that asks for no
processor is left out, as the archive's own simulations do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.sim.workload.job import TraceError, TraceJob

FIELDS = 18
NUMBER, SUBMIT, RUN, ALLOCATED, ASKED, LIMIT, USER = 0, 1, 3, 4, 7, 8, 11


def read_swf(lines: Iterable[str], name: str) -> Iterator[TraceJob]:
    for at, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0].startswith(";"):
            continue
        if len(fields) != FIELDS:
            raise TraceError(f"{name}:{at}: {len(fields)} fields, SWF has {FIELDS}")
        try:
            submit_s, run_s, allocated, asked, limit_s = (int(float(fields[column])) for column in (SUBMIT, RUN, ALLOCATED, ASKED, LIMIT))
        except ValueError as error:
            raise TraceError(f"{name}:{at}: {error}") from None
        cpus = asked if asked > 0 else allocated
        if run_s < 0 or cpus <= 0:
            continue
        user = fields[USER] if fields[USER] != "-1" else ""
        yield TraceJob(fields[NUMBER], submit_s, run_s, max(0, limit_s), cpus, 0, user)
