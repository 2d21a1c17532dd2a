"""Bugs planted on purpose, each as a broken part for the simulation: none of them is in the product, each is one that real systems had."""

from __future__ import annotations

import msgspec

from penstock.agent.reconcile import Reconcile
from penstock.engine.reactor import Reactor
from penstock.engine.rows import load
from penstock.engine.sessions import NodeSessions
from penstock.engine.state import State
from penstock.sim.machine import Machine
from penstock.sim.simulation import Parts
from penstock.wire.messages import Assign, Hello, Welcome


class AnswersTooSoon(Reactor):
    """Acknowledges before the commit is durable."""

    def answer(self, client, kind, payload):
        self.world.reply(client, kind, payload)


class EffectsTooSoon(Reactor):
    """Starts jobs before the commit is durable."""

    def when_durable(self, action):
        action()


class ForgetsRequests(Reactor):
    """Does not remember what it answered: a retry does it again."""

    def remember(self, request_id, uid, reply, now_ms):
        pass


class ForgetsAcrossCommits(Reactor):
    """Remembers answers only until they are durable; the store is never told."""

    def remember(self, request_id, uid, reply, now_ms):
        self._recent[(uid, request_id)] = reply


class NeverLaunchesAgain(NodeSessions):
    """A launch that was lost on its way is not made again."""

    def _launch_or_end(self, node, job, step):
        pass


class LosesLaunches(Reactor):
    def __init__(self, state, world, directory):
        super().__init__(state, world, directory)
        self.nodes = NeverLaunchesAgain(self)


class ObeysAnyEpoch(Reconcile):
    """Takes Assigns of former controllers."""

    def _assign(self, message: Assign, now_ms: int) -> None:
        super()._assign(msgspec.structs.replace(message, epoch=max(self.epoch, message.epoch)), now_ms)

    def _welcome(self, message: Welcome, now_ms: int) -> None:
        super()._welcome(msgspec.structs.replace(message, epoch=max(self.epoch, message.epoch)), now_ms)


class ForgetsWhatItStarted(Reconcile):
    """Takes a repeated Assign for a new one."""

    def _assign(self, message: Assign, now_ms: int) -> None:
        key = (message.job_id, message.attempt)
        self._tombstones.pop(key, None)
        self.runs.pop(key, None)
        super()._assign(message, now_ms)


class SharesClaims(Machine):
    """Lets a second shepherd claim a run that was claimed."""

    def claim(self, key, shepherd):
        self.folders.pop(key, None)
        return super().claim(key, shepherd)


class SaysItsEndOnce(Reconcile):
    """Never repeats an end: not on the next connection, not when asked."""

    def _report_end(self, run, now_ms):
        if not run.sent_ms:
            super()._report_end(run, now_ms)

    def hello(self) -> Hello:
        runs = tuple(report for report in super().hello().runs if report.record is None)
        return msgspec.structs.replace(super().hello(), runs=runs)

    def _resend(self, now_ms, *, everything=False):
        pass


def load_an_older_counter(loaded) -> State:
    """Finds the counter of job ids as it was before the last submission: that id is given again."""
    state = load(loaded)
    state.counters.next_job_id = max(1, state.counters.next_job_id - 1)
    return state


PLANTED: dict[str, Parts] = {
    "acknowledge before fsync": Parts(reactor=AnswersTooSoon),
    "start before fsync": Parts(reactor=EffectsTooSoon),
    "lost deduplication": Parts(reactor=ForgetsRequests),
    "deduplication that does not survive a crash": Parts(reactor=ForgetsAcrossCommits),
    "stale epoch accepted": Parts(reconcile=ObeysAnyEpoch),
    "double launch": Parts(reconcile=ForgetsWhatItStarted, machine=SharesClaims),
    "missing resend of Ended": Parts(reconcile=SaysItsEndOnce),
    "lost launch of a step": Parts(reactor=LosesLaunches),
    "id reuse after a crash": Parts(load=load_an_older_counter),
}
