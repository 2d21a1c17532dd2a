"""A cluster's folder on disk: what lies where, and which virtual nodes this machine contributes.

    DIR/cluster.json      nodes as `penstock up` measured or was told them
    DIR/slurm.conf        read through the parameter table, if it is there
    DIR/socket            names the runtime folder (AF_UNIX paths end at 107 bytes)
    DIR/wanted            there from `penstock up` to `penstock down`: an agent starts a controller that exited
    DIR/supervisor.json   which agent did so last, and how often since `penstock up`
    DIR/store/            database, feed, blobs, reserve
    DIR/nodes/NAME/       the agents' job folders
    DIR/log/              one log a process, bounded

The runtime folder is made anew at each start: below /run/penstock for root, else below $XDG_RUNTIME_DIR, else below a private folder
in /tmp. Everything is private to the cluster's user, except that on a root cluster every user may reach the commands' socket.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import pwd
import stat

import msgspec

from penstock.config.lines import included

CLUSTER_VERSION = 1
MAX_NODES = 1_024
"""Virtual nodes of one machine."""
CONFIGURATION = ("cluster.json", "slurm.conf", "gres.conf", "cgroup.conf", "topology.conf", "topology.yaml", "penstock.toml")
"""What a person or `penstock up` writes into the folder."""
REGISTRY = ".local/state/penstock/clusters"
"""Below the home folder of the uid's passwd entry; `wire.lite` reads it."""


class FolderError(Exception):
    """The folder cannot be used; the text says why and what to do."""


class NodeSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """One virtual node: what it declares."""

    name: str
    cpus: int
    memory_mib: int
    gpus: str = ""
    """`TYPE:N` of simulated GPUs; empty: none are simulated."""


class ClusterFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """DIR/cluster.json."""

    version: int = CLUSTER_VERSION
    name: str = "penstock"
    nodes: tuple[NodeSpec, ...] = ()


class Supervision(msgspec.Struct, frozen=True, omit_defaults=True):
    """DIR/supervisor.json: how often a controller was started again since `penstock up`."""

    node: str
    """The agent that did it last."""
    restarts: int
    at_ms: int
    gave_up: bool = False
    """It was started too often in a row: no more."""


