"""--topology: within which level of a topology a job's nodes must lie, or had better.

    rack              required: all nodes in one rack, however long the job waits for that
    prefer:rack@10:00 preferred: it waits so long for one rack, then takes the narrowest domain that has room; without a time the wait is
                      max_switch_wait, as for --switches

Slurm has no such option. Kueue's `podset-required-topology` and `podset-preferred-topology` and KAI-Scheduler's placement constraints mean
the same, but their preference is settled the moment it is looked at; the wait is that of Slurm's --switches. Names of levels:
`spec.topology`. Which of them exist is the controller's to know.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PREFER = "prefer:"
NO_END = -1
"""As the seconds of a wait: the level is required."""
WAIT_MAX_S = 2**31 - 1
"""68 years, which is also what UNLIMITED waits."""


def parse_level(text: str) -> tuple[str, int | None]:
    """(level, seconds to wait for it: NO_END where it is required, None where the configuration decides)."""
    name = text
    seconds: int | None = NO_END
    if text.startswith(PREFER):
        from penstock.spec.times import parse_duration

        name, at, time = text[len(PREFER) :].partition("@")
        asked_s = parse_duration(time, "--topology") if at else None
        seconds = None if not at else WAIT_MAX_S if asked_s is None else min(asked_s, WAIT_MAX_S)
    if not name or any(char in name for char in ":@, "):
        raise SpecError(f"invalid --topology {text[:64]!r}: expected LEVEL or prefer:LEVEL[@TIME]")
    return name, seconds


def format_level(name: str, wait_s: int) -> str:
    """As `parse_level` reads it."""
    from penstock.spec.times import format_duration

    return name if wait_s == NO_END else f"{PREFER}{name}@{format_duration(wait_s)}"


def nearness(names: Sequence[str], asked: int, most: int, impossible: bool, scarce: str = "") -> str:
    """What a topology is short of, in words. `names`: the level, the domain that comes closest, what it has too little of (nodes where that
    is missing); without `asked` a level that is not there, and those that are. `scarce`: what nodes have too little of."""
    if not names:
        return f"{asked} nodes near each other needed, {most or 'none'} {'exist' if impossible else 'would be left'} there"
    level, *others = names
    if not asked:
        return f"there is no topology level {level}" + (f": the levels are {', '.join(others)}" if others else "")
    domain, what = (*others, "", "")[:2]
    if not domain and not most:
        return f"the nodes it names do not lie in one {level}"
    there = "" if impossible else " free"
    if what == "tasks":
        much = f"room for {asked} tasks"
    elif what:
        much = f"{asked} {what}{there}"
    else:
        much = f"{asked} nodes with enough {scarce}{there}" if scarce else f"{asked}{there} nodes"
    return f"no {level} has {much}; the best{f', {domain},' if domain else ''} has {most}"
