"""Whom the mail program is called for: it runs with the controller's rights."""

import pytest

from penstock.controller.mail import is_address, send_mail

LONG = "x" * 2000


@pytest.mark.parametrize("user", ["alice", "alice@example.org", "a.b+c@example.org,bob", "4711", "jörg@example.org"])
def test_people_are_addresses(user):
    assert is_address(user)


@pytest.mark.parametrize(
    "user", ["", "-f", "|id", "/etc/passwd", "+folder", "a,|id", "a b", "a;id", "a\nb", "$HOME", "a,", "x/../y", "x" * 2000]
)
def test_commands_files_and_options_are_none(user):
    assert not is_address(user)


def test_no_program_is_started_for_what_is_no_address(tmp_path):
    program = tmp_path / "mail"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    send_mail(str(program), "|id", "subject")
    assert not (tmp_path / "started").exists()
