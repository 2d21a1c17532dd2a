"""A small cluster with one of everything that a view has to tell apart, at a fixed time, and the controller's side of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from penstock.controller.views import operations
from penstock.controller.views.json_accounts import json_sacct
from penstock.controller.views.sacct import sacct
from penstock.controller.views.sstat import sstat
from penstock.core.request import Request
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.engine.state import (
    CANCELLED,
    COMPLETED,
    FAILED,
    OUT_OF_MEMORY,
    PENDING,
    RUNNING,
    TIMEOUT,
    BatchRecord,
    Job,
    JobSpec,
    Node,
    NodeAlloc,
    State,
    Step,
)
from penstock.spec.errors import SlurmError
from penstock.store.base import JobIndex, JobQuery
from penstock.store.query import matches
from penstock.wire import lite
from penstock.wire.messages import GpuInfo, Usage

NOW_MS = 1_767_268_800_000
"""2026-01-01T12:00:00 UTC."""
MINUTE_MS = 60_000


class FixedNotes:
    now_ms = NOW_MS
    reasons: dict[int, str]

    def __init__(self, reasons: dict[int, str], starts: dict[int, int]) -> None:
        self.reasons = reasons
        self.starts = starts

    def reason(self, job: Job) -> str:
        return self.reasons.get(job.id, "Priority")

    def expected_start_ms(self, job_id: int) -> int:
        return self.starts.get(job_id, 0)

    def sched_nodes(self, job_id: int) -> str:
        return "n2" if job_id in self.starts else ""

    def load(self, node: str) -> tuple[int, int]:
        return {"n1": (41, 9_000), "n2": (380, 1_000)}.get(node, (-1, -1))


class MemoryAccounts:
    """Accounts over a list of rows, with the store's own meaning of a query."""

    def __init__(self, jobs: list[Job], steps: list[Step]) -> None:
        self._jobs = jobs
        self._steps = steps

    def jobs(self, query: JobQuery) -> Iterator[Job]:
        for job in sorted(self._jobs, key=lambda job: (job.id, job.attempt)):
            later = any(other.id == job.id and other.attempt > job.attempt for other in self._jobs)
            if matches(query, index_of(job)) and (query.earlier_runs or not later):
                yield job

    def steps(self, job_ids: Sequence[int]) -> Iterator[Step]:
        return (step for step in self._steps if step.job_id in job_ids)


def index_of(job: Job) -> JobIndex:
    from penstock.engine.state import STATE_NAMES

    return JobIndex(
        id=job.id,
        array_job_id=job.array_job_id,
        uid=job.spec.uid,
        submit_ms=job.submit_ms,
        start_ms=job.start_ms,
        end_ms=job.end_ms,
        live=1,
        name=job.spec.name,
        account=job.spec.account,
        partition=job.partition or ",".join(job.spec.partitions),
        state=STATE_NAMES[job.state],
        run=job.attempt,
        array_task_id=job.array_task_id,
    )


class Cluster:
    """State, notes and history, and `request` in place of `penstock.wire.lite.request`."""

    def __init__(self, state: State, notes: FixedNotes, history: list[Job], history_steps: list[Step]) -> None:
        self.state = state
        self.notes = notes
        self.accounts = MemoryAccounts([*history, *state.jobs.values()], [*history_steps, *state.steps.values()])
        self.sent: list[dict[str, object]] = []
        self.answers: dict[str, str] = {}

    def request(
        self,
        fields: Mapping[str, object],
        sections: Sequence[bytes] = (),
        *,
        on_chunk: Callable[[str], None] | None = None,
        **_: object,
    ) -> str:
        lite.encode(fields, sections)  # what cannot be sent fails here as it would in earnest
        self.sent.append(dict(fields))
        op = str(fields["op"])
        known = {key: value for key, value in fields.items() if key not in ("op", "id") and value is not None}
        try:
            if op in operations.TABLES or op in operations.TEXTS:
                chunks = operations.view(op, self.state, self.notes, known, 0)
            elif op in ("sacct", "json_sacct"):
                view = {"sacct": sacct, "json_sacct": json_sacct}[op]
                chunks = operations.refusing(lambda: view(self.state, self.notes, known, 0, self.accounts))
            elif op == "sstat":
                chunks = operations.refusing(lambda: sstat(self.state, self.notes, known, 0, running_usage()))
            elif op in self.answers:
                chunks = iter([self.answers[op].encode("utf-8", "surrogateescape")])
            else:
                raise AssertionError(f"no such operation: {op}")
            for chunk in chunks:
                if chunk and on_chunk:
                    on_chunk(chunk.decode("utf-8", "surrogateescape"))
        except SlurmError as error:
            raise lite.Refused(error.code, error.text, error.detail) from None
        return ""


