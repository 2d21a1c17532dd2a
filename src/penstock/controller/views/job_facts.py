"""Facts of one job as people see them: ids, states, times, sizes, resources. Every view and the JSON take them from here.

Guarantees: the same job has the same id, state and size in squeue, sacct, scontrol and JSON. Sizes of a pending job are the smallest
that its request can be given. Assumes the Job is as `apply` leaves it.
"""

from __future__ import annotations

import msgspec

from penstock.core.request import WHOLE_NODE, Request
from penstock.engine.state import (
    BATCH_STEP,
    CANCELLED,
    COMPLETED,
    DEADLINE,
    FAILED,
    NO_TASK,
    OUT_OF_MEMORY,
    PENDING,
    PREEMPTED,
    RUNNING,
    STATE_NAMES,
    SUSPENDED,
    TIMEOUT,
    Job,
    NodeAlloc,
    State,
    Step,
)
from penstock.spec import arrays, dependency, hostlist, jobids, states
from penstock.spec.errors import SpecError
from penstock.spec.gres import format_tres

COMPACT = tuple([short for _, short in states.JOB_BASES])
REASON_SHOWN = frozenset((PENDING, TIMEOUT, OUT_OF_MEMORY, DEADLINE, FAILED))
"""squeue shows the reason instead of the nodes for these (unless the job is completing)."""


def job_id_text(job: Job, bitstr: int = arrays.BITSTR_LEN) -> str:
    """`123`, `123_4`, or `123_[5-9%2]` for the elements that have not started."""
    if job.pending_tasks:
        return f"{job.array_job_id}_[{arrays.format_ranges(job.pending_tasks, job.spec.array_limit, bitstr)}]"
    if job.array_task_id != NO_TASK:
        return f"{job.array_job_id}_{job.array_task_id}"
    return str(job.id)


def step_id_text(job_text: str, step_id: int) -> str:
    return f"{job_text}.{jobids.format_step(step_id)}"


def state_word(job: Job) -> str:
    if job.nodes_left and job.state > SUSPENDED:
        return "COMPLETING"
    return STATE_NAMES[job.state]


def state_compact(job: Job) -> str:
    if job.nodes_left and job.state > SUSPENDED:
        return "CG"
    return COMPACT[job.state]


def accounting_state(job: Job) -> str:
    """sacct's State: the base state also while completing; `CANCELLED by UID`."""
    if job.state == CANCELLED and job.by_uid >= 0:
        return f"CANCELLED by {job.by_uid}"
    return STATE_NAMES[job.state]


def elapsed_s(job: Job, now_ms: int) -> int:
    """Seconds of running, suspended time left out; 0 before the start and for a job that ended without one."""
    if job.state == PENDING or not job.start_ms or not job.allocs:
        return 0
    until = job.suspend_ms or job.end_ms or now_ms
    return max(0, until - job.start_ms - job.suspended_total_ms) // 1000


def end_ms(job: Job, expected_start_ms: int) -> int:
    """When it ended, will be ended by its limit, or may end if it starts as expected; 0: not known."""
    if job.state > SUSPENDED:
        return job.end_ms
    if job.state == PENDING:
        start = expected_start_ms
        return start + job.spec.time_limit_s * 1000 if start and job.spec.time_limit_s else 0
    return job.end_limit_ms


def start_ms(job: Job, expected_start_ms: int, now_ms: int) -> int:
    """When it started; for a waiting job when it is expected, else not before its begin time."""
    if job.state != PENDING:
        return job.start_ms
    return expected_start_ms or (job.eligible_ms if job.eligible_ms > now_ms else 0)


def partition_text(job: Job) -> str:
    return job.partition or ",".join(job.spec.partitions)


def dependency_text(job: Job, state: State) -> str:
    """`afterok:12(unfulfilled),afterany:13_*(unfulfilled)`: 13 is an array."""
    if not job.dependency:
        return "(null)"
    waits_for = dependency.parse(job.dependency)
    parents = {parent: state.jobs[parent] for condition in waits_for.conditions for parent in condition.parents() if parent in state.jobs}
    marks = [dependency.FAILED if job.dependency_failed else dependency.UNFULFILLED] * len(waits_for.conditions)
    return dependency.format_shown(waits_for, marks, {parent for parent, row in parents.items() if row.array_job_id})


