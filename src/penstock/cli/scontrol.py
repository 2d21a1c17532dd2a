"""scontrol: shows and changes jobs, nodes, partitions, steps and the configuration.

Keywords are case-insensitive and may be shortened to a unique prefix. What Slurm's scontrol has and this one has not is refused by name; so
is the interactive mode.

Operations that change (each with `id`; one request per job, so that one that fails does not stop the others; a `!` reply is printed as
`TEXT for job ID`); `jobs` is a list of one id as typed, or `jobname=NAME`:

  hold            jobs, user_hold: bool (uhold)
  release         jobs
  requeue         jobs
  requeue_hold    jobs, special: bool (State=SpecialExit)
  suspend resume  jobs
  update_job      jobs, keys: ["TimeLimit=10", "TimeLimit+=5", ...] with Slurm's full key names
  update_node     nodes: a list of hostlists, keys: ["State=DRAIN", "Reason=...", ...]

Reading: `ping` (a chunk, ready to print), `batch_script` {job} (chunks: the script), and the show_* and json_* views.
"""

from __future__ import annotations

import os
import sys
import time

from penstock.cli.table import Failed, check_json, complain, id_texts, print_raw, read_options, run, write
from penstock.spec.errors import SpecError
from penstock.spec.options_control import SCONTROL
from penstock.spec.outputfmt import fill_times, time_shower
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.spec.options import Options

PROGRAM = "scontrol"
WAIT_STEP_S = 0.5
"""wait_job looks this often."""

SHOWN = {
    "config": "show_config",
    "job": "show_job",
    "licenses": "show_licenses",
    "node": "show_node",
    "partition": "show_partition",
    "step": "show_step",
    "topology": "show_topology",
}
JSON = {"show_job": "json_jobs", "show_node": "json_nodes", "show_partition": "json_partitions"}
LOADS = {
    "show_config": "slurm_load_ctl_conf error",
    "show_job": "slurm_load_jobs error",
    "show_licenses": "slurm_load_licenses error",
    "show_node": "slurm_load_node error",
    "show_partition": "slurm_load_partitions error",
    "show_step": "slurm_get_job_steps error",
    "show_topology": "slurm_load_topo error",
}
ENTITIES = (
    "config",
    "hostlist",
    "hostlistsorted",
    "hostnames",
    "jobs",
    "licenses",
    "nodes",
    "partitions",
    "steps",
    "jobid",
    "nodename",
    "partitionname",
    "stepid",
    "topology",
)
ABSENT_ENTITIES = {
    "aliases": "nodes have no aliases",
    "assoc_mgr": "there are no associations yet",
    "bbstat": "there are no burst buffers",
    "burstbuffer": "there are no burst buffers",
    "daemons": "see penstock status",
    "federations": "there are no federations yet",
    "reservations": "there are no reservations yet",
    "slurmd": "see penstock status",
    "topoconf": "use scontrol show topology, or read topology.yaml or topology.conf in the cluster's folder",
}
ABSENT_KEYWORDS = {
    "abort": "penstock down stops the cluster",
    "cancel_reboot": "nodes are not rebooted",
    "cluster": "there is only the local cluster",
    "completing": "use squeue -t COMPLETING",
    "create": "partitions come from the configuration; there are no reservations yet",
    "delete": "partitions come from the configuration; there are no reservations yet",
    "fsdampeningfactor": "there is no fair share yet",
    "getaddrs": "not in this version",
    "getent": "not in this version",
    "listjobs": "use squeue",
    "listpids": "use sstat -i",
    "liststeps": "use squeue -s",
    "notify": "not in this version",
    "pidinfo": "not in this version",
    "power": "nodes are not powered by the cluster",
    "reboot": "nodes are not rebooted",
    "schedloglevel": "not in this version",
    "setdebug": "not in this version",
    "setdebugflags": "not in this version",
    "shutdown": "penstock down stops the cluster",
    "takeover": "there is no second controller yet",
    "token": "there are no tokens yet",
    "top": "use scontrol update JobId=... Nice=... or Priority=...",
}

