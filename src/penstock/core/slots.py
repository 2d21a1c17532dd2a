"""Shared GPUs: a row of the resource matrix for each device of a node, in shares.

A GPU that jobs may share is no unit of a pool but a *slot*: ``gpu:a100#03`` is the row of a node's fourth device, its amount the
device's shares. Additive arithmetic (holdings, profile, columns) then stays exact for each device without knowing of slots. A part
of a GPU (``shard:N`` in the language of Slurm) fits where one slot has N shares free: the shares of a job on a node come from one
device, which is Slurm's default. A whole GPU is a slot of which nothing is taken, and takes all of it: so a device is never given
whole and in parts at once. Nodes without shared GPUs keep plain pools, and clusters without any pay nothing.

``rows`` are always rows of the resource matrix, ascending; ``room`` and ``total`` are int64[resources, N] for the same nodes.
"""

from __future__ import annotations

import numpy as np

from penstock.core.view import FIRST_POOL, Bool, Int64
from penstock.spec.gres import mig_slices

PARTS_OF = {"shard": "gpu"}
"""GRES name that asks for a part of a device, and the name of the device."""
MARK = "#"
SLICES = 7
"""Compute slices that a GPU is cut into at the most (NVIDIA's MIG user guide)."""
MAX_SLOTS = 100
"""Shared devices of one type on a node; two digits keep the keys in the order of the devices."""
NO_SLOT = 1 << 40


def slot_key(pool: str, index: int) -> str:
    """The key of a node's device number ``index`` of ``pool``."""
    if not 0 <= index < MAX_SLOTS:
        raise ValueError(f"{pool}: device {index}: allowed are 0 to {MAX_SLOTS - 1}")
    return f"{pool}{MARK}{index:02d}"


def split_slot(key: str) -> tuple[str, int]:
    """``("gpu:a100", 3)`` of ``gpu:a100#03``; -1 where the key is a plain pool."""
    pool, mark, index = key.partition(MARK)
    return (pool, int(index)) if mark else (key, -1)


def gres_names(pool: str) -> list[str]:
    """Names by which the devices of a pool can be asked for: ``gpu``, and ``shard`` where they are shared."""
    name = pool.partition(MARK)[0].partition(":")[0]
    return [name, *(part for part, whole in PARTS_OF.items() if whole == name and MARK in pool)]


def sevenths(pool: str) -> int:
    """What a device of the pool is worth beside a whole one, which counts SLICES: a MIG slice counts its compute slices. GPUs that are cut
    into four count as if into seven: that only matters where such slices are compared with whole GPUs."""
    return min(mig_slices(split_slot(pool)[0].partition(":")[2]) or SLICES, SLICES)


def slot_rows(pools: tuple[str, ...], key: str) -> tuple[int, ...]:
    """Rows of the devices that can meet ``key``: ``gpu`` and ``shard`` by all, ``gpu:a100`` and ``shard:a100`` by those of the type."""
    name, colon, kind = key.partition(":")
    wanted = PARTS_OF.get(name, name) + colon + kind
    rows = []
    for at, own in enumerate(pools):
        pool, index = split_slot(own)
        if index >= 0 and (pool == wanted or (not colon and pool.partition(":")[0] == wanted)):
            rows.append(FIRST_POOL + at)
    return tuple(rows)


def span(rows: tuple[int, ...]) -> slice | list[int]:
    """An index for ``rows``: a slice (no copy) where they follow each other."""
    return slice(rows[0], rows[-1] + 1) if rows[-1] - rows[0] + 1 == len(rows) else list(rows)


def untouched(room: Int64, total: Int64, rows: tuple[int, ...]) -> Bool:
    """bool[len(rows), N]: devices of which nothing is taken."""
    at = span(rows)
    whole: Bool = (room[at] >= total[at]) & (total[at] > 0)
    return whole


def largest_part(room: Int64, rows: tuple[int, ...]) -> Int64:
    """int64[N]: the most shares that one device of each node could give."""
    largest: Int64 = room[span(rows)].max(axis=0)
    return largest


def parts(room: Int64, rows: tuple[int, ...], shares: int) -> Int64:
    """int64[N]: how many parts of ``shares`` each node could give."""
    counts: Int64 = np.maximum(room[span(rows)] // shares, 0).sum(axis=0)
    return counts


def tightest(room: Int64, rows: tuple[int, ...], shares: Int64) -> Int64:
    """int64[N]: position in ``rows`` of the device with the least room that is enough for ``shares[N]``, the first among equals."""
    have = room[span(rows)]
    at: Int64 = np.where(have >= shares, have, NO_SLOT).argmin(axis=0)
    return at


def take_whole(amount: Int64, room: Int64, total: Int64, rows: tuple[int, ...], wanted: Int64) -> None:
    """Add the first ``wanted[N]`` untouched devices of each node to ``amount``."""
    at = span(rows)
    free = untouched(room - amount, total, rows)
    free &= np.cumsum(free, axis=0) <= wanted
    amount[at] += np.where(free, total[at], 0)
