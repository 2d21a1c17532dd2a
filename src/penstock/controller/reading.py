"""The reading operations: which there are, and what each needs beside State (the store for accounting, the agents for usage)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from time import perf_counter_ns, thread_time_ns
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.controller.views.chunks import PAUSE
from penstock.controller.views.consolidation import consolidation
from penstock.controller.views.json_accounts import json_sacct
from penstock.controller.views.operations import TABLES, TEXTS, refusing, view
from penstock.controller.views.sacct import StoreAccounts, sacct
from penstock.controller.views.sdiag import json_sdiag, sdiag
from penstock.controller.views.sstat import answer, jobs_to_ask
from penstock.controller.views.why import why
from penstock.core.cycle import cycle
from penstock.core.outlook import forecast
from penstock.core.slices import pausing
from penstock.engine.commands import may
from penstock.engine.reactor import Reactor
from penstock.engine.snapshot import pieces
from penstock.engine.step_requests import QUERIES_PER_ASK
from penstock.spec import errors as err
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.jobids import parse_job_id
from penstock.store.base import BlobMissing, JobQuery, Store

if TYPE_CHECKING:
    from penstock.controller.clients import Client

Fields = dict[str, Any]
CHEAP_FORECAST_NS = 50_000_000
FORECAST_REST = 9
"""A forecast that took longer is not made again before so many times its own length, so that forecasts take at most a tenth of the
processor, however often squeue --start is called; meanwhile the last one is shown."""


class OneScript(msgspec.Struct, forbid_unknown_fields=True):
    """batch_script"""

    job: str


class Reading:
    """Opens a view for a request: an iterator of pieces, which the loop sends in slices."""

    def __init__(self, reactor: Reactor, store: Store) -> None:
        self._reactor = reactor
        self._store = store
        self._accounts = StoreAccounts(store)
        self._foresee_again_ns = 0
        self._own: dict[str, Callable[[Client, Fields], Iterator[bytes]]] = {
            "sacct": self._sacct,
            "json_sacct": self._json_sacct,
            "ping": self._ping,
            "batch_script": self._batch_script,
            "status": self._status,
            "why": self._why,
            "consolidation": self._consolidation,
            "foresee": lambda client, fields: self._foresee(),
            "snapshot": self._snapshot,
            "sdiag": self._sdiag,
            "json_sdiag": self._json_sdiag,
            "reset_sdiag": self._reset_sdiag,
        }

    def knows(self, op: str) -> bool:
        return op in self._own or op in TABLES or op in TEXTS or op == "sstat"

    def open(self, client: Client, fields: Fields, now_ms: int) -> Iterator[bytes] | None:
        """The pieces of the answer, None when it comes later (sstat); SlurmError, at once or while it is read, if the request is
        wrong."""
        op = fields.pop("op")
        fields.pop("id", None)
        indexes = self._reactor.indexes
        indexes.clock_ms = max(indexes.clock_ms, now_ms)
        if op == "sstat":
            self._ask_usage(client, fields, now_ms)
            return None
        own = self._own.get(op)
        if own is not None:
            return self._timed(op, client, refusing(lambda: own(client, fields)))
        pieces = view(op, self._reactor.state, self._reactor.notes, fields, client.caller.uid)
        return self._timed(op, client, chain(self._foresee(), pieces) if fields.get("start") else pieces)

    def _timed(self, op: str, client: Client, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces; what was spent on making them is counted for sdiag, also where the reader leaves early."""
        spent_ns = 0
        try:
            while True:
                begun_ns = perf_counter_ns()
                try:
                    piece = next(pieces)
                except StopIteration:
                    return
                finally:
                    spent_ns += perf_counter_ns() - begun_ns
                yield piece
        finally:
            self._reactor.statistics.served(op, client.caller.user, client.caller.uid, spent_ns // 1000)

    def _sdiag(self, client: Client, fields: Fields) -> Iterator[bytes]:
        return sdiag(self._reactor.state, self._reactor.notes, self._reactor.statistics, fields)

    def _json_sdiag(self, client: Client, fields: Fields) -> Iterator[bytes]:
        return json_sdiag(self._reactor.state, self._reactor.notes, self._reactor.statistics, fields)

    def _reset_sdiag(self, client: Client, fields: Fields) -> Iterator[bytes]:
        self._administers(client)
        self._reactor.statistics.reset(self._reactor.notes.now_ms)
        yield PAUSE

    def _administers(self, client: Client) -> None:
        if client.caller.uid not in (0, self._reactor.state.config.single_user):
            raise SlurmError(err.ESLURM_ACCESS_DENIED)

    def _sacct(self, client: Client, fields: Fields) -> Iterator[bytes]:
        return sacct(self._reactor.state, self._reactor.notes, fields, client.caller.uid, self._accounts)

    def _json_sacct(self, client: Client, fields: Fields) -> Iterator[bytes]:
        return json_sacct(self._reactor.state, self._reactor.notes, fields, client.caller.uid, self._accounts)

    def _ask_usage(self, client: Client, fields: Fields, now_ms: int) -> None:
        """The nodes are asked; the engine answers the client when they have told, or after a while with what it has."""
        reactor, uid = self._reactor, client.caller.uid
        try:
            jobs = jobs_to_ask(reactor.state, fields, uid)
        except (SpecError, msgspec.ValidationError) as error:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID, detail=str(error)) from None
        render = partial(answer, reactor.state, reactor.notes, fields, uid, jobs, per_ask=QUERIES_PER_ASK)
        reactor.requests.steps.ask_usage(client.number, jobs, now_ms, render)

    def _why(self, client: Client, fields: Fields) -> Iterator[bytes]:
        return why(self._reactor.state, self._reactor.indexes, self._reactor.budget, fields, self._accounts)

    def _consolidation(self, client: Client, fields: Fields) -> Iterator[bytes]:
        self._administers(client)
        return consolidation(self._reactor, fields)

    def _snapshot(self, client: Client, fields: Fields) -> Iterator[bytes]:
        """The planner's input as it is now, and the plan of a pass over it, which is not carried out."""
        view = self._reactor.indexes.columns.view(self._reactor.state.seq, self._reactor.indexes.clock_ms // 1000)
        budget = self._reactor.budget
        plan = yield from pausing(cycle(view, budget), PAUSE)
        yield from pieces(budget, view, plan)

    def _foresee(self) -> Iterator[bytes]:
        """Brings the expected starts up to date, in slices, for what tells them next (squeue --start, sbatch --test-only)."""
        reactor = self._reactor
        if reactor.notes.foreseen or perf_counter_ns() < self._foresee_again_ns:
            return
        view = reactor.indexes.columns.view(reactor.state.seq, reactor.indexes.clock_ms // 1000)
        work = forecast(view, reactor.notes.plan.reservations, budget=reactor.budget)
        spent_ns = 0
        while True:
            begun_ns = thread_time_ns()
            try:
                next(work)
            except StopIteration as done:
                reactor.notes.foresee(done.value)
                break
            finally:
                spent_ns += thread_time_ns() - begun_ns
            yield PAUSE
        if spent_ns > CHEAP_FORECAST_NS:
            self._foresee_again_ns = perf_counter_ns() + FORECAST_REST * spent_ns

    def _ping(self, client: Client, fields: Fields) -> Iterator[bytes]:
        yield f"Slurmctld(primary) at {socket.gethostname().partition('.')[0]} is UP\n".encode()

    def _batch_script(self, client: Client, fields: Fields) -> Iterator[bytes]:
        """The script of a job as it was submitted: the owner's and root's to see."""
        job_id = parse_job_id(msgspec.convert(fields, OneScript).job).job_id
        job = self._reactor.state.jobs.get(job_id) or next(iter(self._accounts.jobs(JobQuery(ids=(job_id,)))), None)
        if job is None:
            raise SlurmError(err.ESLURM_INVALID_JOB_ID)
        may(client.caller, job)
        if not job.spec.script:
            raise SlurmError(err.ESLURM_JOB_SCRIPT_MISSING)
        try:
            yield self._reactor.blob(job.spec.script)
        except BlobMissing:
            raise SlurmError(err.ESLURM_JOB_SCRIPT_MISSING) from None

    def _status(self, client: Client, fields: Fields) -> Iterator[bytes]:
        """For `penstock status`: pid, epoch, sequence, counts, and the warnings of each node."""
        state = self._reactor.state
        running = sum(1 for job in state.jobs.values() if job.active)
        pending = sum(1 for job in state.jobs.values() if job.state == 0)
        lines = [f"controller\t{os.getpid()}\t{state.counters.epoch}\t{self._reactor.durable_seq}\t{running}\t{pending}"]
        for node in state.nodes.values():
            word = "down" if node.down else "drain" if node.drain else "up" if node.responding else "not responding"
            lines.append(f"node\t{node.name}\t{word}\t{node.cpus}\t{node.memory_mib}\t{len(node.gpus)}\t{'; '.join(node.warnings)}")
        yield "\n".join(lines).encode()
