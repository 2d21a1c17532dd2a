"""The pending part of the columns: records in slots, an order over the slots, shapes with counts.

A removed record leaves a hole in the order until the next ``pending()``, a new one waits in a tail; then the holes are squeezed out
and the tail is merged in, so that a cycle after a handful of changes costs a copy of the columns and not a sort.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.core.priority import priority_of, rank
from penstock.core.records import PartitionRecord, PendingRecord
from penstock.core.view import Bool, Int64, Pending, Shape

FIRST_SLOTS = 64
MERGE_ONE_BY_ONE = 64
"""New records up to this number are put in their places by search; more are sorted together with the rest."""
JOB, RANK, ORDER, SHAPE, LIMIT_S, COUNT, STARTABLE, USER = range(8)
"""Rows of the slot matrix."""
ALL = -1
"""As STARTABLE: as many as there are."""


class Waiting:
    """``partitions`` is the caller's live mapping of partition records: their tiers order the queue."""

    def __init__(self, partitions: Mapping[str, PartitionRecord]) -> None:
        self._partitions = partitions
        self._slot_of: dict[int, int] = {}
        self._slots: Int64 = np.zeros((USER + 1, FIRST_SLOTS), np.int64)
        self._alive: Bool = np.zeros(FIRST_SLOTS, np.bool_)
        self._unused: list[int] = []
        """Slots that were in use; from ``_fresh`` on none ever was."""
        self._fresh = 0
        self._holes: list[int] = []
        self._order: Int64 = np.empty(0, np.int64)
        self._tail: list[int] = []
        self._shape_of: dict[Shape, int] = {}
        self._shapes: list[Shape | None] = []
        self._shape_uses: list[int] = []
        self._shape_unused: list[int] = []
        self._pending: Pending | None = None
        self._shape_table: tuple[Shape | None, ...] | None = None

    def upsert(self, record: PendingRecord) -> None:
        old = self.record(record.job_id)
        if old is not None and (old.priority, old.order, old.partitions) != (record.priority, record.order, record.partitions):
            self.remove(record.job_id)
            old = None
        startable = ALL if record.startable is None else record.startable
        shape = self._enter(Shape(record.request, record.partitions, record.time_min_s, record.deadline_s))
        if old is not None:
            slot = self._slot_of[record.job_id]
            self._leave(int(self._slots[SHAPE, slot]))
            self._slots[SHAPE:, slot] = (shape, record.time_limit_s, record.count, startable, record.user)
        else:
            slot = self._new_slot()
            key = self._rank(record.partitions, record.priority)
            limits = (record.time_limit_s, record.count, startable, record.user)
            self._slots[:, slot] = (record.job_id, key, record.order, shape, *limits)
            self._alive[slot] = True
            self._slot_of[record.job_id] = slot
            self._tail.append(slot)
        self._pending = None

    def remove(self, job_id: int) -> None:
        slot = self._slot_of.pop(job_id, None)
        if slot is None:
            raise ValueError(f"job {job_id} is not among the pending records")
        self._leave(int(self._slots[SHAPE, slot]))
        self._alive[slot] = False
        self._holes.append(slot)
        self._pending = None

    def retier(self) -> None:
        """Tiers of partitions have changed: every rank is computed again."""
        for slot in self._slot_of.values():
            shape = self._shape(int(self._slots[SHAPE, slot]))
            self._slots[RANK, slot] = self._rank(shape.partitions, priority_of(int(self._slots[RANK, slot])))
        self._order = np.empty(0, np.int64)
        self._tail = list(self._slot_of.values())
        self._pending = None

    def record(self, job_id: int) -> PendingRecord | None:
        """What was told last: made from the columns, so that 100,000 records are not kept beside them."""
        slot = self._slot_of.get(job_id)
        if slot is None:
            return None
        _, key, order, number, limit_s, count, startable, user = self._slots[:, slot].tolist()
        shape = self._shape(number)
        asked = (limit_s, count, None if startable == ALL else startable, shape.time_min_s, shape.deadline_s, user)
        return PendingRecord(job_id, shape.request, shape.partitions, priority_of(key), order, *asked)

    def knows(self, job_id: int) -> bool:
        return job_id in self._slot_of

    def records(self) -> list[PendingRecord]:
        """In no particular order."""
        return [record for record in map(self.record, self._slot_of) if record is not None]

    @property
    def count(self) -> int:
        return len(self._slot_of)

    def places_of(self, records: Sequence[PendingRecord]) -> list[int]:
        """Before which row of ``pending()`` each of these would stand; none is among them."""
        self.pending()
        ranks, orders, jobs = (self._slots[row, self._order] for row in (RANK, ORDER, JOB))
        places = []
        for record in records:
            low, high = 0, len(self._order)
            for column, key in zip(
                (ranks, orders, jobs), (self._rank(record.partitions, record.priority), record.order, record.job_id), strict=True
            ):
                equal = column[low:high]
                low, high = low + int(np.searchsorted(equal, key)), low + int(np.searchsorted(equal, key, "right"))
            places.append(low)
        return places

    def pending(self) -> Pending:
        """The columns in priority order; the same object until something changes."""
        if self._pending is None:
            self._settle()
            rows = (JOB, SHAPE, LIMIT_S, COUNT, STARTABLE, USER)
            job_id, shape, limit_s, count, startable, user = (self._slots[row, self._order] for row in rows)
            columns = (job_id, shape.astype(np.int32), limit_s, count, np.where(startable == ALL, count, startable), user)
            for column in columns:
                column.setflags(write=False)
            self._pending = Pending(*columns)
        return self._pending

    def shapes(self) -> tuple[Shape | None, ...]:
        if self._shape_table is None:
            self._shape_table = tuple(self._shapes)
        return self._shape_table

    def _rank(self, partitions: tuple[str, ...], priority: int) -> int:
        known = [self._partitions[name].priority_tier for name in partitions if name in self._partitions]
        return rank(max(known, default=0), priority)

    def _shape(self, number: int) -> Shape:
        shape = self._shapes[number]
        if shape is None:
            raise ValueError(f"a pending record refers to shape {number}, which is not in use")
        return shape

    def _settle(self) -> None:
        """Squeeze out the holes, merge the tail."""
        if self._holes:
            self._order = self._order[self._alive[self._order]]
            tail = [slot for slot in self._tail if self._alive[slot]]
            self._unused += reversed(self._holes)
            self._holes.clear()
        else:
            tail = self._tail
        if 0 < len(tail) <= MERGE_ONE_BY_ONE and len(self._order) > MERGE_ONE_BY_ONE:
            tail = self._sorted(np.array(tail, np.int64)).tolist()
            self._order = np.insert(self._order, [self._place(slot) for slot in tail], tail)
        elif tail:
            self._order = self._sorted(np.concatenate((self._order, np.array(tail, np.int64))))
        self._tail = []

    def _sorted(self, slots: Int64) -> Int64:
        keys = self._slots[:, slots]
        return slots[np.lexsort((keys[JOB], keys[ORDER], keys[RANK]))]

    def _place(self, slot: int) -> int:
        """Where in the order a new slot belongs, by halving."""
        key = self._slots[(RANK, ORDER, JOB), slot].tolist()
        low, high = 0, len(self._order)
        while low < high:
            middle = (low + high) // 2
            if self._slots[(RANK, ORDER, JOB), self._order[middle]].tolist() < key:
                low = middle + 1
            else:
                high = middle
        return low

    def _new_slot(self) -> int:
        if self._unused:
            return self._unused.pop()
        slot = self._fresh
        self._fresh += 1
        if slot == self._slots.shape[1]:
            self._slots = np.concatenate((self._slots, np.zeros_like(self._slots)), axis=1)
            self._alive = np.concatenate((self._alive, np.zeros_like(self._alive)))
        return slot

    def _enter(self, shape: Shape) -> int:
        number = self._shape_of.get(shape)
        if number is None:
            if self._shape_unused:
                number = self._shape_unused.pop()
                self._shapes[number] = shape
            else:
                number = len(self._shapes)
                self._shapes.append(shape)
                self._shape_uses.append(0)
            self._shape_of[shape] = number
            self._shape_table = None
        self._shape_uses[number] += 1
        return number

    def _leave(self, number: int) -> None:
        self._shape_uses[number] -= 1
        if self._shape_uses[number]:
            return
        shape = self._shapes[number]
        if shape is not None:
            del self._shape_of[shape]
        self._shapes[number] = None
        self._shape_unused.append(number)
        self._shape_table = None
