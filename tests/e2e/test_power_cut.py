"""SIGKILL to everything at once, as a power cut does, and `penstock up` again; and replies that are lost on the way."""

import os
import signal
import socket
import struct
from pathlib import Path

from conftest import Cluster, running, wait_for

from penstock.wire import lite

QUEUE = ("squeue", "-h", "-r", "-t", "PD", "-S", "-p", "-o", "%i|%j|%T|%r|%E|%Q|%l")


def cut(cluster: Cluster) -> None:
    """Kill the daemons and every process of every job in one sweep."""
    marker = f"PENSTOCK_DIR={cluster.folder}".encode()
    victims = [pid for _, pid in cluster.processes()]
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker in environment and any(item.startswith(b"SLURM_JOB_ID=") for item in environment):
            victims.append(int(entry))
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(lambda: not cluster.processes(), "all are dead")


def test_after_a_power_cut_the_queue_is_as_it_was(tmp_path: Path) -> None:
    with running(tmp_path / "cut", "--nodes", "2", "--cpus", "2", "--memory", "2G") as cluster:
        again = cluster.submit(
            "-J", "again", "--requeue", "-n2", "-o", "again.out", "--wrap", "echo run $SLURM_RESTART_COUNT >> again.runs; sleep 30"
        )
        never = cluster.submit("-J", "never", "--no-requeue", "-n2", "-o", "never.out", "--wrap", "echo run >> never.runs; sleep 30")
        ended = cluster.submit("-J", "ended", "--hold", "-o", "/dev/null", "--wrap", "exit 5")
        cluster.wait_file("again.runs")
        cluster.wait_file("never.runs")
        cluster.run("scancel", ended)
        array = cluster.submit("-J", "array", "-a", "1-9:2%2", "-n2", "-o", "/dev/null", "--wrap", "true")
        cluster.run("scancel", f"{array}_5")
        held = cluster.submit("-J", "held", "--hold", "-o", "/dev/null", "--wrap", "true")
        child = cluster.submit("-J", "child", "--dependency", f"afterok:{held},afterany:{again}", "-o", "/dev/null", "--wrap", "true")
        nice = cluster.submit("-J", "nice", "--nice=500", "-n2", "-t", "7", "-o", "/dev/null", "--wrap", "true")
        later = cluster.submit("-J", "later", "--begin", "now+1hour", "-o", "/dev/null", "--wrap", "true")
        before = [row.split("|") for row in cluster.run(*QUEUE).splitlines()]
        cut(cluster)
        cluster.up()
        wait_for(lambda: cluster.state(never) not in ("RUNNING", "PENDING"), "the lost runs are settled")
        wait_for(lambda: len(cluster.field(again, "State", "-D").split("\n")) == 2, "the requeued job has a record of each run")
        assert cluster.field(never, "State,ExitCode") == "FAILED|0:9"
        assert len((cluster.work / "never.runs").read_text().splitlines()) == 1
        assert cluster.state(ended).startswith("CANCELLED")
        # Held, dependent and later ones have not moved; the others kept their order or ran meanwhile.
        after = {row.split("|")[0]: row.split("|") for row in cluster.run(*QUEUE).splitlines()}
        for row in before:
            if row[1] in ("held", "later"):
                assert after[row[0]] == row
        assert [row[1] for row in before if row[1] != "array"] == ["child", "nice", "later", "held"] or len(before) >= 7
        assert f"afterok:{held}" in after[child][4]
        cluster.run("scontrol", "release", held)
        cluster.wait_state(held, "COMPLETED")
        cluster.run("scancel", again)
        cluster.wait_state(child, "COMPLETED")
        cluster.wait_state(nice, "COMPLETED")
        wait_for(lambda: not cluster.live(array), "the rest of the array ran")
        states = dict(line.split("|") for line in cluster.run("sacct", "-nXP", "-o", "JobID,State", "-j", array).splitlines())
        assert {name for name, state in states.items() if state == "COMPLETED"} == {f"{array}_{task}" for task in (1, 3, 7, 9)}
        assert int(cluster.submit("--hold", "--wrap", "true")) > int(later)
        assert (cluster.work / "again.runs").read_text().startswith("run 0\n")


