"""Which rows of State were touched: the store writes those, the indexes and the planner's columns follow them."""

from __future__ import annotations

from penstock.engine.state import Job, Step


class Changes:
    """Rows touched since the last flush, in order. Dictionaries serve as ordered sets."""

    __slots__ = ("config", "counters", "history", "jobs", "nodes", "office", "purged", "renamed", "signals", "steps")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.jobs: dict[int, None] = {}
        self.steps: dict[tuple[int, int], None] = {}
        self.nodes: dict[str, None] = {}
        self.signals: dict[int, None] = {}
        self.purged: dict[int, None] = {}
        self.renamed: list[tuple[Job, str]] = []
        """(job, the name that it had), for the indexes."""
        self.history: list[tuple[Job, list[Step], bool]] = []
        """Rows that leave State and stay as history: (job, its steps, is it an earlier run of a requeued job)."""
        self.config = False
        self.office = False
        """A controller took office: it notes the version of the rows that it writes."""
        self.counters = False

    def merge(self, other: Changes) -> None:
        """Add what another collection touched later."""
        self.jobs.update(other.jobs)
        self.steps.update(other.steps)
        self.nodes.update(other.nodes)
        self.signals.update(other.signals)
        self.purged.update(other.purged)
        self.history += other.history
        self.config |= other.config
        self.office |= other.office
        self.counters |= other.counters

    def __bool__(self) -> bool:
        return bool(self.jobs or self.steps or self.nodes or self.signals or self.purged or self.history or self.config or self.counters)
