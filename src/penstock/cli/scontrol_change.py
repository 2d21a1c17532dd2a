"""scontrol's changes: hold, release, requeue, suspend, resume, update.

Guarantees: one request a job, so that one that fails does not stop the others; each has an id of its own, so that one whose answer was lost
is not carried out twice. Keys are in any case and shortened to a unique prefix of at least KEY_PREFIX_MIN letters.
"""

from __future__ import annotations

from penstock.cli.table import id_texts, say, write
from penstock.spec.errors import SLURM_ERROR
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.spec.options import Options

PROGRAM = "scontrol"

JOB_KEYS = (
    *("Account", "AdminComment", "ArrayTaskThrottle", "BurstBuffer", "ClusterFeatures", "Comment", "Contiguous", "CoreSpec"),
    *("CPUsPerTask", "Deadline", "DelayBoot", "Dependency", "EligibleTime", "EndTime", "ExcNodeList", "Extra", "Features"),
    *("Gres", "JobName", "Licenses", "MailType", "MailUser", "MinCPUsNode", "MinMemoryCPU", "MinMemoryNode", "MinTmpDiskNode"),
    *("Name", "Nice", "NodeList", "NumCPUs", "NumNodes", "NumTasks", "OverSubscribe", "Partition", "Prefer", "Priority", "QOS"),
    *("Reboot", "ReqCores", "ReqNodeList", "ReqNodes", "ReqProcs", "ReqSockets", "ReqThreads", "Requeue", "ReservationName"),
    *("ResetAccrueTime", "SegmentSize", "Shared", "SiteFactor", "StartTime", "StdErr", "StdIn", "StdOut", "Switches"),
    *("TasksPerNode", "ThreadSpec", "TimeLimit", "TimeMin", "Topology", "TresPerJob", "TresPerNode", "UserID", "Wait-for-Switch", "WCKey"),
    "WorkDir",
)
NODE_KEYS = (
    *("ActiveFeatures", "AvailableFeatures", "CertToken", "Comment", "CPUBind", "Extra", "Features", "Gres", "InstanceId"),
    *("InstanceType", "NodeAddr", "NodeHostname", "Reason", "ResumeAfter", "State", "Topology", "Weight"),
)
NEED_REASON = ("DOWN", "DRAIN", "FAIL")
KEY_PREFIX_MIN = 3
"""Letters that an abbreviated key has at least."""


def each_job(given: Options, words: list[str], op: str, load: str, **more: object) -> int:
    """A command over a list of jobs: one request each, errors told one by one."""
    status = 0
    for word in words:
        name, mark, value = word.partition("=")
        if mark and name.lower() in ("jobname", "name"):
            status |= _change(given, {"op": op, **more, "jobs": [f"jobname={value}"]}, f"job {value}", load)
            continue
        if mark and name.lower() == "state" and op == "requeue_hold":
            if value.lower() not in ("specialexit", "se"):
                return say(given, f"{PROGRAM}: error: State={value[:32]}: only SpecialExit is allowed")
            more["special"] = True
            continue
        if word.lower() == "incomplete" and op.startswith("requeue"):
            return say(given, f"{PROGRAM}: error: {word} is not supported by this version of Penstock")
        for text in id_texts(word):
            status |= _change(given, {"op": op, **more, "jobs": [text]}, f"job {text}", load)
    return status


def _change(given: Options, fields: dict[str, object], what: str, load: str) -> int:
    """One changing request; 1 if it was refused, or done on some elements of an array only: then each outcome has a line."""
    try:
        text = lite.request({**fields, "id": lite.new_id()})
        if text:
            return say(given, *text.splitlines())
    except lite.Refused as error:
        if error.detail:
            say(given, *[f"{PROGRAM}: error: {line}" for line in error.detail.splitlines()])
        if error.number == SLURM_ERROR:  # a value that is none: Slurm's scontrol says no more either
            return 1
        say(given, f"{error.text} for {what}", *([f"{load}: {error.text}"] if load else []))
        return 1
    except lite.Unreachable as error:
        if error.detail:
            say(given, f"{PROGRAM}: error: {error.detail}")
        return say(given, f"{load or 'slurm_update error'}: {error.text}")
    return 0


