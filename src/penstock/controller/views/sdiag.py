"""sdiag: the controller's counters, laid out as Slurm's sdiag, which exporters read line by line.

Differences, each honest: there are no server threads and no RPC agents here, so those lines say 0; "table size" is the number of promised
starts of a pass; behind Slurm's sections stands one of our own, how many jobs wait for which reason. Names of operations are those of
Slurm's messages where there is one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from penstock import SLURM_VERSION
from penstock.controller.views.chunks import PAUSE, Fields, slices
from penstock.controller.views.json_document import PARSER, number
from penstock.engine.notes import Notes
from penstock.engine.state import PENDING, RUNNING, SUSPENDED, State
from penstock.engine.statistics import Calls, Series, Statistics
from penstock.spec import arrays

STARS = "*" * 55
LATENCY_CALLS = 1_000
MESSAGES = {
    "ping": ("REQUEST_PING", 1008),
    "show_config": ("REQUEST_BUILD_INFO", 2001),
    "squeue": ("REQUEST_JOB_INFO", 2003),
    "json_jobs": ("REQUEST_JOB_INFO", 2003),
    "show_job": ("REQUEST_JOB_INFO", 2003),
    "show_step": ("REQUEST_JOB_STEP_INFO", 2005),
    "sinfo": ("REQUEST_NODE_INFO", 2007),
    "json_nodes": ("REQUEST_NODE_INFO", 2007),
    "show_node": ("REQUEST_NODE_INFO", 2007),
    "show_partition": ("REQUEST_PARTITION_INFO", 2009),
    "json_partitions": ("REQUEST_PARTITION_INFO", 2009),
    "sdiag": ("REQUEST_STATS_INFO", 2035),
    "json_sdiag": ("REQUEST_STATS_INFO", 2035),
    "update_job": ("REQUEST_UPDATE_JOB", 3001),
    "update_node": ("REQUEST_UPDATE_NODE", 3002),
    "allocate": ("REQUEST_RESOURCE_ALLOCATION", 4001),
    "submit": ("REQUEST_SUBMIT_BATCH_JOB", 4003),
    "submit_many": ("REQUEST_SUBMIT_BATCH_JOB", 4003),
    "test_only": ("REQUEST_JOB_WILL_RUN", 4012),
    "step_create": ("REQUEST_JOB_STEP_CREATE", 5001),
    "suspend": ("REQUEST_SUSPEND", 5014),
    "requeue": ("REQUEST_JOB_REQUEUE", 5023),
    "cancel": ("REQUEST_KILL_JOB", 5032),
}
"""Operation -> Slurm's message name and number; others go by their own name and 0."""
SORTS: dict[str, Callable[[tuple[str, int, Calls]], Any]] = {
    "": lambda row: -row[2].count,
    "id": lambda row: row[1],
    "time": lambda row: -row[2].total_us,
    "time2": lambda row: -row[2].mean_us,
}
_encode = msgspec.json.Encoder().encode


class DiagRequest(msgspec.Struct, frozen=True, kw_only=True):
    sort: str = ""
    """How calls are sorted: "" by count, id, time, time2."""


class Facts:
    """Counted from State and plan at the time of the request."""

    def __init__(self) -> None:
        self.pending = self.running = 0
        self.reasons: Counter[str] = Counter()


def _facts(state: State, notes: Notes) -> Iterator[Facts | None]:
    facts = Facts()
    for part in slices(list(state.jobs.values())):
        for job in part:
            if job.state == PENDING:
                elements = arrays.count(job.pending_tasks) or 1
                facts.pending += elements
                facts.reasons[notes.reason(job)] += elements
            elif job.state in (RUNNING, SUSPENDED):
                facts.running += 1
        yield None
    yield facts


def sdiag(state: State, notes: Notes, statistics: Statistics, fields: Fields) -> Iterator[bytes]:
    """The text; times are marked for the command to fill in."""
    request = msgspec.convert(fields, DiagRequest)
    for facts in _facts(state, notes):
        if facts is None:
            yield PAUSE
        else:
            yield ("\n".join(_text(statistics, facts, notes.now_ms, request)) + "\n").encode("utf-8", "surrogateescape")


