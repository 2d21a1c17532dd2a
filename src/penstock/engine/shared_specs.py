"""Equal specs of jobs are one object, and unequal ones share their equal parts: what 100,000 jobs submitted alike cost in memory.

Guarantees: a spec stays equal to what it was. Bounded: SPECS_MAX and PARTS_MAX are remembered, then all are forgotten, and jobs that come
later share among themselves.
"""

from __future__ import annotations

from collections.abc import Hashable

from msgspec.structs import force_setattr

from penstock.engine.state import JobSpec

SPECS_MAX = 4_096
"""Specs that are remembered for sharing."""
PARTS_MAX = 16_384
"""Parts of specs that are."""

SHARED_PARTS = (
    *("request", "partitions", "asked", "user", "group", "account", "qos", "alloc_node", "rlimits"),
    *("gpus_per_node", "gres", "gpus", "time_limit_s", "mem_per_node_mib", "mem_per_cpu_mib"),
)
"""Fields of a spec in which jobs that differ otherwise are often alike."""


def share_parts(spec: JobSpec, known: dict[Hashable, Hashable]) -> None:
    """Let the spec hold the very objects of equal parts that are known, so that jobs that differ in their names alone do not cost a Request
    each. The spec stays equal to what it was."""
    for name in SHARED_PARTS:
        part = getattr(spec, name)
        if part:
            force_setattr(spec, name, known.setdefault(part, part))


class SharedSpecs:
    def __init__(self) -> None:
        self._specs: dict[JobSpec, JobSpec] = {}
        self._parts: dict[Hashable, Hashable] = {}

    def one_of(self, spec: JobSpec) -> JobSpec:
        """An equal spec that a recent job has, else this one: 100,000 jobs submitted alike keep one."""
        if len(self._specs) >= SPECS_MAX:
            self._specs.clear()
        known = self._specs.get(spec)
        if known is None:
            if len(self._parts) >= PARTS_MAX:
                self._parts.clear()
            share_parts(spec, self._parts)
            known = self._specs[spec] = spec
        return known
