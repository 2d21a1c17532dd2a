"""Reads slurm.conf, and gres.conf, cgroup.conf and the topology beside it, through the parameter table.

General parameters are single pairs; lines that begin with NodeName, PartitionName, DownNodes or NodeSet carry the pairs of that entity; an
entity named DEFAULT sets what the following lines of its kind start from. Partitions may name nodes by hostlist, NodeSet or ALL.

Guarantees: a result is complete (defaults filled in, hostlists expanded, references checked) or a ConfigError lists what is wrong, each
problem with file and line, unknown names with the nearest known one. Known parameters that do nothing here come back as warnings. Nothing
outside these files and what they include is read; no name is resolved, no host is asked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from penstock.config.cluster import ConfigWarning, GresConfig, NodeConfig, PartitionConfig, SlurmConfig, TopologyConfig
from penstock.config.gresconf import gres_of_line, missing_gpus
from penstock.config.lines import MAX_PROBLEMS, ConfigError, Line, Pair, read_lines
from penstock.config.topology import CONF, YAML, plugin_kind, read_topologies
from penstock.spec import hostlist
from penstock.spec import parameters as p
from penstock.spec.errors import SpecError
from penstock.spec.gres import parse_node_gres
from penstock.spec.quantities import parse_int
from penstock.spec.topology import FLAT

PARTITION_STATES = ("UP", "DOWN", "DRAIN", "INACTIVE")
PREEMPT_MODES = ("CANCEL", "GANG", "OFF", "PRIORITY", "REQUEUE", "SUSPEND", "WITHIN")
NODE_STATES = ("CLOUD", "DOWN", "DRAIN", "FAIL", "FAILING", "FUTURE", "IDLE", "UNKNOWN")
ENTITIES = ("NodeName", "PartitionName", "DownNodes", "NodeSet")
REPEATABLE = ("SlurmctldHost",)

Values = dict[str, p.Value]


def read(path: str) -> SlurmConfig:
    """The configuration of `path`: slurm.conf itself, or the directory that holds it."""
    if os.path.isdir(path):
        path = os.path.join(path, "slurm.conf")
    return _Reading(path).result()


class _Reading:
    """One pass over the files; problems are collected, so that a person sees more than the first."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[str] = []
        self.warnings: dict[tuple[str, str], ConfigWarning] = {}
        self.texts: dict[str, str] = {}
        self.places: dict[str, str] = {}
        self.values: Values = {row.name: row.default_value() for row in p.SLURM_CONF.values()}
        self.scheduler: dict[str, str] = {}
        self.nodes: dict[str, NodeConfig] = {}
        self.sets: dict[str, tuple[Line, Values]] = {}
        self.partitions: dict[str, tuple[Line, Values]] = {}
        self.down: list[tuple[Line, Values]] = []
        self.defaults: dict[str, Values] = {}

    def result(self) -> SlurmConfig:
        for line in self._lines(self.path):
            self._attempt(line, self._line)
        for line, values in self.down:
            self._attempt(line, lambda line, values=values: self._down(values))  # type: ignore[misc]
        partitions = []
        for line, values in self.partitions.values():
            self._attempt(line, lambda line, values=values: partitions.append(self._partition(values)))  # type: ignore[misc]
        if sum(partition.default for partition in partitions) > 1:
            names = ", ".join(partition.name for partition in partitions if partition.default)
            self.problems.append(f"{self.path}: more than one partition has Default=YES: {names}")
        self._gres_types()
        if not self.values["ClusterName"]:
            self.problems.append(f"{self.path}: ClusterName is missing")
        folder = os.path.dirname(self.path)
        gres: list[GresConfig] = []
        detected = False
        cgroup: Values = {row.name: row.default_value() for row in p.CGROUP_CONF.values()}
        for line in self._lines(os.path.join(folder, "gres.conf"), optional=True):
            self._attempt(line, lambda line: gres.extend(self._gres(line)))
            detected |= any(pair.key.lower() == "autodetect" and pair.value.lower() != "off" for pair in line.pairs)
        missing = "" if detected else missing_gpus(self.nodes.values(), tuple(gres))
        if missing:
            self.problems.append(f"{self.path}: {missing}")
        for line in self._lines(os.path.join(folder, "cgroup.conf"), optional=True):
            self._attempt(line, lambda line: cgroup.update(self._typed(p.CGROUP_CONF, line)))
        topologies = self._topologies(folder, partitions)
        if self.problems:
            shown = self.problems[:MAX_PROBLEMS]
            more = [f"... and {len(self.problems) - MAX_PROBLEMS} more"] if len(self.problems) > MAX_PROBLEMS else []
            raise ConfigError("\n".join(shown + more))
        shown_texts = {row.name: self.texts.get(row.name, row.default) for row in p.SLURM_CONF.values()}
        return SlurmConfig(
            self.path,
            self.values,
            shown_texts,
            self.scheduler,
            tuple(self.nodes.values()),
            tuple(partitions),
            tuple(gres),
            cgroup,
            tuple(self.warnings.values()),
            topologies,
        )

    def _topologies(self, folder: str, partitions: list[PartitionConfig]) -> tuple[TopologyConfig, ...]:
        """Those of topology.yaml or topology.conf; partitions name one of them."""
        topologies: tuple[TopologyConfig, ...] = ()
        try:
            kind = plugin_kind(str(self.values["TopologyPlugin"]))
            topologies = read_topologies(folder, kind, self.nodes)
        except ConfigError as error:
            self.problems.append(str(error))
            return ()
        except SpecError as error:
            self.problems.append(f"{self.places.get('TopologyPlugin', self.path)}: {error}")
            return ()
        ignored = os.path.join(folder, CONF)
        if os.path.exists(ignored) and (kind == FLAT or os.path.exists(os.path.join(folder, YAML))):
            reason = f"{YAML} counts" if kind != FLAT else "TopologyPlugin is topology/flat"
            self._warn(f"{ignored}:1", CONF, reason)
        names = [topology.name for topology in topologies]
        for partition in partitions:
            if partition.topology and partition.topology not in names:
                known = ", ".join(names) or f"none, as there is no {YAML}"
                where = self.partitions[partition.name][0].where
                self.problems.append(f"{where}: partition {partition.name} has Topology={partition.topology[:64]}: allowed are {known}")
        return topologies

    def _gres_types(self) -> None:
        """Every GRES of a node is of a type that GresTypes lists."""
        types = self.values["GresTypes"]
        for node in self.nodes.values():
            items = parse_node_gres(node.gres)
            for item in items:
                if not isinstance(types, tuple) or item.name not in types:
                    self.problems.append(f"{self.path}: node {node.name} has Gres={node.gres}, but GresTypes does not list {item.name}")
                    return
            gpus, shards = (sum(item.count for item in items if item.name == name) for name in ("gpu", "shard"))
            if shards and (not gpus or shards % gpus):
                text = f"{shards} shards cannot be spread evenly over {gpus} GPUs"
                self.problems.append(f"{self.path}: node {node.name} has Gres={node.gres}: {text}")
                return

    def _lines(self, path: str, optional: bool = False) -> list[Line]:
        if optional and not os.path.exists(path):
            return []
        lines: list[Line] = []
        try:
            lines.extend(read_lines(path))
        except ConfigError as error:
            self.problems.append(str(error))
        return lines

    def _attempt(self, line: Line, step: Callable[[Line], None]) -> None:
        try:
            step(line)
        except ConfigError as error:
            self.problems.append(str(error))
        except SpecError as error:
            self.problems.append(f"{line.where}: {error}")

    def _line(self, line: Line) -> None:
        first = line.pairs[0].key.lower()
        if first == "nodename":
            self._node_line(line)
        elif first == "partitionname":
            self._partition_line(line)
        elif first == "downnodes":
            self.down.append((line, self._typed(p.DOWN_LINE, line)))
        elif first == "nodeset":
            values = self._typed(p.NODE_SET_LINE, line)
            self.sets[str(values["NodeSet"])] = (line, values)
        else:
            for pair in line.pairs:
                self._general(pair, line.where)

    def _general(self, pair: Pair, where: str) -> None:
        row = p.find(p.SLURM_CONF, pair.key, ENTITIES)
        if row.name in self.texts and row.name not in REPEATABLE:
            self._warn(where, row.name, p.AGAIN)
        self.values[row.name] = row.value(pair.value)
        self.texts[row.name] = pair.value
        self.places[row.name] = where
        if not row.is_silent(pair.value):
            self._warn(where, row.name, row.inert)
        if row.name == "SchedulerParameters":
            self._scheduler(pair.value, where)

    def _scheduler(self, text: str, where: str) -> None:
        self.scheduler = {}
        for word in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = word.partition("=")
            known = (*p.SCHEDULER_HONOURED, *p.SCHEDULER_AGREES, *p.SCHEDULER_INERT)
            lower = name.strip().lower()
            if lower not in known:
                raise SpecError(f"unknown word {name[:64]!r} in SchedulerParameters{p.nearest(name, known)}")
            if lower in p.SCHEDULER_NUMBERS:
                parse_int(value, f"SchedulerParameters={lower}", *p.SCHEDULER_NUMBERS[lower])
            if lower in self.scheduler:
                self._warn(where, f"SchedulerParameters={lower}", p.AGAIN)
            self.scheduler[lower] = value.strip()
            if lower in p.SCHEDULER_INERT:
                self._warn(where, f"SchedulerParameters={lower}", p.TUNING)

    def _typed(self, table: Mapping[str, p.Parameter], line: Line, start: Values | None = None) -> Values:
        """The typed values of a line over `start`; warns of inert keys."""
        values = dict(start or {})
        seen: set[str] = set()
        for pair in line.pairs:
            row = p.find(table, pair.key)
            if row.name in seen:
                raise SpecError(f"{row.name} stands twice on one line")
            seen.add(row.name)
            values[row.name] = row.value(pair.value)
            if not row.is_silent(pair.value):
                self._warn(line.where, row.name, row.inert)
        return values

    def _warn(self, where: str, name: str, reason: str) -> None:
        self.warnings.setdefault((name, reason), ConfigWarning(where, name, reason))

    def _node_line(self, line: Line) -> None:
        names_text = line.pairs[0].value
        values = self._typed(p.NODE_LINE, line, self.defaults.get("node"))
        if names_text.upper() == "DEFAULT":
            values.pop("NodeName")
            self.defaults["node"] = values
            return
        names = hostlist.expand(names_text)
        if not names:
            raise SpecError("NodeName names no node")
        hostnames = _spread(values, "NodeHostname", names)
        addresses = _spread(values, "NodeAddr", hostnames)
        shape = _shape(values)
        state, _, _ = str(values.get("State", "UNKNOWN")).upper().partition("+")
        if state not in NODE_STATES:
            raise SpecError(f"invalid State={state[:64]} of a node: expected {', '.join(NODE_STATES)}")
        if state in ("FUTURE", "CLOUD"):
            self._warn(line.where, f"State={state}", p.LATER)
        for name, hostname, address in zip(names, hostnames, addresses, strict=True):
            if name in self.nodes:
                raise SpecError(f"node {name} is defined twice")
            if len(self.nodes) >= hostlist.MAX_HOSTS:
                raise SpecError(f"more than {hostlist.MAX_HOSTS} nodes")
            self.nodes[name] = NodeConfig(
                name=name,
                hostname=hostname,
                address=address,
                memory_mib=_int(values, "RealMemory", 1),
                tmp_disk_mib=_int(values, "TmpDisk"),
                gres=str(values.get("Gres", "")),
                features=_words(values, "Features") or _words(values, "Feature"),
                weight=_int(values, "Weight", 1),
                state=state,
                reason=str(values.get("Reason", "")),
                **shape,
            )

    def _partition_line(self, line: Line) -> None:
        values = self._typed(p.PARTITION_LINE, line, self.defaults.get("partition"))
        name = str(values.pop("PartitionName"))
        if name.upper() == "DEFAULT":
            self.defaults["partition"] = values
            return
        if not name or any(char in name for char in ", []*"):
            raise SpecError(f"invalid PartitionName={name[:64]!r}: one name without blanks, commas, brackets or stars")
        if name in self.partitions:
            raise SpecError(f"partition {name} is defined twice")
        self.partitions[name] = (line, {"PartitionName": name, **values})

    def _partition(self, values: Values) -> PartitionConfig:
        state = str(values.get("State", "UP")).upper()
        if state not in PARTITION_STATES:
            raise SpecError(f"invalid State={state[:64]} of a partition: expected {', '.join(PARTITION_STATES)}")
        maximum, default = _limit(values, "MaxTime"), _limit(values, "DefaultTime")
        return PartitionConfig(
            name=str(values["PartitionName"]),
            nodes=self._members(str(values.get("Nodes", ""))),
            default=bool(values.get("Default", False)),
            state=state,
            max_time_s=maximum,
            default_time_s=default,
            priority_tier=_int(values, "PriorityTier", 1),
            max_nodes=_int(values, "MaxNodes") or None,
            min_nodes=_int(values, "MinNodes"),
            def_mem_per_cpu_mib=_int(values, "DefMemPerCPU"),
            max_mem_per_cpu_mib=_int(values, "MaxMemPerCPU"),
            def_mem_per_node_mib=_int(values, "DefMemPerNode"),
            max_mem_per_node_mib=_int(values, "MaxMemPerNode"),
            def_cpus_per_gpu=_int(values, "DefCpuPerGPU"),
            def_mem_per_gpu_mib=_int(values, "DefMemPerGPU"),
            allow_groups=_allowed(values, "AllowGroups"),
            allow_accounts=_allowed(values, "AllowAccounts"),
            topology=str(values.get("Topology", "")),
            preempt_mode=self._preempt_mode(values),
        )

    def _preempt_mode(self, values: Values) -> str:
        """The partition's, else the cluster's; of those that Slurm knows only REQUEUE means something here."""
        given = str(values.get("PreemptMode") or self.values["PreemptMode"]).upper()
        modes = given.split(",")
        unknown = [mode for mode in modes if mode not in PREEMPT_MODES]
        if unknown:
            raise SpecError(f"invalid PreemptMode={given[:64]}: expected {', '.join(PREEMPT_MODES)}")
        return "REQUEUE" if "REQUEUE" in modes else "OFF"

    def _members(self, text: str, depth: int = 0) -> tuple[str, ...]:
        """Node names of a Nodes= text, in the order of the configuration."""
        wanted: dict[str, None] = {}
        for name in hostlist.expand(text):
            if name.upper() == "ALL":
                wanted.update(dict.fromkeys(self.nodes))
            elif name in self.nodes:
                wanted[name] = None
            elif name in self.sets and depth < 2:
                values = self.sets[name][1]
                feature = str(values.get("Feature", ""))
                wanted.update({node.name: None for node in self.nodes.values() if feature and feature in node.features})
                wanted.update(dict.fromkeys(self._members(str(values.get("Nodes", "")), depth + 1)))
            else:
                raise SpecError(f"no node or NodeSet is named {name[:64]!r}{p.nearest(name, [*self.nodes, *self.sets])}")
        return tuple(name for name in self.nodes if name in wanted)

    def _down(self, values: Values) -> None:
        state = str(values.get("State", "DOWN")).upper()
        if state not in ("DOWN", "DRAIN", "FAIL", "FAILING", "FUTURE", "UNKNOWN"):
            raise SpecError(f"invalid State={state[:64]} of DownNodes: expected DOWN, DRAIN, FAIL, FAILING, FUTURE or UNKNOWN")
        for name in self._members(str(values["DownNodes"])):
            node = self.nodes[name]
            fields = {field: getattr(node, field) for field in node.__struct_fields__}
            self.nodes[name] = NodeConfig(**fields | {"state": state, "reason": str(values.get("Reason", ""))})

    def _gres(self, line: Line) -> list[GresConfig]:
        values = self._typed(p.GRES_CONF, line)
        if "Name" not in values:
            if set(values) == {"AutoDetect"}:
                return []
            raise SpecError("a line of gres.conf needs Name")
        return [gres_of_line(values, self._members(str(values["NodeName"])) if values.get("NodeName") else ())]