JOB_KEYS = (
    *("Account", "AdminComment", "ArrayTaskThrottle", "BurstBuffer", "ClusterFeatures", "Comment", "Contiguous", "CoreSpec"),
    *("CPUsPerTask", "Deadline", "DelayBoot", "Dependency", "EligibleTime", "EndTime", "ExcNodeList", "Extra", "Features"),
    *("Gres", "JobName", "Licenses", "MailType", "MailUser", "MinCPUsNode", "MinMemoryCPU", "MinMemoryNode", "MinTmpDiskNode"),
    *("Name", "Nice", "NodeList", "NumCPUs", "NumNodes", "NumTasks", "OverSubscribe", "Partition", "Prefer", "Priority", "QOS"),
    *("Reboot", "ReqCores", "ReqNodeList", "ReqNodes", "ReqProcs", "ReqSockets", "ReqThreads", "Requeue", "ReservationName"),
    *("ResetAccrueTime", "SegmentSize", "Shared", "SiteFactor", "StartTime", "StdErr", "StdIn", "StdOut", "Switches"),
    *("TasksPerNode", "ThreadSpec", "TimeLimit", "TimeMin", "Topology", "UserID", "Wait-for-Switch", "WCKey", "WorkDir"),
)
NODE_KEYS = (
    *("ActiveFeatures", "AvailableFeatures", "CertToken", "Comment", "CPUBind", "Extra", "Features", "Gres", "InstanceId"),
    *("InstanceType", "NodeAddr", "NodeHostname", "Reason", "ResumeAfter", "State", "Topology", "Weight"),
)
NEED_REASON = ("DOWN", "DRAIN", "FAIL")
KEY_PREFIX_MIN = 3
"""Letters that an abbreviated key has at least."""


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, "slurm_load_ctl_conf error")


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SCONTROL, arguments)
    if read is None:
        return 0
    given, words = read
    if not words:
        raise Failed(f"{PROGRAM}: error: the interactive mode is not supported by this version of Penstock: give a command", status=1)
    keyword = choose(words[0], [*COMMANDS, *ABSENT_KEYWORDS])
    if keyword is None:
        return _say(given, f"invalid keyword: {words[0]}")
    if keyword in ABSENT_KEYWORDS:
        return _say(given, f"{PROGRAM}: error: {keyword} is not supported by this version of Penstock ({ABSENT_KEYWORDS[keyword]})")
    least, most, command = COMMANDS[keyword]
    if len(words) - 1 < least:
        return _say(given, f"too few arguments for keyword:{words[0]}")
    if most is not None and len(words) - 1 > most:
        return _say(given, f"too many arguments for keyword:{words[0]}")
    return command(given, words[1:])


def choose(word: str, known: Sequence[str]) -> str | None:
    """The known word that this one is, or the only one that begins with it; None: no such word. Ambiguous ones are refused."""
    wanted = word.lower()
    if wanted in known:
        return wanted
    found = [name for name in known if name.startswith(wanted)]
    if len(found) > 1:
        raise Failed(f"{PROGRAM}: error: {word} is ambiguous: {', '.join(found)}")
    return found[0] if found else None


def _say(given: Options, *lines: str) -> int:
    """An error that ends the command, unless -Q silences it."""
    if "quiet" not in given:
        complain(*lines)
    return 1


# --- show -----------------------------------------------------------------------------------------------------------------------


