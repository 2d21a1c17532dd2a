"""What a user, or somebody who is no user at all, may throw at the commands and at the socket: a clear error, and the others are served."""

import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from conftest import Cluster

SERVED_WITHIN_S = 2.0
"""An ordinary command ends within this while others misbehave, on a busy machine with 2 cores."""
OPEN_CONNECTIONS = 500

SUBMISSIONS = {
    "unknown partition": (["-p", "nope"], "invalid partition specified: nope", "Invalid partition name specified"),
    "more nodes than there are": (["-N", "5"], "Requested node configuration is not available"),
    "more CPUs than a node has": (["-c", "1000000000"], "Requested node configuration is not available"),
    "more memory than a node has": (["--mem", "99999G"], "Memory specification can not be satisfied"),
    "more GPUs than a node has": (["--gres", "gpu:9"], "Requested node configuration is not available"),
    "an unknown kind of GPU": (["--gres", "gpu:a100:1"], "Requested node configuration is not available"),
    "tasks beyond any number": (["-n", "99999999999999999999"], 'Invalid numeric value "99999999999999999999" for --ntasks.'),
    "no task": (["-n", "0"], 'Invalid numeric value "0" for --ntasks.'),
    "a bomb of hosts": (["-w", "n[0-99999999]"], "Invalid node name specified"),
    "a bomb of brackets": (["-w", "n" + "[0-9]" * 8], "Invalid node name specified"),
    "a bomb of excluded hosts": (["-x", "n[0-99999999]"], "Invalid node name specified"),
    "an open bracket": (["-w", "node[0"], "Invalid node name specified"),
    "an unknown node": (["-w", "nosuch"], "Invalid node name specified"),
    "an array beyond MaxArraySize": (["-a", "1-2000000"], "Invalid job array specification"),
    "an array index beyond any number": (["-a", "0-99999999999"], "Invalid job array specification"),
    "an array that runs backwards": (["-a", "5-1"], "Invalid job array specification"),
    "an array of words": (["-a", "1,2,x"], "Invalid job array specification"),
    "a dependency on no job": (["--dependency", "afterok:99999999"], "Job dependency problem"),
    "an unknown dependency": (["--dependency", "foo:1"], "Job dependency problem"),
    "a job name that is no UTF-8": (["-J", "a\udcff\udcfe"], "name: invalid UTF-8"),
    "a comment that is no UTF-8": (["--comment", "a\udcff"], "comment: invalid UTF-8"),
    "an output name that is no UTF-8": (["-o", "out\udcff"], "std_out: invalid UTF-8"),
}

SCRIPTS = {
    "empty": (b"", "Batch script is empty!"),
    "blank": (b"  \n\n", "Batch script contains only whitespace!"),
    "without interpreter": (b"echo hi\n", "This does not look like a batch script.  The first"),
    "DOS line ends": (b"#!/bin/sh\r\necho hi\r\n", "Batch script contains DOS line breaks (\\r\\n)"),
    "NUL bytes": (b"#!/bin/sh\n\0\0true\n", "contain a NULL character"),
    "an open quote": (b'#!/bin/sh\n#SBATCH -J "open\n', "Unmatched"),
    "100 MB": (b"#!/bin/sh\nexit 0\n" + b"x" * (100 << 20), "Batch script is larger than 4194304 bytes"),
}


