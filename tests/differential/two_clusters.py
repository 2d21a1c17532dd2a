"""A real Slurm and a Penstock cluster of equal size for the differential suite, and how their outcomes are made comparable.

Both have four nodes of 8 CPUs, 8000 MB and 2 GPUs, KillWait 2 s, DefMemPerCPU 100 MB and a default partition `normal`. Both number their
jobs from FIRST_JOB_ID, so that a job id is recognised wherever it is printed. What differs by nature (ids, times, folders, node names)
is replaced by a word.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from script_cases import PRELUDE, Case

ROOT = Path(__file__).resolve().parents[2]
NODES = 4
FIRST_JOB_ID = 600_001
AT_ONCE = 6
CASE_LIMIT_S = 60
START_LIMIT_S = 120
KEPT = ("HOME", "USER", "LOGNAME", "LANG", "TMPDIR")
PASSING = (
    r"(?:srun: (?:Step created for |Force Terminated |Terminating |Job \d+ step creation temporarily disabled)"
    r"|salloc: (?:Pending job allocation |Job allocation \d+ has been revoked)"
    r"|(?:srun|salloc): job \d+ (?:queued and waiting for|has been allocated) resources)"
)
"""Beginning of lines that appear only if something had to be waited for: dropped."""
LICENSES = "Licenses=fluent:4,matlab:2,serial:1"
FEATURES = ("red,big", "red", "blue,big", "blue")
"""What each node carries beside f1 and f2."""
SETTINGS = f"""\
ClusterName=oracle
FirstJobId={FIRST_JOB_ID}
KillWait=2
DefMemPerCPU=100
GresTypes=gpu
{LICENSES}
NodeName=node[0-{NODES - 1}] NodeHostname=localhost CPUs=8 CoresPerSocket=8 RealMemory=8000 Gres=gpu:h100:2 Feature=f1,f2
PartitionName=normal Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
"""


@dataclass
class Cluster:
    """A running cluster: the environment that reaches it, its folder, its nodes in order."""

    name: str
    folder: Path
    environment: dict[str, str]
    nodes: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=START_LIMIT_S)
        if done.returncode:
            raise RuntimeError(
                f"{self.name}: {' '.join(arguments)} exited with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"
            )
        return done.stdout

    def colour(self) -> None:
        """Gives the nodes their FEATURES."""
        for name, own in zip(self.nodes, FEATURES, strict=True):
            features = f"f1,f2,{own}"
            self.run("scontrol", "update", f"NodeName={name}", f"AvailableFeatures={features}", f"ActiveFeatures={features}")

    def outcomes(self, cases: list[Case], folder: Path) -> dict[str, "Outcome"]:
        """Runs the cases, AT_ONCE side by side, each in a folder of its own."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda item: self.outcome(item[1], folder / f"case-{item[0]}"), enumerate(cases))
            return dict(zip((case.name for case in cases), found, strict=True))

    def outcome(self, case: Case, folder: Path) -> "Outcome":
        folder.mkdir(parents=True)
        environment = {**self.environment, **{f"NODE{n}": name for n, name in enumerate(self.nodes)}}
        shell = subprocess.Popen(
            ["bash", "-c", PRELUDE + case.text],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        late = ""
        try:
            stdout, stderr = shell.communicate(timeout=CASE_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, 9)
            stdout, stderr = shell.communicate()
            late = f"did not end within {CASE_LIMIT_S} s"
        texts = {"stdout": stdout, "stderr": stderr}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".sh":
                texts[f"file {path.relative_to(folder)}"] = path.read_bytes()
        plain = {
            self.neutral(name, folder, case): self.neutral(text.decode(errors="replace"), folder, case) for name, text in texts.items()
        }
        if "any order" in case.flags:
            plain = {name: "".join(sorted(text.splitlines(keepends=True))) for name, text in plain.items()}
        return Outcome(late or str(shell.returncode), plain)

    def neutral(self, text: str, folder: Path, case: Case) -> str:
        """The text with what differs by nature replaced by a word."""
        text = text.replace(str(folder), "FOLDER").replace(str(self.folder), "CLUSTER")
        if "exact nodes" not in case.flags:
            text = re.sub(rf"\b(?:{self.list_pattern()}|{'|'.join(map(re.escape, self.nodes))})\b(?:\[[\d,-]+\])?", "NODES", text)
        for n, name in enumerate(self.nodes):
            text = re.sub(rf"\b{re.escape(name)}\b", f"NODE{n}", text)
        text = re.sub(r"(?m)^" + PASSING + r".*\n", "", text)
        text = text.replace("slurmstepd-NODES:", "slurmstepd:")
        text = re.sub(r"(?<!\d)0*6\d{5}(?!\d)", "JOB", text)
        text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\b", "TIME", text)
        return text.replace(socket.gethostname().split(".")[0], "HOST")

    def list_pattern(self) -> str:
        """What the nodes' names have in common, as it stands before a bracket."""
        return re.escape(re.match(r"\D*", self.nodes[0]).group()) + r"(?=\[)"


@dataclass(frozen=True)
class Outcome:
    """Exit code and every text that a case left, in neutral words."""

    code: str
    texts: dict[str, str]


def own_environment(**more: str) -> dict[str, str]:
    return {**{name: os.environ[name] for name in KEPT if name in os.environ}, **more}


def start_slurm(folder: Path) -> Cluster:
    """Starts the oracle; raises RuntimeError with its words where it does not come up."""
    settings = folder / "extra.conf"
    folder.mkdir(parents=True)
    settings.write_text(f"FirstJobId={FIRST_JOB_ID}\n{LICENSES}\n")
    environment = own_environment(
        PATH=":".join(part for part in os.environ["PATH"].split(":") if part != str(Path(sys.executable).parent)) + ":/usr/sbin",
        ORACLE_PORT=os.environ.get("ORACLE_PORT", "37800"),
        EXTRA_CONF=str(settings),
        SLURM_CONF=str(folder / "cluster/etc/slurm.conf"),
    )
    cluster = Cluster("Slurm", folder / "cluster", environment)
    cluster.run("bash", str(oracle()), "start", str(cluster.folder), str(NODES))
    del cluster.environment["EXTRA_CONF"], cluster.environment["ORACLE_PORT"]
    cluster.nodes = [f"node{n}" for n in range(NODES)]
    cluster.colour()
    return cluster


def stop_slurm(cluster: Cluster) -> None:
    subprocess.run(
        ["bash", str(oracle()), "stop", str(cluster.folder), str(NODES)],
        env=cluster.environment,
        capture_output=True,
        timeout=START_LIMIT_S,
    )


def start_penstock(folder: Path) -> Cluster:
    """Starts Penstock; raises RuntimeError with its words where it does not come up."""
    where = folder / "cluster"
    where.mkdir(parents=True)
    (where / "slurm.conf").write_text(SETTINGS)
    cluster = Cluster("Penstock", where, own_environment(PATH=os.environ["PATH"]))
    program = str(penstock())
    cluster.run(
        program, "up", "--dir", str(where), "--detach", "--nodes", str(NODES), "--cpus", "8", "--memory", "8000M", "--gpus", "h100:2"
    )
    shown = cluster.run("sh", "-c", 'eval "$("$1" env --dir "$2")" && exec env -0', "sh", program, str(where))
    cluster.environment = dict(part.split("=", 1) for part in shown.split("\0") if part)
    cluster.nodes = cluster.run("sinfo", "-h", "-N", "-o", "%N").split()
    if len(cluster.nodes) != NODES:
        raise RuntimeError(f"Penstock shows the nodes {cluster.nodes}, not {NODES}")
    cluster.colour()
    return cluster


def stop_penstock(cluster: Cluster) -> None:
    subprocess.run(
        [str(penstock()), "down", "--dir", str(cluster.folder)], env=cluster.environment, capture_output=True, timeout=START_LIMIT_S
    )


def oracle() -> Path:
    """The script that starts a real Slurm: PENSTOCK_ORACLE, or the one beside this repository."""
    return Path(os.environ.get("PENSTOCK_ORACLE") or ROOT.parent / "shared/slurm-oracle/oracle")


def penstock() -> Path | None:
    beside = Path(sys.executable).parent / "penstock"
    found = beside if beside.exists() else shutil.which("penstock")
    return Path(found) if found else None


def why_no_slurm() -> str:
    """Why no real Slurm can run here, or nothing."""
    if not oracle().is_file():
        return "no script that starts a real Slurm: set PENSTOCK_ORACLE"
    if os.getuid():
        return "a real Slurm is started as root only"
    missing = [
        name
        for name in ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
        if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    return f"not installed: {', '.join(missing)}" if missing else ""
