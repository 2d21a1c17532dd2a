"""The submit request as the engine sees it: the twin of `penstock.spec.request`, which documents every key with its unit.

Guarantees: decoding refuses unknown keys and wrong types, so a newer command against an older controller is told so instead of being
half understood. A field that is None (or empty) was not given; the engine, not the command, fills in the defaults.

Assumes: syntax was checked by the command, but the sender is a stranger: `refusal` checks every bound again before anything is kept.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.engine.texts import check_length
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError
from penstock.spec.request_values import COUNT_MAX, ITEMS_MAX, MEMORY_MAX_MIB, NICE_MAX, SIGNAL_LEAD_MAX_S, TIME_MAX_S


class SubmitRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """What a job asks for. Keys, units and meaning: the table in `penstock.spec.request`."""

    name: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    wckey: str = ""
    reservation: str = ""
    comment: str = ""
    constraint: str = ""
    prefer: str = ""
    contiguous: bool = False
    licenses: str = ""
    deadline_s: int | None = None

    nodes_min: int | None = None
    nodes_max: int | None = None
    ntasks: int | None = None
    cpus_per_task: int | None = None
    ntasks_per_node: int | None = None
    ntasks_per_gpu: int | None = None
    mincpus: int | None = None
    mem_per_node_mib: int | None = None
    mem_per_cpu_mib: int | None = None
    cpus_per_gpu: int | None = None
    mem_per_gpu_mib: int | None = None
    gres: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    gpus_per_node: tuple[str, ...] = ()
    gpus_per_task: tuple[str, ...] = ()
    exclusive: bool = False
    oversubscribe: bool = False
    nodelist: str = ""
    exclude: str = ""

    time_limit_s: int | None = None
    time_min_s: int | None = None
    begin_s: int | None = None
    hold: bool = False
    nice: int = 0
    dependency: str = ""
    kill_on_invalid_dep: bool | None = None
    array: str = ""
    requeue: bool | None = None
    signal_number: int | None = None
    signal_lead_s: int | None = None
    signal_batch: bool = False
    signal_reservation: bool = False
    immediate_s: int | None = None
    interactive: bool = False

    std_out: str = ""
    std_err: str = ""
    std_in: str = ""
    open_mode: str = ""
    work_dir: str = ""
    submit_dir: str = ""
    command: str = ""
    argv: tuple[str, ...] = ()
    mail_type: tuple[str, ...] = ()
    mail_user: str = ""
    export: str = ""
    get_user_env: bool = False
    submit_line: str = ""
    alloc_node: str = ""
    alloc_sid: int = 0
    umask: int | None = None
    rlimits: tuple[str, ...] = ()
    switches: int | None = None
    switch_wait_s: int | None = None
    segment: int | None = None
    topology: str = ""


BOUNDS = {
    "nodes_min": (1, COUNT_MAX),
    "nodes_max": (1, COUNT_MAX),
    "ntasks": (1, COUNT_MAX),
    "cpus_per_task": (1, COUNT_MAX),
    "ntasks_per_node": (1, COUNT_MAX),
    "ntasks_per_gpu": (1, COUNT_MAX),
    "mincpus": (1, COUNT_MAX),
    "mem_per_node_mib": (0, MEMORY_MAX_MIB),
    "mem_per_cpu_mib": (0, MEMORY_MAX_MIB),
    "cpus_per_gpu": (1, COUNT_MAX),
    "mem_per_gpu_mib": (1, MEMORY_MAX_MIB),
    "time_limit_s": (0, TIME_MAX_S),
    "time_min_s": (0, TIME_MAX_S),
    "begin_s": (0, 2**40),
    "deadline_s": (0, 2**40),
    "nice": (-NICE_MAX, NICE_MAX),
    "signal_number": (1, 64),
    "signal_lead_s": (0, SIGNAL_LEAD_MAX_S),
    "immediate_s": (0, TIME_MAX_S),
    "alloc_sid": (0, 2**32),
    "umask": (0, 0o777),
    "switches": (1, COUNT_MAX),
    "switch_wait_s": (0, TIME_MAX_S),
    "segment": (1, COUNT_MAX),
}
"""Smallest and largest value of each number."""


TEXT_MAX_CHARACTERS = 4 << 20
"""All texts of one request together."""
RLIMIT_MAX = 2**63 - 1


def broken_bound(request: msgspec.Struct, bounds: Mapping[str, tuple[int, int]]) -> str:
    """Why numbers or texts of a request break a bound, or "". Bounds are inclusive; every integer of the request should have one."""
    for key, (low, high) in bounds.items():
        value = getattr(request, key)
        if value is not None and not low <= value <= high:
            return f"{key}={str(value)[:32] if abs(value) < 10**32 else 'a huge number'} is out of range, {low} to {high} is allowed"
    characters = 0
    for key in request.__struct_fields__:
        value = getattr(request, key)
        if isinstance(value, str):
            texts: tuple[str, ...] = (value,)
        elif isinstance(value, tuple):
            texts = value
            if len(texts) > ITEMS_MAX:
                return f"{key} has {len(texts)} items, {ITEMS_MAX} are allowed"
        else:
            continue
        for text in texts:
            characters += len(text)
            problem = unfit_text(key, text)
            if problem:
                return problem
    return f"the request has {characters} characters, {TEXT_MAX_CHARACTERS} are allowed" if characters > TEXT_MAX_CHARACTERS else ""


def unfit_text(key: str, text: str) -> str:
    """Why a text cannot be kept, or ""; SlurmError for one that is longer than its key allows."""
    check_length(key, text)
    return f"{key} holds a NUL character" if "\0" in text else ""


def parse_rlimits(items: tuple[str, ...]) -> dict[str, int]:
    """`NOFILE=1024` pairs; unlimited is -1."""
    limits = {}
    for item in items:
        name, _, value = item.partition("=")
        if value != "unlimited" and not (value.isascii() and value.isdecimal() and len(value) <= 19 and int(value) <= RLIMIT_MAX):
            detail = f"rlimit {item[:64]} is not NAME=unlimited or NAME=number up to {RLIMIT_MAX}"
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=detail)
        limits[name] = -1 if value == "unlimited" else int(value)
    return limits


def refusal(request: SubmitRequest) -> str:
    """Why the request breaks a bound (which key, which value, what is allowed), or "" when it keeps them all."""
    problem = broken_bound(request, BOUNDS)
    if problem:
        return problem
    if request.nodes_min is not None and request.nodes_max is not None and request.nodes_max < request.nodes_min:
        return f"nodes_max={request.nodes_max} is less than nodes_min={request.nodes_min}"
    if request.open_mode not in ("", "append", "truncate"):
        return f"open_mode={request.open_mode} is unknown, append or truncate is allowed"
    return ""
