"""A log of a million jobs through `penstock sim run`: peak memory and CPU time as the log grows.

    python benchmarks/long_log.py [--jobs 10000,100000,1000000] [--policy easy] [--seed 1]

The log is made here, from the seed: users of whom few submit most come at times of a Poisson process whose rate follows the hour of the
day, each with a burst of jobs that are alike, as an array's elements (1 to 64 GPUs, log-normal run times); the whole offers LOAD of the
cluster's GPU-seconds. Each number of jobs is a process of its own that reads the same file; its peak resident memory and CPU time are
what the kernel counted. Exit code 1 where a job of the longest log costs more than BAR_BYTES beyond what the shortest log needed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

CLUSTER, GPUS = "96*n[gpu:8]", 768
LOAD = 0.8
SIZES, SHARES = (1, 2, 4, 8, 16, 32, 64), (60, 8, 10, 15, 4, 2, 1)
MEDIAN_S, SIGMA, LONGEST_S = 600, 2.0, 2 * 86_400
DAY_S = 86_400
TIDE = 0.6
"""How much more than the mean is submitted at the day's peak, and less at its ebb."""
USERS = 2_000
BURST = 100
"""Jobs that come at once, on average (geometric)."""
SAMPLE = 100_000
"""Run times of which the mean is taken."""
BAR_BYTES = 256
HEAD = "job_id,user,tenant,submit_time,num_chips,num_nodes,duration_s,final_status\n"


def jobs(seed: int) -> Iterator[str]:
    """Lines of the log, without end."""
    random = Random(seed)
    of_users = list(accumulate(1 / rank for rank in range(1, USERS + 1)))
    of_sizes = list(accumulate(SHARES))
    mean_size = sum(size * share for size, share in zip(SIZES, SHARES, strict=True)) / sum(SHARES)
    sample = Random(seed)
    mean_s = sum(_run_s(sample) for _ in range(SAMPLE)) / SAMPLE
    gap_s = BURST * mean_size * mean_s / (LOAD * GPUS)
    at_s, number = 0.0, 0
    while True:
        tide = 1 + TIDE * math.sin(2 * math.pi * at_s / DAY_S)
        at_s += random.expovariate(tide / gap_s)
        size = random.choices(SIZES, cum_weights=of_sizes)[0]
        user = random.choices(range(USERS), cum_weights=of_users)[0]
        run_s = _run_s(random)
        while True:
            yield f"{number},u{user},t,{int(at_s) * 1_000_000},{size},{-(-size // 8)},{run_s},Pass\n"
            number += 1
            if random.random() < 1 / BURST:
                break


def _run_s(random: Random) -> int:
    return min(LONGEST_S, 1 + int(random.lognormvariate(math.log(MEDIAN_S), SIGMA)))


def write(path: Path, seed: int, count: int) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write(HEAD)
        for _, line in zip(range(count), jobs(seed), strict=False):
            file.write(line)


def measure(path: Path, policy: str, count: int) -> tuple[float, float, dict[str, Any]]:
    """Peak memory in MiB, CPU time in seconds, the figures."""
    command = [sys.executable, "-m", "penstock", "sim", "run", "--trace", str(path), "--cluster", CLUSTER, "--policy", policy]
    command += ["--limits", "modal", "--max-limit", "2-0", "--jobs", str(count), "--json"]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
        out.seek(0)
        return used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, json.load(out)["policies"][policy]


def main() -> int:
    parser = argparse.ArgumentParser(description="a log of a million jobs: memory and time")
    parser.add_argument("--jobs", default="10000,100000,1000000", metavar="N[,N]", help="lengths, growing (default %(default)s)")
    parser.add_argument("--policy", default="easy")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts = [int(count) for count in options.jobs.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv.gz"
        write(path, options.seed, counts[-1])
        print(f"{options.policy} on {CLUSTER}, load {LOAD}, modal limits, seed {options.seed}\n")
        print(
            "| jobs | peak memory MiB | CPU s | jobs/s | days | waiting, most | utilisation | wait mean s |\n|" + " --- |" * 8, flush=True
        )
        peaks = []
        for count in counts:
            mib, seconds, found = measure(path, options.policy, count)
            peaks.append(mib)
            cells = (
                f"{found['makespan_s'] / DAY_S:.0f} | {found['queue_most']:,} | {found['utilisation']:.1%} | {found['wait_s']['mean']:,.0f}"
            )
            print(f"| {count:,} | {mib:.0f} | {seconds:.0f} | {count / seconds:,.0f} | {cells} |", flush=True)
    if len(counts) < 2:
        return 0
    each = (peaks[-1] - peaks[0]) * 1024 * 1024 / (counts[-1] - counts[0])
    print(f"\nbeyond the first: {each:.0f} bytes a job (bar {BAR_BYTES})")
    return int(each > BAR_BYTES)


if __name__ == "__main__":
    sys.exit(main())
