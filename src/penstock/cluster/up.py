"""`penstock up`: a cluster on this machine, with one command and no configuration.

It measures CPUs and memory, writes DIR/cluster.json, and starts what is down: the controller, one agent a node (each brings up the
launcher when it needs it). Called again it leaves what runs alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import msgspec

from penstock.cluster.processes import find, stop
from penstock.config.cluster import own_nodes, warning_lines
from penstock.config.folder import MAX_NODES, ClusterFile, ClusterFolder, FolderError, NodeSpec
from penstock.config.gresconf import gpus_of
from penstock.config.reader import read
from penstock.spec import hostlist
from penstock.spec.errors import SpecError
from penstock.spec.gres import parse_gpus
from penstock.spec.quantities import parse_count, parse_memory
from penstock.wire import lite

READY_TIMEOUT_S = 30.0
SHARD = "shard"
POLL_S = 0.02


class Request(msgspec.Struct, frozen=True):
    """The options of `up`; None: not given."""

    detach: bool = False
    nodes: int | None = None
    cpus: int | None = None
    memory: str | None = None
    gpus: str | None = None


def up(folder: ClusterFolder, request: Request) -> int:
    """0 once every node has registered."""
    folder.make()
    cluster = describe(folder, request)
    folder.write(cluster)
    folder.runtime()
    folder.want()
    running = find(folder.path)
    controller = None
    if not any(process.role == "controller" for process in running):
        controller = _start(folder, "controller")
    commands = None
    if not any(process.role == "commands" for process in running):
        commands = _start(folder, "commands")
    nodes = {process.node for process in running if process.role == "agent"}
    for node in cluster.nodes:
        if node.name not in nodes:
            words = ["--node", node.name, "--cpus", str(node.cpus), "--memory", str(node.memory_mib)]
            _start(folder, "agent", *words, *(["--gpus", node.gpus] if node.gpus else []))
    folder.register()
    _wait_ready(folder, len(cluster.nodes), controller)
    _wait_commands(folder, commands)
    _say(folder, cluster)
    if not request.detach:
        _stay(folder)
    return 0


def describe(folder: ClusterFolder, request: Request) -> ClusterFile:
    """The nodes: from slurm.conf, else from the options, else as they were, else measured."""
    if os.path.exists(folder.slurm_conf):
        return _from_slurm_conf(folder)
    try:
        before: ClusterFile | None = folder.read()
    except FileNotFoundError:
        before = None
    if before is not None and request.nodes is request.cpus is request.memory is request.gpus is None:
        return before
    count = request.nodes or 1
    if not 1 <= count <= MAX_NODES:
        raise FolderError(f"--nodes {count}: 1 to {MAX_NODES} are allowed")
    cpus = request.cpus or len(os.sched_getaffinity(0))
    if not 1 <= cpus <= 65_536:
        raise FolderError(f"--cpus {cpus}: 1 to 65536 are allowed")
    try:
        memory_mib = parse_memory(request.memory) if request.memory else measured_memory_mib()
        gpus = _gpus(request.gpus) if request.gpus else ""
    except SpecError as error:
        raise FolderError(str(error)) from error
    host = socket.gethostname().partition(".")[0]
    names = [host] if count == 1 else [f"node{i}" for i in range(count)]
    cluster = ClusterFile(nodes=tuple(NodeSpec(name, cpus, memory_mib, gpus) for name in names))
    if before not in (None, cluster) and any(process.role == "agent" for process in find(folder.path)):
        raise FolderError(f"the cluster in {folder.path} is up: `penstock down --dir {folder.path}` first, then change its nodes")
    return cluster


def measured_memory_mib() -> int:
    """MemTotal, or the smaller limit of the control group this runs in."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return int(file.readline().split()[1]) // 1024


def _gpus(text: str) -> str:
    """`[TYPE:]N[,TYPE:N...][,shard:M]` as `TYPE:N[,TYPE:N...][,shard:M]`: the shards are spread evenly over the GPUs."""
    head, mark, shards = text.partition(",shard:")
    gpus = parse_gpus(head)
    total = sum(item.count for item in gpus)
    if not total:
        words = "h100:8, or a100:1,1g.10gb:7 with slices, or h100:8,shard:32 where jobs may share them"
        raise SpecError(f"--gpus {text}: [TYPE:]N is expected, for example {words}")
    count = parse_count(shards, "--gpus shard") if mark else 0
    if count % total:
        raise SpecError(f"--gpus {text}: {count} shards cannot be spread evenly over {total} GPUs")
    return ",".join([f"{item.type or 'sim'}:{item.count}" for item in gpus] + [f"shard:{count}"] * bool(count))


def _from_slurm_conf(folder: ClusterFolder) -> ClusterFile:
    """The nodes of slurm.conf that are this machine."""
    config = read(folder.slurm_conf)
    nodes = [
        NodeSpec(node.name, node.cpus, node.memory_mib if node.memory_mib > 1 else measured_memory_mib(), gpus_of(node, config.gres))
        for node in own_nodes(config)
    ]
    if not nodes:
        host = socket.gethostname().partition(".")[0]
        raise FolderError(f"{folder.slurm_conf}: no NodeName line has NodeHostname={host} (this machine) or localhost")
    for line in warning_lines(config):
        print(f"penstock: warning: {line}", file=sys.stderr)
    return ClusterFile(name=str(config.parameters["ClusterName"] or "penstock"), nodes=tuple(nodes))


