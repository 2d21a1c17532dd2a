"""State as rows: what a commit writes, and the way back.

Rows have a version, which each controller notes when it takes office. A new field with a default needs no new version; whatever an older
program would misread does. A folder whose rows this program cannot read is refused by name, before anything is decoded.

`batch_of` turns what was touched since the last commit into one store Batch; `load` makes State from live rows. Together with the
feed they obey the law load(rows) == replay(feed) == live.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from penstock.engine.apply import Changes, apply
from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.events import decode as decode_event
from penstock.engine.shared_specs import share_parts
from penstock.engine.state import STATE_NAMES, Counters, Job, JobSpec, Node, Signal, State, Step
from penstock.store.base import Batch, JobIndex, Loaded, StepIndex, StoreFailed, StoreNewer, run_key, step_key

ROWS_VERSION = 1
"""What this program writes."""
ROWS_OLDEST = 1
"""The oldest that it reads; older ones need the program in between, or a migration of the store."""
FORMAT = "format"
"""Kind of the row that holds the version."""

_encode = msgspec.msgpack.Encoder().encode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_step = msgspec.msgpack.Decoder(Step).decode
_decode_node = msgspec.msgpack.Decoder(Node).decode
_decode_signal = msgspec.msgpack.Decoder(Signal).decode
_decode_config = msgspec.msgpack.Decoder(ClusterConfig).decode
_decode_counters = msgspec.msgpack.Decoder(Counters).decode


def job_index(job: Job, live: int) -> JobIndex:
    """What accounting searches by."""
    spec = job.spec
    return JobIndex(
        id=job.id,
        array_job_id=job.array_job_id,
        uid=spec.uid,
        submit_ms=job.submit_ms,
        start_ms=job.start_ms,
        end_ms=job.end_ms,
        live=live,
        name=spec.name,
        account=spec.account,
        partition=job.partition or ",".join(spec.partitions),
        state=STATE_NAMES[job.state],
        run=job.attempt,
        array_task_id=job.array_task_id,
        script=spec.script or None,
        environment=job.environment or None,
    )


def batch_of(state: State, changes: Changes, events: list[tuple[int, bytes]]) -> Batch:
    """One group commit: the rows as they are now, however often they changed since the last."""
    batch = Batch(events=events)
    upserts, deletes = batch.upserts, batch.deletes
    for job_id in changes.jobs:
        job = state.jobs.get(job_id)
        if job is not None:
            upserts.append(("job", job_id, _encode(job), job_index(job, 1)))
    for key in changes.steps:
        step = state.steps.get(key)
        if step is not None:
            upserts.append(_step_row(step, 1))
    for job, steps, earlier_run in changes.history:
        key_text = run_key(job.id, job.attempt) if earlier_run else job.id
        upserts.append(("job", key_text, _encode(job), job_index(job, 0)))
        upserts += [_step_row(step, 0) for step in steps]
    for name in changes.nodes:
        node = state.nodes.get(name)
        if node is None:
            deletes.append(("node", name))
        else:
            upserts.append(("node", name, _encode(node), None))
    for signal_id in changes.signals:
        signal = state.signals.get(signal_id)
        if signal is None:
            deletes.append(("signal", signal_id))
        else:
            upserts.append(("signal", signal_id, _encode(signal), None))
    if changes.config:
        upserts.append(("config", "", _encode(state.config), None))
    if changes.office:
        upserts.append((FORMAT, "", _encode(ROWS_VERSION), None))
    if changes.counters:
        upserts.append(("counters", "", _encode(state.counters), None))
    return batch


def _step_row(step: Step, live: int) -> tuple[str, str, bytes, StepIndex]:
    return (
        "step",
        step_key(step.job_id, step.attempt, step.step_id),
        _encode(step),
        StepIndex(step.job_id, step.attempt, live, step.launch or None, step.environment or None),
    )


def load(loaded: Loaded) -> State:
    """State from the live rows of a store. Raises StoreNewer or StoreFailed for rows that this program cannot read."""
    for _, row in loaded.rows(FORMAT):
        version = msgspec.msgpack.decode(row, type=int)
        readable = f"this program reads {ROWS_OLDEST} to {ROWS_VERSION}"
        if version > ROWS_VERSION:
            raise StoreNewer(f"the store holds rows of version {version}, {readable}: start a penstock at least as new as its writer")
        if version < ROWS_OLDEST:
            raise StoreFailed(f"the store holds rows of version {version}, {readable}: start a penstock between the two first, once")
    try:
        return _decoded(loaded)
    except msgspec.DecodeError as error:
        raise StoreFailed(
            f"a row cannot be read ({error}; this program reads versions {ROWS_OLDEST} to {ROWS_VERSION}): another program wrote it, "
            "or it is damaged; restore the cluster from a backup (`penstock restore`)"
        ) from error


def _decoded(loaded: Loaded) -> State:
    state = State()
    state.seq = loaded.seq
    for _, row in loaded.rows("config"):
        state.config = _decode_config(row)
    for _, row in loaded.rows("counters"):
        state.counters = _decode_counters(row)
    for _, row in loaded.rows("node"):
        node = _decode_node(row)
        state.nodes[node.name] = node
    specs: dict[JobSpec, JobSpec] = {}
    parts: dict[Hashable, Hashable] = {}
    for _, row in loaded.rows("job"):
        job = decode_job(row)
        known = specs.get(job.spec)
        if known is None:
            share_parts(job.spec, parts)
            specs[job.spec] = job.spec
        else:
            job.spec = known
        state.jobs[job.id] = job
    for _, row in loaded.rows("step"):
        step = decode_step(row)
        state.steps[(step.job_id, step.step_id)] = step
    for _, row in loaded.rows("signal"):
        signal = _decode_signal(row)
        state.signals[signal.id] = signal
    return state


def replay(feed: list[tuple[int, bytes]]) -> State:
    """State from the whole feed."""
    state, changes = State(), Changes()
    for _, payload in feed:
        apply(state, decode_event(payload), changes)
        changes.clear()
    return state
