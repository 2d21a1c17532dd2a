"""The entities of a cluster: exactly what is stored, and nothing that could be computed from it.

`State` holds the rows; `apply` is the only writer. Every struct encodes to one row, and `load(rows)` gives the same State as the
replay of the feed. No struct can be part of a cycle, so none is tracked by the collector (`gc=False`): with 100,000 jobs a full
collection would stop the controller for a second. Immutable parts (what a user asked for, what a node was given) are frozen; `Job`,
`Step` and `Node` are changed in place by `apply` alone. Times are epoch milliseconds (`_ms`), 0 where a thing has not happened;
memory is MiB.
"""

from __future__ import annotations

import msgspec

from penstock.core.request import Request
from penstock.engine.cluster_config import ClusterConfig
from penstock.wire.messages import GpuInfo, Usage

NO_TASK = -1
"""`array_task_id` of a job that is no array element (or an array row whose elements have not started)."""

BATCH_STEP = 0xFFFFFFFB
EXTERN_STEP = 0xFFFFFFFC
INTERACTIVE_STEP = 0xFFFFFFFA

NOT_GIVEN = -1

# Job base states, in Slurm's order (its number is what the REST of the field calls job_state).
PENDING, RUNNING, SUSPENDED, COMPLETED, CANCELLED, FAILED, TIMEOUT, NODE_FAIL, PREEMPTED, BOOT_FAIL, DEADLINE, OUT_OF_MEMORY = range(12)
STATE_NAMES = (
    "PENDING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "PREEMPTED",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
)


