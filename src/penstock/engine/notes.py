"""What is known of jobs and nodes beside State: why a job waits, when it may start, how loaded a node is, which mail is due.

Volatile by design: it is computed again after a restart, so it needs no event and no commit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.plan import Plan, Reason, Reservation
from penstock.engine.indexes import Indexes
from penstock.engine.state import CANCELLED, COMPLETED, PENDING, PREEMPTED, STATE_NAMES, TIMEOUT, Job, State, Step
from penstock.spec import hostlist, jobids, times

if TYPE_CHECKING:
    from penstock.engine.reactor import Reactor

SIGNAL_WORDS = {9: "Killed", 15: "Terminated"}
"""As strsignal names the signals that end a step."""

FORECAST_LASTS_MS = 30_000
"""Expected starts that nobody promised are shown so long; then they are computed again when somebody asks."""


class Notes:
    """Reasons and expected starts from the latest plan; loads as the nodes report them."""

    __slots__ = ("_forecast", "_forecast_ms", "_forecast_seq", "_indexes", "_plan", "_reasons", "_reserved", "_state", "loads")

    def __init__(self, state: State, indexes: Indexes) -> None:
        self._state = state
        self._indexes = indexes
        self._plan = Plan(0, 0)
        self._reasons: dict[int, int] | None = None
        self._reserved: dict[int, Reservation] | None = None
        self._forecast: dict[int, Reservation] = {}
        self._forecast_seq = -1
        self._forecast_ms = 0
        self.loads: dict[str, tuple[int, int]] = {}
        """Node -> (CPU load in hundredths, free MiB)."""

    @property
    def now_ms(self) -> int:
        return self._indexes.clock_ms

    @property
    def plan(self) -> Plan:
        """The latest plan; its columns become a dictionary when the first reason is asked for."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        self._plan = plan
        self._reasons = None
        self._reserved = None

    def load(self, node: str) -> tuple[int, int]:
        """(CPU load in hundredths, free MiB), (0, 0) where nothing was reported."""
        return self.loads.get(node, (0, 0))

    def evidence(self, job_id: int) -> Reason | None:
        """The planner's structured reason, if the job was looked at."""
        if self._reasons is None:
            plan = self._plan
            self._reasons = dict(zip(plan.waiting_job_id.tolist(), plan.waiting_reason.tolist(), strict=True))
        index = self._reasons.get(job_id, -1)
        return self._plan.reasons[index] if index >= 0 else None

    def reason(self, job: Job) -> str:
        """Slurm's word for squeue's last column."""
        if job.state != PENDING:
            return job.reason or "None"
        if job.hold:
            return job.hold
        if job.dependency:
            return "DependencyNeverSatisfied" if job.dependency_failed else "Dependency"
        if job.eligible_ms > self.now_ms:
            return "BeginTime"
        reason = self.evidence(job.id)
        return reason.word if reason is not None else "None"

    @property
    def foreseen(self) -> bool:
        """Whether the forecast is one of the State as it is, and not old."""
        return self._forecast_seq == self._state.seq and self._forecast_lasts()

    def foresee(self, forecast: Plan) -> None:
        """Expected starts of those to whom the plan promises none."""
        self._forecast = {}
        for expected in forecast.reservations:
            self._forecast.setdefault(expected.job_id, expected)
        for start in forecast.starts:
            self._forecast[start.job_id] = Reservation(start.job_id, start.partition, forecast.now_s, forecast.now_s, start.shares)
        self._forecast_seq = forecast.seq
        self._forecast_ms = self.now_ms

    def ahead_of(self, priority: int) -> list[Reservation]:
        """Expected starts of the waiting jobs that come before a new one of this priority: promised ones, then those of a forecast that
        is not old. Tiers of partitions are not looked at."""
        expected = {**(self._forecast if self._forecast_lasts() else {}), **{one.job_id: one for one in self._plan.reservations}}
        jobs, columns = self._state.jobs, self._indexes.columns
        return [one for job_id, one in expected.items() if columns.waits(job_id) and jobs[job_id].priority >= priority]

    def _forecast_lasts(self) -> bool:
        return self.now_ms - self._forecast_ms <= FORECAST_LASTS_MS

    def _reservation(self, job_id: int) -> Reservation | None:
        """What the plan promises, else what a forecast that is not old expects; nothing to a job that is not in the queue any more."""
        if not self._indexes.columns.waits(job_id):
            return None
        if self._reserved is None:
            self._reserved = {}
            for reservation in self._plan.reservations:
                self._reserved.setdefault(reservation.job_id, reservation)
        promised = self._reserved.get(job_id)
        if promised is None and self._forecast and self._forecast_lasts():
            return self._forecast.get(job_id)
        return promised

    def expected_start_ms(self, job_id: int) -> int:
        """0: not known."""
        reservation = self._reservation(job_id)
        return reservation.start_s * 1000 if reservation else 0

    def sched_nodes(self, job_id: int) -> str:
        """Where it is expected to start, as a hostlist."""
        reservation = self._reservation(job_id)
        return hostlist.compress([share.node for share in reservation.shares]) if reservation else ""

    def cancel_notice(self, job: Job) -> str:
        """The line that the batch job's log, or its steps, get when the controller ends it."""
        if not job.allocs:
            return ""
        why = " DUE TO JOB REQUEUE" if job.requeue_after else " DUE to SIGNAL Terminated"
        if job.state == PREEMPTED:
            why = " DUE TO PREEMPTION"
        stamp = times.format_time(job.end_ms // 1000)
        return f"slurmstepd: error: *** JOB {job.id} ON {job.allocs[0].node} CANCELLED AT {stamp}{why} ***"

    def step_notice(self, step: Step, signal: int) -> str:
        """The line that a cancelled step's client gets from its first node."""
        stamp = times.format_time(self.now_ms // 1000)
        where = f"STEP {step.job_id}.{jobids.format_step(step.step_id)} ON {step.allocs[0].node}"
        return f"slurmstepd: error: *** {where} CANCELLED AT {stamp} DUE to SIGNAL {SIGNAL_WORDS.get(signal, signal)} ***"

    # --- mail ---

    def _name(self, job: Job) -> str:
        if job.array_job_id and job.array_task_id >= 0:
            return f"Slurm Array Task Job_id={job.array_job_id}_{job.array_task_id} ({job.id}) Name={job.spec.name}"
        return f"Slurm Job_id={job.id} Name={job.spec.name}"

    def mail_begin(self, reactor: Reactor, job: Job) -> None:
        """BEGIN: when the job has started."""
        types = job.spec.mail_type
        if "BEGIN" not in types or (job.array_job_id and "ARRAY_TASKS" not in types and job.pending_tasks):
            return
        queued = times.format_duration((job.start_ms - (job.eligible_ms or job.submit_ms)) // 1000)
        self._post(reactor, job, f"{self._name(job)} Began, Queued time {queued}")

    def mail_end(self, reactor: Reactor, job: Job) -> None:
        """END, FAIL: when nothing of the job is left; for an array once, when its last element has ended."""
        types = job.spec.mail_type
        if not types:
            return
        failed = job.state not in (COMPLETED, CANCELLED)
        if "END" not in types and not ("FAIL" in types and failed):
            return
        ran = times.format_duration(max(0, job.end_ms - job.start_ms) // 1000)
        code = job.wait_status >> 8
        if job.array_job_id and "ARRAY_TASKS" not in types:
            if job.array_job_id in self._indexes.open_rows:
                return
            rows = self._indexes.rows_of(job.array_job_id)
            word = "Failed" if any(row.state not in (COMPLETED, CANCELLED) for row in rows) else "Ended"
            subject = f"Slurm Array Summary Job_id={job.array_job_id}_* ({job.array_job_id}) Name={job.spec.name} {word}, "
            worst_code = max(row.wait_status >> 8 for row in rows)
            subject += f"{STATE_NAMES[job.state] if len({row.state for row in rows}) == 1 else 'Mixed'}, ExitCode [0-{worst_code}]"
        else:
            word = "Failed" if failed else "Ended"
            subject = f"{self._name(job)} {word}, Run time {ran}, {STATE_NAMES[job.state]}"
            if job.state != TIMEOUT:
                subject += f", ExitCode {code}"
        self._post(reactor, job, subject)

    def _post(self, reactor: Reactor, job: Job, subject: str) -> None:
        user = job.spec.mail_user or job.spec.user
        reactor.when_durable(lambda: reactor.world.mail(user, subject))