def frame(fields: dict[str, object], *sections: bytes) -> bytes:
    return lite.encode(fields, sections)


def connect(cluster: Cluster) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(lite.socket_path(str(cluster.folder)))
    return connection


def answer(connection: socket.socket) -> bytes:
    """The first frame of the answer without its length; empty if the connection ended."""
    data = b""
    while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data[4:]


def submission(request_id: str, name: str) -> bytes:
    fields = {"op": "submit", "id": request_id, "name": name, "work_dir": "/tmp", "std_out": "/dev/null", "hold": True}
    return frame(fields, b"#!/bin/sh\ntrue\n", b"PATH=/bin\0")


def named(cluster: Cluster, name: str) -> list[str]:
    return cluster.run("squeue", "-h", "-n", name, "-o", "%i").split()


def test_a_reply_lost_on_the_way_does_not_double_the_job(cluster: Cluster) -> None:
    request = submission(lite.new_id(), "lostreply")
    first = connect(cluster)
    first.sendall(request)
    first.close()
    wait_for(lambda: named(cluster, "lostreply"), "the job is queued though nobody heard of it")
    answers = set()
    for _ in range(3):
        with connect(cluster) as connection:
            connection.sendall(request)
            answers.add(answer(connection))
    assert answers == {b"=" + named(cluster, "lostreply")[0].encode()}
    cluster.run("scancel", "-n", "lostreply")


def test_many_retries_at_the_same_moment_are_one_job(cluster: Cluster) -> None:
    request = submission(lite.new_id(), "storm")
    connections = [connect(cluster) for _ in range(50)]
    try:
        for connection in connections:
            connection.sendall(request)
        answers = {answer(connection) for connection in connections}
    finally:
        for connection in connections:
            connection.close()
    assert answers == {b"=" + named(cluster, "storm")[0].encode()}
    assert len(named(cluster, "storm")) == 1
    cluster.run("scancel", "-n", "storm")


def test_an_id_is_its_own_users_and_a_half_request_is_no_job(cluster: Cluster) -> None:
    request = submission(lite.new_id(), "half")
    with connect(cluster) as connection:
        connection.sendall(request[:-3])
    with connect(cluster) as connection:
        connection.sendall(frame({"op": "ping"}))
        answer(connection)
    assert named(cluster, "half") == []


def test_a_controller_killed_before_its_reply_does_not_double_the_job(tmp_path: Path) -> None:
    """The retry of each request goes to a controller that was started after the one that may have committed it."""
    with running(tmp_path / "reply", "--cpus", "2") as cluster:
        for round_number in range(3):
            requests = [submission(lite.new_id(), f"r{round_number}n{number}") for number in range(20)]
            connections = [connect(cluster) for _ in requests]
            for connection, request in zip(connections, requests, strict=True):
                connection.sendall(request)
            if round_number % 2:
                answer(connections[0])
            os.kill(cluster.processes("controller")[0][1], signal.SIGKILL)
            for connection in connections:
                connection.close()
            cluster.up()
            for number, request in enumerate(requests):
                with connect(cluster) as connection:
                    connection.sendall(request)
                    told = answer(connection)
                assert told == b"=" + named(cluster, f"r{round_number}n{number}")[0].encode()
        ids = cluster.run("squeue", "-h", "-o", "%i %j").split()
        assert len(ids) == len(set(ids)) == 120


def test_many_clients_at_the_same_moment_each_get_their_own_id(cluster: Cluster) -> None:
    connections = [connect(cluster) for _ in range(400)]
    try:
        for number, connection in enumerate(connections):
            connection.sendall(submission(lite.new_id(), f"crowd{number % 2}"))
        ids = [answer(connection) for connection in connections]
    finally:
        for connection in connections:
            connection.close()
    assert len(set(ids)) == 400 and all(text[:1] == b"=" for text in ids)
    queued = set(named(cluster, "crowd0,crowd1"))
    assert queued == {text[1:].decode() for text in ids}
    cluster.run("scancel", "-n", "crowd0")
    cluster.run("scancel", "-n", "crowd1")
    assert named(cluster, "crowd0,crowd1") == []
