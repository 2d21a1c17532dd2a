"""openb: what is read, what arrives, and that its six policies place through the planner's one code."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from penstock.core.cycle import Budget, plan_now
from penstock.core.plan import Plan, Start
from penstock.core.records import PendingRecord
from penstock.sim import openb
from penstock.sim.openb_policies import published

CUT = Path(__file__).parent / "openb"
TRACES = Path(os.environ.get("PENSTOCK_TRACES") or Path(__file__).resolve().parents[3] / "shared/traces") / "openb"
SEED = 3
POLICIES = ("01-Random", "02-DotProd", "03-GpuClustering", "04-GpuPacking", "05-BestFit", "06-FGD")


@pytest.fixture(scope="module")
def workload():
    return openb.read(CUT / "nodes.csv", CUT / "pods.csv")


def test_nodes_and_pods_are_read_as_published(workload):
    assert openb.Node("openb-node-1032", 128000, 1048576, 1, "A10") in workload.nodes
    assert [node.name for node in workload.nodes] == sorted(node.name for node in workload.nodes)
    assert workload.capacity_milli == 1000 * sum(node.gpus for node in workload.nodes)
    assert {pod.models for pod in workload.pods} >= {"", "T4", "V100M16|V100M32"}


def test_a_list_that_is_none_is_refused(tmp_path):
    (tmp_path / "pods.csv").write_text("name,cpu_milli,memory_mib,num_gpu,gpu_milli\na,much,0,0,0\n")
    with pytest.raises(ValueError, match=r"pods.csv.*'cpu_milli': 'much'.*whole numbers"):
        openb.read(CUT / "nodes.csv", tmp_path / "pods.csv")
    with pytest.raises(ValueError, match="no column sn, model"):
        openb.read(CUT / "pods.csv", CUT / "pods.csv")


def test_a_part_of_a_gpu_is_asked_for_as_shards_and_models_as_a_constraint():
    assert openb.Pod(2000, 512, 1, 460, "T4|A10").request().gres_per_node == (("shard", 460),)
    assert openb.Pod(2000, 512, 1, 460, "T4|A10").request().constraint == "T4|A10"
    assert openb.Pod(2000, 512, 2, 1000, "").request().gres_per_node == (("gpu", 2),)
    assert openb.Pod(2000, 512, 0, 0, "").request(memory=False).memory_per_node_mib == 0


def test_arrivals_are_all_pods_shuffled_and_then_samples_up_to_the_ratio(workload):
    draw = workload.draw(2.0, SEED)
    assert draw == workload.draw(2.0, SEED) != workload.draw(2.0, SEED + 1)
    assert sorted(map(repr, draw.pods[: len(workload.pods)])) == sorted(map(repr, workload.pods))
    assert 1.9 < sum(pod.demand_milli for pod in draw.pods) / workload.capacity_milli <= 2.01
    assert sorted(draw.nodes) == list(range(len(workload.nodes))) != list(draw.nodes)
    fewer = workload.draw(0.3, SEED).pods
    assert len(fewer) < len(workload.pods) and sum(pod.demand_milli for pod in fewer) <= 0.3 * workload.capacity_milli


def test_of_requests_that_are_as_frequent_the_larger_are_typical():
    small, large, frequent = openb.Pod(1000, 0, 1, 100, ""), openb.Pod(1000, 0, 1, 200, ""), openb.Pod(500, 0, 0, 0, "")
    workload = openb.Workload((), (small, large, frequent, frequent))
    assert workload.mix(coverage=0.7) == {frequent.request(): 2, large.request(): 1}


@pytest.mark.parametrize("name", POLICIES)
def test_one_pass_equals_a_cycle_and_an_application_for_each_arrival(workload, name):
    """The experiment plans all arrivals in one pass; the controller plans, checks the plan against its columns, and applies it."""
    draw = workload.draw(1.3, SEED)
    pods = draw.pods
    whole = openb.run(workload, draw, published(workload, SEED)[name]).plan
    columns = workload.columns(draw)
    policies = published(workload, SEED)
    alone = []
    for number, pod in enumerate(pods if name in ("02-DotProd", "04-GpuPacking", "05-BestFit", "06-FGD") else []):
        columns.upsert_pending(PendingRecord(number, pod.request(), (openb.PARTITION,), 0, number, openb.FOREVER_S))
        plan = plan_now(columns.view(number, 0), Budget(reservations=0), preference=policies[name])
        columns.remove_pending(number)
        for start in plan.starts:
            assert columns.refusal(start.partition, start.shares) is None
            columns.start_running(start.job_id, openb.FOREVER_S, start.shares)
            alone.append(start)
    if alone:
        assert tuple(alone) == whole.starts
    else:  # these remember what the pass has done before: there the sum is checked
        for start in whole.starts:
            assert columns.refusal(start.partition, start.shares) is None
            columns.start_running(start.job_id, openb.FOREVER_S, start.shares)
    assert 0 < len(whole.starts) < len(pods)


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_left_out_did_not_fit_when_its_turn_came(workload, name):
    draw = workload.draw(1.3, SEED)
    pods = draw.pods
    outcome = openb.run(workload, draw, published(workload, SEED)[name])
    started = {start.job_id: start.shares[0] for start in outcome.plan.starts}
    nodes = {node.name: [node.cpu_milli, node.memory_mib, [1000] * node.gpus, node.model] for node in workload.nodes}
    for number, pod in enumerate(pods):
        if number in started:
            share = started[number]
            node = nodes[share.node]
            node[0] -= share.cpus
            node[1] -= share.memory_mib
            for key, count in share.gres:
                node[2][int(key[-2:])] -= count
            assert min(node[0], node[1], *node[2]) >= 0
            assert not pod.models or node[3] in pod.models.split("|")
            assert sum(count for _, count in share.gres) == pod.demand_milli
        else:
            assert not any(fits(pod, *node) for node in nodes.values())
    assert outcome.failed == len(pods) - len(started)
    assert outcome.used_milli[-1] == sum(pods[number].demand_milli for number in started)


def fits(pod, cpu_milli, memory_mib, devices, model):
    able = sum(1 for have in devices if have >= pod.gpu_milli) >= pod.gpus
    return cpu_milli >= pod.cpu_milli and memory_mib >= pod.memory_mib and able and (not pod.models or model in pod.models.split("|"))


def test_the_curve_is_the_mean_where_the_demand_rounds_to_the_percentage():
    asked, used = np.array([994, 996, 1004, 1006, 1030]), np.array([800, 900, 902, 1000, 1010])
    curve = openb.Outcome(1000, asked, used, 0, Plan(0, 0)).curve()
    assert curve[99:102].tolist() == [80.0, 90.1, 100.0]
    assert np.isnan(curve[97]) and np.isnan(curve[105])
    assert curve[102:105].tolist() == [100.5, 101.0, 101.0]


def test_what_was_placed_leaves_at_least_what_its_parts_cannot_fill():
    """600 + 300 fills a device but for 100; the other 300 takes a third of one."""
    pods = (openb.Pod(1, 0, 1, 600, ""), openb.Pod(1, 0, 1, 300, ""), openb.Pod(1, 0, 1, 300, ""), openb.Pod(1, 0, 1, 1000, ""))
    starts = tuple(Start(number, openb.PARTITION, ()) for number in range(len(pods)))
    outcome = openb.Outcome(4000, np.array([2200]), np.array([2200]), 0, Plan(0, 0, starts))
    assert outcome.ceiling(openb.Draw(pods, ())) == pytest.approx(100 * (1 - (4 / 3 - 1.2) / 4), abs=0.01)


@pytest.mark.skipif(not TRACES.exists(), reason=f"no {TRACES}: the published trace is not here")
def test_the_whole_published_curve_comes_out():
    trace = openb.read(TRACES / "openb_node_list_gpu_node.csv", TRACES / "openb_pod_list_default.csv.gz")
    sought = ("openb_pod_list_default", "05-BestFit", "42")
    with gzip.open(TRACES / "expected_results" / "analysis_allo_discrete.csv.gz", "rt") as file:
        row = next(row for row in csv.DictReader(file) if (row["workload"], row["sc_policy"], row["seed"]) == sought)
    outcome = openb.run(trace, trace.draw(1.3, 42), published(trace, 42)["05-BestFit"])
    assert outcome.curve().tolist() == [float(row[str(percent)]) for percent in range(openb.PERCENTS)]
