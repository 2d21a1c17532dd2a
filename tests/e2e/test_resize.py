"""A running job gives nodes back: `scontrol update NumNodes=` from its own script, its steps, the files for the shell."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pytest
from conftest import Cluster, running, wait_for

SCRIPT = """#!/bin/bash
#SBATCH -N3 -n6 --ntasks-per-node=2 --output=out --mem=100
srun -N3 -n3 -O --overlap sh -c 'touch wide.$SLURM_PROCID; while [ ! -e stop ]; do sleep 0.05; done; echo wide $SLURM_PROCID' &
wide=$!
srun -N1 -n1 -w node2 --overlap sh -c 'touch last; trap "touch trapped" TERM; while :; do sleep 0.05; done' &
last=$!
while [ ! -e wide.0 -o ! -e wide.1 -o ! -e wide.2 -o ! -e last ]; do sleep 0.05; done
scontrol update JobId=$SLURM_JOB_ID NumNodes=2 || echo refused
wait $last; echo "last $?"
. ./slurm_job_${SLURM_JOB_ID}_resize.sh
echo "$SLURM_JOB_NODELIST $SLURM_NNODES $SLURM_JOB_CPUS_PER_NODE [$SLURM_NTASKS$SLURM_TASKS_PER_NODE]"
srun --overlap sh -c 'echo "task $SLURM_PROCID of $SLURM_NTASKS on $SLURMD_NODENAME"' | sort
touch stop; wait $wide; echo "all $?"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("resize") / "c", "--nodes", "3", "--cpus", "4", "--memory", "2G", "--gpus", "h100:1") as made:
        yield made


def test_a_script_gives_a_node_back_and_goes_on(cluster: Cluster):
    (cluster.work / "job.sh").write_text(SCRIPT)
    job = cluster.submit("job.sh")
    cluster.wait_file("stop")
    wait_for(lambda: cluster.run("sinfo", "-h", "-N", "-n", "node2", "-o", "%t").strip() == "idle", "node2 idle")
    cluster.wait_state(job, "COMPLETED")
    lines = [line for line in (cluster.work / "out").read_text().splitlines() if not line.startswith(("srun:", "slurmstepd:"))]
    assert lines[:3] == [
        "To reset Slurm environment variables, execute",
        f"  For bash or sh shells:  . ./slurm_job_{job}_resize.sh",
        f"  For csh shells:         source ./slurm_job_{job}_resize.csh",
    ]
    assert lines[3:5] == ["last 137", "node[0-1] 2 2(x2) []"]
    assert lines[5:9] == [f"task {rank} of 4 on node{rank // 2}" for rank in range(4)]
    assert sorted(lines[9:]) == ["all 137", "wide 0", "wide 1"]
    assert not (cluster.work / "trapped").exists()
    assert cluster.field(job, "NNodes,NodeList") == "2|node[0-1]"


def test_the_files_are_for_both_shells_and_for_their_owner_alone(cluster: Cluster):
    found = {}
    for shell in ("sh", "csh"):
        (path,) = cluster.work.glob(f"slurm_job_*_resize.{shell}")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o700
        found[shell] = path.read_text().splitlines()
    assert found["sh"][0] == 'export SLURM_NODELIST="node[0-1]"'
    assert found["sh"][2:6] == [
        "export SLURM_NNODES=2",
        "export SLURM_JOB_NUM_NODES=2",
        'export SLURM_JOB_CPUS_PER_NODE="2(x2)"',
        "unset SLURM_NPROCS",
    ]
    assert (found["csh"][0], found["csh"][-1]) == ('setenv SLURM_NODELIST "node[0-1]"', "unsetenv SLURM_TASKS_PER_NODE")


def test_from_outside_a_job_no_files_are_written_and_the_gpu_is_free_again(cluster: Cluster):
    job = cluster.submit("-N3", "--gres=gpu:1", "-o", "/dev/null", "--wrap", "while [ ! -e done ]; do sleep 0.05; done")
    cluster.wait_state(job, "RUNNING")
    late = cluster.submit("-w", "node1", "--gres=gpu:1", "-o", "late", "--wrap", "echo $SLURM_JOB_NODELIST")
    assert cluster.run("scontrol", "update", f"JobId={job}", "NumNodes=1") == ""
    cluster.wait_state(late, "COMPLETED")
    assert (cluster.work / "late").read_text() == "node1\n"
    shown = cluster.run("scontrol", "show", "job", job)
    assert "NumNodes=1 " in shown and "ResizeTime=" in shown and "NodeList=node0\n" in shown
    assert not list(cluster.work.glob(f"slurm_job_{job}_*"))
    for count, text in (("2", "Requested operation not supported"), ("0", "Node count specification invalid")):
        done = cluster.attempt("scontrol", "update", f"JobId={job}", f"NumNodes={count}")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
    (cluster.work / "done").touch()
    cluster.wait_state(job, "COMPLETED")
