"""`penstock backup` and `restore`."""

from __future__ import annotations

import sys

from penstock.cluster.processes import find
from penstock.config.folder import ClusterFolder, FolderError
from penstock.store import backup as store_backup


def backup(folder: ClusterFolder, path: str) -> int:
    """A consistent copy, also while the cluster runs: the state, and the files that configure the cluster."""
    inside, outside = folder.configuration_files()
    store_backup.backup(folder.store, path, files=inside)
    print(f"the state of {folder.path} and {', '.join(inside) or 'no configuration file'} are in {path}")
    for name in outside:
        print(f"penstock: warning: {name} is included by slurm.conf but outside of {folder.path}: it is not in the backup", file=sys.stderr)
    return 0


def restore(folder: ClusterFolder, path: str, force: bool) -> int:
    """Only into a cluster that is down."""
    if any(process.role == "controller" for process in find(folder.path)):
        raise FolderError(f"the cluster in {folder.path} is up: `penstock down --dir {folder.path}` first")
    folder.make()
    manifest = store_backup.restore(path, folder.store, replace=force, files_directory=folder.path)
    what = f"the state and {', '.join(manifest.files)}" if manifest.files else "the state"
    print(f"{folder.path} holds {what} of {path}; penstock up --dir {folder.path} starts it")
    return 0
