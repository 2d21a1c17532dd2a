"""The schema's versions: numbered files in `migrations/`, applied in order, each in a transaction of its own.

Guarantees: a crash between two migrations leaves a store that the next start brings up to date; a file of another program is recognised
and left alone; a store from a newer program is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

import apsw

from penstock.store.base import StoreFailed, StoreForeign, StoreNewer

APPLICATION_ID = 0x504E5354  # "PNST", in the file's header


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """The migrations that this program knows, from 1 without a gap."""
    found = []
    for file in resources.files("penstock.store").joinpath("migrations").iterdir():
        if file.name.endswith(".sql"):
            number, _, _ = file.name.partition("_")
            found.append(Migration(int(number), file.name, file.read_text(encoding="utf-8")))
    found.sort()
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise StoreFailed(f"migrations are not numbered 1, 2, 3, ...: {', '.join(migration.name for migration in found)}")
    return tuple(found)


def recorded_version(connection: apsw.Connection, path: str) -> int:
    """The schema version of an open file, 0 for an empty one. Raises StoreForeign."""
    application_id = connection.pragma("application_id")
    if application_id == APPLICATION_ID:
        version: int = connection.execute("SELECT max(version) FROM schema_version").get
        return version
    if application_id == 0 and connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        return 0
    raise StoreForeign(f"{path} belongs to another program (application id {application_id:#x}); it is left as it is")


def check_not_newer(version: int, known: int, path: str) -> None:
    if version > known:
        raise StoreNewer(
            f"{path} has schema version {version}, this program knows up to {known}: start a penstock at least as new as its writer"
        )


def bring_up_to_date(connection: apsw.Connection, path: str, known: Sequence[Migration]) -> int:
    """Applies what is missing and returns the version. Raises StoreForeign, StoreNewer."""
    version = recorded_version(connection, path)
    check_not_newer(version, known[-1].version, path)
    for migration in known[version:]:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if migration.version == 1:
                connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(migration.sql)
            connection.execute("INSERT INTO schema_version VALUES (?, ?)", (migration.version, migration.name))
            connection.execute("COMMIT")
        except apsw.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return known[-1].version
