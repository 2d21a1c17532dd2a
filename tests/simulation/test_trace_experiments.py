"""Experiments on logs: exact numbers, the textbook's schedule, memory that does not grow with the log."""

from __future__ import annotations

import pathlib

import pytest
from textbook import starts

import penstock.controller.planner
import penstock.engine.reactor
from penstock.core.policies import POLICIES
from penstock.engine.indexes import Indexes
from penstock.sim import virtual
from penstock.sim.clusterspec import Layout, parse_cluster
from penstock.sim.experiment import Experiment
from penstock.sim.metrics import Metrics
from penstock.sim.workload.job import TraceJob
from penstock.sim.workload.limits import limits_by
from penstock.sim.workload.reader import open_trace

KTH = str(pathlib.Path(__file__).parent / "data" / "kth-sp2-3000.swf.gz")


def replay(policy: str, jobs: int, limits: str = "log", cluster: str = "1*sp2[cpu:100]") -> Metrics:
    with open_trace(KTH, most=jobs) as trace:
        return Experiment(parse_cluster(cluster), POLICIES[policy], limits_by(limits, 0, 0)).run(trace)


def test_the_controllers_cycle_applier_and_apply_move_the_virtual_cluster():
    assert virtual.cycle is penstock.controller.planner.cycle
    assert virtual.apply_plan is penstock.engine.reactor.apply_plan
    assert virtual.apply is penstock.engine.reactor.apply


@pytest.mark.parametrize(
    ("policy", "limits", "backfill", "shortest_first"),
    [("fifo", "log", False, False), ("easy", "log", True, False), ("easy", "oracle", True, False), ("easy-sjbf", "log", True, True)],
)
def test_the_schedule_is_the_textbooks_job_by_job(policy, limits, backfill, shortest_first):
    with open_trace(KTH, most=400) as trace:
        jobs = [(job.submit_s, job.run_s, max(1, job.run_s) if limits == "oracle" else job.limit_s, job.cpus) for job in trace]
    metrics = replay(policy, len(jobs), limits)
    ours = sorted(zip(metrics.submit_s, metrics.start_s, metrics.size, strict=True))
    textbook = sorted((job[0], begun, job[3]) for job, begun in zip(jobs, starts(jobs, 100, backfill, shortest_first), strict=True))
    assert ours == textbook


GOLDEN = {
    # policy, limits, jobs: bounded slowdown in thousandths, sum of waits in seconds, last end
    ("easy", "log", 3_000): (111814, 23493182, 4214998),
    ("easy", "oracle", 500): (39521, 1249789, 906182),
    ("easy++", "log", 500): (41202, 1213200, 906182),
}


@pytest.mark.parametrize(("policy", "limits", "jobs"), GOLDEN)
def test_the_first_jobs_of_the_log_give_exactly_these_numbers(policy, limits, jobs):
    metrics = replay(policy, jobs, limits)
    waits_s = sum(metrics.start_s) - sum(metrics.submit_s)
    assert (round(metrics.summary().avebsld * 1_000), waits_s, max(metrics.end_s)) == GOLDEN[policy, limits, jobs]


def test_a_cluster_of_single_processors_gives_the_same_schedule_as_one_piece():
    pieces, whole = replay("fifo", 200, cluster="100*n[cpu:1]"), replay("fifo", 200)
    ours, theirs = (sorted(zip(run.submit_s, run.start_s, run.size, strict=True)) for run in (pieces, whole))
    assert ours == theirs


@pytest.mark.parametrize(("policy", "starts_s", "preemptions", "redone_h"), [("easy", 10_002, 0, 0.0), ("easy-moves", 500, 1, 0.55)])
def test_jobs_move_where_that_saves_more_than_it_loses(policy, starts_s, preemptions, redone_h):
    """Each node is half full with a long job when one comes that needs a whole node."""
    halves = [("x", 100), ("a", 10_000), ("y", 100), ("b", 10_000)]
    jobs = [TraceJob(name, at, run_s, run_s, 1, 4) for at, (name, run_s) in enumerate(halves, start=1)]
    experiment = Experiment(parse_cluster("2*n[gpu:8]"), POLICIES[policy], limits_by("log", 0, 0))
    metrics = experiment.run(iter([*jobs, TraceJob("c", 500, 50, 60, 1, 8)]))
    begun = dict(zip(metrics.submit_s, metrics.start_s, strict=True))
    assert begun[500] == starts_s
    summary = metrics.summary()
    assert (summary.preemptions, round(summary.redone_h, 2)) == (preemptions, redone_h)
    assert sorted(metrics.end_s) == ([101, 103, 550, 10_002, 10_500] if preemptions else [101, 103, 10_002, 10_004, 10_052])


def test_what_has_ended_is_forgotten():
    groups = parse_cluster("1*n[cpu:4]")
    experiment = Experiment(groups, POLICIES["easy"], limits_by("log", 0, 0))
    experiment.run(TraceJob(str(at), 10 * at, 5, 60, 1, 0, f"user {at % 3}") for at in range(2_000))
    state, indexes = experiment.cluster.state, experiment.cluster.indexes
    assert not state.jobs and not state.steps and not indexes.finished and indexes.job_count == 0
    assert indexes.summary() == Indexes(state).summary()
    assert not any(indexes.node_jobs.values()) and not indexes.same_name and not indexes.columns.view(0, 0).running.job_id.size


