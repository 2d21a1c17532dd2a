"""Job array indices: `--array=0-15:4,20%3`, kept as ranges so that a million elements cost as much as ten.

A set of indices is a tuple of `(first, last, step)`: disjoint, sorted by first, last on the step, step 1 for a single index. Such a tuple
is immutable, hashable and plain, so that it can be a field of State. Two ranges may interleave (`1-9:2,4`); operations keep the set exact.

Guarantees: count, contains, take and add cost O(ranges), also remove when it takes whole stretches; taking a stepped set out of a dense one
costs O(elements between them). At most MAX_RANGES ranges are accepted. All functions are pure.
"""

from __future__ import annotations

from itertools import compress

from penstock.spec.errors import SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int, int]
Ranges = tuple[Range, ...]

MAX_INDEX = 4_000_000  # Slurm's own ceiling for MaxArraySize is one more
MAX_NAMED = 8_000_000  # indices that overlapping ranges may name together, each as often as it is named
MAX_RANGES = 20_000  # separate ranges of one array when it is submitted
BITMAP_FROM = 1 << 16  # pairs of ranges from which a bitmap is cheaper than comparing them
STEP_FROM = 6  # indices from which a stepped set is shown as first-last:step
BITSTR_LEN = 64  # SLURM_BITSTR_LEN: characters of an index list that squeue shows

EMPTY: Ranges = ()


class ArraySpec:
    """What `--array` asks for: the indices, and how many may run at once (0: no limit)."""

    __slots__ = ("limit", "ranges")

    def __init__(self, ranges: Ranges, limit: int = 0) -> None:
        self.ranges = ranges
        self.limit = limit

    def __str__(self) -> str:
        return format_ranges(self.ranges, self.limit)


def parse_array(text: str, max_array_size: int = MAX_INDEX + 1) -> ArraySpec:
    """The `--array` text; the highest index allowed is max_array_size - 1."""
    body, mark, tail = text.strip().partition("%")
    limit = 0
    if mark:
        if not _is_number(tail) or int(tail) > MAX_INDEX + 1:
            raise SpecError(f"invalid job array {_short(text)}: after % stands how many may run at once, up to {MAX_INDEX + 1} (0: all)")
        limit = int(tail)
    if body[:1] == "[" and body[-1:] == "]":
        body = body[1:-1]
    return ArraySpec(parse_ranges(body, max_array_size), limit)


def parse_ranges(text: str, max_array_size: int = MAX_INDEX + 1) -> Ranges:
    """`1-3,7,10-20:5` to a set of indices below max_array_size; indices named twice count once."""
    found: list[Range] = []
    for piece in text.split(","):
        if not piece.strip():  # Slurm takes 1,,2 and 1,2,
            continue
        span, mark, step_text = piece.strip().partition(":")
        low_text, dash, high_text = span.partition("-")
        if not _is_number(low_text) or (dash and not _is_number(high_text)) or (mark and not (dash and _is_number(step_text))):
            raise SpecError(f"invalid job array {_short(text)}: {_short(piece)} is no index, first-last or first-last:step")
        low = int(low_text)
        high = int(high_text) if dash else low
        step = int(step_text) if mark else 1
        if high < low or step < 1:
            raise SpecError(f"invalid job array {_short(text)}: {_short(piece)} runs backwards or has a step below 1")
        if high >= max_array_size:
            raise SpecError(f"invalid job array {_short(text)}: index {high} is above {max_array_size - 1} (MaxArraySize={max_array_size})")
        found.append(_make(low, high, step))
        if len(found) > MAX_RANGES:
            raise SpecError(f"invalid job array {_short(text)}: more than {MAX_RANGES} ranges")
    if not found:
        raise SpecError(f"invalid job array {_short(text)}: no index")
    return _normal(found, text)


def from_indices(values: Iterable[int]) -> Ranges:
    """The ranges of any indices, found greedily: 1 2 3 7 9 11 is 1-3,7-11:2."""
    return tuple(_runs(sorted(set(values))))


def count(ranges: Ranges) -> int:
    total = 0
    for low, high, step in ranges:
        total += (high - low) // step + 1
    return total


def first(ranges: Ranges) -> int:
    """The lowest index, -1 when empty."""
    return ranges[0][0] if ranges else -1


def last(ranges: Ranges) -> int:
    """The highest index, -1 when empty."""
    return max((high for _, high, _ in ranges), default=-1)


def contains(ranges: Ranges, index: int) -> bool:
    return any(low <= index <= high and not (index - low) % step for low, high, step in ranges)


def indices(ranges: Ranges) -> Iterator[int]:
    """Every index, ascending."""
    if all(ranges[i][1] < ranges[i + 1][0] for i in range(len(ranges) - 1)):
        for low, high, step in ranges:
            yield from range(low, high + 1, step)
    else:
        yield from sorted(index for low, high, step in ranges for index in range(low, high + 1, step))


def take(ranges: Ranges, number: int) -> tuple[list[int], Ranges]:
    """The `number` lowest indices (fewer when there are fewer) and what is left."""
    left = list(ranges)
    taken: list[int] = []
    while left and len(taken) < number:
        low, high, step = left.pop(0)
        bound = left[0][0] if left else high + 1  # up to here this range holds the lowest ones
        stop = min(high + 1, max(bound, low + 1), low + (number - len(taken)) * step)
        taken += range(low, stop, step)
        low = taken[-1] + step
        if low <= high:
            _insert(left, _make(low, high, step))
    return taken, tuple(left)


def remove(ranges: Ranges, gone: Ranges) -> Ranges:
    """The set without `gone`; indices that are not in it are no error."""
    if len(ranges) * len(gone) > BITMAP_FROM:
        bits = _bitmap(ranges)
        for low, high, step in gone:
            high = min(high, len(bits) - 1)
            if low <= high:
                bits[low : high + 1 : step] = bytes((high - low) // step + 1)
        return tuple(_runs(list(compress(range(len(bits)), bits))))
    left = list(ranges)
    for low, high, step in gone:
        kept: list[Range] = []
        for have in left:
            if have[1] < low or have[0] > high:
                kept.append(have)
            else:
                kept += _minus(have, (low, high, step))
        left = kept
    return tuple(sorted(left))


def keep(ranges: Ranges, wanted: Ranges) -> Ranges:
    """What both sets hold."""
    if len(wanted) == 1 and wanted[0][0] == wanted[0][1]:
        return wanted if contains(ranges, wanted[0][0]) else ()
    return remove(ranges, remove(ranges, wanted))


def union(sets: Iterable[Ranges]) -> Ranges:
    """What any of the sets holds, of which no two have an index in common."""
    return _normal([piece for ranges in sets for piece in ranges], "")


def add(ranges: Ranges, index: int) -> Ranges:
    """The set with one index more; it joins a neighbouring range of step 1."""
    if contains(ranges, index):
        return ranges
    low = high = index
    others: list[Range] = []
    for have in ranges:
        if have[2] == 1 and have[1] == index - 1:
            low = have[0]
        elif have[2] == 1 and have[0] == index + 1:
            high = have[1]
        else:
            others.append(have)
    others.append((low, high, 1))
    return tuple(sorted(others))


def format_ranges(ranges: Ranges, limit: int = 0, max_length: int = 0) -> str:
    """`3-5,7%2` as Slurm shows it: a step only where the whole set is one (of STEP_FROM indices over more than ten), else a list of runs.

    `max_length` above 0 is SLURM_BITSTR_LEN, the size of Slurm's buffer: a list that would come within two characters of its end is cut and
    ends with `...`. The limit is never cut.
    """
    text = _whole_step(ranges)
    if not text:
        pieces: list[str] = []
        length = 0
        for low, high in _steps_of_one(ranges):
            pieces.append(str(low) if low == high else f"{low}-{high}")
            length += len(pieces[-1]) + 1
            if 0 < max_length < length:
                break
        text = ",".join(pieces)
    if max_length and len(text) > max(max_length - 3, 0):
        text = text[: max(max_length - 4, 0)] + "..."[: max(max_length - 1, 0)]
    return f"{text}%{limit}" if limit else text


def bitstr_length(value: str | None) -> int:
    """The length that SLURM_BITSTR_LEN asks for: 64 when it is not set; 0, or what is no number, means no cut."""
    if value is None:
        return BITSTR_LEN
    return int(value) if _is_number(value) else 0


def _whole_step(ranges: Ranges) -> str:
    if not ranges or last(ranges) - first(ranges) <= 10 or not count(ranges) >= STEP_FROM:
        return ""
    if len(ranges) > 1:
        if count(ranges) > 1000:  # several ranges of that size that make one step are not worth the search
            return ""
        ranges = from_indices(indices(ranges))
    low, high, step = ranges[0]
    return f"{low}-{high}:{step}" if step > 1 and len(ranges) == 1 else ""


def _steps_of_one(ranges: Ranges) -> Iterator[tuple[int, int]]:
    """The set as runs of neighbouring indices, lazily, so that a cut list costs what it shows."""
    if all(step == 1 for _, _, step in ranges):
        low, high = -2, -2
        for begin, end, _ in ranges:
            if begin == high + 1:
                high = end
                continue
            if low >= 0:
                yield low, high
            low, high = begin, end
        if low >= 0:
            yield low, high
        return
    low = high = -2
    for index in indices(ranges):
        if index == high + 1:
            high = index
            continue
        if low >= 0:
            yield low, high
        low = high = index
    if low >= 0:
        yield low, high


def _make(low: int, high: int, step: int) -> Range:
    high -= (high - low) % step
    return (low, high, step) if high > low else (low, low, 1)


def _insert(left: list[Range], new: Range) -> None:
    index = 0
    while index < len(left) and left[index] < new:
        index += 1
    left.insert(index, new)


def _normal(found: list[Range], text: str) -> Ranges:
    """Sorted and disjoint: neighbouring runs of step 1 are merged, overlapping stepped ranges are taken apart through a bitmap."""
    found.sort()
    merged: list[Range] = []
    clash = False
    for new in found:
        if merged and new[0] <= merged[-1][1] + 1 and new[2] == merged[-1][2] == 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], new[1]), 1)
            continue
        clash = clash or bool(merged and new[0] <= merged[-1][1])
        merged.append(new)
    if not clash:
        return tuple(merged)
    if count(tuple(merged)) > MAX_NAMED:
        raise SpecError(f"invalid job array {_short(text)}: its ranges overlap and name more than {MAX_NAMED} indices together")
    bits = _bitmap(tuple(merged))
    runs = _runs(list(compress(range(len(bits)), bits)), MAX_RANGES)
    if len(runs) > MAX_RANGES:
        raise SpecError(f"invalid job array {_short(text)}: more than {MAX_RANGES} separate ranges")
    return tuple(runs)


