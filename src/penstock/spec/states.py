"""Job and node states, their names, and what one word is shown of them.

A state is Slurm's number: a base state in the low byte (job) or nibble (node) and flags above it. One word is shown of a job: the first
flag of JOB_FLAGS that is set and has a name, else the base. Of a node it is one word with at most one suffix; `scontrol show node` joins
all of them with `+`.

Guarantees: every number has a text; parsing takes the long and the short form in any case.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

# Jobs: base states.
PENDING, RUNNING, SUSPENDED, COMPLETED, CANCELLED, FAILED, TIMEOUT, NODE_FAIL, PREEMPTED, BOOT_FAIL, DEADLINE, OUT_OF_MEMORY = range(12)
JOB_BASE = 0xFF

# Jobs: flags.
LAUNCH_FAILED = 0x100
UPDATE_DB = 0x200
REQUEUED = 0x400
REQUEUE_HOLD = 0x800
SPECIAL_EXIT = 0x1000
RESIZING = 0x2000
CONFIGURING = 0x4000
COMPLETING = 0x8000
STOPPED = 0x10000
RECONFIG_FAIL = 0x20000
POWER_UP_NODE = 0x40000
REVOKED = 0x80000
REQUEUE_FED = 0x100000
RESV_DEL_HOLD = 0x200000
SIGNALING = 0x400000
STAGE_OUT = 0x800000
EXPEDITING = 0x1000000

JOB_BASES = (
    ("PENDING", "PD"),
    ("RUNNING", "R"),
    ("SUSPENDED", "S"),
    ("COMPLETED", "CD"),
    ("CANCELLED", "CA"),
    ("FAILED", "F"),
    ("TIMEOUT", "TO"),
    ("NODE_FAIL", "NF"),
    ("PREEMPTED", "PR"),
    ("BOOT_FAIL", "BF"),
    ("DEADLINE", "DL"),
    ("OUT_OF_MEMORY", "OOM"),
)

JOB_FLAGS = (  # in the order in which they hide the base; no short form: the base's is shown
    (COMPLETING, "COMPLETING", "CG"),
    (STAGE_OUT, "STAGE_OUT", "SO"),
    (CONFIGURING, "CONFIGURING", "CF"),
    (EXPEDITING, "EXPEDITING", ""),
    (RESIZING, "RESIZING", "RS"),
    (REQUEUED, "REQUEUED", "RQ"),
    (REQUEUE_FED, "REQUEUE_FED", "RF"),
    (REQUEUE_HOLD, "REQUEUE_HOLD", "RH"),
    (SPECIAL_EXIT, "SPECIAL_EXIT", "SE"),
    (STOPPED, "STOPPED", "ST"),
    (REVOKED, "REVOKED", "RV"),
    (RESV_DEL_HOLD, "RESV_DEL_HOLD", "RD"),
    (SIGNALING, "SIGNALING", "SI"),
)

JOB_FLAGS_JSON = (  # shown by --json only
    (LAUNCH_FAILED, "LAUNCH_FAILED"),
    (POWER_UP_NODE, "POWER_UP_NODE"),
    (RECONFIG_FAIL, "RECONFIG_FAIL"),
    (UPDATE_DB, "UPDATE_DB"),
)

_JOB_NAMES: dict[str, int] = {}
for _number, _pair in enumerate(JOB_BASES):
    _JOB_NAMES[_pair[0]] = _JOB_NAMES[_pair[1]] = _number
for _flag, _long, _short in JOB_FLAGS:
    _JOB_NAMES[_long] = _flag
    if _short:
        _JOB_NAMES[_short] = _flag


def job_state(state: int) -> str:
    """The long word: `RUNNING`, `COMPLETING`."""
    for flag, long, _ in JOB_FLAGS:
        if state & flag:
            return long
    base = state & JOB_BASE
    return JOB_BASES[base][0] if base < len(JOB_BASES) else "?"


def job_state_compact(state: int) -> str:
    """The short word: `R`, `CG`."""
    for flag, _, short in JOB_FLAGS:
        if state & flag and short:
            return short
    base = state & JOB_BASE
    return JOB_BASES[base][1] if base < len(JOB_BASES) else "?"


def job_state_list(state: int) -> list[str]:
    """Base and every flag, the array that --json shows."""
    base = state & JOB_BASE
    names = [JOB_BASES[base][0] if base < len(JOB_BASES) else "?"]
    names += [long for flag, long, _ in JOB_FLAGS if state & flag]
    names += [long for flag, long in JOB_FLAGS_JSON if state & flag]
    return names


def parse_job_state(text: str) -> int:
    """A base number or a flag, of `running`, `R`, `cg`..."""
    number = _JOB_NAMES.get(text.strip().upper())
    if number is None:
        allowed = ", ".join(long for long, _ in JOB_BASES)
        raise SpecError(
            f"Invalid job state specified: {text[:32]}. Valid states are {allowed}, {', '.join(long for _, long, _ in JOB_FLAGS)}"
        )
    return number


def job_matches(state: int, wanted: int) -> bool:
    """Whether a job is in a state that parse_job_state named: its base, or one of its flags."""
    return bool(state & wanted) if wanted > JOB_BASE else state & JOB_BASE == wanted


def is_finished(state: int) -> bool:
    """Ended for good: the base is past SUSPENDED (it may still be COMPLETING)."""
    return state & JOB_BASE > SUSPENDED


def accounting_state(state: int, cancelled_by_uid: int = -1) -> str:
    """sacct's State: `CANCELLED by 1000` where it is known who cancelled; flags are not shown."""
    base = state & JOB_BASE
    name = JOB_BASES[base][0] if base < len(JOB_BASES) else "?"
    if base == CANCELLED and cancelled_by_uid >= 0:
        return f"CANCELLED by {cancelled_by_uid}"
    return name


