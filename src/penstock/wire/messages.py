"""What controller and agents say to each other: msgpack structs, one frame each.

The controller's messages are idempotent: a run of a job is named by (job_id, attempt), and an agent that already has that run
answers with what it knows. An agent repeats `Ended` and `StepEnded` until they are acknowledged, which the controller does only
once the commit that holds them is durable. Nothing here reads a clock; times are epoch milliseconds, memory is MiB unless the
name says otherwise.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 64 * 1024 * 1024
"""One frame. A script is at most 4 MiB and an environment 8 MiB, so this leaves room for a reconnecting node with many jobs."""


Amount = Annotated[int, Meta(ge=0, le=1 << 31)]
"""What a node can have of one thing: as much as the planner can reckon with."""
MIG = "MIG-"
"""How the UUID of a slice of a GPU begins; programs are told of slices by UUID, of whole GPUs by index."""


class GpuInfo(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A GPU as its node sees it. `uuid` is its identity; `index` is only today's position on the node."""

    uuid: str
    type: str
    index: int
    simulated: bool = False
    shards: Amount = 0
    """Parts that jobs may hold of it; 0: it is only given whole."""


class Usage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a batch script or the tasks of a step on one node consumed."""

    user_cpu_us: int = 0
    system_cpu_us: int = 0
    max_rss_kib: int = 0
    max_vmsize_kib: int = 0
    disk_read_bytes: int = 0
    disk_write_bytes: int = 0


class ExitRecord(msgspec.Struct, frozen=True, gc=False):
    """How the batch script, or a step on one node, ended. It is durable in the job's folder before it is sent.

    `wait_status` is as waitpid gives it (code << 8, or the signal number). `cause` is empty for an ordinary end, else one of the
    words in CAUSES; `detail` is a sentence for a person.
    """

    wait_status: int = 0
    start_ms: int = 0
    end_ms: int = 0
    cause: str = ""
    detail: str = ""
    pid: int = 0
    usage: Usage = Usage()
    tasks: tuple[tuple[int, int], ...] = ()
    """For steps: (rank, wait_status) of each task on this node."""
    step_seconds: int = 0


CAUSES = (
    "",
    "TimeLimit",  # the shepherd enforced the time limit
    "OutOfMemory",
    "Cancelled",  # the controller asked for the end
    "ShepherdKilled",  # no durable record was found: the processes were killed
    "LaunchFailed",  # nothing of the user's was started
    "NodeFail",
)

FILES_FAILED = 53
"""Wait status of a script whose input or output could not be opened. It is the user's mistake, not the node's: the job fails and is not
run again (Slurm shows the same `0:53`)."""


class TaskIo(msgspec.Struct, frozen=True, gc=False):
    """Where the tasks' descriptors go. An empty address means there is no client: files or /dev/null only.

    `stdin`, `stdout`, `stderr`: "client" (forwarded through the connection), "none" (/dev/null), or a file name pattern that is
    opened on the node as the user; `stdin` may also be "task:N" (only rank N reads from the client).
    """

    address: str = ""
    key: bytes = b""
    stdin: str = "client"
    stdout: str = "client"
    stderr: str = "client"
    append: bool = False
    pty: bool = False
    rows: int = 0
    columns: int = 0
    unbuffered: bool = False


# --- controller to agent -------------------------------------------------------------------------------------------------------


class Welcome(msgspec.Struct, frozen=True, tag="welcome", gc=False):
    """First answer to Hello. `forget`: runs whose end is durable at the controller; `kill`: runs it does not know."""

    epoch: int
    cluster: str
    forget: tuple[tuple[int, int], ...] = ()
    kill: tuple[tuple[int, int], ...] = ()
    forget_steps: tuple[tuple[int, int, int], ...] = ()


class Assign(msgspec.Struct, frozen=True, tag="assign", omit_defaults=True, gc=False):
    """Run this job here. Sent again after a reconnection until the agent reports the run."""

    job_id: int
    attempt: int
    epoch: int
    uid: int
    gid: int
    user: str
    batch: bool
    """True on the first node of a batch job: start the script there. Otherwise the shepherd only owns steps."""
    cpus: int
    memory_mib: int
    """0: unlimited."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs of this job on this node."""
    time_limit_s: int = 0
    """Seconds from now that the run may still take on this node; 0: no limit."""
    kill_wait_s: int = 30
    warn_signal: int = 0
    warn_before_s: int = 60
    warn_batch_only: bool = False
    script: bytes = b""
    argv: tuple[str, ...] = ()
    """The script's arguments."""
    environment: bytes = b""
    """The user's variables, NAME=value separated by NUL."""
    variables: dict[str, str] = {}
    """What Penstock sets over them (SLURM_*, PENSTOCK_DIR)."""
    login_environment: bool = False
    """--get-user-env, --export=NONE or a list: begin with the user's login environment."""
    work_dir: str = "/"
    stdin: str = "/dev/null"
    stdout: str = ""
    stderr: str = ""
    """Absolute names with every pattern filled in; an empty stderr joins stdout."""
    append: bool = False
    umask: int = 0o022
    rlimits: dict[str, int] = {}
    """Soft limits by resource name as in the resource module without RLIMIT_, -1: infinity."""


