"""What happens to the agent's machine (events) and what it asks of its shell (commands).

The shell (`agent.service`, or a simulation) turns the world into events for `reconcile.Reconcile.handle` and carries out the commands that
come back, in order. A run is named by its key, (job_id, attempt).
"""

from __future__ import annotations

import msgspec

from penstock.agent.shepherd.protocol import Announce, FromShepherd, ToShepherd
from penstock.wire.messages import ExitRecord, ToAgent, ToController

RunKey = tuple[int, int]


# --- events --------------------------------------------------------------------------------------------------------------------


class ControllerUp(msgspec.Struct, frozen=True):
    """The connection that Connect asked for stands."""


class ControllerDown(msgspec.Struct, frozen=True):
    """The connection ended, or Connect failed."""


class FromController(msgspec.Struct, frozen=True):
    message: ToAgent


class ShepherdUp(msgspec.Struct, frozen=True):
    """A shepherd connected and announced itself; `shepherd` is the shell's number for the connection, never used twice."""

    shepherd: int
    announce: Announce


class ShepherdSays(msgspec.Struct, frozen=True):
    shepherd: int
    message: FromShepherd


class ShepherdDown(msgspec.Struct, frozen=True):
    shepherd: int


class ForkFailed(msgspec.Struct, frozen=True):
    """One StartShepherd came to nothing."""

    error: str


class FoldersFound(msgspec.Struct, frozen=True):
    """At the start of the agent: the runs whose folders exist."""

    runs: tuple[RunKey, ...]


class Inspected(msgspec.Struct, frozen=True):
    """Answer to Inspect. `state`: "locked" (a shepherd is alive and owns it), "absent" (no folder: it never began) or "ended" (its record
    is durable: the shepherd wrote it, or it died and the shell wrote it after it had killed what was left)."""

    run: RunKey
    state: str
    record: ExitRecord | None = None
    ended_steps: tuple[tuple[int, ExitRecord], ...] = ()


class Tick(msgspec.Struct, frozen=True):
    """Time passes."""


Event = (
    ControllerUp | ControllerDown | FromController | ShepherdUp | ShepherdSays | ShepherdDown | ForkFailed | FoldersFound | Inspected | Tick
)


# --- commands ------------------------------------------------------------------------------------------------------------------


class Connect(msgspec.Struct, frozen=True):
    """Connect to the controller; answer with ControllerUp or ControllerDown."""


class CloseController(msgspec.Struct, frozen=True):
    """Close the connection; answer with ControllerDown."""


class SendController(msgspec.Struct, frozen=True):
    message: ToController


class SendShepherd(msgspec.Struct, frozen=True):
    shepherd: int
    message: ToShepherd


class StartShepherd(msgspec.Struct, frozen=True):
    """Ask the launcher for one shepherd: ShepherdUp will follow, or ForkFailed."""


class Inspect(msgspec.Struct, frozen=True):
    """Look at the run's folder and its lock; if the shepherd is dead without a durable record, kill what is left and write one."""

    run: RunKey


class Forget(msgspec.Struct, frozen=True):
    """Remove what is left on disk of an acknowledged run that no shepherd owns."""

    run: RunKey


class SaveEpoch(msgspec.Struct, frozen=True):
    """Keep the highest epoch seen, for the next agent on this node."""

    epoch: int


class ReportLoad(msgspec.Struct, frozen=True):
    """Measure the node's load and send NodeLoad."""


Command = Connect | CloseController | SendController | SendShepherd | StartShepherd | Inspect | Forget | SaveEpoch | ReportLoad
