"""sacct: what ran, from the rows that are durable: jobs that wait, run or have ended, with their steps.

The controller passes an `Accounts`, which reads the store; the State is not looked at, so that the answer is exactly what a crash would
leave. Request fields: see AccountRequest.

Guarantees: at most JOBS_MAX jobs are read and decoded a slice; rows come by job id and run, each job followed by its batch script and its
steps. A job is found from the moment its id was printed, because the id is printed after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.account_fields import GETTERS, AccountContext, AccountRow
from penstock.controller.views.chunks import PAUSE, Fields, Notes, encode
from penstock.controller.views.squeue import FIELDS_MAX
from penstock.engine.state import BATCH_STEP, EXTERN_STEP, INTERACTIVE_STEP, Job, State, Step
from penstock.spec import arrays, hostlist, states
from penstock.spec.errors import SlurmError, SpecError
from penstock.store.base import JobQuery, Store

JOBS_MAX = 100
"""Jobs of one slice: decoding and formatting them and their steps takes 1 to 3 ms."""
TASKS_MAX = 10_000
"""Array tasks that one request may name."""


class AccountRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Empty lists accept everything; `from_s` and `until_s` 0: no bound. `units`: K, M, G, T or "" for the natural one."""

    fields: list[str] = []
    jobs: list[str] = []
    users: list[str] = []
    groups: list[str] = []
    names: list[str] = []
    accounts: list[str] = []
    partitions: list[str] = []
    qos: list[str] = []
    wckeys: list[str] = []
    states: list[str] = []
    nodes: str = ""
    from_s: int = 0
    until_s: int = 0
    allocations: bool = False
    duplicates: bool = False
    units: str = ""
    noconvert: bool = False


class Accounts(Protocol):
    """Durable job and step rows, decoded."""

    def jobs(self, query: JobQuery) -> Iterator[Job]: ...

    def steps(self, job_ids: Sequence[int]) -> Iterator[Step]: ...


class StoreAccounts:
    """Accounts over a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._job = msgspec.msgpack.Decoder(Job).decode
        self._step = msgspec.msgpack.Decoder(Step).decode

    def jobs(self, query: JobQuery) -> Iterator[Job]:
        return map(self._job, self._store.query_jobs(query))

    def steps(self, job_ids: Sequence[int]) -> Iterator[Step]:
        return map(self._step, self._store.query_steps(job_ids))


def sacct(state: State, notes: Notes, fields: Fields, uid: int, accounts: Accounts) -> Iterator[bytes]:
    request = msgspec.convert(fields, AccountRequest)
    if not request.fields or len(request.fields) > FIELDS_MAX:
        raise SlurmError(3001, f"{len(request.fields)} columns, 1 to {FIELDS_MAX} are allowed")
    for field in request.fields:
        if field not in GETTERS:
            raise SlurmError(3001, f"unknown column {field[:64]}")
    getters = [GETTERS[field] for field in request.fields]
    context = AccountContext(state.config.cluster_name, notes.now_ms, request.units, not request.noconvert)
    for rows in account_rows(request, notes.now_ms, accounts):
        if rows:
            yield encode([[getter(row, context) for row in rows] for getter in getters])
        else:
            yield PAUSE


def account_rows(request: AccountRequest, now_ms: int, accounts: Accounts) -> Iterator[list[AccountRow]]:
    """Slices of rows, in order; an empty slice is a pause."""
    ids = facts.JobIds(request.jobs)
    tests = _tests(request)
    found = accounts.jobs(query_of(request, ids))
    with_steps = not request.allocations
    while True:
        jobs = list(islice(found, JOBS_MAX))
        if not jobs:
            return
        if ids:
            jobs = [match for job in jobs if (match := ids.match(job)) is not None]
        for test in tests:
            jobs = [job for job in jobs if test(job)]
        steps: dict[tuple[int, int], list[Step]] = {}
        ran = [job.id for job in jobs if job.allocs or job.attempt]
        if ran:
            for step in accounts.steps(ran):
                steps.setdefault((step.job_id, step.attempt), []).append(step)
        rows: list[AccountRow] = []
        for job in jobs:
            rows += rows_of(job, steps.get((job.id, job.attempt), []), ids, with_steps, now_ms)
        yield rows


def rows_of(job: Job, steps: list[Step], ids: facts.JobIds, with_steps: bool, now_ms: int) -> list[AccountRow]:
    """The job's own row, its batch script, then its steps."""
    batch = facts.batch_step(job)
    every = [step for step in steps if step.step_id != BATCH_STEP]
    every.sort(key=_step_order)
    if batch is not None:
        every.insert(0, batch)
    usage = [pair for step in every for pair in step.usage]
    text = facts.job_id_text(job)
    rows = []
    if ids.wants_job(job):
        rows.append(AccountRow(job, None, text, usage, now_ms))
    if with_steps:
        chosen = [step for step in every if ids.wants_step(job, step.step_id)]
        rows += [AccountRow(job, step, facts.step_id_text(text, step.step_id), list(step.usage), now_ms) for step in chosen]
    return rows


def _step_order(step: Step) -> int:
    return {BATCH_STEP: -3, EXTERN_STEP: -2, INTERACTIVE_STEP: -1}.get(step.step_id, step.step_id)


def query_of(request: AccountRequest, ids: facts.JobIds) -> JobQuery:
    """What the store can select by. Names, groups, partitions and nodes are tested on the rows."""
    tasks: list[tuple[int, int]] = []
    for array_id, ranges in ids.tasks.items():
        if len(tasks) + arrays.count(ranges) > TASKS_MAX:
            raise SlurmError(3001, f"more than {TASKS_MAX} array tasks are named")
        tasks += [(array_id, task) for task in arrays.indices(ranges)]
    wanted = []
    for name in request.states:
        number = states.parse_job_state(name)
        if number > states.JOB_BASE:
            raise SpecError(f"accounting keeps no jobs in state {name}: only base states are recorded")
        wanted.append(states.job_state(number))
    windowed = request.from_s or request.until_s
    return JobQuery(
        ids=tuple(ids.plain),
        tasks=tuple(tasks),
        uids=tuple([int(user) for user in request.users if user.isdecimal()]) or ((-1,) if request.users else ()),
        names=tuple(request.names),
        accounts=tuple(request.accounts),
        states=tuple(wanted),
        from_ms=request.from_s * 1000 if windowed else None,
        until_ms=request.until_s * 1000 + 999 if request.until_s else None,
        earlier_runs=request.duplicates,
    )


def _tests(request: AccountRequest) -> list[Callable[[Job], bool]]:
    tests: list[Callable[[Job], bool]] = []
    if request.groups:
        groups = set(request.groups)
        tests.append(lambda job: str(job.spec.gid) in groups or job.spec.group in groups)
    if request.partitions:
        partitions = set(request.partitions)
        tests.append(lambda job: bool(partitions.intersection((job.partition,) if job.partition else job.spec.partitions)))
    if request.qos:
        qos = set(request.qos)
        tests.append(lambda job: (job.spec.qos or "normal") in qos)
    if request.wckeys:
        wckeys = set(request.wckeys)
        tests.append(lambda job: job.spec.wckey in wckeys)
    if request.nodes:
        nodes = set(hostlist.expand(request.nodes))
        tests.append(lambda job: any(alloc.node in nodes for alloc in job.allocs))
    return tests