def test_a_job_longer_than_its_limit_ends_at_the_limit():
    experiment = Experiment(parse_cluster("1*n[cpu:4]"), POLICIES["easy"], limits_by("log", 0, 0))
    metrics = experiment.run(iter([TraceJob("long", 7, 500, 60, 4, 0)]))
    assert (list(metrics.start_s), list(metrics.end_s), metrics.timeouts) == ([7], [67], 1)


def test_what_was_measured_is_what_a_hand_computes():
    """Two devices; a holds both for 10 s, b waits 8 s of them and holds one for 20 s beside c."""
    jobs = [TraceJob("a", 0, 10, 10, 2, 0, "x"), TraceJob("b", 2, 20, 20, 1, 0, "x"), TraceJob("c", 12, 2, 2, 1, 0, "y")]
    summary = Experiment(parse_cluster("1*n[cpu:2]"), POLICIES["easy"], limits_by("log", 0, 0)).run(iter(jobs)).summary()
    assert summary.wait_s.mean == pytest.approx(8 / 3) and summary.wait_s.most == 8
    assert summary.jct_s.mean == pytest.approx((10 + 28 + 2) / 3)
    assert summary.avebsld == pytest.approx((1 + 28 / 20 + 1) / 3)
    assert summary.makespan_s == 30
    assert summary.utilisation == pytest.approx((2 * 10 + 20 + 2) / 60)
    assert summary.idle_while_pending_h == 0 and summary.queue_most == 1
    assert summary.fragmentation == 1, "all that is free lies beside a job"
    assert summary.jain == pytest.approx((1.2 + 1) ** 2 / (2 * (1.2**2 + 1)))


def starts_under_slurm(cluster: str, *jobs: TraceJob) -> dict[int, int]:
    """Start by submission."""
    metrics = Experiment(parse_cluster(cluster), POLICIES["slurm"], limits_by("log", 0, 0)).run(iter(jobs))
    return dict(zip(metrics.submit_s, metrics.start_s, strict=True))


@pytest.mark.parametrize("begin_s", [0, 1_000])
def test_the_slurm_reference_backfills_at_multiples_of_its_interval_only(begin_s):
    """The short job could run beside the first from its submission on; only a backfill pass, at a multiple of 30 s, may see that."""
    first = TraceJob("first", begin_s, 100, 100, 1, 0)
    wide, short = TraceJob("wide", begin_s + 1, 100, 100, 2, 0), TraceJob("short", begin_s + 2, 10, 60, 1, 0)
    tick_s = -(-(begin_s + 2) // 30) * 30
    assert starts_under_slurm("1*n[cpu:2]", first, wide, short) == {begin_s: begin_s, begin_s + 1: begin_s + 100, begin_s + 2: tick_s}


def test_the_slurm_reference_looks_no_further_than_its_window():
    """The wide job's start lies behind the day that backfill looks ahead, so it gets no reservation and the long one overtakes it."""
    day_s = 86_400
    first, wide = TraceJob("first", 0, 2 * day_s, 2 * day_s, 1, 0), TraceJob("wide", 1, 60, 60, 2, 0)
    overtakes = TraceJob("long", 2, 3 * day_s, 3 * day_s, 1, 0)
    assert starts_under_slurm("1*n[cpu:2]", first, wide, overtakes) == {0: 0, 1: 30 + 3 * day_s, 2: 30}


def test_what_runs_counts_as_use_in_the_slurm_reference():
    """Ann and eve came first; as ann's job still runs and bob has used nothing, bob goes before her."""
    jobs = (
        TraceJob("a", 0, 9_000, 9_000, 1, 0, "ann"),
        TraceJob("e", 1, 100, 100, 1, 0, "eve"),
        TraceJob("a2", 10, 500, 500, 1, 0, "ann"),
        TraceJob("b", 11, 500, 500, 1, 0, "bob"),
    )
    assert starts_under_slurm("1*n[cpu:2]", *jobs) == {0: 0, 1: 1, 10: 601, 11: 101}


def test_free_devices_count_as_idle_while_a_large_job_waits():
    jobs = [TraceJob("a", 0, 3_600, 3_600, 1, 0), TraceJob("wide", 0, 10, 10, 2, 0)]
    summary = Experiment(parse_cluster("1*n[cpu:2]"), POLICIES["fifo"], limits_by("log", 0, 0)).run(iter(jobs)).summary()
    assert summary.idle_while_pending_h == 1


def test_gpus_are_asked_for_on_as_few_nodes_as_hold_them():
    layout = Layout(parse_cluster("4*n[gpu:8]"))
    asked = {gpus: layout.request(TraceJob("j", 0, 1, 1, 0, gpus)) for gpus in (1, 8, 16, 12)}
    assert (asked[1].nodes_max, asked[1].gres_per_node) == (1, (("gpu", 1),))
    assert (asked[8].nodes_max, asked[8].gres_per_node) == (1, (("gpu", 8),))
    assert (asked[16].nodes_max, asked[16].gres_per_node) == (2, (("gpu", 8),))
    assert (asked[12].nodes_max, asked[12].gres_per_node, asked[12].gres_total) == (2, (("gpu", 6),), ())
    assert layout.request(TraceJob("k", 0, 1, 1, 0, 13)).gres_total == (("gpu", 13),)
