"""Memory sizes, counts and node counts as Slurm writes and reads them.

Memory is whole MiB inside. Reading: a number with K, M, G or T and an optional B, MB where there is no letter; K is rounded up. Writing
follows Slurm's unit conversion: *exact* climbs only where nothing is lost (16384 is `16G`, 16000 is `16000M`), otherwise two decimals
(2560 is `2.50G`). Counts take k = 1024 and m = 1048576.

Guarantees: every parser returns a bounded int or raises SpecError naming the text and the range.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

MAX_DIGITS = 18  # longer numbers are refused before conversion
MAX_MEMORY_MIB = 1 << 40  # 1 EiB on one node or CPU
MAX_COUNT = 0x7FFF_FFFF  # tasks, CPUs, GRES
MAX_NODES = 1 << 24

UNITS = "\0KMGTP"  # the index is the power of 1024; \0 stands for no letter


def parse_int(text: str, what: str, low: int = 0, high: int = MAX_COUNT) -> int:
    """A plain decimal number in low..high; `what` names it in the error (`--ntasks`)."""
    text = text.strip()
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not _is_number(digits):
        raise SpecError(f"invalid {what} {text[:64]!r}: expected a whole number from {low} to {high}")
    value = int(text)
    if not low <= value <= high:
        raise SpecError(f"invalid {what} {text!r}: expected {low} to {high}")
    return value


def parse_flag(text: str, what: str) -> bool:
    """`yes` and `no` in any case, as far as they are written, and numbers: 0 is no (as scontrol takes them)."""
    word = text.strip().lower()
    if word and "yes".startswith(word):
        return True
    if word and "no".startswith(word):
        return False
    if not _is_number(word):
        raise SpecError(f"invalid {what} {text[:64]!r}: expected yes or no")
    return int(word) > 0


def parse_memory(text: str, what: str = "memory size") -> int:
    """MiB. 0 is allowed and means whatever the option says (all memory of the node for --mem)."""
    stripped = text.strip()
    digits = stripped.rstrip("kKmMgGtTbB")
    suffix = stripped[len(digits) :].upper()
    if not _is_number(digits) or suffix not in ("", "K", "M", "G", "T", "KB", "MB", "GB", "TB"):
        raise SpecError(f"invalid {what} {text[:64]!r}: expected a number with K, M, G or T, such as 16G")
    value = int(digits)
    letter = suffix[:1]
    if letter == "K":
        value = -(-value // 1024)
    elif letter == "G":
        value <<= 10
    elif letter == "T":
        value <<= 20
    if value > MAX_MEMORY_MIB:
        raise SpecError(f"invalid {what} {text[:64]!r}: more than {MAX_MEMORY_MIB >> 40} EiB")
    return value


def parse_count(text: str, what: str = "count", low: int = 0, high: int = MAX_COUNT) -> int:
    """A number with an optional k (1024) or m (1048576)."""
    stripped = text.strip()
    letter = stripped[-1:].lower()
    digits = stripped[:-1] if letter in ("k", "m") else stripped
    if not _is_number(digits):
        raise SpecError(f"invalid {what} {text[:64]!r}: expected a number, k and m allowed")
    value = int(digits) << {"k": 10, "m": 20}.get(letter, 0)
    if not low <= value <= high:
        raise SpecError(f"invalid {what} {text!r}: expected {low} to {high}")
    return value


def parse_node_count(text: str) -> tuple[int, int]:
    """`min[-max]` of --nodes; without a maximum both are equal."""
    first, dash, last = text.partition("-")
    low = parse_count(first, "node count", 1, MAX_NODES)
    if not dash:
        return low, low
    high = parse_count(last, "node count", 1, MAX_NODES)
    if high < low:
        raise SpecError(f"invalid node count {text!r}: the maximum is below the minimum")
    return low, high


def format_quantity(value: float, unit: str = "M", *, exact: bool = True, to: str = "") -> str:
    """A value counted in `unit` ("" bytes or plain, K, M, G, T) in Slurm's display form.

    `to` forces a unit (sacct --units); otherwise the unit climbs while the value is at least 1024, and when `exact` only without loss.
    """
    if not value:
        return "0"
    power = UNITS.index(unit or "\0")
    number: float = value
    if to:
        target = UNITS.index(to)
        number = number * 1024.0 ** (power - target)
        power = target
    else:
        while number >= 1024 and power < len(UNITS) - 1 and (not exact or not int(number) % 1024):
            number = number / 1024
            power += 1
    letter = UNITS[power] if power else ""
    whole = int(number)
    return f"{whole}{letter}" if whole == number else f"{number:.2f}{letter}"


def format_memory(mib: int, *, exact: bool = True) -> str:
    """16384 is `16G`, 300 is `300M`, 0 is `0`; not exact: 2560 is `2.50G`."""
    return format_quantity(mib, "M", exact=exact)


def format_node_count(low: int, high: int) -> str:
    return str(low) if low == high or not high else f"{low}-{high}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS
