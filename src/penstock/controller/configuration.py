"""The configuration in force: from DIR/slurm.conf where there is one, else what was measured."""

from __future__ import annotations

import os
import socket

from penstock import SLURM_VERSION
from penstock.config.cluster import engine_settings, partition_settings
from penstock.config.folder import ClusterFolder
from penstock.config.reader import read
from penstock.engine.state import ClusterConfig, Partition
from penstock.spec.parameters import SLURM_CONF


def read_config(folder: ClusterFolder) -> ClusterConfig:
    """The engine's configuration; SpecError (file, line, allowed values) if slurm.conf is wrong."""
    single_user = -1 if os.getuid() == 0 else os.getuid()
    if os.path.exists(folder.slurm_conf):
        config = read(folder.slurm_conf)
        partitions = tuple(Partition(**partition_settings(p)) for p in config.partitions)  # type: ignore[arg-type]
        settings = engine_settings(config)
        settings["partitions"] = partitions or (Partition("main", default=True),)
        return ClusterConfig(**settings, single_user=single_user)  # type: ignore[arg-type]
    cluster = folder.read()
    own = ClusterConfig(cluster_name=cluster.name, single_user=single_user)
    shown = {parameter.name: parameter.default for parameter in SLURM_CONF.values()} | {
        "ClusterName": own.cluster_name,
        "MaxArraySize": str(own.max_array_size),
        "MaxJobCount": str(own.max_job_count),
        "SlurmctldHost[0]": socket.gethostname().partition(".")[0],
        "SLURM_VERSION": SLURM_VERSION,
        "StateSaveLocation": folder.store,
    }
    return ClusterConfig(cluster_name=cluster.name, single_user=single_user, shown=shown)
