"""A command that a worker of the command host runs behaves as one with an interpreter of its own, and nothing stays behind in the worker.

`hosted` tests need the compiled starter; where the installation has none, every command is an interpreter of its own and they skip.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import BIN, Cluster, running, wait_for

ELF = b"\x7fELF"
WAYS = ("hosted", "by itself")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "hosted" and (BIN / "sbatch").read_bytes()[:4] != ELF:
        pytest.skip("the commands of this installation are Python scripts: there was no C compiler")
    return request.param


@pytest.fixture
def command(cluster: Cluster, way: str) -> Callable[..., list[str]]:
    """Words that run a command in one of the two ways."""

    def words(name: str, *arguments: str) -> list[str]:
        return [name, *arguments] if way == "hosted" else ["penstock-command", name, *arguments]

    return words


def workers() -> dict[int, str]:
    """Titles of this user's workers by pid."""
    found = {}
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdecimal() and os.stat(f"/proc/{entry}").st_uid == os.getuid():
                title = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                if title.startswith("penstock worker"):
                    found[int(entry)] = title
    return found


def serving(pid: int) -> list[int]:
    """The worker that runs the command of this process."""
    return [worker for worker, title in workers().items() if f"for pid {pid}:" in title]


def test_a_starter_is_served_by_a_worker(cluster: Cluster, way: str) -> None:
    if way == "hosted":
        process = cluster.start("squeue", "-i", "60")
        try:
            assert wait_for(lambda: serving(process.pid), "a worker for it")
        finally:
            process.kill()
            process.communicate()


