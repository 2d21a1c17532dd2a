"""The controller's side of its conversations with agents.

An agent's Hello and State are compared, and the difference is told: a lost message, a restart, an upgrade and a failover are one
case. Everything sent is made from State, and is idempotent at the other end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.engine import events as e
from penstock.engine.cluster_config import configured_node, declared_state
from penstock.engine.commands import SIGKILL, SIGTERM, may_requeue
from penstock.engine.effects import assign
from penstock.engine.state import RUNNING, SUSPENDED, Job, Signal, Step
from penstock.wire import messages as m

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor

NOT_RESPONDING = "Not responding"
STRAYS = "Ending unknown jobs"
"""Reasons of a node that is down, in Slurm's words where it has one."""


class NodeSessions:
    """All agents. `connected` holds the nodes with a session."""

    __slots__ = ("_reactor", "_strays", "connected")

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self.connected: dict[str, None] = {}
        self._strays: dict[str, dict[tuple[int, int], None]] = {}
        """Node -> runs there that State does not know."""

    # --- sessions ---

    def hello(self, hello: m.Hello, now_ms: int) -> None:
        """A node has (again) a session: settle the difference between what it reports and what State says."""
        reactor = self._reactor
        state = reactor.state
        now_ms = reactor.now(now_ms)
        config = state.config
        before = state.nodes.get(hello.node)
        rebooted = before is not None and before.boot_id != hello.boot_id
        features, weight = configured_node(config, hello.node)
        if before is not None and before.registered:  # it keeps what an administrator has set meanwhile
            features, weight = before.features, before.weight
        reactor.propose(
            e.NodeRegistered(
                now_ms,
                hello.node,
                hello.hostname,
                hello.cpus,
                hello.memory_mib,
                hello.gpus,
                features,
                weight,
                hello.tmp_disk_mib,
                hello.boot_id,
                hello.boot_ms,
                hello.start_ms,
                hello.version,
                hello.os,
                hello.arch,
                hello.warnings,
            )
        )
        self.connected[hello.node] = None
        forget: list[tuple[int, int]] = []
        kill: list[tuple[int, int]] = []
        reported: dict[int, m.RunReport] = {}
        for report in hello.runs:
            job = state.jobs.get(report.job_id)
            if job is None or job.attempt != report.attempt or hello.node not in job.nodes_left:
                (kill if report.record is None else forget).append((report.job_id, report.attempt))
            else:
                reported[report.job_id] = report
        self._strays[hello.node] = dict.fromkeys(kill)
        self._settle_strays(hello.node, now_ms)
        declared = declared_state(config, hello.node) if before is None else {}
        if declared:
            reactor.propose(e.NodeChanged(now_ms, hello.node, **declared))  # type: ignore[arg-type]
        self._send(hello.node, m.Welcome(state.counters.epoch, config.cluster_name, tuple(forget), tuple(kill)))
        for job_id in list(reactor.indexes.node_jobs.get(hello.node, ())):
            job = state.jobs[job_id]
            found = reported.get(job_id)
            if found is None:
                self._absent(job, hello.node, rebooted, now_ms)
                continue
            if found.record is not None:
                self.ended(hello.node, m.Ended(job_id, job.attempt, found.record), now_ms)
                continue
            self._remind(hello.node, job, found)
        for signal in state.signals.values():
            if hello.node in signal.nodes_left:
                self._signal_on(hello.node, signal)

    def _settle_strays(self, name: str, now_ms: int) -> None:
        """A node where runs go on that State knows nothing of (it was given up while it was away) takes no job until they have ended."""
        node = self._reactor.state.nodes[name]
        returns = self._reactor.state.config.return_to_service
        if self._strays.get(name):
            if not node.down:
                self._reactor.propose(e.NodeChanged(now_ms, name, down=True, reason=STRAYS))
        elif node.down and (node.reason == STRAYS or returns == 2 or (returns and node.reason == NOT_RESPONDING)):
            self._reactor.propose(e.NodeChanged(now_ms, name, down=False, reason=""))

    def _began(self, node: str, message: m.Started, now_ms: int) -> None:
        """A run began. One that was given up meanwhile has to end again."""
        job = self._reactor.state.jobs.get(message.job_id)
        if job is None or job.attempt != message.attempt or node not in job.nodes_left:
            self._strays.setdefault(node, {})[(message.job_id, message.attempt)] = None
            self._settle_strays(node, now_ms)
            wait_s = self._reactor.state.config.kill_wait_s
            self._send(node, m.Terminate(message.job_id, message.attempt, "Cancelled", "", wait_s))

    def _remind(self, node: str, job: Job, report: m.RunReport) -> None:
        """A run goes on there: what was asked of it meanwhile may have been lost, and is said again."""
        if job.completing:
            self._terminate_on(node, job, "Cancelled", "")
            return
        if _given_back(job, node):
            self.give_back(job, (node,))
            return
        if job.state == SUSPENDED or job.suspended_total_ms:
            self._send(node, m.Suspend(job.id, job.attempt, job.state == RUNNING))
        self._limit_on(node, job)
        for step_id in list(self._reactor.indexes.steps_of.get(job.id, ())):
            step = self._reactor.state.steps[(job.id, step_id)]
            if node in step.nodes_left and (step.state != RUNNING or step_id not in report.steps):
                self._launch_or_end(node, job, step)

    def _launch_or_end(self, node: str, job: Job, step: Step) -> None:
        """A step that does not run there though it should: its launch was lost, or its end is on the way; either message is answered
        with the end by a node that knows it. One that was asked to end ends."""
        if step.state == RUNNING and step.launch:
            self._reactor.requests.steps.launch(job.id, step.step_id, node)
        else:
            self._terminate_step_on(node, job, step.step_id, SIGTERM)

    def _absent(self, job: Job, node: str, rebooted: bool, now_ms: int) -> None:
        """State says that the job has a part here; the node knows nothing of it: it was never started, or is over. A machine that went down
        may have forgotten what it had begun, so the run is not begun again there."""
        wanted = job.state in (RUNNING, SUSPENDED) and not _given_back(job, node)
        if wanted and rebooted:
            record = m.ExitRecord(end_ms=now_ms, cause="NodeFail", detail=f"node {node} was restarted")
            again, eligible_ms = self._again(job, node, record, now_ms)
            self._reactor.propose(e.RunEnded(now_ms, job.id, job.attempt, node, record, again, eligible_ms))
        elif wanted:
            self._assign(job, [alloc.node for alloc in job.allocs].index(node))
            for step_id in list(self._reactor.indexes.steps_of.get(job.id, ())):
                step = self._reactor.state.steps[(job.id, step_id)]
                if node in step.nodes_left:
                    self._launch_or_end(node, job, step)
        else:
            record = m.ExitRecord(wait_status=15, end_ms=now_ms, cause="Cancelled")
            self._reactor.propose(e.RunEnded(now_ms, job.id, job.attempt, node, record))

    def lost(self, node: str, now_ms: int) -> None:
        """The session is gone; the node's jobs go on."""
        if node in self.connected:
            del self.connected[node]
            if node in self._reactor.state.nodes:
                self._reactor.propose(e.NodeChanged(self._reactor.now(now_ms), node, responding=False))

    def message(self, node: str, message: m.ToController, now_ms: int) -> None:
        """Anything after Hello."""
        reactor = self._reactor
        now_ms = reactor.now(now_ms)
        if isinstance(message, m.Ended):
            self.ended(node, message, now_ms)
            strays = self._strays.get(node)
            if strays and strays.pop((message.job_id, message.attempt), 0) is None:
                self._settle_strays(node, now_ms)
        elif isinstance(message, m.Started):
            self._began(node, message, now_ms)
        elif isinstance(message, m.StepEnded):
            self._step_ended(node, message, now_ms)
        elif isinstance(message, m.SignalDone):
            signal = reactor.state.signals.get(message.signal_id)
            if signal is not None and node in signal.nodes_left:
                reactor.propose(e.SignalSettled(now_ms, message.signal_id, node))
        elif isinstance(message, m.UsageReport):
            reactor.requests.steps.usage_reported(node, message)
        elif isinstance(message, m.Ping):
            reactor.world.send(node, m.Ping(now_ms))
        elif isinstance(message, m.NodeLoad):
            reactor.notes.loads[node] = (message.cpu_load_centi, message.free_memory_mib)

    def ended(self, node: str, message: m.Ended, now_ms: int) -> None:
        """A run is over on a node; acknowledged once that is durable, and at once if it was known."""
        reactor = self._reactor
        job = reactor.state.jobs.get(message.job_id)
        if job is not None and job.attempt == message.attempt and node in job.nodes_left:
            again, eligible_ms = self._again(job, node, message.record, now_ms)
            reactor.propose(e.RunEnded(now_ms, job.id, job.attempt, node, message.record, again, eligible_ms))
        ack = m.AckEnded(message.job_id, message.attempt)
        reactor.when_durable(lambda: reactor.world.send(node, ack))

    def _again(self, job: Job, node: str, record: m.ExitRecord, now_ms: int) -> tuple[str, int]:
        """(requeue_after, eligible_ms) for a run that ended without the controller's will. A run whose shepherd was killed may have
        done its work: it runs again only by the job's own --requeue."""
        if job.state not in (RUNNING, SUSPENDED) or job.spec.interactive or _given_back(job, node):
            return "", 0
        state = self._reactor.state
        if (record.cause == "ShepherdKilled" and job.spec.requeue is True) or (record.cause == "NodeFail" and may_requeue(state, job.spec)):
            how = "requeue"
        elif record.cause == "LaunchFailed" and record.wait_status != m.FILES_FAILED and may_requeue(state, job.spec):
            how = "launch"
        else:
            return "", 0
        if job.attempt >= state.config.max_batch_requeue:
            return "JobHoldMaxRequeue", now_ms
        return how, now_ms + (0 if record.cause == "ShepherdKilled" else state.config.requeue_delay_s * 1000)

    def _step_ended(self, node: str, message: m.StepEnded, now_ms: int) -> None:
        reactor = self._reactor
        step = reactor.state.steps.get((message.job_id, message.step_id))
        if step is not None and step.attempt == message.attempt and node in step.nodes_left:
            reactor.propose(e.StepRunEnded(now_ms, message.job_id, message.attempt, message.step_id, node, message.record))
        ack = m.AckEnded(message.job_id, message.attempt, message.step_id)
        reactor.when_durable(lambda: reactor.world.send(node, ack))

    def tick(self, now_ms: int) -> None:
        """Nodes that stayed away too long go down."""
        reactor = self._reactor
        limit_ms = reactor.state.config.slurmd_timeout_s * 1000
        for node in list(reactor.state.nodes.values()):
            if not node.responding and not node.down and node.registered and node.lost_ms and node.lost_ms + limit_ms <= now_ms:
                self._fail(node.name, now_ms)

    def _fail(self, node: str, now_ms: int) -> None:
        reactor = self._reactor
        reactor.propose(e.NodeChanged(now_ms, node, down=True, reason=NOT_RESPONDING))
        record = m.ExitRecord(end_ms=now_ms, cause="NodeFail", detail=f"node {node} stopped responding")
        for job_id in list(reactor.indexes.node_jobs.get(node, ())):
            job = reactor.state.jobs[job_id]
            again, eligible_ms = self._again(job, node, record, now_ms)
            reactor.propose(e.RunEnded(now_ms, job_id, job.attempt, node, record, again, eligible_ms))

    # --- effects ---

    def _send(self, node: str, message: m.ToAgent) -> None:
        self._reactor.when_durable(lambda: self._reactor.world.send(node, message))

    def assign_all(self, job: Job) -> None:
        for rank in range(len(job.allocs)):
            self._assign(job, rank)

    def _assign(self, job: Job, rank: int) -> None:
        """When it leaves, the job must still want to run: it may have been cancelled meanwhile."""
        reactor = self._reactor
        attempt, node = job.attempt, job.allocs[rank].node

        def leave() -> None:
            there = node in job.nodes_left and not _given_back(job, node)  # a rank stays what it was: the last nodes are given back
            if job.state in (RUNNING, SUSPENDED) and job.attempt == attempt and there:
                script = reactor.blob(job.spec.script) if rank == 0 else b""
                environment = reactor.blob(job.environment)
                message = assign(reactor.state, job, rank, script, environment, reactor.directory, reactor.indexes.clock_ms)
                reactor.world.send(node, message)

        reactor.when_durable(leave)

    def terminate(self, job: Job, cause: str, notice: str) -> None:
        """End what is left of the run on every node."""
        for node in job.nodes_left:
            self._terminate_on(node, job, cause, notice if node == job.allocs[0].node else "")

    def _terminate_on(self, node: str, job: Job, cause: str, notice: str) -> None:
        self._send(node, m.Terminate(job.id, job.attempt, cause, notice, self._reactor.state.config.kill_wait_s))

    def give_back(self, job: Job, nodes: tuple[str, ...]) -> None:
        """Kill what the job has on nodes that it gave back, at once, as Slurm does."""
        for node in nodes:
            self._send(node, m.Terminate(job.id, job.attempt, "Cancelled", "", 0, signal=SIGKILL))

    def terminate_step(self, job: Job, step_id: int, signal: int) -> None:
        for node in self._reactor.state.steps[(job.id, step_id)].nodes_left:
            self._terminate_step_on(node, job, step_id, signal)

    def _terminate_step_on(self, node: str, job: Job, step_id: int, signal: int) -> None:
        step = self._reactor.state.steps[(job.id, step_id)]
        notice = self._reactor.notes.step_notice(step, signal) if node == step.allocs[0].node else ""
        wait_s = self._reactor.state.config.kill_wait_s
        self._send(node, m.Terminate(job.id, job.attempt, "Cancelled", notice, wait_s, step_id, signal))

    def suspend(self, job: Job, resumed: bool) -> None:
        for node in job.nodes_left:
            self._send(node, m.Suspend(job.id, job.attempt, resumed))

    def set_time_limit(self, job: Job) -> None:
        for node in job.nodes_left:
            self._limit_on(node, job)

    def _limit_on(self, node: str, job: Job) -> None:
        limit_s = job.spec.time_limit_s + self._reactor.state.config.over_time_limit_s if job.spec.time_limit_s else 0
        self._send(node, m.SetTimeLimit(job.id, job.attempt, limit_s))

    def signal(self, signal: Signal) -> None:
        for node in signal.nodes_left:
            self._signal_on(node, signal)

    def _signal_on(self, node: str, signal: Signal) -> None:
        self._send(node, m.SignalRun(signal.id, signal.job_id, signal.attempt, signal.signal, signal.scope, signal.step_id))

    def query_usage(self, node: str, query_id: int, job_id: int) -> None:
        self._reactor.world.send(node, m.QueryUsage(query_id, job_id))


def _given_back(job: Job, node: str) -> bool:
    """Whether the job goes on without this node, which has not yet reported the end of what it ran of it."""
    return any([alloc.node == node for alloc in job.shed])
