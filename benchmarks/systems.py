"""The two systems that are measured: a real Slurm and Penstock. A row sees only `System` and the commands under Slurm's names.

Both run on this machine with the same number of nodes, each with CPUS_A_NODE declared CPUs. Slurm runs as its oracle's throughput
profile sets it up: accounting off, tuned as its high-throughput guide says. Penstock runs as `penstock up` makes it: accounting and
durability on, no option but the size.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from processes import WAIT_LIMIT_S, Failed, NotYet, descendants, run_once, wait_until

CPUS_A_NODE = 64
COMMAND_LIMIT_S = 600
ROOT = Path(__file__).resolve().parent.parent
BASE_ENVIRONMENT = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "TMPDIR") if name in os.environ}


class System:
    """A cluster that can be started fresh, asked, killed and started again. `work` is an empty folder for the jobs of one row."""

    name = ""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = nodes
        self.cluster = folder / "cluster"
        self.work = folder / "work"
        self.environment: dict[str, str] = {}
        self.pending = 0

    def fresh(self) -> None:
        """A new cluster without a job, an empty work folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.pending = 0
        self.start()

    def run(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command in the work folder; raises Failed on a non-zero exit code unless told not to check."""
        try:
            done = subprocess.run(
                arguments, env=self.environment, cwd=self.work, input=stdin, capture_output=True, text=True, timeout=COMMAND_LIMIT_S
            )
        except FileNotFoundError:
            raise NotYet(f"there is no command {arguments[0]}") from None
        if check and done.returncode:
            raise Failed(f"{arguments[0]} exited with {done.returncode}: {(done.stderr or done.stdout).strip()[:200]}")
        return done

    def submit(self, *arguments: str) -> int:
        return int(self.run("sbatch", "--parsable", *arguments).stdout.split(";")[0])

    def active_count(self) -> int:
        """Jobs and array elements that are pending, running or completing."""
        return len(self.run("squeue", "-h", "-r", "-o", "%i").stdout.split())

    def needs(self, command: str) -> None:
        """Raises NotYet if this system has no such command."""

    def wait_empty(self, limit_s: float = WAIT_LIMIT_S) -> float:
        """Waits until nothing is pending, running or completing; the moment, as time.perf_counter()."""
        ask = ("squeue", "-h", "-o", "%i")
        return wait_until("the queue to be empty", lambda: not self.run(*ask).stdout.strip(), limit_s, poll_s=0.05)

    def first_answer(self, job_id: int) -> float:
        """Waits until squeue shows the job; the moment, as time.perf_counter()."""
        ask = ("squeue", "-h", "-j", str(job_id), "-o", "%A")
        return wait_until("a first answer", lambda: self.run(*ask, check=False).stdout.split() == [str(job_id)], poll_s=0.01)

    def interpreter(self) -> str | None:
        """The Python that runs this system's commands, None for compiled ones."""
        return None

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def controller_pids(self) -> list[int]:
        """The processes that hold the queue: the controller and what belongs to it, not the nodes' side."""
        raise NotImplementedError

    def measured_pids(self) -> list[int]:
        """All processes on the controller's side whose memory counts: those and whatever else serves commands."""
        return self.controller_pids()

    def serving_cpu(self) -> Callable[[], float]:
        """Gives a function that reads the CPU seconds of processes that stand ready to run commands; the controller is none."""
        return lambda: 0.0

    def start_controller(self) -> None:
        """Starts a controller that is down; returns when the command to do so does."""
        raise NotImplementedError

    def stop_controller(self, number: int = signal.SIGTERM) -> None:
        """Signals the controller's processes and waits until they are gone."""
        pids = self.controller_pids()
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        wait_until("the controller to end", lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids), limit_s=60, poll_s=0.01)

    def accounted(self) -> dict[int, tuple[str, str]] | None:
        """State and exit code of every job by its own id, from the accounting; None where there is none."""
        return None