class ClusterFolder:
    """Paths of one cluster; nothing is touched until `make`."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.store = f"{self.path}/store"
        self.log = f"{self.path}/log"
        self.socket = f"{self.path}/socket"
        self.cluster_file = f"{self.path}/cluster.json"
        self.slurm_conf = f"{self.path}/slurm.conf"
        self._wanted = f"{self.path}/wanted"
        self._supervision = f"{self.path}/supervisor.json"

    def make(self) -> None:
        """Create what is missing. FolderError if it belongs to somebody else."""
        root = os.getuid() == 0
        for folder, mode in ((self.path, 0o755 if root else 0o700), (self.store, 0o700), (self.log, 0o700)):
            os.makedirs(folder, mode=mode, exist_ok=True)
        owner = os.stat(self.path).st_uid
        if owner != os.getuid():
            raise FolderError(f"{self.path} belongs to uid {owner}, not to you; choose another with --dir")
        if root:
            self._check_reachable()

    def _check_reachable(self) -> None:
        """On a root cluster other users must be able to read DIR/socket."""
        os.chmod(self.path, stat.S_IMODE(os.stat(self.path).st_mode) | 0o055)

    def runtime(self) -> str:
        """The runtime folder, made if it is missing, and named in DIR/socket."""
        key = hashlib.sha256(self.path.encode()).hexdigest()[:10]
        path = f"{runtime_base()}/{key}"
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.getuid() == 0:
            os.chmod(path, 0o755)
        temporary = f"{self.socket}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(path + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, self.socket)
        return path

    def read(self) -> ClusterFile:
        """DIR/cluster.json; FileNotFoundError before the first `up`, FolderError if it is damaged."""
        with open(self.cluster_file, "rb") as file:
            text = file.read()
        try:
            cluster = msgspec.json.decode(text, type=ClusterFile)
        except msgspec.DecodeError as error:
            raise FolderError(f"{self.cluster_file}: {error}") from error
        if cluster.version > CLUSTER_VERSION:
            raise FolderError(f"{self.cluster_file} was written by a newer Penstock (version {cluster.version}); upgrade this one")
        return cluster

    def write(self, cluster: ClusterFile) -> None:
        """Replace DIR/cluster.json as a whole."""
        temporary = f"{self.cluster_file}.new"
        with open(temporary, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(cluster), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.cluster_file)

    def want(self) -> None:
        """The cluster is to be up: an agent may start a controller that exited. Earlier starts are forgotten."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._supervision)
        with open(self._wanted, "w", encoding="ascii"):
            pass

    def unwant(self) -> None:
        """The cluster is to be down: from here on nobody starts a controller."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._wanted)

    def wanted(self) -> bool:
        return os.path.exists(self._wanted)

    def supervision(self) -> Supervision | None:
        """What an agent did for the controller since `penstock up`; None: nothing."""
        try:
            with open(self._supervision, "rb") as file:
                return msgspec.json.decode(file.read(), type=Supervision)
        except (OSError, msgspec.DecodeError):
            return None

    def note_supervision(self, supervision: Supervision) -> None:
        """Best effort: a full disk must not keep a controller from being started."""
        temporary = f"{self._supervision}.new"
        with contextlib.suppress(OSError):
            with open(temporary, "wb") as file:
                file.write(msgspec.json.encode(supervision))
            os.replace(temporary, self._supervision)

    def configuration_files(self) -> tuple[dict[str, str], list[str]]:
        """The files that configure the cluster: those below its folder by their relative names, and the paths of those elsewhere."""
        paths = [path for name in CONFIGURATION if os.path.exists(path := f"{self.path}/{name}")]
        for path in [path for path in paths if path.endswith(".conf")]:
            paths += included(path)
        inside: dict[str, str] = {}
        outside: dict[str, None] = {}
        for path in paths:
            name = os.path.relpath(path, self.path)
            if name.startswith(".."):
                outside[path] = None
            else:
                inside[name] = path
        return inside, list(outside)

    def node_names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self.read().nodes)

    def seen_epoch(self) -> int:
        """The highest epoch that an agent of this folder has obeyed; agents refuse a lower one. 0: none."""
        seen = 0
        for path in glob.iglob(f"{glob.escape(self.path)}/nodes/*/epoch"):
            try:
                with open(path, encoding="ascii") as file:
                    seen = max(seen, int(file.read() or 0))
            except (OSError, ValueError):
                continue
        return seen

    def register(self) -> None:
        """Let the user's commands find this cluster without any variable."""
        folder = f"{pwd.getpwuid(os.getuid()).pw_dir}/{REGISTRY}"
        key = hashlib.sha256(self.path.encode()).hexdigest()[:10]
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            with open(f"{folder}/{key}", "w", encoding="utf-8") as file:
                file.write(self.path + "\n")
        except OSError:
            return

    def unregister(self) -> None:
        """The commands no longer find it by themselves."""
        key = hashlib.sha256(self.path.encode()).hexdigest()[:10]
        try:
            os.unlink(f"{pwd.getpwuid(os.getuid()).pw_dir}/{REGISTRY}/{key}")
        except OSError:
            return


def runtime_base() -> str:
    """A short private folder for sockets; FolderError if what is there is not ours."""
    uid = os.getuid()
    if uid == 0:
        base, mode = "/run/penstock", 0o755
    elif os.path.isdir(os.environ.get("XDG_RUNTIME_DIR", "")):
        base, mode = f"{os.environ['XDG_RUNTIME_DIR']}/penstock", 0o700
    else:
        base, mode = f"/tmp/penstock-{uid}", 0o700
    os.makedirs(base, mode=mode, exist_ok=True)
    status = os.lstat(base)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & 0o022:
        raise FolderError(f"{base} is not a private folder of uid {uid}; remove it or set XDG_RUNTIME_DIR")
    return base


def default_folder() -> str:
    """Where `penstock up` keeps a cluster without --dir."""
    if os.getuid() == 0:
        return "/var/lib/penstock"
    return f"{pwd.getpwuid(os.getuid()).pw_dir}/.local/state/penstock/main"
