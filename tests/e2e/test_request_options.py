"""What a job may ask of its nodes beyond sizes: features that are preferred or counted, neighbours; for sbatch, salloc and srun."""

import pytest
from conftest import Cluster
from evidence import held, output_of

NODES = "echo $SLURM_JOB_NODELIST"


def nodes_of(cluster: Cluster, program: str, *words: str) -> str:
    """The node list of a job of this command."""
    if program == "sbatch":
        return output_of(cluster, NODES, *words).strip()
    return cluster.run(program, "-Q", *words, "sh", "-c", NODES).split("\n")[0]


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_features_of_the_nodes(configured: Cluster, program: str):
    both = "node[0-1]"
    for words, expected in (
        (["-C", "[left|right]"], "node0"),
        (["-C", "left|right", "-N2"], both),
        (["--constraint=[left*1&right*1]"], both),
        (["-C", "fast*2"], both),
        (["--prefer=right"], "node1"),
        (["--constraint=left", "--prefer=right&fast"], "node1"),
        (["--contiguous", "-N2"], both),
    ):
        assert nodes_of(configured, program, *words) == expected, words


def test_features_as_shown(configured: Cluster):
    record = held(configured, "-C", "left,fast", "--prefer=left", "--contiguous")
    assert (record["Features"], record["Prefer"], record["Contiguous"]) == ("left&fast", "left", "1")
    assert "Prefer" not in held(configured, "-C", "[left|right]")


def test_features_that_cannot_be_had(configured: Cluster):
    for words, text in (
        (["-C", "[left|right]", "-N2"], "Requested node configuration is not available"),
        (["-C", "left|nowhere"], "Invalid feature specification"),
        (["-C", "!left"], "Invalid feature specification"),
        (["--prefer=nowhere"], "Invalid preferred feature specification"),
    ):
        done = configured.attempt("sbatch", *words, "--wrap", "true")
        assert (done.returncode, f"Batch job submission failed: {text}\n" in done.stderr) == (1, True), done.stderr
