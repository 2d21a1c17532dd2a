"""Slices of GPUs (MIG) from slurm.conf and gres.conf to the process: which slices jobs and their steps see, what the commands say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Cluster, running

CONF = """
ClusterName=sliced
SlurmctldHost=localhost
GresTypes=gpu
NodeName=node0 NodeHostname=localhost CPUs=8 RealMemory=4096 Gres=gpu:a100:1,gpu:1g.10gb:2,gpu:1g.10gb+me:1,gpu:3g.40gb:1
PartitionName=main Nodes=ALL Default=YES
"""
GRES = """
Name=gpu Type=a100 File=/dev/nvidia0
Name=gpu Type=1g.10gb MultipleFiles=/dev/nvidia1,/dev/nvidia-caps/nvidia-cap[66-67]
Name=gpu Type=1g.10gb MultipleFiles=/dev/nvidia1,/dev/nvidia-caps/nvidia-cap[75-76]
Name=gpu Type=1g.10gb+me MultipleFiles=/dev/nvidia1,/dev/nvidia-caps/nvidia-cap[84-85]
Name=gpu Type=3g.40gb MultipleFiles=/dev/nvidia1,/dev/nvidia-caps/nvidia-cap[93-94]
"""
SAY = 'echo "$CUDA_VISIBLE_DEVICES $SLURM_JOB_GPUS $SLURM_GPUS_ON_NODE"'
SCRIPT = f"""#!/bin/bash
#SBATCH --gres=gpu:1g.10gb:2,gpu:3g.40gb:1 --ntasks=2
#SBATCH --output=steps.out
{SAY}
srun --exact -n1 --gres=gpu:3g.40gb:1 sh -c 'echo large $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS'
srun -n2 --gpus-per-task=1g.10gb:1 sh -c 'echo task $SLURM_PROCID $CUDA_VISIBLE_DEVICES' | sort
srun -n1 --gres=gpu:a100:1 true || echo refused
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("mig") / "c", slurm_conf=CONF, companions={"gres.conf": GRES}) as made:
        yield made


def test_a_job_and_its_steps_see_the_slices_that_they_asked_for(cluster: Cluster):
    (cluster.work / "job.sh").write_text(SCRIPT)
    job = cluster.submit("job.sh")
    cluster.wait_state(job, "COMPLETED")
    lines = [line for line in (cluster.work / "steps.out").read_text().splitlines() if not line.startswith("srun:")]
    assert lines == [
        "MIG-simulated-node0-1,MIG-simulated-node0-2,MIG-simulated-node0-4 1,2,4 3",
        "large MIG-simulated-node0-4 4",
        "task 0 MIG-simulated-node0-1",
        "task 1 MIG-simulated-node0-2",
        "refused",
    ]
    assert "gres/gpu=3" in cluster.field(job, "AllocTRES")


def test_without_a_type_a_job_gets_the_whole_gpu_first(cluster: Cluster):
    assert cluster.run("srun", "--gres=gpu:1", "sh", "-c", SAY).split() == ["0", "0", "1"]
    assert cluster.run("srun", "-G", "1g.10gb+me:1", "sh", "-c", SAY).split() == ["MIG-simulated-node0-3", "3", "1"]


def test_a_job_waits_for_its_profile_while_others_are_free(cluster: Cluster):
    first = cluster.submit("--gpus-per-node=3g.40gb:1", "-o", "/dev/null", "--wrap", "touch held; while [ ! -e go ]; do sleep 0.05; done")
    cluster.wait_file("held")
    second = cluster.submit("--gpus-per-node=3g.40gb:1", "-o", "/dev/null", "--wrap", "true")
    other = cluster.submit("--gres=gpu:1g.10gb:1", "-o", "/dev/null", "-t", "1", "--wrap", "true")
    cluster.wait_state(other, "COMPLETED")
    assert cluster.state(second) == "PENDING"
    assert "gpu:3g.40gb:1(IDX:4)" in cluster.run("scontrol", "show", "node", "node0", "-d")
    assert "GRES=gpu:3g.40gb:1(IDX:4)" in cluster.run("scontrol", "show", "job", first, "-d")
    (cluster.work / "go").touch()
    cluster.wait_state(second, "COMPLETED")


def test_nodes_show_their_slices(cluster: Cluster):
    shown = "gpu:a100:1,gpu:1g.10gb:2,gpu:1g.10gb+me:1,gpu:3g.40gb:1"
    assert cluster.run("sinfo", "-h", "-o", "%G").strip().replace("(simulated)", "") == shown
    node = cluster.run("scontrol", "show", "node", "node0").replace("(simulated)", "")
    assert f"Gres={shown}\n" in node


def test_a_profile_that_is_not_there_is_refused(cluster: Cluster):
    done = cluster.attempt("sbatch", "--gres=gpu:2g.20gb:1", "--wrap", "true")
    assert done.returncode == 1
    assert "Requested node configuration is not available" in done.stderr
