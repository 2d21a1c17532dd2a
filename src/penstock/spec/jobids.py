"""Job and step ids as users write them: `123`, `123_4`, `123_[1-5,7%2]`, `123_*`, `123.0`, `123_4.batch`.

Guarantees: numbers are bounded as Slurm's 32-bit ids are; anything else is a SpecError. Heterogeneous components (`123+1`) are refused by
name. The special steps have Slurm's numbers, so that they sort and store beside the ordinary ones.
"""

from __future__ import annotations

from penstock.spec import arrays
from penstock.spec.errors import SpecError

MAX_JOB_ID = 0x03FF_FFFF  # 26 bits, as Slurm: 67,108,863
MAX_STEP_ID = 0xFFFF_FFEF

STEP_INTERACTIVE = 0xFFFF_FFFA
STEP_BATCH = 0xFFFF_FFFB
STEP_EXTERN = 0xFFFF_FFFC
STEP_PENDING = 0xFFFF_FFFD

STEP_NAMES = {STEP_BATCH: "batch", STEP_EXTERN: "extern", STEP_INTERACTIVE: "interactive", STEP_PENDING: "TBD"}
_STEP_NUMBERS = {name.lower(): number for number, name in STEP_NAMES.items()}


class JobSelector:
    """One id of a command line: the job, of an array the tasks (None: the whole job), and the step (None: none named)."""

    __slots__ = ("job_id", "step_id", "tasks")

    def __init__(self, job_id: int, tasks: arrays.Ranges | None = None, step_id: int | None = None) -> None:
        self.job_id = job_id
        self.tasks = tasks
        self.step_id = step_id

    @property
    def task_id(self) -> int | None:
        """The task where exactly one is named."""
        return self.tasks[0][0] if self.tasks and len(self.tasks) == 1 and self.tasks[0][0] == self.tasks[0][1] else None

    def __str__(self) -> str:
        return format_job(self.job_id, self.tasks) + ("" if self.step_id is None else "." + format_step(self.step_id))

    def __repr__(self) -> str:
        return f"JobSelector({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobSelector) and (self.job_id, self.tasks, self.step_id) == (other.job_id, other.tasks, other.step_id)

    def __hash__(self) -> int:
        return hash((self.job_id, self.tasks, self.step_id))


def parse_job_id(text: str) -> JobSelector:
    """One id. A throttle inside brackets (`%2`) is read, because that is how pending arrays are shown, and has no meaning here."""
    stripped = text.strip()
    job, dot, step = stripped.partition(".")
    number, mark, task = job.partition("_")
    if "+" in number or "+" in task:
        raise SpecError(f"invalid job id {text[:64]!r}: heterogeneous job components (123+1) do not exist here")
    job_id = _job_id(number, text)
    tasks: arrays.Ranges | None = None
    if mark and task != "*":
        if task[:1] == "[" and task[-1:] == "]":
            inside = task[1:-1]
            tasks = None if inside == "*" else arrays.parse_array(inside).ranges
        elif task.isascii() and task.isdigit():
            tasks = arrays.parse_ranges(task)
        else:
            raise SpecError(f"invalid job id {text[:64]!r}: after _ stands a task number, a list in brackets or *")
    return JobSelector(job_id, tasks, parse_step(step, text) if dot else None)


def parse_job_ids(text: str, maximum: int = 10_000) -> list[JobSelector]:
    """Ids joined by commas, commas inside brackets belonging to the id."""
    found: list[JobSelector] = []
    depth = start = 0
    for index, char in enumerate(text + ","):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == "," and depth <= 0:
            if text[start:index].strip():
                found.append(parse_job_id(text[start:index]))
                if len(found) > maximum:
                    raise SpecError(f"more than {maximum} job ids in one list")
            start = index + 1
    if depth > 0:
        raise SpecError(f"invalid job id list {text[:64]!r}: '[' is never closed")
    return found


def parse_step(step: str, text: str = "") -> int:
    """The number of `0`, `batch`, `extern`, `interactive` or `TBD`."""
    special = _STEP_NUMBERS.get(step.lower())
    if special is not None:
        return special
    if not (step.isascii() and step.isdigit() and len(step) <= 10 and int(step) <= MAX_STEP_ID):
        raise SpecError(f"invalid step id {(text or step)[:64]!r}: after the point stands a number, batch, extern or interactive")
    return int(step)


def format_step(step_id: int) -> str:
    return STEP_NAMES.get(step_id) or str(step_id)


def format_job(job_id: int, tasks: arrays.Ranges | None = None, limit: int = 0, max_length: int = 0) -> str:
    """`123`, `123_4`, or `123_[3-5,7%2]` for what is left of an array."""
    if tasks is None:
        return str(job_id)
    if len(tasks) == 1 and tasks[0][0] == tasks[0][1] and not limit:
        return f"{job_id}_{tasks[0][0]}"
    return f"{job_id}_[{arrays.format_ranges(tasks, limit, max_length)}]"


def _job_id(number: str, text: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) <= 10 and 0 < int(number) <= MAX_JOB_ID):
        raise SpecError(f"invalid job id {text[:64]!r}: expected a number from 1 to {MAX_JOB_ID}, such as 123, 123_4 or 123.0")
    return int(number)