def _bitmap(ranges: Ranges) -> bytearray:
    bits = bytearray(last(ranges) + 1)
    for low, high, step in ranges:
        bits[low : high + 1 : step] = b"\1" * ((high - low) // step + 1)
    return bits


def _runs(values: list[int], maximum: int = MAX_INDEX + 1) -> list[Range]:
    """The runs of ascending values; it stops one above the maximum."""
    runs: list[Range] = []
    index = 0
    while index < len(values) and len(runs) <= maximum:
        low = values[index]
        end = index + 1
        step = values[end] - low if end < len(values) else 1
        while end < len(values) and values[end] - values[end - 1] == step:
            end += 1
        if end - index == 2 and step > 1:  # two far indices are no step
            end -= 1
        runs.append(_make(low, values[end - 1], step))
        index = end
    return runs


def _minus(have: Range, gone: Range) -> list[Range]:
    """One range without another: pieces in front, behind, and between what is hit."""
    low, high, step = have
    cut_low, cut_high, cut_step = gone
    if cut_high < low or cut_low > high:
        return [have]
    if cut_step == 1 or step % cut_step == 0:  # hits all of a stretch, or nothing
        if cut_step > 1 and (low - cut_low) % cut_step:
            return [have]
        start = max(cut_low, low)
        start += (low - start) % step
        stop = min(cut_high, high)
        stop -= (stop - low) % step
        if start > stop:
            return [have]
        pieces = []
        if start > low:
            pieces.append(_make(low, start - step, step))
        if stop < high:
            pieces.append(_make(stop + step, high, step))
        return pieces
    window_low = low + max(0, -(-(cut_low - low) // step)) * step  # only the stretch both span is taken apart
    window_high = min(cut_high, high)
    rest = [index for index in range(window_low, window_high + 1, step) if (index - cut_low) % cut_step]
    stop = low + ((window_high - low) // step + 1) * step
    front = [_make(low, window_low - step, step)] if window_low > low else []
    behind = [_make(stop, high, step)] if stop <= high else []
    return front + _runs(rest) + behind


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


def _short(text: str) -> str:
    return repr(text) if len(text) <= 64 else repr(text[:61] + "...")
