"""One controller process around the product's `Reactor`: what `controller.service` does, without sockets, threads and a clock.

Everything but the disk dies with it. A commit takes its time between `begin` and `finish`; a planning pass works on a view that is
older than the state its plan is applied to; the process's clock may be wrong and may be set back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.core.cycle import cycle
from penstock.core.plan import Plan
from penstock.core.view import View
from penstock.engine.caller import Caller
from penstock.engine.reactor import Reactor
from penstock.engine.rows import decode_job
from penstock.sim.network import End
from penstock.sim.process import Process
from penstock.store.base import Batch, JobQuery, StoreFull
from penstock.store.memory import MemoryStore
from penstock.wire import messages as m

if TYPE_CHECKING:
    from penstock.sim.simulation import Simulation

FULL_RETRY_MS = 500
TWICE_RATE = 0.03
DIRECTORY = "/var/lib/penstock"


class Controller(Process):
    """From taking office to its death."""

    def __init__(self, simulation: Simulation, store: MemoryStore) -> None:
        super().__init__(simulation.timeline)
        self.simulation = simulation
        self.store = store
        parts = simulation.parts
        self.reactor: Reactor = parts.reactor(parts.load(store.load()), self, DIRECTORY)
        self._connections: list[End] = []
        self._agents: dict[str, End] = {}
        self._clients: dict[int, End] = {}
        self._next_client = 1
        self._planning = False
        self._turning = False
        self.reactor.take_office(simulation.config, simulation.machines, self.clock_ms())
        simulation.checks.took_office(self)
        self._tick()

    def clock_ms(self) -> int:
        return self.timeline.now_ms + self.simulation.clock_error_ms

    def crash(self, keep_in_flight: bool) -> MemoryStore:
        """SIGKILL. Returns the store as the next controller will open it."""
        self.kill()
        for end in self._connections:
            end.die()
        return self.store.crash(keep_in_flight)

    def accept(self, end: End) -> None:
        """A connection stands; what comes over it may wait, but it dies with the process."""
        self._connections = [other for other in self._connections if other.open]
        self._connections.append(end)

    # --- the world of the reactor ---

    def commit(self, batch: Batch) -> None:
        try:
            self.store.begin(batch)
        except StoreFull:
            self.reactor.refusing = "the disk is full"
            self.simulation.checks.counts["full disk met"] += 1
            if self.store.release_reserve():
                self.commit(batch)
            else:
                self.later(FULL_RETRY_MS, self.commit, batch)
            return
        self.later(self.timeline.between(1, self.simulation.fsync_ms), self._durable, batch.events[-1][0])

    def _durable(self, seq: int) -> None:
        self.store.finish()
        self.simulation.checks.committed(self)
        self.reactor.committed(seq)
        self.touch()

    def send(self, node: str, message: m.ToAgent) -> None:
        end = self._agents.get(node)
        self.simulation.checks.sent(self, node, message)
        if end is not None:
            payload = m.encode(message)
            end.send(payload)
            if isinstance(message, m.Assign) and self.timeline.random.random() < TWICE_RATE and not self.simulation.draining:
                self.simulation.fault("Assign sent twice")
                self.timeline.after(self.timeline.between(0, 20_000), end.send, payload)

    def reply(self, client: int, kind: str, payload: bytes) -> None:
        end = self._clients.get(client)
        if end is not None:
            self.simulation.checks.replied(self, end.token, kind, payload)
            end.send((kind, payload))

    def blob(self, digest: bytes) -> bytes:
        return self.store.get_blob(digest)

    def history(self, job_id: int) -> list[int]:
        return [decode_job(row).state for row in self.store.query_jobs(JobQuery(ids=(job_id,)))]

    def mail(self, user: str, subject: str) -> None:
        self.simulation.checks.counts["mails"] += 1

    # --- the turn ---

    def touch(self) -> None:
        if not self._turning:
            self._turning = True
            self.later(0, self._turn)

    def _turn(self) -> None:
        self._turning = False
        if self.reactor.needs_plan and not self._planning:
            self._planning = True
            self.later(self.timeline.between(5, 300), self._view)
        self.reactor.flush()

    def _view(self) -> None:
        view = self.reactor.view(self.clock_ms())
        self.later(self.timeline.between(0, 60), self._plan, view)

    def _plan(self, view: View) -> None:
        passes = cycle(view)
        try:
            while True:
                next(passes)
        except StopIteration as done:
            plan: Plan = done.value
        self._planning = False
        self.simulation.checks.counts["planning passes"] += 1
        self.reactor.planned(plan, self.clock_ms())
        self.touch()

    def _tick(self) -> None:
        clock_ms = self.clock_ms()
        self.reactor.tick(clock_ms)
        low = self.store.low_water()
        if low and not self.reactor.refusing:
            self.reactor.refusing = "the disk is full"
        elif self.reactor.refusing and self.store.restore_reserve() and not self.store.low_water():
            self.reactor.refusing = ""
        self.touch()
        self.later(max(5, self.reactor.next_wake_ms(clock_ms) - clock_ms), self._tick)

    # --- agents ---

    def agent_ends(self, end_of: Callable[[], End]) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        return (
            lambda payload: self.take(self._from_agent, end_of(), payload),
            lambda: self.take(self._agent_lost, end_of()),
        )

    def _from_agent(self, end: End, payload: bytes) -> None:
        message = m.decode_for_controller(payload)
        if isinstance(message, m.Hello):
            old = self._agents.get(message.node)
            if old is not None and old is not end:
                old.token = None
                old.die()
            end.token = message.node
            self._agents[message.node] = end
            self.reactor.nodes.hello(message, self.clock_ms())
        elif end.token is not None:
            self.reactor.nodes.message(end.token, message, self.clock_ms())
        self.touch()

    def _agent_lost(self, end: End) -> None:
        if end.token is not None and self._agents.get(end.token) is end:
            del self._agents[end.token]
            self.reactor.nodes.lost(end.token, self.clock_ms())
            self.touch()

    # --- clients ---

    def client_ends(self, end_of: Callable[[], End]) -> tuple[Callable[[object], None], Callable[[], None]]:
        return (
            lambda request: self.take(self._from_client, end_of(), request),
            lambda: self.take(self._client_lost, end_of()),
        )

    def _from_client(self, end: End, request: tuple[object, Caller, dict[str, object], list[bytes]]) -> None:
        token, caller, fields, sections = request
        end.token = token
        self._next_client += 1
        number = self._next_client
        self._clients[number] = end
        first = None
        if fields.get("id"):
            first = self.store.find_request(bytes.fromhex(str(fields["id"])), caller.uid)
        self.reactor.requests.handle(number, caller, dict(fields), sections, self.clock_ms(), first)
        self.touch()

    def _client_lost(self, end: End) -> None:
        for number in [number for number, other in self._clients.items() if other is end]:
            del self._clients[number]
            self.reactor.requests.gone(number, self.clock_ms())
        self.touch()
