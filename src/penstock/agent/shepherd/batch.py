"""The batch script of a run on this node: how it starts, what its status is, and the job's log.

A script is over when it was reaped or could not be started (`status` is set); a run without one (an allocation, or a node that is not the
job's first) is over from the beginning. What the script leaves behind is for the run to end.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from penstock.agent.shepherd import environment
from penstock.agent.shepherd.spawn import FILES_FAILED_EXIT, Failed, Launch, NotExecuted, failure_of, needs_child, spawn, spawn_shared
from penstock.wire.messages import FILES_FAILED

if TYPE_CHECKING:
    from penstock.agent.cgroups import RunGroups
    from penstock.agent.folder import Berth
    from penstock.agent.shepherd.protocol import Setup
    from penstock.agent.shepherd.spawn import Identity
    from penstock.wire.messages import Assign

NOT_STARTED_STATUS = 1 << 8


class BatchScript:
    def __init__(self, assign: Assign, identity: Identity, berth: Berth, groups: RunGroups) -> None:
        self.assign = assign
        self.pid = 0
        self.status: int | None = None if assign.batch else 0
        """As waitpid gives it; None while the script goes, or is still to start."""
        self._identity = identity
        self._berth = berth
        self._groups = groups
        self._failure = -1

    @property
    def going(self) -> bool:
        return bool(self.pid) and self.status is None

    @property
    def over(self) -> bool:
        """There was a script, and there is no more of it."""
        return self.assign.batch and self.status is not None

    def start(self, setup: Setup, login: dict[bytes, bytes] | None) -> str:
        """Start it; why it could not be, if so. A script that the kernel does not execute has its shell's status and no reason."""
        assign = self.assign
        variables = environment.for_batch(
            assign,
            node=setup.node,
            hostname=setup.hostname,
            cluster=setup.cluster,
            berth=self._berth.name,
            gpus=setup.gpus,
            login=login,
        )
        try:
            path = os.fsencode(self._berth.write_script(assign.script, assign.uid, assign.gid))
            launch = Launch(self._identity, [path, *map(os.fsencode, assign.argv)], variables)
            launch.cwd, launch.umask, launch.rlimits = assign.work_dir, assign.umask, assign.rlimits
            launch.files = (assign.stdin or os.devnull, assign.stdout or os.devnull, assign.stderr, assign.append)
            launch.enter, launch.leave = self._groups.enter, self._groups.leave
            if needs_child(launch):
                self.pid, self._failure = spawn(launch)
            else:
                self.pid = spawn_shared(launch)
        except NotExecuted as error:
            self.status = error.status << 8
        except Failed as error:
            self.status = FILES_FAILED
            return str(error)
        except OSError as error:
            self.status = NOT_STARTED_STATUS
            return f"the batch script could not be started: {error}"
        return ""

    def exited(self, wait_status: int) -> str:
        """It was reaped; why it was never executed, if so."""
        failure = failure_of(self._failure)
        if failure and os.waitstatus_to_exitcode(wait_status) == FILES_FAILED_EXIT:
            wait_status = FILES_FAILED
        self.status = wait_status
        return failure

    def log(self, line: str) -> None:
        """Append a line to the job's log, where there is one and it can be written."""
        name = self.assign.stderr or self.assign.stdout
        if not self.assign.batch or not name:
            return
        with contextlib.suppress(OSError):
            fd = self._identity.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                os.write(fd, f"{line}\n".encode(errors="surrogateescape"))
            finally:
                os.close(fd)
