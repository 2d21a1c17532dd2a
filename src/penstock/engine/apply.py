"""The one function that moves the world.

`apply(state, event, changes)` mutates `state` in place and records in `changes` which rows it touched: the store writes those,
the indexes and the planner's columns follow them. It reads no clock, file, socket or random source, so live controller, replay,
followers and simulator agree to the byte. It trusts that whoever proposed the event has checked it against this very state; what
it finds wrong is a bug and raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from penstock.engine import events as e
from penstock.engine.apply_steps import step_created, step_ending, step_left, step_run_ended, steps_of
from penstock.engine.lifecycle import STATE_OF_CAUSE, move
from penstock.engine.state import (
    COMPLETED,
    FAILED,
    NO_TASK,
    NODE_FAIL,
    NOT_GIVEN,
    PENDING,
    RUNNING,
    SUSPENDED,
    BatchRecord,
    Job,
    Node,
    Resized,
    Signal,
    State,
)
from penstock.engine.touched import Changes
from penstock.spec import arrays

__all__ = ["Changes", "apply"]


def apply(state: State, event: e.Event, changes: Changes) -> None:
    """Move `state` by one event."""
    state.seq += 1
    counters = state.counters
    if event.now_ms < counters.now_ms:
        raise ValueError(f"time went back: {event.now_ms} after {counters.now_ms}")
    counters.now_ms = event.now_ms
    changes.counters = True
    _HANDLERS[type(event)](state, event, changes)


def _configured(state: State, event: e.Configured, changes: Changes) -> None:
    state.config = event.config
    state.counters.next_job_id = max(state.counters.next_job_id, event.config.first_job_id)
    changes.config = True


def _epoch_begun(state: State, event: e.EpochBegun, changes: Changes) -> None:
    state.counters.epoch = event.epoch
    changes.office = True


def _job_submitted(state: State, event: e.JobSubmitted, changes: Changes) -> None:
    if event.job_id in state.jobs or event.job_id < state.counters.next_job_id:
        raise ValueError(f"job id {event.job_id} was given before")
    state.counters.next_job_id = event.job_id + 1
    state.jobs[event.job_id] = Job(
        id=event.job_id,
        spec=event.spec,
        environment=event.environment,
        array_job_id=event.job_id if event.tasks else 0,
        pending_tasks=event.tasks,
        priority=event.priority,
        hold=event.hold,
        dependency=event.dependency,
        submit_ms=event.now_ms,
        eligible_ms=event.eligible_ms,
    )
    changes.jobs[event.job_id] = None


def _element(state: State, job: Job, new_id: int) -> Job:
    """A new row cut from an array's row; ids are given in order."""
    if new_id in state.jobs or new_id < state.counters.next_job_id:
        raise ValueError(f"job id {new_id} was given before")
    state.counters.next_job_id = new_id + 1
    return msgspec.structs.replace(job, id=new_id, pending_tasks=())


