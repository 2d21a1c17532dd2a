"""The columns of squeue: one function a field, from a slice of jobs (or steps) to their texts.

Guarantees: every field of `penstock.spec.fields_squeue` has a getter here (a test holds them together). A getter makes a whole column,
because a list comprehension costs a third of a call per cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import Notes, time_value
from penstock.controller.views.file_names import std_file
from penstock.engine.state import NO_TASK, PENDING, STATE_NAMES, SUSPENDED, Job, State, Step
from penstock.spec import arrays, states
from penstock.spec.quantities import format_memory
from penstock.spec.times import format_duration_short


class QueueContext:
    """What a getter may ask besides the rows."""

    __slots__ = ("bitstr", "cluster", "notes", "now_ms", "state")

    def __init__(self, state: State, notes: Notes, bitstr: int) -> None:
        self.state = state
        self.notes = notes
        self.now_ms = notes.now_ms
        self.bitstr = bitstr
        self.cluster = state.config.cluster_name


JobGetter = Callable[[Sequence[Job], QueueContext], list[str]]
StepRow = tuple[Step, Job]
StepGetter = Callable[[Sequence[StepRow], QueueContext], list[str]]


def _each(function: Callable[[Job], str]) -> JobGetter:
    return lambda jobs, context: [function(job) for job in jobs]


def _with(function: Callable[[Job, QueueContext], str]) -> JobGetter:
    return lambda jobs, context: [function(job, context) for job in jobs]


def _always(text: str) -> JobGetter:
    return lambda jobs, context: [text] * len(jobs)


def _text(name: str, absent: str = "(null)") -> JobGetter:
    """A text of the spec."""
    return lambda jobs, context: [getattr(job.spec, name) or absent for job in jobs]


def _job_ids(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    bitstr = context.bitstr
    return [str(job.id) if not job.array_job_id else facts.job_id_text(job, bitstr) for job in jobs]


def _states(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    return [STATE_NAMES[job.state] if job.state <= SUSPENDED else facts.state_word(job) for job in jobs]


def _compact(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    short = facts.COMPACT
    return [short[job.state] if job.state <= SUSPENDED else facts.state_compact(job) for job in jobs]


def _used(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    now_ms = context.now_ms
    return ["0:00" if job.state == PENDING else format_duration_short(facts.elapsed_s(job, now_ms)) for job in jobs]


def _node_counts(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    requests = [job.spec.request for job in jobs]
    return [
        str(len(job.allocs) or (facts.pending_nodes(request) if request.ntasks_per_node else request.nodes_min))
        for job, request in zip(jobs, requests, strict=True)
    ]


def _reason_list(jobs: Sequence[Job], context: QueueContext) -> list[str]:
    reason = context.notes.reason
    return [f"({job.hold or reason(job) or 'None'})" if job.state == PENDING else _nodes_or_reason(job) for job in jobs]


def _nodes_or_reason(job: Job) -> str:
    if job.state in facts.REASON_SHOWN and not job.nodes_left:
        return f"({job.reason or 'None'})"
    return facts.nodes_of(job.allocs)


def _reason(job: Job, context: QueueContext) -> str:
    return facts.reason_text(job, context.notes.reason(job) if job.state == PENDING else "")


def _limit(job: Job) -> str:
    return format_duration_short(job.spec.time_limit_s) if job.spec.time_limit_s else "UNLIMITED"


def _left(job: Job, context: QueueContext) -> str:
    if not job.spec.time_limit_s:
        return "UNLIMITED"
    left = job.spec.time_limit_s - facts.elapsed_s(job, context.now_ms)
    return format_duration_short(left)


def _start(job: Job, context: QueueContext) -> str:
    expected = context.notes.expected_start_ms(job.id) if job.state == PENDING else 0
    return time_value(facts.start_ms(job, expected, context.now_ms), "N/A")


def _end(job: Job, context: QueueContext) -> str:
    expected = 0
    if job.state == PENDING:
        expected = facts.start_ms(job, context.notes.expected_start_ms(job.id), context.now_ms)
    return time_value(facts.end_ms(job, expected), "N/A")


def _task_ids(job: Job) -> str:
    if job.pending_tasks:
        return arrays.format_ranges(job.pending_tasks, job.spec.array_limit, arrays.BITSTR_LEN)
    return str(job.array_task_id) if job.array_task_id != NO_TASK else "N/A"


def _min_memory(job: Job) -> str:
    request = job.spec.request
    return format_memory(request.memory_per_cpu_mib or max(request.memory_per_node_mib, 0))


def _pending_time(job: Job, context: QueueContext) -> str:
    until = job.start_ms or context.now_ms
    return str(max(0, until - max(job.submit_ms, min(job.eligible_ms, until))) // 1000)


def _max_nodes(job: Job) -> str:
    return str(job.spec.request.nodes_max)


def tres_per(counts: tuple[tuple[str, int], ...]) -> str:
    """`gres/gpu:h100:2`, or N/A."""
    return ",".join([f"gres/{key}:{count}" for key, count in counts]) or "N/A"


JOB_GETTERS: dict[str, JobGetter] = {
    "account": _text("account"),
    "accruetime": _each(lambda job: time_value(job.accrue_ms or job.submit_ms, "Unknown")),
    "admincomment": _each(lambda job: job.admin_comment or "(null)"),
    "allocnodes": _each(lambda job: facts.nodes_of(job.allocs) or "N/A"),
    "allocsid": _each(lambda job: f"{job.spec.alloc_node or 'N/A'}:0"),
    "arrayjobid": _each(lambda job: str(job.array_job_id or job.id)),
    "arraytaskid": _each(_task_ids),
    "associd": _always("0"),
    "batchflag": _each(lambda job: "0" if job.spec.interactive else "1"),
    "batchhost": _each(lambda job: job.allocs[0].node if job.allocs else "n/a"),
    "burstbuffer": _always("(null)"),
    "burstbufferstate": _always("(null)"),
    "cluster": lambda jobs, context: [context.cluster] * len(jobs),
    "clusterfeature": _always("(null)"),
    "command": _text("command"),
    "comment": _text("comment"),
    "container": _always("(null)"),
    "containerid": _always("(null)"),
    "contiguous": _each(lambda job: str(int(job.spec.request.contiguous))),
    "cores": _always("*"),
    "corespec": _always("N/A"),
    "cpuspertask": _each(lambda job: str(job.spec.request.cpus_per_task)),
    "cpuspertres": _each(lambda job: f"gres/gpu:{job.spec.cpus_per_gpu}" if job.spec.cpus_per_gpu else "N/A"),
    "deadline": _each(lambda job: time_value(job.spec.deadline_ms, "N/A")),
    "delayboot": _always("00:00:00"),
    "dependency": _with(lambda job, context: facts.dependency_text(job, context.state)),
    "derivedec": _each(lambda job: f"{job.derived_exit}:0"),
    "eligibletime": _each(lambda job: time_value(job.eligible_ms or job.submit_ms, "N/A")),
    "endtime": _with(_end),
    "excnodes": _each(lambda job: ",".join(job.spec.request.excluded_nodes)),
    "exitcode": _each(lambda job: facts.exit_pair(job.wait_status)),
    "feature": _each(lambda job: job.spec.request.constraint or "(null)"),
    "gres": _each(lambda job: tres_per(job.spec.request.gres_per_node)),
    "groupid": _each(lambda job: str(job.spec.gid)),
    "groupname": lambda jobs, context: [job.spec.group for job in jobs],
    "hetjobid": _always("N/A"),
    "hetjobidset": _always("N/A"),
    "hetjoboffset": _always("N/A"),
    "jobarrayid": _job_ids,
    "jobid": lambda jobs, context: [str(job.id) for job in jobs],
    "lastschedeval": lambda jobs, context: [time_value(job.start_ms or context.now_ms, "N/A") for job in jobs],
    "licenses": _each(lambda job: job.spec.licenses or "(null)"),
    "licensesalloc": _always("(null)"),
    "maxcpus": _always("0"),
    "maxnodes": _each(_max_nodes),
    "mcslabel": _always("N/A"),
    "mempertres": _each(lambda job: f"gres:gpu:{job.spec.mem_per_gpu_mib}" if job.spec.mem_per_gpu_mib else "N/A"),
    "mincpus": _each(lambda job: str(job.spec.request.cpus_per_task)),
    "minmemory": _each(_min_memory),
    "mintime": _each(lambda job: format_duration_short(job.spec.time_min_s) if job.spec.time_min_s else "N/A"),
    "mintmpdisk": _always("0"),
    "name": lambda jobs, context: [job.spec.name for job in jobs],
    "network": _always("(null)"),
    "nice": _each(lambda job: str(job.spec.nice)),
    "nodelist": _each(lambda job: facts.nodes_of(job.allocs)),
    "ntpercore": _always("N/A"),
    "ntpernode": _each(lambda job: str(facts.tasks_per_node(job) or "N/A")),
    "ntpersocket": _always("N/A"),
    "ntperboard": _always("N/A"),
    "numcpus": _each(lambda job: str(facts.cpu_count(job))),
    "numnodes": _node_counts,
    "numtasks": _each(lambda job: str(facts.task_count(job))),
    "oversubscribe": _each(lambda job: "NO" if job.spec.request.exclusive else "OK"),
    "partition": lambda jobs, context: [job.partition or ",".join(job.spec.partitions) for job in jobs],
    "pendingtime": _with(_pending_time),
    "preempttime": _always("N/A"),
    "prefer": _each(lambda job: job.spec.request.prefer or "(null)"),
    "priority": _each(lambda job: f"{job.priority / 0xFFFFFFFF:.14f}"),
    "prioritylong": lambda jobs, context: [str(job.priority) for job in jobs],
    "profile": _always("N/A"),
    "qos": _text("qos", "normal"),
    "reason": _with(_reason),
    "reasonlist": _reason_list,
    "reboot": _always("0"),
    "reqnodes": _each(lambda job: ",".join(job.spec.request.required_nodes)),
    "reqswitch": _each(lambda job: str(job.spec.request.switches)),
    "requeue": lambda jobs, context: [str(int(_requeue(job, context))) for job in jobs],
    "reservation": _text("reservation"),
    "resizetime": _each(lambda job: time_value(job.resized.at_ms, "N/A") if job.resized is not None else "N/A"),
    "restartcnt": _each(lambda job: str(job.attempt)),
    "schednodes": lambda jobs, context: [(context.notes.sched_nodes(job.id) if job.state == PENDING else "") or "(null)" for job in jobs],
    "sct": _always("*:*:*"),
    "sluid": _always("N/A"),
    "sockets": _always("*"),
    "starttime": _with(_start),
    "state": _states,
    "statecompact": _compact,
    "stderr": _each(lambda job: std_file(job, "err")),
    "stdin": _each(lambda job: std_file(job, "in")),
    "stdout": _each(lambda job: std_file(job, "out")),
    "submittime": _each(lambda job: time_value(job.submit_ms, "N/A")),
    "systemcomment": _each(lambda job: job.system_comment or "(null)"),
    "threads": _always("*"),
    "timeleft": _with(_left),
    "timelimit": _each(_limit),
    "timeused": _used,
    "tresalloc": _each(
        lambda job: facts.tres_text(facts.allocated_tres(job.allocs) if job.allocs else facts.requested_tres(job.spec.request))
    ),
    "tresbind": _always("N/A"),
    "tresfreq": _always("N/A"),
    "tresperjob": _each(lambda job: tres_per(job.spec.request.gres_total)),
    "trespernode": _each(lambda job: tres_per(job.spec.request.gres_per_node)),
    "trespersocket": _always("N/A"),
    "trespertask": _each(lambda job: tres_per(job.spec.request.gres_per_task)),
    "userid": _each(lambda job: str(job.spec.uid)),
    "username": lambda jobs, context: [job.spec.user for job in jobs],
    "wait4switch": _each(lambda job: format_duration_short(job.spec.switch_wait_s)),
    "wckey": _text("wckey", ""),
    "workdir": _text("work_dir"),
}


def _requeue(job: Job, context: QueueContext) -> bool:
    return context.state.config.job_requeue if job.spec.requeue is None else job.spec.requeue


def _step_each(function: Callable[[Step, Job], str]) -> StepGetter:
    return lambda rows, context: [function(step, job) for step, job in rows]


def _step_used(rows: Sequence[StepRow], context: QueueContext) -> list[str]:
    now_ms = context.now_ms
    return [format_duration_short(max(0, (step.end_ms or job.suspend_ms or now_ms) - step.start_ms) // 1000) for step, job in rows]


def _step_gpus(step: Step, job: Job) -> str:
    gpus = max([len(alloc.gpus) for alloc in step.allocs], default=0)
    return f"gres/gpu:{gpus}" if gpus else "N/A"


STEP_GETTERS: dict[str, StepGetter] = {
    "arrayjobid": _step_each(lambda step, job: str(job.array_job_id or job.id)),
    "arraytaskid": _step_each(lambda step, job: str(job.array_task_id) if job.array_task_id != NO_TASK else "N/A"),
    "cluster": lambda rows, context: [context.cluster] * len(rows),
    "gres": _step_each(_step_gpus),
    "jobid": _step_each(lambda step, job: str(job.id)),
    "nodes": _step_each(lambda step, job: facts.nodes_of(step.allocs)),
    "numcpus": _step_each(lambda step, job: str(sum([alloc.cpus for alloc in step.allocs]))),
    "numtasks": _step_each(lambda step, job: str(step.ntasks)),
    "partition": _step_each(lambda step, job: facts.partition_text(job)),
    "starttime": _step_each(lambda step, job: time_value(step.start_ms, "N/A")),
    "stderr": _step_each(lambda step, job: step.std_err or "(null)"),
    "stdin": _step_each(lambda step, job: step.std_in or "(null)"),
    "stdout": _step_each(lambda step, job: step.std_out or "(null)"),
    "stepid": _step_each(lambda step, job: facts.step_id_text(facts.job_id_text(job), step.step_id)),
    "stepname": _step_each(lambda step, job: step.name),
    "stepstate": _step_each(lambda step, job: states.job_state(step.state)),
    "timelimit": _step_each(lambda step, job: "UNLIMITED"),
    "timeused": _step_used,
    "tresperstep": _step_each(_step_gpus),
    "userid": _step_each(lambda step, job: str(job.spec.uid)),
    "username": _step_each(lambda step, job: job.spec.user),
}
