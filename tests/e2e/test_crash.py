"""Random SIGKILLs under load, with real processes: nothing acknowledged is lost, nothing doubled, nothing left behind.

Clients submit without a pause while a killer picks one of controller, agent, launcher and shepherd at random and `penstock up` brings
back what is down. At the end the accounting, the jobs' own evidence and the process table must agree. PENSTOCK_CRASH_KILLS sets the
number of kills (50 in the test command, 500 in `make crash`), PENSTOCK_CRASH_SEED the order.
"""

import os
import random
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

from conftest import Cluster, pause, running, wait_for

KILLS = int(os.environ.get("PENSTOCK_CRASH_KILLS", "50"))
SEED = int(os.environ.get("PENSTOCK_CRASH_SEED", "1"))
CLIENTS = 2
MAX_OPEN = 60
"""Jobs that a client lets wait before it submits the next."""
DRAIN_LIMIT_S = 120
SCRIPT = """#!/bin/sh
echo "$SLURM_JOB_ID $SLURM_RESTART_COUNT $$" >> {evidence}
sleep 0.$((SLURM_JOB_ID % 5))
exit $((SLURM_JOB_ID % 3))
"""


class Submitter(threading.Thread):
    """Submits until told to stop; keeps every id that was printed."""

    def __init__(self, cluster: Cluster, script: Path, requeue: bool) -> None:
        super().__init__()
        self.cluster = cluster
        self.words = ["sbatch", "--parsable", "--requeue" if requeue else "--no-requeue", "-o", "/dev/null", str(script)]
        self.ids: list[int] = []
        self.refused: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            done = self.cluster.attempt(*self.words)
            if done.returncode == 0:
                self.ids.append(int(done.stdout))
            else:
                self.refused.append(done.stderr)


def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    with running(tmp_path / "crash", "--nodes", "2", "--cpus", "8") as cluster:
        evidence = cluster.work / "evidence"
        evidence.touch()
        script = cluster.work / "job.sh"
        script.write_text(SCRIPT.format(evidence=evidence))
        clients = [Submitter(cluster, script, requeue=number % 2 == 1) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        kills: Counter[str] = Counter()
        try:
            while sum(kills.values()) < KILLS:
                role = dice.choice(("controller", "agent", "launcher", "shepherd", "shepherd"))
                found = cluster.processes(role)
                if not found:
                    pause()
                    continue
                try:
                    os.kill(dice.choice(found)[1], signal.SIGKILL)
                except ProcessLookupError:  # a shepherd whose job ended meanwhile
                    continue
                kills[role] += 1
                cluster.up()
        finally:
            for client in clients:
                client.stop.set()
            for client in clients:
                client.join()
        wait_for(lambda: not cluster.run("squeue", "-h", "-o", "%i", status=None).strip(), "an empty queue", DRAIN_LIMIT_S)
        acknowledged = [number for client in clients for number in client.ids]
        requeue = set(clients[1].ids)
        rows = cluster.run("sacct", "-n", "-X", "-P", "-o", "JobID,State,ExitCode", "-S", "2020-01-01").split()
        accounts = {int(job): (state, code) for job, state, code in (row.split("|") for row in rows)}
        runs = Counter(tuple(map(int, line.split()[:2])) for line in evidence.read_text().splitlines())
        lost = [number for number in acknowledged if number not in accounts]
        given_twice = [number for number, count in Counter(acknowledged).items() if count > 1]
        doubled = [run for run, count in runs.items() if count > 1 or (run[1] > 0 and run[0] not in requeue)]
        unproven = [n for n, (state, _) in accounts.items() if state == "COMPLETED" and not any(run[0] == n for run in runs)]
        wrong_code = [n for n, (state, code) in accounts.items() if state != "FAILED" and code != f"{n % 3}:0"]
        strange = {n: state for n, (state, _) in accounts.items() if state not in ("COMPLETED", "FAILED")}
        orphans = orphaned(cluster)
        print(
            f"\n{sum(kills.values())} kills {dict(kills)}, seed {SEED}: {len(acknowledged)} jobs acknowledged, {len(accounts)} in sacct, "
            f"{sum(runs.values())} runs; lost {len(lost)}, given twice {len(given_twice)}, doubled {len(doubled)}, orphans {len(orphans)}"
        )
        assert not any(client.refused for client in clients), clients[0].refused[:1] + clients[1].refused[:1]
        assert (lost, given_twice, doubled, unproven, wrong_code, strange, orphans) == ([], [], [], [], [], {}, [])
        assert len(acknowledged) >= KILLS


def orphaned(cluster: Cluster) -> list[str]:
    """Processes of jobs that are still there although the queue is empty."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if f"PENSTOCK_DIR={cluster.folder}".encode() in environment and b"SLURM_JOB_ID=" in environment:
            found.append(subprocess.run(["ps", "-o", "pid,args", "-p", entry], capture_output=True, text=True).stdout)
    return found