class LaunchStep(msgspec.Struct, frozen=True, tag="step", omit_defaults=True, gc=False):
    """Start the tasks of a step on this node, inside a run that is already here."""

    job_id: int
    attempt: int
    step_id: int
    argv: tuple[str, ...]
    environment: bytes
    variables: dict[str, str]
    """Variables equal for all tasks of this node."""
    ranks: tuple[int, ...]
    """Global ranks of the tasks of this node, ascending; the local rank is the position."""
    node_rank: int
    ntasks: int
    """Of the whole step."""
    cpus: int
    memory_mib: int
    gpus: tuple[str, ...] = ()
    gpus_per_task: int = 0
    multi_prog: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """(rank, argv) for --multi-prog, with %t and %o filled in."""
    work_dir: str = "/"
    io: TaskIo = TaskIo()
    umask: int = 0o022
    rlimits: dict[str, int] = {}
    time_limit_s: int = 0
    kill_wait_s: int = 30
    step_name: str = ""
    wait_for_children: bool = False


class AttachStep(msgspec.Struct, frozen=True, tag="attach", gc=False):
    """A further reader of a step's terminal I/O (sattach) listens on `address`: dial it and present `key` (`wire.stdio`). Lost when the
    step is over; nothing is answered, the reader sees the connection or its own time limit."""

    job_id: int
    attempt: int
    step_id: int
    address: str
    key: bytes


class SignalRun(msgspec.Struct, frozen=True, tag="signal", gc=False):
    """Deliver one signal. `scope`: "steps" (every step, not the batch script), "batch" (only the script), "full" (script and all
    its children), "all" (steps and script), "step" (the one in step_id)."""

    signal_id: int
    job_id: int
    attempt: int
    signal: int
    scope: str
    step_id: int = 0


class Terminate(msgspec.Struct, frozen=True, tag="terminate", gc=False):
    """End the run, or one of its steps: SIGCONT, SIGTERM, kill_wait_s, SIGKILL; then report the end. `cause` is one of CAUSES;
    `notice` is a line for the job's log ("" for none)."""

    job_id: int
    attempt: int
    cause: str
    notice: str = ""
    kill_wait_s: int = 30
    step_id: int = -1
    """-1: the whole run."""
    signal: int = 15


class Suspend(msgspec.Struct, frozen=True, tag="suspend", gc=False):
    """Stop (SIGTSTP, 2 s, SIGSTOP) or continue every process of the run; the time limit stands still meanwhile."""

    job_id: int
    attempt: int
    resume: bool


class SetTimeLimit(msgspec.Struct, frozen=True, tag="limit", gc=False):
    """A changed time limit: seconds from the run's start, 0: none."""

    job_id: int
    attempt: int
    time_limit_s: int


class AckEnded(msgspec.Struct, frozen=True, tag="ack", gc=False):
    """The end of this run (step_id -1) or step is durable at the controller: forget it."""

    job_id: int
    attempt: int
    step_id: int = -1