# Nodes: base states.
NODE_UNKNOWN, NODE_DOWN, NODE_IDLE, NODE_ALLOCATED, NODE_ERROR, NODE_MIXED, NODE_FUTURE = range(7)
NODE_BASE = 0xF

# Nodes: flags.
NODE_RESERVED = 0x20
NODE_CLOUD = 0x80
NODE_RESUME = 0x100
NODE_DRAIN = 0x200
NODE_COMPLETING = 0x400
NODE_NOT_RESPONDING = 0x800
NODE_POWERED_DOWN = 0x1000
NODE_FAIL_FLAG = 0x2000
NODE_POWERING_UP = 0x4000
NODE_MAINTENANCE = 0x8000
NODE_REBOOT_REQUESTED = 0x10000
NODE_POWERING_DOWN = 0x40000
NODE_DYNAMIC_FUTURE = 0x80000
NODE_REBOOT_ISSUED = 0x100000
NODE_PLANNED = 0x200000
NODE_INVALID_REG = 0x400000
NODE_POWER_DOWN = 0x800000
NODE_POWER_UP = 0x1000000
NODE_DYNAMIC_NORM = 0x4000000
NODE_BLOCKED = 0x8000000
NODE_EXTERNAL = 0x10000000

NODE_BASES = (
    ("UNKNOWN", "UNK"),
    ("DOWN", "DOWN"),
    ("IDLE", "IDLE"),
    ("ALLOCATED", "ALLOC"),
    ("ERROR", "ERR"),
    ("MIXED", "MIX"),
    ("FUTURE", "FUTR"),
)

