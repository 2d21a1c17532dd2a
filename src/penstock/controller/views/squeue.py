"""squeue: which jobs (or steps), in which order, in chunks.

Request fields: see QueueRequest. Without `states` a job is shown while it is pending, running, suspended or completing.

Guarantees: at 100,000 jobs no slice takes 5 ms (benchmarks/views.py prints it). One plain unknown id is ESLURM_INVALID_JOB_ID, as
Slurm says it; several ids with unknown ones among them are an empty table.
Assumes the caller was authenticated; everybody may see every job, as with PrivateData=none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import PAUSE, Fields, Notes, slices, table
from penstock.controller.views.order import Term, each, ordering
from penstock.controller.views.queue_fields import JOB_GETTERS, STEP_GETTERS, QueueContext, StepRow
from penstock.engine.state import PENDING, RUNNING, SUSPENDED, Job, State, Step
from penstock.spec import arrays, hostlist, states
from penstock.spec.errors import ESLURM_INVALID_JOB_ID, ESLURM_INVALID_NODE_NAME, SlurmError, SpecError
from penstock.spec.fields_squeue import FIELDS, LETTERS, STEP_LETTERS

FIELDS_MAX = 256
"""Columns of one table."""
TERMS_MAX = 16
"""Terms of one sort."""
SliceKey = Callable[[Sequence[Any]], list[Any]]
KeyMaker = Callable[[State, Notes], Callable[[Any], int | str]]
EXPANDED_MAX = 2_000_000
"""Lines of `squeue -r`: more array elements than this are refused."""


class QueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Empty lists accept everything. `states` holds names or `all`; `sort` is squeue -S."""

    fields: list[str] = []
    jobs: list[str] = []
    users: list[str] = []
    not_users: list[str] = []
    states: list[str] = []
    partitions: list[str] = []
    names: list[str] = []
    accounts: list[str] = []
    qos: list[str] = []
    reservations: list[str] = []
    licenses: list[str] = []
    nodes: str = ""
    steps: bool = False
    step_ids: list[str] = []
    array: bool = False
    start: bool = False
    sort: str = ""
    bitstr: int = arrays.BITSTR_LEN


