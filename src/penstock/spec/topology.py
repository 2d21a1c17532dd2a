"""Topologies in the words of topology.conf(5): switches and blocks, their levels, a node's address.

`check_tree` and `check_blocks` say what makes a description no topology: unknown or repeated names, a switch with two parents, a cycle,
block sizes that do not fit. All other functions assume that they found nothing.

Levels, narrowest first, are what the planner thinks in: (name, [(domain, nodes)]). In a tree a leaf switch has height 0 and any other one
more than its highest child; level k joins what hangs together by switches of height k or less. In a block topology the levels are the base
blocks, then groups of consecutive blocks by BlockSizes, then all blocks together.

Names of levels, which --topology takes: those of `level_names` in topology.yaml (a key of our own: Slurm's levels have numbers), narrowest
first. Those that nobody named are `leaf`, `level1`, `level2` in a tree, as `scontrol show topology` numbers them, and `block`, `block4`
(so many nodes), `all` with blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from penstock.spec import hostlist

TREE, BLOCK, FLAT = "tree", "block", "flat"
MAX_DOMAINS = 65_536
"""Switches or blocks of one topology."""
MAX_HEIGHT = 32
"""Switches above each other."""
MAX_SIZES = 16
"""Slurm's own bound on BlockSizes."""
LEAF, BASE, ALL = "leaf", "block", "all"
"""Names of the narrowest level of a tree, the narrowest of blocks, and of all blocks together."""

Levels = tuple[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], ...]


class Domain(NamedTuple):
    """A switch with nodes or with child switches, or a block of nodes. `where` is file and line, for complaints."""

    name: str
    nodes: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    where: str = ""


def check_tree(switches: Sequence[Domain]) -> Iterator[str]:
    """What is wrong with these switches, each problem with its place."""
    known: dict[str, Domain] = {}
    for switch in switches:
        if switch.name in known:
            yield f"{switch.where}: switch {switch.name} is defined twice, first at {known[switch.name].where}"
        known.setdefault(switch.name, switch)
        if bool(switch.nodes) == bool(switch.children):
            yield f"{switch.where}: switch {switch.name} has {'both' if switch.nodes else 'neither'}: expected either Nodes or Switches"
    yield from _twice(switches, "node", "switches")
    parents: dict[str, Domain] = {}
    for switch in switches:
        for child in switch.children:
            if child not in known:
                yield f"{switch.where}: switch {switch.name}: no switch is named {child[:64]!r}"
            elif child in parents:
                other = "itself twice" if parents[child] is switch else f"switch {parents[child].name}"
                yield f"{switch.where}: switch {child} hangs below {switch.name} and below {other}: one parent is allowed"
            parents.setdefault(child, switch)
    for switch in switches:
        above: list[str] = [switch.name]
        while above[-1] in parents and len(above) <= MAX_HEIGHT:
            above.append(parents[above[-1]].name)
            if above[-1] in above[:-1]:
                circle = above[above.index(above[-1]) :]
                yield f"{parents[circle[0]].where}: switches hang below each other in a circle: {' below '.join(circle)}"
                return
        if len(above) > MAX_HEIGHT and switch.name == above[0]:
            yield f"{switch.where}: switch {switch.name} lies below more than {MAX_HEIGHT} others"
            return


def check_blocks(blocks: Sequence[Domain], sizes: Sequence[int], where: str) -> Iterator[str]:
    """What is wrong with these blocks and sizes; `where` is the place of the sizes."""
    known: dict[str, Domain] = {}
    for block in blocks:
        if block.name in known:
            yield f"{block.where}: block {block.name} is defined twice, first at {known[block.name].where}"
        known.setdefault(block.name, block)
        if not block.nodes:
            yield f"{block.where}: block {block.name} has no nodes"
    yield from _twice(blocks, "node", "blocks")
    if not blocks:
        yield f"{where}: a block topology needs at least one block"
        return
    if len(sizes) > MAX_SIZES:
        yield f"{where}: {len(sizes)} block sizes: {MAX_SIZES} are allowed"
        return
    for before, size in pairwise(sizes):
        times, rest = divmod(size, max(1, before))
        if rest or times < 2 or times & (times - 1):
            yield f"{where}: block size {size} after {before}: allowed are {before} times 2, 4, 8, ..."
    smallest = min(blocks, key=lambda block: len(block.nodes))
    if sizes and not 1 <= sizes[0] <= len(smallest.nodes):
        yield f"{where}: the first block size is {sizes[0]}: allowed are 1 to {len(smallest.nodes)}, the nodes of block {smallest.name}"


def check_level_names(names: Sequence[str], levels: Levels, where: str) -> Iterator[str]:
    """What is wrong with the names of `levels`, whose first ones are to be called so."""
    if len(names) > len(levels):
        yield f"{where}: {len(names)} level names: there are {len(levels)} levels"
    for name in names:
        if not name.replace("-", "").replace("_", "").isalnum():
            yield f"{where}: invalid level name {name[:64]!r}: letters, digits, - and _ are allowed"
    called = [*names, *(name for name, _ in levels[len(names) :])]
    for name in dict.fromkeys(called):
        if called.count(name) > 1:
            yield f"{where}: two levels are called {name}"


def renamed(levels: Levels, names: Sequence[str]) -> Levels:
    """The levels, the first ones called `names`."""
    return tuple((names[at] if at < len(names) else name, domains) for at, (name, domains) in enumerate(levels))


def _twice(domains: Sequence[Domain], what: str, kind: str) -> Iterator[str]:
    owner: dict[str, Domain] = {}
    for domain in domains:
        for name in domain.nodes:
            if name in owner:
                pair = f"{owner[name].name} and {domain.name}" if owner[name] is not domain else f"{domain.name} twice"
                yield f"{domain.where}: {what} {name} is in {kind} {pair}"
            owner.setdefault(name, domain)


def default_sizes(blocks: Sequence[Domain]) -> tuple[int, ...]:
    """Where BlockSizes is not given: the smallest block and its doubles, as far as there are blocks for them."""
    base = min(len(block.nodes) for block in blocks)
    return tuple(base << times for times in range(MAX_SIZES) if 1 << times <= len(blocks))


def heights(switches: Sequence[Domain]) -> dict[str, int]:
    """A switch's level as `scontrol show topology` prints it."""
    known = {switch.name: switch for switch in switches}
    found: dict[str, int] = {}

    def height(name: str) -> int:
        if name not in found:
            found[name] = 1 + max((height(child) for child in known[name].children), default=-1)
        return found[name]

    for name in known:
        height(name)
    return found


def nodes_below(switches: Sequence[Domain]) -> dict[str, tuple[str, ...]]:
    """All nodes of each switch."""
    known = {switch.name: switch for switch in switches}
    found: dict[str, tuple[str, ...]] = {}

    def below(name: str) -> tuple[str, ...]:
        if name not in found:
            found[name] = known[name].nodes + sum((below(child) for child in known[name].children), ())
        return found[name]

    for name in known:
        below(name)
    return found


def tree_levels(switches: Sequence[Domain]) -> Levels:
    """See the module's text; levels have the names that nobody gave them."""
    height, nodes = heights(switches), nodes_below(switches)
    parent = {child: switch.name for switch in switches for child in switch.children}
    levels = []
    for level in range(max(height.values(), default=-1) + 1):
        tops = [name for name in height if height[name] <= level and (name not in parent or height[parent[name]] > level)]
        levels.append((f"level{level}" if level else LEAF, tuple((name, nodes[name]) for name in tops)))
    return tuple(levels)


def block_groups(blocks: Sequence[Domain], sizes: Sequence[int]) -> list[tuple[int, list[Sequence[Domain]]]]:
    """(size, groups of consecutive blocks that are planned as so many nodes) for each block size."""
    groups = []
    for size in sizes:
        times = size // sizes[0]
        groups.append((size, [blocks[at : at + times] for at in range(0, len(blocks), times)]))
    return groups


def group_name(group: Sequence[Domain]) -> str:
    return hostlist.compress([block.name for block in group])


def block_levels(blocks: Sequence[Domain], sizes: Sequence[int]) -> Levels:
    """See the module's text; levels have the names that nobody gave them."""
    levels: list[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]]] = []
    for size, groups in block_groups(blocks, sizes):
        joined = tuple((group_name(group), sum((block.nodes for block in group), ())) for group in groups)
        levels.append((f"{BASE}{size}" if levels else BASE, joined))
    if len(levels[-1][1]) > 1:
        levels.append((ALL, ((group_name(blocks), sum((block.nodes for block in blocks), ())),)))
    return tuple(levels)


def address(kind: str, domains: Sequence[Domain], node: str) -> tuple[str, str]:
    """SLURM_TOPOLOGY_ADDR and SLURM_TOPOLOGY_ADDR_PATTERN of a node: the domains from the widest to the narrowest, then the node."""
    leaf = next((domain for domain in domains if node in domain.nodes), None)
    if leaf is None or kind not in (TREE, BLOCK):
        return node, "node"
    path = [leaf.name]
    if kind == BLOCK:
        return f"{leaf.name}.{node}", "block.node"
    parent = {child: switch.name for switch in domains for child in switch.children}
    while path[0] in parent:
        path.insert(0, parent[path[0]])
    return ".".join((*path, node)), ".".join([*["switch"] * len(path), "node"])
