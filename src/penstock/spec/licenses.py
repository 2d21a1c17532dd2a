"""Licences: `fluent:4,matlab` (in slurm.conf all there are, in `--licenses` what a job holds) and `a:2|b:2` (a job holds one of them).

A name without a count is one licence; counts of one name add up, a count of 0 asks for nothing. `,` and `;` join what is needed together,
`|` joins choices, not both in one text. `name@server` is a name like any other.

Guarantees: anything else is a SpecError; at most MAX_LICENSES names. Facts: sbatch.1, slurm.conf.5, a real Slurm 22.05.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

MAX_LICENSES = 256
MAX_COUNT = 2**31 - 3
SPECIAL = frozenset("*=|,;: \t\n\"'()[]")


def parse(text: str, what: str = "--licenses") -> tuple[tuple[tuple[str, int], ...], bool]:
    """((name, count), ...) sorted by name, and whether one of them is enough."""
    any_of = "|" in text
    if any_of and ("," in text or ";" in text):
        raise SpecError(f"{what}={text[:64]}: either , or | joins all of it")
    counts: dict[str, int] = {}
    for item in text.replace(";", ",").replace("|", ",").split(","):
        if not item and not any_of:
            continue
        name, colon, digits = item.partition(":")
        if not name or set(name) & SPECIAL:
            raise SpecError(f"{what}={text[:64]}: {item[:64]!r} is not NAME or NAME:COUNT")
        if colon and not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_COUNT)) and int(digits) <= MAX_COUNT):
            raise SpecError(f"{what}={text[:64]}: the count of {name[:64]} is 0 to {MAX_COUNT}")
        if any_of and name in counts:
            raise SpecError(f"{what}={text[:64]}: {name[:64]} is there twice")
        count = counts.get(name, 0) + (int(digits) if colon else 1)
        if count > MAX_COUNT:
            raise SpecError(f"{what}={text[:64]}: the count of {name[:64]} is 0 to {MAX_COUNT}")
        counts[name] = count
    if len(counts) > MAX_LICENSES:
        raise SpecError(f"{what}: {len(counts)} licences, {MAX_LICENSES} are allowed")
    asked = tuple(sorted([(name, count) for name, count in counts.items() if count]))
    return ((), False) if any_of and len(asked) < len(counts) else (asked, any_of)
