"""What became of each job that one id of a command names, in Slurm's words.

A command on an array may be done on some elements and refused on others. Slurm's scontrol then prints a line an outcome, with the elements
that had it, `7_0-1: Job is no longer pending execution`, among them `No error`, and ends with 1; where everything was done it prints
nothing, and a refusal of a job that is no array is one plain error. Who may not touch the array at all is told so once.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.engine.commands import Target
from penstock.spec import arrays
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError, strerror
from penstock.spec.jobids import parse_job_id


class Outcomes:
    """Of the rows that one text names. `of` says which row is next, `refused` that it was."""

    __slots__ = ("_array_id", "_elements", "_next", "refusal")

    def __init__(self, text: str, named: Sequence[Target]) -> None:
        self.refusal: SlurmError | None = None
        """The plain error, if any: of a job that is no array, or for the whole of one."""
        self._array_id = 0
        self._elements: dict[str, list[arrays.Ranges]] = {}
        """The text of each outcome, and who had it."""
        self._next: arrays.Ranges = ()
        array_id, asked = elements_of(text)
        if array_id and (not named or named[0].job.array_job_id == array_id):
            self._array_id = array_id
            left = arrays.remove(asked, arrays.union(meant(target) for target in named))
            if left:
                self._elements[strerror(err.ESLURM_INVALID_JOB_ID)] = [left]

    def of(self, target: Target) -> None:
        """The next row, which is done unless `refused` follows."""
        self._next = meant(target)
        self._elements.setdefault(strerror(0), []).append(self._next)

    def refused(self, error: SlurmError) -> None:
        self._elements[strerror(0)].pop()
        if not self._array_id or error.code in (err.ESLURM_ACCESS_DENIED, err.SLURM_ERROR):
            self.refusal = self.refusal or error
        else:
            self._elements.setdefault(error.text, []).append(self._next)

    @property
    def lines(self) -> list[str]:
        """One an outcome, by their first elements; none where all of it was done."""
        found = {text: arrays.union(parts) for text, parts in self._elements.items() if parts} if self._array_id else {}
        if all(text == strerror(0) for text in found):
            return []
        ordered = sorted(found.items(), key=lambda item: item[1])
        return [f"{self._array_id}_{arrays.format_ranges(ranges)}: {text}" for text, ranges in ordered]


def elements_of(text: str) -> tuple[int, arrays.Ranges]:
    """(array, elements) as `7_[0-5]` names them, no elements for all of it; (0, ()) for what is no id, as jobname= is not."""
    try:
        asked = parse_job_id(text)
    except SpecError:
        return 0, ()
    return asked.job_id, asked.tasks or ()


def meant(target: Target) -> arrays.Ranges:
    """The elements of an array that a row stands for, as far as they are meant."""
    job = target.job
    if job.array_task_id >= 0:
        return ((job.array_task_id, job.array_task_id, 1),)
    return target.tasks or job.pending_tasks
