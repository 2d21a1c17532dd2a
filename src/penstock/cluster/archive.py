"""`penstock backup` and `restore`."""

from __future__ import annotations

from penstock.cluster.processes import find
from penstock.config.folder import ClusterFolder, FolderError
from penstock.store import backup as store_backup


def backup(folder: ClusterFolder, path: str) -> int:
    """A consistent copy, also while the cluster runs."""
    store_backup.backup(folder.store, path)
    print(f"the state of {folder.path} is in {path}")
    return 0


def restore(folder: ClusterFolder, path: str, force: bool) -> int:
    """Only into a cluster that is down."""
    if any(process.role == "controller" for process in find(folder.path)):
        raise FolderError(f"the cluster in {folder.path} is up: `penstock down --dir {folder.path}` first")
    folder.make()
    store_backup.restore(path, folder.store, replace=force)
    print(f"{folder.path} holds the state of {path}; penstock up --dir {folder.path} starts it")
    return 0
