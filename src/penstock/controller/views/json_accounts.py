"""--json of sacct: one record a job with its steps in it, with the field names of Slurm's data parser (slurm.md C.10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.account_fields import AccountRow, step_elapsed_s, suspended_s
from penstock.controller.views.chunks import Fields, Notes
from penstock.controller.views.file_names import std_file
from penstock.controller.views.json_document import envelope, exit_code, moment, number
from penstock.controller.views.sacct import AccountRequest, Accounts, account_rows
from penstock.controller.views.sinfo import user_name
from penstock.core.request import Request
from penstock.engine.state import CANCELLED, NO_TASK, SUSPENDED, Job, State, Step
from penstock.spec import arrays, jobids, states


def json_sacct(state: State, notes: Notes, fields: Fields, uid: int, accounts: Accounts) -> Iterator[bytes]:
    """Request: the filters of sacct (AccountRequest)."""
    request = msgspec.convert(fields, AccountRequest)
    yield from envelope(state, notes, "jobs", _account_records(state, notes, request, accounts), {})


def _account_records(state: State, notes: Notes, request: AccountRequest, accounts: Accounts) -> Iterator[dict[str, Any] | None]:
    for rows in account_rows(request, notes.now_ms, accounts):
        record: dict[str, Any] | None = None
        for row in rows:
            if row.step is None or record is None or record["job_id"] != row.job.id:
                if record is not None:
                    yield record
                record = _account_record(state, notes, row)
            if row.step is not None:
                record["steps"].append(_step_record(row, row.step, notes.now_ms))
        if record is not None:
            yield record
        yield None


def _account_record(state: State, notes: Notes, row: AccountRow) -> dict[str, Any]:
    job, spec = row.job, row.job.spec
    user, system = row.total("user_cpu_us"), row.total("system_cpu_us")
    ended = job.state > states.SUSPENDED
    return {
        "account": spec.account,
        "comment": {"administrator": job.admin_comment, "job": spec.comment, "system": job.system_comment},
        "allocation_nodes": len(job.allocs),
        "array": {
            "job_id": job.array_job_id,
            "limits": {"max": {"running": {"tasks": spec.array_limit}}},
            "task_id": number(job.array_task_id, unset=job.array_task_id == NO_TASK),
            "task": arrays.format_ranges(job.pending_tasks) if job.pending_tasks else "",
        },
        "cluster": state.config.cluster_name,
        "constraints": spec.request.constraint,
        "derived_exit_code": exit_code(job.derived_exit << 8, job.state),
        "time": {
            "elapsed": row.elapsed_s,
            "eligible": (0 if job.hold and not job.allocs else job.eligible_ms or job.submit_ms) // 1000,
            "end": job.end_ms // 1000 if ended else 0,
            "start": job.start_ms // 1000 if job.allocs else 0,
            "submission": job.submit_ms // 1000,
            "suspended": suspended_s(job, notes.now_ms),
            "system": _split(system),
            "limit": number(spec.time_limit_s // 60, infinite=not spec.time_limit_s),
            "total": _split(user + system),
            "user": _split(user),
        },
        "exit_code": exit_code(job.wait_status, job.state),
        "extra": job.extra,
        "flags": [],
        "group": spec.group,
        "job_id": job.id,
        "name": spec.name,
        "nodes": facts.nodes_of(job.allocs) or "None assigned",
        "partition": facts.partition_text(job),
        "priority": number(job.priority),
        "qos": spec.qos or "normal",
        "required": _required(spec.request),
        "kill_request_user": user_name(job.by_uid) if job.state == CANCELLED and job.by_uid >= 0 else "",
        "restart_cnt": job.attempt,
        "state": {"current": _current(job), "reason": (job.hold if job.state <= SUSPENDED else "") or job.reason or "None"},
        "stderr": std_file(job, "err"),
        "stdin": std_file(job, "in"),
        "stdout": std_file(job, "out"),
        "steps": [],
        "submit_line": spec.submit_line,
        "tres": {
            "allocated": _tres_list(facts.allocated_tres(job.allocs)),
            "requested": _tres_list(facts.requested_tres(spec.request)),
        },
        "user": spec.user,
        "wckey": {"wckey": spec.wckey, "flags": []},
        "working_directory": spec.work_dir,
    }


def _current(job: Job) -> list[str]:
    return ["REQUEUED"] if job.requeue_after and job.state == CANCELLED else states.job_state_list(job.state)


def _required(request: Request) -> dict[str, Any]:
    return {
        "CPUs": facts.pending_cpus(request),
        "memory_per_cpu": number(request.memory_per_cpu_mib, unset=not request.memory_per_cpu_mib),
        "memory_per_node": number(max(request.memory_per_node_mib, 0), unset=bool(request.memory_per_cpu_mib)),
    }


def _step_record(row: AccountRow, step: Step, now_ms: int) -> dict[str, Any]:
    user, system = row.total("user_cpu_us"), row.total("system_cpu_us")
    rss, node = row.largest("max_rss_kib")
    return {
        "time": {
            "elapsed": step_elapsed_s(step, row.job, now_ms),
            "end": moment(step.end_ms),
            "start": moment(step.start_ms),
            "system": _split(system),
            "total": _split(user + system),
            "user": _split(user),
        },
        "exit_code": exit_code(step.wait_status, step.state),
        "nodes": {
            "count": len(step.allocs),
            "range": facts.nodes_of(step.allocs),
            "list": [alloc.node for alloc in step.allocs],
        },
        "tasks": {"count": step.ntasks},
        "state": states.job_state_list(step.state),
        "step": {"id": f"{row.job.id}.{jobids.format_step(step.step_id)}", "name": step.name},
        "statistics": {"memory": {"max_rss_bytes": rss * 1024, "max_rss_node": node}},
        "tres": {"allocated": _tres_list(facts.allocated_tres(step.allocs, billing=False))},
    }


def _split(micros: int) -> dict[str, int]:
    return {"seconds": micros // 1_000_000, "microseconds": micros % 1_000_000}


def _tres_list(counts: dict[str, int]) -> list[dict[str, Any]]:
    known = {"cpu": 1, "mem": 2, "node": 4, "billing": 5}
    out = []
    for key, count in counts.items():
        kind, _, name = key.partition("/")
        out.append({"type": kind, "name": name, "id": known.get(key, 1001), "count": count})
    return out