def running_usage() -> dict[tuple[int, int], list[tuple[str, Usage, tuple[int, ...]]]]:
    """What the agents answered: (job, step) -> (node, usage, pids)."""
    return {
        (2, 0): [
            ("n1", Usage(3_000_000, 500_000, 20_480, 204_800, 1 << 20, 1 << 10), (101, 102)),
            ("n2", Usage(1_000_000, 0, 10_240), (201,)),
        ]
    }


def spec(name: str, **given: object) -> JobSpec:
    fields: dict[str, object] = {
        "name": name,
        "uid": 1000,
        "gid": 1000,
        "user": "ada",
        "group": "lab",
        "partitions": ("main",),
        "request": Request(memory_per_cpu_mib=100),
        "time_limit_s": 3600,
        "work_dir": "/home/ada",
        "command": f"/home/ada/{name}.sh",
        "submit_line": f"sbatch {name}.sh",
        "alloc_node": "login",
    }
    return JobSpec(**{**fields, **given})  # type: ignore[arg-type]


def mixed_cluster() -> Cluster:
    state = State()
    state.config = ClusterConfig(
        cluster_name="lab",
        partitions=(Partition("main", default=True), Partition("big", nodes=("n2", "n3"), max_time_s=36_000, default_time_s=600)),
        licenses=(("fluent", 4), ("matlab", 2)),
        shown={"ClusterName": "lab", "KillWait": "30 sec", "MinJobAge": "300 sec"},
    )
    gpus = {name: tuple([GpuInfo(f"GPU-{name}-{i}", "h100", i, simulated=True) for i in range(2)]) for name in ("n1", "n2")}
    for name in ("n1", "n2", "n3", "n4", "n5"):
        state.nodes[name] = Node(
            name=name,
            hostname="box",
            cpus=8,
            memory_mib=8000,
            gpus=gpus.get(name, ()),
            features=("fast",) if name == "n1" else (),
            registered=True,
            responding=name != "n5",
            down=name == "n5",
            drain=name == "n4",
            reason={"n4": "bad disk in slot 3 of the box", "n5": "Not responding"}.get(name, ""),
            reason_uid=0,
            reason_ms=NOW_MS - 90 * MINUTE_MS if name in ("n4", "n5") else 0,
            version="26.05.5",
            os="Linux 6.1",
            arch="x86_64",
            boot_ms=NOW_MS - 86_400_000,
            start_ms=NOW_MS - 3_600_000,
            busy_ms=NOW_MS - 60_000,
        )
    batch_usage = Usage(1_250_000, 250_000, 5_788, 50_000)
    step_usage = Usage(2_000_000, 1_000_000, 1_048_576, 2_097_152, 4096, 8192)

    def add(job: Job) -> None:
        state.jobs[job.id] = job

    add(
        Job(
            1,
            spec("done"),
            state=COMPLETED,
            priority=99,
            submit_ms=NOW_MS - 30 * MINUTE_MS,
            start_ms=NOW_MS - 29 * MINUTE_MS,
            end_ms=NOW_MS - 4 * MINUTE_MS,
            allocs=(NodeAlloc("n1", 1, 100),),
            partition="main",
            batch=BatchRecord(0, NOW_MS - 29 * MINUTE_MS, NOW_MS - 4 * MINUTE_MS, batch_usage),
            next_step_id=1,
        )
    )
    add(
        Job(
            2,
            spec(
                "train-a-long-name",
                comment="hi",
                request=Request(nodes_min=2, ntasks=6, ntasks_per_node=4, memory_per_node_mib=2000, gres_per_node=(("gpu", 1),)),
                time_limit_s=93_784,
            ),
            state=RUNNING,
            priority=98,
            submit_ms=NOW_MS - 70 * MINUTE_MS,
            start_ms=NOW_MS - 65 * MINUTE_MS,
            end_limit_ms=NOW_MS - 65 * MINUTE_MS + 93_784_000,
            allocs=(NodeAlloc("n1", 4, 2000, ("GPU-n1-0",), 4), NodeAlloc("n2", 8, 2000, ("GPU-n2-1",), 2)),
            nodes_left=("n1", "n2"),
            partition="main",
            next_step_id=1,
        )
    )
    add(Job(3, spec("waits", partitions=("main", "big")), priority=97, submit_ms=NOW_MS - 9 * MINUTE_MS))
    licensed = Request(memory_per_cpu_mib=100, constraint="fast&(a|b)", prefer="fast", licenses=(("fluent", 2), ("matlab", 1)))
    asked = {"licenses": "fluent:2,matlab", "time_min_s": 600, "deadline_ms": NOW_MS + 86_400_000}
    add(Job(4, spec("held", user="bob", uid=1001, request=licensed, **asked), hold="JobHeldUser", submit_ms=NOW_MS - 8 * MINUTE_MS))
    add(
        Job(
            5,
            spec("sweep", array="1-20:3%2", array_limit=2, request=Request(ntasks=8, nodes_max=1), std_out="logs/%x-%A_%a.log"),
            array_job_id=5,
            pending_tasks=((4, 19, 3),),
            priority=96,
            submit_ms=NOW_MS - 7 * MINUTE_MS,
        )
    )
    add(
        Job(
            6,
            spec("sweep", array="1-20:3%2", array_limit=2, request=Request(ntasks=8, nodes_max=1), std_out="logs/%x-%A_%a.log"),
            state=FAILED,
            array_job_id=5,
            array_task_id=1,
            priority=96,
            submit_ms=NOW_MS - 7 * MINUTE_MS,
            start_ms=NOW_MS - 6 * MINUTE_MS,
            end_ms=NOW_MS - 5 * MINUTE_MS,
            allocs=(NodeAlloc("n3", 8, 800, (), 8),),
            partition="main",
            reason="NonZeroExitCode",
            wait_status=3 << 8,
            derived_exit=7,
            batch=BatchRecord(3 << 8, NOW_MS - 6 * MINUTE_MS, NOW_MS - 5 * MINUTE_MS, batch_usage),
            next_step_id=2,
        )
    )
    add(Job(7, spec("after"), priority=95, dependency="afterok:2", submit_ms=NOW_MS - 6 * MINUTE_MS))
    add(
        Job(
            8,
            spec("later"),
            priority=94,
            submit_ms=NOW_MS - 5 * MINUTE_MS,
            eligible_ms=NOW_MS + 60 * MINUTE_MS,
        )
    )
    add(
        Job(
            9,
            spec("stops"),
            state=CANCELLED,
            by_uid=1000,
            priority=93,
            submit_ms=NOW_MS - 4 * MINUTE_MS,
            start_ms=NOW_MS - 3 * MINUTE_MS,
            end_ms=NOW_MS - 10_000,
            allocs=(NodeAlloc("n3", 1, 100),),
            nodes_left=("n3",),
            partition="main",
        )
    )
    add(Job(10, spec("never"), state=CANCELLED, by_uid=0, submit_ms=NOW_MS - 3 * MINUTE_MS, start_ms=NOW_MS, end_ms=NOW_MS - 2 * MINUTE_MS))
    history = [
        Job(
            11,
            spec("oom"),
            state=OUT_OF_MEMORY,
            submit_ms=NOW_MS - 120 * MINUTE_MS,
            start_ms=NOW_MS - 119 * MINUTE_MS,
            end_ms=NOW_MS - 118 * MINUTE_MS,
            allocs=(NodeAlloc("n1", 1, 100),),
            partition="main",
            reason="OutOfMemory",
            wait_status=9,
            batch=BatchRecord(9, NOW_MS - 119 * MINUTE_MS, NOW_MS - 118 * MINUTE_MS, batch_usage, "OutOfMemory"),
        ),
        Job(
            12,
            spec("limit"),
            state=TIMEOUT,
            submit_ms=NOW_MS - 120 * MINUTE_MS,
            start_ms=NOW_MS - 119 * MINUTE_MS,
            end_ms=NOW_MS - 59 * MINUTE_MS,
            allocs=(NodeAlloc("n1", 1, 100),),
            partition="main",
            reason="TimeLimit",
            batch=BatchRecord(15, NOW_MS - 119 * MINUTE_MS, NOW_MS - 59 * MINUTE_MS, batch_usage, "TimeLimit"),
        ),
        Job(
            13,
            spec("killed"),
            state=FAILED,
            submit_ms=NOW_MS - 13 * 60 * MINUTE_MS,
            start_ms=NOW_MS - 13 * 60 * MINUTE_MS,
            end_ms=NOW_MS - 13 * 60 * MINUTE_MS + 1000,
            allocs=(NodeAlloc("n1", 1, 100),),
            partition="main",
            reason="RaisedSignal",
            wait_status=9,
            batch=BatchRecord(9, NOW_MS - 13 * 60 * MINUTE_MS, NOW_MS - 13 * 60 * MINUTE_MS + 1000, batch_usage),
        ),
    ]
    state.steps[(1, 0)] = Step(
        1,
        0,
        0,
        "python",
        (NodeAlloc("n1", 1, 100, (), 1),),
        2,
        NOW_MS - 28 * MINUTE_MS,
        state=COMPLETED,
        end_ms=NOW_MS - 20 * MINUTE_MS,
        usage=(("n1", step_usage),),
        submit_line="srun python",
    )
    state.steps[(2, 0)] = Step(
        2,
        0,
        0,
        "torchrun",
        (NodeAlloc("n1", 4, 2000, ("GPU-n1-0",), 4), NodeAlloc("n2", 8, 2000, ("GPU-n2-1",), 2)),
        6,
        NOW_MS - 64 * MINUTE_MS,
        nodes_left=("n1", "n2"),
        submit_line="srun torchrun",
    )
    state.steps[(6, 0)] = Step(
        6,
        0,
        0,
        "a",
        (NodeAlloc("n3", 8, 800, (), 8),),
        8,
        NOW_MS - 6 * MINUTE_MS,
        state=CANCELLED,
        by_uid=1000,
        wait_status=15,
        end_ms=NOW_MS - 5 * MINUTE_MS,
        usage=(("n3", step_usage),),
    )
    state.steps[(6, 1)] = Step(
        6,
        0,
        1,
        "b",
        (NodeAlloc("n3", 8, 800, (), 8),),
        8,
        NOW_MS - 6 * MINUTE_MS,
        state=FAILED,
        wait_status=7 << 8,
        end_ms=NOW_MS - 5 * MINUTE_MS,
    )
    reasons = {3: "Resources", 5: "Priority", 7: "Dependency", 8: "BeginTime"}
    assert state.jobs[3].state == PENDING
    return Cluster(state, FixedNotes(reasons, {3: NOW_MS + 120 * MINUTE_MS, 5: NOW_MS + 180 * MINUTE_MS}), history, [])
