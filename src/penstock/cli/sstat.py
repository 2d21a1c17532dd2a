"""sstat: shows what running steps use.

Guarantees: fields, widths and the parsable forms are Slurm's; a bare job id means its last step, -a all of them. A step that does not
run is an error in Slurm's words.
"""

from __future__ import annotations

from penstock.cli.table import Failed, complain, id_texts, print_fields, print_help_format, read_options, run
from penstock.spec import fields_sacct as known
from penstock.spec.options_view import SSTAT
from penstock.spec.outputfmt import parse_fields
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sstat"


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, f"{PROGRAM}: error")


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SSTAT, arguments)
    if read is None:
        return 0
    given, words = read
    if "helpformat" in given:
        print_help_format(known.STAT_FIELDS)
        return 0
    jobs = [text for word in [given.values.get("jobs") or "", *words] for text in id_texts(word)]
    if not jobs:
        raise Failed(f"{PROGRAM}: error: You didn't give me any jobs to stat.")
    text = given.values.get("format") or (known.STAT_PIDS if "pidformat" in given else known.STAT_DEFAULT)
    columns = parse_fields(text, known.STAT_FIELDS, PROGRAM)
    status = 0
    for job in jobs:
        request = {"op": "sstat", "jobs": [job], "all_steps": "allsteps" in given, "noconvert": "noconvert" in given}
        try:
            print_fields(request, columns, frozenset(), given)
        except lite.Refused as error:
            complain(f"{PROGRAM}: error: {error.text}")
            status = 1
        given.values["noheader"] = "yes"  # one header for all jobs
    return status
