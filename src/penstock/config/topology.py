"""Reads topology.yaml, or topology.conf as TopologyPlugin says: which switches and blocks the nodes of slurm.conf hang at.

    topology.yaml    several topologies, each of its own kind; it counts where it is there, whatever TopologyPlugin says (as in Slurm
                     25.05); `level_names: [rack, row]` beside `switches` or `blocks` names levels for --topology
    topology.conf    one topology, called `default`: SwitchName lines for topology/tree, BlockName and BlockSizes lines for topology/block

Guarantees: what comes back is a hierarchy over known nodes (`spec.topology.check_*`), or a ConfigError lists what is wrong with file and
line and what is allowed. Exactly one topology is the default one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

import msgspec

from penstock.config.cluster import TopologyConfig, TopologyDomain
from penstock.config.lines import MAX_PROBLEMS, ConfigError, Line, read_lines
from penstock.config.yaml_subset import Item, read_yaml
from penstock.spec import hostlist
from penstock.spec import topology as t
from penstock.spec.errors import SpecError
from penstock.spec.parameters import nearest
from penstock.spec.quantities import parse_count

CONF, YAML = "topology.conf", "topology.yaml"
PLUGINS = {"topology/tree": t.TREE, "topology/block": t.BLOCK, "topology/flat": t.FLAT, "topology/default": t.FLAT, "topology/none": t.FLAT}
"""TopologyPlugin and what it reads; ring, torus3d and 3d_torus are not planned for."""
MAX_TOPOLOGIES = 64
DEFAULT_NAME = "default"
SWITCH_KEYS = ("SwitchName", "Nodes", "Switches", "LinkSpeed")
BLOCK_KEYS = ("BlockName", "Nodes", "BlockSizes")
LEVEL_NAMES = "level_names"
"""Our own key of a tree or of blocks: what --topology calls its levels, narrowest first."""


def plugin_kind(text: str) -> str:
    """tree, block or flat; SpecError names the allowed plug-ins."""
    kind = PLUGINS.get(text.strip().lower())
    if kind is None:
        raise SpecError(f"invalid TopologyPlugin={text[:64]}: expected {', '.join(PLUGINS)}")
    return kind


def read_topologies(folder: str, kind: str, nodes: Collection[str]) -> tuple[TopologyConfig, ...]:
    """All topologies of the configuration in `folder`; none for a flat one."""
    yaml_path, conf_path = os.path.join(folder, YAML), os.path.join(folder, CONF)
    if os.path.exists(yaml_path):
        return _Yaml(yaml_path, nodes).topologies()
    if kind == t.FLAT:
        return ()
    if not os.path.exists(conf_path):
        raise ConfigError(f"{conf_path} is missing: TopologyPlugin=topology/{kind} needs it (or {YAML})")
    return (_conf(conf_path, kind, nodes),)


class _Problems:
    """What is wrong, so that a person sees more than the first."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def attempt(self, where: str, step: Callable[[], None]) -> None:
        try:
            step()
        except ConfigError as error:
            self.texts.append(str(error))
        except SpecError as error:
            self.texts.append(f"{where}: {error}")

    def settle(self) -> None:
        if self.texts:
            more = len(self.texts) - MAX_PROBLEMS
            raise ConfigError("\n".join(self.texts[:MAX_PROBLEMS] + ([f"... and {more} more"] if more > 0 else [])))


