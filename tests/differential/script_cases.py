"""The scripts of the differential suite: each is what a person types at a shell, on a real Slurm and on Penstock.

The cases lie in cases/*.sh, each under a line `#### name` or `#### name | flags`. A case is a shell text. It runs in an empty folder of its
own, with the cluster's commands on PATH, NODE0 to NODE3 naming the nodes, and the functions of PRELUDE. What is compared afterwards: its
exit code, its stdout and stderr, and every file it leaves but those named *.sh. Files named *.env are compared variable by variable.

Cases run side by side, so no outcome may depend on which node was free; a case that asks for a node by name has the flag `exact nodes`.
With the flag `any order` the lines of each output are sorted before they are compared, because several tasks write. With `explained`
Penstock may say more on stderr than Slurm, but all that Slurm says. Cases wait for events,
not for time: --wait, a dependent job, a FIFO that the job writes to.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("cases")
FLAGS = ("exact nodes", "any order", "explained")

PRELUDE = r"""
set -u
script() { printf '%s\n' '#!/bin/bash' >"$1"; cat >>"$1"; }     # script NAME <<'E' ... E: a batch script
slurm_env() { env | grep -E '^(SLURM|SBATCH|SRUN|CUDA|ENVIRONMENT)' | sort; }
export -f slurm_env
ended() {                                                        # ended JOBID: until the accounting knows its end; 20 s at most
    for _ in $(seq 200); do
        state=$(sacct -n -X -P -j "$1" -o State 2>/dev/null | head -n 1)
        case $state in "" | PENDING | RUNNING | COMPLETING) sleep 0.1 ;; *) return 0 ;; esac
    done
    echo "job $1 did not end" >&2
    return 1
}
after() { sbatch -Q --wait --dependency="afterany:$1" --output=/dev/null --wrap true >/dev/null; }   # after JOBID: until it has ended
"""


@dataclass(frozen=True)
class Case:
    name: str
    text: str
    flags: frozenset[str]


def read_cases() -> list[Case]:
    """All cases, in the order of the files. Names are unique, flags are known."""
    cases: list[Case] = []
    for path in sorted(FOLDER.glob("*.sh")):
        for part in ("\n" + path.read_text()).split("\n#### ")[1:]:
            head, text = part.split("\n", 1)
            name, _, flags = head.partition(" | ")
            case = Case(f"{path.stem}: {name}", text, frozenset(flags.split(", ")) if flags else frozenset())
            if case.name in {other.name for other in cases} or not case.flags <= set(FLAGS):
                raise ValueError(f"{path.name}: case {name!r} is there twice, or has a flag that is none of {FLAGS}")
            cases.append(case)
    return cases


CASES = read_cases()
