"""--json of squeue, sinfo, scontrol and sacct: the envelope and field names of Slurm's data parser (slurm.md C.10).

A number that may be unset is `{"set", "infinite", "number"}`, times are such numbers in epoch seconds, states and flags are lists of
words, an exit code is an object. The list is streamed, RECORDS_MAX records a piece, between head and tail of the envelope.

Guarantees: the whole reply is one valid JSON document, also when it lists nothing. Texts that are not UTF-8 get replacement characters.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from penstock import SLURM_VERSION
from penstock.controller.views import job_facts as facts
from penstock.controller.views import node_facts
from penstock.controller.views.account_fields import AccountRow, step_elapsed_s, suspended_s
from penstock.controller.views.chunks import PAUSE, Fields, Notes
from penstock.controller.views.file_names import std_file
from penstock.controller.views.queue_fields import tres_per
from penstock.controller.views.sacct import AccountRequest, Accounts, account_rows
from penstock.controller.views.show import ShowRequest, gres_of
from penstock.controller.views.sinfo import InfoRequest, Member, accepts, user_name
from penstock.controller.views.squeue import QueueRequest, known_nodes, select
from penstock.core.request import Request
from penstock.engine.state import CANCELLED, NO_TASK, PENDING, Job, Node, Partition, State, Step
from penstock.spec import arrays, jobids, states
from penstock.spec.errors import SlurmError
from penstock.spec.gres import format_tres

RECORDS_MAX = 20
"""Records of one piece."""
PARSER = "data_parser/v0.0.43"

_encode = msgspec.json.Encoder().encode


def number(value: int, *, unset: bool = False, infinite: bool = False) -> dict[str, Any]:
    return {"set": not unset and not infinite, "infinite": infinite, "number": 0 if unset or infinite else value}


def moment(ms: int) -> dict[str, Any]:
    """A time, unset while it has not happened."""
    return number(ms // 1000, unset=not ms)


def exit_code(wait_status: int, state: int = 0) -> dict[str, Any]:
    code, signal = states.split_wait_status(wait_status)
    status = "SUCCESS" if not wait_status else "SIGNALED" if signal else "ERROR"
    if state == PENDING:
        status = "PENDING"
    name = signals.Signals(signal).name.removeprefix("SIG") if signal and signal in {s.value for s in signals.Signals} else ""
    return {
        "status": [status],
        "return_code": number(code),
        "signal": {"id": number(signal, unset=not signal), "name": name},
    }


def envelope(state: State, notes: Notes, key: str, records: Iterable[dict[str, Any] | None], extra: dict[str, Any]) -> Iterator[bytes]:
    """The document in pieces; a record None is a pause."""
    yield b'{"' + key.encode() + b'":['
    buffer: list[bytes] = []
    first = True
    for record in records:
        if record is not None:
            buffer.append(_encode_text(record))
        if buffer and (record is None or len(buffer) == RECORDS_MAX):
            yield (b"" if first else b",") + b",".join(buffer)
            first = False
            buffer.clear()
        elif record is None:
            yield PAUSE
    if buffer:
        yield (b"" if first else b",") + b",".join(buffer)
    yield b"]," + _encode_text(extra | {"meta": _meta(state), "errors": [], "warnings": []})[1:] + b"\n"


def _encode_text(record: Any) -> bytes:
    try:
        return _encode(record)
    except UnicodeEncodeError:
        return _encode(_valid(record))


def _valid(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, dict):
        return {key: _valid(item) for key, item in value.items()}
    return [_valid(item) for item in value] if isinstance(value, (list, tuple)) else value


def _meta(state: State) -> dict[str, Any]:
    major, minor, micro = SLURM_VERSION.split(".")
    return {
        "plugin": {"type": "", "name": "", "data_parser": PARSER, "accounting_storage": ""},
        "client": {"source": "", "user": "", "group": ""},
        "command": [],
        "slurm": {
            "version": {"major": major, "micro": micro, "minor": minor},
            "release": SLURM_VERSION,
            "cluster": state.config.cluster_name,
        },
    }


# --- jobs -----------------------------------------------------------------------------------------------------------------------


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
        "accrue_time": moment(0 if job.hold else job.accrue_ms or job.submit_ms),
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
        "eligible_time": moment(0 if job.hold else job.eligible_ms or job.submit_ms),
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
        "tasks_per_node": number(request.ntasks_per_node, unset=not request.ntasks_per_node),
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


# --- nodes and partitions -------------------------------------------------------------------------------------------------------


def json_nodes(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    """Request: the filters of sinfo (InfoRequest), or `names` as scontrol show node has them."""
    request = msgspec.convert(fields, InfoRequest)
    names = msgspec.convert(fields, ShowRequest).names
    wanted = known_nodes(state, ",".join(names) or request.nodes) if names or request.nodes else None
    held = yield from node_facts.occupancy(state)
    members = [
        Member(node, held.get(name, node_facts.EMPTY), notes.load(name))
        for name, node in state.nodes.items()
        if wanted is None or name in wanted
    ]
    records = (node_record(state, member) for member in members if accepts(request, member))
    yield from envelope(state, notes, "nodes", records, {"last_update": moment(notes.now_ms)})


def node_record(state: State, member: Member) -> dict[str, Any]:
    node, held = member.node, member.held
    load, free = member.load
    words = states.node_state_complete(member.number).split("+")
    allocated, idle, _, total = node_facts.cpu_states(node, held, member.number)
    return {
        "active_features": list(node.features),
        "address": node.hostname,
        "alloc_cpus": allocated,
        "alloc_idle_cpus": idle,
        "alloc_memory": held.memory_mib,
        "architecture": node.arch,
        "boot_time": moment(node.boot_ms),
        "comment": node.comment,
        "cores": node.cpus,
        "cpu_load": max(load, 0),
        "cpus": total,
        "effective_cpus": total,
        "extra": node.extra,
        "features": list(node.features),
        "free_mem": number(free, unset=free < 0),
        "gres": node_facts.gres_text(node),
        "gres_drained": "N/A",
        "gres_used": node_facts.gres_used_text(node, held),
        "hostname": node.hostname,
        "last_busy": moment(node.busy_ms),
        "name": node.name,
        "operating_system": node.os,
        "partitions": node_facts.partitions_of(state, node.name),
        "real_memory": node.memory_mib,
        "reason": node.reason,
        "reason_changed_at": moment(node.reason_ms),
        "reason_set_by_user": user_name(node.reason_uid) if node.reason else "",
        "simulated_gpus": sum([gpu.simulated for gpu in node.gpus]),
        "slurmd_start_time": moment(node.start_ms),
        "sockets": 1,
        "state": words,
        "temporary_disk": node.tmp_disk_mib,
        "threads": 1,
        "tres": format_tres(node_facts.configured_tres(node)),
        "tres_used": format_tres(node_facts.used_tres(held)),
        "version": node.version,
        "weight": node.weight,
    }


def json_partitions(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    names = msgspec.convert(fields, ShowRequest).names
    chosen = [partition for partition in state.config.partitions if not names or partition.name in names]
    if names and not chosen:
        raise SlurmError(1, f"Partition {names[0]} not found")
    records = (partition_record(state, partition) for partition in chosen)
    yield from envelope(state, notes, "partitions", records, {"last_update": moment(notes.now_ms)})


def partition_record(state: State, partition: Partition) -> dict[str, Any]:
    nodes: list[Node] = [node for name, node in state.nodes.items() if not partition.nodes or name in partition.nodes]
    return {
        "name": partition.name,
        "nodes": {"total": len(nodes), "configured": ",".join([node.name for node in nodes])},
        "cpus": {"total": sum([node.cpus for node in nodes])},
        "defaults": {
            "time": number(partition.default_time_s // 60, unset=not partition.default_time_s),
            "memory_per_cpu": partition.def_mem_per_cpu_mib,
        },
        "maximums": {
            "time": number(partition.max_time_s // 60, infinite=not partition.max_time_s),
            "nodes": number(partition.max_nodes, infinite=not partition.max_nodes),
        },
        "minimums": {"nodes": partition.min_nodes},
        "priority": {"tier": partition.priority_tier, "job_factor": 1},
        "partition": {"state": [partition.state]},
        "groups": {"allowed": ",".join(partition.allow_groups)},
        "accounts": {"allowed": ",".join(partition.allow_accounts)},
        "is_default": partition.default,
    }


# --- accounting -----------------------------------------------------------------------------------------------------------------


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
            "eligible": (0 if job.hold else job.eligible_ms or job.submit_ms) // 1000,
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
        "state": {"current": _current(job), "reason": job.hold or job.reason or "None"},
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