def exit_pair(wait_status: int) -> str:
    """`code:signal` as scontrol and sacct show it."""
    return f"{wait_status >> 8 & 0xFF}:{wait_status & 0x7F}"


def nodes_of(allocs: tuple[NodeAlloc, ...]) -> str:
    if not allocs:
        return ""
    if len(allocs) == 1:
        return allocs[0].node
    return hostlist.compress([alloc.node for alloc in allocs])


def node_count(job: Job) -> int:
    return len(job.allocs) or pending_nodes(job.spec.request)


def cpu_count(job: Job) -> int:
    return sum([alloc.cpus for alloc in job.allocs]) if job.allocs else pending_cpus(job.spec.request)


def tasks_per_node(job: Job) -> int:
    """Most tasks on a node; 0 where only --ntasks-per-gpu says it, which is shown by itself."""
    return 0 if job.spec.ntasks_per_gpu else job.spec.request.ntasks_per_node


def task_count(job: Job) -> int:
    request = job.spec.request
    return request.ntasks or job.spec.ntasks_typed or max(node_count(job), 1) * max(request.ntasks_per_node, 1)


def pending_nodes(request: Request) -> int:
    """The fewest nodes that fit the request's own limits."""
    if request.ntasks and request.ntasks_per_node:
        return max(request.nodes_min, -(-request.ntasks // request.ntasks_per_node))
    return request.nodes_min


def pending_cpus(request: Request) -> int:
    nodes = pending_nodes(request)
    tasks = request.ntasks or nodes * max(request.ntasks_per_node, 1)
    devices = sum([count for _, count in request.gres_total]) if request.cpus_per_gpu else 0
    return max(tasks * request.cpus_per_task, nodes * request.cpus_per_node, devices * request.cpus_per_gpu)


def pending_memory_mib(request: Request) -> int:
    """0 where all memory of the nodes is asked for: how much that is shows when nodes are known."""
    if request.memory_per_cpu_mib:
        return request.memory_per_cpu_mib * pending_cpus(request)
    if request.memory_per_gpu_mib:
        return request.memory_per_gpu_mib * sum([count for _, count in request.gres_total])
    if request.memory_per_node_mib == WHOLE_NODE:
        return 0
    return request.memory_per_node_mib * pending_nodes(request)


def requested_gres(request: Request) -> dict[str, int]:
    """Over all nodes, by name and type: `{"gpu:a100": 8}`."""
    nodes = pending_nodes(request)
    tasks = request.ntasks or nodes * max(request.ntasks_per_node, 1)
    total: dict[str, int] = {}
    for counts, times in ((request.gres_per_node, nodes), (request.gres_per_task, tasks), (request.gres_total, 1)):
        for key, count in counts:
            total[key] = total.get(key, 0) + count * times
    return total


def requested_tres(request: Request) -> dict[str, int]:
    cpus = pending_cpus(request)
    counts = {"cpu": cpus, "mem": pending_memory_mib(request), "node": pending_nodes(request), "billing": cpus}
    asked = requested_gres(request)
    for name in ("gpu", "shard"):
        number = sum([count for key, count in asked.items() if key.partition(":")[0] == name])
        if number:
            counts[f"gres/{name}"] = number
    if not counts["mem"]:
        del counts["mem"]
    return counts


def allocated_tres(allocs: tuple[NodeAlloc, ...], billing: bool = True) -> dict[str, int]:
    """Empty without nodes. Steps carry no billing."""
    if not allocs:
        return {}
    counts = {"cpu": sum([alloc.cpus for alloc in allocs]), "mem": sum([alloc.memory_mib for alloc in allocs]), "node": len(allocs)}
    if billing:
        counts["billing"] = counts["cpu"]
    gpus = sum([len(alloc.gpus) for alloc in allocs if not alloc.shards])
    if gpus:
        counts["gres/gpu"] = gpus
    shards = sum([alloc.shards for alloc in allocs])
    if shards:
        counts["gres/shard"] = shards
    if not counts["mem"]:
        del counts["mem"]
    return counts


def tres_text(counts: dict[str, int], *, by_name: bool = False) -> str:
    return format_tres(counts, by_name=by_name)


def reason_text(job: Job, pending_reason: str) -> str:
    """Why it waits, or how it ended; `None` where there is nothing to say."""
    if job.state == PENDING:
        return job.hold or pending_reason or "None"
    return (job.hold if job.state in (RUNNING, SUSPENDED) else "") or job.reason or "None"


def batch_step(job: Job) -> Step | None:
    """The batch script as a step, as accounting and squeue -s list it; None for an allocation or before the start."""
    if job.spec.interactive or not job.allocs:
        return None
    first = job.allocs[0]
    record = job.batch
    if record is None:
        state = job.state if job.state in (RUNNING, SUSPENDED) or not job.nodes_left else RUNNING
        if state > SUSPENDED:
            state = CANCELLED if job.state in (TIMEOUT, CANCELLED, PREEMPTED) else job.state
        return Step(
            job_id=job.id,
            attempt=job.attempt,
            step_id=BATCH_STEP,
            name="batch",
            allocs=(first,),
            ntasks=1,
            start_ms=job.start_ms,
            end_ms=job.end_ms if state > SUSPENDED else 0,
            state=state,
            wait_status=job.wait_status,
        )
    return Step(
        job_id=job.id,
        attempt=job.attempt,
        step_id=BATCH_STEP,
        name="batch",
        allocs=(first,),
        ntasks=1,
        start_ms=record.start_ms or job.start_ms,
        end_ms=record.end_ms or job.end_ms,
        state=_batch_state(job, record.wait_status, record.cause),
        wait_status=record.wait_status,
        cause=record.cause,
        usage=((first.node, record.usage),),
    )


def _batch_state(job: Job, wait_status: int, cause: str) -> int:
    if cause == "OutOfMemory":
        return OUT_OF_MEMORY
    if cause in ("TimeLimit", "Cancelled"):
        return CANCELLED
    if cause:
        return FAILED
    if wait_status & 0x7F:
        return CANCELLED
    return FAILED if wait_status else COMPLETED


IDS_MAX = 10_000
"""Job ids of one request for a table."""


class JobIds:
    """Which jobs a list of ids means: `12`, `12_3`, `12_[3-5,7]`, as texts; a bad one is a SpecError naming it.

    A plain id also names the elements of the array that has it; `12_3` is also the row of the elements that have not started, cut
    down to that element.
    """

    __slots__ = ("_whole", "plain", "steps", "tasks")

    def __init__(self, texts: list[str]) -> None:
        self.plain: set[int] = set()
        self.tasks: dict[int, arrays.Ranges] = {}
        self.steps: list[jobids.JobSelector] = []
        """Those that name a step, as typed; they select the job too."""
        self._whole: set[int] = set()
        """Jobs that are named without a step."""
        if len(texts) > IDS_MAX:
            raise SpecError(f"more than {IDS_MAX} job ids in one request")
        ranges: dict[int, dict[tuple[int, int, int], None]] = {}
        for text in texts:
            for selector in jobids.parse_job_ids(text, IDS_MAX):
                if selector.tasks is None:
                    self.plain.add(selector.job_id)
                else:
                    ranges.setdefault(selector.job_id, {}).update(dict.fromkeys(selector.tasks))
                if selector.step_id is not None:
                    self.steps.append(selector)
                else:
                    self._whole.add(selector.job_id)
        for job_id, named in ranges.items():
            self.tasks[job_id] = arrays.parse_ranges(",".join([f"{low}-{high}:{step}" for low, high, step in named]))

    def __bool__(self) -> bool:
        return bool(self.plain or self.tasks)

    def match(self, job: Job) -> Job | None:
        """The job, a copy with fewer waiting elements, or None."""
        if job.id in self.plain or job.array_job_id in self.plain:
            return job
        wanted = self.tasks.get(job.array_job_id) if job.array_job_id else None
        if wanted is None:
            return None
        if job.pending_tasks:
            left = arrays.keep(job.pending_tasks, wanted)
            if not left:
                return None
            copy: Job = msgspec.structs.replace(job, pending_tasks=left)
            return copy
        return job if arrays.contains(wanted, job.array_task_id) else None

    def wants_job(self, job: Job) -> bool:
        """Whether the list asks for the job's own row: not where only steps of it are named."""
        return not self.steps or job.id in self._whole or job.array_job_id in self._whole

    def wants_step(self, job: Job, step_id: int) -> bool:
        """Whether the list names this step or the whole job."""
        if self.wants_job(job):
            return True
        mine = [s for s in self.steps if s.step_id == step_id and s.job_id in (job.id, job.array_job_id)]
        return any(s.tasks is None or arrays.contains(s.tasks, job.array_task_id) for s in mine)
