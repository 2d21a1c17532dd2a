"""`penstock sim run` on a list of openb: pods arrive one by one and none ever leaves; how much of the GPUs comes into use?

    penstock sim run --trace openb_pod_list_default.csv.gz --cluster openb_node_list_gpu_node.csv --policy bestfit,fgd --seed 42

The cluster is the published list of nodes; `--load` says how many times its GPUs are asked for in the end (default 1.3, as published). What
is measured is the allocation ratio of ``sim.openb``. Nothing ends, so limits, times and a report of who ran when have no meaning here:
options about them are refused by name.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from penstock.core.scores import Preference
from penstock.core.view import View
from penstock.core.weights import Weighted
from penstock.sim import openb
from penstock.sim.openb_policies import OWN_WEIGHTS, published
from penstock.sim.workload.job import TraceError

PUBLISHED = {
    "random": ("01-Random", "a random node on which the pod fits"),
    "dotprod": ("02-DotProd", "least inner product of what is free and what is asked for (Tetris 2014)"),
    "clustering": ("03-GpuClustering", "beside pods of as many GPUs (Gandiva 2018)"),
    "packing": ("04-GpuPacking", "devices in use first, then nodes in use (MLaaS 2022)"),
    "bestfit": ("05-BestFit", "the least left over"),
    "fgd": ("06-FGD", "the least growth of fragments (FGD 2023)"),
}
OWN = {
    "plain": "our placement without scores: the fewest free GPUs, then CPUs, that are enough",
    "scores": "our placement with " + ", ".join(f"score_{name}={weight}" for name, weight in OWN_WEIGHTS),
}
PLACEMENTS = {name: text for name, (_, text) in PUBLISHED.items()} | OWN
LOAD = 1.3
PERCENTS = (100, 130)
"""Of the GPUs asked for: where the ratio is told, as far as the load goes."""


@dataclass(frozen=True, slots=True)
class Filled:
    """``allocation`` in per cent of the GPUs, by the per cent of the GPUs that was asked for by then."""

    pods: int
    failed: int
    nodes: int
    gpus: int
    allocation: dict[int, float]


def run(options: argparse.Namespace, unused: list[str]) -> int:
    """``unused`` are the options given that have no meaning here."""
    if unused:
        raise TraceError(f"{', '.join(unused)}: no meaning for a list of openb, whose pods arrive and never leave")
    names = (options.policy or "plain").split(",")
    unknown = [name for name in names if name not in PLACEMENTS]
    if unknown:
        raise TraceError(f"unknown placement {unknown[0]!r}: for a list of openb {', '.join(PLACEMENTS)} are allowed")
    try:
        workload = openb.read(Path(options.cluster), Path(options.trace))
    except OSError as error:
        raise TraceError(f"{error.filename}: {error.strerror}: the cluster of an openb list is its list of nodes") from None
    except ValueError as error:
        raise TraceError(str(error)) from None
    load = options.load or LOAD
    found = {}
    for name in names:
        filled = found[name] = fill(workload, name, load, options.seed)
        if not options.json:
            ratios = ", ".join(f"{ratio:.2f} % where {percent} % are asked for" for percent, ratio in filled.allocation.items())
            print(f"{name}: {filled.pods} pods on {filled.nodes} nodes with {filled.gpus} GPUs, seed {options.seed}")
            print(f"  GPUs allocated    {ratios}; {filled.failed} pods found no room", flush=True)
    if options.json:
        settings = {"trace": options.trace, "cluster": options.cluster, "load": load, "seed": options.seed}
        policies = {name: {"pods": filled.pods, "failed": filled.failed, "allocation": filled.allocation} for name, filled in found.items()}
        print(json.dumps({"settings": settings, "policies": policies}, indent=2))
    return 0


def fill(workload: openb.Workload, name: str, load: float, seed: int) -> Filled:
    outcome = openb.run(workload, workload.draw(load, seed), _policy(workload, name, seed))
    curve = outcome.curve()
    told = {percent: float(curve[percent]) for percent in PERCENTS if percent <= round(100 * load)}
    if not told:
        told = {round(100 * load): float(100 * outcome.used_milli[-1] / outcome.capacity_milli)}
    gpus = workload.capacity_milli // openb.SHARES
    return Filled(len(outcome.asked_milli), outcome.failed, len(workload.nodes), gpus, told)


def _policy(workload: openb.Workload, name: str, seed: int) -> Callable[[View], Preference]:
    if name in PUBLISHED:
        return published(workload, seed)[PUBLISHED[name][0]]
    return Preference if name == "plain" else partial(Weighted, weights=OWN_WEIGHTS, mix=workload.mix())
