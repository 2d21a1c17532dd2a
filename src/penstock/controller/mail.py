"""Mail through the MailProg convention: `MailProg -s SUBJECT USER`, no shell, nothing on standard input."""

from __future__ import annotations

import logging
import subprocess

MAX_RUNNING = 64
"""Mail programs at once; a further mail is dropped with a warning."""

log = logging.getLogger("penstock.controller")
_running: list[subprocess.Popen[bytes]] = []


def send_mail(program: str, user: str, subject: str) -> None:
    """Start the mail program; a missing one is a warning, never a failure of the job."""
    _running[:] = [process for process in _running if process.poll() is None]
    if len(_running) >= MAX_RUNNING:
        log.warning("mail to %s dropped: %d mail programs are running", user, MAX_RUNNING)
        return
    if user.startswith("-"):
        log.warning("mail user %r is not an address", user)
        return
    try:
        process = subprocess.Popen(
            [program, "-s", subject, user], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        log.warning("MailProg %s: %s", program, error.strerror)
    else:
        _running.append(process)