NODE_FLAGS = (
    (NODE_BLOCKED, "BLOCKED"),
    (NODE_CLOUD, "CLOUD"),
    (NODE_COMPLETING, "COMPLETING"),
    (NODE_DRAIN, "DRAIN"),
    (NODE_DYNAMIC_FUTURE, "DYNAMIC_FUTURE"),
    (NODE_DYNAMIC_NORM, "DYNAMIC_NORM"),
    (NODE_EXTERNAL, "EXTERNAL"),
    (NODE_INVALID_REG, "INVALID_REG"),
    (NODE_FAIL_FLAG, "FAIL"),
    (NODE_MAINTENANCE, "MAINTENANCE"),
    (NODE_POWER_DOWN, "POWER_DOWN"),
    (NODE_POWER_UP, "POWER_UP"),
    (NODE_POWERED_DOWN, "POWERED_DOWN"),
    (NODE_POWERING_DOWN, "POWERING_DOWN"),
    (NODE_POWERING_UP, "POWERING_UP"),
    (NODE_REBOOT_REQUESTED, "REBOOT_REQUESTED"),
    (NODE_REBOOT_ISSUED, "REBOOT_ISSUED"),
    (NODE_RESERVED, "RESERVED"),
    (NODE_RESUME, "RESUME"),
    (NODE_NOT_RESPONDING, "NOT_RESPONDING"),
    (NODE_PLANNED, "PLANNED"),
)

_SUFFIXES = (  # the first that applies, unless the word itself says it
    (NODE_MAINTENANCE, "$"),
    (NODE_REBOOT_ISSUED, "^"),
    (NODE_REBOOT_REQUESTED, "@"),
    (NODE_POWERING_UP, "#"),
    (NODE_POWERING_DOWN, "%"),
    (NODE_POWERED_DOWN, "~"),
    (NODE_POWER_DOWN, "!"),
    (NODE_NOT_RESPONDING, "*"),
)


def node_state_complete(state: int) -> str:
    """`IDLE+DRAIN+NOT_RESPONDING`, as scontrol show node."""
    base = state & NODE_BASE
    words = [NODE_BASES[base][0] if base < len(NODE_BASES) else "?"]
    words += [name for flag, name in NODE_FLAGS if state & flag]
    return "+".join(words)


def node_state(state: int) -> str:
    """One long word and suffix, lower case as sinfo prints it: `draining*`."""
    return _node_words(state, 0)


def node_state_compact(state: int) -> str:
    """One short word and suffix: `drng*`."""
    return _node_words(state, 1)


def _node_words(state: int, form: int) -> str:
    base = state & NODE_BASE
    busy = bool(state & NODE_COMPLETING) or base in (NODE_ALLOCATED, NODE_MIXED)
    hidden = 0  # the flag that the word already says
    if state & NODE_INVALID_REG:
        word = ("inval", "inval")
    elif state & NODE_MAINTENANCE and not (state & NODE_DRAIN or base in (NODE_ALLOCATED, NODE_MIXED, NODE_DOWN)):
        word, hidden = ("maint", "maint"), NODE_MAINTENANCE
    elif state & (NODE_REBOOT_ISSUED | NODE_REBOOT_REQUESTED) and not (state & NODE_DRAIN or busy or base == NODE_DOWN):
        word = ("reboot", "boot")
    elif state & NODE_DRAIN:
        word = ("draining", "drng") if busy else ("drained", "drain")
    elif state & NODE_FAIL_FLAG:
        word = ("failing", "failg") if busy else ("fail", "fail")
    elif base == NODE_IDLE and state & NODE_COMPLETING:
        word = ("completing", "comp")
    elif base == NODE_IDLE and state & NODE_BLOCKED:
        word = ("blocked", "block")
    elif base == NODE_IDLE and state & NODE_PLANNED:
        word, hidden = ("planned", "plnd"), NODE_PLANNED
    elif base == NODE_IDLE and state & NODE_RESERVED:
        word = ("reserved", "resv")
    else:
        long, short = NODE_BASES[base] if base < len(NODE_BASES) else ("?", "?")
        word = (long.lower(), short.lower())
    for flag, mark in _SUFFIXES:
        if state & flag and flag != hidden:
            return word[form] + mark
    if base == NODE_MIXED and state & NODE_PLANNED and not state & NODE_DRAIN:
        return word[form] + "-"
    if base == NODE_ALLOCATED and state & NODE_COMPLETING and not state & (NODE_DRAIN | NODE_FAIL_FLAG):
        return word[form] + "+"
    return word[form]


