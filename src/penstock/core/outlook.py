"""What would happen to a job that is not in the queue: the answer of ``sbatch --test-only``.

As Slurm's, the answer looks at running jobs and their time limits and not at those that wait: it is when the job could start if it
were first. Nothing is promised by it.
"""

from __future__ import annotations

from penstock.core.backfill import Backfill
from penstock.core.plan import Reason, Reservation
from penstock.core.view import Batch, View

HYPOTHETICAL = 0
"""The job id in an outlook."""


def outlook(view: View, batch: Batch) -> Reservation | Reason:
    """Where and when (``start_s`` is now at the earliest) a job of this batch could start, or why it cannot."""
    return Backfill(view, reservations=1).would(batch, HYPOTHETICAL)
