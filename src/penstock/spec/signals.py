"""Signals by name and number, and the `--signal=[R|B:]USR1@90` option.

Guarantees: names are Linux's, with or without SIG, in any case; a number is 1 to 64. Anything else is a SpecError.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

MAX_SIGNAL = 64
MAX_LEAD_S = 65_535
DEFAULT_LEAD_S = 60

NAMES = (
    *("", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM", "STKFLT"),
    *("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS"),
)
_ALIASES = {"IOT": 6, "CLD": 17, "POLL": 29}


class SignalOption:
    """What --signal asks for: which signal, how long before the end, and whom it is for."""

    __slots__ = ("batch_only", "for_reservation", "lead_s", "number")

    def __init__(self, number: int, lead_s: int, batch_only: bool, for_reservation: bool) -> None:
        self.number = number
        self.lead_s = lead_s
        self.batch_only = batch_only
        self.for_reservation = for_reservation

    def __str__(self) -> str:
        letters = ("R" if self.for_reservation else "") + ("B" if self.batch_only else "")
        return f"{letters}{':' if letters else ''}{self.number}@{self.lead_s}"


def parse_signal(text: str) -> int:
    """The number of `USR1`, `SIGUSR1`, `usr1` or `10`."""
    word = text.strip().upper()
    if word.isascii() and word.isdigit() and len(word) <= 3 and 1 <= int(word) <= MAX_SIGNAL:
        return int(word)
    bare = word.removeprefix("SIG")
    if bare in NAMES and bare:
        return NAMES.index(bare)
    if bare in _ALIASES:
        return _ALIASES[bare]
    raise SpecError(f"invalid signal {text[:32]!r}: expected a name such as USR1 or a number from 1 to {MAX_SIGNAL}")


def signal_name(number: int) -> str:
    """`TERM`; numbers without a name (real-time signals) stay numbers."""
    return NAMES[number] if 0 < number < len(NAMES) else str(number)


def parse_signal_option(text: str) -> SignalOption:
    """`[R|B:]signal[@seconds]`; both letters may stand there."""
    letters, colon, rest = text.rpartition(":")
    name, mark, lead = rest.partition("@")
    upper = letters.upper()
    if colon and (not upper or upper.strip("RB") or len(upper) > 2):
        raise SpecError(f"invalid --signal {text[:32]!r}: before the colon stands R, B or both")
    if mark and not (lead.isascii() and lead.isdigit() and len(lead) <= 6 and int(lead) <= MAX_LEAD_S):
        raise SpecError(f"invalid --signal {text[:32]!r}: after @ stand seconds, 0 to {MAX_LEAD_S}")
    return SignalOption(parse_signal(name), int(lead) if mark else DEFAULT_LEAD_S, "B" in upper, "R" in upper)
