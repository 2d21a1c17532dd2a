"""Lines of gres.conf: which devices a node has, and whether they are as many as slurm.conf promises.

Facts from gres.conf(5) of Slurm: `File` names a file for each device, `MultipleFiles` all files of one device (a slice of a GPU, MIG, has
several), the two exclude each other; shards and MPS are spread over the devices of their files. Device files are not opened here.
"""

from __future__ import annotations

from collections.abc import Iterable

from penstock.config.cluster import GresConfig, NodeConfig
from penstock.spec import hostlist
from penstock.spec.errors import SpecError
from penstock.spec.gres import parse_node_gres
from penstock.spec.parameters import Value
from penstock.spec.quantities import parse_count

SPREAD_OVER_FILES = ("mps", "shard")
"""GRES of which a device gives several: their Count is no number of files."""


def gres_of_line(values: dict[str, Value], nodes: tuple[str, ...]) -> GresConfig:
    """One line for the named nodes (none: all). SpecError where its count and its files do not agree."""
    name = str(values["Name"])
    several = tuple(hostlist.expand(str(values.get("MultipleFiles", ""))))
    files = several or tuple(hostlist.expand(str(values.get("File", ""))))
    if several and "File" in values:
        raise SpecError("File and MultipleFiles exclude each other: the first names a file for each device, the second all files of one")
    devices = 1 if several else len(files)
    text = str(values.get("Count", ""))
    count = parse_count(text, "Count") if text else devices or 1
    if several and count != 1:
        raise SpecError(f"Count={text}: MultipleFiles={values['MultipleFiles']} is one device")
    if files and count != devices and name not in SPREAD_OVER_FILES:
        raise SpecError(f"Count={text} does not match the {devices} files of File={values['File']}")
    return GresConfig(name, str(values.get("Type", "")), count, files, nodes)


def gpu_lines(node: str, gres: Iterable[GresConfig]) -> list[GresConfig]:
    """The lines with GPUs of a node."""
    return [line for line in gres if line.name == "gpu" and (not line.nodes or node in line.nodes)]


def missing_gpus(nodes: Iterable[NodeConfig], gres: tuple[GresConfig, ...]) -> str:
    """The first node of which gres.conf lists fewer GPUs than slurm.conf promises, in words; "": none. Slurm drains such a node. A node
    without a line may have any number."""
    for node in nodes:
        lines = gpu_lines(node.name, gres)
        for item in parse_node_gres(node.gres) if lines else ():
            found = sum(line.count for line in lines if not item.type or line.type in ("", item.type))
            if item.name == "gpu" and found < item.count:
                return f"node {node.name} has Gres={node.gres}, but gres.conf lists {found} of {item.key}"
    return ""


def gpus_of(node: NodeConfig, gres: tuple[GresConfig, ...] = ()) -> str:
    """The GPUs that an agent simulates for this node: `TYPE:N`, several by commas, and `shard:M` where jobs may share them. GPUs that
    slurm.conf gives no type have those of gres.conf where it lists as many."""
    items = parse_node_gres(node.gres) if node.gres else []
    listed = [line for line in gpu_lines(node.name, gres) if line.type]
    words: list[str] = []
    for item in items:
        if item.name == "gpu" and not item.type and sum(line.count for line in listed) == item.count:
            words += [f"{line.type}:{line.count}" for line in listed]
        elif item.name == "gpu":
            words.append(f"{item.type or 'sim'}:{item.count}")
    return ",".join(words + [f"shard:{item.count}" for item in items if item.name == "shard"])
