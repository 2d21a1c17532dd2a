"""What it would cost to tell a batch script its own pid (SLURM_TASK_PID): CPU per start of the same script, three ways.

    python benchmarks/task_pid.py [--starts N]

`posix_spawn` is what the shepherd does: the child shares the parent's memory until it executes, and nobody can put its pid into the
environment before. `trampoline` lets /bin/sh add the variable and execute the script. `fork` lets the child do it itself, in a process
as large as a shepherd (its modules are imported here). CPU is of this process and its children together.
"""

import argparse
import os
import resource
import tempfile
from collections.abc import Callable

import penstock.agent.shepherd.run  # noqa: F401 - a shepherd's memory, which a fork copies the tables of

ROUNDS = 6
SCRIPT = "#!/bin/bash\ntrue\n"
TRAMPOLINE = 'SLURM_TASK_PID=$$ exec "$0" "$@"'


def cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def fork(script: str) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            os.execve(script, [script], os.environ | {"SLURM_TASK_PID": str(os.getpid())})
        finally:
            os._exit(127)
    return pid


WAYS: dict[str, Callable[[str], int]] = {
    "posix_spawn": lambda script: os.posix_spawn(script, [script], os.environ),
    "trampoline": lambda script: os.posix_spawn("/bin/sh", ["sh", "-c", TRAMPOLINE, script], os.environ),
    "fork": fork,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=300, metavar="N", help="starts of each way in a round (default 300)")
    starts = parser.parse_args().starts
    with tempfile.TemporaryDirectory() as folder:
        script = f"{folder}/script"
        with open(script, "w", encoding="ascii") as file:
            file.write(SCRIPT)
        os.chmod(script, 0o700)
        costs_ms: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(ROUNDS):
            for name, start in WAYS.items():
                before_s = cpu_s()
                for _ in range(starts):
                    os.waitpid(start(script), 0)
                costs_ms[name].append((cpu_s() - before_s) / starts * 1000)
    least = min(costs_ms["posix_spawn"])
    for name, found in costs_ms.items():
        print(f"{name:12} {min(found):5.2f} ms of CPU a start (least of {ROUNDS} rounds), {min(found) / least - 1:+.0%}")


if __name__ == "__main__":
    main()
