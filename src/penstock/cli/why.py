"""penstock why: why a job waits, when it will start, what would start sooner.

Guarantees: the text is at most 80 columns wide; --json prints the controller's document as it is (docs/design/explain.md). Exit status: 0
answered, 1 unknown id or no cluster.
"""

from __future__ import annotations

from penstock.cli.table import run, write
from penstock.wire import lite

PROGRAM = "penstock why"


def main(job: str, folder: str, as_json: bool) -> int:
    """`folder` is the cluster's, or empty for the one that is found."""

    def ask(_: object) -> int:
        pieces: list[str] = []
        lite.request({"op": "why", "job": job}, folder=folder, on_chunk=pieces.append)
        text = "".join(pieces)
        if not as_json:
            import json

            from penstock.spec.explanation import render

            text = render(json.loads(text))
        write(text)
        return 0

    return run(PROGRAM, ask, (), "slurm_load_jobs error")
