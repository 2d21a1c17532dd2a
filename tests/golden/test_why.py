"""`penstock why`, complete texts: one for each kind of answer, over a State with a fixed time and the real planner."""

from __future__ import annotations

import json
import os
import time

import pytest
from golden_cluster import MINUTE_MS, NOW_MS, MemoryAccounts, spec

from penstock.cli import why as command
from penstock.controller.views.operations import refusing
from penstock.controller.views.why import why
from penstock.core.cycle import Budget
from penstock.core.request import Request
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.indexes import Indexes
from penstock.engine.state import COMPLETED, RUNNING, Job, Node, NodeAlloc, State
from penstock.spec.errors import SlurmError
from penstock.spec.explanation import WIDTH
from penstock.wire import lite
from penstock.wire.messages import GpuInfo

HOUR_S = 3600
GPU8 = Request(cpus_per_task=8, memory_per_node_mib=16 * 1024, gres_per_node=(("gpu:h100", 8),))
GANG = Request(nodes_min=2, nodes_max=2, cpus_per_task=8, gres_per_node=(("gpu:h100", 8),))
ONE_CPU = Request(memory_per_cpu_mib=100)


def node(name: str, **facts: object) -> Node:
    gpus = tuple(GpuInfo(f"GPU-{name}-{index}", "h100", index) for index in range(8))
    return Node(name, name, 64, 512 * 1024, gpus, registered=True, responding=True, **facts)


def runs(job_id: int, user: str, nodes: tuple[str, ...], gpus: int, minutes: int) -> Job:
    """On each node so many GPUs and as many CPUs, until so many minutes from now (0: without a limit)."""
    first = {2: 0}.get(gpus, 0)
    allocs = tuple(NodeAlloc(name, gpus, 1024, tuple(f"GPU-{name}-{index}" for index in range(first, gpus))) for name in nodes)
    end_ms = NOW_MS + minutes * MINUTE_MS if minutes else 0
    begun_ms = NOW_MS - 60 * MINUTE_MS
    return Job(
        job_id,
        spec(f"run{job_id}", user=user),
        state=RUNNING,
        submit_ms=begun_ms,
        start_ms=begun_ms,
        allocs=allocs,
        nodes_left=nodes,
        partition="gpu",
        end_limit_ms=end_ms,
    )


def waits(job_id: int, name: str, request: Request, hours: int = 4, **facts: object) -> Job:
    partitions = facts.pop("partitions", ("gpu",))
    limit = facts.pop("array_limit", 0)
    return Job(
        job_id,
        spec(name, request=request, time_limit_s=hours * HOUR_S, partitions=partitions, array_limit=limit),
        submit_ms=NOW_MS - 10 * MINUTE_MS,
        **{"priority": 100, **facts},
    )


def world() -> State:
    """n0 has two free GPUs, n1 none, n2 is drained; the job in front wants two whole nodes."""
    state = State()
    state.seq = 1
    state.counters.now_ms = NOW_MS
    partitions = (
        Partition("gpu", ("n0", "n1", "n2"), default=True, max_time_s=24 * HOUR_S),
        Partition("short", ("n3",), max_time_s=HOUR_S),
        Partition("closed", ("n3",), state="DOWN"),
    )
    state.config = ClusterConfig(cluster_name="lab", partitions=partitions)
    for name, facts in (("n0", {}), ("n1", {}), ("n2", {"drain": True, "reason": "fan"}), ("n3", {})):
        state.nodes[name] = node(name, **facts)
    jobs = [
        runs(1, "bob", ("n0",), 6, 60),
        runs(2, "eve", ("n1",), 8, 120),
        waits(10, "gang", GANG),
        waits(11, "eight", GPU8),
        waits(12, "small", Request(cpus_per_task=2, gres_per_node=(("gpu", 2),)), hours=8),
        waits(13, "soon", ONE_CPU, hours=1),
        waits(14, "three", Request(nodes_min=3, nodes_max=3, gres_per_node=(("gpu", 1),))),
        waits(15, "closed", ONE_CPU, partitions=("closed",)),
        waits(16, "long", ONE_CPU, hours=2, partitions=("short",)),
        waits(17, "typo", Request(constraint="fast", memory_per_cpu_mib=100)),
        waits(18, "held", GPU8, hold="JobHeldUser", priority=0),
        waits(19, "later", ONE_CPU, hours=1, eligible_ms=NOW_MS + 90 * MINUTE_MS),
        waits(20, "after", ONE_CPU, dependency="afterok:1,afterany:11"),
        waits(21, "never", ONE_CPU, dependency="afterok:9", dependency_failed=True),
        waits(22, "sweep", ONE_CPU, array_job_id=22, pending_tasks=((2, 9, 1),), array_limit=1),
        Job(
            23,
            spec("sweep", array_limit=1),
            state=RUNNING,
            array_job_id=22,
            array_task_id=1,
            start_ms=NOW_MS - MINUTE_MS,
            allocs=(NodeAlloc("n3", 1, 100),),
            nodes_left=("n3",),
            partition="short",
            end_limit_ms=NOW_MS + 30 * MINUTE_MS,
        ),
        waits(24, "both", GPU8, partitions=("closed", "gpu", "short"), hours=2),
        waits(25, "grid", Request(gres_per_node=(("gpu", 3),)), array_job_id=25, pending_tasks=((0, 11, 1),)),
    ]
    state.jobs = {job.id: job for job in jobs}
    return state


