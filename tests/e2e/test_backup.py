"""A backup taken while the cluster runs, restored into its folder: the queue of then is back, and the agents obey the controller."""

from pathlib import Path

from conftest import running


def test_a_restored_cluster_runs_jobs_again(tmp_path: Path) -> None:
    copy = str(tmp_path / "backup")
    with running(tmp_path / "restored", "--cpus", "2") as cluster:
        held = cluster.submit("--hold", "--wrap", "true")
        cluster.run("penstock", "backup", "--dir", str(cluster.folder), copy)
        cluster.submit("--hold", "--wrap", "true")
        # Two more terms of office, which the backup does not know of.
        for _ in range(2):
            cluster.run("penstock", "down", "--dir", str(cluster.folder))
            cluster.up()
        refusal = cluster.attempt("penstock", "restore", "--dir", str(cluster.folder), copy)
        assert refusal.returncode == 1 and "is up" in refusal.stderr
        cluster.run("penstock", "down", "--dir", str(cluster.folder))
        refusal = cluster.attempt("penstock", "restore", "--dir", str(cluster.folder), copy)
        assert refusal.returncode == 1, "a cluster that is not empty is replaced only on demand"
        cluster.run("penstock", "restore", "--force", "--dir", str(cluster.folder), copy)
        cluster.up()
        assert cluster.run("squeue", "-h", "-o", "%i").split() == [held]
        new = tmp_path / "new"
        assert "cluster.json" in cluster.run("penstock", "restore", "--dir", str(new), copy)
        assert (new / "cluster.json").read_text() == (cluster.folder / "cluster.json").read_text()
        cluster.run("scontrol", "release", held)
        cluster.wait_state(held, "COMPLETED")