def test_it_gets_the_callers_circumstances(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path) -> None:
    script = "import os,subprocess,sys; os.umask(0o037); os.chdir(sys.argv[1]); sys.exit(subprocess.call(sys.argv[2:]))"
    out = tmp_path / "out"
    words = command("sbatch", "--parsable", "--wait", "-o", str(out), "--wrap", 'umask; pwd; ulimit -Sc; echo "[$ODD]"')
    environment = {**cluster.environment, "ODD": "a=b\tc\udcff"}
    limited = ["sh", "-c", 'ulimit -Sc 0; exec "$@"', "sh", *words]
    subprocess.run([BIN / "python", "-c", script, str(tmp_path), *limited], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert out.read_bytes() == b"0037\n%s\n0\n[a=b\tc\xff]\n" % os.fsencode(tmp_path)


def test_nothing_of_one_command_is_there_for_the_next(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "out"
    loud = {**cluster.environment, "SBATCH_JOB_NAME": "mine", "SQUEUE_FORMAT": "%i loud", "TZ": "UTC-5"}
    job = subprocess.run(command("sbatch", "--parsable", "--hold", "--wrap", "true"), env=loud, capture_output=True, text=True, check=True)
    asked = command("squeue", "-h", "-j", job.stdout.strip())
    assert subprocess.run(asked, env=loud, capture_output=True, text=True, check=True).stdout.split()[1:] == ["loud"]
    assert cluster.run(*asked[:-1], job.stdout.strip(), "-o", "%j").strip() == "mine"
    second = cluster.run(*command("sbatch", "--parsable", "--hold", "-o", str(out), "--wrap", "true")).strip()
    assert cluster.run("squeue", "-h", "-j", second, "-o", "%j").strip() == "wrap"
    cluster.run("scancel", job.stdout.strip(), second)


def test_its_descriptors_are_the_callers(cluster: Cluster, command: Callable[..., list[str]]) -> None:
    assert cluster.attempt(*command("srun", "cat"), stdin="through\n").stdout == "through\n"
    broken = command("squeue", "--nosuch")
    assert "unrecognized option" in cluster.attempt(*broken).stderr
    line = "sh", "-c", '"$@" | head -c 1; exec "$@" >&-', "sh", *command("sinfo")
    assert cluster.attempt(*line).stdout.startswith("P")
    closed = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *command("sinfo", "-h", "-o", "%D")]
    assert cluster.run(*closed).strip() == "2"


def test_the_end_of_the_output_is_seen_at_once(cluster: Cluster, command: Callable[..., list[str]]) -> None:
    """An idle worker holds no pipe open: the reader sees the end although the worker lives."""
    process = cluster.start(*command("sinfo"))
    assert process.communicate(timeout=20)[0].startswith("PARTITION")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_it(cluster: Cluster, command: Callable[..., list[str]], number: int) -> None:
    process = cluster.start(*command("squeue", "-i", "60"))
    assert process.stdout is not None
    process.stdout.readline()  # it runs
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode in ((130, -signal.SIGINT) if number == signal.SIGINT else (-number,))
    wait_for(lambda: not serving(process.pid), "the end of its worker")


def test_signals_reach_a_step(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path) -> None:
    body = f"trap 'echo caught; exit 7' USR1; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = cluster.start(*command("srun", "sh", "-c", body))
    wait_for((tmp_path / "up").exists, "the task")
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (7, "caught\n"), err


def test_ignored_signals_stay_ignored(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path) -> None:
    body = f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo done"
    process = cluster.start("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command("srun", "sh", "-c", body))
    wait_for((tmp_path / "up").exists, "the task")
    process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    assert process.communicate(timeout=20)[0] == "done\n"


def test_it_stops_and_goes_on(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path, way: str) -> None:
    body = f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo done"
    process = cluster.start(*command("srun", "sh", "-c", body))
    wait_for((tmp_path / "up").exists, "the task")
    process.send_signal(signal.SIGTSTP)

    def letter(pid: int) -> str:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    wait_for(lambda: letter(process.pid) == "T", "its stop")
    for worker in serving(process.pid):
        wait_for(lambda worker=worker: letter(worker) == "T", "the stop of its worker")
    (tmp_path / "go").touch()
    process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=20)[0] == "done\n"


def test_from_a_folder_that_is_gone(cluster: Cluster, command: Callable[..., list[str]], tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    line = ["sh", "-c", f'mkdir {gone}; cd {gone}; rmdir {gone}; "$@"', "sh"]
    assert cluster.run(*line, *command("sinfo", "-h", "-o", "%D")).strip() == "2"
    assert "current directory is gone" in cluster.attempt(*line, *command("sbatch", "--wrap", "true")).stderr


def test_many_at_once_and_workers_stay_few(cluster: Cluster, way: str) -> None:
    if way != "hosted":
        return
    before = workers()
    processes = [cluster.start("squeue", "-h") for _ in range(40)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 40
    for process in processes:
        process.communicate()
    wait_for(lambda: len(set(workers()) - set(before)) <= 8, "idle workers beyond the bound end")


def test_without_the_host_commands_run_by_themselves(tmp_path: Path) -> None:
    with running(tmp_path / "c", "--cpus", "2") as cluster:
        ((_, host),) = cluster.processes("commands")
        srun = cluster.start("srun", "sh", "-c", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo on")
        wait_for((tmp_path / "up").exists, "the step")
        os.kill(host, signal.SIGKILL)
        assert cluster.run("sinfo", "-h", "-o", "%D").strip() == "1"
        wait_for(lambda: [pid for _, pid in cluster.processes("commands") if pid != host], "a new host, started by the agent")
        (tmp_path / "go").touch()
        assert srun.communicate(timeout=20)[0] == "on\n"  # a command goes on without its host
        assert cluster.run("sinfo", "-h", "-o", "%D").strip() == "1"


def test_what_the_host_was_started_with_is_not_the_commands(tmp_path: Path) -> None:
    """Signals that were ignored where the cluster was started (nohup, a background job of a script) still end a command."""
    with running(tmp_path / "c", "--cpus", "2") as cluster:
        cluster.run("penstock", "down", "--dir", str(cluster.folder))
        up = ("penstock", "up", "--dir", str(cluster.folder), "--detach")
        cluster.run("sh", "-c", 'trap "" HUP INT QUIT TERM; exec "$@"', "sh", *up)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = cluster.start("squeue", "-i", "60")
            assert process.stdout is not None
            process.stdout.readline()  # it runs
            process.send_signal(number)
            process.communicate(timeout=20)
            assert process.returncode in ((130, -number) if number == signal.SIGINT else (-number,))


def test_strangers_frames_are_declined(cluster: Cluster, way: str) -> None:
    """Whatever comes over the socket: a closed connection or a refusal, and the host serves on."""
    import socket

    if way != "hosted":
        return
    path = (cluster.folder / "socket").read_text().strip() + "/commands.sock"
    for payload in (b"", b"x" * 40, b"CNP1" + b"\xff" * 60, os.urandom(4096)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stranger:
            stranger.connect(path)
            stranger.settimeout(20)
            with contextlib.suppress(BrokenPipeError):
                stranger.sendall(payload)
                stranger.shutdown(socket.SHUT_WR)
                assert stranger.recv(64)[:1] in (b"", b"d")
    assert cluster.run("sinfo", "-h", "-o", "%D").strip() == "2"
