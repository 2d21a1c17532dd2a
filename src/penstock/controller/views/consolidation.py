"""`penstock consolidate`: which running jobs would move so that a waiting one starts at once, as one JSON document.

The planner works on a view that was taken when the request came, in slices, so that nobody waits for it. Nothing is done: the document
holds the number under which the plan can be carried out (`engine.moves`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from penstock.controller.views import job_facts as facts
from penstock.controller.views.chunks import PAUSE, Fields
from penstock.core.consolidation import Consolidation, consolidate
from penstock.core.plan import Share
from penstock.core.slices import pausing
from penstock.engine.reactor import Reactor
from penstock.engine.state import Job
from penstock.spec import hostlist
from penstock.spec.errors import ESLURM_INVALID_JOB_ID, SlurmError, SpecError
from penstock.spec.jobids import parse_job_id

Document = dict[str, Any]
_encode = msgspec.json.Encoder().encode


class ConsolidationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`job`: an id, or empty for the first waiting job that a plan helps."""

    job: str = ""


def consolidation(reactor: Reactor, fields: Fields) -> Iterator[bytes]:
    """The document, after as many pauses as the planner takes slices."""
    asked = msgspec.convert(fields, ConsolidationRequest).job
    job_id = _waiting(reactor, asked) if asked else 0
    now_ms = reactor.indexes.clock_ms
    view = reactor.indexes.columns.view(reactor.state.seq, now_ms // 1000)
    movable = reactor.moves.movable(now_ms)
    found = yield from pausing(consolidate(view, movable, reactor.moves.waiters, job_id, reactor.budget), PAUSE)

    def named(other_id: int) -> Document:
        return _named(reactor.state.jobs.get(other_id), other_id)

    document: Document = {"now_s": view.now_s, "movable": len(movable)}
    if isinstance(found, Consolidation):
        document |= {"number": reactor.moves.keep(found), **_plan(found, named, movable)}
    else:
        document |= {"number": 0, "job": named(found.job_id) if found.job_id else None, "why": found.why}
    yield _encode(document) + b"\n"


def _waiting(reactor: Reactor, text: str) -> int:
    """The row that waits; ESLURM_INVALID_JOB_ID for an id that names none."""
    try:
        selector = parse_job_id(text)
    except SpecError as error:
        raise SlurmError(ESLURM_INVALID_JOB_ID, detail=str(error)) from None
    rows = [row for row in reactor.indexes.rows_of(selector.job_id) if reactor.indexes.columns.pending_record(row.id) is not None]
    if not rows:
        raise SlurmError(ESLURM_INVALID_JOB_ID, detail=f"no job {text[:64]} waits for the planner")
    return rows[0].id


def _named(job: Job | None, job_id: int) -> Document:
    if job is None:
        return {"job": str(job_id), "name": "", "user": ""}
    return {"job": facts.job_id_text(job), "name": job.spec.name, "user": job.spec.user}


def _plan(found: Consolidation, named: Callable[[int], Document], ran_s: dict[int, int]) -> Document:
    moves = [
        {
            **named(move.job_id),
            "from": hostlist.compress([share.node for share in move.before]),
            "to": hostlist.compress([share.node for share in move.start.shares]),
            "ran_s": ran_s[move.job_id],
            **_holds(move.before),
        }
        for move in found.moves
    ]
    return {
        "job": {**named(found.start.job_id), **_holds(found.start.shares)},
        "nodes": hostlist.compress([share.node for share in found.start.shares]),
        "promised_s": found.promised.start_s,
        "moves": moves,
        "also": [named(job_id)["job"] for job_id in found.also],
        "worthwhile": found.worthwhile,
        "saved": found.saved,
        "lost": found.lost,
    }


def _holds(shares: tuple[Share, ...]) -> Document:
    return {
        "cpus": sum(share.cpus for share in shares),
        "gpus": sum(count for share in shares for key, count in share.gres if key == "gpu" or key.startswith("gpu:")),
    }