ENDED = Job(
    9,
    spec("past"),
    state=COMPLETED,
    submit_ms=NOW_MS - 300 * MINUTE_MS,
    start_ms=NOW_MS - 299 * MINUTE_MS,
    end_ms=NOW_MS - 200 * MINUTE_MS,
    allocs=(NodeAlloc("n1", 1, 100),),
    partition="gpu",
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> State:
    """The command's requests are answered by the view."""
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("SLURM_TIME_FORMAT", raising=False)
    time.tzset()
    state = world()
    indexes = Indexes(state)

    def request(fields, *, folder="", on_chunk, **_):
        lite.encode(fields, ())
        known = {key: value for key, value in fields.items() if key != "op"}
        try:
            for piece in refusing(lambda: why(state, indexes, Budget(), known, MemoryAccounts([ENDED], []))):
                if piece:
                    on_chunk(piece.decode())
        except SlurmError as error:
            raise lite.Refused(error.code, error.text, error.detail) from None

    monkeypatch.setattr("penstock.wire.lite.request", request)
    return state


CASES = {
    "gang_behind_a_drained_node": "10",
    "behind_one_job": "11",
    "kept_for_another": "12",
    "about_to_start": "13",
    "needs_the_drained_node": "14",
    "partition_down": "15",
    "limit_of_the_partition": "16",
    "impossible": "17",
    "held": "18",
    "begin_time": "19",
    "dependency": "20",
    "dependency_never_satisfied": "21",
    "array_limit": "22",
    "array_element": "22_5",
    "running": "1",
    "running_element": "22_1",
    "ended": "9",
    "several_partitions": "24",
    "array": "25",
    "element_that_waits": "25_7",
    "unknown": "999",
    "no_id": "x",
}


@pytest.mark.parametrize("name", CASES)
def test_text(name: str, asked: State, golden, capfdbinary) -> None:
    status = command.main(CASES[name], "", False)
    out, err = capfdbinary.readouterr()
    text = out.decode()
    assert all(len(line) <= WIDTH for line in text.splitlines())
    golden(f"why_{name}", f"$ penstock why {CASES[name]}\n{text}{err.decode()}status {status}\n")


def test_json_is_one_document(asked: State, golden, capfdbinary) -> None:
    assert command.main("12", "", True) == 0
    document = json.loads(capfdbinary.readouterr().out)
    golden("json_why_12", json.dumps(document, indent=1) + "\n")


def test_the_text_is_the_same_in_every_time_zone_but_for_the_times(asked: State, capfdbinary) -> None:
    os.environ["TZ"] = "America/New_York"
    time.tzset()
    try:
        assert command.main("10", "", False) == 0
    finally:  # the zone of the process outlives the variable
        os.environ["TZ"] = "UTC"
        time.tzset()
    assert "T09:00:00" in capfdbinary.readouterr().out.decode()
