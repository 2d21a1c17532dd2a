"""Group commit of the store: job rows a second by batch size, alone and beside a busy thread. `python benchmarks/store_commit.py [FOLDER]`.

FOLDER chooses the disk (default: the temporary folder). Every row is a job of 700 bytes with its index columns and one event of 300 bytes;
every batch is durable before the next begins.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import threading
import time

from penstock.store.base import Batch, JobIndex
from penstock.store.blobs import environment_blob, script_blob
from penstock.store.sqlite import SqliteStore

SCRIPT = script_blob(b"#!/bin/sh\ntrue\n")
SHARED = environment_blob(b"NAME=value\0" * 450)
ROW, EVENT = bytes(700), bytes(300)


def batch(keys, seq, own_environments=False):
    made = Batch(blobs=[SCRIPT, SHARED], events=[(seq + place, EVENT) for place in range(1, len(keys) + 1)])
    for key in keys:
        environment = environment_blob(b"JOB=%d\0" % key + SHARED[1]) if own_environments else SHARED
        if own_environments:
            made.blobs.append(environment)
        index = JobIndex(key, 0, 1000, key, 0, 0, 1, "job", "account", "main", "PENDING", 0, -1, SCRIPT[0], environment[0])
        made.upserts.append(("job", key, ROW, index))
    return made


def measure(store, label, batches):
    times_s = []
    for one in batches:
        begun = time.perf_counter()
        store.commit(one)
        times_s.append(time.perf_counter() - begun)
    rows = sum(len(one.upserts) for one in batches)
    times_s.sort()
    p50_ms, p99_ms = (1e3 * times_s[int(len(times_s) * part)] for part in (0.5, 0.99))
    print(f"{label:42} {rows / sum(times_s):10,.0f} rows/s {p50_ms:9.2f} ms p50 {p99_ms:9.2f} ms p99")


def main():
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        store = SqliteStore(folder)
        keys, seqs = itertools.count(1), itertools.count(0)

        def batches(count, size, **options):
            made = []
            for _ in range(count):
                first = next(itertools.islice(seqs, size - 1, None)) - size + 1
                made.append(batch(list(itertools.islice(keys, size)), first, **options))
            return made

        measure(store, "new jobs, one by one", batches(500, 1))
        measure(store, "new jobs, batches of 16", batches(200, 16))
        measure(store, "new jobs, batches of 256", batches(200, 256))
        measure(store, "new jobs, 256, an environment each", batches(40, 256, own_environments=True))
        stop = threading.Event()

        def spin():
            while not stop.is_set():
                sum(range(1000))

        busy = threading.Thread(target=spin)
        busy.start()
        measure(store, "new jobs, 256, beside a busy thread", batches(40, 256))
        stop.set()
        busy.join()
        begun = time.perf_counter()
        with store.load() as loaded:
            count = sum(1 for _ in loaded.rows("job"))
        print(f"{f'load of {count:,} jobs':42} {time.perf_counter() - begun:10.3f} s")
        store.close()


if __name__ == "__main__":
    main()
