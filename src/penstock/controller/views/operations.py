"""The reading operations by name, and what each yields: how the controller serves them.

TABLES: chunks of `chunks.encode` (or PAUSE), for `+` frames; the client formats them.
TEXTS: pieces of UTF-8 text that are ready to print, for `+` frames too.
Every function is `(state, notes, fields, uid) -> Iterator[bytes]`; a refusal is a SlurmError, raised by the call or by the first steps,
before anything was yielded but PAUSE. `sacct`, `json_sacct` and `sstat` take more (see their modules) and are called by their own names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from penstock.controller.views.chunks import Fields, Notes
from penstock.controller.views.json_jobs import json_jobs
from penstock.controller.views.json_nodes import json_nodes, json_partitions
from penstock.controller.views.show import show_config, show_job, show_licenses, show_node, show_partition, show_step
from penstock.controller.views.sinfo import sinfo
from penstock.controller.views.squeue import squeue
from penstock.controller.views.topology import show_topology
from penstock.engine.state import State
from penstock.spec.errors import SlurmError, SpecError

View = Callable[[State, Notes, Fields, int], Iterator[bytes]]

TABLES: dict[str, View] = {"squeue": squeue, "sinfo": sinfo}

TEXTS: dict[str, View] = {
    "json_jobs": json_jobs,
    "json_nodes": json_nodes,
    "json_partitions": json_partitions,
    "show_config": show_config,
    "show_job": show_job,
    "show_licenses": show_licenses,
    "show_node": show_node,
    "show_partition": show_partition,
    "show_step": show_step,
    "show_topology": show_topology,
}


def view(name: str, state: State, notes: Notes, fields: Fields, uid: int) -> Iterator[bytes]:
    """The operation's pieces. A request that is malformed (wrong types, bad texts) is a SlurmError, like any other refusal."""
    function = TABLES.get(name) or TEXTS[name]
    return refusing(lambda: function(state, notes, fields, uid))


def refusing(make: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
    """Runs a view; what is wrong with the request becomes a SlurmError."""
    try:
        yield from make()
    except SpecError as error:
        raise SlurmError(3001, str(error)) from None
    except msgspec.ValidationError as error:
        raise SlurmError(3001, detail=str(error)) from None
