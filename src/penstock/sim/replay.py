"""`penstock sim replay FILE`: the planner's pass again, from a snapshot of a live controller, without a cluster.

Prints what the plan starts, reserves and lets wait, whether it is the plan that the controller made, and the explanation of one job
(`--job`, by default the first that waits). Exit status: 0 the same plan, 1 another one or a file that cannot be read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter

import numpy as np

from penstock.core.cycle import plan_now
from penstock.core.explain import explain
from penstock.core.outlook import batch_at
from penstock.core.plan import Plan
from penstock.core.request import Request
from penstock.core.slices import finish
from penstock.core.view import View
from penstock.engine.snapshot import FILE_BYTES_MAX, Snapshot, SnapshotError, read, same_plan
from penstock.engine.why import Document, planner_part, wishes
from penstock.spec import hostlist
from penstock.spec.explanation import count, duration, render
from penstock.spec.times import format_time

SHOWN_MAX = 20
"""Starts and reservations that are printed; the rest is counted."""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="penstock sim replay", description="Plan again what a snapshot holds, and explain a job of it.")
    parser.add_argument("file", metavar="FILE", help="what `penstock snapshot` wrote")
    parser.add_argument("--job", type=int, metavar="ID", help="explain this waiting job (default: the first one)")
    parser.add_argument("--json", action="store_true", help="the plan and the explanation as one document")
    options = parser.parse_args(argv)
    try:
        snapshot = load(options.file)
        plan = plan_now(snapshot.view, snapshot.budget)
        same = same_plan(plan, snapshot.plan)
        document = explanation(snapshot, options.job)
    except (OSError, SnapshotError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"penstock sim replay: error: {options.file}: {reason}", file=sys.stderr)
        return 1
    if options.json:
        page = json.dumps({"same_plan": same, "plan": summary(plan), "explanation": document}, indent=2) + "\n"
    else:
        page = text(snapshot.view, plan, same) + "\n" + (render(document) if document is not None else "")
    sys.stdout.write(page)
    return 0 if same else 1


def load(path: str) -> Snapshot:
    with gzip.open(path) if path.endswith(".gz") else open(path, "rb") as file:
        return read(file.read(FILE_BYTES_MAX + 1))


def explanation(snapshot: Snapshot, job_id: int | None) -> Document | None:
    """The document of `penstock why`, as far as the planner knows the job; None where nothing waits."""
    view = snapshot.view
    if job_id is None:
        if not len(snapshot.plan.waiting_job_id):
            return None
        job_id = int(snapshot.plan.waiting_job_id[0])
    rows = np.flatnonzero(view.pending.job_id == job_id)
    if not len(rows):
        raise SnapshotError(f"job {job_id} does not wait in this snapshot")
    batch = batch_at(view, int(rows[0]))
    found = finish(explain(view, job_id, batch, tuple(view.partitions), snapshot.budget))
    return {
        "job": str(job_id),
        "job_id": job_id,
        "name": "",
        "user": "",
        "state": "PENDING",
        "partition": ",".join(batch.partitions),
        "asks": asks(batch.request, batch.time_limit_s),
        "submit_s": 0,
        "start_s": 0,
        "end_s": 0,
        "nodes": "",
        "ended": False,
        "reason": "",
        **planner_part(found, batch.request, lambda number: (str(number), "")),
    }


def asks(request: Request, time_limit_s: int) -> str:
    """What the planner knows of what the job asks for."""
    least, most = request.nodes_min, request.nodes_max
    words = [count(least, "node") if most == least else f"{least} to {most} nodes" if most else f"{count(least, 'node')} or more"]
    if request.ntasks:
        words.append(count(request.ntasks, "task"))
    words.append(f"{count(request.cpus_per_task, 'CPU')} a task")
    for counts, each in ((request.gres_per_node, " a node"), (request.gres_per_task, " a task"), (request.gres_total, "")):
        words += [f"{number} {key}{each}" for key, number in counts]
    return ", ".join([*words, *wishes(request), duration(time_limit_s)])


def summary(plan: Plan) -> Document:
    """What the plan says, in numbers and names."""
    waiting = Counter(plan.reasons[index].word if index >= 0 else "not examined" for index in plan.waiting_reason.tolist())
    return {
        "now_s": plan.now_s,
        "complete": plan.complete,
        "tests": plan.tests,
        "starts": [
            {"job_id": one.job_id, "partition": one.partition, "nodes": [share.node for share in one.shares]} for one in plan.starts
        ],
        "reservations": [
            {"job_id": one.job_id, "partition": one.partition, "start_s": one.start_s, "nodes": [share.node for share in one.shares]}
            for one in plan.reservations
        ],
        "waiting": dict(sorted(waiting.items())),
    }


def text(view: View, plan: Plan, same: bool) -> str:
    """The plan for a person."""
    facts = summary(plan)
    lines = [
        f"{len(view.nodes)} nodes, {len(np.unique(view.running.job_id))} jobs hold resources, {len(view.pending)} records wait "
        f"({int(view.pending.count.sum())} with array elements), at {format_time(view.now_s)}",
        f"plan: {len(plan.starts)} starts, {len(plan.reservations)} promised starts, {plan.tests} placements tried; "
        + ("the same as the controller's" if same else "NOT the plan that the controller made"),
    ]
    for kind, word in (("starts", "starts"), ("reservations", "starts")):
        for one in facts[kind][:SHOWN_MAX]:
            when = f" {format_time(one['start_s'])}" if kind == "reservations" else " now"
            lines.append(f"  job {one['job_id']} {word}{when} on {hostlist.compress(one['nodes'])} in partition {one['partition']}")
        if len(facts[kind]) > SHOWN_MAX:
            lines.append(f"  and {len(facts[kind]) - SHOWN_MAX} more")
    lines += [f"  {count} wait: {word}" for word, count in facts["waiting"].items()]
    return "\n".join(lines) + "\n"