def _conf(path: str, kind: str, nodes: Collection[str]) -> TopologyConfig:
    problems = _Problems()
    domains: list[t.Domain] = []
    speeds: dict[str, str] = {}
    sizes: tuple[int, ...] = ()
    sizes_at = path
    keys = SWITCH_KEYS if kind == t.TREE else BLOCK_KEYS

    def take(line: Line) -> None:
        nonlocal sizes, sizes_at
        values = _values(line, keys)
        name = values.get(keys[0])
        if kind == t.BLOCK and name is None:
            if set(values) != {"BlockSizes"} or sizes:
                raise SpecError("expected a line with BlockName and Nodes, or one line with BlockSizes alone")
            sizes, sizes_at = tuple(parse_count(word, "BlockSizes") for word in values["BlockSizes"].split(",")), line.where
            return
        if name is None or "BlockSizes" in values:
            raise SpecError(f"expected a line that begins with {keys[0]}=")
        if "LinkSpeed" in values:
            speeds[name] = str(parse_count(values["LinkSpeed"], "LinkSpeed"))
        domains.append(_domain(name, values.get("Nodes", ""), values.get("Switches", ""), nodes, line.where))

    for line in read_lines(path):
        problems.attempt(line.where, lambda line=line: take(line))  # type: ignore[misc]
    problems.settle()
    return _checked(DEFAULT_NAME, kind, True, domains, sizes, sizes_at, speeds, (), "")


def _values(line: Line, keys: tuple[str, ...]) -> dict[str, str]:
    by_lower = {key.lower(): key for key in keys}
    values: dict[str, str] = {}
    for pair in line.pairs:
        key = by_lower.get(pair.key.lower())
        if key is None:
            raise SpecError(f"unknown parameter {pair.key[:64]!r}{nearest(pair.key, keys)}: expected {', '.join(keys)}")
        if key in values:
            raise SpecError(f"{key} stands twice on one line")
        values[key] = pair.value
    return values


def _domain(name: str, nodes: str, children: str, known: Collection[str], where: str) -> t.Domain:
    if not name or any(char in name for char in ", []*"):
        raise SpecError(f"invalid name {name[:64]!r}: one name without blanks, commas, brackets or stars")
    members = tuple(known) if nodes.upper() == "ALL" else tuple(hostlist.expand(nodes)) if nodes else ()
    for member in members:
        if member not in known:
            raise SpecError(f"{name}: no node is named {member[:64]!r}{nearest(member, known)}")
    return t.Domain(name, members, tuple(hostlist.expand(children)) if children else (), where)


def _checked(
    name: str,
    kind: str,
    default: bool,
    domains: list[t.Domain],
    sizes: tuple[int, ...],
    where: str,
    speeds: Mapping[str, str],
    level_names: tuple[str, ...],
    named_at: str,
) -> TopologyConfig:
    problems = _Problems()
    if len(domains) > t.MAX_DOMAINS:
        raise ConfigError(f"{where}: {len(domains)} switches or blocks: {t.MAX_DOMAINS} are allowed")
    problems.texts += t.check_tree(domains) if kind == t.TREE else t.check_blocks(domains, sizes, where)
    if kind == t.TREE and not domains:
        problems.texts.append(f"{where}: a tree topology needs at least one switch")
    problems.settle()
    if kind == t.BLOCK:
        sizes = sizes or t.default_sizes(domains)
    if level_names:
        levels = t.tree_levels(domains) if kind == t.TREE else t.block_levels(domains, sizes)
        problems.texts += t.check_level_names(level_names, levels, named_at)
        problems.settle()
    rows = tuple(TopologyDomain(domain.name, domain.nodes, domain.children, int(speeds.get(domain.name, "1"))) for domain in domains)
    return TopologyConfig(name, kind, default, rows, sizes, level_names)


