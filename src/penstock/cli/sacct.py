"""sacct: shows what ran, from the durable records.

Guarantees: default columns, widths, the `+` of cut values and the parsable forms are Slurm's (slurm.md C.1), the window defaults are
those of C.5, and what submitit reads (`-o JobID,State,NodeList --parsable2 -j ...`) is exact. An unknown field, state or user is an error.
Assumes that a plain user asks for his own jobs unless ids, nodes, users or -a say otherwise, as Slurm does; root asks for all.
"""

from __future__ import annotations

import os
import time

from penstock.cli.table import Failed, check_json, print_fields, print_help_format, print_raw, read_options, run, words_of
from penstock.spec import fields_sacct as known
from penstock.spec.errors import SpecError
from penstock.spec.options_view import SACCT
from penstock.spec.outputfmt import parse_fields
from penstock.spec.times import midnight, parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.spec.options import Options

PROGRAM = "sacct"
LOAD = "sacct: error"


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, LOAD)


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SACCT, arguments)
    if read is None:
        return 0
    given, words = read
    if words:
        raise Failed(f"{PROGRAM}: error: Unknown arguments:", *(f"{PROGRAM}: error:  {word}" for word in words))
    if "helpformat" in given:
        print_help_format(known.FIELDS)
        return 0
    request = _request(given)
    if "json" in given:
        check_json(PROGRAM, given.values["json"])
        print_raw({**request, "op": "json_sacct"})
        return 0
    text = given.values.get("format") or ""
    if not text:
        text = known.LONG if "long" in given else known.BRIEF if "brief" in given else known.DEFAULT
    columns = parse_fields(text, known.FIELDS, PROGRAM)
    print_fields(request, columns, known.TIME_FIELDS, given)
    return 0


def _request(given: Options) -> dict[str, object]:
    """The filters, as `penstock.controller.views.sacct.AccountRequest` reads them."""
    jobs = _jobs(given.values.get("jobs"))
    states = _states(given.values.get("state"))
    since, until = _window(given, bool(jobs), bool(states))
    users = _ids(given.values.get("user"), "user")
    nodes = given.text("nodelist")
    if not users and "allusers" not in given and not jobs and not nodes and os.geteuid() != 0:
        users = [str(os.geteuid())]
    units = given.text("units").upper()
    if units not in ("", "K", "M", "G", "T", "P"):
        raise Failed(f"{PROGRAM}: fatal: Invalid --units: {units[:32]} (K, M, G, T or P is allowed)")
    return {
        "op": "sacct",
        "jobs": jobs,
        "users": users,
        "groups": _ids(given.values.get("gid"), "group"),
        "names": words_of(given.values.get("name")),
        "accounts": words_of(given.values.get("accounts")),
        "partitions": words_of(given.values.get("partition")),
        "qos": words_of(given.values.get("qos")),
        "wckeys": words_of(given.values.get("wckeys")),
        "states": states,
        "nodes": nodes,
        "from_s": since,
        "until_s": until,
        "allocations": "allocations" in given,
        "duplicates": "duplicates" in given,
        "units": units,
        "noconvert": "noconvert" in given,
    }


def _jobs(text: str | None) -> list[str]:
    if not text:
        return []
    from penstock.spec.jobids import parse_job_ids

    try:
        return [str(selector) for selector in parse_job_ids(text)]
    except SpecError:
        raise Failed(f"{PROGRAM}: fatal: Bad job/step specified: {text[:64]}") from None


def _states(text: str | None) -> list[str]:
    if not text:
        return []
    from penstock.spec.states import JOB_BASE, job_state, parse_job_state

    found = []
    for word in words_of(text):
        try:
            number = parse_job_state(word)
        except SpecError:
            raise Failed(f"{PROGRAM}: fatal: unrecognized job state value '{word[:64]}'") from None
        if number > JOB_BASE:
            raise Failed(f"{PROGRAM}: fatal: job state value '{word[:64]}' is a flag: accounting records base states only")
        found.append(job_state(number))
    return found


def _ids(text: str | None, kind: str) -> list[str]:
    """Users or groups as numbers."""
    found = []
    for word in words_of(text):
        if word.isdecimal():
            found.append(word)
            continue
        try:
            if kind == "user":
                from pwd import getpwnam

                found.append(str(getpwnam(word).pw_uid))
            else:
                from grp import getgrnam

                found.append(str(getgrnam(word).gr_gid))
        except KeyError:
            raise Failed(f"{PROGRAM}: fatal: Invalid {kind} id: {word[:64]}") from None
    return found


def _window(given: Options, jobs: bool, states: bool) -> tuple[int, int]:
    """Epoch seconds of -S and -E or their defaults; until 0 is now, from 0 with until 0 is no window."""
    now = int(time.time())
    since = parse_time(given.text("starttime"), now, past=True) if "starttime" in given else None
    until = parse_time(given.text("endtime"), now, past=True) if "endtime" in given else None
    if since is None:
        if jobs:
            since = 0
        elif states:
            since = until if until is not None else now
        else:
            since = midnight(now)
            if until is not None and until < since:
                since = 0
    elif states and until is None:
        until = since
    if until is not None and until < since:
        raise Failed(f"{PROGRAM}: error: Start time ({since}) requested is after end time ({until}).")
    return since, until or 0
