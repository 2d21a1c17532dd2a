"""What a job may ask of its nodes beyond sizes: features that are preferred or counted, neighbours; for sbatch, salloc and srun."""

import pytest
from conftest import Cluster, wait_for
from evidence import held, output_of, queue, variables

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


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_licences(configured: Cluster, program: str):
    holder = configured.submit("-L", "matlab", "-o", "/dev/null", "--wrap", "while [ ! -e let-go ]; do sleep 0.05; done")
    configured.wait_state(holder, "RUNNING")
    waiting = configured.submit("--licenses=matlab:1,fluent", "-o", "/dev/null", "--wrap", "true")
    wait_for(lambda: queue(configured, waiting, "%t %r %W") == ["PD Licenses matlab:1,fluent"], "the reason Licenses")
    assert (
        configured.run("scontrol", "-o", "show", "licenses", "matlab") == "LicenseName=matlab Total=1 Used=1 Free=0 Reserved=0 Remote=no\n"
    )
    assert nodes_of(configured, program, "--licenses=fluent:2", "-t5", "-w", "node0") == "node0"
    (configured.work / "let-go").touch()
    configured.wait_state(waiting, "COMPLETED")
    (configured.work / "let-go").unlink()
    done = configured.attempt(program, "-L", "fluent:3", *(["--wrap", "true"] if program == "sbatch" else ["true"]))
    assert (done.returncode, "Invalid license specification" in done.stderr) == (1, True)


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_limits_that_the_planner_may_lower(configured: Cluster, program: str):
    def limit(*words: str) -> str:
        command = "scontrol -o show job $SLURM_JOB_ID"
        alone = program != "sbatch"
        text = configured.run(program, "-Q", *words, "sh", "-c", command) if alone else output_of(configured, command, *words)
        return variables(text.replace(" ", "\n"))["TimeLimit"]

    assert limit("--time-min=1", "-t5") == "00:05:00"
    assert limit("--deadline=now+150", "--time-min=1", "-t5") == "00:02:00"
    assert limit("--deadline=now+150", "-t0") == "00:02:00"


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_sizes_that_follow_the_gpus(configured: Cluster, program: str):
    def sizes(*words: str) -> tuple[str, str]:
        command = 'echo "$SLURM_JOB_CPUS_PER_NODE $SLURM_TASKS_PER_NODE"'
        if program == "sbatch":
            cpus, tasks = output_of(configured, command, *words).split()
        else:
            cpus, tasks = configured.run(program, "-Q", *words, "sh", "-c", command).split("\n")[0].split()
        return cpus, tasks

    assert sizes("--mincpus=3")[0] == "3"
    assert sizes("--ntasks-per-gpu=2", "-G2") == ("4", "4")
    assert sizes("--ntasks-per-gpu=2", "-n2") == ("2", "2")
    assert sizes("--ntasks-per-gpu=1", "--gpus-per-node=2", "-N2") == ("2(x2)", "2(x2)")


def test_cpus_and_memory_follow_the_gpus_of_each_node(configured: Cluster):
    command = "echo $SLURM_JOB_CPUS_PER_NODE $SLURM_CPUS_PER_GPU $SLURM_MEM_PER_GPU; scontrol -o show job $SLURM_JOB_ID"
    text = output_of(configured, command, "-N2", "-G3", "--cpus-per-gpu=2", "--mem-per-gpu=100")
    assert text.split("\n")[0] == "4,2 2 100"
    assert variables(text.replace(" ", "\n"))["AllocTRES"].startswith("cpu=6,mem=300M,node=2")
    record = held(configured, "--ntasks-per-gpu=2", "-G2", "--mincpus=4")
    assert (record["NumTasks"], record["NtasksPerTRES"], record["MinCPUsNode"]) == ("4", "2", "4")
    for words, text in (
        (["--ntasks-per-gpu=2", "-n3"], "-n/--ntasks has to be a multiple of --ntasks-per-gpu."),
        (["--ntasks-per-gpu=2"], "needs either a GRES GPU specification"),
        (["--mincpus=5"], "Requested node configuration is not available"),
    ):
        done = configured.attempt("sbatch", *words, "--wrap", "true")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr


def test_deadlines(configured: Cluster):
    record = held(configured, "--deadline=now+1hour", "--time-min=2", "-t10")
    assert (record["TimeMin"], record["TimeLimit"], record["Deadline"] > record["SubmitTime"]) == ("00:02:00", "00:10:00", True)
    job = configured.submit("--deadline=now+2minutes", "-t5", "--wrap", "true")
    configured.wait_state(job, "DEADLINE")
    for words, text in (
        (["--deadline=2020-01-01"], "Requested time limit is invalid (missing or exceeds some limit)"),
        (["--deadline=now+10minutes", "--begin=now+1hour", "-t1"], "Incompatible begin and deadline time specification"),
        (["--time-min=5", "-t3"], "Invalid time-min specification (exceeds job's time or other limits)"),
    ):
        done = configured.attempt("sbatch", *words, "--wrap", "true")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr


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