@pytest.mark.parametrize("case", SUBMISSIONS)
def test_an_impossible_request_is_refused_at_submit_time(cluster: Cluster, case: str) -> None:
    words, *texts = SUBMISSIONS[case]
    done = cluster.attempt("sbatch", *words, "--wrap", "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert all(text in done.stderr for text in texts), done.stderr


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_malformed_script_is_refused(cluster: Cluster, case: str) -> None:
    content, text = SCRIPTS[case]
    (cluster.work / "bad.sh").write_bytes(content)
    done = cluster.attempt("sbatch", "bad.sh")
    assert (done.returncode, done.stdout) == (1, "")
    assert text in done.stderr


@pytest.mark.parametrize("line", ["--nosuch", "-n 1 leftover"])
def test_a_malformed_directive_is_refused(cluster: Cluster, line: str) -> None:
    (cluster.work / "directive.sh").write_text(f"#!/bin/sh\n#SBATCH {line}\n")
    done = cluster.attempt("sbatch", "directive.sh")
    assert (done.returncode, done.stdout) == (255, "")
    assert line.rpartition(" ")[2] in done.stderr


@pytest.mark.parametrize("words", [("-t", "abc"), ("-t", "99999999999999"), ("--mem", "abc"), ("--begin", "yesterdayish"), ("-N", "0")])
def test_a_malformed_value_is_refused_with_its_option(cluster: Cluster, words: tuple[str, str]) -> None:
    done = cluster.attempt("sbatch", *words, "--wrap", "true")
    assert (done.returncode, done.stdout) == (255, "")
    assert words[1] in done.stderr


def test_bytes_that_are_no_text_reach_the_job_unchanged(cluster: Cluster) -> None:
    script = cluster.work / "bytes.sh"
    script.write_bytes(b"#!/bin/sh\nprintf '\\303\\050 \xff\xfe'\nprintf %s \"$RAW\"\n")
    environment = {**cluster.environment, "RAW": "\udcfe\udcff"}
    with cluster.start("sbatch", "--wait", "-o", "bytes.out", "bytes.sh", env=environment) as process:
        process.communicate(timeout=20)
    assert process.returncode == 0
    assert (cluster.work / "bytes.out").read_bytes() == b"\xc3\x28 \xff\xfe\xfe\xff"


def test_the_largest_script_that_is_allowed_runs(cluster: Cluster) -> None:
    (cluster.work / "large.sh").write_bytes(b"#!/bin/sh\nexit 7\n" + b"#" * (4_000_000))
    assert cluster.attempt("sbatch", "--wait", "large.sh").returncode == 7


def test_an_output_file_that_cannot_be_opened_fails_the_job_and_not_the_node(cluster: Cluster) -> None:
    job = cluster.submit("-o", "/proc/nosuch/out", "--wrap", "true")
    cluster.wait_state(job, "FAILED")
    assert cluster.run("sacct", "-nXP", "-o", "State,ExitCode", "-j", job) == "FAILED|0:53\n"
    assert "Reason=JobLaunchFailure" in cluster.run("scontrol", "show", "job", job)
    assert cluster.run("sinfo", "-h", "-o", "%T").strip() != "drained"


@pytest.fixture
def door(cluster: Cluster) -> str:
    return f"{(cluster.folder / 'socket').read_text().strip()}/ctl.sock"


def connect(door: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(door)
    return connection


def frame(json: bytes, *sections: bytes) -> bytes:
    body = struct.pack(">I", len(json)) + json + b"".join(struct.pack(">I", len(section)) + section for section in sections)
    return struct.pack(">I", len(body)) + body


def served(cluster: Cluster) -> float:
    """How long an ordinary command takes now."""
    began_s = time.monotonic()
    cluster.run("squeue")
    return time.monotonic() - began_s


def garbage() -> Iterator[bytes]:
    dice = random.Random(7)
    for size in (1, 5, 100, 70_000):
        yield dice.randbytes(size)
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield struct.pack(">I", 0)
    yield struct.pack(">I", 0xFFFFFFFF) + b"x" * 1000
    yield struct.pack(">II", 8, 4_000_000_000) + b"abcd"
    yield frame(b"no json at all")
    yield frame(b"[1,2,3]")
    yield frame(b'{"op": 3}')
    yield frame(b'{"op": "nosuch"}')
    yield frame(b'{"op": "submit"}')
    yield frame(b'{"op": "submit", "id": "zz"}', b"", b"")
    yield frame(b'{"op": "submit", "id": "00", "ntasks": "many"}', b"#!/bin/sh\n", b"")
    yield frame(b'{"op": "submit", "id": "00", "argv": {"a": {"b": []}}}', b"#!/bin/sh\n", b"")
    yield frame(b'{"op": "cancel", "id": "01", "jobs": 5, "signal": "x"}')
    yield frame(b'{"op": "hold", "id": "02"}')
    yield frame(b'{"op": "job_info", "job_id": "x"}')
    yield frame(b'{"op": "step_create", "id": "03", "job_id": [1]}', b"")
    yield frame(b'{"op": "squeue", "jobs": 99999, "states": 1}')
    yield frame(b'{"op": "sacct", "start": "x"}')
    yield frame(b'{"op": "submit_many", "id": "04", "jobs": ["x"]}')
    yield frame(b'{"op":' + b'"' + b"a" * 1_000_000 + b'"}')
    yield frame(b"[" * 100_000)
    yield struct.pack(">II", 100, 2) + b"{}" + struct.pack(">I", 4_000_000_000) + b"x" * 90


def test_garbage_on_the_socket_is_answered_with_an_error_or_the_end(cluster: Cluster, door: str) -> None:
    controller = cluster.processes("controller")
    for data in garbage():
        with closing(connect(door)) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while piece := connection.recv(65536):
                    answer += piece
            except (BrokenPipeError, ConnectionResetError):
                continue
            well_formed = data[8:9] == b"{" and data[-1:] != b"x"
            assert answer[4:5] in ((b"!", b"=") if well_formed else (b"!", b"")), (data[:80], answer[:200])
    assert served(cluster) < SERVED_WITHIN_S
    assert cluster.processes("controller") == controller


def test_requests_left_half_sent_hold_up_nobody(cluster: Cluster, door: str) -> None:
    whole = frame(b'{"op": "squeue"}')
    connections = [connect(door) for _ in range(OPEN_CONNECTIONS)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(whole[: number % len(whole)])
        slowest_s = max(served(cluster) for _ in range(5))
        job = cluster.submit("-o", "/dev/null", "--wrap", "true")
        cluster.wait_state(job, "COMPLETED")
    finally:
        for connection in connections:
            connection.close()
    print(f"\nsqueue with {OPEN_CONNECTIONS} half requests open: slowest {slowest_s * 1000:.0f} ms")
    assert slowest_s < SERVED_WITHIN_S


def test_a_request_of_the_greatest_size_holds_up_nobody(cluster: Cluster, door: str) -> None:
    with closing(connect(door)) as connection:
        data = frame(b'{"op": "submit", "id": "aa"}', b"x" * (63 << 20), b"")
        slowest_s = 0.0
        for at in range(0, len(data), 8 << 20):
            connection.sendall(data[at : at + (8 << 20)])
            slowest_s = max(slowest_s, served(cluster))
        assert b"at most 4194304 are allowed" in connection.recv(4096)
    print(f"\nsqueue while 63 MiB arrive: slowest {slowest_s * 1000:.0f} ms")
    assert slowest_s < SERVED_WITHIN_S


def test_a_reader_that_does_not_read_holds_up_nobody(cluster: Cluster, door: str) -> None:
    array = cluster.submit("--hold", "-a", "0-9999", "-o", "/dev/null", "--wrap", "true")
    lazy = [connect(door) for _ in range(20)]
    try:
        for connection in lazy:
            connection.sendall(frame(b'{"op": "squeue", "format": "%i", "array": true}'))
        assert max(served(cluster) for _ in range(3)) < SERVED_WITHIN_S
    finally:
        for connection in lazy:
            connection.close()
        cluster.run("scancel", array)


def test_hostlists_of_other_commands_are_bounded(cluster: Cluster) -> None:
    began_s = time.monotonic()
    done = cluster.attempt("scontrol", "show", "hostnames", "n[0-99999999]")
    assert done.returncode == 1
    assert "at most 262144" in done.stderr
    assert cluster.attempt("squeue", "-w", "n[0-99999999]").returncode == 1
    assert cluster.attempt("sinfo", "-n", "n" + "[0-9]" * 8).returncode == 1
    assert time.monotonic() - began_s < 3 * SERVED_WITHIN_S


def test_a_file_that_never_ends_is_not_read_to_its_end(cluster: Cluster) -> None:
    with open("/dev/zero", "rb") as endless, cluster.start("sbatch", stdin=endless) as process:
        assert "Batch script is larger than 4194304 bytes" in process.communicate(timeout=20)[1]
    assert process.returncode == 1


def test_a_script_may_come_out_of_a_pipe(cluster: Cluster) -> None:
    fifo = cluster.work / "fifo"
    os.mkfifo(fifo)
    with cluster.start("sbatch", "--wait", str(fifo)) as process:
        fifo.write_text("#!/bin/sh\nexit 3\n")
        process.communicate(timeout=20)
    assert process.returncode == 3
