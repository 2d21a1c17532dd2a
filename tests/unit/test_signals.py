"""Signal names and the --signal option."""

import signal

import pytest

from penstock.spec import signals
from penstock.spec.errors import SpecError


def test_names_are_those_of_the_system():
    for number in range(1, 32):
        assert signals.parse_signal(signals.signal_name(number)) == number
        if number != 16:  # STKFLT is not in every C library's list
            assert getattr(signal, f"SIG{signals.signal_name(number)}") == number


def test_forms():
    assert signals.parse_signal("sigterm") == signals.parse_signal("15") == signals.parse_signal("TERM") == 15
    assert signals.signal_name(40) == "40"


@pytest.mark.parametrize("text", ["", "0", "65", "FOO", "SIG", "-9", "9.0", "²"])
def test_refuses_unknown_signals(text):
    with pytest.raises(SpecError):
        signals.parse_signal(text)


@pytest.mark.parametrize(("text", "shown"), [("USR1", "10@60"), ("B:USR2@90", "B:12@90"), ("R:10@0", "R:10@0"), ("rb:TERM@5", "RB:15@5")])
def test_signal_option(text, shown):
    assert str(signals.parse_signal_option(text)) == shown


@pytest.mark.parametrize("text", ["", ":USR1", "X:USR1", "USR1@", "USR1@65536", "USR1@-1", "B:", "RBR:USR1", "@5"])
def test_refuses_signal_options(text):
    with pytest.raises(SpecError):
        signals.parse_signal_option(text)
