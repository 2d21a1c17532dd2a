"""Generic resources and TRES: `--gres=gpu:a100:4,shard:2`, `--gpus=a100:4`, `Gres=gpu:a100:8`, `cpu=8,mem=64G,gres/gpu=4`.

Guarantees: counts are bounded, a name (with its type) stands once in a list, and a list never mixes a typed and an untyped request of one
name, which Slurm refuses because it cannot say what they mean together. Formatting and parsing are inverse.

A slice of a GPU (MIG) is a type of gpu, named as NVIDIA names its profiles: `gpu:1g.10gb:2`, `gpu:a100_3g.20gb:1`, `gpu:1g.10gb+me:1`.
"""

from __future__ import annotations

from penstock.spec.errors import SpecError
from penstock.spec.quantities import format_quantity, parse_memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_GRES = 64  # entries in one list
MAX_COUNT = 1 << 62  # units of one resource
MAX_NAME = 64  # characters of a name or type

_FACTORS = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
TRES_ORDER = ("cpu", "mem", "energy", "node", "billing", "fs/disk", "vmem", "pages")  # by Slurm's TRES id; the others follow


class Gres:
    """So many of a resource: name, type ("" = any) and count."""

    __slots__ = ("count", "name", "type")

    def __init__(self, name: str, type: str = "", count: int = 1) -> None:
        self.name = name
        self.type = type
        self.count = count

    @property
    def key(self) -> str:
        """`gpu` or `gpu:a100`."""
        return f"{self.name}:{self.type}" if self.type else self.name

    def __str__(self) -> str:
        return f"{self.key}:{self.count}"

    def __repr__(self) -> str:
        return f"Gres({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Gres) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse_gres(text: str, what: str = "--gres") -> list[Gres]:
    """`name[[:type]:count],...`; a missing count is 1, a count of 0 asks for nothing; `none` and the empty text are the empty list."""
    if text.strip().lower() in ("", "none"):
        return []
    return [item for item in _parse(text, what, "") if item.count]


def parse_gpus(text: str, what: str = "--gpus") -> list[Gres]:
    """`[type:]count,...` of --gpus and its siblings, as Gres named gpu; `0` asks for none."""
    return [item for item in _parse(text, what, "gpu") if item.count]


def parse_node_gres(text: str, what: str = "Gres") -> list[Gres]:
    """A node's `Gres=`: the grammar of a request; socket information such as `(S:0-1)` is dropped, because locality is measured."""
    bare = text
    while "(" in bare:
        head, _, rest = bare.partition("(")
        inside, mark, tail = rest.partition(")")
        if not mark or not inside.startswith("S:"):
            raise SpecError(f"invalid {what} {text[:64]!r}: brackets hold socket numbers, such as (S:0-1)")
        bare = head + tail
    return parse_gres(bare, what)


def format_gres(items: Iterable[Gres]) -> str:
    """`gpu:a100:4,shard:2`, the form of `Gres=`."""
    return ",".join(map(str, items))


def format_tres_per(items: Iterable[Gres]) -> str:
    """`gres/gpu:a100:4`, the form of TresPerNode and TresPerJob."""
    return ",".join(f"gres/{item}" for item in items)


def parse_tres(text: str) -> dict[str, int]:
    """`cpu=8,mem=64G,gres/gpu:a100=4` to counts; memory in MiB."""
    counts: dict[str, int] = {}
    for item in filter(None, text.split(",")):
        name, mark, value = item.partition("=")
        if not mark or not name or name in counts or len(counts) >= MAX_GRES:
            raise SpecError(f"invalid TRES {text[:64]!r}: expected name=count, each name once")
        if name in ("mem", "vmem"):
            # Shown amounts go up to P, which no option accepts.
            peta = value[-1:] == "P"
            counts[name] = parse_memory(f"{value[:-1]}T" if peta else value, "TRES memory") << (10 if peta else 0)
        else:
            counts[name] = _count(value, "TRES", text)
    return counts


