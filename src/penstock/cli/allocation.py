"""The allocation of srun and salloc: asked for, waited for, given back.

The request is held by the controller until the job starts; its notices are said as they come. A signal while waiting gives the job up.
"""

from __future__ import annotations

import select

from penstock.cli import signal_pipe
from penstock.cli.held import HeldRequest
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ENDING_SIGNALS = (signal_pipe.HUP, signal_pipe.INT, signal_pipe.QUIT, signal_pipe.TERM)


class GivenUp(Exception):
    """A signal came while the job was pending (`job_id`, 0 if it has none yet)."""

    def __init__(self, job_id: int) -> None:
        super().__init__(f"job {job_id} was given up")
        self.job_id = job_id


class Allocation:
    """A granted job: `variables` are its SLURM_* ones; `request` still tells when it is revoked, if `stays` was asked for."""

    def __init__(self, text: str, request: HeldRequest | None = None) -> None:
        head, _, rest = text.partition("\n")
        job_id, self.nodelist, self.partition = head.split("\t")[:3]
        self.job_id = int(job_id)
        self.variables = {name: value for name, _, value in (item.partition("=") for item in rest.split("\0")) if name}
        self.request = request

    def release(self, wait_status: int) -> None:
        """Give it back; `wait_status` is how its command ended. A job that is over already is no error."""
        fields: dict[str, object] = {"op": "release", "id": lite.new_id(), "job_id": self.job_id, "status": wait_status}
        if self.request is not None:
            self.request.close()
        try:
            lite.request(fields)
        except lite.Refused:
            return


def allocate(
    fields: dict[str, object], environment: bytes, on_pending: Callable[[int], None], on_notice: Callable[[str], None], *, stays: bool
) -> Allocation:
    """Wait for the job. Raises Refused, Unreachable, GivenUp."""
    request = HeldRequest({"op": "allocate", "id": lite.new_id(), **fields}, [environment], stays=stays)
    signals = signal_pipe.SignalPipe(ENDING_SIGNALS)
    job_id = 0
    try:
        request.start()
        while True:
            poll = select.poll()
            poll.register(signals.fileno(), select.POLLIN)
            if request.fileno() >= 0:
                poll.register(request.fileno(), select.POLLIN)
            ready = [fd for fd, _ in poll.poll(None if request.retry_at_s is None else 50)]
            if signals.fileno() in ready and signals.take():
                _give_up(job_id)
                raise GivenUp(job_id)
            request.retry()
            for kind, text in request.read() if request.fileno() in ready else ():
                if kind == lite.FINAL:
                    return Allocation(text, request if stays else None)
                word, _, rest = text.partition("\t")
                if word == "pending" and rest.isdigit():
                    job_id = int(rest)
                    on_pending(job_id)
                elif kind == lite.NOTICE:
                    on_notice(text)
    except BaseException:
        request.close()
        raise
    finally:
        signals.close()


def _give_up(job_id: int) -> None:
    """The controller also sees that nobody waits any more; this is quicker, and says so even to a controller that just came back."""
    if job_id:
        try:
            lite.request({"op": "release", "id": lite.new_id(), "job_id": job_id, "status": 0}, retry_for_s=2.0)
        except (lite.Refused, lite.Unreachable):
            return
