"""Real clusters for the end-to-end suite: real processes, a folder of its own for each, gone afterwards."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

COMMAND_LIMIT_S = 60
WAIT_LIMIT_S = 30
LOG_TAIL = 4096
BIN = Path(sys.executable).parent
CANCELLED = f"CANCELLED by {os.getuid()}"
"""How sacct shows a job that the user of these tests cancelled."""


@dataclass
class Cluster:
    """A cluster that `penstock up` started; its commands run with a clean environment in `work`."""

    folder: Path
    work: Path
    options: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("HOME", "USER", "LOGNAME", "LANG", "TMPDIR") if key in os.environ}
        return {**kept, "PATH": f"{BIN}:/usr/bin:/bin", "PENSTOCK_DIR": str(self.folder)}

    def start(self, *words: str, **more: object) -> subprocess.Popen[str]:
        usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "env": self.environment, "text": True}
        return subprocess.Popen(words, cwd=self.work, **{**usual, **more})

    def run(self, *words: str, status: int | None = 0) -> str:
        """Standard output; fails the test unless the command ends with `status` (None: any)."""
        done = self.attempt(*words)
        assert status is None or done.returncode == status, f"{words} exited with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=self.work, env=self.environment, input=stdin or "", capture_output=True, text=True, timeout=COMMAND_LIMIT_S
        )

    def submit(self, *words: str) -> str:
        """The job id that sbatch prints."""
        return self.run("sbatch", "--parsable", *words).strip()

    def up(self) -> None:
        self.run("penstock", "up", "--dir", str(self.folder), "--detach", *self.options)

    def processes(self, *roles: str) -> list[tuple[str, int]]:
        """(role, pid) of this cluster's processes."""
        from penstock.cluster.processes import find

        return [(process.role, process.pid) for process in find(str(self.folder)) if not roles or process.role in roles]

    def state(self, job: str) -> str:
        return self.run("sacct", "-n", "-X", "-P", "-o", "State", "-j", job).strip()

    def wait_state(self, job: str, *states: str) -> str:
        """Until every record of the job is in one of the states."""
        return wait_for(lambda: (text := self.state(job)) and set(text.split("\n")) <= set(states) and text, f"{job} in {states}")

    def field(self, job: str, name: str, *words: str) -> str:
        """One sacct field of the job itself."""
        return self.run("sacct", "-n", "-X", "-P", *words, "-o", name, "-j", job).strip()

    def live(self, job: str) -> bool:
        """Whether something of the job waits, runs or is completing."""
        return bool(self.run("squeue", "-h", "-t", "PD,R,S,CG", "-j", job, status=None))

    def wait_file(self, name: str, content: str = "") -> str:
        """Until the file exists with this text in it."""
        path = self.work / name
        return wait_for(lambda: path.exists() and content in path.read_text() and (path.read_text() or "empty"), f"{content!r} in {name}")


def wait_for(condition: Callable[[], object], what: str, limit_s: float = WAIT_LIMIT_S) -> object:
    """Polls until the condition is true; the test fails with `what` after the limit."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        pause()
    pytest.fail(f"waited {limit_s:.0f} s in vain for {what}")


def processes_of(cluster: Cluster, job: str) -> dict[int, str]:
    """pid and state letter of the processes that were started with the job's id in their environment; zombies left out."""
    found = {}
    for entry in os.listdir("/proc"):
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            if f"SLURM_JOB_ID={job}".encode() in environment and f"PENSTOCK_DIR={cluster.folder}".encode() in environment:
                found[int(entry)] = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return {pid: state for pid, state in found.items() if state not in "ZX"}


def pause() -> None:
    """Between two looks at a condition; nothing is assumed to have happened meanwhile."""
    subprocess.run(["sleep", "0.05"], check=True)


