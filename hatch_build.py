"""Which file stands under the name of each command: the compiled starter of `native/command.c` where there is a C compiler, else Python.

The starter only hands its invocation to the cluster's command host; without one it runs `penstock-command`, so both behave alike and
differ in the time that they take to start (docs/design/commands.md).
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STARTED = ("sbatch", "srun", "squeue", "sinfo", "scancel", "scontrol", "sacct", "sstat", "sdiag")
"""The commands that the host serves (`penstock.cli.worker.HOSTED`)."""
WAYS = (["-static"], [])
"""Linked statically it starts in 0.4 ms instead of 0.6; not every system has the static library."""


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        scripts = os.path.join(self.root, "scripts")
        files = {name: os.path.join(scripts, name) for name in sorted(os.listdir(scripts))}
        self._folder = tempfile.mkdtemp(prefix="penstock-commands-")
        starter = self._compile()
        if starter:
            files.update(dict.fromkeys(STARTED, starter))
            if version != "editable":
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        for name, path in files.items():  # a wheel maps files to names one to one: each name has a file of its own
            build_data["shared_scripts"][shutil.copy(path, os.path.join(self._folder, name))] = name

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(self._folder)

    def _compile(self) -> str:
        """The compiled starter, "" where it cannot be made."""
        compiler = shutil.which(os.environ.get("CC", "cc"))
        if not compiler or not sys.platform.startswith("linux"):
            return ""
        out = os.path.join(self._folder, "starter")
        source = os.path.join(self.root, "native", "command.c")
        for way in WAYS:
            if subprocess.run([compiler, "-O2", "-s", *way, "-o", out, source], capture_output=True, check=False).returncode == 0:
                return out
        return ""
