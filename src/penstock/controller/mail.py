"""Mail through the MailProg convention: `MailProg -s SUBJECT USER`, no shell, nothing on standard input."""

from __future__ import annotations

import logging
import subprocess

MAX_ADDRESS = 1024
ADDRESS_LETTERS = "@._-+=%"
MAX_RUNNING = 64
"""Mail programs at once; a further mail is dropped with a warning."""

log = logging.getLogger("penstock.controller")
_running: list[subprocess.Popen[bytes]] = []


def is_address(user: str) -> bool:
    """Whether a mail program takes each of a comma list for a person: to some, what begins with `-` is an option, with `|` a command, with
    `+` a folder, and what holds a `/` a file; and this one runs with the controller's rights."""
    names = user.split(",")
    return len(user) <= MAX_ADDRESS and all(
        name[:1].isalnum() and all(letter.isalnum() or letter in ADDRESS_LETTERS for letter in name) for name in names
    )


def send_mail(program: str, user: str, subject: str) -> None:
    """Start the mail program; a missing one is a warning, never a failure of the job."""
    _running[:] = [process for process in _running if process.poll() is None]
    if len(_running) >= MAX_RUNNING:
        log.warning("mail to %s dropped: %d mail programs are running", user, MAX_RUNNING)
        return
    if not is_address(user):
        log.warning("mail user %r is not an address", user[:MAX_ADDRESS])
        return
    try:
        process = subprocess.Popen(
            [program, "-s", subject, user], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        log.warning("MailProg %s: %s", program, error.strerror)
    else:
        _running.append(process)
