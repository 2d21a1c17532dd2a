"""A disk that fills up while a job runs does not take its ending."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest
from agent_harness import Node, until

from penstock.wire.messages import Ended


@pytest.fixture
def small_disk():
    """A node whose folder is a file system of 4 MiB."""
    with Node(start=False) as node:
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", node.dir]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
            pytest.skip("needs root and the right to mount")
        try:
            node.make_folders()
            node.start_agent()
            node.accept()
            yield node
        finally:
            node.stop()
            subprocess.run(["umount", "-l", node.dir], check=True)


def fill(path: str) -> None:
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_the_exit_code_is_recorded_and_survives_everybody(small_disk):
    node = small_disk
    gate = node.runtime + "/gate"
    node.assign(1, f"#!/bin/bash\necho begun\nwhile [ ! -e {gate} ]; do sleep 0.02; done\nexit 7\n")
    node.wait_file("1.out", "begun")
    fill(f"{node.dir}/filler")
    with open(gate, "w", encoding="ascii"):
        pass
    assert node.wait_for(Ended, job_id=1).record.wait_status == 7 << 8
    for pid in node.daemons("shepherd"):
        os.kill(pid, 9)
    node.kill_agent()
    until(lambda: not node.daemons("shepherd"))
    node.start_agent()
    node.accept()
    assert node.ended(1).wait_status == 7 << 8
    os.unlink(f"{node.dir}/filler")
    assert node.run(2, "#!/bin/bash\nexit 3\n").wait_status == 3 << 8
