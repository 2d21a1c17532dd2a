"""The Python client: submit many jobs in one commit, without a process a job.

    from penstock.client import Client
    ids = Client().submit_many([{"name": f"run{i}", "ntasks": 1, "script": "#!/bin/sh\\nhostname\\n"} for i in range(1000)])

The cluster is found as the commands find it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from penstock.wire import lite

BATCH_MAX = 10_000
"""Jobs of one call of `submit_many`: one commit."""


class Client:
    """Speaks to the controller of one cluster; holds no connection between calls."""

    def __init__(self, directory: str | None = None) -> None:
        self._folder = directory or lite.find_cluster()

    def submit_many(self, jobs: Sequence[Mapping[str, Any]]) -> list[int]:
        """Queue all of them in one commit, or none: the job ids in order.

        Beside the keys of `penstock.spec.request` each job has `script` (text or bytes, beginning with #!) and may have
        `environment` (name to value; default: this process's). Raises ValueError over BATCH_MAX or for a script without an
        interpreter, `lite.Refused` with Slurm's error number, `lite.Unreachable` if no controller answers.
        """
        if len(jobs) > BATCH_MAX:
            raise ValueError(f"{len(jobs)} jobs in one batch, at most {BATCH_MAX} are allowed: call submit_many again")
        if not jobs:
            return []
        defaults = {"work_dir": os.getcwd(), "alloc_node": socket.gethostname().partition(".")[0]}
        requests, sections = [], []
        for job in jobs:
            fields = defaults | dict(job)
            sections += [_script(fields.pop("script", "")), _environment(fields.pop("environment", os.environ))]
            requests.append(fields)
        if all(list(pair) == sections[:2] for pair in zip(sections[2::2], sections[3::2], strict=True)):
            sections = sections[:2]
        head = msgspec.json.encode({"op": "submit_many", "id": lite.new_id(), "requests": requests})
        body = b"".join(len(part).to_bytes(4, "big") + part for part in (head, *sections))
        text = lite.exchange(len(body).to_bytes(4, "big") + body, self._folder)
        return [int(word) for word in text.split(",")]


def _script(script: str | bytes) -> bytes:
    content = script.encode("utf-8", "surrogateescape") if isinstance(script, str) else script
    if not content.startswith(b"#!"):
        raise ValueError("the script must begin with #! and the path of an interpreter")
    return content


def _environment(variables: Mapping[str, str]) -> bytes:
    return "\0".join(f"{name}={value}" for name, value in variables.items()).encode("utf-8", "surrogateescape")