def _show(given: Options, words: list[str]) -> int:
    entity, mark, value = words[0].partition("=")
    names = [value, *words[1:]] if mark else words[1:]
    kind = _entity(entity)
    if kind in ABSENT_ENTITIES:
        return _say(given, f"{PROGRAM}: error: show {kind} is not supported by this version of Penstock ({ABSENT_ENTITIES[kind]})")
    if kind is None:
        return _say(given, f"invalid entity:{entity} for keyword:show")
    if kind.startswith("host"):
        return _hosts(given, kind, names)
    if len(names) > 1:
        return _say(given, "too many arguments for keyword:show")
    op = SHOWN[kind]
    if kind == "job":
        names = [text for name in names for text in id_texts(name)]
    request: dict[str, object] = {"names": names, "details": "details" in given, "oneliner": "oneliner" in given}
    try:
        if "json" in given:
            check_json(PROGRAM, given.values["json"])
            if op not in JSON:
                return _say(given, f"{PROGRAM}: error: --json is supported for show job, node and partition")
            print_raw({"op": JSON[op], "jobs": names, "states": ["all"]} if kind == "job" else {"op": JSON[op], "names": names})
            return 0
        show = time_shower(os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
        lite.request({**request, "op": op}, on_chunk=lambda text: write(fill_times(text, show)))
        if kind == "config":
            write("\n")
            _ping(given, [])
        return 0
    except lite.Refused as error:
        return _say(given, error.text if error.number == 1 else f"{LOADS[op]}: {error.text}")
    except lite.Unreachable as error:
        return _say(given, *([f"{PROGRAM}: error: {error.detail}"] if error.detail else []), f"{LOADS[op]}: {error.text}")


def _entity(word: str) -> str | None:
    """job, node, partition, step, config, one of the host words, an absent one, or None."""
    wanted = word.lower()
    known = [*ENTITIES, *ABSENT_ENTITIES]
    found = [name for name in known if name.startswith(wanted)] if wanted else []
    if wanted in known:
        found = [wanted]
    kinds = {_kind(name) for name in found}
    if len(kinds) > 1 and "hostlist" in kinds and wanted == "hostlist":
        kinds = {"hostlist"}
    if len(kinds) > 1:
        raise Failed(f"{PROGRAM}: error: show {word} is ambiguous: {', '.join(sorted(kinds))}")
    return kinds.pop() if kinds else None


def _kind(name: str) -> str:
    if name in ABSENT_ENTITIES or name.startswith("host") or name == "config":
        return name
    for kind in SHOWN:
        if name.startswith(kind):
            return kind
    return name


def _hosts(given: Options, kind: str, names: list[str]) -> int:
    from penstock.spec import hostlist

    text = names[0] if names else os.environ.get("SLURM_JOB_NODELIST") or os.environ.get("SLURM_NODELIST") or ""
    if len(names) > 1:
        return _say(given, "too many arguments for keyword:show")
    if text.startswith("/"):
        with open(text, encoding="utf-8") as file:
            text = ",".join(file.read(hostlist.MAX_LENGTH).split())
    try:
        hosts = hostlist.expand(text)
    except SpecError as error:
        return _say(given, f"{PROGRAM}: error: Invalid hostlist: {error}")
    if not hosts:
        return _say(given, f"{PROGRAM}: error: host list is empty")
    if kind == "hostnames":
        write("\n".join(hosts) + "\n")
    else:
        write((hostlist.compress(hosts) if kind == "hostlistsorted" else hostlist.compress_in_order(hosts)) + "\n")
    return 0


# --- jobs -----------------------------------------------------------------------------------------------------------------------


def _each_job(op: str, load: str, **more: object) -> Callable[[Options, list[str]], int]:
    """A command over a list of jobs: one request each, errors told one by one."""

    def command(given: Options, words: list[str]) -> int:
        extra = dict(more)
        status = 0
        for word in words:
            name, mark, value = word.partition("=")
            if mark and name.lower() in ("jobname", "name"):
                status |= _change(given, {"op": op, **extra, "jobs": [f"jobname={value}"]}, f"job {value}", load)
                continue
            if mark and name.lower() == "state" and op == "requeue_hold":
                if value.lower() not in ("specialexit", "se"):
                    return _say(given, f"{PROGRAM}: error: State={value[:32]}: only SpecialExit is allowed")
                extra["special"] = True
                continue
            if word.lower() == "incomplete" and op.startswith("requeue"):
                return _say(given, f"{PROGRAM}: error: {word} is not supported by this version of Penstock")
            for text in id_texts(word):
                status |= _change(given, {"op": op, **extra, "jobs": [text]}, f"job {text}", load)
        return status

    return command


def _change(given: Options, fields: dict[str, object], what: str, load: str) -> int:
    """One changing request; 1 if it was refused."""
    try:
        lite.request({**fields, "id": lite.new_id()})
    except lite.Refused as error:
        if error.detail:
            _say(given, f"{PROGRAM}: error: {error.detail}")
        _say(given, f"{error.text} for {what}", *([f"{load}: {error.text}"] if load else []))
        return 1
    except lite.Unreachable as error:
        if error.detail:
            _say(given, f"{PROGRAM}: error: {error.detail}")
        return _say(given, f"{load or 'slurm_update error'}: {error.text}")
    return 0


def _update(given: Options, words: list[str]) -> int:
    pairs: list[tuple[str, str, str]] = []
    for word in words:
        key, mark, value = word.partition("=")
        if not mark:
            return _say(given, f"Invalid input: {word}", "Request aborted")
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
            return _say(given, f"{PROGRAM}: error: update of {entity} is not supported by this version of Penstock ({why})")
    return _say(
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
            return _say(given, f"Update of this parameter is not supported: {key}{sign}={value}", "Request aborted")
        keys.append(f"{name}{sign}={value}")
    if not keys:
        return _say(given, "No changes specified")
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
    for text in id_texts(target):
        status |= _change(given, {"op": "update_job", "jobs": [text], "keys": keys}, f"job {text}", "")
    return status


def _send_node_update(given: Options, target: str, keys: list[str]) -> int:
    state = next((key.partition("=")[2].upper() for key in keys if key.startswith("State=")), "")
    if state in NEED_REASON and not any(key.startswith("Reason=") and key != "Reason=" for key in keys):
        return _say(given, "You must specify a reason when DOWNING or DRAINING a node. Request denied")
    try:
        lite.request({"op": "update_node", "id": lite.new_id(), "nodes": [target], "keys": keys})
    except lite.Refused as error:
        return _say(given, *([f"{PROGRAM}: error: {error.detail}"] if error.detail else []), f"slurm_update error: {error.text}")
    return 0


# --- the rest -------------------------------------------------------------------------------------------------------------------


def _ping(given: Options, words: list[str]) -> int:
    try:
        lite.request({"op": "ping"}, on_chunk=write, retry_for_s=0.0)
    except (lite.Unreachable, lite.Refused):
        write(f"Slurmctld(primary) at {os.uname().nodename.partition('.')[0]} is DOWN\n")
        return 1
    return 0


def _version(given: Options, words: list[str]) -> int:
    from penstock import SLURM_VERSION

    write(f"slurm {SLURM_VERSION}\n")
    return 0


def _errnumstr(given: Options, words: list[str]) -> int:
    from penstock.spec.errors import strerror

    if not words[0].lstrip("-").isdecimal() or len(words[0]) > 9:
        return _say(given, f"{PROGRAM}: error: {words[0][:32]} is not an error number")
    write(strerror(int(words[0])) + "\n")
    return 0


def _write(given: Options, words: list[str]) -> int:
    what = choose(words[0], ["batch_script", "config"])
    if what is None:
        return _say(given, f"invalid entity:{words[0]} for keyword:write")
    if what == "config":
        return _say(given, f"{PROGRAM}: error: write config is not supported by this version of Penstock (see scontrol show config)")
    if len(words) < 2:
        return _say(given, "too few arguments for keyword:write")
    ids = id_texts(words[1])
    if len(ids) != 1:
        return _say(given, f"{PROGRAM}: error: one job id is needed: {words[1][:64]}")
    pieces: list[str] = []
    try:
        lite.request({"op": "batch_script", "job": ids[0]}, on_chunk=pieces.append)
    except lite.Refused as error:
        return _say(given, f"job script retrieval failed: {error.text}")
    script = "".join(pieces).encode("utf-8", "surrogateescape")
    target = words[2] if len(words) > 2 else f"slurm-{ids[0]}.sh"
    if target == "-":
        sys.stdout.buffer.write(script)
        return 0
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700), "wb") as file:
            file.write(script)
    except OSError as error:
        return _say(given, f"failed to open file `{target}`: {error.strerror}")
    write(f"batch script for job {ids[0]} written to {target}\n")
    return 0


