"""sdiag: what the controller has done and how long it took.

Guarantees: the layout is Slurm's, line by line, so that exporters which read it go on working (docs/design/explain.md names what differs).
--reset is for administrators: another caller gets Slurm's refusal and status 255.
"""

from __future__ import annotations

import time

from penstock.cli.table import Failed, check_json, print_raw, read_options, run, write
from penstock.spec.options_view import SDIAG
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sdiag"
LOAD = "slurm_get_statistics"
REFUSED_STATUS = 255
"""Exit status of a refused reset, as Slurm's."""


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, _run, arguments, LOAD)


def _run(arguments: Sequence[str]) -> int:
    read = read_options(PROGRAM, SDIAG, arguments)
    if read is None:
        return 0
    given, _ = read  # as Slurm's, it looks at no other words
    if "reset" in given:
        try:
            lite.request({"op": "reset_sdiag"})
        except lite.Refused as error:
            raise Failed(f"slurm_reset_statistics: {error.text}", status=REFUSED_STATUS) from None
        write("Reset scheduling statistics\n")
        return 0
    sort = next((word for name, word in (("sort_by_id", "id"), ("sort_by_time", "time"), ("sort_by_time2", "time2")) if name in given), "")
    if "json" in given:
        check_json(PROGRAM, given.values["json"])
        print_raw({"op": "json_sdiag", "sort": sort})
        return 0
    pieces: list[str] = []
    lite.request({"op": "sdiag", "sort": sort}, on_chunk=pieces.append)
    parts = "".join(pieces).split("\x1f")  # each time stands between two of them, as epoch seconds
    parts[1::2] = [f"{time.ctime(int(seconds))} ({seconds})" for seconds in parts[1::2]]
    write("".join(parts))
    return 0
