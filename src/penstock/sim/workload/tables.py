"""Logs of GPU clusters that come as comma-separated tables: Helios and Philly, in the forms that are public.

    helios   job_id,arrival_s,service_sec,gpu_count                                       (all of Venus, seconds from a begin)
    venus    job_id,user,tenant,submit_time,num_chips,num_nodes,duration_s,final_status   (two virtual clusters, microseconds)
    philly   timestamp,duration,num_gpus,gpu_time,cluster                                 (calendar time, virtual cluster)

Sources: Hu et al., "Characterization and Prediction of Deep Learning Workloads in Large-Scale GPU Datacenters", SC 2021; Jeon et al.,
"Analysis of Large-Scale Multi-Tenant GPU Clusters for DNN Training Workloads", ATC 2019. None of them has users' time limits.
Fractions of a second are dropped from submissions and rounded to the nearest second in run times.
"""

from __future__ import annotations

import csv
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator

from penstock.sim.workload.job import TraceError, TraceJob

MICRO = 1_000_000

Row = dict[str, str]


def read_helios(lines: Iterable[str], name: str) -> Iterator[TraceJob]:
    return _rows(lines, name, ("job_id", "arrival_s", "service_sec", "gpu_count"), _helios)


def read_venus(lines: Iterable[str], name: str) -> Iterator[TraceJob]:
    return _rows(lines, name, ("job_id", "user", "submit_time", "num_chips", "duration_s"), _venus)


def read_philly(lines: Iterable[str], name: str) -> Iterator[TraceJob]:
    return _rows(lines, name, ("timestamp", "duration", "num_gpus", "cluster"), _philly)


def _helios(row: Row) -> TraceJob:
    return TraceJob(row["job_id"], int(float(row["arrival_s"])), round(float(row["service_sec"])), 0, 0, int(row["gpu_count"]))


def _venus(row: Row) -> TraceJob:
    submit_s = int(row["submit_time"]) // MICRO
    return TraceJob(row["job_id"], submit_s, round(float(row["duration_s"])), 0, 0, int(row["num_chips"]), row["user"])


def _philly(row: Row) -> TraceJob:
    """The log names no users; its virtual clusters are the groups that share the machine, so they stand in their place."""
    date, _, time = row["timestamp"].partition(" ")
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = (int(part) for part in time.split(":"))
    submit_s = timegm((year, month, day, hour, minute, second))
    return TraceJob("", submit_s, round(float(row["duration"])), 0, 0, int(row["num_gpus"]), row["cluster"])


def _rows(lines: Iterable[str], name: str, needed: tuple[str, ...], job_of: Callable[[Row], TraceJob]) -> Iterator[TraceJob]:
    table = csv.DictReader(line for line in lines if not line.startswith("#"))
    missing = [column for column in needed if column not in (table.fieldnames or ())]
    if missing:
        raise TraceError(f"{name}: no column {', '.join(missing)}; the first line has {', '.join(table.fieldnames or ()) or 'nothing'}")
    for row in table:
        try:
            job = job_of(row)
        except (ValueError, TypeError) as error:
            raise TraceError(f"{name}: row {table.line_num}: {error}") from None
        if job.gpus > 0 and job.run_s >= 0:
            yield job
