"""How fast jobs are accepted: held jobs from 1 and 8 clients, the Python client's batch call, one large array."""

import time

from processes import Failed, NotYet, client_errors, client_lines, run_loops
from rows import Figure, Measure, Row, at_least, ceiling, floor
from systems import System


def held(clients: int, each: int) -> Measure:
    def measure(system: System) -> Figure:
        script = system.work / "held.sh"
        script.write_text("#!/bin/sh\ntrue\n")
        count = clients * each
        seconds = run_loops(clients, each, f"sbatch --parsable --hold {script}", system.environment, system.work)
        accepted = client_lines(system.work, clients)
        if len(accepted) != count:
            raise Failed(f"{count - len(accepted)} of {count} sbatch were refused: {client_errors(system.work, clients)}")
        queued = system.active_count()
        return Figure(count / seconds, f"{queued} jobs in squeue", () if queued == count else (f"{queued} jobs in squeue of {count}",))

    return measure


def batch_call(count: int) -> Measure:
    def measure(system: System) -> Figure:
        try:
            from penstock.client import Client
        except ImportError:
            raise NotYet("penstock.client is not there yet") from None
        shared = {"script": "#!/bin/sh\ntrue\n", "hold": True, "work_dir": str(system.work), "environment": system.environment}
        client = Client(str(system.cluster))
        began = time.perf_counter()
        ids = client.submit_many([{"name": f"held-{n}", **shared} for n in range(count)])
        seconds = time.perf_counter() - began
        queued = system.active_count()
        faults = () if queued == count == len(set(ids)) else (f"{len(set(ids))} ids, {queued} jobs in squeue, of {count}",)
        return Figure(count / seconds, f"{queued} jobs in squeue", faults)

    return measure


def large_array(count: int) -> Measure:
    def measure(system: System) -> Figure:
        script = system.work / "array.sh"
        script.write_text("#!/bin/sh\ntrue\n")
        began = time.perf_counter()
        system.submit("--hold", f"--array=0-{count - 1}", str(script))
        seconds = time.perf_counter() - began
        queued = system.active_count()
        return Figure(1000 * seconds, f"{queued} elements in squeue -r", () if queued == count else (f"{queued} elements of {count}",))

    return measure


ROWS = [
    Row("held1", "submissions of held jobs, 1 client", "jobs/s", "≥ 0.6 × Slurm", at_least(0.6), held(1, 500)),
    Row("held8", "submissions of held jobs, 8 clients", "jobs/s", "≥ 1 × Slurm", at_least(1), held(8, 125)),
    Row(
        "batchcall", "the same by the Python client's batch call", "jobs/s", "≥ 5,000", floor(5000), batch_call(10_000), penstock_only=True
    ),
    Row("array10000", "one array of 10,000, held, in one commit", "ms", "≤ 200 ms", ceiling(200), large_array(10_000), digits=1),
]
