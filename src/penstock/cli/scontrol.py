"""scontrol: shows (`scontrol_show`) and changes (`scontrol_change`) jobs, nodes, partitions, steps and the configuration.

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

from penstock.cli.table import Failed, complain, id_texts, read_options, run, say, write
from penstock.spec.options_control import SCONTROL
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from penstock.spec.options import Options

PROGRAM = "scontrol"
WAIT_STEP_S = 0.5
"""wait_job looks this often."""

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
        return say(given, f"invalid keyword: {words[0]}")
    if keyword in ABSENT_KEYWORDS:
        return say(given, f"{PROGRAM}: error: {keyword} is not supported by this version of Penstock ({ABSENT_KEYWORDS[keyword]})")
    least, most, command = COMMANDS[keyword]
    if len(words) - 1 < least:
        return say(given, f"too few arguments for keyword:{words[0]}")
    if most is not None and len(words) - 1 > most:
        return say(given, f"too many arguments for keyword:{words[0]}")
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


# Each keyword imports what it alone needs: a module costs a command 0.1 to 0.3 ms.


def _show(given: Options, words: list[str]) -> int:
    from penstock.cli.scontrol_show import show

    return show(given, words)


def _ping(given: Options, words: list[str]) -> int:
    from penstock.cli.scontrol_show import ping

    return ping(given, words)


def _each_job(op: str, load: str, **more: object) -> Callable[[Options, list[str]], int]:
    def command(given: Options, words: list[str]) -> int:
        from penstock.cli.scontrol_change import each_job

        return each_job(given, words, op, load, **more)

    return command


def _update(given: Options, words: list[str]) -> int:
    from penstock.cli.scontrol_change import update

    return update(given, words)


def _version(given: Options, words: list[str]) -> int:
    from penstock import SLURM_VERSION

    write(f"slurm {SLURM_VERSION}\n")
    return 0


def _errnumstr(given: Options, words: list[str]) -> int:
    from penstock.spec.errors import strerror

    if not words[0].lstrip("-").isdecimal() or len(words[0]) > 9:
        return say(given, f"{PROGRAM}: error: {words[0][:32]} is not an error number")
    write(strerror(int(words[0])) + "\n")
    return 0


def _write(given: Options, words: list[str]) -> int:
    what = choose(words[0], ["batch_script", "config"])
    if what is None:
        return say(given, f"invalid entity:{words[0]} for keyword:write")
    if what == "config":
        return say(given, f"{PROGRAM}: error: write config is not supported by this version of Penstock (see scontrol show config)")
    if len(words) < 2:
        return say(given, "too few arguments for keyword:write")
    job = _one_job(words[1])
    pieces: list[str] = []
    try:
        lite.request({"op": "batch_script", "job": job}, on_chunk=pieces.append)
    except lite.Refused as error:
        return say(given, f"job script retrieval failed: {error.text}")
    script = "".join(pieces).encode("utf-8", "surrogateescape")
    target = words[2] if len(words) > 2 else f"slurm-{job}.sh"
    if target == "-":
        sys.stdout.buffer.write(script)
        return 0
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700), "wb") as file:
            file.write(script)
    except OSError as error:
        return say(given, f"failed to open file `{target}`: {error.strerror}")
    write(f"batch script for job {job} written to {target}\n")
    return 0


def _one_job(text: str) -> str:
    found = id_texts(text)
    if len(found) != 1:
        raise Failed(f"{PROGRAM}: error: one job id is needed: {text[:64]}")
    return found[0]


def _wait_job(given: Options, words: list[str]) -> int:
    """Until the job has its nodes: 0; a job that does not exist or has ended: 1."""
    text = _one_job(words[0])
    while True:
        seen: list[str] = []
        try:
            lite.request({"op": "show_job", "names": [text], "details": False, "oneliner": True}, on_chunk=seen.append)
        except lite.Refused:
            return say(given, f"{PROGRAM}: Problem running job {text}")
        state = "".join(seen).partition(" JobState=")[2].partition(" ")[0]
        if state in ("RUNNING", "SUSPENDED"):
            return 0
        if state != "PENDING":
            return say(given, f"Job {text} is no longer running")
        time.sleep(WAIT_STEP_S)


def _reconfigure(given: Options, words: list[str]) -> int:
    """The files again. What cannot change while the cluster runs is said on standard error, and is no failure."""
    try:
        text = lite.request({"op": "reconfigure", "id": lite.new_id()})
    except lite.Refused as error:
        return say(given, *error.detail.splitlines(), f"slurm_reconfigure error: {error.text}")
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
