"""A cluster of root's serves other users: their jobs run as them, and nobody touches another's."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, Cluster, wait_for

USER = "nobody"


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Path:
    """A folder of the other user's, reachable for that user."""
    if os.geteuid() != 0:
        pytest.skip("only a cluster of root's serves several users")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    made = tmp_path_factory.mktemp("other")
    entry = pwd.getpwnam(USER)
    os.chown(made, entry.pw_uid, entry.pw_gid)
    for above in made.parents:
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    if as_user(cluster, made, str(BIN / "python3"), "-c", "").returncode:
        pytest.skip(f"user {USER} cannot run {BIN}/python3: its interpreter lies in a closed folder")
    return made


def as_user(cluster: Cluster, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the other user's, with a supplementary group and a umask that are not root's."""
    entry = pwd.getpwnam(USER)
    ids = ["--reuid", str(entry.pw_uid), "--regid", str(entry.pw_gid), "--init-groups"]
    switch = ["setpriv", *ids, "sh", "-c", 'umask 027; exec "$@"', "sh"]
    environment = {**cluster.environment, "PATH": f"{BIN}:/bin", "HOME": str(folder), "USER": USER, "LOGNAME": USER}
    for above in cluster.folder.parents:
        if above != Path("/") and above.stat().st_uid == 0:
            above.chmod(above.stat().st_mode | 0o011)
    return subprocess.run([*switch, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=30)


def test_a_users_job_runs_as_that_user(cluster: Cluster, folder: Path) -> None:
    wrap = "id -u; id -g; id -G; umask; touch made; echo $USER; pwd"
    done = as_user(cluster, folder, "sbatch", "--parsable", "--wait", "-o", "new/job.out", "--wrap", wrap)
    assert done.returncode == 0, done.stderr
    entry = pwd.getpwnam(USER)
    groups = " ".join(map(str, os.getgrouplist(USER, entry.pw_gid)))
    text = (folder / "new" / "job.out").read_text().split("\n")
    assert text[:6] == [str(entry.pw_uid), str(entry.pw_gid), groups, "0027", USER, str(folder)]
    for name, mode in (("made", 0o640), ("new/job.out", 0o640), ("new", 0o750)):
        status = (folder / name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (entry.pw_uid, entry.pw_gid, mode), name
    assert cluster.field(done.stdout.strip(), "User,UID") == f"{USER}|{entry.pw_uid}"


def test_a_users_step_runs_as_that_user(cluster: Cluster, folder: Path) -> None:
    done = as_user(cluster, folder, "srun", "-n2", "sh", "-c", "id -u; umask; touch step.$SLURM_PROCID")
    assert done.returncode == 0, done.stderr
    uid = pwd.getpwnam(USER).pw_uid
    assert done.stdout.split() in ([str(uid), "0027"] * 2, [str(uid), str(uid), "0027", "0027"])
    assert (folder / "step.1").stat().st_uid == uid


def test_a_user_cannot_write_where_that_user_may_not(cluster: Cluster, folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    job = as_user(cluster, folder, "sbatch", "--parsable", "-o", "closed/job.out", "--wrap", "true").stdout.strip()
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == "0:53"
    assert list(closed.iterdir()) == []


def test_roots_jobs_are_not_the_users_to_touch(cluster: Cluster, folder: Path) -> None:
    job = cluster.submit("-o", "/dev/null", "--wrap", "sleep 60")
    held = cluster.submit("--hold", "-o", "/dev/null", "--wrap", "true")
    cluster.wait_state(job, "RUNNING")
    attempts = {
        ("scancel", job): "Access/permission denied",
        ("scancel", held): "Access/permission denied",
        ("scancel", "-s", "USR1", job): "Access/permission denied",
        ("scontrol", "hold", held): "Access/permission denied",
        ("scontrol", "release", held): "Access/permission denied",
        ("scontrol", "requeue", job): "Access/permission denied",
        ("scontrol", "suspend", job): "Access/permission denied",
        ("scontrol", "update", f"jobid={held}", "priority=1"): "Access/permission denied",
        ("scontrol", "update", "nodename=node0", "state=drain", "reason=x"): "denied",
        ("scontrol", "write", "batch_script", held, "-"): "denied",
        ("srun", f"--jobid={job}", "--overlap", "id"): "denied",
    }
    for words, text in attempts.items():
        done = as_user(cluster, folder, *words)
        assert done.returncode != 0, (words, done)
        assert text in done.stderr, (words, done.stderr)
    assert cluster.state(job) == "RUNNING" and cluster.state(held) == "PENDING"
    assert "UserId=root(0)" in cluster.run("scontrol", "show", "job", held)
    everything = as_user(cluster, folder, "scancel", "-u", "root")
    assert cluster.state(job) == "RUNNING", everything
    cluster.run("scancel", job, held)


def test_root_may_cancel_a_users_job(cluster: Cluster, folder: Path) -> None:
    job = as_user(cluster, folder, "sbatch", "--parsable", "-o", "/dev/null", "--wrap", "sleep 60").stdout.strip()
    cluster.wait_state(job, "RUNNING")
    cluster.run("scancel", job)
    assert cluster.state(job) == "CANCELLED by 0"


def test_a_user_cannot_reach_the_daemons_files_or_their_sockets(cluster: Cluster, folder: Path) -> None:
    runtime = Path((cluster.folder / "socket").read_text().strip())
    for path in (cluster.folder / "store", cluster.folder / "log"):
        assert as_user(cluster, folder, "ls", str(path)).returncode != 0, path
    connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    for name in ("nodes.sock", "launcher.sock", "agent-node0.sock"):
        done = as_user(cluster, folder, "/usr/bin/env", "python3", "-c", connect, str(runtime / name))
        assert "PermissionError" in done.stderr, (name, done.stderr)


def test_a_shepherd_cannot_be_signalled_by_its_user(cluster: Cluster, folder: Path) -> None:
    """Once it has taken the user's identity off again, which it wears for the moment of starting the script."""
    wrap = "echo $PPID > parent; until [ -e go ]; do sleep 0.05; done; kill -9 $PPID && echo killed; exit 6"
    job = as_user(cluster, folder, "sbatch", "--parsable", "-o", "kill.out", "--wrap", wrap).stdout.strip()
    parent = folder / "parent"
    wait_for(lambda: parent.exists() and parent.read_text().endswith("\n"), "the script runs")
    status = Path(f"/proc/{parent.read_text().strip()}/status")
    wait_for(lambda: status.read_text().split("Uid:")[1].split()[:4] == ["0"] * 4, "its shepherd is root's again")
    (folder / "go").touch()
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == "6:0"
    assert "not permitted" in (folder / "kill.out").read_text()


def test_a_users_commands_are_run_by_a_worker_of_that_user(cluster: Cluster, folder: Path) -> None:
    if (BIN / "squeue").read_bytes()[:4] != b"\x7fELF":
        pytest.skip("the commands of this installation are Python scripts: there was no C compiler")
    assert as_user(cluster, folder, "squeue", "-h").returncode == 0
    uid = pwd.getpwnam(USER).pw_uid
    owners = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "cmdline").read_bytes().startswith(b"penstock worker"):
                status = (entry / "status").read_text()
                owners.append((status.split("Uid:")[1].split()[:4], status.split("CapEff:")[1].split()[0]))
        except OSError:
            continue
    assert ([str(uid)] * 4, "0" * 16) in owners
