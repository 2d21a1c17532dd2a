"""The answer of `penstock why`, as a document: what the planner found, and what keeps a job from the planner.

Two kinds of blockers meet here. Obstacles lie before the queue and are read from State: a hold, a dependency, a begin time, an array's
%limit. The others come from `core.explain`. The document is plain (numbers, texts, lists), so that it is JSON for programs, text by
`spec.explanation` for people, and the same for a live job and for the replay of a snapshot. docs/design/explain.md lists its keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core.elements import Elements
from penstock.core.evidence import Blocker
from penstock.core.explain import IMPOSSIBLE, POLICY, TIERS, WAITING, Explanation
from penstock.core.plan import Reservation
from penstock.core.request import Request
from penstock.engine.indexes import Indexes
from penstock.engine.state import STATE_NAMES, Job, State
from penstock.spec import hostlist
from penstock.spec.dependency import parse
from penstock.spec.explanation import UNTIL_MAX_S, count, sentence

PARENTS_MAX = 5
"""Jobs of a dependency that are told one by one; more are counted."""
Document = dict[str, Any]
Named = Callable[[int], tuple[str, str]]
"""A job id as people write it, and its user."""

HOLDS = {
    "JobHeldUser": "its owner holds it; scontrol release {id} frees it",
    "JobHeldAdmin": "an administrator holds it and has to release it",
    "JobHoldMaxRequeue": "it was requeued too often (MaxBatchRequeue); scontrol release {id} tries again",
    "launch failed requeued held": "it could not be launched and was requeued held; scontrol release {id} tries again",
}


def wishes(request: Request) -> list[str]:
    """What a request says of its nodes beside their number and size, in words."""
    words = [f"{number} of licence {name}" for name, number in request.licenses]
    found = [" or ".join(words)] if words and request.any_license else words
    if request.exclusive:
        found.append("whole nodes")
    if request.constraint:
        found.append(f"features {request.constraint}")
    if request.prefer:
        found.append(f"rather features {request.prefer}")
    if request.required_nodes:
        found.append(f"on {hostlist.compress(request.required_nodes)}")
    if request.excluded_nodes:
        found.append(f"not on {hostlist.compress(request.excluded_nodes)}")
    if request.contiguous:
        found.append("neighbours")
    if request.switches:
        found.append("one switch" if request.switches == 1 else f"at most {request.switches} switches")
    if request.segment:
        found.append(f"segments of {count(request.segment, 'node')}")
    if request.level:
        found.append(f"in one {request.level}")
    return found


def planner_part(found: Explanation, request: Request, named: Named) -> Document:
    """What the planner found."""
    return {
        "tier": found.tier,
        "blockers": [blocker_document(one, request, named, found.now_s) for one in found.blockers],
        "ahead": {
            "jobs": found.ahead,
            "elements": found.elements,
            "first": [named(job_id)[0] for job_id in found.first],
            "queued": found.queued,
            "in_queue": found.in_queue,
        },
        "start": {"basis": found.basis, "looked_at": found.looked_at, **_where(found.start)},
        "array": array_document(found.array) if found.array is not None else {},
        "sooner": [
            {"option": change.option, "value": change.value, "now": change.start.start_s <= found.now_s, **_where(change.start)}
            for change in found.changes
        ],
    }


def array_document(array: Elements, place: int = 0) -> Document:
    """``place`` is that of the element that was asked about among those that wait, from 1 on; 0: no single one."""
    later_s = array.later_s
    own_s = later_s[place - array.now - 1] if array.now < place <= array.now + len(later_s) else 0
    return {
        "waiting": array.waiting,
        "startable": array.startable,
        "now": array.now,
        "next_s": later_s[0] if later_s else 0,
        "last_s": later_s[-1] if later_s else 0,
        "looked_at": array.now + len(later_s),
        "place": place,
        "own_s": own_s,
    }


def _where(start: Reservation | None) -> Document:
    if start is None:
        return {"at_s": 0, "partition": "", "nodes": ""}
    return {"at_s": start.start_s, "partition": start.partition, "nodes": hostlist.compress([share.node for share in start.shares])}


def blocker_document(blocker: Blocker, request: Request, named: Named, now_s: int) -> Document:
    reason = blocker.reason
    document: Document = {
        "tier": reason.tier,
        "word": reason.word,
        "what": reason.what,
        "asked": reason.asked,
        "most": reason.most,
        "per": "job" if any(key == reason.what for key, _ in request.gres_total) and reason.asked > 1 else "node",
        "names": [named(int(name))[0] if reason.word == "Priority" else name for name in reason.names],
        "partition": blocker.partition,
        "resource": blocker.what,
        "free": blocker.free,
        "configured": blocker.configured,
        "down": list(blocker.down),
        "holders": [],
        "more": blocker.more,
        "until_s": 0,
    }
    for holder in blocker.holders:
        job, user = named(holder.job_id)
        until_s = holder.end_s if holder.end_s - now_s <= UNTIL_MAX_S else 0
        document["holders"].append({"job": job, "user": user, "amount": holder.amount, "nodes": list(holder.nodes), "until_s": until_s})
    document["sentence"] = sentence(document)
    return document


def obstacles(state: State, indexes: Indexes, job: Job, named: Named) -> list[Document]:
    """What keeps a waiting job out of the planner's queue, the dominant first."""
    found: list[Document] = []
    if job.hold:
        text = HOLDS.get(job.hold, "it is held; scontrol release {id} frees it").format(id=named(job.id)[0])
        found.append(_obstacle(POLICY, job.hold, text))
    elif not job.priority:
        found.append(_obstacle(POLICY, "JobHeldAdmin", "its priority is 0, which holds it"))
    if job.dependency:
        if job.dependency_failed:
            text = f"{job.dependency} can never be fulfilled; scancel it, or give it another dependency with scontrol update"
            found.insert(0, _obstacle(IMPOSSIBLE, "DependencyNeverSatisfied", text))
        else:
            found.append(_obstacle(WAITING, "Dependency", _dependency(state, indexes, job, named)))
    if job.eligible_ms > indexes.clock_ms:
        found.append(_obstacle(POLICY, "BeginTime", "it may not begin earlier", -(-job.eligible_ms // 1000)))
    limit, active = job.spec.array_limit, len(indexes.active_elements.get(job.array_job_id, ()))
    if limit and job.array_job_id and active >= limit:
        text = f"{active} of its elements run and its %{limit} allows {limit} at once"
        found.append(_obstacle(POLICY, "JobArrayTaskLimit", text, _next_end_s(state, indexes, job)))
    return sorted(found, key=lambda one: TIERS.index(one["tier"]))


def _obstacle(tier: str, word: str, text: str, until_s: int = 0) -> Document:
    return {
        **{"tier": tier, "word": word, "what": "", "asked": 0, "most": 0, "per": "job", "names": [], "partition": "", "resource": ""},
        **{"free": 0, "configured": 0, "down": [], "holders": [], "more": 0, "until_s": until_s, "sentence": text},
    }


def _next_end_s(state: State, indexes: Indexes, job: Job) -> int:
    """When the first of the array's running elements reaches its limit; 0: none has one."""
    limits = [state.jobs[element].end_limit_ms for element in indexes.active_elements.get(job.array_job_id, ())]
    return -(-min((limit_ms for limit_ms in limits if limit_ms), default=0) // 1000)


def _dependency(state: State, indexes: Indexes, job: Job, named: Named) -> str:
    """`afterok of 12 (RUNNING), afterany of 13 (PENDING)`."""
    waits_for = parse(job.dependency)
    told: list[str] = []
    for condition in waits_for.conditions[:PARENTS_MAX]:
        if not condition.targets:
            rivals = [other for other in indexes.same_name.get((job.spec.uid, job.spec.name)) if other != job.id]
            names = [named(other)[0] for other in rivals[:PARENTS_MAX]]
            told.append(f"singleton: the end of {', '.join(names)}" + (" and others" if len(rivals) > PARENTS_MAX else ""))
        told += [f"{condition.kind} of {target} ({_state_of(state, indexes, target.job_id)})" for target in condition.targets]
    more = len(waits_for.conditions) - PARENTS_MAX
    joined = (" or " if waits_for.any_of else ", ").join(told)
    return f"{joined} and {more} more" if more > 0 else joined


def _state_of(state: State, indexes: Indexes, job_id: int) -> str:
    """One word for a job, counts for an array."""
    rows = indexes.rows_of(job_id)
    if not rows:
        return "no longer known"
    words = list(dict.fromkeys("COMPLETING" if row.completing else STATE_NAMES[row.state] for row in rows))
    return words[0] if len(words) == 1 else ", ".join(sorted(words))
