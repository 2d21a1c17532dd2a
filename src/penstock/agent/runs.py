"""What the agent knows of each run and step: the state that `reconcile.Reconcile` and its `steps.StepLedger` keep and alone change."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.agent.events import RunKey
    from penstock.agent.shepherd.protocol import ToShepherd
    from penstock.wire.messages import Assign, ExitRecord


class Step:
    """A step of a run on this node: going (record None) or ended; `acknowledged` keeps a late LaunchStep from starting it again."""

    __slots__ = ("acknowledged", "record", "sent_ms")

    def __init__(self, record: ExitRecord | None = None, sent_ms: int = 0) -> None:
        self.record = record
        self.sent_ms = sent_ms
        self.acknowledged = False

    @property
    def unheard(self) -> bool:
        """It ended, and the controller has not said that it knows."""
        return self.record is not None and not self.acknowledged


class Run:
    """What the agent knows of one run."""

    __slots__ = (
        "assign",
        "backlog",
        "began",
        "inspect_ms",
        "key",
        "missed",
        "phase",
        "pid",
        "record",
        "sent_ms",
        "shepherd",
        "since_ms",
        "steps",
        "uid",
    )

    def __init__(self, key: RunKey, phase: str, now_ms: int) -> None:
        self.key = key
        self.phase = phase
        self.since_ms = now_ms
        self.uid = -1
        self.assign: Assign | None = None
        self.shepherd: int | None = None
        self.began = False
        """A shepherd said that it owns this run."""
        self.pid = 0
        self.record: ExitRecord | None = None
        self.sent_ms = 0
        self.inspect_ms = 0
        """When the folder is to be looked at again; 0: an Inspect is under way, or none is needed."""
        self.steps: dict[int, Step] = {}
        self.backlog: collections.deque[ToShepherd] = collections.deque()
        self.missed = False
        """Messages were dropped from the backlog: the controller has to say again what is to be."""
