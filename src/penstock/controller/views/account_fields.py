"""The columns of sacct and sstat: one function a field, from an accounting row to its text.

A row is a job (step None) or one of its steps, the batch script among them. What Slurm prints only for one of the two is empty for the
other. Memory follows --units and --noconvert; CPU times are sums over the tasks of all nodes.

Guarantees: every field of `penstock.spec.fields_sacct` has a getter. Assumes usage as the nodes reported it: kibibytes and microseconds.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import time_value
from penstock.controller.views.file_names import std_file
from penstock.engine.state import CANCELLED, OUT_OF_MEMORY, PENDING, SUSPENDED, Job, NodeAlloc, Step
from penstock.spec import states
from penstock.spec.fields_sacct import FIELDS
from penstock.spec.quantities import format_quantity
from penstock.spec.times import format_cpu_time, format_duration
from penstock.wire.messages import Usage

SIGNAL_OOM = 125
"""How Slurm writes the end of a step whose memory ran out: `0:125`."""


class AccountContext:
    """What the texts depend on besides the row."""

    __slots__ = ("cluster", "convert", "now_ms", "units")

    def __init__(self, cluster: str, now_ms: int, units: str = "", convert: bool = True) -> None:
        self.cluster = cluster
        self.now_ms = now_ms
        self.units = units
        self.convert = convert

    def bytes_text(self, count: int) -> str:
        if self.units:
            return format_quantity(count, "", to=self.units)
        return format_quantity(count, "", exact=True) if self.convert else f"{-(-count // 1024)}K" if count else "0"

    def memory_text(self, mib: int) -> str:
        if self.units:
            return format_quantity(mib, "M", to=self.units)
        return format_quantity(mib, "M", exact=True) if self.convert or not mib else f"{mib}M"


class AccountRow:
    """One line: a job, or a step of it."""

    __slots__ = ("elapsed_s", "id_text", "job", "node_usage", "step")

    def __init__(self, job: Job, step: Step | None, id_text: str, node_usage: list[tuple[str, Usage]], now_ms: int) -> None:
        self.job = job
        self.step = step
        self.id_text = id_text
        self.node_usage = node_usage
        """(node, usage) of the step, or of all steps of the job."""
        self.elapsed_s = facts.elapsed_s(job, now_ms) if step is None else step_elapsed_s(step, job, now_ms)

    @property
    def allocs(self) -> tuple[NodeAlloc, ...]:
        return self.job.allocs if self.step is None else self.step.allocs

    @property
    def cpus(self) -> int:
        if self.step is None:
            return facts.cpu_count(self.job)
        return sum([alloc.cpus for alloc in self.step.allocs])

    @property
    def ntasks(self) -> int:
        return max(self.step.ntasks, 1) if self.step is not None else 1

    def total(self, name: str) -> int:
        return sum([getattr(usage, name) for _, usage in self.node_usage])

    def largest(self, name: str) -> tuple[int, str]:
        """The largest value and its node."""
        return max([(getattr(usage, name), node) for node, usage in self.node_usage], key=lambda pair: pair[0], default=(0, ""))


def step_elapsed_s(step: Step, job: Job, now_ms: int) -> int:
    """Suspended time counts for a step in accounting no more than for its job."""
    if not step.start_ms:
        return 0
    return max(0, (step.end_ms or job.suspend_ms or job.end_ms or now_ms) - step.start_ms) // 1000


def exit_text(state: int, wait_status: int) -> str:
    return f"0:{SIGNAL_OOM}" if state == OUT_OF_MEMORY else facts.exit_pair(wait_status)


Getter = Callable[[AccountRow, AccountContext], str]


def _job(function: Callable[[Job], str], both: bool = False) -> Getter:
    """A field of the job; empty for steps unless `both`."""
    return lambda row, context: function(row.job) if both or row.step is None else ""


def _step(function: Callable[[AccountRow, AccountContext], str]) -> Getter:
    """A field of steps that have reported; empty for jobs and for steps that still run."""
    return lambda row, context: function(row, context) if row.step is not None and row.node_usage else ""


def _cpu(micros: int) -> str:
    return format_cpu_time(micros // 1_000_000, micros % 1_000_000)


def _cpu_whole(micros: int) -> str:
    return format_duration(micros // 1_000_000)


def _state(row: AccountRow, context: AccountContext) -> str:
    if row.step is None:
        if row.job.requeue_after and row.job.state == CANCELLED:
            return "REQUEUED"  # not the end: this run made room for the next one
        return states.accounting_state(row.job.state, row.job.by_uid)
    return states.accounting_state(row.step.state, row.step.by_uid)


def _exit(row: AccountRow, context: AccountContext) -> str:
    if row.step is None:
        return exit_text(row.job.state, row.job.wait_status)
    return exit_text(row.step.state, row.step.wait_status)


def _start(row: AccountRow, context: AccountContext) -> str:
    if row.step is not None:
        return time_value(row.step.start_ms, "Unknown")
    if row.job.state == PENDING:
        return "Unknown"
    return time_value(row.job.start_ms, "Unknown") if row.job.allocs else "None"


def _end(row: AccountRow, context: AccountContext) -> str:
    if row.step is not None:
        return time_value(row.step.end_ms, "Unknown")
    return time_value(row.job.end_ms, "Unknown") if row.job.state > SUSPENDED else "Unknown"


def _submit(row: AccountRow, context: AccountContext) -> str:
    return time_value(row.job.submit_ms if row.step is None else row.step.start_ms, "Unknown")


def _eligible(row: AccountRow, context: AccountContext) -> str:
    if row.step is not None:
        return time_value(row.step.start_ms, "Unknown")
    return time_value(row.job.eligible_ms or (0 if row.job.hold and not row.job.allocs else row.job.submit_ms), "Unknown")


def _alloc_tres(row: AccountRow, context: AccountContext) -> str:
    """A step that asked for no memory of its own may use all that the job has there."""
    allocs = row.allocs
    if row.step is not None and not all(alloc.memory_mib for alloc in allocs):
        memory_mib = {alloc.node: alloc.memory_mib for alloc in row.job.allocs}
        allocs = tuple([a if a.memory_mib else replace(a, memory_mib=memory_mib.get(a.node, 0)) for a in allocs])
    return facts.tres_text(facts.allocated_tres(allocs, billing=row.step is None), by_name=True)


def _planned_s(job: Job, context: AccountContext) -> int:
    """Seconds between being eligible and the start (or the end of waiting)."""
    since = max(job.eligible_ms, job.submit_ms)
    until = job.start_ms if job.state != PENDING else context.now_ms
    return max(0, until - since) // 1000


def _planned(row: AccountRow, context: AccountContext) -> str:
    return "" if row.step is not None else format_duration(_planned_s(row.job, context))


def _planned_cpu(row: AccountRow, context: AccountContext) -> str:
    return "" if row.step is not None else format_duration(_planned_s(row.job, context) * row.cpus)


def _planned_cpu_raw(row: AccountRow, context: AccountContext) -> str:
    return "" if row.step is not None else str(_planned_s(row.job, context) * row.cpus)


def _average(name: str, show: Callable[[AccountContext, int], str]) -> Getter:
    return _step(lambda row, context: show(context, row.total(name) // row.ntasks))


def _average_peak(name: str) -> Getter:
    """The mean of the nodes' peaks: tasks are not told apart."""
    return _step(lambda row, context: context.bytes_text(row.total(name) * 1024 // len(row.node_usage)))


def _peak(name: str) -> Getter:
    return _step(lambda row, context: context.bytes_text(row.largest(name)[0] * 1024))


def _where(name: str) -> Getter:
    return _step(lambda row, context: row.largest(name)[1])


def _largest_bytes(name: str) -> Getter:
    return _step(lambda row, context: context.bytes_text(row.largest(name)[0]))


def _cpu_us(usage: Usage) -> int:
    return usage.user_cpu_us + usage.system_cpu_us


def _min_cpu(row: AccountRow) -> tuple[int, str]:
    """The least CPU time of a task, taken as the mean of its node's tasks, and that node."""
    tasks = {alloc.node: max(alloc.ntasks, 1) for alloc in row.allocs}
    return min([(_cpu_us(usage) // tasks.get(node, 1), node) for node, usage in row.node_usage], default=(0, ""))


def _usage_in(row: AccountRow, context: AccountContext, how: str) -> str:
    """`cpu=00:00:01,fs/disk=0,mem=1024K,vmem=2048K`: totals, the largest node's values, or means over tasks."""
    if how == "max":
        cpu = max([_cpu_us(usage) for _, usage in row.node_usage], default=0)
        disk, rss, vm = (row.largest(name)[0] for name in ("disk_read_bytes", "max_rss_kib", "max_vmsize_kib"))
    else:
        cpu = row.total("user_cpu_us") + row.total("system_cpu_us")
        disk, rss, vm = (row.total(name) for name in ("disk_read_bytes", "max_rss_kib", "max_vmsize_kib"))
        if how == "ave":
            cpu, disk, rss, vm = (value // row.ntasks for value in (cpu, disk, rss, vm))
    return f"cpu={_cpu_whole(cpu)},fs/disk={disk},mem={context.bytes_text(rss * 1024)},vmem={context.bytes_text(vm * 1024)}"


def _usage_out(row: AccountRow, how: str) -> str:
    if how == "max":
        return f"fs/disk={row.largest('disk_write_bytes')[0]}"
    written = row.total("disk_write_bytes")
    return f"fs/disk={written // row.ntasks if how == 'ave' else written}"


def _job_id_raw(row: AccountRow, context: AccountContext) -> str:
    return str(row.job.id) if row.step is None else facts.step_id_text(str(row.job.id), row.step.step_id)


def _empty(row: AccountRow, context: AccountContext) -> str:
    return ""


def _node_list(row: AccountRow, context: AccountContext) -> str:
    return facts.nodes_of(row.allocs) or ("None assigned" if row.step is None else "")


def _limit(job: Job) -> str:
    return format_duration(job.spec.time_limit_s) if job.spec.time_limit_s else "UNLIMITED"


def _file(which: str) -> Getter:
    def get(row: AccountRow, context: AccountContext) -> str:
        if row.step is None:
            return std_file(row.job, which)
        return {"out": row.step.std_out, "err": row.step.std_err, "in": row.step.std_in}[which]

    return get


def _total_cpu(row: AccountRow, context: AccountContext) -> str:
    return _cpu(row.total("user_cpu_us") + row.total("system_cpu_us"))


GETTERS: dict[str, Getter] = dict.fromkeys(FIELDS, _empty)
GETTERS |= {
    "account": _job(lambda job: job.spec.account, both=True),
    "admincomment": _job(lambda job: job.admin_comment),
    "alloccpus": lambda row, context: str(row.cpus),
    "allocnodes": lambda row, context: str(len(row.allocs)),
    "alloctres": _alloc_tres,
    "associd": lambda row, context: "0",
    "avecpu": _step(lambda row, context: _cpu_whole((row.total("user_cpu_us") + row.total("system_cpu_us")) // row.ntasks)),
    "avediskread": _average("disk_read_bytes", AccountContext.bytes_text),
    "avediskwrite": _average("disk_write_bytes", AccountContext.bytes_text),
    "averss": _average_peak("max_rss_kib"),
    "avevmsize": _average_peak("max_vmsize_kib"),
    "cluster": lambda row, context: context.cluster,
    "comment": _job(lambda job: job.spec.comment),
    "constraints": _job(lambda job: job.spec.request.constraint),
    "cputime": lambda row, context: format_duration(row.elapsed_s * row.cpus),
    "cputimeraw": lambda row, context: str(row.elapsed_s * row.cpus),
    "derivedexitcode": _job(lambda job: f"{job.derived_exit}:0"),
    "segmentsize": _job(lambda job: str(job.spec.request.segment or "")),
    "elapsed": lambda row, context: format_duration(row.elapsed_s),
    "elapsedraw": lambda row, context: str(row.elapsed_s),
    "eligible": _eligible,
    "end": _end,
    "exitcode": _exit,
    "extra": _job(lambda job: job.extra),
    "gid": _job(lambda job: str(job.spec.gid)),
    "group": _job(lambda job: job.spec.group),
    "jobid": lambda row, context: row.id_text,
    "jobidraw": _job_id_raw,
    "jobname": lambda row, context: row.job.spec.name if row.step is None else row.step.name,
    "maxdiskread": _largest_bytes("disk_read_bytes"),
    "maxdiskreadnode": _where("disk_read_bytes"),
    "maxdiskwrite": _largest_bytes("disk_write_bytes"),
    "maxdiskwritenode": _where("disk_write_bytes"),
    "maxrss": _peak("max_rss_kib"),
    "maxrssnode": _where("max_rss_kib"),
    "maxvmsize": _peak("max_vmsize_kib"),
    "maxvmsizenode": _where("max_vmsize_kib"),
    "mincpu": _step(lambda row, context: _cpu_whole(_min_cpu(row)[0])),
    "mincpunode": _step(lambda row, context: _min_cpu(row)[1]),
    "ncpus": lambda row, context: str(row.cpus),
    "nnodes": lambda row, context: str(len(row.allocs) if row.step is not None else facts.node_count(row.job)),
    "nodelist": _node_list,
    "ntasks": lambda row, context: str(row.step.ntasks) if row.step is not None else "",
    "partition": _job(facts.partition_text),
    "planned": _planned,
    "plannedcpu": _planned_cpu,
    "plannedcpuraw": _planned_cpu_raw,
    "priority": _job(lambda job: str(job.priority)),
    "qos": _job(lambda job: job.spec.qos or "normal"),
    "qosreq": _job(lambda job: job.spec.qos),
    "reason": _job(lambda job: (job.hold if job.state <= SUSPENDED else "") or job.reason or "None"),
    "reqcpus": lambda row, context: str(row.cpus if row.step is not None else facts.pending_cpus(row.job.spec.request)),
    "reqmem": lambda row, context: "" if row.step is not None else _requested_memory(row.job, context),
    "reqnodes": lambda row, context: str(len(row.allocs) if row.step is not None else facts.pending_nodes(row.job.spec.request)),
    "reqtres": _job(lambda job: facts.tres_text(facts.requested_tres(job.spec.request), by_name=True)),
    "reqreservation": _job(lambda job: job.spec.reservation),
    "reservation": _job(lambda job: job.spec.reservation),
    "restarts": _job(lambda job: str(job.attempt)),
    "start": _start,
    "state": _state,
    "stderr": _file("err"),
    "stdin": _file("in"),
    "stdout": _file("out"),
    "submit": _submit,
    "submitline": lambda row, context: row.job.spec.submit_line if row.step is None else row.step.submit_line,
    "suspended": lambda row, context: format_duration(suspended_s(row.job, context.now_ms)),
    "systemcomment": _job(lambda job: job.system_comment),
    "systemcpu": lambda row, context: _cpu(row.total("system_cpu_us")),
    "timelimit": _job(_limit),
    "timelimitraw": _job(lambda job: str(job.spec.time_limit_s // 60) if job.spec.time_limit_s else "UNLIMITED"),
    "totalcpu": _total_cpu,
    "tresusageinave": _step(lambda row, context: _usage_in(row, context, "ave")),
    "tresusageinmax": _step(lambda row, context: _usage_in(row, context, "max")),
    "tresusageintot": _step(lambda row, context: _usage_in(row, context, "tot")),
    "tresusageoutave": _step(lambda row, context: _usage_out(row, "ave")),
    "tresusageoutmax": _step(lambda row, context: _usage_out(row, "max")),
    "tresusageouttot": _step(lambda row, context: _usage_out(row, "tot")),
    "uid": _job(lambda job: str(job.spec.uid)),
    "user": _job(lambda job: job.spec.user),
    "usercpu": lambda row, context: _cpu(row.total("user_cpu_us")),
    "wckey": _job(lambda job: job.spec.wckey),
    "workdir": lambda row, context: row.job.spec.work_dir if row.step is None else row.step.work_dir,
}
GETTERS["reserved"], GETTERS["resvcpu"], GETTERS["resvcpuraw"] = _planned, _planned_cpu, _planned_cpu_raw


def _requested_memory(job: Job, context: AccountContext) -> str:
    mib = facts.pending_memory_mib(job.spec.request) or sum([alloc.memory_mib for alloc in job.allocs])
    return context.memory_text(mib)


def suspended_s(job: Job, now_ms: int) -> int:
    running = now_ms - job.suspend_ms if job.suspend_ms else 0
    return (job.suspended_total_ms + running) // 1000
