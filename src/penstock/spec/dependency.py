"""Job dependencies: `--dependency=afterok:12:13,singleton` or `afterok:12?afternotok:13`.

`,` asks for all, `?` for any, never both. Kinds: after[:id[+minutes]], afterany, afterok, afternotok, aftercorr, singleton; a bare id is
afterany. A list of ids behind one kind is as many dependencies, each with its own state, which is how Slurm shows them.

Guarantees: a parsed dependency formats back to an equal one; at most MAX_DEPENDENCIES stand in one text; anything else is a SpecError.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError
from penstock.spec.jobids import MAX_JOB_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

MAX_DEPENDENCIES = 10_000
MAX_DELAY_MIN = 366 * 24 * 60  # of after:id+minutes

KINDS = ("after", "afterany", "afterok", "afternotok", "aftercorr", "singleton")
UNFULFILLED, FULFILLED, FAILED = "unfulfilled", "fulfilled", "failed"  # fulfilled ones leave the list that is shown


class Target:
    """A job that is waited for, one task of an array (None: the job as a whole), and for `after` a delay in minutes."""

    __slots__ = ("job_id", "minutes", "task_id")

    def __init__(self, job_id: int, task_id: int | None = None, minutes: int = 0) -> None:
        self.job_id = job_id
        self.task_id = task_id
        self.minutes = minutes

    def __str__(self) -> str:
        task = "" if self.task_id is None else f"_{self.task_id}"
        return f"{self.job_id}{task}+{self.minutes}" if self.minutes else f"{self.job_id}{task}"


class Condition:
    """One dependency: its kind and its target in a tuple, which is empty for singleton. `parse` makes one condition a target."""

    __slots__ = ("kind", "targets")

    def __init__(self, kind: str, targets: tuple[Target, ...] = ()) -> None:
        self.kind = kind
        self.targets = targets

    def parents(self) -> tuple[int, ...]:
        return tuple([target.job_id for target in self.targets])

    def __str__(self) -> str:
        return ":".join([self.kind, *map(str, self.targets)])

    def __repr__(self) -> str:
        return f"Condition({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class Dependency:
    """All (`any_of` False) or any of the conditions, in the order given, repeated ones once."""

    __slots__ = ("any_of", "conditions")

    def __init__(self, conditions: Iterable[Condition], any_of: bool = False) -> None:
        self.conditions = tuple(conditions)
        self.any_of = any_of

    def __str__(self) -> str:
        return ("?" if self.any_of else ",").join(map(str, self.conditions))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dependency) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        return bool(self.conditions)


def parse(text: str) -> Dependency:
    """The empty text, `none` and `(null)` (what scontrol update and show use) are no dependency."""
    stripped = text.strip()
    if stripped.lower() in ("", "none", "(null)"):
        return Dependency(())
    if "," in stripped and "?" in stripped:
        raise SpecError(f"invalid dependency {_short(text)}: ',' (all) and '?' (any) cannot be mixed")
    any_of = "?" in stripped
    conditions: dict[Condition, None] = {}
    for piece in stripped.split("?" if any_of else ","):
        conditions.update(dict.fromkeys(_parse_piece(piece.strip(), text)))
        if len(conditions) > MAX_DEPENDENCIES:
            raise SpecError(f"dependency of more than {MAX_DEPENDENCIES} jobs")
    return Dependency(conditions, any_of)


def format_dependency(dependency: Dependency) -> str:
    """The text that `parse` reads back; one kind:id a condition."""
    return str(dependency)


def parent_ids(text: str) -> tuple[int, ...]:
    """Every job that the text names, once each, in order."""
    return tuple(dict.fromkeys(parent for condition in parse(text).conditions for parent in condition.parents()))


def format_shown(dependency: Dependency, states: Sequence[str] = (), arrays: Container[int] = ()) -> str:
    """As Slurm shows what a job waits for: `afterok:12(unfulfilled),afterany:13_*(failed)`.

    `states` holds a word a condition (UNFULFILLED where it is shorter); conditions that are FULFILLED are left out. `arrays` are the ids
    that name an array as a whole.
    """
    shown: list[str] = []
    for index, condition in enumerate(dependency.conditions):
        state = states[index] if index < len(states) else UNFULFILLED
        if state == FULFILLED:
            continue
        if not condition.targets:
            shown.append(f"{condition.kind}({state})")
        for target in condition.targets:
            task = f"_{target.task_id}" if target.task_id is not None else "_*" if target.job_id in arrays else ""
            delay = f"+{target.minutes}" if target.minutes else ""
            shown.append(f"{condition.kind}:{target.job_id}{task}{delay}({state})")
    return ("?" if dependency.any_of else ",").join(shown)


def _parse_piece(piece: str, text: str) -> list[Condition]:
    kind, mark, rest = piece.partition(":")
    kind = kind.lower()
    if kind == "singleton":
        if mark:
            raise SpecError(f"invalid dependency {_short(text)}: singleton names no job")
        return [Condition("singleton")]
    if kind[:1].isdigit():
        kind, rest = "afterany", piece
    elif kind not in KINDS:
        if kind in ("afterburstbuffer", "expand"):
            raise SpecError(f"invalid dependency {_short(text)}: {kind} is not supported")
        raise SpecError(f"invalid dependency {_short(text)}: {kind[:32]!r} is none of {', '.join(KINDS)}")
    elif not rest:
        raise SpecError(f"invalid dependency {_short(text)}: {kind} names no job")
    if len(rest) > MAX_DEPENDENCIES * 20:
        raise SpecError(f"dependency of more than {MAX_DEPENDENCIES} jobs")
    return [_parse_id(kind, item.strip(), text) for item in rest.split(":")]


def _parse_id(kind: str, item: str, text: str) -> Condition:
    body, plus, delay = item.partition("+")
    job, mark, task = body.partition("_")
    if plus and (kind != "after" or not _is_number(delay) or int(delay) > MAX_DELAY_MIN):
        raise SpecError(f"invalid dependency {_short(text)}: only after takes +minutes, 0 to {MAX_DELAY_MIN}")
    if not _is_number(job) or not 0 < int(job) <= MAX_JOB_ID or (mark and task != "*" and not _is_number(task)):
        raise SpecError(f"invalid dependency {_short(text)}: {_short(item)} is no job id such as 123 or 123_4")
    return Condition(kind, (Target(int(job), int(task) if mark and task != "*" else None, int(delay) if plus else 0),))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _short(text: str) -> str:
    return repr(text) if len(text) <= 64 else repr(text[:61] + "...")
