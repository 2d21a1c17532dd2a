"""Everything that can happen to a cluster, as data. `apply` is the only interpreter.

An event says what happened, not what should; identifiers and times are in it, so that the same events give the same State on
every machine and in every replay. A new field needs a default, so that older feeds stay readable.
"""

from __future__ import annotations

import msgspec

from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.state import JobSpec, NodeAlloc
from penstock.wire.messages import ExitRecord, GpuInfo

FEED_VERSION = 1


class Configured(msgspec.Struct, frozen=True, tag="configured", gc=False):
    now_ms: int
    config: ClusterConfig


class EpochBegun(msgspec.Struct, frozen=True, tag="epoch", gc=False):
    """A controller took office; messages of an older epoch are refused by agents."""

    now_ms: int
    epoch: int


class JobSubmitted(msgspec.Struct, frozen=True, tag="submitted", omit_defaults=True, gc=False):
    now_ms: int
    job_id: int
    spec: JobSpec
    priority: int
    environment: bytes = b""
    hold: str = ""
    eligible_ms: int = 0
    dependency: str = ""
    tasks: tuple[tuple[int, int, int], ...] = ()


class TasksSplit(msgspec.Struct, frozen=True, tag="split", gc=False):
    """Some elements of an array that have not started become a row of their own, so that one command can act on them alone."""

    now_ms: int
    job_id: int
    new_id: int
    tasks: tuple[tuple[int, int, int], ...]


class JobStarted(msgspec.Struct, frozen=True, tag="started", omit_defaults=True, gc=False):
    """Resources were given. For an array row, `task` is the element; while others remain it becomes job `new_id`, the last keeps
    the row's own id (`new_id` 0)."""

    now_ms: int
    job_id: int
    allocs: tuple[NodeAlloc, ...]
    end_limit_ms: int = 0
    task: int = -1
    new_id: int = 0
    partition: str = ""
    """Where it starts, of the partitions it asked for."""
    licenses: tuple[tuple[str, int], ...] = ()
    time_limit_s: int = 0
    """The limit that it gets where that is lower than the one it asked for, else 0."""


class JobChanged(msgspec.Struct, frozen=True, tag="changed", omit_defaults=True, gc=False):
    """scontrol update, hold, release: only what is not None changes."""

    now_ms: int
    job_id: int
    spec: JobSpec | None = None
    priority: int | None = None
    hold: str | None = None
    eligible_ms: int | None = None
    dependency: str | None = None
    dependency_failed: bool | None = None
    end_limit_ms: int | None = None
    admin_comment: str | None = None
    extra: str | None = None


class JobEnding(msgspec.Struct, frozen=True, tag="ending", omit_defaults=True, gc=False):
    """The job will end in `state`: at once if nothing of it runs, else when every node has reported. `requeue` sends it back
    to the queue instead: "requeue", "hold" or "special"."""

    now_ms: int
    job_id: int
    state: int
    reason: str = ""
    by_uid: int = -1
    requeue: str = ""
    detail: str = ""
    wait_status: int = 0
    moved_for: int = 0
    """See ``Job.moved_for``."""


class RunEnded(msgspec.Struct, frozen=True, tag="run_ended", omit_defaults=True, gc=False):
    """A node's part of a run is over. `requeue` and `eligible_ms` say what the controller decided for a run that it did not end
    itself (launch failure, lost node)."""

    now_ms: int
    job_id: int
    attempt: int
    node: str
    record: ExitRecord
    requeue: str = ""
    eligible_ms: int = 0


class JobSuspended(msgspec.Struct, frozen=True, tag="suspended", gc=False):
    now_ms: int
    job_id: int
    resumed: bool
    end_limit_ms: int = 0


class JobShrunk(msgspec.Struct, frozen=True, tag="shrunk", gc=False):
    """A running job gives nodes back, never its first. What it had there is free once each of them has reported."""

    now_ms: int
    job_id: int
    nodes: tuple[str, ...]


class JobsPurged(msgspec.Struct, frozen=True, tag="purged", gc=False):
    """Ended longer ago than MinJobAge: out of State, kept as history."""

    now_ms: int
    job_ids: tuple[int, ...]


class StepCreated(msgspec.Struct, frozen=True, tag="step_created", omit_defaults=True, gc=False):
    now_ms: int
    job_id: int
    attempt: int
    step_id: int
    name: str
    allocs: tuple[NodeAlloc, ...]
    ntasks: int
    overlap: bool = False
    submit_line: str = ""
    work_dir: str = ""
    std_in: str = ""
    std_out: str = ""
    std_err: str = ""
    launch: bytes = b""
    environment: bytes = b""


class StepEnding(msgspec.Struct, frozen=True, tag="step_ending", gc=False):
    """Somebody asked for the step's end; it is over when its nodes have reported."""

    now_ms: int
    job_id: int
    step_id: int
    state: int
    by_uid: int


class StepRunEnded(msgspec.Struct, frozen=True, tag="step_ended", gc=False):
    now_ms: int
    job_id: int
    attempt: int
    step_id: int
    node: str
    record: ExitRecord


class NodeRegistered(msgspec.Struct, frozen=True, tag="node_registered", omit_defaults=True, gc=False):
    now_ms: int
    name: str
    hostname: str
    cpus: int
    memory_mib: int
    gpus: tuple[GpuInfo, ...] = ()
    features: tuple[str, ...] = ()
    weight: int = 1
    tmp_disk_mib: int = 0
    boot_id: str = ""
    boot_ms: int = 0
    start_ms: int = 0
    version: str = ""
    os: str = ""
    arch: str = ""
    warnings: tuple[str, ...] = ()


class NodeChanged(msgspec.Struct, frozen=True, tag="node_changed", omit_defaults=True, gc=False):
    """Only what is not None changes."""

    now_ms: int
    name: str
    responding: bool | None = None
    down: bool | None = None
    drain: bool | None = None
    reason: str | None = None
    reason_uid: int = 0
    weight: int | None = None
    features: tuple[str, ...] | None = None
    comment: str | None = None
    extra: str | None = None


class NodeRemoved(msgspec.Struct, frozen=True, tag="node_removed", gc=False):
    """A virtual node that the cluster no longer has."""

    now_ms: int
    name: str


class SignalQueued(msgspec.Struct, frozen=True, tag="signal", omit_defaults=True, gc=False):
    now_ms: int
    signal_id: int
    job_id: int
    attempt: int
    signal: int
    scope: str
    nodes: tuple[str, ...]
    step_id: int = 0


class SignalSettled(msgspec.Struct, frozen=True, tag="signal_settled", gc=False):
    now_ms: int
    signal_id: int
    node: str


Event = (
    Configured
    | EpochBegun
    | JobSubmitted
    | TasksSplit
    | JobStarted
    | JobChanged
    | JobEnding
    | RunEnded
    | JobSuspended
    | JobShrunk
    | JobsPurged
    | StepCreated
    | StepEnding
    | StepRunEnded
    | NodeRegistered
    | NodeChanged
    | NodeRemoved
    | SignalQueued
    | SignalSettled
)

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Event).decode