def json_sdiag(state: State, notes: Notes, statistics: Statistics, fields: Fields) -> Iterator[bytes]:
    request = msgspec.convert(fields, DiagRequest)
    for facts in _facts(state, notes):
        if facts is None:
            yield PAUSE
        else:
            slurm = {"cluster": state.config.cluster_name, "release": SLURM_VERSION}
            meta = {"plugin": {"type": "", "name": "", "data_parser": PARSER}, "slurm": slurm}
            document = {"statistics": _document(statistics, facts, notes.now_ms, request), "meta": meta, "errors": [], "warnings": []}
            yield _encode(document) + b"\n"


def latency_us() -> int:
    """Of LATENCY_CALLS looks at the clock, as Slurm measures its machine."""
    begun_ns = time.perf_counter_ns()
    for _ in range(LATENCY_CALLS):
        time.time()
    return (time.perf_counter_ns() - begun_ns) // 1000


def _at(ms: int) -> str:
    return f"\x1f{ms // 1000}\x1f" if ms else "N/A"


def _text(s: Statistics, facts: Facts, now_ms: int, request: DiagRequest) -> Iterator[str]:
    yield from (STARS, f"sdiag output at {_at(now_ms)}", f"Data since      {_at(s.since_ms)}", STARS)
    yield from ("Server thread count:  0", "Agent queue size:     0", "Agent count:          0", "Agent thread count:   0")
    yield from ("DBD Agent queue size: 0", "")
    yield from (f"Jobs submitted: {s.submitted}", f"Jobs started:   {s.started_jobs}", f"Jobs completed: {s.completed}")
    yield from (f"Jobs canceled:  {s.cancelled}", f"Jobs failed:    {s.failed}", "")
    yield from (f"Job states ts:  {_at(now_ms)}", f"Jobs pending:   {facts.pending}", f"Jobs running:   {facts.running}", "")
    yield from ("Main schedule statistics (microseconds):", f"\tLast cycle:   {s.pass_us.last}", f"\tMax cycle:    {s.pass_us.most}")
    yield f"\tTotal cycles: {s.pass_us.count}"
    if s.pass_us.count:
        yield from (f"\tMean cycle:   {s.pass_us.mean}", f"\tMean depth cycle:  {s.depth.mean}")
        yield f"\tCycles per minute: {_per_minute(s, now_ms)}"
    yield from (f"\tLast queue length: {s.queue.last}", "")
    yield "Backfilling stats"
    yield f"\tTotal backfilled jobs (since last slurm start): {s.backfilled_since_start}"
    yield f"\tTotal backfilled jobs (since last stats cycle start): {s.backfilled}"
    yield "\tTotal backfilled heterogeneous job components: 0"
    yield from (f"\tTotal cycles: {s.backfill_us.count}", f"\tLast cycle when: {_at(s.backfill_when_ms)}")
    yield from (f"\tLast cycle: {s.backfill_us.last}", f"\tMax cycle:  {s.backfill_us.most}")
    if s.backfill_us.count:
        yield f"\tMean cycle: {s.backfill_us.mean}"
    yield f"\tLast depth cycle: {s.backfill_depth.last}"
    yield f"\tLast depth cycle (try sched): {s.backfill_tests.last}"
    if s.backfill_us.count:
        yield from (f"\tDepth Mean: {s.backfill_depth.mean}", f"\tDepth Mean (try depth): {s.backfill_tests.mean}")
    yield f"\tLast queue length: {s.backfill_queue.last}"
    if s.backfill_us.count:
        yield f"\tQueue length mean: {s.backfill_queue.mean}"
    yield f"\tLast table size: {s.promised.last}"
    if s.backfill_us.count:
        yield f"\tMean table size: {s.promised.mean}"
    yield from ("", f"Latency for {LATENCY_CALLS} calls to gettimeofday(): {latency_us()} microseconds", "")
    yield "Remote Procedure Call statistics by message type"
    for name, code, calls in _by_type(s, request.sort):
        yield f"\t{name:<40}({code:5}) count:{calls.count:<6} ave_time:{calls.mean_us:<6} total_time:{calls.total_us}"
    yield from ("", "Remote Procedure Call statistics by user")
    for name, uid, calls in _by_user(s, request.sort):
        yield f"\t{name:<16}({uid:8}) count:{calls.count:<6} ave_time:{calls.mean_us:<6} total_time:{calls.total_us}"
    yield from ("", "Pending RPC statistics", "\tNo pending RPCs", "", "Waiting jobs by reason")
    for reason, count in sorted(facts.reasons.items(), key=lambda item: (-item[1], item[0])):
        yield f"\t{reason}: {count}"


