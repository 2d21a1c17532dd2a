"""GPUs that jobs share, from slurm.conf to the process: what jobs see, what the commands say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Cluster, running

CONF = """
ClusterName=shared
SlurmctldHost=localhost
GresTypes=gpu,shard
NodeName=node0 NodeHostname=localhost CPUs=8 RealMemory=4096 Gres=gpu:h100:2,shard:8
PartitionName=main Nodes=ALL Default=YES
"""
SAY = "echo $CUDA_VISIBLE_DEVICES:$SLURM_SHARDS_ON_NODE; touch here.$SLURM_JOB_ID; while [ ! -e go ]; do sleep 0.05; done"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("shards") / "c", slurm_conf=CONF) as made:
        yield made


def test_jobs_share_a_gpu_that_no_job_then_has_whole(cluster: Cluster):
    parts = [cluster.submit(f"--gres=shard:{count}", "-o", f"part.{count}", "--wrap", SAY) for count in (3, 1)]
    for job in parts:
        cluster.wait_file(f"here.{job}")
    whole = cluster.submit("--gres=gpu:1", "-o", "whole", "--wrap", SAY)
    cluster.wait_file(f"here.{whole}")
    late = cluster.submit("--gres=gpu:h100:1", "-o", "late", "--wrap", SAY)
    assert cluster.state(late) == "PENDING"
    assert "Gres=gpu:h100:2" in (node := cluster.run("scontrol", "show", "node", "node0", "-d")) and "shard:8" in node
    assert "shard:4(4/4,-/4)" in node
    assert "GRES=shard:3(3/4,0/4)" in cluster.run("scontrol", "show", "job", parts[0], "-d")
    (cluster.work / "go").touch()
    cluster.wait_state(late, "COMPLETED")
    assert [(cluster.work / name).read_text().strip() for name in ("part.3", "part.1", "whole")] == ["0:3", "0:1", "1:"]
    assert "gres/shard=3" in cluster.field(parts[0], "AllocTRES")


def test_a_step_sees_the_device_of_its_job(cluster: Cluster):
    assert cluster.run("srun", "--gres=shard:2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES:$SLURM_SHARDS_ON_NODE").strip() == "0:2"


def test_more_shards_than_a_gpu_has_and_both_kinds_at_once_are_refused(cluster: Cluster):
    for gres, text in (("shard:5", "Requested node configuration is not available"), ("shard:1,gpu:1", "(gres) specification")):
        done = cluster.attempt("sbatch", f"--gres={gres}", "--wrap", "true")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr
