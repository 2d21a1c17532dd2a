"""Random clusters, loads and queues for the planner's property tests: everything comes from the Random that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord, TopologyRecord
from penstock.core.plan import Plan, Share
from penstock.core.request import WHOLE_NODE, Request

NOW_S = 10_000
TYPES = ("gpu", "gpu:a100", "gpu:h100")
LEVELS = ("leaf", "rack", "spine")


@dataclass
class World:
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    partitions: dict[str, PartitionRecord] = field(default_factory=dict)
    running: dict[int, tuple[int, tuple[Share, ...]]] = field(default_factory=dict)
    pending: dict[int, PendingRecord] = field(default_factory=dict)
    topologies: tuple[TopologyRecord, ...] = ()
    licenses: dict[str, int] = field(default_factory=dict)
    held: dict[int, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """Licences of running jobs."""

    def columns(self) -> Columns:
        columns = Columns()
        columns.set_topologies(self.topologies)
        columns.set_licenses(self.licenses)
        for node in self.nodes.values():
            columns.upsert_node(node)
        for partition in self.partitions.values():
            columns.upsert_partition(partition)
        for job_id, (end_s, shares) in self.running.items():
            columns.start_running(job_id, end_s, shares, self.held.get(job_id, ()))
        for record in self.pending.values():
            columns.upsert_pending(record)
        return columns

    def after(self, plan: Plan) -> World:
        """The same world when the plan has been carried out."""
        running, pending, held = dict(self.running), dict(self.pending), dict(self.held)
        for number, start in enumerate(plan.starts):
            record = pending[start.job_id]
            running[1_000_000 + number] = (plan.now_s + (start.time_limit_s or record.time_limit_s), start.shares)
            held[1_000_000 + number] = start.licenses
            if record.count == 1:
                del pending[start.job_id]
            else:
                startable = None if record.startable is None else record.startable - 1
                pending[start.job_id] = _with_count(record, record.count - 1, startable)
        return World(self.nodes, self.partitions, running, pending, self.topologies, self.licenses, held)


def _with_count(record: PendingRecord, count: int, startable: int | None) -> PendingRecord:
    return replace(record, count=count, startable=startable)


def draw_node(random: Random, index: int) -> NodeRecord:
    pools = random.sample(TYPES, random.randint(0, 2))
    return NodeRecord(
        f"n{index}",
        index,
        random.randint(2, 8),
        random.randint(2, 16) * 100,
        tuple(sorted((pool, random.randint(1, 4)) for pool in pools)),
        random.random() < 0.85,
        random.randint(1, 2),
        tuple(name for name in ("x", "y") if random.random() < 0.5),
    )


def draw_request(random: Random, names: list[str]) -> Request:
    facts: dict[str, object] = {}
    shape = random.randint(0, 5)
    if shape == 1:
        facts["nodes_min"] = facts["nodes_max"] = random.randint(1, 3)
    elif shape == 2:
        facts["nodes_min"], facts["nodes_max"] = 1, random.randint(1, 3)
        facts["ntasks"] = random.randint(0, 6)
    elif shape == 3:
        facts["ntasks"] = random.randint(1, 8)
        facts["ntasks_per_node"] = random.randint(0, 3)
    elif shape == 4:
        facts["ntasks_per_node"] = random.randint(0, 3)
        facts["nodes_min"] = random.randint(1, 2)
    facts["cpus_per_task"] = random.choice((1, 1, 1, 2, 3))
    memory = random.randint(0, 4)
    if memory == 1:
        facts["memory_per_node_mib"] = random.randint(1, 10) * 100
    elif memory == 2:
        facts["memory_per_cpu_mib"] = random.randint(1, 4) * 25
    elif memory == 3 and random.random() < 0.3:
        facts["memory_per_node_mib"] = WHOLE_NODE
    if random.random() < 0.4:
        kinds = random.sample(TYPES, random.choice((1, 1, 2)))
        facts[random.choice(("gres_per_node", "gres_per_task", "gres_total"))] = tuple(
            sorted((kind, random.randint(1, 3)) for kind in kinds)
        )
    facts["exclusive"] = random.random() < 0.1
    if random.random() < 0.1:
        facts["cpus_per_node"] = random.randint(1, 5)
    if len(facts.get("gres_total", ())) == 1 and random.random() < 0.5:
        facts["cpus_per_gpu"] = random.randint(1, 2)
    elif len(facts.get("gres_total", ())) == 1 and random.random() < 0.5 and memory in (0, 3) and "memory_per_node_mib" not in facts:
        facts["memory_per_gpu_mib"] = random.randint(1, 4) * 50
    if random.random() < 0.15:
        facts["required_nodes"] = tuple(random.sample(names, min(len(names), random.randint(1, 2))))
    if random.random() < 0.15:
        facts["excluded_nodes"] = (random.choice(names),)
    if random.random() < 0.15:
        facts["constraint"] = random.choice(("x", "y", "x&y", "x|y", "[x|y]", "[x*1&y*1]", "x*1", "(x|y)&y"))
    if random.random() < 0.1:
        facts["contiguous"] = True
    if random.random() < 0.25:
        facts["licenses"] = tuple((name, random.randint(1, 2)) for name in ("l", "m") if random.random() < 0.7)
        facts["any_license"] = random.random() < 0.2 and len(facts["licenses"]) > 1
    return Request(**facts)  # type: ignore[arg-type]


def draw_topology(random: Random, name: str, names: list[str]) -> TopologyRecord:
    """One to three nested levels over most of the nodes, some of which may not exist."""
    placed = [node for node in (*names, "n98", "n99") if random.random() < 0.9] or names[:1]
    random.shuffle(placed)
    domains = [(node,) for node in placed]
    levels = []
    for level in LEVELS[: random.randint(1, 3)]:
        joined: list[tuple[str, ...]] = []
        while domains:
            count = random.randint(1, 4)
            joined.append(sum(domains[:count], ()))
            domains = domains[count:]
        domains = joined
        levels.append((level, tuple((f"{level}{number}", nodes) for number, nodes in enumerate(domains))))
    return TopologyRecord(name, random.choice(("tree", "block")), tuple(levels))


def draw_near(random: Random, request: Request) -> Request:
    """The request with wishes for nodes that are near each other, more often for gangs."""
    wish = random.choice((0, 0, 1, 2, 3, 4))
    switches = random.randint(1, 3) if wish in (1, 4) else 0
    level = random.choice(LEVELS) if wish == 2 else ""
    nodes = request.nodes_min if request.nodes_min == request.nodes_max else random.randint(1, 6)
    segment = random.choice([size for size in range(1, nodes + 1) if nodes % size == 0]) if wish >= 3 else 0
    if request.ntasks or (nodes == request.nodes_max and not segment):
        return replace(request, switches=switches, level=level)
    return replace(request, nodes_min=nodes, nodes_max=nodes, switches=switches, level=level, segment=segment)


def draw_pending(random: Random, job_id: int, request: Request, partitions: list[str]) -> PendingRecord:
    count = random.choice((1, 1, 1, 5))
    limit_s = random.randint(1, 40)
    return PendingRecord(
        job_id,
        request,
        tuple(random.sample(partitions, random.choice((1, 1, min(2, len(partitions)))))),
        random.randint(0, 2),
        random.randint(0, 30),
        limit_s,
        count,
        random.choice((None, random.randint(0, count))),
        time_min_s=random.randint(1, limit_s) if random.random() < 0.2 else 0,
        deadline_s=NOW_S + random.randint(1, 90) if random.random() < 0.2 else 0,
    )


def draw_near_world(random: Random) -> World:
    """A world whose partitions have topologies and whose jobs care."""
    world = draw_world(random, nodes_most=14)
    names = list(world.nodes)
    world.topologies = tuple(draw_topology(random, name, names) for name in ("ib", "nvlink"))
    for partition in list(world.partitions.values()):
        world.partitions[partition.name] = replace(partition, topology=random.choice(("ib", "ib", "nvlink", "")))
    for record in list(world.pending.values()):
        world.pending[record.job_id] = replace(record, request=draw_near(random, record.request))
    return world


def draw_world(random: Random, nodes_most: int = 8) -> World:
    world = World()
    for index in range(random.randint(1, nodes_most)):
        node = draw_node(random, index)
        world.nodes[node.name] = node
    names = list(world.nodes)
    world.partitions["p"] = PartitionRecord("p", tuple(names))
    if random.random() < 0.4:
        part = tuple(random.sample(names, random.randint(0, len(names))))
        state = random.choice(("UP", "UP", "DRAIN", "DOWN"))
        world.partitions["q"] = PartitionRecord("q", part, state, random.choice((0, 20)), random.choice((0, 1)), random.randint(1, 2))
    free = {node.name: [node.cpus, node.memory_mib, dict(node.gres)] for node in world.nodes.values()}
    for number in range(random.randint(0, 5)):
        shares = []
        for name in random.sample(names, random.randint(1, min(2, len(names)))):
            cpus, memory_mib, gres = free[name]
            if cpus:
                taken = random.randint(1, cpus)
                memory = random.randint(0, memory_mib)
                devices = {pool: random.randint(0, count) for pool, count in gres.items()}
                free[name] = [cpus - taken, memory_mib - memory, {pool: gres[pool] - devices[pool] for pool in gres}]
                shares.append(Share(name, 1, taken, memory, tuple(sorted((pool, count) for pool, count in devices.items() if count))))
        if shares:
            world.running[900_000 + number] = (NOW_S + random.randint(-2, 30), tuple(shares))
    world.licenses = {"l": random.randint(1, 4), "m": random.randint(1, 3)}
    world.held = {job_id: (("l", 1),) for job_id in world.running if random.random() < 0.2}
    while sum(dict(held)["l"] for held in world.held.values()) > world.licenses["l"]:
        world.held.popitem()
    requests = [draw_request(random, names) for _ in range(random.randint(1, 5))]
    for job_id in range(1, random.randint(1, 12) + 1):
        world.pending[job_id] = draw_pending(random, job_id, random.choice(requests), list(world.partitions))
    return world
