"""What `apply` does to steps: they begin, end on each node, and leave with their run."""

from __future__ import annotations

from penstock.engine import events as e
from penstock.engine.lifecycle import STATE_OF_CAUSE
from penstock.engine.state import CANCELLED, COMPLETED, FAILED, RUNNING, Job, State, Step
from penstock.engine.touched import Changes


def steps_of(state: State, job: Job) -> list[Step]:
    """The steps of the present run: their ids are given in order."""
    return [state.steps[(job.id, step_id)] for step_id in range(job.next_step_id)]


def step_left(step: Step, node: str, now_ms: int, changes: Changes) -> None:
    """A node reports nothing more about this step."""
    step.nodes_left = tuple([name for name in step.nodes_left if name != node])
    if not step.nodes_left:
        step.end_ms = now_ms
        step.launch = step.environment = b""
        if step.state == RUNNING:
            step.state = CANCELLED
            step.wait_status = step.wait_status or 15
    changes.steps[(step.job_id, step.step_id)] = None


def step_created(state: State, event: e.StepCreated, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    key = (event.job_id, event.step_id)
    if event.step_id != job.next_step_id:
        raise ValueError(f"StepId={event.job_id}.{event.step_id} is not the next one, {job.next_step_id}")
    job.next_step_id = event.step_id + 1
    state.steps[key] = Step(
        job_id=event.job_id,
        attempt=event.attempt,
        step_id=event.step_id,
        name=event.name,
        allocs=event.allocs,
        ntasks=event.ntasks,
        start_ms=event.now_ms,
        overlap=event.overlap,
        nodes_left=tuple([alloc.node for alloc in event.allocs]),
        submit_line=event.submit_line,
        work_dir=event.work_dir,
        std_in=event.std_in,
        std_out=event.std_out,
        std_err=event.std_err,
        launch=event.launch,
        environment=event.environment,
    )
    changes.steps[key] = changes.jobs[job.id] = None


def step_ending(state: State, event: e.StepEnding, changes: Changes) -> None:
    step = state.steps[(event.job_id, event.step_id)]
    step.state = event.state
    step.by_uid = event.by_uid
    changes.steps[(event.job_id, event.step_id)] = None


def worst(first: int, second: int) -> int:
    """The worse of two wait statuses: a signal beats a code, a higher code beats a lower one."""
    return max(first, second, key=lambda status: ((status & 0x7F) != 0, status & 0x7F or status >> 8))


def step_run_ended(state: State, event: e.StepRunEnded, changes: Changes) -> None:
    step = state.steps[(event.job_id, event.step_id)]
    record = event.record
    for _, status in record.tasks:
        step.wait_status = worst(step.wait_status, status)
    step.wait_status = worst(step.wait_status, record.wait_status)
    step.usage = (*step.usage, (event.node, record.usage))
    if record.cause and not step.cause:
        step.cause = record.cause
    step.nodes_left = tuple([node for node in step.nodes_left if node != event.node])
    if not step.nodes_left:
        step.end_ms = event.now_ms
        step.launch = step.environment = b""
        if step.state == RUNNING:
            if step.cause in ("TimeLimit", "Cancelled"):
                step.state = CANCELLED
            elif step.cause:
                step.state = STATE_OF_CAUSE[step.cause]
            else:
                step.state = CANCELLED if step.wait_status & 0x7F else FAILED if step.wait_status else COMPLETED
        job = state.jobs[event.job_id]
        code = step.wait_status >> 8 if not step.wait_status & 0x7F else 0
        if code > job.derived_exit:
            job.derived_exit = code
            changes.jobs[job.id] = None
    changes.steps[(event.job_id, event.step_id)] = None
