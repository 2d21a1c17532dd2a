"""The login environment of a run that asked for it: the user's profile is read by a shell before the script starts.

Guarantees: it ends. The profile has LOGIN_TIMEOUT_S, its output MAX_LOGIN_BYTES (both of `environment`); what it started and left is not
killed here, and a profile that fails or is too slow gives the bare variables of the user.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from penstock.agent import processes
from penstock.agent.shepherd import environment
from penstock.agent.shepherd.limits import boot_ms
from penstock.agent.shepherd.spawn import Launch, failure_of, spawn

if TYPE_CHECKING:
    from penstock.agent.shepherd.spawn import Identity

READ_BYTES = 1 << 16


class Login:
    """A shell that reads the profile, from `start` (OSError if there can be none) to `result`, which is asked for once."""

    def __init__(self, identity: Identity, berth_name: str) -> None:
        self.pid = 0
        self.pipe = -1
        """To be polled for input while it is not negative."""
        self.until_ms: int | None = None
        self._identity = identity
        self._berth_name = berth_name
        self._failure = -1
        self._output = bytearray()

    @property
    def over(self) -> bool:
        """Nothing more will come, and its process was reaped."""
        return self.pipe < 0 and not self.pid

    def start(self) -> None:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        base = environment.login_base(self._identity.uid)
        launch = Launch(self._identity, environment.login_argv(), base)
        base[processes.BERTH_VARIABLE.encode()] = os.fsencode(self._berth_name)
        launch.cwd = os.fsdecode(base[b"HOME"])
        launch.fds = (null, writer, null)
        try:
            os.set_blocking(writer, True)
            self.pid, self._failure = spawn(launch)
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(null)
        self.pipe = reader
        self.until_ms = boot_ms() + environment.LOGIN_TIMEOUT_S * 1000

    def read(self) -> bool:
        """The pipe is readable; True at its end."""
        data = os.read(self.pipe, READ_BYTES)
        if len(self._output) < environment.MAX_LOGIN_BYTES:
            self._output += data
        return not data

    def exited(self) -> None:
        failure_of(self._failure)
        self.pid = 0

    def result(self) -> dict[bytes, bytes]:
        """What the profile gave, at the pipe's end or when its time is over."""
        os.close(self.pipe)
        self.pipe = -1
        self.until_ms = None
        found = environment.parse_login(bytes(self._output))
        self._output.clear()
        return found if found is not None else environment.login_base(self._identity.uid)
