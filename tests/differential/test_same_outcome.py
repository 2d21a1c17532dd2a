"""The same script leaves the same behind on a real Slurm and on Penstock: exit codes, outputs, files, environments.

Where Penstock differs on purpose, ON_PURPOSE says so and why; such a case still runs on both and must not start to agree unnoticed.
"""

from itertools import groupby

import pytest
from environments import differences
from script_cases import CASES
from two_clusters import Outcome

ON_PURPOSE: dict[str, str] = {
    "submission: node name pattern": "%N is the node's name; Slurm, with several nodes on one machine, gives all of them the machine's",
    "refusals: GRES of an unknown name": "22.05's client refuses by itself, without `Batch job submission failed:`; code and reason agree",
    "sizes: more tasks than the GPUs may have": "22.05 runs five tasks on two GPUs although two a GPU are allowed; Penstock refuses",
    "refusals: dependency on an id that was never given": "22.05 takes it for met, which hides a typing error; Penstock refuses it",
}
"""Name of a case and why Penstock's outcome is another."""

SENDERS = ("srun: ", "slurmstepd: ")
"""Two processes that write into one file: a task's end reaches srun on another way than what slurmstepd says about it, so real Slurm shows
their lines now in one order, now in the other."""


EXPLAINED = {case.name for case in CASES if "explained" in case.flags}


def says_all_of(ours: str, theirs: str) -> bool:
    """Whether all lines of `theirs` are in `ours`, in their order."""
    lines = iter(ours.splitlines())
    return all(line in lines for line in theirs.splitlines())


def by_sender(text: str) -> str:
    """The text with neighbouring lines of SENDERS sorted by who wrote them; each one's own lines stay in their order."""
    lines = text.splitlines(keepends=True)
    for spoken, group in groupby(list(enumerate(lines)), key=lambda item: item[1].startswith(SENDERS)):
        if spoken:
            places = list(group)
            lines[places[0][0] : places[-1][0] + 1] = sorted((line for _, line in places), key=lambda line: line.partition(": ")[0])
    return "".join(lines)


def disagreements(slurm: Outcome, penstock: Outcome, explained: bool = False) -> list[str]:
    """One paragraph for each thing that differs."""
    found = []
    if slurm.code != penstock.code:
        found.append(f"exit code: {penstock.code}, in Slurm {slurm.code}")
    for name in sorted(slurm.texts.keys() | penstock.texts.keys()):
        theirs, ours = slurm.texts.get(name), penstock.texts.get(name)
        if theirs is None or ours is None:
            found.append(f"{name} is only there in {'Penstock' if theirs is None else 'Slurm'}:\n{ours if theirs is None else theirs}")
        elif name.endswith(".env"):
            found += [f"{name}: {sentence}" for sentence in differences(theirs, ours)]
        elif by_sender(theirs) != by_sender(ours) and not (explained and name == "stderr" and says_all_of(ours, theirs)):
            found.append(f"{name}:\n--- Slurm\n{theirs}--- Penstock\n{ours}")
    return found


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_same_outcome(name: str, slurm_outcomes: dict[str, Outcome], penstock_outcomes: dict[str, Outcome]) -> None:
    found = disagreements(slurm_outcomes[name], penstock_outcomes[name], name in EXPLAINED)
    if name in ON_PURPOSE:
        assert found, f"{name} agrees now; take it out of ON_PURPOSE ({ON_PURPOSE[name]})"
    else:
        assert not found, "\n".join(found)


def test_slurm_ends_every_case(slurm_outcomes: dict[str, Outcome]) -> None:
    """A case that hangs on the real Slurm proves nothing about Penstock."""
    assert not [name for name, outcome in slurm_outcomes.items() if "did not end" in outcome.code + outcome.texts["stderr"]]