class _Yaml:
    """topology.yaml: a list of topologies, each with a name, perhaps cluster_default, and one of tree, block and flat."""

    def __init__(self, path: str, nodes: Collection[str]) -> None:
        self._path = path
        self._nodes = nodes

    def topologies(self) -> tuple[TopologyConfig, ...]:
        document = read_yaml(self._path)
        items = _items(document, "topologies")
        if not 1 <= len(items) <= MAX_TOPOLOGIES:
            raise ConfigError(f"{document.where}: {len(items)} topologies: 1 to {MAX_TOPOLOGIES} are allowed")
        problems = _Problems()
        found: list[TopologyConfig] = []
        for item in items:
            problems.attempt(item.where, lambda item=item: found.append(self._one(item)))  # type: ignore[misc]
        problems.settle()
        names = [topology.name for topology in found]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"{document.where}: two topologies are called {name}")
        defaults = [topology.name for topology in found if topology.default]
        if len(defaults) > 1:
            raise ConfigError(f"{document.where}: cluster_default is true of {' and '.join(defaults)}: one default is allowed")
        if not defaults:
            found[0] = msgspec.structs.replace(found[0], default=True)
        return tuple(found)

    def _one(self, item: Item) -> TopologyConfig:
        entries = _entries(item, ("topology", "cluster_default", t.TREE, t.BLOCK, t.FLAT), ("topology",))
        name = _text(entries["topology"])
        if not name or any(char in name for char in ", []*"):
            raise SpecError(f"invalid topology name {name[:64]!r}: one name without blanks, commas, brackets or stars")
        kinds = [kind for kind in (t.TREE, t.BLOCK, t.FLAT) if kind in entries]
        if len(kinds) != 1:
            raise SpecError(f"topology {name} has {' and '.join(kinds) or 'no kind'}: expected one of tree, block, flat")
        default = "cluster_default" in entries and _switch(entries["cluster_default"])
        inner = entries[kinds[0]]
        if kinds[0] == t.FLAT:
            if not _switch(inner):
                raise ConfigError(f"{inner.where}: flat: expected true")
            return TopologyConfig(name, t.FLAT, default)
        if kinds[0] == t.TREE:
            parts = _entries(inner, ("switches", LEVEL_NAMES), ("switches",))
            switches = [self._row(row, "switch") for row in _items(parts["switches"], "switches")]
            return _checked(name, t.TREE, default, switches, (), inner.where, {}, *_level_names(parts))
        parts = _entries(inner, ("block_sizes", "blocks", LEVEL_NAMES), ("blocks",))
        blocks = [self._row(row, "block") for row in _items(parts["blocks"], "blocks")]
        sizes_at = parts.get("block_sizes")
        sizes = tuple(parse_count(_text(size), "block_sizes") for size in _items(sizes_at, "block_sizes")) if sizes_at else ()
        return _checked(name, t.BLOCK, default, blocks, sizes, (sizes_at or inner).where, {}, *_level_names(parts))

    def _row(self, item: Item, what: str) -> t.Domain:
        entries = _entries(item, (what, "nodes", "children") if what == "switch" else (what, "nodes"), (what,))
        texts = {key: _text(entry) for key, entry in entries.items()}
        try:
            return _domain(texts[what], texts.get("nodes", ""), texts.get("children", ""), self._nodes, item.where)
        except SpecError as error:
            raise ConfigError(f"{item.where}: {error}") from None


def _level_names(parts: dict[str, Item]) -> tuple[tuple[str, ...], str]:
    """(names of the levels, narrowest first, where they stand)."""
    item = parts.get(LEVEL_NAMES)
    return (tuple(_text(name) for name in _items(item, LEVEL_NAMES)), item.where) if item else ((), "")


def _items(item: Item, what: str) -> list[Item]:
    if not isinstance(item.value, list):
        raise ConfigError(f"{item.where}: expected a list of {what}")
    return item.value


def _entries(item: Item, allowed: tuple[str, ...], needed: tuple[str, ...]) -> dict[str, Item]:
    if not isinstance(item.value, dict):
        raise ConfigError(f"{item.where}: expected the keys {', '.join(allowed)}")
    for key, entry in item.value.items():
        if key not in allowed:
            raise ConfigError(f"{entry.where}: unknown key {key[:64]!r}{nearest(key, allowed)}: expected {', '.join(allowed)}")
    for key in needed:
        if key not in item.value:
            raise ConfigError(f"{item.where}: {key} is missing")
    return item.value


def _text(item: Item) -> str:
    if not isinstance(item.value, str):
        raise ConfigError(f"{item.where}: expected a word")
    return item.value


def _switch(item: Item) -> bool:
    text = _text(item).lower()
    if text not in ("true", "false", "yes", "no"):
        raise ConfigError(f"{item.where}: {text[:64]!r}: expected true or false")
    return text in ("true", "yes")
