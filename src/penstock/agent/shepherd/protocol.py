"""What an agent and its shepherds say to each other: the messages of `wire.messages` for one run, and a few more.

A shepherd outlives its agent, also through an upgrade, so `Announce` carries the protocol's number and everything that the new agent must
know. Frames are those of `wire.messages`. Agents ask the launcher for shepherds with `Fork`, on a connection of its own.
"""

from __future__ import annotations

import msgspec

from penstock.wire.messages import (
    AckEnded,
    Assign,
    AttachStep,
    Ended,
    ExitRecord,
    GpuInfo,
    LaunchStep,
    QueryUsage,
    SetTimeLimit,
    SignalDone,
    SignalRun,
    Started,
    StepEnded,
    Suspend,
    Terminate,
    UsageReport,
)

SHEPHERD_PROTOCOL = 1
MAX_FORK_FRAME_BYTES = 64 * 1024


# --- agent to shepherd ---------------------------------------------------------------------------------------------------------


class Setup(msgspec.Struct, frozen=True, tag="setup"):
    """First message on a connection: what the shepherd cannot measure itself."""

    node: str
    cluster: str
    hostname: str
    gpus: tuple[GpuInfo, ...] = ()


class Dismiss(msgspec.Struct, frozen=True, tag="dismiss"):
    """Exit, if you own no run."""


ToShepherd = Setup | Dismiss | Assign | LaunchStep | AttachStep | SignalRun | Terminate | Suspend | SetTimeLimit | AckEnded | QueryUsage


# --- shepherd to agent ---------------------------------------------------------------------------------------------------------


class Announce(msgspec.Struct, frozen=True, tag="announce"):
    """First message of every connection. `run` is None for an idle shepherd; `record` is set when that run is over and its end durable."""

    protocol: int
    pid: int
    berth: str
    uid: int | None = None
    run: tuple[int, int] | None = None
    record: ExitRecord | None = None
    steps: tuple[int, ...] = ()
    ended_steps: tuple[tuple[int, ExitRecord], ...] = ()


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """An Assign for a run whose folder exists: another shepherd owns it, or owned it. The sender is idle again."""

    job_id: int
    attempt: int


class Idle(msgspec.Struct, frozen=True, tag="idle"):
    """The acknowledged run is forgotten, its folder released: ready for another of the same user."""

    job_id: int
    attempt: int


FromShepherd = Announce | Refused | Idle | Started | Ended | StepEnded | SignalDone | UsageReport


# --- agent to launcher ---------------------------------------------------------------------------------------------------------


class Fork(msgspec.Struct, frozen=True, tag="fork"):
    """Fork a shepherd for this node; it will connect to `socket`."""

    request: int
    node: str
    node_dir: str
    socket: str


class Sweep(msgspec.Struct, frozen=True, tag="sweep"):
    """Kill the orphans that dead shepherds left to the launcher, then answer."""

    request: int


class Forked(msgspec.Struct, frozen=True, tag="forked"):
    """Answer to Fork: the shepherd's pid, or why there is none."""

    request: int
    pid: int = 0
    error: str = ""


class Swept(msgspec.Struct, frozen=True, tag="swept"):
    """Answer to Sweep: how many processes were killed."""

    request: int
    killed: int = 0


ToLauncher = Fork | Sweep
FromLauncher = Forked | Swept

encode = msgspec.msgpack.Encoder().encode
decode_for_shepherd = msgspec.msgpack.Decoder(ToShepherd).decode
decode_from_shepherd = msgspec.msgpack.Decoder(FromShepherd).decode
decode_for_launcher = msgspec.msgpack.Decoder(ToLauncher).decode
decode_from_launcher = msgspec.msgpack.Decoder(FromLauncher).decode
