"""What this node has: CPUs, memory, disk, GPUs; and its present load.

Declared values win over measured ones. Simulated GPUs are named so wherever they are shown; their identity stays the same over restarts.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import time

from penstock.spec.gres import mig_slices
from penstock.wire.messages import MIG, PROTOCOL_VERSION, GpuInfo, Hello, NodeLoad

MAX_SIMULATED_GPUS = 1024
MAX_SHARED_GPUS = 100
"""Devices of one node that the planner keeps apart (`core.slots`)."""
MAX_SHARDS = 1 << 20
SHARD = "shard"
DEFAULT_GPU_TYPE = "gpu"


def simulated_gpus(node: str, text: str) -> tuple[GpuInfo, ...]:
    """`[TYPE:]N[,[TYPE:]N...][,shard:M]` simulated GPUs of a node; the M shards are spread evenly over all of them, as gres.conf does.
    A type that is a MIG profile makes slices. ValueError names what is allowed."""
    kinds: list[str] = []
    shards = 0
    for item in text.split(","):
        kind, colon, number = item.rpartition(":")
        kind = kind.lower() if colon else DEFAULT_GPU_TYPE
        if not number.isdecimal() or not kind or int(number) > MAX_SHARDS or (kind != SHARD and int(number) > MAX_SIMULATED_GPUS):
            raise ValueError(f"--gpus {text}: expected [TYPE:]N with N from 0 to {MAX_SIMULATED_GPUS}, or shard:M with M to {MAX_SHARDS}")
        if kind == SHARD:
            shards += int(number)
        else:
            kinds += [kind] * int(number)
    if len(kinds) > MAX_SIMULATED_GPUS or (shards and (not kinds or len(kinds) > MAX_SHARED_GPUS or shards % len(kinds))):
        most = f"at most {MAX_SHARED_GPUS} GPUs, and as many shards on each" if shards else f"at most {MAX_SIMULATED_GPUS} GPUs"
        raise ValueError(f"--gpus {text}: expected {most}")
    each = shards // len(kinds) if kinds else 0
    marks = [MIG if mig_slices(kind) else "GPU-" for kind in kinds]
    return tuple(GpuInfo(f"{marks[index]}simulated-{node}-{index}", kind, index, True, each) for index, kind in enumerate(kinds))


def memory_mib(field: str = "MemTotal") -> int:
    """A field of /proc/meminfo, in MiB."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name == field:
                return int(rest.split()[0]) // 1024
    return 0


def _boot_time_ms() -> int:
    return int((time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)) * 1000)


def hello(
    node: str, *, cpus: int | None, memory: int | None, gpus: tuple[GpuInfo, ...], boot_id: str, version: str, warnings: tuple[str, ...]
) -> Hello:
    """The facts of this node, without its runs."""
    return Hello(
        protocol=PROTOCOL_VERSION,
        node=node,
        hostname=socket.gethostname(),
        boot_id=boot_id,
        version=version,
        cpus=cpus or len(os.sched_getaffinity(0)),
        memory_mib=memory or memory_mib(),
        tmp_disk_mib=shutil.disk_usage("/tmp").total // (1024 * 1024),
        gpus=gpus,
        warnings=warnings,
        os=f"{platform.system()} {platform.release()} {platform.version()}",
        arch=platform.machine(),
        boot_ms=_boot_time_ms(),
        start_ms=time.time_ns() // 1_000_000,
        pid=os.getpid(),
    )


def load(now_ms: int) -> NodeLoad:
    """What sinfo shows of the present load."""
    return NodeLoad(now_ms, round(os.getloadavg()[0] * 100), memory_mib("MemAvailable"))
