"""Snapshots of the planner's input: what the file holds, what is refused, and the replay of one."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from engine_cluster import ALICE, EngineCluster

from penstock.controller.reading import Reading
from penstock.core.cycle import plan_now
from penstock.core.request import Request
from penstock.engine.snapshot import SnapshotError, read, same_plan
from penstock.sim import replay

CLIENT = SimpleNamespace(caller=ALICE, number=1)


def snapshot_of(cluster: EngineCluster) -> bytes:
    return b"".join(Reading(cluster.reactor, cluster.store).open(CLIENT, {"op": "snapshot"}, cluster.now_ms))


@pytest.fixture
def busy() -> EngineCluster:
    """Job 1 runs on all of n0, job 2 would be next, job 3 waits behind it, job 4 starts with the next pass on n1."""
    cluster = EngineCluster(n0=4)
    cluster.submit(ntasks=4, time_limit_s=3600, name="secret-name")
    cluster.plan()
    cluster.submit(ntasks=4, time_limit_s=3600)
    cluster.submit(ntasks=3, time_limit_s=7200)
    cluster.plan()
    cluster.node("n1", 2)
    cluster.submit(ntasks=2, time_limit_s=600)
    return cluster


def test_what_is_read_back_plans_to_the_same_plan(busy):
    snapshot = read(snapshot_of(busy))
    assert same_plan(plan_now(snapshot.view, snapshot.budget), snapshot.plan)
    assert [start.job_id for start in snapshot.plan.starts] == [4]


def test_it_is_the_plan_that_the_controller_then_carries_out(busy):
    snapshot = read(snapshot_of(busy))
    busy.plan()
    assert same_plan(busy.reactor.notes.plan, snapshot.plan)
    assert busy.word(4) == "RUNNING"


def test_taking_it_changes_nothing(busy):
    before = busy.reactor.state.rows()
    snapshot_of(busy)
    assert busy.reactor.state.rows() == before and busy.reactor.needs_plan


def test_no_user_no_name_and_no_path_is_in_it(busy):
    text = snapshot_of(busy).decode()
    assert json.loads(text)["view"]["nodes"]["names"] == ["n0", "n1"]
    for word in (ALICE.user, ALICE.group, "secret-name", "/"):
        assert word not in text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a snapshot"),
        (b"{}", "not a snapshot"),
        (b'{"penstock_snapshot": 99, "program": "9.0"}', "version 99, written by Penstock 9.0; this program reads 1"),
        (b'{"penstock_snapshot": 1, "program": "0"}', "damaged"),
    ],
)
def test_other_files_are_refused(content, text):
    with pytest.raises(SnapshotError, match=text):
        read(content)


def test_an_array_of_objects_is_refused(busy):
    content = snapshot_of(busy).replace(b'"dtype":"bool"', b'"dtype":"object"', 1)
    with pytest.raises(SnapshotError, match="int64, int32, bool are allowed"):
        read(content)


def test_the_replay_prints_the_plan_and_explains_a_job(busy, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    path = tmp_path / "input.json.gz"
    path.write_bytes(gzip.compress(snapshot_of(busy)))
    assert replay.main([str(path), "--job", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 nodes, 1 jobs hold resources, 3 records wait (3 with array elements), at 2027-01-15T08:00:00",
        "plan: 1 starts, 1 promised starts, 4 placements tried; the same as the controller's",
        "  job 4 starts now on n1 in partition main",
        "  job 2 starts 2027-01-15T09:00:00 on n0 in partition main",
        "  1 wait: Priority",
        "  1 wait: Resources",
        "",
        "job 3: PENDING, partition main",
        "asks for 1 node or more, 3 tasks, 1 CPU a task, 02:00:00",
        "",
        *words_of_why(path),
    ]


def test_a_reader_that_has_seen_enough_is_no_error(busy, tmp_path):
    path = tmp_path / "snapshot"
    path.write_bytes(snapshot_of(busy))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "penstock", "sim", "replay", str(path)], stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_a_job_asks_for_is_told_whole():
    request = Request(
        nodes_min=2, nodes_max=4, cpus_per_task=2, gres_per_node=(("gpu:a100", 3),), exclusive=True, contiguous=True, switches=1,
        constraint="fast&big", prefer="new", licenses=(("x", 1), ("y", 2)), any_license=True, required_nodes=("n0", "n1"),
        excluded_nodes=("n7",), segment=2,
    )  # fmt: skip
    assert replay.asks(request, 3600) == (
        "2 to 4 nodes, 2 CPUs a task, 3 gpu:a100 a node, 1 of licence x or 2 of licence y, whole nodes, features fast&big, "
        "rather features new, on n[0-1], not on n7, neighbours, one switch, segments of 2 nodes, 01:00:00"
    )
    assert replay.asks(Request(nodes_min=4, nodes_max=4), 60).startswith("4 nodes, ")


def words_of_why(path: os.PathLike[str]) -> list[str]:
    """The planner's part of the page, as `penstock why` words it."""
    from penstock.spec.explanation import render

    return render(replay.explanation(replay.load(str(path)), 3)).splitlines()[3:]


def test_a_plan_that_differs_is_told_and_is_a_failure(busy, tmp_path, capsys):
    path = tmp_path / "input.json"
    path.write_bytes(snapshot_of(busy).replace(b'"max_starts":4096', b'"max_starts":1'))
    other = json.loads(path.read_text())
    other["plan"]["tests"] += 1
    path.write_text(json.dumps(other))
    assert replay.main([str(path)]) == 1
    assert "NOT the plan that the controller made" in capsys.readouterr().out


def test_an_unknown_job_and_a_missing_file(busy, tmp_path, capsys):
    path = tmp_path / "input.json"
    path.write_bytes(snapshot_of(busy))
    assert replay.main([str(path), "--job", "77"]) == 1
    assert replay.main([str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"penstock sim replay: error: {path}: job 77 does not wait in this snapshot",
        f"penstock sim replay: error: {tmp_path / 'absent'}: No such file or directory",
    ]