def _spread(values: Values, key: str, names: list[str]) -> list[str]:
    """NodeHostname and NodeAddr: one for each node, or one for all (several nodes on a machine)."""
    text = str(values.get(key, ""))
    found = hostlist.expand(text) if text else list(names)
    if len(found) == 1:
        return found * len(names)
    if len(found) != len(names):
        raise SpecError(f"{key} names {len(found)} hosts for {len(names)} nodes: expected as many, or one for all")
    return found


def _shape(values: Values) -> dict[str, int]:
    """CPUs and their topology; what is not given follows from the rest, and what is given must agree."""
    boards = _int(values, "Boards") or 1
    sockets = _int(values, "Sockets") or (_int(values, "SocketsPerBoard") * boards)
    cores, threads = _int(values, "CoresPerSocket"), _int(values, "ThreadsPerCore") or 1
    cpus = _int(values, "CPUs") or _int(values, "Procs")
    if not cpus:
        cpus = (sockets or 1) * (cores or 1) * threads
    elif not sockets and not cores:
        sockets, cores = 1, max(cpus // threads, 1)
    sockets = sockets or 1
    cores = cores or max(cpus // (sockets * threads), 1)
    if cpus not in (sockets * cores * threads, sockets * cores):
        raise SpecError(f"CPUs={cpus} does not match {sockets} sockets x {cores} cores x {threads} threads")
    if cpus > p.CPUS_MOST:
        raise SpecError(f"{sockets} sockets x {cores} cores x {threads} threads are {cpus} CPUs: {p.CPUS_MOST} are allowed")
    return {"cpus": cpus, "boards": boards, "sockets": sockets, "cores_per_socket": cores, "threads_per_core": threads}


def _int(values: Values, key: str, default: int = 0) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else default


def _words(values: Values, key: str) -> tuple[str, ...]:
    value = values.get(key)
    return value if isinstance(value, tuple) else ()


def _allowed(values: Values, key: str) -> tuple[str, ...]:
    words = _words(values, key)
    return () if [word.upper() for word in words] == ["ALL"] else words


def _limit(values: Values, key: str) -> int | None:
    """A time limit in seconds, rounded up to minutes."""
    value = values.get(key)
    return -(-value // 60) * 60 if isinstance(value, int) else None
