"""The commands find their cluster although tools clean the environment."""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path

from conftest import BIN, Cluster, running, wait_for

REGISTRY = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/state/penstock/clusters"


def clean(cluster: Cluster, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command by its path with no variable at all but those given, and no ancestor that could lend it one."""
    shell = 'out=$1; shift; { "$@" >"$out/stdout" 2>"$out/stderr"; echo $? >"$out/status"; } &'
    with tempfile.TemporaryDirectory(dir=cluster.work) as folder:
        command = ["/bin/sh", "-c", shell, "sh", folder, str(BIN / words[0]), *words[1:]]
        subprocess.run(command, cwd=cluster.work, env=variables, stdin=subprocess.DEVNULL, check=True)
        texts = {name: Path(folder, name) for name in ("status", "stdout", "stderr")}
        wait_for(lambda: texts["status"].exists() and texts["status"].read_text().endswith("\n"), f"the end of {words}")
        return subprocess.CompletedProcess(
            words, int(texts["status"].read_text()), texts["stdout"].read_text(), texts["stderr"].read_text()
        )


def test_inside_a_job_whose_environment_was_cleaned(cluster: Cluster) -> None:
    script = cluster.work / "cleaned.sh"
    script.write_text(
        f"#!/bin/sh\nenv -i {BIN}/squeue -h -o %i -j $SLURM_JOB_ID\n"
        f"env -i SLURM_JOB_ID=$SLURM_JOB_ID {BIN}/srun sh -c 'echo step $SLURM_STEP_ID'\n"
        f"env -i {BIN}/sbatch --parsable --hold --wrap true\n"
    )
    job = cluster.submit("--wait", "--export=NONE", "-o", "cleaned.out", str(script))
    lines = (cluster.work / "cleaned.out").read_text().split("\n")
    assert lines[:2] == [job, "step 0"]
    cluster.run("scancel", lines[2])


def test_inside_a_step_whose_environment_was_cleaned(cluster: Cluster) -> None:
    assert "here RUNNING" in cluster.run("srun", "-J", "here", "env", "-i", f"{BIN}/squeue", "-h", "-o", "%j %T", "--me")


def test_the_variables_of_slurm_are_not_needed(cluster: Cluster) -> None:
    wrap = "for v in $(env | sed -n 's/^\\(SLURM_[A-Z_]*\\)=.*/\\1/p'); do unset $v; done; env | grep -c ^SLURM_; sinfo -h -o %D"
    cluster.submit("--wait", "-o", "stripped.out", "--wrap", wrap)
    assert (cluster.work / "stripped.out").read_text() == "0\n2\n"


def test_from_a_login_shell_through_the_registry(tmp_path: Path, cluster: Cluster) -> None:
    """Without any variable: one registered cluster is found, several are an error that lists them."""
    with running(tmp_path / "second", "--cpus", "1") as second:
        done = clean(cluster, "squeue", "-h")
        assert done.returncode == 1
        assert str(cluster.folder) in done.stderr and str(second.folder) in done.stderr
        assert "PENSTOCK_DIR" in done.stderr
        assert clean(cluster, "sinfo", "-h", "-o", "%D", PENSTOCK_DIR=str(second.folder)).stdout == "1\n"
        entries = {path: path.read_text() for path in REGISTRY.iterdir() if path.read_text().strip() != str(second.folder)}
        if all(Path(text.strip()).is_relative_to(tmp_path.parent) for text in entries.values()):  # never touch a cluster that is not ours
            try:
                for path in entries:
                    path.unlink()
                assert clean(cluster, "sinfo", "-h", "-o", "%D").stdout == "1\n"
            finally:
                for path, text in entries.items():
                    path.write_text(text)
    assert str(second.folder) not in [path.read_text().strip() for path in REGISTRY.iterdir()]


def test_a_cluster_that_is_not_there_is_named(cluster: Cluster) -> None:
    done = clean(cluster, "squeue", PENSTOCK_DIR="/nonexistent/cluster")
    assert done.returncode == 1
    assert "no cluster runs in /nonexistent/cluster" in done.stderr
    assert "Unable to contact slurm controller (connect failure)" in done.stderr