class NodeAlloc(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one job, or one step, holds on one node."""

    node: str
    cpus: int
    memory_mib: int
    gpus: tuple[str, ...] = ()
    """UUIDs."""
    ntasks: int = 0
    shards: int = 0
    """So many parts of the one GPU in `gpus`, which others may share; 0: `gpus` are held whole."""
    cpu_ids: tuple[tuple[int, int], ...] = ()
    """Which CPUs, as (first, last) ranges (`engine.cpus`); empty for a step, and in rows of an older program."""


class JobSpec(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the user asked for, validated and with the cluster's defaults filled in. Equal ones are one object (`SharedSpecs`): the
    elements of an array, and jobs submitted in the same words."""

    name: str
    uid: int
    gid: int
    user: str
    group: str
    partitions: tuple[str, ...]
    request: Request
    time_limit_s: int
    """0: unlimited."""
    work_dir: str
    account: str = ""
    qos: str = ""
    wckey: str = ""
    reservation: str = ""
    comment: str = ""
    interactive: bool = False
    """salloc or srun: an allocation without a batch script."""
    script: bytes = b""
    """Digest of the script's blob; empty for an allocation."""
    argv: tuple[str, ...] = ()
    command: str = ""
    submit_line: str = ""
    alloc_node: str = ""
    alloc_sid: int = 0
    std_in: str = ""
    std_out: str = ""
    std_err: str = ""
    append: bool = False
    umask: int = 0o022
    rlimits: tuple[tuple[str, int], ...] = ()
    login_environment: bool = False
    export: str = ""
    requeue: bool | None = None
    """True or False where the user said so, None: the cluster's JobRequeue."""
    nice: int = 0
    signal: int = 0
    signal_before_s: int = 60
    signal_batch: bool = False
    mail_type: tuple[str, ...] = ()
    mail_user: str = ""
    kill_on_invalid_dep: bool | None = None
    array: str = ""
    """As typed."""
    array_limit: int = 0
    """At most this many elements at once; 0: no limit."""
    deadline_ms: int = 0
    """To be over by then; 0: no such wish."""
    time_min_s: int = 0
    """The planner may lower the time limit to this; 0: not at all."""
    time_asked_s: int = NOT_GIVEN
    """The limit asked for, where the present run started with a lower one."""
    licenses: str = ""
    """As typed, for display."""
    asked: tuple[str, ...] = ()
    """Request keys the user gave himself (ntasks, cpus_per_task...), for the variables that exist only when asked."""
    gres: str = ""
    gpus: str = ""
    gpus_per_node: str = ""
    gpus_per_task: str = ""
    cpus_per_gpu: int = 0
    mem_per_gpu_mib: int = 0
    ntasks_per_gpu: int = 0
    mem_per_node_mib: int = NOT_GIVEN
    mem_per_cpu_mib: int = NOT_GIVEN
    open_mode: str = ""
    submit_dir: str = ""
    """Where sbatch was typed, when --chdir says otherwise."""
    immediate_s: int = 0
    switch_wait_s: int = 0
    """So long after it became eligible the job starts on any number of switches."""
    unattended: bool = False
    """salloc --no-shell: an allocation that is meant to have no client."""
    ntasks_typed: int = 0
    """-n where the GPUs make more nodes than there are tasks, so that `request.ntasks` is 0."""


class BatchRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How the batch script ended."""

    wait_status: int
    start_ms: int
    end_ms: int
    usage: Usage
    cause: str = ""


class Resized(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A running job gave nodes back."""

    at_ms: int
    shed: tuple[NodeAlloc, ...] = ()
    """What it had on those that have not yet said that nothing of it is left there: held until then."""


class Job(msgspec.Struct, omit_defaults=True, gc=False):
    """One job: an allocation and what happened in it. The elements of an array that have not started are one Job together."""

    id: int
    spec: JobSpec
    environment: bytes = b""
    """Digest of the environment's blob."""
    state: int = PENDING
    array_job_id: int = 0
    """The array this row belongs to; 0: none."""
    array_task_id: int = NO_TASK
    pending_tasks: tuple[tuple[int, int, int], ...] = ()
    """Elements that have not started: (first, last, step) ranges, ascending."""
    priority: int = 0
    """0: held."""
    hold: str = ""
    """Why it is held: "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "launch failed requeued held"."""
    reason: str = ""
    """A durable reason: how it ended (NonZeroExitCode, TimeLimit...)."""
    detail: str = ""
    """The sentence that belongs to `reason`, for a person."""
    dependency: str = ""
    """What is still waited for, in sbatch's grammar; empty once satisfied."""
    dependency_failed: bool = False
    submit_ms: int = 0
    eligible_ms: int = 0
    """Not before this (--begin, requeue delay); 0: at once."""
    accrue_ms: int = 0
    start_ms: int = 0
    end_ms: int = 0
    suspend_ms: int = 0
    suspended_total_ms: int = 0
    attempt: int = 0
    """Restarts so far: with the id it names a run."""
    allocs: tuple[NodeAlloc, ...] = ()
    partition: str = ""
    """Where it runs or ran; empty while it waits."""
    nodes_left: tuple[str, ...] = ()
    """Nodes where something of the run may still be. Terminal state and nodes left: COMPLETING."""
    requeue_after: str = ""
    """Set while completing when the run will go back to the queue: "requeue", "hold", "special"."""
    moved_for: int = 0
    """The waiting job for which it had to move: it stands behind that one in the queue until it starts again; 0: none."""
    wait_status: int = 0
    derived_exit: int = 0
    """Highest exit code of its steps."""
    batch: BatchRecord | None = None
    by_uid: int = NOT_GIVEN
    """Who cancelled it."""
    next_step_id: int = 0
    admin_comment: str = ""
    system_comment: str = ""
    extra: str = ""
    licenses: tuple[tuple[str, int], ...] = ()
    """(name, count) of what the run holds until nothing of it is left."""
    end_limit_ms: int = 0
    """When the time limit strikes; 0: never, or not running."""
    resized: Resized | None = None

    @property
    def shed(self) -> tuple[NodeAlloc, ...]:
        """Given back, and not yet free."""
        return self.resized.shed if self.resized is not None else ()

    @property
    def finished(self) -> bool:
        """Terminal, and nothing of it is left anywhere."""
        return self.state > SUSPENDED and not self.nodes_left

    @property
    def completing(self) -> bool:
        return self.state > SUSPENDED and bool(self.nodes_left)

    @property
    def active(self) -> bool:
        """Holds resources."""
        return bool(self.nodes_left)


class Step(msgspec.Struct, omit_defaults=True, gc=False):
    """One step of a job: tasks started by srun (or salloc's interactive shell)."""

    job_id: int
    attempt: int
    step_id: int
    name: str
    allocs: tuple[NodeAlloc, ...]
    ntasks: int
    start_ms: int
    state: int = RUNNING
    end_ms: int = 0
    overlap: bool = False
    nodes_left: tuple[str, ...] = ()
    wait_status: int = 0
    """Of the worst task: a signal beats a code, a higher code beats a lower one."""
    cause: str = ""
    usage: tuple[tuple[str, Usage], ...] = ()
    """(node, usage), as the nodes report their end."""
    by_uid: int = NOT_GIVEN
    submit_line: str = ""
    work_dir: str = ""
    std_out: str = ""
    std_err: str = ""
    std_in: str = ""
    launch: bytes = b""
    """Digest of the blob that says what was asked for, so that it can be launched (again); empty once it has ended."""
    environment: bytes = b""
    """Digest of its environment's blob, as long as `launch`."""


class Node(msgspec.Struct, omit_defaults=True, gc=False):
    """A machine, or one of several virtual nodes on it."""

    name: str
    hostname: str
    cpus: int
    memory_mib: int
    gpus: tuple[GpuInfo, ...] = ()
    features: tuple[str, ...] = ()
    weight: int = 1
    tmp_disk_mib: int = 0
    registered: bool = False
    responding: bool = False
    """False from a lost session on; after SlurmdTimeout the node is down."""
    down: bool = False
    drain: bool = False
    reason: str = ""
    reason_uid: int = 0
    reason_ms: int = 0
    comment: str = ""
    extra: str = ""
    boot_id: str = ""
    boot_ms: int = 0
    start_ms: int = 0
    lost_ms: int = 0
    busy_ms: int = 0
    version: str = ""
    os: str = ""
    arch: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def schedulable(self) -> bool:
        return self.registered and self.responding and not self.down and not self.drain


class Signal(msgspec.Struct, omit_defaults=True, gc=False):
    """A signal that has not been confirmed by every node it is meant for: an undelivered effect."""

    id: int
    job_id: int
    attempt: int
    signal: int
    scope: str
    step_id: int = 0
    nodes_left: tuple[str, ...] = ()


class Counters(msgspec.Struct, gc=False):
    """Never go back: an id is given once, also after a crash."""

    next_job_id: int = 1
    next_signal_id: int = 1
    epoch: int = 0
    now_ms: int = 0


class State:
    """All rows. Dictionaries keep insertion order, which is the order of the events: iteration is deterministic."""

    __slots__ = ("config", "counters", "jobs", "nodes", "seq", "signals", "steps")

    def __init__(self) -> None:
        self.seq = 0
        self.config = ClusterConfig()
        self.counters = Counters()
        self.jobs: dict[int, Job] = {}
        self.steps: dict[tuple[int, int], Step] = {}
        """By (job id, step id); only steps of the present run, earlier runs are history rows."""
        self.nodes: dict[str, Node] = {}
        self.signals: dict[int, Signal] = {}

    def rows(self) -> dict[tuple[str, str], bytes]:
        """Every row, encoded: two States are equal when these are."""
        encode = msgspec.msgpack.encode
        out = {("config", ""): encode(self.config), ("counters", ""): encode(self.counters)}
        out |= {("job", str(key)): encode(job) for key, job in sorted(self.jobs.items())}
        out |= {("step", f"{key[0]}.{key[1]}"): encode(step) for key, step in sorted(self.steps.items())}
        out |= {("node", key): encode(node) for key, node in sorted(self.nodes.items())}
        out |= {("signal", str(key)): encode(signal) for key, signal in sorted(self.signals.items())}
        return out