@contextlib.contextmanager
def running(folder: Path, *options: str, slurm_conf: str = "", companions: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A cluster for the duration of a block."""
    work = folder / "work"
    work.mkdir(parents=True)
    cluster = Cluster(folder / "cluster", work, options)
    if slurm_conf:
        cluster.folder.mkdir()
        for name, text in {"slurm.conf": slurm_conf, **(companions or {})}.items():
            (cluster.folder / name).write_text(text)
    cluster.up()
    try:
        yield cluster
    finally:
        for log in sorted((cluster.folder / "log").glob("*")):  # pytest shows it when a test fails
            print(f"-- {log.name}", log.read_text(errors="replace")[-LOG_TAIL:], sep="\n")
        cluster.run("penstock", "down", "--dir", str(cluster.folder), status=None)
        shutil.rmtree(folder, ignore_errors=True)


IMPATIENT = """
ClusterName=impatient
SlurmctldHost=localhost
KillWait=1
SchedulerParameters=requeue_delay=1
NodeName=node[0-1] NodeHostname=localhost CPUs=8 RealMemory=4096
PartitionName=main Nodes=ALL Default=YES
"""


@pytest.fixture(scope="session")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of 8 CPUs on which SIGKILL follows SIGTERM after a second, and a requeued job starts again after one."""
    with running(tmp_path_factory.mktemp("e2e") / "impatient", slurm_conf=IMPATIENT) as made:
        yield made


class Timed(NamedTuple):
    """Jobs that meet a limit of one minute."""

    polite: str
    stubborn: str
    step: str
    suspended: str
    srun: subprocess.Popen[str]


@pytest.fixture(scope="session", autouse=True)
def timed(request: pytest.FixtureRequest) -> Iterator[Timed | None]:
    """Submitted before the first test, if one of the tests asks for them: a minute is long."""
    if not any("timed" in item.function.__code__.co_varnames for item in request.session.items if isinstance(item, pytest.Function)):
        yield None
        return
    cluster: Cluster = request.getfixturevalue("impatient")
    limit = ("-t", "1")
    srun = cluster.start("srun", *limit, "sleep", "100")
    suspended = cluster.submit(*limit, "-o", "/dev/null", "--wrap", "sleep 68")
    cluster.wait_state(suspended, "RUNNING")
    cluster.run("scontrol", "suspend", suspended)
    resumer = cluster.start("sh", "-c", f"sleep 20; exec scontrol resume {suspended}")
    polite = cluster.submit(*limit, "-o", "polite.out", "--wrap", "trap 'echo got TERM; exit 3' TERM; while :; do sleep 0.2; done")
    stubborn = cluster.submit(*limit, "-o", "stubborn.out", "--wrap", "trap '' TERM; while :; do echo beat; sleep 1; done")
    step = cluster.submit(*limit, "-o", "step.out", "--wrap", "srun sleep 100")
    yield Timed(polite, stubborn, step, suspended, srun)
    for process in (srun, resumer):
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of 4 CPUs, shared by the tests that only run jobs."""
    with running(tmp_path_factory.mktemp("e2e") / "shared", "--nodes", "2", "--cpus", "4", "--memory", "4G", "--gpus", "h100:2") as made:
        yield made


MAIL_PROGRAM = """#!/bin/sh
echo "$2 to $3" >> {file}
"""
SLURM_CONF = """\
ClusterName=configured
GresTypes=gpu
SchedulerParameters=requeue_delay=1
MailProg={mail}
Licenses=fluent:2,matlab
NodeName=node0 NodeHostname=localhost CPUs=4 RealMemory=4096 Gres=gpu:h100:2 Feature=left,fast
NodeName=node1 NodeHostname=localhost CPUs=4 RealMemory=4096 Gres=gpu:h100:2 Feature=right,fast
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
PartitionName=short Nodes=ALL MaxTime=10
"""


@pytest.fixture(scope="session")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes from a slurm.conf: features, two partitions, a mail program that writes to work/mail, requeued jobs that wait 1 s."""
    folder = tmp_path_factory.mktemp("e2e")
    mail = folder / "mail.sh"
    mail.write_text(MAIL_PROGRAM.format(file=folder / "configured" / "work" / "mail"))
    mail.chmod(0o755)
    with running(folder / "configured", slurm_conf=SLURM_CONF.format(mail=mail)) as made:
        yield made
