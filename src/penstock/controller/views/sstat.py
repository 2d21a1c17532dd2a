"""sstat: what running steps use now.

The controller asks the agents (QueryUsage) for the jobs that `jobs_to_ask` names; `answer` makes the chunk from what they told. Both
refuse in Slurm's words. Request fields: see StatRequest.

Guarantees: a user sees his own jobs only, root sees all. A job that does not run or is not his is a notice in Slurm's words, not a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.account_fields import GETTERS, AccountContext, AccountRow
from penstock.controller.views.chunks import Fields, Notes, encode
from penstock.controller.views.squeue import FIELDS_MAX
from penstock.engine.state import RUNNING, SUSPENDED, Job, State, Step
from penstock.spec import jobids
from penstock.spec.errors import ESLURM_ACCESS_DENIED, SlurmError
from penstock.spec.fields_sacct import STAT_FIELDS
from penstock.wire.messages import Usage, UsageReport

JOBS_MAX = 1_000
"""Jobs of one request."""

Reports = Mapping[tuple[int, int], Sequence[tuple[str, Usage, tuple[int, ...]]]]


class StatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`jobs`: ids as typed, `12`, `12.0`, `12.batch`, `12_3`. A bare id is the job's last step, with `all_steps` every one."""

    fields: list[str] = []
    jobs: list[str] = []
    all_steps: bool = False
    noconvert: bool = False


def jobs_to_ask(state: State, fields: Fields, uid: int) -> list[int]:
    """The running jobs whose nodes have to be asked. SlurmError for a bad id, too many, or a job or step that does not run."""
    request = msgspec.convert(fields, StatRequest)
    if len(request.jobs) > JOBS_MAX:
        raise SlurmError(3001, f"{len(request.jobs)} jobs, at most {JOBS_MAX} are allowed")
    found: dict[int, None] = {}
    for text in request.jobs:
        selector = jobids.parse_job_id(text)
        job = _job_of(state, selector, text, uid)
        _steps_of(state, job, selector, text, request.all_steps)
        found[job.id] = None
    return list(found)


def answer(
    state: State, notes: Notes, fields: Fields, uid: int, job_ids: Sequence[int], told: Sequence[tuple[str, UsageReport]], per_ask: int
) -> bytes:
    """The chunk for what the nodes told. `query_id` modulo `per_ask` is the position of the job in `job_ids`. What has ended while
    the nodes were asked is left out."""
    reports: dict[tuple[int, int], list[tuple[str, Usage, tuple[int, ...]]]] = {}
    for node, report in told:
        position = report.query_id % per_ask
        if position < len(job_ids):
            for step_id, usage, pids in report.steps:
                reports.setdefault((job_ids[position], step_id), []).append((node, usage, pids))
    try:
        return b"".join(sstat(state, notes, fields, uid, reports))
    except SlurmError:
        return b""


def _job_of(state: State, selector: jobids.JobSelector, text: str, uid: int) -> Job:
    if selector.tasks is None:
        job = state.jobs.get(selector.job_id)
    else:
        job = next((j for j in state.jobs.values() if j.array_job_id == selector.job_id and j.array_task_id == selector.task_id), None)
    if job is None:
        raise SlurmError(1, f"couldn't get steps for job {text[:32]}")
    if uid not in (0, job.spec.uid):
        raise SlurmError(ESLURM_ACCESS_DENIED)
    if job.state not in (RUNNING, SUSPENDED):
        raise SlurmError(1, f"No steps running for job {text[:32]}")
    return job


def sstat(state: State, notes: Notes, fields: Fields, uid: int, reports: Reports) -> Iterator[bytes]:
    request = msgspec.convert(fields, StatRequest)
    if not request.fields or len(request.fields) > FIELDS_MAX:
        raise SlurmError(3001, f"{len(request.fields)} columns, 1 to {FIELDS_MAX} are allowed")
    for field in request.fields:
        if field not in STAT_FIELDS:
            raise SlurmError(3001, f"unknown column {field[:64]}")
    context = AccountContext(state.config.cluster_name, notes.now_ms, "", not request.noconvert)
    columns: list[list[str]] = [[] for _ in request.fields]
    for text in request.jobs:
        selector = jobids.parse_job_id(text)
        job = _job_of(state, selector, text, uid)
        for step in _steps_of(state, job, selector, text, request.all_steps):
            told = reports.get((job.id, step.step_id), ())
            name = facts.step_id_text(facts.job_id_text(job), step.step_id)
            row = AccountRow(job, step, name, [(node, usage) for node, usage, _ in told], notes.now_ms)
            pids = ",".join([str(pid) for _, _, pids in told for pid in pids])
            for column, field in zip(columns, request.fields, strict=True):
                column.append(pids if field == "pids" else _text(field, row, context))
    if columns[0]:
        yield encode(columns)


def _text(field: str, row: AccountRow, context: AccountContext) -> str:
    getter = GETTERS.get(field)
    return getter(row, context) if getter is not None else ""


def _steps_of(state: State, job: Job, selector: jobids.JobSelector, text: str, every: bool) -> list[Step]:
    """The running steps that are meant; SlurmError when there is none."""
    running = [step for (job_id, _), step in state.steps.items() if job_id == job.id and step.nodes_left]
    batch = facts.batch_step(job)
    if batch is not None and not batch.end_ms:
        running.insert(0, batch)
    if selector.step_id is not None:
        chosen = [step for step in running if step.step_id == selector.step_id]
        if not chosen:
            raise SlurmError(1, f"StepId={text[:32]} not found running.")
        return chosen
    if not running:
        raise SlurmError(1, f"No steps running for job {text[:32]}")
    return running if every else running[-1:]
