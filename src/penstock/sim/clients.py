"""Users: they submit, change their minds, lose their connections, and ask again with the same request id until they are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.core.consolidation import Consolidation, consolidate
from penstock.core.slices import finish
from penstock.engine.caller import Caller
from penstock.engine.state import RUNNING, SUSPENDED
from penstock.sim.network import End, Link
from penstock.sim.shepherd import script_of

if TYPE_CHECKING:
    from penstock.sim.simulation import Simulation

CLIENT_MS = (0, 20)
RETRY_MS = (50, 1_500)
MAX_TRIES = 400
"""A client that was not answered by then is a failure of the simulated system."""
USERS = (Caller(1000, 1000, "alice", "users"), Caller(1001, 1001, "bob", "users"))
ROOT = Caller(0, 0, "root", "root")
ENVIRONMENT = b"PATH=/bin\0HOME=/"


class Ask:
    """One request, however often it is sent."""

    __slots__ = ("_clients", "answer", "caller", "ends", "fields", "op", "request_id", "sections", "then", "tries")

    def __init__(self, clients: Clients, caller: Caller, fields: dict[str, Any], sections: list[bytes], then: Any) -> None:
        self._clients = clients
        self.caller = caller
        self.fields = fields
        self.sections = sections
        self.then = then
        self.op: str = fields["op"]
        self.request_id: str = fields.get("id", "")
        self.answer: tuple[str, bytes] | None = None
        self.tries = 0
        self.ends: list[End] = []

    def __str__(self) -> str:
        return f"{self.op} {self.request_id or '(no id)'} of {self.caller.user}"

    def attempt(self) -> None:
        """Connect and send; ask again if nothing comes of it."""
        if self.answer is not None:
            return
        self.tries += 1
        if self.tries > MAX_TRIES:
            raise TimeoutError(f"{self} got no answer in {MAX_TRIES} tries")
        simulation = self._clients.simulation
        controller = simulation.controller
        if controller is None:
            self._again()
            return
        link = Link(
            simulation.timeline,
            CLIENT_MS,
            (lambda reply: self._heard(link.left, reply), lambda: self._lost(link.left)),
            controller.client_ends(lambda: link.right),
        )
        controller.accept(link.right)
        self.ends.append(link.left)
        link.left.send((self, self.caller, self.fields, self.sections))
        if simulation.random.random() < simulation.cut_rate:
            simulation.fault("client connection cut")
            simulation.timeline.after(simulation.timeline.between(0, 150), lambda: link.close(lost=True))

    def _again(self) -> None:
        self._clients.simulation.timeline.after(self._clients.simulation.timeline.between(*RETRY_MS), self.attempt)

    def _heard(self, end: End, reply: tuple[str, bytes]) -> None:
        if reply[0] in ("=", "!") and self.answer is None:
            self.answer = reply
            self._clients.open.pop(id(self), None)
            if self.op != "allocate" or reply[0] == "!":
                self.hang_up()
            if self.then is not None:
                self.then(self, reply)

    def hang_up(self) -> None:
        for end in self.ends:
            end.die()

    def give_up(self) -> None:
        """The user presses ^C."""
        self.answer = ("!", b"interrupted")
        self._clients.open.pop(id(self), None)
        self.hang_up()

    def _lost(self, end: End) -> None:
        self.ends.remove(end)
        if self.answer is None and not self.ends:
            self._again()


class Clients:
    """All users, and what they know: the ids they were told."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.random = simulation.random
        self.timeline = simulation.timeline
        self.open: dict[int, Ask] = {}
        self.known: list[int] = []
        self._next_request = 0
        self.active = True

    def ask(self, caller: Caller, op: str, fields: dict[str, Any], sections: list[bytes] | None = None, then: Any = None) -> Ask:
        fields = {"op": op, **fields}
        if op not in ("wait_job", "job_info"):
            self._next_request += 1
            fields["id"] = f"{self._next_request:032x}"
        ask = Ask(self, caller, fields, sections or [], then)
        self.open[id(ask)] = ask
        ask.attempt()
        if ask.request_id and op != "allocate" and self.random.random() < 0.04:
            self.simulation.fault("request sent twice")
            self.timeline.after(self.timeline.between(0, 100), ask.attempt)
        return ask

    def _user(self) -> Caller:
        return self.random.choice(USERS)

    def act(self) -> None:
        """One user does one thing, and another follows."""
        if not self.active:
            return
        roll = self.random.random()
        if roll < 0.55 or not self.known:
            self.submit()
        elif roll < 0.66:
            self.allocate()
        else:
            self.change()
        burst = self.random.random() < 0.5
        self.timeline.after(self.timeline.between(0, 60) if burst else self.timeline.between(100, 6_000), self.act)

    # --- submissions ---

    def _script(self) -> bytes:
        random = self.random
        status = random.choice((0, 0, 0, 1 << 8, 3 << 8, 11))
        return script_of(self.timeline.between(20, 20_000), status, random.random() < 0.1)

    def _sizes(self) -> dict[str, Any]:
        random = self.random
        fields: dict[str, Any] = {"name": random.choice(("a", "b", "c", "train")), "work_dir": "/home"}
        shape = random.random()
        if shape < 0.35:
            fields["ntasks"] = random.randint(1, 3)
        elif shape < 0.5:
            fields["nodes_min"] = fields["nodes_max"] = random.randint(1, max(1, len(self.simulation.machines)))
        elif shape < 0.6:
            fields["ntasks"], fields["cpus_per_task"] = random.randint(1, 2), 2
        if random.random() < 0.3:
            fields["mem_per_cpu_mib"] = random.choice((100, 500, 1000))
        if random.random() < 0.25:
            fields["gres"] = (random.choice((f"gpu:{random.randint(1, 2)}", f"shard:{random.randint(1, 4)}")),)
        if random.random() < 0.05:
            fields["exclusive"] = True
        if random.random() < 0.4:
            fields["time_limit_s"] = random.randint(5, 60)
        if random.random() < 0.12:
            fields["licenses"] = random.choice(("tool", "tool:2", "tool|tool:2", "tool,tool"))
        if random.random() < 0.08:
            fields["time_min_s"] = random.randint(1, 10)
        if random.random() < 0.08:
            fields["deadline_s"] = self.timeline.now_ms // 1000 + random.randint(5, 90)
        if random.random() < 0.12:
            fields[random.choice(("constraint", "prefer"))] = random.choice(("red", "red&big", "red|blue", "[red|blue]", "[red*1&big*1]"))
        return fields

    def _request(self) -> dict[str, Any]:
        random = self.random
        fields = self._sizes()
        if random.random() < 0.25:
            fields["array"] = random.choice(("0-3", "1-6%2", "0-8:2%1", "3,5,9", "0-4%3"))
        if self.known and random.random() < 0.3:
            kinds = ("after", "afterany", "afterok", "afternotok", "singleton", "afterok", "aftercorr")
            parents = random.sample(self.known[-12:], min(len(self.known[-12:]), random.randint(1, 2)))
            joiner = random.choice((",", "?"))
            texts = [kind if (kind := random.choice(kinds)) == "singleton" else f"{kind}:{parent}" for parent in parents]
            fields["dependency"] = joiner.join(texts)
            fields["kill_on_invalid_dep"] = random.choice((None, True, False))
        if random.random() < 0.3:
            fields["requeue"] = random.choice((True, False))
        if random.random() < 0.06:
            fields["hold"] = True
        if random.random() < 0.08:
            fields["begin_s"] = self.timeline.now_ms // 1000 + random.randint(1, 30)
        if random.random() < 0.1:
            fields["nice"] = random.randint(0, 1000)
        if random.random() < 0.1:
            fields["mail_type"] = ("BEGIN", "END", "FAIL")
        return fields

    def submit(self) -> None:
        caller = self._user()
        if self.random.random() < 0.1:
            requests = [self._request() for _ in range(self.random.randint(2, 5))]
            self.ask(caller, "submit_many", {"requests": requests}, [self._script(), ENVIRONMENT], self._told)
        else:
            self.ask(caller, "submit", self._request(), [self._script(), ENVIRONMENT], self._told)

    def _told(self, ask: Ask, reply: tuple[str, bytes]) -> None:
        if reply[0] == "=":
            self.known += [int(text) for text in reply[1].decode().split(",")]

    # --- allocations and steps ---

    def allocate(self) -> None:
        fields = self._sizes() | {"time_limit_s": self.random.randint(10, 40)}
        fields.pop("exclusive", None)
        if self.random.random() < 0.2:
            fields["immediate_s"] = 3
        self.ask(self._user(), "allocate", fields, [ENVIRONMENT], self._allocated)

    def _allocated(self, ask: Ask, reply: tuple[str, bytes]) -> None:
        if reply[0] != "=":
            return
        job_id = int(reply[1].partition(b"\t")[0])
        for _ in range(self.random.randint(0, 5)):
            self.timeline.after(self.timeline.between(0, 4_000), self.step, ask.caller, job_id)
        if self.random.random() < 0.8:
            self.timeline.after(self.timeline.between(200, 15_000), self._release, ask, job_id)
        else:
            ask.hang_up()

    def _release(self, ask: Ask, job_id: int) -> None:
        self.ask(ask.caller, "release", {"job_id": job_id, "status": self.random.choice((0, 0, 256))})
        ask.hang_up()

    def step(self, caller: Caller, job_id: int) -> None:
        random = self.random
        fields = {"job_id": job_id, "argv": ("sim", str(self.timeline.between(10, 4_000)), str(random.choice((0, 0, 256)))), "ntasks": 1}
        if random.random() < 0.4:
            fields["exact"] = True
        if random.random() < 0.2:
            fields["overlap"] = True
        if random.random() < 0.2:
            fields["immediate_s"] = 2
        self.ask(caller, "step_create", fields, [ENVIRONMENT])

    # --- changes ---

    def change(self) -> None:
        """Something happens to a job, or to a node."""
        random = self.random
        job_id = random.choice(self.known[-15:])
        name = str(job_id) if random.random() < 0.75 else f"{job_id}_{random.choice(('1', '[0-2]', '3'))}"
        op = random.choice(
            ("cancel", "cancel", "cancel", "hold", "release_hold", "requeue", "requeue", "requeue_hold", "suspend", "resume", "update_job",
             "update_node", "signal", "step", "step_kill", "cancel_all", "consolidate", "consolidate", "shrink", "shrink")
        )  # fmt: skip
        if op == "signal":
            self.ask(ROOT, "cancel", {"jobs": [name], "signal": random.choice((10, 12)), "batch": True})
        elif op == "cancel_all":
            if random.random() < 0.2:
                self.ask(ROOT, "cancel", {"uid": random.choice(USERS).uid, "states": ["PENDING"]})
        elif op == "consolidate":
            self._consolidate()
        elif op == "shrink":
            self._shrink()
        elif op == "step":
            self.step(ROOT, job_id)
        elif op == "step_kill":
            self.ask(ROOT, "step_kill", {"job_id": job_id, "step_id": random.randint(0, 1), "signal": 9})
        elif op == "update_job":
            key = random.choice((f"TimeLimit={random.randint(1, 3)}", "Nice=5", "ArrayTaskThrottle=1", "ArrayTaskThrottle=4"))
            self.ask(ROOT, "update_job", {"jobs": [name], "keys": [key]})
        elif op == "update_node":
            node = random.choice(list(self.simulation.machines))
            keys = random.choice((["State=DRAIN", "Reason=test"], ["State=RESUME"], ["Weight=3"]))
            self.ask(ROOT, "update_node", {"nodes": [node], "keys": keys})
        else:
            self.ask(ROOT, op, {"jobs": [name]})

    def _consolidate(self) -> None:
        """The administrator lets jobs move, if that helps anybody; much may happen before the controller hears it."""
        controller = self.simulation.controller
        if controller is None:
            return
        reactor, now_ms = controller.reactor, controller.clock_ms()
        view = reactor.indexes.columns.view(reactor.state.seq, now_ms // 1000)
        found = finish(consolidate(view, reactor.moves.movable(now_ms), reactor.moves.waiters))
        if isinstance(found, Consolidation):
            self.simulation.checks.counts["consolidations"] += 1
            self.ask(ROOT, "consolidate", {"number": reactor.moves.keep(found)})

    def _shrink(self) -> None:
        """Some running job of several nodes gives nodes back."""
        controller = self.simulation.controller
        rows = controller.reactor.state.jobs.values() if controller is not None else ()
        wide = [job.id for job in rows if job.state in (RUNNING, SUSPENDED) and len(job.allocs) > 1]
        if wide:
            keys = [f"NumNodes={self.random.randint(1, 2)}"]
            self.ask(ROOT, "update_job", {"jobs": [str(self.random.choice(wide))], "keys": keys})

    def lose_patience(self) -> None:
        """Who still waits for an allocation gives up: it may be one that never fits."""
        for ask in list(self.open.values()):
            if ask.op == "allocate":
                ask.give_up()

    def tidy(self) -> None:
        """The administrator after the storm: what was suspended goes on, drained nodes come back."""
        controller = self.simulation.controller
        if controller is not None:
            state = controller.reactor.state
            for job in state.jobs.values():
                if job.suspend_ms:
                    self.ask(ROOT, "resume", {"jobs": [str(job.id)]})
            for node in state.nodes.values():
                if node.drain:
                    self.ask(ROOT, "update_node", {"nodes": [node.name], "keys": ["State=RESUME"]})