def format_tres(counts: Mapping[str, int], *, by_name: bool = False, exact: bool = True) -> str:
    """`cpu=8,mem=64G,node=1,billing=8,gres/gpu=4` in the order of Slurm's TRES ids (scontrol); `by_name` sorts by name (sacct)."""
    names = sorted(counts) if by_name else sorted(counts, key=_tres_rank)
    return ",".join(
        f"{name}={format_quantity(counts[name], 'M', exact=exact) if name in ('mem', 'vmem') else counts[name]}" for name in names
    )


def gres_tres(items: Iterable[Gres]) -> dict[str, int]:
    """The TRES of a list: `gres/gpu` counts typed and untyped alike, `gres/gpu:a100` the typed ones besides."""
    counts: dict[str, int] = {}
    for item in items:
        counts[f"gres/{item.name}"] = counts.get(f"gres/{item.name}", 0) + item.count
        if item.type:
            counts[f"gres/{item.key}"] = counts.get(f"gres/{item.key}", 0) + item.count
    return counts


def mig_slices(kind: str) -> int:
    """Compute slices of a MIG profile: 3 of `3g.40gb`, of `a100_3g.20gb` and of `3g.40gb+me`, 1 of `1c.3g.40gb`; 0 for what is no profile.
    Grammar: the profile names of NVIDIA's MIG user guide, and the model's name that Slurm puts before them."""
    profile = kind.rpartition("_")[2]
    for mark in "+-":
        profile = profile.partition(mark)[0]
    parts = profile.split(".")
    numbers = [part.removesuffix(unit) for part, unit in zip(reversed(parts), ("gb", "g", "c"), strict=False)]
    if len(parts) not in (2, 3) or numbers == parts[::-1] or not all(number.isdecimal() for number in numbers):
        return 0
    return int(numbers[-1])


def _tres_rank(name: str) -> tuple[int, str]:
    return (TRES_ORDER.index(name), "") if name in TRES_ORDER else (len(TRES_ORDER), name)


def _parse(text: str, what: str, implied: str) -> list[Gres]:
    items: list[Gres] = []
    for piece in text.split(","):
        fields = [
            field.strip()
            for field in piece.strip()
            .removeprefix("gres/" if not implied else "")
            .removeprefix("gres:" if not implied else "")
            .replace("=", ":")
            .split(":")
        ]
        if implied:
            fields = [implied, *fields]
        if len(fields) > 3 or not all(map(_is_word, fields)):
            raise SpecError(
                f"invalid {what} {text[:64]!r}: expected {'[type:]count' if implied else 'name[[:type]:count]'}, separated by commas"
            )
        name, kind, count = fields[0], "", 1
        if len(fields) == 3:
            kind, count = fields[1], _count(fields[2], what, text)
        elif len(fields) == 2 and (fields[1].isdigit() or _as_count(fields[1]) is not None):
            count = _count(fields[1], what, text)
        elif len(fields) == 2:
            kind = fields[1]
        _check(items, Gres(name, kind, count), what, text)
    return items


def _check(items: list[Gres], new: Gres, what: str, text: str) -> None:
    for old in items:
        if old.key == new.key:
            raise SpecError(f"invalid {what} {text[:64]!r}: {new.key} stands there twice")
        if old.name == new.name and bool(old.type) != bool(new.type):
            raise SpecError(f"invalid {what} {text[:64]!r}: {new.name} with and without a type")
    if len(items) >= MAX_GRES:
        raise SpecError(f"invalid {what} {text[:64]!r}: more than {MAX_GRES} entries")
    items.append(new)


def _is_word(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isascii() and text[0].isalnum() and all(char.isalnum() or char in "_-.+" for char in text)


def _as_count(text: str) -> int | None:
    shift = _FACTORS.get(text[-1:].lower(), 0)
    digits = text[:-1] if shift else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return None
    value = int(digits) << shift
    return value if value <= MAX_COUNT else None


def _count(text: str, what: str, whole: str) -> int:
    value = _as_count(text)
    if value is None:
        raise SpecError(f"invalid {what} {whole[:64]!r}: {text[:32]!r} is no count from 0 to {MAX_COUNT} (suffixes k, m, g, t, p)")
    return value
