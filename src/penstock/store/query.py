"""One meaning for JobQuery, said twice side by side: as SQL and as a predicate over JobIndex. A property test holds them together.

A text that is not valid UTF-8 (a job name may hold any bytes, carried as surrogates) is stored as a BLOB, so that it can be stored, found
and given back exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from penstock.store.base import UNSTARTED_TASKS, JobIndex, JobQuery, Key

_FOREVER_MS = (1 << 63) - 1


def sql_text(text: str) -> str | bytes:
    """What stands for this text in the database."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
    return text


def sql_key(key: Key) -> int | str | bytes:
    return key if type(key) is int else sql_text(key)  # type: ignore[arg-type]


def key_of(stored: int | str | bytes) -> Key:
    """The inverse of `sql_key`."""
    return stored.decode("utf-8", "surrogatepass") if type(stored) is bytes else stored  # type: ignore[return-value]


def key_order(key: Key) -> tuple[int, Any]:
    """Sorts keys as the database does: integers, then texts by their UTF-8 bytes, then those that are no UTF-8."""
    if type(key) is int:
        return 0, key
    stored = sql_text(key)  # type: ignore[arg-type]
    return (1, stored.encode()) if isinstance(stored, str) else (2, stored)


def where(query: JobQuery) -> tuple[str, list[Any]]:
    """The condition over table `job` and its parameters. `array_job_id <> 0` is what lets SQLite use the partial index `job_array`."""
    terms: list[str] = []
    values: list[Any] = []

    def one_of(column: str, accepted: Iterable[Any]) -> str:
        accepted = list(accepted)
        values.extend(accepted)
        return f"{column} IN ({','.join('?' * len(accepted))})"

    if query.ids or query.tasks:
        any_of = []
        if query.ids:
            any_of += [one_of("id", query.ids), f"(array_job_id <> 0 AND {one_of('array_job_id', query.ids)})"]
        if query.tasks:
            arrays = one_of("array_job_id", dict.fromkeys(array for array, _ in query.tasks))
            pairs = ",".join(["(?,?)"] * len(query.tasks))
            values.extend(chain.from_iterable(query.tasks))
            task = f"array_task_id = {UNSTARTED_TASKS} OR (array_job_id, array_task_id) IN (VALUES {pairs})"
            any_of.append(f"(array_job_id <> 0 AND {arrays} AND ({task}))")
        terms.append(f"({' OR '.join(any_of)})")
    if query.uids:
        terms.append(one_of("uid", query.uids))
    for column, accepted in (("name", query.names), ("account", query.accounts), ("partition", query.partitions)):
        if accepted:
            terms.append(one_of(column, map(sql_text, accepted)))
    if query.from_ms is None and query.until_ms is None:
        if query.states:
            terms.append(one_of("state", map(sql_text, query.states)))
    else:
        start, end = _window(query)
        terms.append("(end_ms = 0 OR end_ms >= ?)")  # implied for every state; what index `job_end` serves
        values.append(start)
        if not query.states:
            terms.append("submit_ms <= ?")
            values.append(end)
        else:
            any_of = []
            if "PENDING" in query.states:
                any_of.append("(submit_ms <= ? AND (CASE WHEN start_ms > 0 THEN start_ms WHEN end_ms > 0 THEN end_ms ELSE ? END) >= ?)")
                values += [end, _FOREVER_MS, start]
            if "RUNNING" in query.states:
                any_of.append("(start_ms > 0 AND start_ms <= ?)")
                values.append(end)
            if recorded := [sql_text(state) for state in query.states if state not in ("PENDING", "RUNNING")]:
                any_of.append(
                    f"({one_of('state', recorded)} AND (CASE WHEN end_ms > 0 THEN end_ms BETWEEN ? AND ? ELSE submit_ms <= ? END))"
                )
                values += [start, end, end]
            terms.append(f"({' OR '.join(any_of)})")
    if not query.earlier_runs:
        terms.append("NOT EXISTS (SELECT 1 FROM job AS later WHERE later.id = job.id AND later.run > job.run)")
    return " AND ".join(terms) or "1", values


def matches(query: JobQuery, job: JobIndex) -> bool:
    """The same for one index; whether a later run exists is for the caller to know."""
    if (query.ids or query.tasks) and not (
        job.id in query.ids
        or (job.array_job_id != 0 and job.array_job_id in query.ids)
        or any(job.array_job_id == array != 0 and job.array_task_id in (task, UNSTARTED_TASKS) for array, task in query.tasks)
    ):
        return False
    if query.uids and job.uid not in query.uids:
        return False
    for value, accepted in ((job.name, query.names), (job.account, query.accounts), (job.partition, query.partitions)):
        if accepted and value not in accepted:
            return False
    if query.from_ms is None and query.until_ms is None:
        return not query.states or job.state in query.states
    start, end = _window(query)
    ended = job.end_ms or _FOREVER_MS
    if ended < start:
        return False
    if not query.states:
        return job.submit_ms <= end
    for state in query.states:
        if state == "PENDING":
            hit = job.submit_ms <= end and (job.start_ms or ended) >= start
        elif state == "RUNNING":
            hit = 0 < job.start_ms <= end
        else:
            hit = job.state == state and (start <= job.end_ms <= end if job.end_ms else job.submit_ms <= end)
        if hit:
            return True
    return False


def _window(query: JobQuery) -> tuple[int, int]:
    return query.from_ms or 0, _FOREVER_MS if query.until_ms is None else query.until_ms
