"""penstock consolidate: running jobs move together so that a job that waits for room in one piece starts at once.

Prints the plan, and does nothing else unless `--execute` is given: then the very plan that was printed is carried out, or, where the
cluster has changed meanwhile, nothing. Jobs move that run in a partition with PreemptMode=REQUEUE; a move is a requeue.

Guarantees: lines are at most 100 columns unless names are longer; --json prints the controller's document as it is
(docs/design/consolidation.md). Exit status: 0 a plan (carried out, with --execute), 1 none, or a refusal.
"""

from __future__ import annotations

from penstock.cli.table import Failed, run, write
from penstock.spec import times
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Document = Mapping[str, Any]

PROGRAM = "penstock consolidate"
FAR_S = 300 * 86_400
"""A start that is promised later than this waits for a job without a time limit: the planner counts that as a year."""
ALSO_MAX = 8
"""Other jobs that are named; more are counted."""
COLUMNS = ("JOB", "NAME", "USER", "FROM", "TO", "CPUS", "GPUS", "RAN")


def main(job: str, folder: str, execute: bool, anyway: bool, as_json: bool) -> int:
    """`folder` is the cluster's, or empty for the one that is found."""

    def consolidate(_: object) -> int:
        import json

        pieces: list[str] = []
        lite.request({"op": "consolidation", "job": job}, folder=folder, on_chunk=pieces.append)
        text = "".join(pieces)
        plan = json.loads(text)
        write(text if as_json else render(plan))
        if not plan["number"]:
            return 1
        if not execute:
            return 0
        if not plan["worthwhile"] and not anyway:
            raise Failed(f"{PROGRAM}: error: more work would be lost than waiting is saved: --anyway does it all the same")
        lite.request({"op": "consolidate", "number": plan["number"]}, folder=folder)
        if not as_json:
            write("Done: these jobs end and start again.\n")
        return 0

    return run(PROGRAM, consolidate, (), f"{PROGRAM}: error")


def render(plan: Document) -> str:
    """The plan for a person; or why there is none."""
    if not plan["number"]:
        subject = f"Job {plan['job']['job']}: {plan['why']}." if plan["job"] else f"No plan: {plan['why']}."
        movable = plan["movable"]
        if movable:
            return f"{subject}\n{_count(movable, 'running job')} may be moved.\n"
        return f"{subject}\nNo running job may be moved: none is in a partition with PreemptMode=REQUEUE and may be requeued.\n"
    job, now_s = plan["job"], plan["now_s"]
    wait_s = plan["promised_s"] - now_s
    otherwise = "nobody knows when" if wait_s > FAR_S else times.format_time(plan["promised_s"])
    lines = [
        f"Job {job['job']} ({job['name']}, {job['user']}) starts on {plan['nodes']} at once if {_count(len(plan['moves']), 'job')} "
        f"{'moves' if len(plan['moves']) == 1 else 'move'}; otherwise: {otherwise}.",
        "",
        *_table(plan["moves"]),
        "",
    ]
    what = "gpus" if job["gpus"] and all(move["gpus"] for move in plan["moves"]) else "cpus"
    lost = sum(move[what] * move["ran_s"] for move in plan["moves"])
    lines.append(f"Lost: {_hours(lost)} {what[:-1].upper()}-hours of work that is done again, unless these jobs left checkpoints.")
    saved = "as long as jobs without a time limit run" if wait_s > FAR_S else f"{_hours(job[what] * wait_s)} {what[:-1].upper()}-hours"
    lines.append(f"Saved: {saved} of waiting. Nobody who was promised a start gets a later one.")
    if plan["also"]:
        more = len(plan["also"]) - ALSO_MAX
        lines.append(f"Also starts: {', '.join(plan['also'][:ALSO_MAX])}{f' and {more} more' if more > 0 else ''}.")
    if not plan["worthwhile"]:
        lines.append("It is not worthwhile: more work is lost than waiting is saved.")
    return "\n".join(lines) + "\n"


def _table(moves: Sequence[Document]) -> list[str]:
    rows = [COLUMNS]
    for move in moves:
        holds = (str(move["cpus"]), str(move["gpus"]), times.format_duration(move["ran_s"]))
        rows.append((move["job"], move["name"], move["user"], move["from"], move["to"], *holds))
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _hours(seconds: int) -> str:
    return f"{seconds / 3600:.2f}" if seconds < 36_000 else f"{seconds / 3600:.0f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