def squeue(state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    request = msgspec.convert(fields, QueueRequest)
    if request.steps:
        return _steps(state, notes, request)
    return _jobs(state, notes, request)


def _jobs(state: State, notes: Notes, request: QueueRequest) -> Iterator[bytes]:
    getters = _getters(request.fields, JOB_GETTERS)
    terms = _terms(request.sort or "P,t,-p", state, notes, LETTERS, _JOB_KEYS, _WHOLE_KEYS)
    rows = yield from select(state, request)
    if request.array:
        rows = yield from _expanded(rows)
    order = yield from _paused(ordering(rows, terms))
    yield from table(rows, getters, QueueContext(state, notes, request.bitstr), order)


def select(state: State, request: QueueRequest) -> Generator[bytes, None, list[Job]]:
    """The jobs that pass every filter, in order of submission; also for the JSON."""
    ids = JobIdsOrRefusal(request.jobs, state)
    tests = list(_tests(state, request))
    wanted = [states.parse_job_state(name) for name in request.states if name.lower() != "all"]
    everything = any(name.lower() == "all" for name in request.states)
    rows: list[Job] = []
    for part in slices(_candidates(state, ids)):
        if everything:
            kept = list(part)
        elif wanted:
            kept = [job for job in part if any(states.job_matches(_number(job), number) for number in wanted)]
        else:
            kept = [job for job in part if job.state <= SUSPENDED or job.nodes_left]
        for test in tests:
            kept = [job for job in kept if test(job)]
        if ids:
            kept = [match for job in kept if (match := ids.match(job)) is not None]
        rows += kept
        yield PAUSE
    return rows


def _candidates(state: State, ids: facts.JobIds) -> list[Job]:
    """Every job; or, when plain ids of jobs that are no arrays are asked for, only those."""
    if ids.plain and not ids.tasks and all(job_id in state.jobs and not state.jobs[job_id].array_job_id for job_id in ids.plain):
        return [state.jobs[job_id] for job_id in sorted(ids.plain)]
    return list(state.jobs.values())


def _number(job: Job) -> int:
    return job.state | states.COMPLETING if job.state > SUSPENDED and job.nodes_left else job.state


class JobIdsOrRefusal(facts.JobIds):
    """The ids, after the check that a single one exists."""

    __slots__ = ()

    def __init__(self, texts: list[str], state: State) -> None:
        try:
            super().__init__(texts)
        except SpecError as error:
            raise SlurmError(ESLURM_INVALID_JOB_ID, detail=str(error)) from None
        if len(self.plain) == 1 and not self.tasks:
            (job_id,) = self.plain
            if job_id not in state.jobs and not any(job.array_job_id == job_id for job in state.jobs.values()):
                raise SlurmError(ESLURM_INVALID_JOB_ID)


def _tests(state: State, request: QueueRequest) -> Iterator[Callable[[Job], bool]]:
    if request.users:
        users = _users(request.users)
        yield lambda job: job.spec.uid in users or job.spec.user in users
    if request.not_users:
        others = _users(request.not_users)
        yield lambda job: job.spec.uid not in others and job.spec.user not in others
    if request.partitions:
        partitions = set(request.partitions)
        yield lambda job: bool(partitions.intersection((job.partition,) if job.partition else job.spec.partitions))
    if request.names:
        names = set(request.names)
        yield lambda job: job.spec.name in names
    if request.accounts:
        accounts = set(request.accounts)
        yield lambda job: job.spec.account in accounts
    if request.qos:
        qos = set(request.qos)
        yield lambda job: (job.spec.qos or "normal") in qos
    if request.reservations:
        reservations = set(request.reservations)
        yield lambda job: job.spec.reservation in reservations
    if request.licenses:
        licenses = set(request.licenses)
        yield lambda job: any(name in licenses for name, _ in job.spec.request.licenses)
    if request.start:
        yield lambda job: job.state == PENDING
    if request.nodes:
        nodes = known_nodes(state, request.nodes)
        yield lambda job: any(alloc.node in nodes for alloc in job.allocs)


def _users(texts: list[str]) -> set[int | str]:
    return {int(text) if text.isdecimal() else text for text in texts}


def known_nodes(state: State, text: str) -> set[str]:
    """The nodes of a hostlist; one that the cluster does not have is refused by name."""
    try:
        names = set(state.nodes) if text.lower() == "all" else set(hostlist.expand(text))
    except SpecError as error:
        raise SlurmError(ESLURM_INVALID_NODE_NAME, detail=str(error)) from None
    unknown = sorted(names.difference(state.nodes))
    if unknown:
        raise SlurmError(ESLURM_INVALID_NODE_NAME, f"Invalid node name {unknown[0]}")
    return names


def _expanded(rows: list[Job]) -> Generator[bytes, None, list[Job]]:
    """Every element of an array that has not started as a row of its own."""
    if sum([arrays.count(job.pending_tasks) for job in rows if job.pending_tasks]) > EXPANDED_MAX:
        raise SlurmError(ESLURM_INVALID_JOB_ID, f"more than {EXPANDED_MAX} array elements: leave out --array or name jobs")
    out: list[Job] = []
    since = 0
    for job in rows:
        if not job.pending_tasks:
            out.append(job)
            continue
        for task in arrays.indices(job.pending_tasks):
            out.append(msgspec.structs.replace(job, array_task_id=task, pending_tasks=()))
            since += 1
            if since == 1_000:
                since = 0
                yield PAUSE
    return out


def _paused(work: Generator[None, None, Any]) -> Generator[bytes, None, Any]:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value
        yield PAUSE


def _getters(fields: Sequence[str], known: dict[str, Any]) -> list[Any]:
    if not fields or len(fields) > FIELDS_MAX:
        raise SlurmError(3001, f"{len(fields)} columns, 1 to {FIELDS_MAX} are allowed")
    for field in fields:
        if field not in known:
            raise SlurmError(3001, f"unknown column {field[:64]}")
    return [known[field] for field in fields]


def _terms(
    sort: str, state: State, notes: Notes, letters: dict[str, str], keys: dict[str, KeyMaker], whole: dict[str, SliceKey]
) -> list[Term]:
    """`P,t,-p`: `-` is descending, `+` ascending, `#P` the configuration's order; letters are those of -o."""
    terms: list[Term] = []
    for word in sort.split(","):
        letter = word.strip().lstrip("+-#")
        field = letters.get(letter)
        if field not in keys:
            raise SlurmError(3001, f"Invalid sort specification: {word.strip()[:32]}")
        name = "#partition" if "#" in word and field == "partition" else field
        terms.append((whole.get(name) or each(keys[name](state, notes)), "-" in word))
    if len(terms) > TERMS_MAX:
        raise SlurmError(3001, f"{len(terms)} sort terms, at most {TERMS_MAX} are allowed")
    return terms


_WHOLE_KEYS: dict[str, SliceKey] = {
    "partition": lambda jobs: [job.partition or ",".join(job.spec.partitions) for job in jobs],
    "prioritylong": lambda jobs: [job.priority for job in jobs],
    "priority": lambda jobs: [job.priority for job in jobs],
    "state": lambda jobs: [job.state for job in jobs],
    "statecompact": lambda jobs: [job.state for job in jobs],
}
"""Keys of whole slices for the usual terms: a third of the time of one call a row."""


def _partition_order(state: State, notes: Notes) -> Callable[[Job], int]:
    order = {partition.name: index for index, partition in enumerate(state.config.partitions)}
    return lambda job: order.get(job.partition or job.spec.partitions[0], len(order))


def _start_key(state: State, notes: Notes) -> Callable[[Job], int]:
    """Jobs without an expected start come last."""
    return lambda job: facts.start_ms(job, notes.expected_start_ms(job.id) if job.state == PENDING else 0, notes.now_ms) or 1 << 62


def _column_key(field: str) -> Callable[[State, Notes], Callable[[Job], str]]:
    """The text of the column; used where a field has no order of its own."""

    def make(state: State, notes: Notes) -> Callable[[Job], str]:
        getter = JOB_GETTERS[field]
        context = QueueContext(state, notes, 0)
        return lambda job: getter((job,), context)[0]

    return make


_NUMERIC: dict[str, Callable[[Job], int]] = {
    "arrayjobid": lambda job: job.array_job_id or job.id,
    "arraytaskid": lambda job: job.array_task_id,
    "groupid": lambda job: job.spec.gid,
    "jobarrayid": lambda job: ((job.array_job_id or job.id) << 32) + job.array_task_id + 1,
    "jobid": lambda job: job.id,
    "minmemory": lambda job: job.spec.request.memory_per_cpu_mib or job.spec.request.memory_per_node_mib,
    "mincpus": lambda job: job.spec.request.cpus_per_task,
    "nice": lambda job: job.spec.nice,
    "numcpus": facts.cpu_count,
    "numnodes": facts.node_count,
    "submittime": lambda job: job.submit_ms,
    "timelimit": lambda job: job.spec.time_limit_s or 1 << 40,
    "userid": lambda job: job.spec.uid,
}


def _numeric(key: Callable[[Job], int]) -> Callable[[State, Notes], Callable[[Job], int]]:
    return lambda state, notes: key


_JOB_KEYS: dict[str, KeyMaker] = {field: _column_key(field) for field in LETTERS.values()}
_JOB_KEYS |= {field: _numeric(key) for field, key in _NUMERIC.items()}
_JOB_KEYS |= {
    "#partition": _partition_order,
    "name": lambda state, notes: lambda job: job.spec.name,
    "username": lambda state, notes: lambda job: job.spec.user,
    "starttime": _start_key,
    "timeused": lambda state, notes: lambda job: facts.elapsed_s(job, notes.now_ms),
    "timeleft": lambda state, notes: lambda job: (job.spec.time_limit_s or 1 << 40) - facts.elapsed_s(job, notes.now_ms),
    "endtime": lambda state, notes: lambda job: facts.end_ms(job, notes.expected_start_ms(job.id)) or 1 << 62,
}


def _steps(state: State, notes: Notes, request: QueueRequest) -> Iterator[bytes]:
    getters = _getters(request.fields, STEP_GETTERS)
    terms = _terms(request.sort or "P,i", state, notes, STEP_LETTERS, _STEP_KEYS, {})
    rows = yield from running_steps(state, request)
    order = yield from _paused(ordering(rows, terms))
    yield from table(rows, getters, QueueContext(state, notes, request.bitstr), order)


def running_steps(state: State, request: QueueRequest) -> Generator[bytes, None, list[StepRow]]:
    """Steps that have not ended, the batch scripts among them, of the jobs that pass the filters."""
    selected = msgspec.structs.replace(request, states=["RUNNING", "SUSPENDED", "COMPLETING"], jobs=[*request.jobs, *request.step_ids])
    jobs = yield from select(state, selected)
    wanted = facts.JobIds(request.step_ids)
    by_id = {job.id: job for job in jobs}
    rows: list[StepRow] = []
    for (job_id, _), step in list(state.steps.items()):
        job = by_id.get(job_id)
        if job is not None and step.nodes_left:
            rows.append((step, job))
    for job in jobs:
        batch = facts.batch_step(job) if job.state in (RUNNING, SUSPENDED) or job.nodes_left else None
        if batch is not None and not batch.end_ms:
            rows.append((batch, job))
    if wanted.steps:
        rows = [(step, job) for step, job in rows if wanted.wants_step(job, step.step_id)]
    yield PAUSE
    return rows


def _step_column(field: str) -> Callable[[State, Notes], Callable[[tuple[Step, Job]], str]]:
    def make(state: State, notes: Notes) -> Callable[[tuple[Step, Job]], str]:
        context = QueueContext(state, notes, 0)
        return lambda row: STEP_GETTERS[field]((row,), context)[0]

    return make


_STEP_KEYS: dict[str, Callable[[State, Notes], Callable[[Any], int | str]]] = {
    field: _step_column(field) for field in STEP_LETTERS.values()
}
_STEP_KEYS |= {
    "#partition": _step_column("partition"),
    "numtasks": lambda state, notes: lambda row: row[0].ntasks,
    "starttime": lambda state, notes: lambda row: row[0].start_ms,
    "stepid": lambda state, notes: lambda row: (row[1].id << 32) + row[0].step_id,
    "timeused": lambda state, notes: lambda row: notes.now_ms - row[0].start_ms,
}

if JOB_GETTERS.keys() != FIELDS.keys():
    raise AssertionError(f"squeue fields without a getter, or the reverse: {JOB_GETTERS.keys() ^ FIELDS.keys()}")
