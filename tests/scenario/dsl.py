"""Scenarios in three lines: a cluster, what runs and waits, what one cycle must do.

    cluster("2*n[cpu:4,gpu:8]").pending("a: 8gpu 1h", "b: 1gpu 10m").expect("a→n0", "b→n1")

Cluster: groups ``COUNT*PREFIX[cpu:N,mem:SIZE,gpu:N,gpu:TYPE:N,gpu:N/SHARES,weight:N,feature:NAME]`` (nodes PREFIX0, PREFIX1, ...;
8 CPUs and 64G unless said; ``gpu:2/10`` are two GPUs that jobs may share, in tenths). Jobs: ``NAME: WORD...``, where a word is
``3cpu`` (a task) or ``3cpu/gpu`` or ``3cpu/node``, ``8t`` tasks, ``4t/n``, ``2n`` or ``1-3n`` nodes, ``16G`` (a node) or ``2G/cpu`` or
``2G/gpu`` or ``allmem``, ``2gpu`` or ``2gpu:a100`` (a node), ``1gpu/task``, ``4gpu/job``, ``3shard`` (of one GPU a node), ``excl``,
``on=n0,n1``, ``not=n1``,
``has=CONSTRAINT``, ``prefer=CONSTRAINT``, ``beside`` (contiguous), ``lic=a:2,b:1`` (licences), ``min=10m`` (--time-min), ``by=1h``
(deadline), ``sw=1`` (leaf domains), ``seg=4`` (segment), ``within=LEVEL``, ``x100`` (array elements), ``%2`` (of which may start),
``prio=5``, ``user=7``, ``in=p,q``, and a time ``90s 10m 2h 1d``. The cluster's licences: ``licenses("a:4,b:1")``.
Topology: ``tree("leaf: n0-3 n4-7", "rack: n0-7")``, levels narrowest first, each a list of domains; ``blocks`` alike; partitions name it
with ``top=tree`` or ``top=block``, the partition that is there by itself uses the last one.
Expectations: ``a→n0``, ``a→n0,n1``, ``a→n0:3,n1:1`` (tasks), ``a→n0#1`` (shared devices), ``a×128`` (starts), ``a: Priority``
(reason), ``a=30m`` (time limit it starts with), ``a@1h`` (reserved start), ``a@1h→n0``. Every start must be expected; nothing else may
start.
"""

from __future__ import annotations

import re
from collections import Counter

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord, TopologyRecord
from penstock.core.cycle import Budget, plan_now
from penstock.core.feasible import never_fits
from penstock.core.plan import Plan, Reason, Share
from penstock.core.request import WHOLE_NODE, Request
from penstock.core.slots import slot_key, split_slot

NOW_S = 1_000_000
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MIB = {"M": 1, "G": 1024, "T": 1024 * 1024}


def cluster(*groups: str) -> Scenario:
    scenario = Scenario()
    for group in groups:
        match = re.fullmatch(r"(\d+)\*(\w+?)(?:\[(.*)\])?", group)
        assert match, f"not a node group: {group!r}"
        for number in range(int(match[1])):
            scenario.add_node(f"{match[2]}{number}", match[3] or "")
    return scenario


class Scenario:
    def __init__(self) -> None:
        self.columns = Columns()
        self.nodes: dict[str, NodeRecord] = {}
        self.job_ids: dict[str, int] = {}
        self.requests: dict[str, tuple[Request, str]] = {}
        self.partitions: list[str] = []
        self.topologies: dict[str, TopologyRecord] = {}
        self.budget = Budget()

    def add_node(self, name: str, words: str) -> None:
        facts: dict[str, int] = {"cpu": 8, "mem": 64 * 1024, "weight": 1}
        gres: dict[str, int] = {}
        features: list[str] = []
        for word in filter(None, words.split(",")):
            key, _, value = word.partition(":")
            if key == "feature":
                features.append(value)
            elif key == "mem":
                facts["mem"] = _mib(value)
            elif key in facts:
                facts[key] = int(value)
            else:
                kind, _, count = value.rpartition(":")
                pool = f"{key}:{kind}" if kind else key
                devices, _, shares = count.partition("/")
                if shares:
                    gres.update({slot_key(pool, len(gres) + index): int(shares) for index in range(int(devices))})
                else:
                    gres[pool] = int(devices)
        node = NodeRecord(
            name,
            len(self.nodes),
            facts["cpu"],
            facts["mem"],
            tuple(sorted(gres.items())),
            weight=facts["weight"],
            features=tuple(features),
        )
        self.nodes[name] = node
        self.columns.upsert_node(node)

    def down(self, *names: str) -> Scenario:
        for name in names:
            node = self.nodes[name]
            self.columns.upsert_node(NodeRecord(name, node.index, node.cpus, node.memory_mib, node.gres, False, node.weight, node.features))
        return self

    def tree(self, *levels: str) -> Scenario:
        """``LEVEL: n0-3 n4,n6``: the domains of a level, narrowest level first."""
        return self._topology("tree", levels)

    def blocks(self, *levels: str) -> Scenario:
        return self._topology("block", levels)

    def _topology(self, kind: str, levels: tuple[str, ...]) -> Scenario:
        made = []
        for text in levels:
            level, _, domains = text.partition(": ")
            made.append((level, tuple((domain, _names(domain)) for domain in domains.split())))
        self.topologies[kind] = TopologyRecord(kind, kind, tuple(made))
        self.columns.set_topologies(tuple(self.topologies.values()))
        return self

    def partition(self, *texts: str) -> Scenario:
        """``NAME: n0,n1 [max=1h] [nodes=2] [tier=3] [state=DOWN] [top=tree]``; ``*`` is all nodes."""
        for text in texts:
            name, rest = text.split(": ")
            first, *words = rest.split()
            facts = dict(word.split("=") for word in words)
            self.partitions.append(name)
            self.columns.upsert_partition(
                PartitionRecord(
                    name,
                    tuple(self.nodes) if first == "*" else tuple(first.split(",")),
                    facts.get("state", "UP"),
                    _seconds(facts["max"]) if "max" in facts else 0,
                    int(facts.get("nodes", 0)),
                    int(facts.get("tier", 1)),
                    facts.get("top", ""),
                )
            )
        return self

    def running(self, *texts: str) -> Scenario:
        """``NAME: n0,n1 4cpu 2gpu 8G 1h``: the same on each node, ending so much later than now."""
        for text in texts:
            name, rest = text.split(": ")
            nodes, *words = rest.split()
            cpus, memory_mib, end_s = 1, 0, 3600
            licenses: tuple[tuple[str, int], ...] = ()
            gres: list[tuple[str, int]] = []
            for word in words:
                if match := re.fullmatch(r"(\d+)cpu", word):
                    cpus = int(match[1])
                elif match := re.fullmatch(r"(\d+)(gpu\S*)", word):
                    gres.append((match[2], int(match[1])))
                elif re.fullmatch(r"\d+[MGT]", word):
                    memory_mib = _mib(word)
                elif word.startswith("lic="):
                    licenses = _licenses(word[4:])
                else:
                    end_s = _seconds(word)
            shares = tuple(Share(node, 1, cpus, memory_mib, tuple(sorted(gres))) for node in nodes.split(","))
            self.columns.start_running(self._job(name), NOW_S + end_s, shares, licenses)
        return self

    def licenses(self, text: str) -> Scenario:
        self.columns.set_licenses(dict(_licenses(text)))
        return self

    def pending(self, *texts: str) -> Scenario:
        """In this order of submission."""
        for text in texts:
            name, _, rest = text.partition(": ")
            job_id = self._job(name)
            record = _record(job_id, rest.split())
            self.requests[name] = (record.request, record.partitions[0])
            self.columns.upsert_pending(record)
        return self

    def within(self, **bounds: int) -> Scenario:
        self.budget = Budget(**bounds)
        return self

    def plan(self) -> Plan:
        if not self.partitions:
            self.partition(f"main: * top={next(reversed(self.topologies), '')}")
        return plan_now(self.columns.view(1, NOW_S), self.budget)

    def never(self, name: str) -> Reason | None:
        if not self.partitions:
            self.partition(f"main: * top={next(reversed(self.topologies), '')}")
        request, partition = self.requests[name]
        return never_fits(self.columns.view(1, NOW_S), partition, request)

    def expect(self, *texts: str) -> Plan:
        plan = self.plan()
        names = {job_id: name for name, job_id in self.job_ids.items()}
        started = Counter(names[start.job_id] for start in plan.starts)
        allowed: Counter[str] = Counter()
        seen = f"\nstarts: {[(names[start.job_id], start.shares) for start in plan.starts[:20]]}\nreserved: {plan.reservations}"
        for text in texts:
            if match := re.fullmatch(r"(\w+)×(\d+)", text):
                assert started[match[1]] == int(match[2]), f"{text}: {started[match[1]]} starts{seen}"
                allowed[match[1]] = int(match[2])
            elif match := re.fullmatch(r"(\w+)=(\w+)", text):
                limits = [start.time_limit_s for start in plan.starts if names[start.job_id] == match[1]]
                assert _seconds(match[2]) in limits, f"{text}: {limits}{seen}"
            elif match := re.fullmatch(r"(\w+)@(\w+)(?:→(\S+))?", text):
                reserved = [entry for entry in plan.reservations if entry.job_id == self.job_ids[match[1]]]
                assert reserved, f"{text}: not reserved{seen}"
                assert reserved[0].start_s == NOW_S + _seconds(match[2]), f"{text}: +{reserved[0].start_s - NOW_S} s{seen}"
                if match[3]:
                    assert match[3] == ",".join(share.node for share in reserved[0].shares), f"{text}{seen}"
            elif match := re.fullmatch(r"(\w+)→(\S+)", text):
                allowed[match[1]] += 1
                places = [start.shares for start in plan.starts if names[start.job_id] == match[1]]
                found = [",".join(_named(share, match[2]) for share in shares) for shares in places]
                assert match[2] in found, f"{text}: {found}{seen}"
            else:
                name, word = text.split(": ")
                reason = plan.reason_of(self.job_ids[name])
                assert reason is not None and reason.word == word, f"{text}: {reason}{seen}"
        assert started == allowed, f"started {dict(started)}, expected {dict(allowed)}{seen}"
        return plan

    def _job(self, name: str) -> int:
        assert name not in self.job_ids, f"two jobs are called {name}"
        self.job_ids[name] = len(self.job_ids) + 1
        return self.job_ids[name]


def _named(share: Share, like: str) -> str:
    if ":" in like:
        return f"{share.node}:{share.ntasks}"
    devices = [split_slot(key)[1] for key, _ in share.gres] if "#" in like else []
    return share.node + "".join(f"#{index}" for index in devices)


def _record(job_id: int, words: list[str]) -> PendingRecord:
    facts: dict[str, object] = {}
    times: dict[str, int] = {}
    gres: dict[str, list[tuple[str, int]]] = {}
    partitions, priority, limit_s, count, startable = ("main",), 0, 3600, 1, None
    for word in words:
        if match := re.fullmatch(r"(\d+)(gpu(?::[\w.+-]+)?|shard(?::[\w.+-]+)?)(/task|/job)?", word):
            field = {None: "gres_per_node", "/task": "gres_per_task", "/job": "gres_total"}[match[3]]
            gres.setdefault(field, []).append((match[2], int(match[1])))
        elif match := re.fullmatch(r"(\d+)cpu(/gpu|/node)?", word):
            facts[{None: "cpus_per_task", "/gpu": "cpus_per_gpu", "/node": "cpus_per_node"}[match[2]]] = int(match[1])
        elif match := re.fullmatch(r"(\d+[MGT])/gpu", word):
            facts["memory_per_gpu_mib"] = _mib(match[1])
        elif match := re.fullmatch(r"(\d+)t(/n)?", word):
            facts["ntasks_per_node" if match[2] else "ntasks"] = int(match[1])
        elif match := re.fullmatch(r"(\d+)(?:-(\d+))?n", word):
            facts["nodes_min"], facts["nodes_max"] = int(match[1]), int(match[2] or match[1])
        elif word == "allmem":
            facts["memory_per_node_mib"] = WHOLE_NODE
        elif match := re.fullmatch(r"(\d+[MGT])(/cpu)?", word):
            facts["memory_per_cpu_mib" if match[2] else "memory_per_node_mib"] = _mib(match[1])
        elif word == "excl":
            facts["exclusive"] = True
        elif word.startswith(("on=", "not=")):
            key, _, value = word.partition("=")
            facts[{"on": "required_nodes", "not": "excluded_nodes"}[key]] = tuple(value.split(","))
        elif word.startswith(("has=", "prefer=")):
            key, _, value = word.partition("=")
            facts[{"has": "constraint", "prefer": "prefer"}[key]] = value
        elif word == "beside":
            facts["contiguous"] = True
        elif word.startswith("lic="):
            facts["licenses"] = _licenses(word[4:])
            facts["any_license"] = "|" in word
        elif word.startswith(("min=", "by=")):
            key, _, value = word.partition("=")
            times["time_min_s" if key == "min" else "deadline_s"] = _seconds(value) + (NOW_S if key == "by" else 0)
        elif word.startswith(("sw=", "seg=")):
            key, _, value = word.partition("=")
            facts["switches" if key == "sw" else "segment"] = int(value)
        elif word.startswith("within="):
            facts["level"] = word[7:]
        elif word.startswith("in="):
            partitions = tuple(word[3:].split(","))
        elif word.startswith("user="):
            times["user"] = int(word[5:])
        elif word.startswith("prio="):
            priority = int(word[5:])
        elif word[0] == "x":
            count = int(word[1:])
        elif word[0] == "%":
            startable = int(word[1:])
        else:
            limit_s = _seconds(word)
    request = Request(**facts, **{field: tuple(sorted(pairs)) for field, pairs in gres.items()})
    return PendingRecord(job_id, request, partitions, priority, job_id, limit_s, count, startable, **times)


def _names(text: str) -> tuple[str, ...]:
    """``n0-3,n6``: n0 n1 n2 n3 n6."""
    names: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\D+)(\d+)-(\d+)", part)
        names += [f"{match[1]}{number}" for number in range(int(match[2]), int(match[3]) + 1)] if match else [part]
    return tuple(names)


def _licenses(text: str) -> tuple[tuple[str, int], ...]:
    pairs = [part.rpartition(":") for part in re.split(r"[,|]", text)]
    return tuple(sorted((name, int(count)) for name, _, count in pairs))


def _seconds(text: str) -> int:
    return int(text[:-1]) * SECONDS[text[-1]]


def _mib(text: str) -> int:
    return int(text[:-1]) * MIB[text[-1]]