def _start(folder: ClusterFolder, role: str, *words: str) -> subprocess.Popen[bytes]:
    """A process of its own session, that no terminal can end; what it prints before its log is open goes to DIR/log/ROLE.err."""
    with open(f"{folder.log}/{role}.err", "wb") as err:
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", role, "--dir", folder.path, *words],
            stdin=subprocess.DEVNULL,
            stdout=err,
            stderr=err,
            start_new_session=True,
            cwd="/",
        )


def _wait_ready(folder: ClusterFolder, count: int, controller: subprocess.Popen[bytes] | None) -> None:
    """Until every node answers, or FolderError with the log's last words. `controller` is the process that was started, if one was."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            nodes = [line.split("\t") for line in status_lines(folder) if line.startswith("node\t")]
        except (lite.Unreachable, lite.Refused):
            nodes = []
        if sum(node[2] != "not responding" for node in nodes) >= count:
            return
        if controller is not None and controller.poll() is not None and not any(p.role == "controller" for p in find(folder.path)):
            raise FolderError(f"the controller did not start: {_last_words(folder, 'controller')}")
        time.sleep(POLL_S)
    raise FolderError(f"not all nodes came up within {READY_TIMEOUT_S:.0f} s: see {folder.log}")


def _wait_commands(folder: ClusterFolder, host: subprocess.Popen[bytes] | None) -> None:
    """Until the command host that was started listens. If it cannot, commands run without it, slower: a warning."""
    if host is None:
        return
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s and host.poll() is None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller, contextlib.suppress(OSError):
            caller.connect(f"{folder.runtime()}/commands.sock")
            return
        time.sleep(POLL_S)
    print(f"penstock: warning: the command host did not start, commands start slower: {_last_words(folder, 'commands')}", file=sys.stderr)


def status_lines(folder: ClusterFolder) -> list[str]:
    """The controller's `status` answer."""
    chunks: list[str] = []
    lite.request({"op": "status"}, on_chunk=chunks.append, folder=folder.path, retry_for_s=0.0)
    return "".join(chunks).split("\n")


def _last_words(folder: ClusterFolder, role: str) -> str:
    for name in (f"{role}.err", f"{role}.log"):
        try:
            with open(f"{folder.log}/{name}", encoding="utf-8", errors="replace") as file:
                lines = file.read()[-4096:].strip().splitlines()
        except OSError:
            continue
        if lines:
            return lines[-1]
    return f"see {folder.log}"


def _gpu_words(text: str) -> str:
    """`8 simulated GPUs (h100, 32 shards)` of `h100:8,shard:32`; of several types `3 simulated GPUs (1 a100, 2 1g.10gb)`."""
    kinds = [item.partition(":")[::2] for item in text.split(",")]
    gpus = [(kind, int(number)) for kind, number in kinds if kind != SHARD]
    types = [kind for kind, _ in gpus] if len(gpus) == 1 else [f"{number} {kind}" for kind, number in gpus]
    shards = [f"{number} shards" for kind, number in kinds if kind == SHARD]
    return f"{sum(number for _, number in gpus)} simulated GPUs ({', '.join(types + shards)})"


def _sizes(cluster: ClusterFile) -> list[str]:
    """What the nodes have: one line where all are equal, else one a kind with the names."""
    kinds: dict[str, list[str]] = {}
    for node in cluster.nodes:
        gpus = f", {_gpu_words(node.gpus)}" if node.gpus else ""
        kinds.setdefault(f"{node.cpus} CPUs, {node.memory_mib} MiB{gpus}", []).append(node.name)
    if len(kinds) == 1 and len(cluster.nodes) > 1:
        return [f"{len(cluster.nodes)} nodes, each with {size}" for size in kinds]
    return [f"{hostlist.compress(names)}: {'each with ' if len(names) > 1 else ''}{size}" for size, names in kinds.items()]


def _say(folder: ClusterFolder, cluster: ClusterFile) -> None:
    print(f"penstock is up in {folder.path}")
    for line in _sizes(cluster):
        print(f"  {line}")
    if os.getuid() != 0:
        print(f"  it serves you alone (uid {os.getuid()}): a cluster for several users is started by root")
    print("next:")
    own = "penstock" if shutil.which("penstock") else f"{os.path.relpath(os.path.dirname(sys.executable))}/penstock"
    print(f'  eval "$({own} env --dir {folder.path})"    # the commands on PATH')
    print("  sbatch --wrap 'hostname; sleep 5'    squeue    sacct")


def _stay(folder: ClusterFolder) -> None:
    """In the foreground until Ctrl-C, which takes the cluster down; jobs go on (`penstock down` says how)."""
    print("Ctrl-C stops it; --detach leaves it running", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("stopping")
        folder.unwant()
        stop([process for process in find(folder.path) if process.role != "shepherd"])
