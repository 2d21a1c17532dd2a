"""A queue of many pending jobs that cannot start, each submitted for itself with its own environment of about 5 KB.

All nodes are taken by one exclusive job, so the pending jobs are eligible and every scheduling pass looks at them: held jobs would cost
a scheduler nothing.
"""

from processes import Failed, NotYet, client_errors, client_lines, pss_mib, run_loops
from rows import Figure
from systems import System

ENVIRONMENT_BYTES = 5000
CLIENTS = 8
BATCH = 1000


def fill(system: System, count: int) -> None:
    """Adds pending jobs until there are `count`; does nothing if there are at least as many."""
    script = system.work / "waits.sh"
    if not system.pending:
        script.write_text("#!/bin/sh\ntrue\n")
        system.submit("--exclusive", f"--nodes={system.nodes}", "--output=/dev/null", "--job-name=blocker", "--wrap", "exec sleep 1000000")
    missing = count - system.pending
    if missing <= 0:
        return
    try:
        fill_by_client(system, script.read_text(), missing)
    except NotYet:
        fill_by_commands(system, missing)
    system.pending = count


def fill_by_client(system: System, script: str, count: int) -> None:
    if system.interpreter() is None:
        raise NotYet("no Python client")
    try:
        from penstock.client import Client
    except ImportError:
        raise NotYet("penstock.client is not there yet") from None
    client = Client(str(system.cluster))
    shared = {"name": "waits", "script": script, "std_out": "/dev/null", "work_dir": str(system.work)}
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        client.submit_many(
            [{**shared, "environment": {"PATH": system.environment["PATH"], "PAD": f"{n:0{ENVIRONMENT_BYTES}}"}} for n in numbers]
        )


def fill_by_commands(system: System, count: int) -> None:
    each = -(-count // CLIENTS)
    command = f"PAD=$(printf '%0{ENVIRONMENT_BYTES}d' $n) sbatch --parsable --output=/dev/null waits.sh"
    run_loops(CLIENTS, each, command, system.environment, system.work)
    accepted = len(client_lines(system.work, CLIENTS))
    if accepted < count:
        raise Failed(f"{count - accepted} of {count} sbatch were refused: {client_errors(system.work, CLIENTS)}")


def memory(system: System) -> Figure:
    pids = system.measured_pids()
    if not pids:
        raise Failed("no controller process found")
    return Figure(
        pss_mib(pids), f"PSS of {len(pids)} process{'es' if len(pids) > 1 else ''} with {system.active_count()} jobs in the queue"
    )
