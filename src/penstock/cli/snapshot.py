"""penstock snapshot: the planner's whole input into a file, for a report of a wrong plan or an experiment (docs/design/explain.md).

Guarantees: the file is complete or it is not there; a name that ends in .gz is compressed. Exit status 1 if the cluster does not answer or
the file cannot be written.
"""

from __future__ import annotations

import os

from penstock.cli.table import Failed, run, write
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO

PROGRAM = "penstock snapshot"


def main(path: str, folder: str) -> int:
    """`folder` is the cluster's, or empty for the one that is found."""

    def save(_: object) -> int:
        part = f"{path}.part"
        try:
            with _open(part, path.endswith(".gz")) as file:
                lite.request({"op": "snapshot"}, folder=folder, on_chunk=lambda piece: _put(file, piece))
            os.replace(part, path)
        except FileError as error:
            raise Failed(f"{PROGRAM}: error: {path}: {error}") from None
        finally:
            if os.path.exists(part):
                os.unlink(part)
        write(f"the planner's input is in {path}; penstock sim replay {path} plans it again\n")
        return 0

    return run(PROGRAM, save, (), f"{PROGRAM}: error")


class FileError(Exception):
    """The file cannot be written. Not an OSError: those are taken for a lost connection while an answer is read."""


def _open(path: str, compressed: bool) -> IO[bytes]:
    try:
        if not compressed:
            return open(path, "wb")
        import gzip

        return gzip.open(path, "wb")
    except OSError as error:
        raise FileError(error.strerror) from None


def _put(file: IO[bytes], piece: str) -> None:
    try:
        file.write(piece.encode())
    except OSError as error:
        raise FileError(error.strerror) from None
