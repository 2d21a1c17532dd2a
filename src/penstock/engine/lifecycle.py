"""The life of a job as one table. `apply` refuses any transition that is not in it; the documentation's diagram is made from it."""

from __future__ import annotations

from penstock.engine.state import (
    BOOT_FAIL,
    CANCELLED,
    COMPLETED,
    DEADLINE,
    FAILED,
    NODE_FAIL,
    OUT_OF_MEMORY,
    PENDING,
    PREEMPTED,
    RUNNING,
    STATE_NAMES,
    SUSPENDED,
    TIMEOUT,
    Job,
)

TERMINAL = (COMPLETED, CANCELLED, FAILED, TIMEOUT, NODE_FAIL, PREEMPTED, BOOT_FAIL, DEADLINE, OUT_OF_MEMORY)

TRANSITIONS: dict[int, tuple[int, ...]] = {
    PENDING: (RUNNING, CANCELLED, DEADLINE, FAILED),
    RUNNING: (SUSPENDED, *TERMINAL),
    SUSPENDED: (RUNNING, *TERMINAL),
    # A requeue: the run ended, and the job waits again.
    **{state: (PENDING,) for state in TERMINAL},
}


STATE_OF_CAUSE = {
    "TimeLimit": TIMEOUT,
    "OutOfMemory": OUT_OF_MEMORY,
    "Cancelled": CANCELLED,
    "ShepherdKilled": FAILED,
    "LaunchFailed": FAILED,
    "NodeFail": NODE_FAIL,
}
"""The state in which a run ends that its node ended for this cause."""


class TransitionError(AssertionError):
    """An event that the table forbids: a bug in whoever proposed it, never a user's fault."""


def move(job: Job, state: int) -> None:
    """Change the job's base state; TransitionError if the table has no such arrow."""
    if state not in TRANSITIONS[job.state]:
        raise TransitionError(f"JobId={job.id}: {STATE_NAMES[job.state]} -> {STATE_NAMES[state]} is no transition")
    job.state = state


def diagram() -> str:
    """The table as Mermaid text, for docs/design/job-states.md."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for source, targets in TRANSITIONS.items():
        lines += [f"    {STATE_NAMES[source]} --> {STATE_NAMES[target]}" for target in targets]
    return "\n".join(lines) + "\n"