def _per_minute(s: Statistics, now_ms: int) -> int:
    return s.pass_us.count * 60_000 // max(60_000, now_ms - s.since_ms)


def _by_type(s: Statistics, sort: str) -> list[tuple[str, int, Calls]]:
    merged: dict[tuple[str, int], Calls] = {}
    for operation, calls in s.by_operation.items():
        total = merged.setdefault(MESSAGES.get(operation, (operation.upper(), 0)), Calls())
        total.count += calls.count
        total.total_us += calls.total_us
    return sorted([(*key, calls) for key, calls in merged.items()], key=SORTS.get(sort, SORTS[""]))


def _by_user(s: Statistics, sort: str) -> list[tuple[str, int, Calls]]:
    return sorted([(name, uid, calls) for name, (uid, calls) in s.by_user.items()], key=SORTS.get(sort, SORTS[""]))


def _series(prefix: str, series: Series) -> dict[str, int]:
    return {f"{prefix}_last": series.last, f"{prefix}_max": series.most, f"{prefix}_mean": series.mean, f"{prefix}_sum": series.total}


def _calls(calls: Calls) -> dict[str, Any]:
    return {"count": calls.count, "average_time": number(calls.mean_us), "total_time": calls.total_us}


def _document(s: Statistics, facts: Facts, now_ms: int, request: DiagRequest) -> dict[str, Any]:
    """Slurm's names for what it has too (openapi: stats_msg), and `waiting_by_reason`."""
    return {
        "parts_packed": 0,
        "req_time": number(now_ms // 1000),
        "req_time_start": number(s.since_ms // 1000),
        **dict.fromkeys(("server_thread_count", "agent_queue_size", "agent_count", "agent_thread_count", "dbd_agent_queue_size"), 0),
        "gettimeofday_latency": latency_us(),
        "schedule_cycle_max": s.pass_us.most,
        "schedule_cycle_last": s.pass_us.last,
        "schedule_cycle_sum": s.pass_us.total,
        "schedule_cycle_total": s.pass_us.count,
        "schedule_cycle_mean": s.pass_us.mean,
        "schedule_cycle_mean_depth": s.depth.mean,
        "schedule_cycle_per_minute": _per_minute(s, now_ms),
        "schedule_cycle_depth": s.depth.total,
        "schedule_queue_length": s.queue.last,
        "jobs_submitted": s.submitted,
        "jobs_started": s.started_jobs,
        "jobs_completed": s.completed,
        "jobs_canceled": s.cancelled,
        "jobs_failed": s.failed,
        "jobs_pending": facts.pending,
        "jobs_running": facts.running,
        "job_states_ts": number(now_ms // 1000),
        "bf_backfilled_jobs": s.backfilled_since_start,
        "bf_last_backfilled_jobs": s.backfilled,
        "bf_backfilled_het_jobs": 0,
        "bf_cycle_counter": s.backfill_us.count,
        **_series("bf_cycle", s.backfill_us),
        "bf_depth_mean": s.backfill_depth.mean,
        "bf_depth_mean_try": s.backfill_tests.mean,
        "bf_depth_sum": s.backfill_depth.total,
        "bf_depth_try_sum": s.backfill_tests.total,
        "bf_last_depth": s.backfill_depth.last,
        "bf_last_depth_try": s.backfill_tests.last,
        "bf_queue_len": s.backfill_queue.last,
        "bf_queue_len_mean": s.backfill_queue.mean,
        "bf_queue_len_sum": s.backfill_queue.total,
        "bf_table_size": s.promised.last,
        "bf_table_size_mean": s.promised.mean,
        "bf_table_size_sum": s.promised.total,
        "bf_when_last_cycle": number(s.backfill_when_ms // 1000, unset=not s.backfill_when_ms),
        "bf_active": False,
        "rpcs_by_message_type": [
            {"message_type": name, "type_id": code, **_calls(calls)} for name, code, calls in _by_type(s, request.sort)
        ],
        "rpcs_by_user": [{"user": name, "user_id": uid, **_calls(calls)} for name, uid, calls in _by_user(s, request.sort)],
        "pending_rpcs": [],
        "waiting_by_reason": [{"reason": reason, "count": count} for reason, count in sorted(facts.reasons.items())],
    }
