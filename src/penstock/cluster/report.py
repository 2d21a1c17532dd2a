"""`penstock status`, `doctor` and `env`: what runs, what is missing, how to reach it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import time

from penstock.cluster.processes import find
from penstock.cluster.up import status_lines
from penstock.config.folder import ClusterFolder
from penstock.wire import lite

COMMANDS = ("sbatch", "srun", "salloc", "sattach", "squeue", "sinfo", "scancel", "scontrol", "sacct", "sstat", "sdiag")


def status(folder: ClusterFolder, as_json: bool) -> int:
    """0 if the controller answers and every node responds, 3 if something is down."""
    processes = find(folder.path)
    try:
        lines = [line.split("\t") for line in status_lines(folder)]
        problem = ""
    except lite.Unreachable as error:
        lines, problem = [], error.detail or str(error)
    head = next((line for line in lines if line[0] == "controller"), None)
    nodes = [line for line in lines if line[0] == "node"]
    supervision = folder.supervision()
    healthy = head is not None and all(line[2] in ("up", "drain") for line in nodes)
    if as_json:
        print(
            json.dumps(
                {
                    "dir": folder.path,
                    "answering": head is not None,
                    "running_jobs": int(head[4]) if head else None,
                    "pending_jobs": int(head[5]) if head else None,
                    "controller_restarts": supervision.restarts if supervision else 0,
                    "controller_given_up": supervision is not None and supervision.gave_up,
                    "processes": [{"pid": p.pid, "role": p.role, "node": p.node or None, "command": " ".join(p.words)} for p in processes],
                    "nodes": [{"name": n[1], "state": n[2], "cpus": int(n[3]), "memory_mib": int(n[4]), "gpus": int(n[5])} for n in nodes],
                }
            )
        )
        return 0 if healthy else 3
    print(f"cluster {folder.path}")
    if head:
        print(f"  {head[4]} jobs running, {head[5]} waiting")
    else:
        print(f"  the controller does not answer: {problem}")
    if supervision:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(supervision.at_ms // 1000))
        print(f"  the controller was started again {supervision.restarts} times, last {when} by the agent of {supervision.node}")
        if supervision.gave_up:
            print(f"  it does not stay up, so no more: see {folder.log}/controller.log, then penstock up --dir {folder.path}")
    for process in processes:
        print(f"  {process.role:<10} pid {process.pid:<8} {process.node}")
    for node in nodes:
        print(f"  node {node[1]}: {node[2]}, {node[3]} CPUs, {node[4]} MiB, {node[5]} GPUs")
    if not processes:
        print(f"  nothing runs: penstock up --dir {folder.path}")
    return 0 if healthy else 3


def doctor(folder: ClusterFolder) -> int:
    """What this machine lets Penstock do, and what it costs where it does not. 0 if nothing is in the way of running jobs."""
    fatal = 0
    print(f"python     {sys.version.split()[0]}")
    print(f"user       uid {os.getuid()}: " + ("jobs of every user" if os.getuid() == 0 else "jobs of this user only (rootless)"))
    try:
        usage = shutil.disk_usage(folder.path)
        print(f"disk       {usage.free >> 20} MiB free in {folder.path}")
    except OSError as error:
        print(f"disk       {folder.path}: {error.strerror}")
    try:
        lines = [line.split("\t") for line in status_lines(folder)]
    except lite.Unreachable as error:
        print(f"controller not answering: {error.detail}")
        print(f"           penstock up --dir {folder.path}")
        return 1
    print("controller answering")
    declared = 0
    for line in lines:
        if line[0] == "node":
            declared += int(line[3])
            print(f"node       {line[1]}: {line[2]}")
            if line[2] not in ("up", "drain"):
                fatal = 1
            for warning in filter(None, line[6].split("; ")):
                print(f"           warning: {warning}")
    real = len(os.sched_getaffinity(0))
    if declared > real:
        print(f"cpus       {declared} declared, {real} real: nothing is pinned, memory limits stay")
    missing = [name for name in COMMANDS if not os.path.exists(f"{bin_folder()}/{name}")]
    if missing:
        fatal = 1
        print(f"commands   missing in {bin_folder()}: {', '.join(missing)} (install the package again)")
    return fatal


def bin_folder() -> str:
    """Where the wheel's scripts are: beside this interpreter."""
    return os.path.dirname(sys.executable)


def environment(folder: ClusterFolder) -> int:
    """Lines for `eval`: the commands first on PATH, and the cluster they speak to."""
    print(f'export PATH={shlex.quote(bin_folder())}:"$PATH"')
    print(f"export PENSTOCK_DIR={shlex.quote(folder.path)}")
    return 0
