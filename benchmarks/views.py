"""How long the views hold the controller: whole time and the longest slice of each, over N pending jobs, and the client's formatting.

    python benchmarks/views.py [JOBS]        default 100000

No processes are started: this is the pure code on one core, so it tells the cost that a busy controller pays.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from penstock.controller.views import operations
from penstock.controller.views.sacct import sacct
from penstock.core.request import Request
from penstock.engine.state import RUNNING, Job, JobSpec, Node, NodeAlloc, State, Step
from penstock.spec import fields_sacct, fields_sinfo, fields_squeue
from penstock.spec.outputfmt import Column, parse_fields, parse_letters, template
from penstock.store.base import JobQuery

RUNS = 3


class Notes:
    now_ms = 1_800_000_000_000

    def reason(self, job: Job) -> str:
        return "Priority"

    def expected_start_ms(self, job_id: int) -> int:
        return 0

    def sched_nodes(self, job_id: int) -> str:
        return ""

    def load(self, node: str) -> tuple[int, int]:
        return 100, 1000


class Listed:
    """Accounts over decoded jobs: the store's own time is measured in benchmarks/store_commit.py."""

    def __init__(self, jobs: list[Job]) -> None:
        self._jobs = jobs

    def jobs(self, query: JobQuery) -> Iterator[Job]:
        return iter(self._jobs)

    def steps(self, job_ids: object) -> Iterator[Step]:
        return iter(())


def build(count: int) -> State:
    """Priorities fall with the id, as they do without weights."""
    state = State()
    for index in range(1000):
        state.nodes[f"n{index}"] = Node(f"n{index}", "box", 8, 8000, registered=True, responding=True)
    for job_id in range(1, count + 1):
        spec = JobSpec(
            name=f"job{job_id % 977}",
            uid=1000,
            gid=1000,
            user=f"user{job_id % 50}",
            group="lab",
            partitions=("main",),
            request=Request(),
            time_limit_s=3600,
            work_dir="/home/ada",
        )
        state.jobs[job_id] = Job(id=job_id, spec=spec, priority=4_294_901_760 - job_id, submit_ms=1_799_999_000_000)
    for job_id in range(1, min(1000, count // 10) + 1):
        job = state.jobs[job_id]
        job.state, job.start_ms, job.partition = RUNNING, 1_799_999_900_000, "main"
        job.allocs, job.nodes_left = (NodeAlloc(f"n{job_id - 1}", 4, 4000),), (f"n{job_id - 1}",)
    return state


def measure(name: str, make: object) -> list[bytes]:
    """Prints the best of RUNS; the chunks of the last one."""
    best: tuple[float, float, int] | None = None
    chunks: list[bytes] = []
    for _ in range(RUNS):
        chunks, slices = [], []
        begun = before = time.perf_counter()
        for chunk in make():  # type: ignore[operator]
            now = time.perf_counter()
            slices.append(now - before)
            before = now
            chunks.append(chunk)
        total = time.perf_counter() - begun
        best = (min(best[0], total), min(best[1], max(slices)), len(slices)) if best else (total, max(slices), len(slices))
    assert best is not None
    size_mb = sum(map(len, chunks)) / 1e6
    print(f"{name:<28} {best[0] * 1e3:8.1f} ms   longest slice {best[1] * 1e3:6.2f} ms of {best[2]:6d}   {size_mb:7.2f} MB")
    return chunks


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    state, notes = build(count), Notes()
    gc.collect()
    gc.freeze()
    print(f"{count} jobs, 1,000 nodes; best of {RUNS}")

    def fields(columns: list[Column]) -> list[str]:
        return [column.field for column in columns]

    columns = parse_letters(fields_squeue.DEFAULT, fields_squeue.LETTERS, fields_squeue.FIELDS)[1]
    request = {"fields": fields(columns)}
    chunks = measure("squeue", lambda: operations.view("squeue", state, notes, request, 0))
    begun = time.perf_counter()
    fill = template(columns).__mod__
    size = 0
    for chunk in filter(None, chunks):
        size += len("".join(map(fill, zip(*[column.split("\x1f") for column in chunk.decode().split("\x1e")], strict=True))))
    print(f"{'  its formatting (client)':<28} {(time.perf_counter() - begun) * 1e3:8.1f} ms   {size / 1e6:.2f} MB")
    by_name = request | {"sort": "j"}
    measure("squeue -S j", lambda: operations.view("squeue", state, notes, by_name, 0))
    measure("squeue --me", lambda: operations.view("squeue", state, notes, request | {"users": ["1"]}, 0))
    measure("squeue -j N", lambda: operations.view("squeue", state, notes, request | {"jobs": ["7"]}, 0))
    measure("squeue --json", lambda: operations.view("json_jobs", state, notes, {"states": ["all"]}, 0))
    nodes = fields(parse_letters(fields_sinfo.DEFAULT, fields_sinfo.LETTERS, fields_sinfo.FIELDS)[1])
    measure("sinfo", lambda: operations.view("sinfo", state, notes, {"fields": nodes}, 0))
    measure("scontrol show job", lambda: operations.view("show_job", state, notes, {}, 0))
    measure("scontrol show job N", lambda: operations.view("show_job", state, notes, {"names": ["7"]}, 0))
    accounts = Listed(list(state.jobs.values()))
    wanted = fields(parse_fields(fields_sacct.DEFAULT, fields_sacct.FIELDS, "sacct"))
    measure("sacct (without the store)", lambda: sacct(state, notes, {"fields": wanted}, 0, accounts))


if __name__ == "__main__":
    main()
