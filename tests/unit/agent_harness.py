"""A real agent with launcher and shepherds, and a controller made of a socket: what the tests of the node side talk to."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from penstock.agent.cgroups import remove_groups
from penstock.wire import messages
from penstock.wire.messages import AckEnded, Assign, Deframer, Ended, Hello, LaunchStep, StepEnded, TaskIo, Welcome, frame

WAIT_S = 20.0


def interpreter(uid: int) -> str | None:
    """A Python of this version with which the user can run Penstock (a virtual environment or the sources may lie in folders that are
    closed to others); None if there is none."""
    for path in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        # A shell in between: setpriv itself may still execute what its new user may not.
        command = [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={uid}",
            "--clear-groups",
            "sh",
            "-c",
            '"$0" -c "import penstock.agent.service"',
            path,
        ]
        environment = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"], "HOME": "/"}
        if subprocess.run(command, check=False, env=environment, cwd="/", stderr=subprocess.DEVNULL).returncode == 0:
            return path
    return None


class Node:
    """One node in a folder of its own, removed with everything that still runs when the block ends."""

    def __init__(self, *, uid: int = 0, arguments: tuple[str, ...] = (), start: bool = True) -> None:
        self.dir = tempfile.mkdtemp(prefix="pst-", dir="/tmp")
        self.runtime = tempfile.mkdtemp(prefix="pst-r-", dir="/tmp")
        self.uid = uid
        self.arguments = arguments
        self.out = f"{self.dir}/out"
        self._start = start
        if start:
            self.make_folders()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"{self.runtime}/nodes.sock")
        os.chmod(f"{self.runtime}/nodes.sock", 0o666)
        self._listener.listen()
        self._listener.settimeout(WAIT_S)
        self._connection: socket.socket | None = None
        self._deframer = Deframer()
        self._inbox: list[object] = []
        self.agent: subprocess.Popen[bytes] | None = None

    def make_folders(self) -> None:
        os.chmod(self.dir, 0o755)
        os.mkdir(self.out)
        os.chmod(self.out, 0o777)
        with open(f"{self.dir}/socket", "w", encoding="utf-8") as file:
            file.write(self.runtime)
        if self.uid and os.geteuid() == 0:
            for path in (self.dir, self.runtime):
                os.chown(path, self.uid, self.uid)

    def __enter__(self) -> Node:
        if self._start:
            self.start_agent()
            self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._connection is not None:
            self._connection.close()
        self._listener.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        shutil.rmtree(self.runtime, ignore_errors=True)

    def stop(self) -> None:
        """Kill the agent and everything that still runs."""
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
        for _ in range(100):
            left = self.daemons("launcher") + self.daemons("shepherd") + self.of_runs()
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.01)
        with contextlib.suppress(FileNotFoundError):
            for berth in os.listdir(f"{self.dir}/nodes/n1/berths"):
                with contextlib.suppress(OSError), open(f"{self.dir}/nodes/n1/berths/{berth}/groups", encoding="utf-8") as file:
                    remove_groups(tuple(file.read().split("\n")))

    # --- daemons

    def start_agent(self) -> None:
        prefix: list[str] = []
        python = sys.executable
        if self.uid and os.geteuid() == 0:
            python = interpreter(self.uid)
            prefix = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups"]
        command = [python, "-m", "penstock.agent.service", "--dir", self.dir, "--node", "n1", "--cpus", "8", *self.arguments]
        environment = {"PYTHONPATH": ":".join(sys.path), "PATH": os.environ["PATH"], "HOME": "/"}
        self.agent = subprocess.Popen([*prefix, *command], env=environment, stdin=subprocess.DEVNULL, start_new_session=True)

    def kill_agent(self) -> None:
        self.agent.kill()
        self.agent.wait()

    def accept(self) -> Hello:
        """Take the agent's connection, say Welcome, return its Hello."""
        if self._connection is not None:
            self._connection.close()
        self._connection, _ = self._listener.accept()
        self._connection.settimeout(WAIT_S)
        self._deframer = Deframer()
        self._inbox.clear()
        hello = self.wait_for(Hello)
        self.send(Welcome(1, "test"))
        return hello

    def daemons(self, what: str) -> list[int]:
        """Pids of the launcher or of the shepherds of this folder."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdecimal():
                continue
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    line = file.read().replace(b"\0", b" ").decode(errors="replace")
                folder = self._folder_of(name) if what == "shepherd" else ""
            except OSError:
                continue
            if line.startswith(f"penstock {what}") and (f"--dir {self.dir}" in line or folder == self.dir):
                found.append(int(name))
        return found

    def _folder_of(self, pid: str) -> str:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith(f"{self.dir}/nodes/"):
                return self.dir
        return ""

    def of_runs(self) -> list[int]:
        """Living processes that were started by a run of this folder."""
        needle = f"PENSTOCK_DIR={self.dir}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdecimal():
                try:
                    with open(f"/proc/{name}/environ", "rb") as file:
                        if needle in file.read().split(b"\0"):
                            found.append(int(name))
                except OSError:
                    continue
        return found

    # --- messages

    def send(self, message: object) -> None:
        self._connection.sendall(frame(messages.encode(message)))

    def wait_for(self, kind: type, **fields: object) -> object:
        """The next message of this kind with these fields; others stay for later."""
        give_up = time.monotonic() + WAIT_S
        while True:
            for at, message in enumerate(self._inbox):
                if isinstance(message, kind) and all(getattr(message, name) == value for name, value in fields.items()):
                    return self._inbox.pop(at)
            if time.monotonic() > give_up:
                raise TimeoutError(f"no {kind.__name__} {fields}; there are {self._inbox}")
            data = self._connection.recv(1 << 16)
            if not data:
                raise ConnectionError("the agent closed the connection")
            self._inbox += [messages.decode_for_controller(payload) for payload in self._deframer.feed(data)]

    def assign(self, job_id: int, script: str = "#!/bin/bash\ntrue\n", *, as_user: int | None = None, **fields: object) -> None:
        uid = (self.uid if os.geteuid() == 0 else os.geteuid()) if as_user is None else as_user
        entry = pwd.getpwuid(uid)
        values: dict[str, object] = {
            "epoch": 1,
            "uid": uid,
            "gid": entry.pw_gid,
            "user": entry.pw_name,
            "batch": True,
            "cpus": 1,
            "memory_mib": 0,
            "script": script.encode(),
            "environment": b"PATH=/usr/local/bin:/usr/bin:/bin",
            "variables": {"SLURM_JOB_ID": str(job_id), "PENSTOCK_DIR": self.dir},
            "work_dir": self.out,
            "stdout": f"{self.out}/{job_id}.out",
        }
        self.send(Assign(job_id, 0, **(values | fields)))

    def ended(self, job_id: int) -> object:
        """Wait for the end, acknowledge it, return its record."""
        message = self.wait_for(Ended, job_id=job_id)
        self.send(AckEnded(job_id, message.attempt))
        return message.record

    def run(self, job_id: int, script: str, **fields: object) -> object:
        self.assign(job_id, script, **fields)
        return self.ended(job_id)

    def launch(self, job_id: int, step_id: int, argv: tuple[str, ...], ranks: tuple[int, ...] = (0,), **fields: object) -> None:
        out = f"{self.out}/{job_id}.{step_id}.%t"
        values: dict[str, object] = {
            "environment": b"PATH=/usr/local/bin:/usr/bin:/bin",
            "variables": {"PENSTOCK_DIR": self.dir},
            "ranks": ranks,
            "node_rank": 0,
            "ntasks": len(ranks),
            "cpus": 1,
            "memory_mib": 0,
            "work_dir": self.out,
            "io": TaskIo(stdin="none", stdout=out, stderr=out, append=True),
        }
        self.send(LaunchStep(job_id, 0, step_id, argv, **(values | fields)))

    def step_ended(self, job_id: int, step_id: int) -> object:
        message = self.wait_for(StepEnded, job_id=job_id, step_id=step_id)
        self.send(AckEnded(job_id, 0, step_id))
        return message.record

    def read(self, name: str) -> str:
        with open(f"{self.out}/{name}", encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_file(self, name: str, needle: str = "") -> str:
        """Until the file is there and holds the needle: what a job says it did."""
        return until(
            lambda: os.path.exists(f"{self.out}/{name}") and needle in (text := self.read(name)) and (text or " "), f"{name}: {needle}"
        )


def until(what: object, describe: str = "") -> object:
    """Poll for something that another process does; its value once it is true."""
    give_up = time.monotonic() + WAIT_S
    while time.monotonic() < give_up:
        value = what()
        if value:
            return value
        time.sleep(0.01)
    raise TimeoutError(describe)