class QueryUsage(msgspec.Struct, frozen=True, tag="query", gc=False):
    """Ask for the present use of a job's steps here (sstat)."""

    query_id: int
    job_id: int


class Ping(msgspec.Struct, frozen=True, tag="ping", gc=False):
    """Either side, every few seconds: proof of life."""

    now_ms: int


ToAgent = Welcome | Assign | LaunchStep | AttachStep | SignalRun | Terminate | Suspend | SetTimeLimit | AckEnded | QueryUsage | Ping


# --- agent to controller -------------------------------------------------------------------------------------------------------


class RunReport(msgspec.Struct, frozen=True, gc=False):
    """A run that the agent knows of: still going (record None) or ended."""

    job_id: int
    attempt: int
    record: ExitRecord | None = None
    steps: tuple[int, ...] = ()
    """Steps that are still going."""


class Hello(msgspec.Struct, frozen=True, tag="hello", gc=False):
    """First message of every connection: who, what the node has, and everything that runs or ended unacknowledged."""

    protocol: int
    node: str
    hostname: str
    boot_id: str
    version: str
    cpus: Amount
    memory_mib: Amount
    tmp_disk_mib: Amount = 0
    gpus: tuple[GpuInfo, ...] = ()
    runs: tuple[RunReport, ...] = ()
    warnings: tuple[str, ...] = ()
    """Privileges that are missing, in words (no cgroups, rootless...)."""
    os: str = ""
    arch: str = ""
    boot_ms: int = 0
    start_ms: int = 0
    pid: int = 0


class Started(msgspec.Struct, frozen=True, tag="started", gc=False):
    """The run exists: its folder is locked by a shepherd (`pid`)."""

    job_id: int
    attempt: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended", gc=False):
    """The run is over on this node and nothing of it is left; repeated until AckEnded."""

    job_id: int
    attempt: int
    record: ExitRecord


class StepEnded(msgspec.Struct, frozen=True, tag="step_ended", gc=False):
    """A step is over on this node; repeated until AckEnded."""

    job_id: int
    attempt: int
    step_id: int
    record: ExitRecord


class SignalDone(msgspec.Struct, frozen=True, tag="signal_done", gc=False):
    """A SignalRun was delivered, or could not be (error text)."""

    signal_id: int
    error: str = ""


BATCH_STEP = 0xFFFF_FFFB
"""The batch script among the steps of a UsageReport: Slurm's number for it."""


class UsageReport(msgspec.Struct, frozen=True, tag="usage", gc=False):
    """Answer to QueryUsage: (step_id, usage, pids) of each step that runs here, the batch script among them."""

    query_id: int
    steps: tuple[tuple[int, Usage, tuple[int, ...]], ...]


class NodeLoad(msgspec.Struct, frozen=True, tag="load", gc=False):
    """What `sinfo` shows of a node's present load; sent with the pings."""

    now_ms: int
    cpu_load_centi: int
    free_memory_mib: int


ToController = Hello | Started | Ended | StepEnded | SignalDone | UsageReport | NodeLoad | Ping

encode = msgspec.msgpack.Encoder().encode
decode_for_agent = msgspec.msgpack.Decoder(ToAgent).decode
decode_for_controller = msgspec.msgpack.Decoder(ToController).decode


def frame(payload: bytes) -> bytes:
    """Length-prefixed (4 bytes, big-endian) payload; ValueError over MAX_FRAME_BYTES."""
    if len(payload) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(payload)} bytes is over the bound of {MAX_FRAME_BYTES}")
    return len(payload).to_bytes(4, "big") + payload


class Deframer:
    """Cuts a byte stream into payloads; a length over the bound is a ValueError, so that a stranger cannot make us wait for it."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._buffer = bytearray()
        self._limit = limit_bytes

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        at = 0
        while len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if length > self._limit:
                raise ValueError(f"a frame of {length} bytes is over the bound of {self._limit}")
            if len(buffer) - at - 4 < length:
                break
            with memoryview(buffer) as view:
                frames.append(bytes(view[at + 4 : at + 4 + length]))
            at += 4 + length
        if at:
            del buffer[:at]
        return frames
