"""The variables of a batch script and of a step's tasks, as far as only their node knows them.

The controller sends the user's variables and what it sets over them; a value it sets always wins over one made here.
"""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

from penstock.agent.processes import BERTH_VARIABLE
from penstock.wire.messages import MIG

if TYPE_CHECKING:
    from penstock.wire.messages import Assign, GpuInfo, LaunchStep

RUN_VARIABLE = "PENSTOCK_RUN"
LOGIN_TIMEOUT_S = 120
LOGIN_MARK = b"penstock-login-environment"
MAX_LOGIN_BYTES = 1024 * 1024
VISIBLE = (b"CUDA_VISIBLE_DEVICES", b"ROCR_VISIBLE_DEVICES", b"ZE_AFFINITY_MASK", b"GPU_DEVICE_ORDINAL")
"""What the libraries of the makers read; Slurm sets all four."""


def parse(block: bytes) -> dict[bytes, bytes]:
    """NAME=value separated by NUL; entries without a name are left out."""
    found: dict[bytes, bytes] = {}
    for item in block.split(b"\0"):
        name, equals, value = item.partition(b"=")
        if equals and name:
            found[name] = value
    return found


def login_argv() -> list[bytes]:
    """What prints the login environment of the user that runs it; profiles may print too, so the variables follow a mark."""
    return [b"/bin/bash", b"-l", b"-c", b"printf '" + LOGIN_MARK + b"\\0'; exec env -0"]


def login_base(uid: int) -> dict[bytes, bytes]:
    """What login(1) would set before the profile is read; also the environment if the profile does not end in time."""
    base = {b"PATH": b"/usr/local/bin:/usr/bin:/bin", b"SHELL": b"/bin/sh", b"HOME": b"/"}
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return base
    base |= {b"HOME": os.fsencode(entry.pw_dir), b"SHELL": os.fsencode(entry.pw_shell or "/bin/sh")}
    base |= {b"USER": entry.pw_name.encode(), b"LOGNAME": entry.pw_name.encode()}
    return base


def parse_login(output: bytes) -> dict[bytes, bytes] | None:
    """The variables after the mark; None if the profile ended before it."""
    _, mark, block = output.partition(LOGIN_MARK + b"\0")
    return parse(block) if mark else None


def indices(uuids: tuple[str, ...], gpus: tuple[GpuInfo, ...]) -> list[int]:
    """Today's positions of these GPUs on this node, ascending; one that is not here any more is left out."""
    wanted = set(uuids)
    return sorted(gpu.index for gpu in gpus if gpu.uuid in wanted)


def _text(values: dict[str, str]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in values.items()}


def _node(environment: dict[bytes, bytes], node: str, cluster: str, key: tuple[int, int], berth: str) -> None:
    environment.setdefault(b"SLURMD_NODENAME", node.encode())
    environment[RUN_VARIABLE.encode()] = f"{cluster}/{key[0]}.{key[1]}".encode()
    environment[BERTH_VARIABLE.encode()] = os.fsencode(berth)


def _show_gpus(environment: dict[bytes, bytes], uuids: tuple[str, ...], gpus: tuple[GpuInfo, ...]) -> None:
    """In the order of their positions, a slice by its UUID: CUDA knows no number for it, and Slurm does the same."""
    wanted = set(uuids)
    found = sorted((gpu.index, gpu.uuid) for gpu in gpus if gpu.uuid in wanted)
    listed = ",".join([uuid if uuid.startswith(MIG) else str(index) for index, uuid in found]).encode()
    for name in VISIBLE:
        environment[name] = listed


def for_batch(
    assign: Assign, *, node: str, hostname: str, cluster: str, berth: str, gpus: tuple[GpuInfo, ...], login: dict[bytes, bytes] | None
) -> dict[bytes, bytes]:
    """The environment of a batch script."""
    environment = dict(login) if login is not None else {}
    environment |= parse(assign.environment)
    environment[b"ENVIRONMENT"] = b"BATCH"
    environment[b"HOSTNAME"] = hostname.encode()
    for name in (b"SLURM_NODEID", b"SLURM_PROCID", b"SLURM_LOCALID", b"SLURM_GTIDS"):
        environment[name] = b"0"
    environment[b"SLURM_CPUS_ON_NODE"] = str(assign.cpus).encode()
    environment.pop(b"SLURMD_NODENAME", None)
    if assign.gpus:
        positions = indices(assign.gpus, gpus)
        _show_gpus(environment, assign.gpus, gpus)
        environment[b"SLURM_JOB_GPUS"] = ",".join(map(str, positions)).encode()
        environment[b"SLURM_GPUS_ON_NODE"] = str(len(positions)).encode()
    environment |= _text(assign.variables)
    _node(environment, node, cluster, (assign.job_id, assign.attempt), berth)
    return environment


def for_step(
    step: LaunchStep, *, node: str, hostname: str, cluster: str, berth: str, gpus: tuple[GpuInfo, ...], job_gpus: tuple[str, ...]
) -> dict[bytes, bytes]:
    """What all tasks of a step on this node have in common."""
    environment = parse(step.environment)
    environment[b"HOSTNAME"] = hostname.encode()
    environment[b"SLURM_NODEID"] = str(step.node_rank).encode()
    environment[b"SLURM_GTIDS"] = ",".join(map(str, step.ranks)).encode()
    environment[b"SLURM_CPUS_ON_NODE"] = str(step.cpus).encode()
    environment[b"SLURM_STEP_ID"] = environment[b"SLURM_STEPID"] = str(step.step_id).encode()
    environment.pop(b"SLURMD_NODENAME", None)
    if step.gpus:
        positions = indices(step.gpus, gpus)
        _show_gpus(environment, step.gpus, gpus)
        environment[b"SLURM_STEP_GPUS"] = ",".join(map(str, positions)).encode()
        environment[b"SLURM_GPUS_ON_NODE"] = str(len(positions)).encode()
    elif job_gpus:
        for name in (*VISIBLE, b"SLURM_STEP_GPUS"):
            environment.pop(name, None)
    environment |= _text(step.variables)
    _node(environment, node, cluster, (step.job_id, step.attempt), berth)
    return environment


def for_task(common: dict[bytes, bytes], step: LaunchStep, local_rank: int, gpus: tuple[GpuInfo, ...]) -> dict[bytes, bytes]:
    """The environment of one task; SLURM_TASK_PID is set by the child itself."""
    environment = dict(common)
    environment[b"SLURM_PROCID"] = str(step.ranks[local_rank]).encode()
    environment[b"SLURM_LOCALID"] = str(local_rank).encode()
    if step.gpus and step.gpus_per_task:
        first = local_rank * step.gpus_per_task
        _show_gpus(environment, step.gpus[first : first + step.gpus_per_task], gpus)
    return environment
