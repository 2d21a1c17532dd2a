"""What a pending job costs in memory: the engine's State, Indexes and planner columns, without blobs, store and replies.

    python benchmarks/planner_memory.py [--jobs N]          default 100000; exit code 1 where a bar is missed

Every job is submitted through the engine's own request handling, and no two are alike: name, working directory, output file, submit
line and the digests of script and environment differ. The store is absent: what is committed is forgotten at once. Figures are the growth
of this process's resident memory (RSS), so they hold dictionaries and the allocator's waste too; each row is measured in a process of its
own.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import subprocess
import sys
from pathlib import Path

from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.reactor import Reactor
from penstock.engine.state import State
from penstock.store.base import Batch
from penstock.wire import messages as m

NODES = 1_000
BATCH = 256
NOW_MS = 1_800_000_000_000
ELEMENTS = 1_000_000
JOB_BAR_BYTES = 2_048
ARRAY_BAR_BYTES = 8_192
"""An array is one row: no more than a few jobs' worth, whatever its number of elements."""


class Nowhere:
    """The world outside the engine: commits are durable at once and forgotten, nobody hears anything."""

    def __init__(self) -> None:
        self.reactor: Reactor | None = None
        self.refusals: list[bytes] = []

    def commit(self, batch: Batch) -> None:
        assert self.reactor is not None
        self.reactor.committed(batch.events[-1][0])

    def send(self, node: str, message: object) -> None:
        return

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        if kind == "!":
            self.refusals.append(payload)

    def blob(self, digest: bytes) -> bytes:
        return b""

    def history(self, job_id: int) -> list[int]:
        return []

    def mail(self, user: str, subject: str) -> None:
        return


def engine() -> tuple[Reactor, Nowhere]:
    outside = Nowhere()
    reactor = Reactor(State(), outside, "/cluster")
    outside.reactor = reactor
    names = [f"n{number}" for number in range(NODES)]
    reactor.take_office(ClusterConfig(max_job_count=2 * ELEMENTS), dict.fromkeys(names), NOW_MS)
    for name in names:
        gpus = tuple(m.GpuInfo(f"GPU-{name}-{at}", "h100", at) for at in range(8))
        reactor.nodes.hello(m.Hello(m.PROTOCOL_VERSION, name, name, "boot", "test", 96, 1 << 20, 0, gpus, ()), NOW_MS)
    reactor.flush()
    return reactor, outside


def submit(reactor: Reactor, number: int, **more: object) -> None:
    fields: dict[str, object] = {
        "op": "submit",
        "name": f"train-{number}",
        "nodes_min": 1 + number % 7,
        "cpus_per_task": 1 + number % 12,
        "gpus_per_node": (f"gpu:{1 + number % 8}",),
        "mem_per_node_mib": 1_024 * (1 + number % 5),
        "time_limit_s": 600 * (1 + number % 144),
        "work_dir": f"/home/user{number % 50}/runs/{number}",
        "std_out": f"/home/user{number % 50}/runs/{number}/slurm-%j.out",
        "alloc_node": "login1",
        "alloc_sid": 1_000 + number,
        "umask": 0o022,
        "rlimits": ("NOFILE=1024", "NPROC=4096", "STACK=8388608", "CORE=0", "MEMLOCK=unlimited", "AS=unlimited"),
        "command": f"/home/user{number % 50}/runs/{number}/job.sh",
        "submit_line": f"sbatch --gpus-per-node={1 + number % 8} /home/user{number % 50}/runs/{number}/job.sh",
    }
    caller = Caller(1_000 + number % 50, 1_000, f"user{number % 50}", "users")
    sections = [b"#!/bin/sh\n# %d\n" % number, hashlib.sha256(b"%d" % number).digest()]
    reactor.requests.handle(number, caller, fields | more, sections, NOW_MS, None)


def resident_bytes() -> int:
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise OSError("/proc/self/status has no VmRSS")


def grow(jobs: int, array: bool) -> None:
    """Prints bytes grown and rows kept, for the parent."""
    reactor, outside = engine()
    for number in range(BATCH):  # what is made once (codes, caches, tables) is there before the first reading
        submit(reactor, number)
    reactor.flush()
    rows, records = len(reactor.state.jobs), len(reactor.view(NOW_MS).pending)
    before = resident_bytes()
    if array:
        submit(reactor, BATCH, array=f"0-{ELEMENTS - 1}")
        reactor.flush()
    for number in range(BATCH, BATCH if array else BATCH + jobs):
        submit(reactor, number)
        if number % BATCH == 0:
            reactor.flush()
    reactor.flush()
    pending = reactor.view(NOW_MS).pending
    grown = resident_bytes() - before
    if outside.refusals:
        raise AssertionError(outside.refusals[0])
    print(grown, len(reactor.state.jobs) - rows, len(pending) - records, int(pending.count.sum()) - records)


def measured(*arguments: str) -> list[int]:
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--child", choices=("jobs", "array"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        grow(options.jobs, options.child == "array")
        return 0
    grown, rows, records, _ = measured("--child", "jobs", "--jobs", str(options.jobs))
    job_bytes = grown / rows
    print(f"{rows:,} jobs, no two alike: {rows:,} rows, {records:,} records, {job_bytes:,.0f} bytes a job (bar {JOB_BAR_BYTES:,})")
    grown, rows, records, elements = measured("--child", "array")
    print(f"an array of {elements:,} elements: {rows} row, {records} record, {grown:,} bytes (bar {ARRAY_BAR_BYTES:,})")
    return int(job_bytes > JOB_BAR_BYTES or grown > ARRAY_BAR_BYTES or rows != 1 or records != 1 or elements != ELEMENTS)


if __name__ == "__main__":
    sys.exit(main())
