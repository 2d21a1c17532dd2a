"""srun: runs tasks, in the allocation it is called in or in one that it makes and gives back.

Guarantees: the exit status is the highest of the tasks', 128 + signal for a killed one, 253 where the memory limit ended it; texts are
Slurm's; tasks outlive a restart of the controller, and srun with them. Precedence: command line, SLURM_* and SRUN_* variables.
Assumes: the shepherds can reach a unix socket of this machine.
"""

from __future__ import annotations

import os
import sys
import time

from penstock.cli.step_files import StepFailed
from penstock.cli.step_plan import StepPlan
from penstock.cli.step_run import StepRun
from penstock.spec import options
from penstock.spec.export import choose, pack
from penstock.spec.options import InvalidOption, Options
from penstock.spec.options_submit import OPTIONS
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.cli.allocation import Allocation

PROGRAM = "srun"
INVALID_JOB_ID = 2017
IMMEDIATE = (2016, 2155)
"""Refusals that --immediate leads to."""
DEBUG_LEVEL = 3
"""SRUN_DEBUG of tasks without -v or -Q."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for fd in range(3):  # a closed one would be given to a socket
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    try:
        return run(arguments)
    except InvalidOption as error:
        _stderr("\n".join(error.lines))
        return error.status
    except StepFailed as error:
        for line in str(error).split("\n"):
            _say(f"error: {line}")
        if isinstance(error, NoSuchJob):
            _say(f"Check SLURM_JOB_ID environment variable. Expired or invalid job {error.job_id}")
    except (lite.Refused, lite.Unreachable) as error:
        for line in filter(None, error.detail.split("\n")):
            _say(f"error: {line}")
        _say(f"error: Unable to allocate resources: {error.text}")
        immediate = os.environ.get("SLURM_EXIT_IMMEDIATE", "")
        if isinstance(error, lite.Refused) and error.number in IMMEDIATE and immediate.isdecimal():
            return int(immediate) & 0xFF
    except ValueError as error:
        _say(f"error: {error}")
    return exit_error()


def run(arguments: Sequence[str]) -> int:
    """Everything from the command line to the exit status; failures are exceptions."""
    known = options.entries(OPTIONS, PROGRAM)
    settings, words = options.parse(arguments, known, PROGRAM)
    typed = {options.destination(entry): value for entry, value in settings}
    for key in ("help", "usage", "version"):
        if key in typed:
            from penstock.cli.manual import show

            show(PROGRAM, key, known)
            return 0
    merged = options.merge(known, PROGRAM, os.environ, settings)
    for warning in merged.warnings:
        _say(f"warning: {warning}")
    if not words:
        raise InvalidOption([f"{PROGRAM}: fatal: No command given to execute."], 1)
    job_id = _job_of(merged)
    plan = StepPlan(merged, words, arguments, int(time.time()), in_allocation=bool(job_id))
    for warning in plan.warnings:
        _say(warning)
    if plan.pty and not os.isatty(0):
        _say("error: Not using a pseudo-terminal, disregarding --pty option")
        plan.pty = False
    try:
        plan.set_programs(words, multi_prog="multi_prog" in merged)
    except ValueError as error:
        raise StepFailed(str(error)) from None
    if job_id:
        allocation = _existing(job_id)
        return _step(plan, job_id, _environment(plan, allocation), allocation)
    return _as_job(plan)


def _job_of(merged: Options) -> int:
    """The allocation to run in, 0 for none."""
    text = merged.text("jobid")
    if not text:
        return 0
    base = text.partition("_")[0].partition("+")[0]
    if base != text or not (text.isascii() and text.isdigit() and len(text) < 11) or not int(text):
        raise InvalidOption([f"{PROGRAM}: error: Invalid job id {text[:64]!r} (--jobid or SLURM_JOB_ID): a number is expected"], 1)
    return int(text)


def _existing(job_id: int) -> Allocation | None:
    """The variables of a job that is not the one we are called in; None where we have them."""
    if os.environ.get("SLURM_JOB_ID") == str(job_id) and "SLURM_JOB_NODELIST" in os.environ:
        return None
    from penstock.cli.allocation import Allocation

    try:
        return Allocation(lite.request({"op": "job_info", "job_id": job_id}))
    except lite.Refused as error:
        raise NoSuchJob(job_id, error.text) from None


class NoSuchJob(StepFailed):
    """The allocation that was named is none."""

    def __init__(self, job_id: int, text: str) -> None:
        super().__init__(f"Unable to confirm allocation for job {job_id}: {text}")
        self.job_id = job_id


def _as_job(plan: StepPlan) -> int:
    """Allocate, run the step, give the allocation back."""
    from penstock.cli.allocation import GivenUp, allocate

    fields = dict(plan.allocation)
    if plan.export:
        fields["export"] = plan.export
    if plan.fields.get("ntasks") and "ntasks" not in fields:  # counted from the lines of --multi-prog
        fields["ntasks"] = plan.fields["ntasks"]
    waited = False

    def pending(job_id: int) -> None:
        nonlocal waited
        waited = True
        _tell(plan, f"job {job_id} queued and waiting for resources")

    environment = pack(choose(os.environb, plan.export)[0])
    try:
        allocation = allocate(fields, environment, pending, lambda text: _tell(plan, text), stays=False)
    except GivenUp as error:
        if error.job_id:
            _say(f"Job allocation {error.job_id} has been revoked")
            _say(f"Force Terminated JobId={error.job_id}")
        return 1
    if waited:
        _tell(plan, f"job {allocation.job_id} has been allocated resources")
    wait_status = 1 << 8
    try:
        plan.fields.pop("immediate_s", None)
        code = _step(plan, allocation.job_id, _environment(plan, allocation), allocation)
        wait_status = code << 8
        return code
    finally:
        allocation.release(wait_status)


def _environment(plan: StepPlan, allocation: Allocation | None) -> bytes:
    """What the tasks get, before the node adds what is its own: --export of ours, over it the job's variables."""
    chosen, _ = choose(os.environb, plan.export)
    if allocation is not None:
        for name, value in allocation.variables.items():
            chosen[os.fsencode(name)] = os.fsencode(value)
    level = DEBUG_LEVEL + plan.verbose - (1 if plan.quiet else 0)
    chosen[b"SRUN_DEBUG"] = b"%d" % level
    if plan.label:
        chosen[b"SLURM_LABELIO"] = b"1"
    if plan.pty:
        size = os.get_terminal_size(0)
        chosen[b"SLURM_PTY_WIN_COL"], chosen[b"SLURM_PTY_WIN_ROW"] = b"%d" % size.columns, b"%d" % size.lines
    packed = pack(chosen)
    if len(packed) > lite.ENVIRONMENT_MAX_BYTES:
        text = f"The environment has {len(packed)} bytes, at most {lite.ENVIRONMENT_MAX_BYTES} are allowed (see --export)"
        raise StepFailed(text)
    return packed