def _tasks_split(state: State, event: e.TasksSplit, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    part = _element(state, job, event.new_id)
    single = len(event.tasks) == 1 and event.tasks[0][0] == event.tasks[0][1]
    if single:
        part.array_task_id = event.tasks[0][0]
    else:
        part.pending_tasks = event.tasks
    state.jobs[part.id] = part
    job.pending_tasks = arrays.remove(job.pending_tasks, event.tasks)
    changes.jobs[job.id] = changes.jobs[part.id] = None


def _job_started(state: State, event: e.JobStarted, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    if event.task != NO_TASK:
        left = arrays.remove(job.pending_tasks, ((event.task, event.task, 1),))
        if left:
            job.pending_tasks = left
            changes.jobs[job.id] = None
            job = _element(state, job, event.new_id)
            state.jobs[job.id] = job
        else:
            job.pending_tasks = ()
        job.array_task_id = event.task
    move(job, RUNNING)
    job.allocs = event.allocs
    job.partition = event.partition
    job.licenses = event.licenses
    if event.time_limit_s:
        job.spec = msgspec.structs.replace(job.spec, time_limit_s=event.time_limit_s, time_asked_s=job.spec.time_limit_s)
    job.nodes_left = tuple([alloc.node for alloc in event.allocs])
    job.start_ms = event.now_ms
    job.end_ms = 0
    job.end_limit_ms = event.end_limit_ms
    job.eligible_ms = job.eligible_ms or job.submit_ms
    job.reason = job.detail = ""
    job.moved_for = 0
    for alloc in event.allocs:
        state.nodes[alloc.node].busy_ms = event.now_ms
        changes.nodes[alloc.node] = None
    changes.jobs[job.id] = None


def _job_changed(state: State, event: e.JobChanged, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    if event.spec is not None and event.spec.name != job.spec.name:
        changes.renamed.append((job, job.spec.name))
    for name in ("spec", "priority", "hold", "eligible_ms", "dependency", "dependency_failed", "end_limit_ms", "admin_comment", "extra"):
        value = getattr(event, name)
        if value is not None:
            setattr(job, name, value)
    changes.jobs[job.id] = None


def _job_ending(state: State, event: e.JobEnding, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    if job.state <= SUSPENDED:
        was_pending = job.state == PENDING
        if job.suspend_ms:
            job.suspended_total_ms += event.now_ms - job.suspend_ms
            job.suspend_ms = 0
        move(job, event.state)
        job.end_ms = event.now_ms
        job.reason = event.reason
        job.detail = event.detail
        job.by_uid = event.by_uid
        job.wait_status = event.wait_status
        if was_pending:
            job.start_ms = event.now_ms
    job.requeue_after = event.requeue
    job.moved_for = event.moved_for
    changes.jobs[job.id] = None
    if not job.nodes_left:
        _settle(state, job, event.now_ms, 0, changes)


def _run_ended(state: State, event: e.RunEnded, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    if job.attempt != event.attempt or event.node not in job.nodes_left:
        raise ValueError(f"JobId={job.id} attempt {event.attempt} has nothing left on {event.node}")
    record = event.record
    given_back = any([alloc.node == event.node for alloc in job.shed])
    first = event.node == job.allocs[0].node
    if first and not job.spec.interactive:
        job.batch = BatchRecord(record.wait_status, record.start_ms, record.end_ms, record.usage, record.cause)
    if given_back and job.resized is not None:
        job.resized = Resized(job.resized.at_ms, tuple([alloc for alloc in job.shed if alloc.node != event.node]))
    elif job.state in (RUNNING, SUSPENDED):
        _conclude(job, event, first)
    if event.requeue:
        job.requeue_after = event.requeue
    job.nodes_left = tuple([node for node in job.nodes_left if node != event.node])
    changes.jobs[job.id] = None
    for step in steps_of(state, job):
        if event.node in step.nodes_left:
            step_left(step, event.node, event.now_ms, changes)
    if not job.nodes_left:
        _settle(state, job, event.now_ms, event.eligible_ms, changes)


def _conclude(job: Job, event: e.RunEnded, first: bool) -> None:
    """The run ended by itself: its base state follows from the record."""
    record = event.record
    if job.suspend_ms:
        job.suspended_total_ms += event.now_ms - job.suspend_ms
        job.suspend_ms = 0
    if record.cause:
        move(job, STATE_OF_CAUSE[record.cause])
        job.reason = "JobLaunchFailure" if record.cause == "LaunchFailed" else record.cause
        job.detail = record.detail
        if record.cause != "TimeLimit":
            job.wait_status = record.wait_status
    elif not first:
        move(job, NODE_FAIL)
        job.reason = "NodeFail"
    elif record.wait_status == 0 or job.spec.interactive:
        move(job, COMPLETED)
        job.wait_status = record.wait_status
    else:
        move(job, FAILED)
        job.wait_status = record.wait_status
        job.reason = "RaisedSignal" if record.wait_status & 0x7F else "NonZeroExitCode"
    job.end_ms = event.now_ms


def _settle(state: State, job: Job, now_ms: int, eligible_ms: int, changes: Changes) -> None:
    """Nothing of the run is left: the job is finished, or goes back to the queue."""
    for signal_id in [s.id for s in state.signals.values() if s.job_id == job.id] if state.signals else ():
        del state.signals[signal_id]
        changes.signals[signal_id] = None
    if not job.requeue_after:
        return
    how = job.requeue_after
    steps = steps_of(state, job)
    changes.history.append((msgspec.structs.replace(job), steps, True))
    for step in steps:
        del state.steps[(job.id, step.step_id)]
        changes.steps[(job.id, step.step_id)] = None
    move(job, PENDING)
    job.attempt += 1
    job.requeue_after = ""
    job.allocs = ()
    job.licenses = ()
    job.resized = None
    if job.spec.time_asked_s != NOT_GIVEN:
        job.spec = msgspec.structs.replace(job.spec, time_limit_s=job.spec.time_asked_s, time_asked_s=NOT_GIVEN)
    job.batch = None
    job.partition = ""
    job.start_ms = job.end_ms = job.end_limit_ms = job.suspended_total_ms = job.wait_status = job.derived_exit = job.next_step_id = 0
    job.submit_ms = now_ms
    job.eligible_ms = eligible_ms or now_ms + state.config.requeue_delay_s * 1000
    job.by_uid = -1
    job.reason = ""
    if how != "requeue":
        job.priority = 0
    if how != "requeue" and job.hold != "JobHeldAdmin":
        job.hold = {"hold": "JobHeldUser", "special": "JobHeldUser", "launch": "launch failed requeued held"}.get(how, how)
    changes.jobs[job.id] = None


def _job_suspended(state: State, event: e.JobSuspended, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    if event.resumed:
        move(job, RUNNING)
        # At least 1, also when a clock that was set back stood still meanwhile: whoever has a total was suspended once.
        job.suspended_total_ms += max(1, event.now_ms - job.suspend_ms)
        job.suspend_ms = 0
        job.end_limit_ms = event.end_limit_ms
    else:
        move(job, SUSPENDED)
        job.suspend_ms = event.now_ms
        job.end_limit_ms = 0
    changes.jobs[job.id] = None


def _job_shrunk(state: State, event: e.JobShrunk, changes: Changes) -> None:
    job = state.jobs[event.job_id]
    left = tuple([alloc for alloc in job.allocs if alloc.node in event.nodes])
    if len(left) != len(event.nodes) or left[:1] == job.allocs[:1] or job.state not in (RUNNING, SUSPENDED):
        raise ValueError(f"JobId={job.id} cannot give back {event.nodes}")
    job.allocs = tuple([alloc for alloc in job.allocs if alloc.node not in event.nodes])
    job.resized = Resized(event.now_ms, (*job.shed, *left))
    changes.jobs[job.id] = None


def _jobs_purged(state: State, event: e.JobsPurged, changes: Changes) -> None:
    for job_id in event.job_ids:
        job = state.jobs.pop(job_id)
        if not job.finished:
            raise ValueError(f"JobId={job_id} has not finished")
        changes.purged[job_id] = None
        keys = [(job_id, step.step_id) for step in steps_of(state, job)]
        changes.history.append((job, [state.steps.pop(key) for key in keys], False))
        changes.steps.update(dict.fromkeys(keys))


def _node_registered(state: State, event: e.NodeRegistered, changes: Changes) -> None:
    node = state.nodes.get(event.name)
    if node is None:
        node = state.nodes[event.name] = Node(name=event.name, hostname=event.hostname, cpus=event.cpus, memory_mib=event.memory_mib)
    for name in (
        *("hostname", "cpus", "memory_mib", "gpus", "features", "weight", "tmp_disk_mib", "boot_id", "boot_ms", "start_ms"),
        *("version", "os", "arch", "warnings"),
    ):
        setattr(node, name, getattr(event, name))
    node.registered = node.responding = True
    node.lost_ms = 0
    changes.nodes[event.name] = None


def _node_changed(state: State, event: e.NodeChanged, changes: Changes) -> None:
    node = state.nodes[event.name]
    if event.reason is not None:
        node.reason = event.reason
        node.reason_uid = event.reason_uid
        node.reason_ms = event.now_ms if event.reason else 0
    if event.responding is not None:
        node.lost_ms = 0 if event.responding else event.now_ms
    for name in ("responding", "down", "drain", "weight", "features", "comment", "extra"):
        value = getattr(event, name)
        if value is not None:
            setattr(node, name, value)
    changes.nodes[event.name] = None


def _node_removed(state: State, event: e.NodeRemoved, changes: Changes) -> None:
    del state.nodes[event.name]
    changes.nodes[event.name] = None


def _signal_queued(state: State, event: e.SignalQueued, changes: Changes) -> None:
    state.counters.next_signal_id = event.signal_id + 1
    state.signals[event.signal_id] = Signal(
        id=event.signal_id,
        job_id=event.job_id,
        attempt=event.attempt,
        signal=event.signal,
        scope=event.scope,
        step_id=event.step_id,
        nodes_left=event.nodes,
    )
    changes.signals[event.signal_id] = None


def _signal_settled(state: State, event: e.SignalSettled, changes: Changes) -> None:
    signal = state.signals[event.signal_id]
    signal.nodes_left = tuple([node for node in signal.nodes_left if node != event.node])
    if not signal.nodes_left:
        del state.signals[event.signal_id]
    changes.signals[event.signal_id] = None


_HANDLERS: dict[type, Callable[[State, Any, Changes], None]] = {
    e.Configured: _configured,
    e.EpochBegun: _epoch_begun,
    e.JobSubmitted: _job_submitted,
    e.TasksSplit: _tasks_split,
    e.JobStarted: _job_started,
    e.JobChanged: _job_changed,
    e.JobEnding: _job_ending,
    e.RunEnded: _run_ended,
    e.JobSuspended: _job_suspended,
    e.JobShrunk: _job_shrunk,
    e.JobsPurged: _jobs_purged,
    e.StepCreated: step_created,
    e.StepEnding: step_ending,
    e.StepRunEnded: step_run_ended,
    e.NodeRegistered: _node_registered,
    e.NodeChanged: _node_changed,
    e.NodeRemoved: _node_removed,
    e.SignalQueued: _signal_queued,
    e.SignalSettled: _signal_settled,
}
