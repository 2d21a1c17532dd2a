"""A cluster for the engine's tests: the real Reactor on a memory store, nodes that are names, commits that end when the test says so.

cluster = EngineCluster(n0=4)          # a node with 4 CPUs
job = cluster.submit(ntasks=2)
cluster.plan()
cluster.end(job, status=1 << 8)
assert cluster.word(job) == "FAILED"
"""

from __future__ import annotations

from typing import Any

from penstock.core.cycle import plan_now
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig
from penstock.engine.events import Event
from penstock.engine.reactor import Reactor
from penstock.engine.rows import decode_job, load, replay
from penstock.engine.state import STATE_NAMES, Job
from penstock.store.base import Batch, JobQuery
from penstock.store.memory import MemoryStore
from penstock.wire import messages as m

BEGIN_MS = 1_800_000_000_000
ALICE = Caller(1000, 1000, "alice", "users")
BOB = Caller(1001, 1001, "bob", "users")
ROOT = Caller(0, 0, "root", "root")
SCRIPT = b"#!/bin/sh\ntrue\n"


class Refused(Exception):
    """A "!" reply: its number and its text."""

    def __init__(self, payload: bytes) -> None:
        number, self.text, self.detail = payload.decode().split("\t", 2)
        self.code = int(number)
        super().__init__(f"{self.code} {self.text} {self.detail}")


class EngineCluster:
    def __init__(self, config: ClusterConfig | None = None, **nodes: int) -> None:
        self.config = config or ClusterConfig()
        self.now_ms = BEGIN_MS
        self.store = MemoryStore()
        self.sent: list[tuple[str, m.ToAgent]] = []
        self.replies: dict[int, list[tuple[str, str]]] = {}
        self.mails: list[tuple[str, str]] = []
        self.automatic = True
        """Commits are durable at once."""
        self._client = 0
        self.reactor = self._start()
        for name, cpus in nodes.items():
            self.node(name, cpus)

    def _start(self) -> Reactor:
        reactor = Reactor(load(self.store.load()), self, "/cluster")
        self.reactor = reactor
        reactor.take_office(self.config, dict.fromkeys([f"n{i}" for i in range(10)]), self.now_ms)
        reactor.flush()
        return reactor

    # --- the world ---

    def commit(self, batch: Batch) -> None:
        self.store.begin(batch)
        if self.automatic:
            self.durable()

    def durable(self) -> None:
        """What is on its way to the disk has arrived."""
        seq = self.store.in_flight.events[-1][0]
        self.store.finish()
        self.reactor.committed(seq)

    def send(self, node: str, message: m.ToAgent) -> None:
        self.sent.append((node, message))

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        self.replies.setdefault(client, []).append((kind, payload.decode()))

    def blob(self, digest: bytes) -> bytes:
        return self.store.get_blob(digest)

    def history(self, job_id: int) -> list[int]:
        return [decode_job(row).state for row in self.store.query_jobs(JobQuery(ids=(job_id,)))]

    def mail(self, user: str, subject: str) -> None:
        self.mails.append((user, subject))

    def reread(self, running: ClusterConfig) -> tuple[ClusterConfig, list[str]]:
        return self.config, ["a line"]

    # --- what tests do ---

    def crash(self, keep_in_flight: bool = False) -> None:
        """The controller dies, and its successor takes office; nodes have to say hello again."""
        self.store = self.store.crash(keep_in_flight)
        self.sent.clear()
        self._start()

    def node(
        self,
        name: str,
        cpus: int = 4,
        runs: tuple[m.RunReport, ...] = (),
        gpus: int = 0,
        boot: str = "boot1",
        shards: int = 0,
        devices: tuple[m.GpuInfo, ...] = (),
    ) -> None:
        """`gpus` of type a100, `shards` of each; or these `devices`."""
        infos = devices or tuple(m.GpuInfo(f"GPU-{name}-{i}", "a100", i, shards=shards) for i in range(gpus))
        hello = m.Hello(m.PROTOCOL_VERSION, name, name, boot, "test", cpus, cpus * 1000, 0, infos, runs)
        self.reactor.nodes.hello(hello, self.now_ms)
        self.reactor.flush()

    def open(self, op: str, caller: Caller = ALICE, request_id: str = "", sections: list[bytes] | None = None, **fields: Any) -> int:
        """Ask; returns the client whose `replies` grow."""
        self._client += 1
        client = self._client
        first = self.store.find_request(bytes.fromhex(request_id), caller.uid) if request_id else None
        fields = {"op": op, **({"id": request_id} if request_id else {}), **fields}
        self.reactor.requests.handle(client, caller, fields, sections or [], self.now_ms, first)
        self.reactor.flush()
        return client

    def ask(self, op: str, caller: Caller = ALICE, **fields: Any) -> str:
        """Ask and be answered; Refused for a refusal."""
        replies = self.replies.get(self.open(op, caller, **fields), [])
        kind, text = replies[-1]
        if kind == "!":
            raise Refused(text.encode())
        return text

    def submit(self, caller: Caller = ALICE, **fields: Any) -> int:
        return int(self.ask("submit", caller, sections=[SCRIPT, b"A=1"], **fields))

    def plan(self) -> None:
        self.reactor.planned(plan_now(self.reactor.view(self.now_ms)), self.now_ms)
        self.reactor.flush()

    def tick(self, seconds: float = 1) -> None:
        self.now_ms += int(seconds * 1000)
        self.reactor.tick(self.now_ms)
        self.reactor.flush()

    def tell(self, node: str, message: m.ToController) -> None:
        self.reactor.nodes.message(node, message, self.now_ms)
        self.reactor.flush()

    def end(self, job_id: int, status: int = 0, cause: str = "", node: str = "") -> None:
        """The run ends on its node, or on the named one of several."""
        job = self.job(job_id)
        record = m.ExitRecord(status, self.now_ms, self.now_ms, cause)
        for name in [node] if node else job.nodes_left:
            self.tell(name, m.Ended(job.id, job.attempt, record))

    def run(self, job_id: int, status: int = 0) -> None:
        """Plan, and end this job."""
        self.plan()
        assert self.word(job_id) == "RUNNING", f"job {job_id} did not start: {self.reason(job_id)}"
        self.end(job_id, status)

    # --- what tests look at ---

    def job(self, job_id: int) -> Job:
        return self.reactor.state.jobs[job_id]

    def word(self, job_id: int) -> str:
        return STATE_NAMES[self.job(job_id).state]

    def reason(self, job_id: int) -> str:
        return self.reactor.notes.reason(self.job(job_id))

    def element(self, array_id: int, task: int) -> Job:
        """The row of an element that has one."""
        return next(job for job in self.reactor.state.jobs.values() if job.array_job_id == array_id and job.array_task_id == task)

    def running(self, array_id: int) -> list[int]:
        """Elements that run."""
        return sorted(job.array_task_id for job in self.reactor.state.jobs.values() if job.array_job_id == array_id and job.state == 1)

    def messages(self, kind: type) -> list[Any]:
        return [message for _, message in self.sent if isinstance(message, kind)]

    def propose(self, event: Event) -> None:
        self.reactor.propose(event)
        self.reactor.flush()

    def check_law(self) -> None:
        """load(rows) == replay(feed) == live."""
        rows = self.reactor.state.rows()
        assert load(self.store.load()).rows() == rows
        assert replay(list(self.store.disk.events.items())).rows() == rows