def _wait_job(given: Options, words: list[str]) -> int:
    """Until the job has its nodes: 0; a job that does not exist or has ended: 1."""
    (text,) = id_texts(words[0])
    while True:
        seen: list[str] = []
        try:
            lite.request({"op": "show_job", "names": [text], "details": False, "oneliner": True}, on_chunk=seen.append)
        except lite.Refused:
            return _say(given, f"{PROGRAM}: Problem running job {text}")
        state = "".join(seen).partition(" JobState=")[2].partition(" ")[0]
        if state in ("RUNNING", "SUSPENDED"):
            return 0
        if state != "PENDING":
            return _say(given, f"Job {text} is no longer running")
        time.sleep(WAIT_STEP_S)


def _reconfigure(given: Options, words: list[str]) -> int:
    """The files again. What cannot change while the cluster runs is said on standard error, and is no failure."""
    try:
        text = lite.request({"op": "reconfigure", "id": lite.new_id()})
    except lite.Refused as error:
        return _say(given, *error.detail.splitlines(), f"slurm_reconfigure error: {error.text}")
    if text and "quiet" not in given:
        complain(*[f"{PROGRAM}: warning: {line}" for line in text.splitlines()])
    return 0


COMMANDS: dict[str, tuple[int, int | None, Callable[[Options, list[str]], int]]] = {
    "errnumstr": (1, 1, _errnumstr),
    "hold": (1, None, _each_job("hold", "slurm_suspend error", user_hold=False)),
    "holdu": (1, None, _each_job("hold", "slurm_suspend error", user_hold=True)),
    "ping": (0, 0, _ping),
    "reconfigure": (0, 0, _reconfigure),
    "release": (1, None, _each_job("release", "slurm_suspend error")),
    "requeue": (1, None, _each_job("requeue", "")),
    "requeuehold": (1, None, _each_job("requeue_hold", "")),
    "resume": (1, None, _each_job("resume", "")),
    "show": (1, None, _show),
    "suspend": (1, None, _each_job("suspend", "")),
    "uhold": (1, None, _each_job("hold", "slurm_suspend error", user_hold=True)),
    "update": (1, None, _update),
    "version": (0, 0, _version),
    "wait_job": (1, 1, _wait_job),
    "write": (1, 3, _write),
}
"""Keyword: fewest and most arguments, and the command."""
