"""One step on this node: its tasks, their input and output, what is left of them, how they ended.

A step is over when every task was reaped, nothing that they started is alive (it is killed, or waited for with `wait_for_children`), and
their output is with the client or a bound said that it never will be.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from penstock.agent import processes
from penstock.agent.shepherd import environment
from penstock.agent.shepherd.limits import MIN_KILL_WAIT_S, TimeLimit, boot_ms, ending_line, oom_line, wall_ms
from penstock.agent.shepherd.spawn import Launch, failure_of, spawn
from penstock.agent.shepherd.stdio import StepIo
from penstock.agent.shepherd.usage import Meter
from penstock.wire.messages import ExitRecord

if TYPE_CHECKING:
    import resource

    from penstock.agent.shepherd.run import Run
    from penstock.wire.messages import LaunchStep, Terminate

CHILDREN_POLL_MS = 100
"""With wait_for_children: how often it is looked whether something of the step is left."""
KILL_ROUND_MS = 20
LAUNCH_FAILED_STATUS = 1 << 8


class StepRun:
    """A step from LaunchStep to its record. The run calls `start`, then `exited`, `tick` and `advance` as things happen."""

    def __init__(self, run: Run, message: LaunchStep) -> None:
        self.run = run
        self.message = message
        self.id = message.step_id
        self.pids: dict[int, int] = {}
        """Living tasks: pid → rank."""
        self.sessions: set[int] = set()
        """Session ids that the tasks were given: their pids, dead or alive."""
        self.statuses: dict[int, int] = {}
        self.meter = Meter()
        self.cause = ""
        self.detail = ""
        self.start_ms = wall_ms()
        self.limit = TimeLimit(boot_ms(), message.time_limit_s)
        self.kill_at_ms: int | None = None
        self.look_at_ms: int | None = None
        self.swept = False
        self.record: ExitRecord | None = None
        self._failures: dict[int, int] = {}
        self.io = StepIo(
            message.io,
            node=run.setup.node,
            job_id=message.job_id,
            attempt=message.attempt,
            step_id=message.step_id,
            ranks=message.ranks,
            names={"n": str(message.node_rank), "u": run.identity.user, "x": message.step_name},
            open_file=run.identity.open,
            owner_uid=run.identity.uid,
            dial_as=run.identity.as_user,
        )

    def start(self) -> None:
        """Start every task; where one cannot be started the step fails and the others are killed."""
        message, run = self.message, self.run
        common = environment.for_step(
            message,
            node=run.setup.node,
            hostname=run.setup.hostname,
            cluster=run.setup.cluster,
            berth=run.berth.name,
            gpus=run.setup.gpus,
            job_gpus=run.assign.gpus,
        )
        by_rank = dict(message.multi_prog)
        for local_rank, rank in enumerate(message.ranks):
            argv = [os.fsencode(word) for word in by_rank.get(rank, message.argv)]
            try:
                self._start_task(rank, argv, environment.for_task(common, message, local_rank, run.setup.gpus))
            except (OSError, ValueError) as error:
                self._fail(f"task {rank} could not be started: {error}")
                break
        for rank in message.ranks:
            if rank not in self.pids.values():
                self.statuses[rank] = LAUNCH_FAILED_STATUS
                self.io.task_exited(rank, LAUNCH_FAILED_STATUS, "LaunchFailed")
        self.io.start()

    def _start_task(self, rank: int, argv: list[bytes], variables: dict[bytes, bytes]) -> None:
        if not argv:
            raise ValueError("there is no program")
        message = self.message
        launch = Launch(self.run.identity, argv, variables)
        launch.cwd, launch.umask, launch.rlimits = message.work_dir, message.umask, message.rlimits
        launch.enter = self.run.groups.enter
        launch.task_pid = True
        launch.terminal = self.io.needs_terminal(rank)
        launch.fds = self.io.open_task(rank)
        try:
            pid, failure = spawn(launch)
        finally:
            for fd in launch.fds:
                os.close(fd)
        self.pids[pid] = rank
        self.sessions.add(pid)
        self._failures[pid] = failure

    def _fail(self, detail: str) -> None:
        self.cause, self.detail = "LaunchFailed", detail
        self.io.notice(f"slurmstepd: error: {detail}")
        processes.kill_each(list(self.pids), signal.SIGKILL)

    def exited(self, pid: int, wait_status: int, rusage: resource.struct_rusage) -> None:
        """A task of ours was reaped."""
        rank = self.pids.pop(pid)
        failure = failure_of(self._failures.pop(pid))
        if failure and not self.cause:
            self._fail(failure)
        self.meter.add(rusage)
        self.statuses[rank] = wait_status
        if _killed(wait_status):
            self._notice_oom()
        self.io.task_exited(rank, wait_status, "" if self.cause == "OutOfMemory" and not _killed(wait_status) else self.cause)

    def tree(self, table: dict[int, tuple[int, int, str]]) -> list[int]:
        """Every living process of the step: below its tasks, or orphaned and of their sessions or started with the step's variables."""
        own = os.getpid()
        roots = list(self.pids)
        for pid, (parent, session, state) in table.items():
            orphan = parent == own and state not in "ZX" and pid not in self.pids and not self.run.knows(pid)
            if orphan and (session in self.sessions or self._marked(pid)):
                roots.append(pid)
        return [*roots, *processes.descendants(roots, table)]

    def _marked(self, pid: int) -> bool:
        block = b"\0" + processes.read_environment(pid) + b"\0"
        return b"\0SLURM_STEP_ID=%d\0" % self.id in block and b"\0SLURM_PROCID=" in block

    def signal(self, number: int, table: dict[int, tuple[int, int, str]]) -> None:
        processes.kill_each(self.tree(table), number)

    def terminate(self, message: Terminate, now_ms: int) -> None:
        """End this step: SIGCONT, the signal, and SIGKILL after kill_wait_s."""
        self.cause = self.cause or message.cause
        if message.notice:
            self.io.notice(message.notice)
        table = processes.table()
        self.signal(signal.SIGCONT, table)
        self.signal(message.signal, table)
        self.kill_at_ms = now_ms + message.kill_wait_s * 1000

    def watch_memory(self, pids: list[int]) -> bool:
        """Kill the step if it has more than its share of the job's memory (the job's own limit is the control group's); True if so."""
        limit_kib = self.message.memory_mib * 1024
        if limit_kib and not self.cause and processes.resident_kib(pids) > limit_kib:
            self.cause = "OutOfMemory"
            self.io.notice(oom_line(f"StepId={self.message.job_id}.{self.id}", 1))
            processes.kill_each(pids, signal.SIGKILL)
            return True
        return False

    def next_ms(self) -> int | None:
        """Boot time of the next `tick` that matters; StepIo's is asked for separately."""
        return min((at for at in (self.kill_at_ms, self.look_at_ms, self.limit.next_ms()) if at is not None), default=None)

    def tick(self, now_ms: int) -> None:
        if self.limit.due(now_ms)[1] and not self.cause:
            self.cause = "TimeLimit"
            self.io.notice(ending_line(f"STEP {self.message.job_id}.{self.id}", self.run.setup.node, wall_ms() / 1000, "DUE TO TIME LIMIT"))
            table = processes.table()
            self.signal(signal.SIGCONT, table)
            self.signal(signal.SIGTERM, table)
            self.kill_at_ms = now_ms + max(self.message.kill_wait_s, MIN_KILL_WAIT_S) * 1000
        if self.kill_at_ms is not None and now_ms >= self.kill_at_ms:
            self.kill_at_ms = None
            self.signal(signal.SIGKILL, processes.table())
        if self.look_at_ms is not None and now_ms >= self.look_at_ms:
            self.look_at_ms = None

    def advance(self, now_ms: int) -> bool:
        """Go on towards the end; True once the record stands (in `record`)."""
        if self.pids or self.record is not None:
            return self.record is not None
        if not self.swept:
            if self.look_at_ms is not None:
                return False
            left = self.tree(processes.table(processes.in_groups(self.run.groups.paths)))
            if left:
                waiting = self.message.wait_for_children and not self.cause
                if not waiting:
                    processes.kill_each(left, signal.SIGKILL)
                self.look_at_ms = now_ms + (CHILDREN_POLL_MS if waiting else KILL_ROUND_MS)
                return False
            self.swept = True
        if not self.io.finished():
            return False
        self.io.close()
        self.record = self._record(now_ms)
        return True

    def _notice_oom(self) -> None:
        """The kernel killed for memory in this run, and of this step something was killed: say so to its client."""
        count = self.run.groups.ooms()
        if count and not self.cause and any(_killed(status) for status in self.statuses.values()):
            self.cause = "OutOfMemory"
            self.io.notice(oom_line(f"StepId={self.message.job_id}.{self.id}", count))

    def _record(self, now_ms: int) -> ExitRecord:
        statuses = [self.statuses[rank] for rank in self.message.ranks]
        self.meter.settle(self.run.groups.peak_kib())
        worst = max(statuses, key=lambda status: (os.waitstatus_to_exitcode(status) != 0, status & 0x7F, status), default=0)
        return ExitRecord(
            wait_status=worst,
            start_ms=self.start_ms,
            end_ms=wall_ms(),
            cause=self.cause,
            detail=self.detail,
            pid=min(self.sessions, default=0),
            usage=self.meter.usage(),
            tasks=tuple(zip(self.message.ranks, statuses, strict=True)),
            step_seconds=self.limit.run_ms(now_ms) // 1000,
        )


def _killed(wait_status: int) -> bool:
    return wait_status & 0x7F == signal.SIGKILL or wait_status >> 8 == 128 + signal.SIGKILL