class Slurm(System):
    """A real Slurm in its throughput profile, by the oracle script (PENSTOCK_ORACLE, or the one beside this repository)."""

    name = "Slurm"

    def __init__(self, folder: Path, nodes: int) -> None:
        super().__init__(folder, nodes)
        own = str(Path(sys.executable).parent)
        path = [part for part in os.environ["PATH"].split(":") if part and part != own] + ["/usr/sbin"]
        self.environment = {
            **BASE_ENVIRONMENT,
            "PATH": ":".join(path),
            "ORACLE_PORT": os.environ.get("ORACLE_PORT", "27800"),
            "SLURM_CONF": str(self.cluster / "etc/slurm.conf"),
        }

    @staticmethod
    def missing() -> str:
        """Why no real Slurm can be measured here, or nothing."""
        if not shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin"):
            return "slurmctld is not installed"
        if not Slurm.script().is_file():
            return "no script that starts a real Slurm: set PENSTOCK_ORACLE"
        return "" if os.getuid() == 0 else "a real Slurm is started as root only"

    @staticmethod
    def script() -> Path:
        return Path(os.environ.get("PENSTOCK_ORACLE") or ROOT.parent / "shared/slurm-oracle/oracle")

    def version(self) -> str:
        return self.run("sinfo", "--version").stdout.split()[-1]

    def oracle(self, *arguments: str) -> None:
        command = ["bash", str(self.script()), *arguments]
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        if done.returncode:
            raise Failed(f"oracle {arguments[0]}: {done.stdout.strip()[-300:]}")

    def start(self) -> None:
        self.oracle("start", "--throughput", str(self.cluster), str(self.nodes))

    def stop(self) -> None:
        if self.cluster.exists():
            self.oracle("stop", str(self.cluster), str(self.nodes))

    def controller_pids(self) -> list[int]:
        try:
            pid = int((self.cluster / "run/slurmctld.pid").read_text())
        except (OSError, ValueError):
            return []
        return [pid] if Path(f"/proc/{pid}/exe").exists() else []

    def start_controller(self) -> None:
        self.run("slurmctld")


class Penstock(System):
    """Penstock as `penstock up` makes it."""

    name = "Penstock"

    def __init__(self, folder: Path, nodes: int) -> None:
        super().__init__(folder, nodes)
        beside = Path(sys.executable).parent / "penstock"
        found = str(beside) if beside.exists() else shutil.which("penstock")
        self.program = found or ""
        self.environment = {**BASE_ENVIRONMENT, "PATH": os.environ["PATH"]}

    def needs(self, command: str) -> None:
        if not os.access(Path(self.program).parent / command, os.X_OK):
            raise NotYet(f"there is no command {command}")

    def missing(self) -> str:
        return "" if self.program else "the command penstock is not installed"

    def version(self) -> str:
        return self.run(self.program, "--version").stdout.strip().removeprefix("penstock ")

    def start(self) -> None:
        size = ["--nodes", str(self.nodes)] if self.nodes > 1 else []
        self.run(self.program, "up", "--dir", str(self.cluster), "--detach", "--cpus", str(CPUS_A_NODE), *size)
        shell = 'eval "$("$1" env --dir "$2")" && exec env -0'
        done = self.run("/bin/sh", "-c", shell, "sh", self.program, str(self.cluster))
        self.environment = dict(part.split("=", 1) for part in done.stdout.split("\0") if part)
        idle = ("sinfo", "-h", "-N", "-t", "idle", "-o", "%N")
        wait_until("the nodes", lambda: len(self.run(*idle, check=False).stdout.split()) >= self.nodes, limit_s=60)

    def stop(self) -> None:
        if self.cluster.exists():
            self.run(self.program, "down", "--dir", str(self.cluster), check=False)

    def controller_pids(self) -> list[int]:
        """As `penstock status --json` names them, with what they started (a planner that is a process of its own)."""
        return self.pids_of("controller", "planner")

    def measured_pids(self) -> list[int]:
        return self.pids_of("controller", "planner", "commands")

    def pids_of(self, *roles: str) -> list[int]:
        status = json.loads(self.run(self.program, "status", "--dir", str(self.cluster), "--json", check=False).stdout or "{}")
        found = [item["pid"] for item in status.get("processes", []) if item["role"] in roles]
        return sorted({each for pid in found for each in descendants(pid)})

    def serving_cpu(self) -> Callable[[], float]:
        """Of the command host and its workers: a command's own process only hands it to them."""
        host = self.pids_of("commands")[:1]

        def read() -> float:
            return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for each in host for pid in descendants(each)) / 1e9

        return read

    def start_controller(self) -> None:
        self.run(self.program, "up", "--dir", str(self.cluster), "--detach")

    def interpreter(self) -> str | None:
        with open(self.program, "rb") as command:
            line = command.readline().decode().strip()
        return line[2:].split()[0] if line.startswith("#!") else None

    def accounted(self) -> dict[int, tuple[str, str]] | None:
        since = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() - 86400))
        rows = self.run("sacct", "-X", "-n", "-P", "-S", since, "-o", "JobIDRaw,State,ExitCode").stdout.splitlines()
        return {int(number): (state.split()[0], code) for number, state, code in (row.split("|") for row in rows) if number.isdigit()}


def machine_limit(script: Path, count: int, at_once: int, environment: dict[str, str], cwd: Path) -> float:
    """Runs of a script a second by nothing but fork and exec from a loop, `at_once` loops side by side."""
    each = count // at_once
    shells = f'n=0; while [ $n -lt {each} ]; do "$1"; n=$((n + 1)); done'
    all_loops = " ".join(f"( {shells} ) &" for _ in range(at_once)) + " wait"
    done = run_once(["/bin/sh", "-c", all_loops, "sh", str(script)], environment, cwd)
    if done.code:
        raise Failed(f"the loop exited with {done.code}")
    return each * at_once / done.wall_s