def update(given: Options, words: list[str]) -> int:
    pairs: list[tuple[str, str, str]] = []
    for word in words:
        key, mark, value = word.partition("=")
        if not mark:
            return say(given, f"Invalid input: {word}", "Request aborted")
        sign = key[-1:] if key[-1:] in ("+", "-") else ""
        pairs.append((key[: len(key) - len(sign)], sign, value))
    entities = [key.lower() for key, _, _ in pairs]
    if "jobid" in entities:
        return _update_entity(given, pairs, "jobid", JOB_KEYS, _send_job_update)
    if "nodename" in entities:
        return _update_entity(given, pairs, "nodename", NODE_KEYS, _send_node_update)
    for entity, why in (
        ("partitionname", "partitions come from the configuration"),
        ("reservationname", "there are no reservations yet"),
        ("reservation", "there are no reservations yet"),
        ("stepid", "not in this version"),
        ("slurmctlddebug", "not in this version"),
    ):
        if entity in entities:
            return say(given, f"{PROGRAM}: error: update of {entity} is not supported by this version of Penstock ({why})")
    return say(
        given,
        "No valid entity in update command",
        'Input line must include "NodeName", "PartitionName", "Reservation", "JobId", or "SlurmctldDebug"',
    )


def _update_entity(
    given: Options, pairs: list[tuple[str, str, str]], entity: str, known: Sequence[str], send: Callable[[Options, str, list[str]], int]
) -> int:
    target = ""
    keys: list[str] = []
    for key, sign, value in pairs:
        if key.lower() == entity:
            target = value
            continue
        name = full_key(key, known)
        if name is None:
            return say(given, f"Update of this parameter is not supported: {key}{sign}={value}", "Request aborted")
        keys.append(f"{name}{sign}={value}")
    if not keys:
        return say(given, "No changes specified")
    return send(given, target, keys)


def full_key(key: str, known: Sequence[str]) -> str | None:
    """Slurm's spelling of a key that may be shortened and in any case; None: there is none, or several."""
    wanted = key.lower()
    for name in known:
        if name.lower() == wanted:
            return name
    found = [name for name in known if name.lower().startswith(wanted)] if len(wanted) >= KEY_PREFIX_MIN else []
    return found[0] if len(found) == 1 else None


def _send_job_update(given: Options, target: str, keys: list[str]) -> int:
    status = 0
    resized = any(key.startswith("NumNodes=") for key in keys)
    for text in id_texts(target):
        failed = _change(given, {"op": "update_job", "jobs": [text], "keys": keys}, f"job {text}", "")
        if resized and not failed:
            failed = _tell_new_size(given, text)
        status |= failed
    return status


def _tell_new_size(given: Options, job: str) -> int:
    """Inside a job: files that set the shell's variables to the size that the job has now."""
    from penstock.cli.resize import write_files

    lines, problem = write_files(job)
    write("".join([f"{line}\n" for line in lines]))
    return say(given, problem) if problem else 0


def _send_node_update(given: Options, target: str, keys: list[str]) -> int:
    state = next((key.partition("=")[2].upper() for key in keys if key.startswith("State=")), "")
    if state in NEED_REASON and not any(key.startswith("Reason=") and key != "Reason=" for key in keys):
        return say(given, "You must specify a reason when DOWNING or DRAINING a node. Request denied")
    try:
        lite.request({"op": "update_node", "id": lite.new_id(), "nodes": [target], "keys": keys})
    except lite.Refused as error:
        details = [f"{PROGRAM}: error: {line}" for line in error.detail.splitlines()]
        return say(given, *details, *([f"slurm_update error: {error.text}"] if error.number != SLURM_ERROR else []))
    return 0
