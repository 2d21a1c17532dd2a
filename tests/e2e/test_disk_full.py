"""A full disk under the cluster: new jobs are refused with a clear error, endings are recorded, nothing acknowledged is lost."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cluster, running, wait_for

SIZE_MIB = 128


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SIZE_MIB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o755)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "penstock-test", str(folder)]
    mount = subprocess.run(words, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Take all room but so many bytes; what the cluster writes meanwhile takes its part."""
    ballast = folder / "ballast"
    left = shutil.disk_usage(folder).free - leave_bytes
    with open(ballast, "ab", buffering=0) as file:
        while left > 0:
            try:
                left -= file.write(b"\0" * min(left, 1 << 20))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                break
    return ballast


def test_a_full_disk_refuses_jobs_and_records_endings(small_disk: Path, tmp_path: Path) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    with running(small_disk / "c", "--nodes", "2", "--cpus", "8") as cluster:
        wrap = f"until [ -e {gates}/$SLURM_JOB_ID ]; do sleep 0.1; done; echo $SLURM_JOB_ID >> {gates}/evidence; exit $((SLURM_JOB_ID % 3))"
        running_jobs = [cluster.submit("-o", "/dev/null", "--wrap", wrap) for _ in range(8)]
        held = [cluster.submit("--hold", "-o", "/dev/null", "--wrap", wrap) for _ in range(4)]
        for job in running_jobs:
            cluster.wait_state(job, "RUNNING")
        ballast = fill(small_disk, 0)
        accepted = []

        def refused() -> str:
            done = cluster.attempt("sbatch", "--parsable", "--hold", "-o", "/dev/null", "--wrap", "true")
            if done.returncode == 0:
                accepted.append(done.stdout.strip())
            return done.stderr if done.returncode else ""

        error = str(wait_for(refused, "a submission is refused"))
        assert "the disk of" in error and "is full" in error
        assert "Batch job submission failed" in error
        for job in running_jobs[:6]:
            (gates / job).touch()
        for job in running_jobs[:6]:
            wait_for(lambda job=job: cluster.state(job) in ("COMPLETED", "FAILED"), f"the end of {job} is recorded")
        assert cluster.run("squeue", "-h").strip()
        restart(cluster, "controller")
        check(cluster, running_jobs[:6], held + accepted)
        ballast.unlink()
        wait_for(lambda: not refused(), "jobs are accepted again")
        for job in running_jobs[6:]:
            (gates / job).touch()
            cluster.wait_state(job, "COMPLETED", "FAILED")
        restart(cluster, "controller", "agent")
        check(cluster, running_jobs, held + accepted)
        runs = (gates / "evidence").read_text().split()
        assert sorted(runs) == sorted(running_jobs)


def restart(cluster: Cluster, *roles: str) -> None:
    for _, pid in cluster.processes(*roles):
        os.kill(pid, 9)
    cluster.up()


def check(cluster: Cluster, ended: list[str], waiting: list[str]) -> None:
    """The accounts hold every acknowledged job with the code it really had."""
    rows = cluster.run("sacct", "-nXP", "-o", "JobID,State,ExitCode").splitlines()
    accounts = {job: (state, code) for job, state, code in (row.split("|") for row in rows)}
    for job in ended:
        code = int(job) % 3
        assert accounts[job] == ("FAILED" if code else "COMPLETED", f"{code}:0")
    for job in waiting:
        assert accounts[job][0] == "PENDING"


def test_a_job_whose_own_disk_is_full_ends_by_its_own_code(small_disk: Path, cluster: Cluster) -> None:
    job = cluster.submit("-o", f"{small_disk}/out", "--wrap", f"head -c {(SIZE_MIB + 1) << 20} /dev/zero; exit 9")
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == "9:0"
