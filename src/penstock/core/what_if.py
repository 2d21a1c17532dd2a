"""What would start sooner: changed requests, each judged by the planner itself.

Two passes that are over answer: ``plan`` decided about those ahead of the job as every cycle does, and says whether a changed request
would start now; ``queue`` holds the earliest start of everyone ahead, and says when it would start otherwise. A change is told only if
what the planner computed for it is sooner than for the job as it is.

Ladders: an amount (GPUs, nodes, tasks, CPUs, memory) goes down to the most that starts now, found by halving; where none does, to a half;
the time limit goes down to the longest that ends before one of the promised starts ahead; a restriction (constraint, node list,
exclusive use) is left out, a required level of the topology is widened before that; another partition that takes the user is tried.
Bounds: PROBES_MAX questions, CHANGES_MAX answers. The least amounts that no job can do without (1 node, 1 CPU) are not offered, nor is more
than one change at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from penstock.core.backfill import Backfill
from penstock.core.plan import Reservation
from penstock.core.request import GresCounts, Request
from penstock.core.view import Batch

PROBES_MAX = 96
"""Questions to the planner for one job; what would need more is not tried."""
CHANGES_MAX = 6
"""Changes that are told, the soonest first."""
PARTITIONS_MAX = 8
"""Other partitions that are tried."""
GAIN_LEAST_S = 60
"""A start that is sooner by less than this is no gain."""
MINUTE_S = 60
GIB = 1024
RESTRICTIONS = (
    ("constraint", "--constraint"),
    ("contiguous", "--contiguous"),
    ("required_nodes", "--nodelist"),
    ("excluded_nodes", "--exclude"),
    ("exclusive", "--exclusive"),
    ("licenses", "--licenses"),
    ("switches", "--switches"),
    ("segment", "--segment"),
)
"""Fields of a request that only forbid nodes, and the options that set them."""


class Change(NamedTuple):
    """One option, what it would be (empty: left out), the start that the planner computed for the job with it, and that job."""

    option: str
    value: str
    start: Reservation
    batch: Batch


class Amount(NamedTuple):
    """One amount of a request: its option, how it is written, what it is, its unit, and the request with another amount."""

    option: str
    text: Callable[[int], str]
    asked: int
    unit: int
    to: Callable[[int], Request]


class Question(NamedTuple):
    """A job as it is, and where the planner stands.

    batch       what it asks
    start_s     when it is expected; None: not known
    holds       the promised starts ahead of it
    limits_s    time limits that its partitions allow
    others      partitions that it does not name
    wider       levels of the topology that are wider than the one it asks for, narrowest first
    """

    batch: Batch
    start_s: int | None
    holds: Sequence[Reservation]
    limits_s: Sequence[int]
    others: Sequence[str]
    wider: Sequence[str] = ()


def what_if(now_s: int, plan: Backfill, queue: Backfill | None, question: Question) -> Generator[int, None, tuple[Change, ...]]:
    """The changes, the soonest first; ``queue`` None: later starts are not known. Yields after each question."""
    batch = question.batch
    asking = Asking(now_s, plan, queue, question.start_s)
    found: list[Change] = []
    for amount in amounts(batch.request):
        found += yield from asking.lower(batch, amount)
    found += yield from asking.shorten(batch, question)
    for field, option in RESTRICTIONS:
        empty = getattr(Request(), field)
        if getattr(batch.request, field) != empty:
            found += yield from asking.ask(option, "", batch._replace(request=changed(batch.request, field, empty)))
    for level in (*question.wider, "") if batch.request.level else ():
        changes = yield from asking.ask("--topology", level, batch._replace(request=changed(batch.request, "level", level)))
        found += changes
        if changes:
            break
    for name in question.others[:PARTITIONS_MAX]:
        found += yield from asking.ask("--partition", name, batch._replace(partitions=(name,)))
    found.sort(key=lambda change: change.start.start_s)  # stable: the order above among equals
    return tuple(found[:CHANGES_MAX])


Answer = Generator[int, None, Reservation | None]


class Asking:
    """Counts the questions; the answers are lists of no or one change."""

    def __init__(self, now_s: int, plan: Backfill, queue: Backfill | None, start_s: int | None) -> None:
        self.probes = 0
        self._now_s = now_s
        self._plan = plan
        self._queue = queue
        self._start_s = start_s

    def ask(self, option: str, value: str, batch: Batch) -> Generator[int, None, list[Change]]:
        """The change, if it gains anything."""
        start = yield from self._now(batch)
        if start is None:
            start = yield from self._later(batch)
        yield self.probes
        if start is None or (self._start_s is not None and start.start_s > self._start_s - GAIN_LEAST_S):
            return []
        return [Change(option, value, start, batch)]

    def lower(self, batch: Batch, amount: Amount) -> Generator[int, None, list[Change]]:
        """The most of an amount that starts now; else the most that ever starts where the job as it is never does, else a half of it, if
        that is sooner."""
        found = yield from self._most(batch, amount, self._now)
        if found is None and self._start_s is None:
            found = yield from self._most(batch, amount, self._later)
        if found is not None:
            return [found]
        half = amount.asked // 2 // amount.unit * amount.unit
        if not half or self._start_s is None:
            return []
        changes = yield from self.ask(amount.option, amount.text(half), batch._replace(request=amount.to(half)))
        return changes

    def _most(self, batch: Batch, amount: Amount, when: Callable[[Batch], Answer]) -> Generator[int, None, Change | None]:
        """The most below what is asked that gets a start of this kind, by halving."""
        low, high = 0, -(-amount.asked // amount.unit) - 1  # in units: low is known to start, beyond high nothing does
        best: Reservation | None = None
        while low < high:
            middle = (low + high + 1) // 2
            start = yield from when(batch._replace(request=amount.to(middle * amount.unit)))
            if start is None:
                high = middle - 1
            else:
                low, best = middle, start
        if best is None:
            return None
        value = low * amount.unit
        return Change(amount.option, amount.text(value), best, batch._replace(request=amount.to(value)))

    def shorten(self, batch: Batch, question: Question) -> Generator[int, None, list[Change]]:
        """The longest time limit that ends before a promised start, or that a partition allows, and so starts now; else the longest that
        a partition allows or a half, if that is sooner."""
        until = [(hold.start_s - self._now_s) // MINUTE_S * MINUTE_S for hold in question.holds]
        allowed = [limit_s for limit_s in question.limits_s if 0 < limit_s < batch.time_limit_s]
        limits = sorted({limit_s for limit_s in (*until, *allowed) if 0 < limit_s < batch.time_limit_s})
        low, high = 0, len(limits)
        best: Reservation | None = None
        while low < high:
            middle = (low + high) // 2
            start = yield from self._now(limited(batch, limits[middle]))
            if start is None:
                high = middle
            else:
                low, best = middle + 1, start
        if best is not None:
            return [Change("--time", duration(limits[low - 1]), best, limited(batch, limits[low - 1]))]
        less_s = max(allowed, default=batch.time_limit_s // 2 // MINUTE_S * MINUTE_S)
        if not less_s:
            return []
        changes = yield from self.ask("--time", duration(less_s), limited(batch, less_s))
        return changes

    def _now(self, batch: Batch) -> Answer:
        if not self._may_ask():
            return None
        yield self.probes
        return None if self._plan.refusal(batch) is not None else self._plan.would_now(batch, 0)

    def _later(self, batch: Batch) -> Answer:
        if self._queue is None or not self._may_ask():
            return None
        found = yield from self._queue.would(batch, 0)
        return found if isinstance(found, Reservation) else None

    def _may_ask(self) -> bool:
        if self.probes >= PROBES_MAX:
            return False
        self.probes += 1
        return True


def amounts(request: Request) -> Iterator[Amount]:
    """What the request asks more than one unit of, the scarce first. A request that a lower amount would make wrong is left out."""
    for field, option in (("gres_per_node", "--gpus-per-node"), ("gres_per_task", "--gpus-per-task"), ("gres_total", "--gpus")):
        counts: GresCounts = getattr(request, field)
        for at, (key, count) in enumerate(counts):
            if count > 1:
                yield _gres(request, field, option, at, key, count)
    if request.nodes_min > 1 and not request.required_nodes:
        yield Amount("--nodes", str, request.nodes_min, 1, lambda value: replace(request, nodes_min=value, nodes_max=value))
    if request.ntasks > request.nodes_min:
        yield Amount("--ntasks", str, request.ntasks, 1, lambda value: replace(request, ntasks=max(value, request.nodes_min)))
    if request.ntasks_per_node > 1 and not request.ntasks:
        yield Amount("--ntasks-per-node", str, request.ntasks_per_node, 1, lambda value: replace(request, ntasks_per_node=value))
    if request.cpus_per_task > 1:
        yield Amount("--cpus-per-task", str, request.cpus_per_task, 1, lambda value: replace(request, cpus_per_task=value))
    for field, option in (("memory_per_node_mib", "--mem"), ("memory_per_cpu_mib", "--mem-per-cpu")):
        asked_mib: int = getattr(request, field)
        if asked_mib > 1:
            yield _memory(request, field, option, asked_mib)


def _gres(request: Request, field: str, option: str, at: int, key: str, count: int) -> Amount:
    name, _, kind = key.partition(":")
    if name == "gpu":
        shown, words = option, kind
    else:
        shown, words = {"gres_per_node": "--gres"}.get(field, f"--{field.replace('_', '-')}"), key
    counts: GresCounts = getattr(request, field)

    def to(value: int) -> Request:
        return changed(request, field, (*counts[:at], (key, value), *counts[at + 1 :]))

    return Amount(shown, lambda value: f"{words}:{value}" if words else str(value), count, 1, to)


def _memory(request: Request, field: str, option: str, asked_mib: int) -> Amount:
    """In whole GiB where that is fine enough."""
    unit_mib = GIB if asked_mib >= 4 * GIB else 64 if asked_mib > 256 else 1

    def to(value: int) -> Request:
        return changed(request, field, value)

    return Amount(option, memory, asked_mib, unit_mib, to)


def limited(batch: Batch, time_limit_s: int) -> Batch:
    """The batch with a shorter time limit, which bounds --time-min too."""
    return batch._replace(time_limit_s=time_limit_s, time_min_s=min(batch.time_min_s, time_limit_s))


def changed(request: Request, field: str, value: Any) -> Request:
    """The request with another value of one field."""
    return replace(request, **{field: value})


def memory(mib: int) -> str:
    """As --mem takes it."""
    return f"{mib // GIB}G" if mib % GIB == 0 else f"{mib}M"


def duration(seconds: int) -> str:
    """As --time takes it: ``06:00:00``, ``2-00:00:00``."""
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
