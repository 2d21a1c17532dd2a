"""Measures explanations: `penstock why` of the first, a middle and the last job, the forecast of `squeue --start`, a snapshot and its
reading, on the queues of `benchmarks/planner.py`.

    python benchmarks/explain.py [--quick]      the table

Times are milliseconds of CPU, the minimum of REPETITIONS; the longest slice is the longest time between two yields, at which the controller
serves others (the smallest of the repetitions' longest).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from planner import NOW_S, Case, make

from penstock.core.cycle import Budget, plan_now
from penstock.core.explain import explain
from penstock.core.outlook import batch_at, forecast
from penstock.core.view import View
from penstock.engine.snapshot import pieces, read, same_plan

REPETITIONS = 3
CASES = (
    Case("1,000 of 100 shapes", 100, 1_000, 100, True),
    Case("10,000 of 300 shapes", 1_000, 10_000, 300, True),
    Case("100,000 of 300 shapes", 10_000, 100_000, 300, True),
)


class Timing(NamedTuple):
    total_ms: float
    slice_ms: float


def measure(make_work: Callable[[], Iterator[object]]) -> Timing:
    totals, longest = [], []
    for _ in range(REPETITIONS):
        work = make_work()
        begun_s = last_s = time.process_time()
        most_s = 0.0
        for _ in work:
            now_s = time.process_time()
            most_s, last_s = max(most_s, now_s - last_s), now_s
        end_s = time.process_time()
        totals.append(end_s - begun_s)
        longest.append(max(most_s, end_s - last_s))
    return Timing(min(totals) * 1000, min(longest) * 1000)


def rows(case: Case) -> Iterator[tuple[str, Timing]]:
    view = make(case).view(1, NOW_S)
    plan = plan_now(view)
    for name, row in (
        ("why, first in the queue", 0),
        ("why, in the middle", len(view.pending) // 2),
        ("why, the last", len(view.pending) - 1),
    ):
        yield name, measure(lambda row=row: explaining(view, row))
    yield "forecast of 500 (squeue --start)", measure(lambda: forecast(view, plan.reservations))
    yield "snapshot, plan included", measure(lambda: pieces(Budget(), view, plan))
    content = b"".join(pieces(Budget(), view, plan))
    begun_s = time.process_time()
    snapshot = read(content)
    same = same_plan(plan_now(snapshot.view, snapshot.budget), plan)
    spent_ms = (time.process_time() - begun_s) * 1000
    yield f"read {len(content) / 1e6:.1f} MB and plan again: {'the same plan' if same else 'ANOTHER PLAN'}", Timing(spent_ms, spent_ms)


def explaining(view: View, row: int) -> Iterator[object]:
    return explain(view, int(view.pending.job_id[row]), batch_at(view, row), ("main",))


def main() -> int:
    cases = CASES[:1] if "--quick" in sys.argv[1:] else CASES
    print(f"{'queue':24} {'nodes':>7}  {'what':52} {'ms':>9} {'longest slice':>14}")
    for case in cases:
        for name, timing in rows(case):
            print(f"{case.name:24} {case.nodes:7,}  {name:52} {timing.total_ms:9.1f} {timing.slice_ms:14.1f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