def parse_node_state(text: str) -> int:
    """A base number or a flag of sinfo's -t; long, short and `drained`-like words."""
    word = text.strip().upper()
    for number, (long, short) in enumerate(NODE_BASES):
        if word in (long, short):
            return number
    for flag, name in NODE_FLAGS:
        if word == name:
            return flag
    alias = _NODE_ALIASES.get(word)
    if alias is None:
        allowed = ", ".join([*(long for long, _ in NODE_BASES), *(name for _, name in NODE_FLAGS)])
        raise SpecError(f"Bad state string: {text[:32]!r}. Valid states are {allowed}")
    return alias


_NODE_ALIASES = {
    "DRAINED": NODE_DRAIN,
    "DRAINING": NODE_DRAIN,
    "DRNG": NODE_DRAIN,
    "COMP": NODE_COMPLETING,
    "MAINT": NODE_MAINTENANCE,
    "NO_RESPOND": NODE_NOT_RESPONDING,
    "RESV": NODE_RESERVED,
    "PLND": NODE_PLANNED,
    "BLOCK": NODE_BLOCKED,
    "FAILG": NODE_FAIL_FLAG,
    "FAILING": NODE_FAIL_FLAG,
    "BOOT": NODE_REBOOT_ISSUED,
    "REBOOT": NODE_REBOOT_ISSUED,
    "INVAL": NODE_INVALID_REG,
}

# Why a job waits or why it ended (the plain ones; the limit reasons are spelt where the limits are).
REASONS = (
    *("None", "Priority", "Dependency", "Resources", "PartitionNodeLimit", "PartitionTimeLimit", "PartitionDown", "PartitionInactive"),
    *("JobHeldAdmin", "JobHeldUser", "BeginTime", "Licenses", "AssociationJobLimit", "AssociationResourceLimit", "AssociationTimeLimit"),
    *("Reservation", "ReqNodeNotAvail", "SchedDefer", "NodeDown", "BadConstraints", "SystemFailure", "JobLaunchFailure", "NonZeroExitCode"),
    *("RaisedSignal", "TimeLimit", "InactiveLimit", "InvalidAccount", "InvalidQOS", "QOSUsageThreshold", "QOSJobLimit", "QOSResourceLimit"),
    *("QOSTimeLimit", "Cleaning", "Prolog", "QOSNotAllowed", "AccountNotAllowed", "DependencyNeverSatisfied", "JobHoldMaxRequeue"),
    *("JobArrayTaskLimit", "BurstBufferResources", "BurstBufferStageIn", "BurstBufferOperation", "DeadLine", "PartitionConfig"),
    *("AccountingPolicy", "FedJobLock", "OutOfMemory", "MaxMemPerLimit", "ReservationDeleted", "ReservationInvalid", "Constraints"),
    *("MaxPoweredUpNodes", "MpiPortsBusy", "NvidiaImexChannels"),
)


def format_exit(code: int, signal: int = 0) -> str:
    """`0:9`: exit code and signal."""
    return f"{code}:{signal}"


def split_wait_status(status: int) -> tuple[int, int]:
    """Exit code and signal of a wait(2) status; the core bit is dropped."""
    return (status >> 8) & 0xFF, status & 0x7F


def parse_exit(text: str) -> tuple[int, int]:
    """`0:9` or `9`."""
    code, mark, signal = text.partition(":")
    if not (code.isascii() and code.isdigit() and len(code) <= 3) or (
        mark and not (signal.isascii() and signal.isdigit() and len(signal) <= 3)
    ):
        raise SpecError(f"invalid exit code {text[:32]!r}: expected code[:signal]")
    return int(code), int(signal) if mark else 0
