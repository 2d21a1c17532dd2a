"""--json of squeue and scontrol show job: one record a job, with the field names of Slurm's data parser (slurm.md C.10)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import Fields, Notes
from penstock.controller.views.file_names import std_file
from penstock.controller.views.json_document import envelope, exit_code, moment, number
from penstock.controller.views.queue_fields import tres_per
from penstock.controller.views.show import gres_of
from penstock.controller.views.squeue import QueueRequest, select
from penstock.engine.state import NO_TASK, PENDING, Job, State
from penstock.spec import arrays, states


def json_jobs(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    """Request: the filters of squeue (QueueRequest)."""
    jobs = yield from select(state, msgspec.convert(fields, QueueRequest))
    extra = {"last_backfill": moment(notes.now_ms), "last_update": moment(notes.now_ms)}
    yield from envelope(state, notes, "jobs", (job_record(state, notes, job) for job in jobs), extra)


def job_record(state: State, notes: Notes, job: Job) -> dict[str, Any]:
    spec, request = job.spec, job.spec.request
    waiting = job.state == PENDING
    start = facts.start_ms(job, notes.expected_start_ms(job.id) if waiting else 0, notes.now_ms)
    completing = job.nodes_left and job.state > states.SUSPENDED
    task = job.array_task_id
    return {
        "account": spec.account,
        "accrue_time": moment(0 if job.hold and not job.allocs else job.accrue_ms or job.submit_ms),
        "admin_comment": job.admin_comment,
        "allocating_node": spec.alloc_node,
        "array_job_id": number(job.array_job_id),
        "array_task_id": number(task, unset=task == NO_TASK),
        "array_max_tasks": number(spec.array_limit),
        "array_task_string": arrays.format_ranges(job.pending_tasks, spec.array_limit) if job.pending_tasks else "",
        "batch_flag": not spec.interactive,
        "batch_host": job.allocs[0].node if job.allocs and not spec.interactive else "",
        "flags": [],
        "cluster": state.config.cluster_name,
        "command": spec.command,
        "comment": spec.comment,
        "contiguous": request.contiguous,
        "cpus": number(facts.cpu_count(job)),
        "cpus_per_task": number(request.cpus_per_task),
        "current_working_directory": spec.work_dir,
        "deadline": moment(spec.deadline_ms),
        "dependency": job.dependency,
        "derived_exit_code": exit_code(job.derived_exit << 8, job.state),
        "eligible_time": moment(0 if job.hold and not job.allocs else job.eligible_ms or job.submit_ms),
        "end_time": moment(facts.end_ms(job, start)),
        "excluded_nodes": ",".join(request.excluded_nodes),
        "exit_code": exit_code(job.wait_status, job.state),
        "extra": job.extra,
        "features": request.constraint,
        "gres_detail": [gres_of(state, alloc.node, alloc.gpus, alloc.shards) for alloc in job.allocs if alloc.gpus],
        "group_id": spec.gid,
        "group_name": spec.group,
        "hold": bool(job.hold),
        "job_id": job.id,
        "job_resources": {
            "nodes": {
                "count": len(job.allocs),
                "list": facts.nodes_of(job.allocs),
                "allocation": [
                    {"name": alloc.node, "cpus": {"count": alloc.cpus}, "memory": {"allocated": alloc.memory_mib}} for alloc in job.allocs
                ],
            },
            "cpus": facts.cpu_count(job) if job.allocs else 0,
        },
        "job_state": states.job_state_list(job.state | (states.COMPLETING if completing else 0)),
        "kill_on_invalid_dependent": bool(spec.kill_on_invalid_dep),
        "last_sched_evaluation": moment(notes.now_ms if waiting else job.start_ms),
        "licenses": spec.licenses,
        "mail_type": list(spec.mail_type),
        "mail_user": spec.mail_user,
        "max_nodes": number(request.nodes_max),
        "memory_per_cpu": number(request.memory_per_cpu_mib, unset=not request.memory_per_cpu_mib),
        "memory_per_node": number(max(request.memory_per_node_mib, 0), unset=bool(request.memory_per_cpu_mib)),
        "name": spec.name,
        "nice": spec.nice,
        "node_count": number(facts.node_count(job)),
        "nodes": facts.nodes_of(job.allocs),
        "partition": facts.partition_text(job),
        "priority": number(job.priority),
        "qos": spec.qos or "normal",
        "reboot": False,
        "requeue": state.config.job_requeue if spec.requeue is None else spec.requeue,
        "required_nodes": ",".join(request.required_nodes),
        "restart_cnt": job.attempt,
        "resv_name": spec.reservation,
        "scheduled_nodes": notes.sched_nodes(job.id) if waiting else "",
        "shared": [] if not request.exclusive else ["none"],
        "standard_error": std_file(job, "err"),
        "standard_input": std_file(job, "in"),
        "standard_output": std_file(job, "out"),
        "start_time": moment(start),
        "state_description": job.detail,
        "state_reason": facts.reason_text(job, notes.reason(job) if waiting else ""),
        "submit_line": spec.submit_line,
        "submit_time": moment(job.submit_ms),
        "suspend_time": moment(job.suspend_ms),
        "system_comment": job.system_comment,
        "tasks": number(facts.task_count(job)),
        "tasks_per_node": number(facts.tasks_per_node(job), unset=not facts.tasks_per_node(job)),
        "time_limit": number(spec.time_limit_s // 60, infinite=not spec.time_limit_s),
        "time_minimum": number(spec.time_min_s // 60),
        "tres_alloc_str": facts.tres_text(facts.allocated_tres(job.allocs)),
        "tres_per_job": _tres_per(request.gres_total),
        "tres_per_node": _tres_per(request.gres_per_node),
        "tres_per_task": _tres_per(request.gres_per_task),
        "tres_req_str": facts.tres_text(facts.requested_tres(request)),
        "user_id": spec.uid,
        "user_name": spec.user,
        "wckey": spec.wckey,
    }


def _tres_per(counts: tuple[tuple[str, int], ...]) -> str:
    return tres_per(counts) if counts else ""