def _step(plan: StepPlan, job_id: int, environment: bytes, allocation: Allocation | None) -> int:
    variables = allocation.variables if allocation is not None else os.environ
    names = {"j": str(job_id), "x": variables.get("SLURM_JOB_NAME", plan.name), "u": variables.get("SLURM_JOB_USER", "") or _user()}
    names["A"] = variables.get("SLURM_ARRAY_JOB_ID", str(job_id))
    names["a"] = variables.get("SLURM_ARRAY_TASK_ID", "4294967294")
    try:
        return StepRun(plan, job_id, environment, names, _say).run()
    except lite.Refused as error:
        for line in filter(None, error.detail.split("\n")):
            _say(f"error: {line}")
        if error.number == INVALID_JOB_ID:
            raise NoSuchJob(job_id, error.text) from None
        raise StepFailed(f"Unable to create step for job {job_id}: {error.text}") from None
    except lite.Unreachable as error:
        for line in filter(None, error.detail.split("\n")):
            _say(f"error: {line}")
        raise StepFailed(f"Unable to create step for job {job_id}: {error.text}") from None


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def exit_error() -> int:
    """SLURM_EXIT_ERROR, or 1."""
    text = os.environ.get("SLURM_EXIT_ERROR", "")
    return int(text) & 0xFF if text.isdecimal() and len(text) < 4 and int(text) else 1


def _tell(plan: StepPlan, text: str) -> None:
    if not plan.quiet:
        _say(text)


def _say(text: str) -> None:
    _stderr(f"{PROGRAM}: {text}")


def _stderr(text: str) -> None:
    data = text.encode("utf-8", "backslashreplace") + b"\n"
    while data:
        try:
            data = data[os.write(2, data) :]
        except OSError:  # nobody listens
            return
