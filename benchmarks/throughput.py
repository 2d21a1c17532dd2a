"""How many jobs and steps a second, from submission until all are done.

Every job and step appends one line, its id and its pid, to an evidence file. The figure counts only if there is exactly one line for each
and, where there is accounting, each of them is COMPLETED 0:0 there and nothing else is.
"""

import time
from pathlib import Path

from processes import Failed, client_errors, client_lines, run_loops, wait_until
from rows import Figure, Measure, Row, at_least
from systems import System, machine_limit

STEPS_LIMIT_S = 180


def write_script(system: System, name: str, variable: str) -> tuple[Path, Path]:
    """The script of a row and the file its runs leave their evidence in: `true`, and a line with the id and the pid."""
    evidence = system.work / f"{name}.evidence"
    evidence.write_text("")
    script = system.work / f"{name}.sh"
    script.write_text(f'#!/bin/sh\necho "${{{variable}:-0}} $$" >>{evidence}\ntrue\n')
    script.chmod(0o755)
    return script, evidence


def evidence_lines(evidence: Path) -> list[list[str]]:
    return [line.split() for line in evidence.read_text().splitlines()]


def wait_for_lines(evidence: Path, count: int) -> None:
    """Waits for the evidence of `count` runs. Looks at the size of the file only, so as not to disturb what is measured."""
    shortest = 4  # "1 1\n": no file of count lines is smaller
    wait_until(
        f"{count} lines of evidence (there are {len(evidence_lines(evidence))} after the limit)",
        lambda: evidence.stat().st_size >= count * shortest and evidence.read_bytes().count(b"\n") >= count,
        poll_s=0.05,
    )


def check(system: System, evidence: Path, count: int) -> tuple[str, tuple[str, ...]]:
    """What was counted, and what does not agree."""
    lines = evidence_lines(evidence)
    ids = {int(line[0]) for line in lines}
    faults = []
    if len(lines) != count:
        faults.append(f"{len(lines)} runs of {count} jobs")
    if len(ids) != len(lines):
        faults.append(f"{len(lines) - len(ids)} ids ran twice")
    accounts = system.accounted()
    if accounts is None:
        return f"{len(lines)} runs left evidence, no accounting", tuple(faults)
    odd = sorted(number for number, outcome in accounts.items() if outcome != ("COMPLETED", "0:0"))
    if odd:
        faults.append(f"{len(odd)} jobs are not COMPLETED 0:0, first {odd[0]}: {' '.join(accounts[odd[0]])}")
    if set(accounts) != ids:
        faults.append(f"sacct and evidence differ in {len(set(accounts) ^ ids)} ids")
    return f"{len(lines)} runs left evidence, {len(accounts) - len(odd)} are COMPLETED 0:0 in sacct", tuple(faults)


def array(count: int) -> Measure:
    def measure(system: System) -> Figure:
        script, evidence = write_script(system, "array", "SLURM_JOB_ID")
        began = time.perf_counter()
        system.submit(f"--array=0-{count - 1}", "--output=/dev/null", str(script))
        wait_for_lines(evidence, count)
        ended = system.wait_empty()
        return Figure(count / (ended - began), *check(system, evidence, count))

    return measure


def separate(count: int, clients: int) -> Measure:
    def measure(system: System) -> Figure:
        script, evidence = write_script(system, "separate", "SLURM_JOB_ID")
        began = time.perf_counter()
        run_loops(clients, count // clients, f"sbatch --parsable --output=/dev/null {script}", system.environment, system.work)
        accepted = client_lines(system.work, clients)
        if len(accepted) != count:
            raise Failed(f"{count - len(accepted)} of {count} sbatch were refused: {client_errors(system.work, clients)}")
        wait_for_lines(evidence, count)
        ended = system.wait_empty()
        return Figure(count / (ended - began), *check(system, evidence, count))

    return measure


def steps(count: int, at_once: int) -> Measure:
    def measure(system: System) -> Figure:
        system.needs("srun")
        script, evidence = write_script(system, "steps", "SLURM_STEP_ID")
        job = system.work / "steps-job.sh"
        each = count // at_once
        step = f"srun --exact -N1 -n1 {script} || echo failed >>steps.failed"
        loops = " ".join(f"( n=0; while [ $n -lt {each} ]; do {step}; n=$((n + 1)); done ) &" for _ in range(at_once))
        job.write_text(f"#!/bin/sh\ndate +%s.%N >steps.began\n{loops} wait\ndate +%s.%N >steps.ended\n")
        system.submit("-N1", f"-n{at_once}", "--output=steps.out", str(job))
        system.wait_empty(STEPS_LIMIT_S)
        faults = []
        if not (system.work / "steps.ended").exists():
            raise Failed(f"the job with the steps did not end: {(system.work / 'steps.out').read_text()[-200:]}")
        seconds = float((system.work / "steps.ended").read_text()) - float((system.work / "steps.began").read_text())
        lines = evidence_lines(evidence)
        if len(lines) != each * at_once or len({line[0] for line in lines}) != len(lines):
            faults.append(f"{len(lines)} runs, {len({line[0] for line in lines})} step ids, of {each * at_once} steps")
        if (system.work / "steps.failed").exists():
            faults.append(f"{len((system.work / 'steps.failed').read_text().split())} srun failed")
        return Figure(each * at_once / seconds, f"{len(lines)} steps left evidence", tuple(faults))

    return measure


def limit(at_once: int) -> Measure:
    def measure(system: System) -> Figure:
        script, evidence = write_script(system, "limit", "SLURM_JOB_ID")
        rate = machine_limit(script, 1000, at_once, system.environment, system.work)
        return Figure(rate, f"{len(evidence_lines(evidence))} runs left evidence")

    return measure


ROWS = [
    Row("array1000", "array of 1,000 × true, submit to all done", "jobs/s", "≥ 5 × Slurm", at_least(5), array(1000)),
    Row("array5000", "array of 5,000 × true, submit to all done", "jobs/s", "≥ 5 × Slurm", at_least(5), array(5000), repeat=1),
    Row("sbatch1", "1,000 sbatch that run meanwhile, 1 client", "jobs/s", "≥ 3 × Slurm", at_least(3), separate(1000, 1), repeat=1),
    Row("sbatch8", "1,000 sbatch that run meanwhile, 8 clients", "jobs/s", "≥ 3 × Slurm", at_least(3), separate(1000, 8), repeat=1),
    Row("steps1", "steps in one allocation, 1 at a time", "steps/s", "≥ 2 × Slurm", at_least(2), steps(100, 1)),
    Row("steps8", "steps in one allocation, 8 at a time", "steps/s", "≥ 2 × Slurm", at_least(2), steps(200, 8)),
]
LIMITS = [
    Row("limit1", "the machine: fork and exec of the same script, 1 loop", "runs/s", "", lambda *_: True, limit(1)),
    Row("limit2", "the machine: fork and exec of the same script, 2 loops", "runs/s", "", lambda *_: True, limit(2)),
]
