"""The comparison itself: what is made neutral, and that a difference in anything else is seen."""

from pathlib import Path

import pytest
from environments import differences
from script_cases import CASES, Case
from test_same_outcome import ON_PURPOSE, by_sender, disagreements
from two_clusters import Cluster, Outcome

ANY_NODE = Case("any", "", frozenset())
EXACT = Case("exact", "", frozenset({"exact nodes"}))


def neutral(text: str, case: Case = ANY_NODE) -> str:
    return Cluster("c", Path("/c"), {}, ["n1", "n2", "n3"]).neutral(text, Path("/case/7"), case)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Submitted batch job 600012", "Submitted batch job JOB"),
        ("slurm-600012_3.out 00600012", "slurm-JOB_3.out JOB"),
        ("16000123 bytes of 600", "16000123 bytes of 600"),
        ("/case/7/out in /c/log", "FOLDER/out in CLUSTER/log"),
        ("n2 and n[1-2] and n[1,3],x", "NODES and NODES and NODES,x"),
        ("then n4, in1 and n12", "then n4, in1 and n12"),
        ("at 2026-01-02T03:04:05.", "at TIME."),
        ("srun: job 600001 queued and waiting for resources\nsrun: error: n1: task 0: Killed\n", "srun: error: NODES: task 0: Killed\n"),
    ],
)
def test_what_differs_by_nature_becomes_a_word(text: str, expected: str) -> None:
    assert neutral(text) == expected


def test_nodes_asked_for_by_name_stay_distinct() -> None:
    assert neutral("n1 n3", EXACT) == "NODE0 NODE2"


def test_environments_differ_by_name_and_value() -> None:
    assert differences("SLURM_NTASKS=2\nSLURM_TASK_PID=7\n", "SLURM_NTASKS=2\nSLURM_RESTART_COUNT=0\nPENSTOCK_DIR=/c\n") == []
    assert differences("SLURM_NTASKS=2\nSLURM_NNODES=1\n", "SLURM_NTASKS=3\nSLURM_MINE=1\n") == [
        "SLURM_MINE='1' is not there in Slurm",
        "SLURM_NNODES is missing, Slurm has '1'",
        "SLURM_NTASKS is '3', in Slurm '2'",
    ]


def test_a_difference_in_anything_is_seen() -> None:
    slurm = Outcome("0", {"stdout": "a\n", "file out": "x\n", "file batch.env": "SLURM_NTASKS=1\n"})
    assert disagreements(slurm, slurm) == []
    assert len(disagreements(slurm, Outcome("1", slurm.texts))) == 1
    for name in slurm.texts:
        assert len(disagreements(slurm, Outcome("0", {**slurm.texts, name: "SLURM_NTASKS=9\n"}))) == 1
        assert len(disagreements(slurm, Outcome("0", {other: text for other, text in slurm.texts.items() if other != name}))) == 1


def test_two_writers_have_no_order_but_each_keeps_its_own() -> None:
    assert by_sender("a\nsrun: 1\nslurmstepd: x\nsrun: 2\nb\n") == "a\nslurmstepd: x\nsrun: 1\nsrun: 2\nb\n"
    assert by_sender("srun: 2\nsrun: 1\n") == "srun: 2\nsrun: 1\n"
    assert by_sender("srun: 1\n2\nslurmstepd: x\n") == "srun: 1\n2\nslurmstepd: x\n"


def test_an_explanation_may_be_added_but_nothing_left_out() -> None:
    slurm = Outcome("1", {"stderr": "sbatch: error: a\nsbatch: error: b\n"})
    more = Outcome("1", {"stderr": "sbatch: error: why\nsbatch: error: a\nsbatch: error: b\n"})
    less = Outcome("1", {"stderr": "sbatch: error: why\nsbatch: error: b\n"})
    assert disagreements(slurm, more, explained=True) == []
    assert disagreements(slurm, more) != []
    assert disagreements(slurm, less, explained=True) != []


def test_differences_on_purpose_name_cases_that_exist() -> None:
    assert set(ON_PURPOSE) <= {case.name for case in CASES}
