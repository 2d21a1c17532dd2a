"""squeue: shows the jobs (or steps) that wait and run.

Guarantees: default columns, header and exit statuses are Slurm's (slurm.md C.1, C.2); an unknown node, state, field or sort letter is an
error and never an empty filter. Command line beats SQUEUE_* variables; -l, -s and --start beat a format from the environment.
"""

from __future__ import annotations

import os

from penstock.cli.table import (
    Failed,
    check_json,
    date_line,
    id_texts,
    iterate,
    print_raw,
    print_rows,
    read_options,
    run,
    user_ids,
    words_of,
)
from penstock.spec import fields_squeue as known
from penstock.spec.options import FROM_ENVIRONMENT
from penstock.spec.options_view import SQUEUE
from penstock.spec.outputfmt import header_line, parse_letters, parse_long, template
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.spec.options import Options
    from penstock.spec.outputfmt import Column

PROGRAM = "squeue"
LOAD = "slurm_load_jobs error"


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, LOAD)


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SQUEUE, arguments)
    if read is None:
        return 0
    given, words = read
    for key in ("jobs", "steps"):  # `squeue -j 12`: the value of an optional argument may also stand alone
        if words and key in given and not given.values[key]:
            given.values[key] = words.pop(0)
    if words:
        raise Failed(f"{PROGRAM}: error: Unrecognized option: {words[0]}", f'Try "{PROGRAM} --help" for more information')
    request = _request(given)
    if "json" in given:
        check_json(PROGRAM, given.values["json"])
        if not request["states"]:
            request["states"] = ["all"]
        print_raw({**request, "op": "json_jobs"})
        return 0
    prefix, columns = _columns(given)
    head = "" if "noheader" in given else header_line(columns, prefix)
    body = template(columns, prefix)

    def show() -> int:
        if "long" in given and "iterate" not in given:
            date_line()
        try:
            print_rows(request, columns, body, head)
        except lite.Refused as error:
            if error.number == 2018:
                raise Failed(f"{PROGRAM}: error: {error.text}") from None
            raise
        return 0

    return iterate(PROGRAM, given.values.get("iterate"), show)


def _request(given: Options) -> dict[str, object]:
    """The filters, as `penstock.controller.views.squeue.QueueRequest` reads them."""
    users = user_ids(PROGRAM, given.values.get("user"))
    if "me" in given:
        users = [str(os.getuid())]
    states = words_of(given.values.get("states"))
    _check_states(states)
    if "start" in given and not states:
        states = ["PENDING"]
    return {
        "op": "squeue",
        "jobs": id_texts(given.values.get("jobs")),
        "users": users,
        "not_users": [str(os.getuid())] if "notme" in given else [],
        "states": states,
        "partitions": words_of(given.values.get("partition")),
        "names": words_of(given.values.get("name")),
        "accounts": words_of(given.values.get("account")),
        "qos": words_of(given.values.get("qos")),
        "licenses": words_of(given.values.get("licenses")),
        "reservations": words_of(given.values.get("reservation")),
        "nodes": given.text("nodelist"),
        "steps": "steps" in given,
        "step_ids": id_texts(given.values.get("steps")),
        "array": "array" in given,
        "start": "start" in given,
        "sort": given.text("sort") or _default_sort(given),
        "bitstr": _bitstr(os.environ.get("SLURM_BITSTR_LEN")),
    }


def _bitstr(value: str | None) -> int | None:
    if value is None:
        return None
    from penstock.spec.arrays import bitstr_length

    return bitstr_length(value)


def _default_sort(given: Options) -> str:
    if "steps" in given:
        return known.SORT_STEPS
    return known.SORT_START if "start" in given else known.SORT_DEFAULT


def _check_states(words: Sequence[str]) -> None:
    if not words:
        return
    from penstock.spec.errors import SpecError
    from penstock.spec.states import JOB_BASES, JOB_FLAGS, parse_job_state

    for word in words:
        if word.lower() == "all":
            continue
        try:
            parse_job_state(word)
        except SpecError:
            names = ",".join([*(long for long, _ in JOB_BASES), *(long for _, long, _ in JOB_FLAGS)])
            raise Failed(
                f"{PROGRAM}: error: Invalid job state specified: {word[:64]}",
                f"{PROGRAM}: error: Valid job states include: {names}",
            ) from None


def _columns(given: Options) -> tuple[str, list[Column]]:
    """Text before the first column, and the columns."""
    short, long = given.values.get("format"), given.values.get("format_long")
    shaped = "long" in given or "steps" in given or "start" in given or "only_job_state" in given
    if short is not None and given.sources["format"] == FROM_ENVIRONMENT and (shaped or long is not None):
        short = None
    if long is not None and given.sources["format_long"] == FROM_ENVIRONMENT and (shaped or short is not None):
        long = None
    if short is not None and long is not None:
        raise Failed(f"{PROGRAM}: fatal: -o and -O are incompatible")
    fields, letters, names = known.FIELDS, known.LETTERS, known.NAMES
    if "steps" in given:
        fields, letters, names = known.STEP_FIELDS, known.STEP_LETTERS, known.STEP_NAMES
    if long is not None:
        return "", parse_long(long, names, fields)
    if short is None:
        short = known.DEFAULT
        for key, text in (("long", known.LONG), ("only_job_state", known.ONLY_STATE), ("steps", known.STEPS), ("start", known.START)):
            if key in given:
                short = text
    return parse_letters(short, letters, fields)
