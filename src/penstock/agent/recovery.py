"""Looking at a run without its shepherd: does it live, did it end, or was it lost; and ending what was lost.

A run is lost when nobody holds its berth's lock and there is no durable end: its shepherd was killed, or the machine went down. Its end is
written only after nothing of it was found alive any more.
"""

from __future__ import annotations

import os
import time

from penstock.agent import folder, processes
from penstock.agent.cgroups import remove_groups
from penstock.agent.events import Inspected, RunKey
from penstock.wire.messages import ExitRecord

SIGKILL_STATUS = 9


def inspect(node_dir: str, key: RunKey, end_lost: bool) -> Inspected | None:
    """What has become of a run. None if it was lost and `end_lost` is False; else its processes are killed (up to processes.UNKILLABLE_S)
    and its record is written. Blocks: for a thread."""
    found = folder.look(node_dir, key)
    if found is None:
        return Inspected(key, "absent")
    try:
        if found.locked:
            return Inspected(key, "locked")
        if found.end is None:
            if not end_lost:
                return None
            _end(found)
        steps = tuple((step_id, record) for step_id, record in found.steps.items() if record is not None)
        return Inspected(key, "ended", found.end, steps)
    finally:
        found.close()


def _end(found: folder.Found) -> None:
    begin = found.begin
    groups = begin.cgroups if begin is not None else ()
    left: list[int] = processes.kill_orphans(os.path.basename(found.berth), groups)
    remove_groups(groups)
    if begin is None:
        detail = "its shepherd was killed while the run began"
    elif begin.boot_id != folder.boot_id():
        detail = "the machine was restarted while the run was going"
    else:
        detail = f"its shepherd (pid {begin.pid}) was killed before the end was recorded; what was left of the run was killed"
    if left:
        detail += f"; processes that could not be killed: {' '.join(map(str, left[:64]))}"
    record = ExitRecord(
        wait_status=SIGKILL_STATUS,
        start_ms=begin.start_ms if begin is not None else 0,
        end_ms=time.time_ns() // 1_000_000,
        cause="ShepherdKilled",
        detail=detail,
    )
    folder.end_lost(found, record)


def forget(node_dir: str, key: RunKey) -> None:
    """Remove what is left of an acknowledged run. Blocks: for a thread."""
    folder.forget(node_dir, key)
