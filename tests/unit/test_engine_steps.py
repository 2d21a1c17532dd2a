"""Where the tasks of a step go inside its job, and when it has to wait."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, EngineCluster, Refused

from penstock.engine.state import NodeAlloc
from penstock.engine.step_devices import Free
from penstock.engine.steps import StepRequest, fit_node, ranks_of, spread_tasks
from penstock.spec import errors as err
from penstock.wire import messages as m


def a_job(cluster, **fields):
    cluster.open("allocate", ALICE, **fields)
    cluster.plan()
    job = max(cluster.reactor.state.jobs)
    assert cluster.word(job) == "RUNNING"
    return job


@pytest.fixture
def one():
    """A job with 4 CPUs on one node."""
    cluster = EngineCluster(n0=4)
    return cluster, a_job(cluster, ntasks=4)


@pytest.fixture
def two():
    """A job with 4 CPUs on each of two nodes."""
    cluster = EngineCluster(n0=4, n1=4)
    return cluster, a_job(cluster, nodes_min=2, nodes_max=2, ntasks_per_node=4)


def step(cluster, job, **fields):
    """Ask for a step; the client, whose replies tell what happened."""
    return cluster.open("step_create", job_id=job, argv=("true",), **fields)


def layout(cluster, job, step_id):
    return {alloc.node: (alloc.ntasks, alloc.cpus) for alloc in cluster.reactor.state.steps[(job, step_id)].allocs}


def test_without_exact_a_step_takes_all_cpus_of_its_node_and_the_next_waits(one):
    cluster, job = one
    first = step(cluster, job, ntasks=1)
    second = step(cluster, job, ntasks=1)
    assert layout(cluster, job, 0) == {"n0": (1, 4)}
    assert cluster.replies[first][0][0] == "*"
    assert [kind for kind, _ in cluster.replies[second]] == ["~"], "told that it waits"
    cluster.tell("n0", m.StepEnded(job, 0, 0, m.ExitRecord(0)))
    assert cluster.replies[first][-1] == ("=", "3\t0\t")
    assert layout(cluster, job, 1) == {"n0": (1, 4)}


def test_exact_steps_share_the_job_until_it_is_full(one):
    cluster, job = one
    for _ in range(5):
        step(cluster, job, ntasks=1, exact=True)
    assert [layout(cluster, job, number) for number in range(4)] == [{"n0": (1, 1)}] * 4
    assert (job, 4) not in cluster.reactor.state.steps
    cluster.tell("n0", m.StepEnded(job, 0, 2, m.ExitRecord(0)))
    assert layout(cluster, job, 4) == {"n0": (1, 1)}


def test_overlap_neither_waits_nor_is_waited_for(one):
    cluster, job = one
    step(cluster, job, ntasks=4)
    step(cluster, job, ntasks=4, overlap=True)
    assert layout(cluster, job, 1) == {"n0": (4, 4)}
    cluster.tell("n0", m.StepEnded(job, 0, 0, m.ExitRecord(0)))
    step(cluster, job, ntasks=4)
    assert layout(cluster, job, 2) == {"n0": (4, 4)}


def test_steps_that_wait_are_served_in_order(one):
    cluster, job = one
    step(cluster, job, ntasks=4)
    clients = [step(cluster, job, ntasks=4, name=name) for name in ("x", "y")]
    cluster.tell("n0", m.StepEnded(job, 0, 0, m.ExitRecord(0)))
    assert cluster.reactor.state.steps[(job, 1)].name == "x"
    assert [kind for kind, _ in cluster.replies[clients[1]]] == ["~"]


def test_an_immediate_step_does_not_wait_longer(one):
    cluster, job = one
    step(cluster, job, ntasks=4)
    client = step(cluster, job, ntasks=4, immediate_s=2)
    cluster.tick(2)
    assert cluster.replies[client][-1][0] == "!"
    assert int(cluster.replies[client][-1][1].split("\t")[0]) == err.ESLURM_NODES_BUSY


def test_the_end_of_the_job_refuses_steps_that_still_wait(one):
    cluster, job = one
    step(cluster, job, ntasks=4)
    client = step(cluster, job, ntasks=4)
    cluster.ask("cancel", jobs=[str(job)])
    assert cluster.replies[client][-1][0] == "!"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"ntasks": 5}, err.ESLURM_TOO_MANY_REQUESTED_CPUS),
        ({"ntasks": 1, "cpus_per_task": 5}, err.ESLURM_TOO_MANY_REQUESTED_CPUS),
        ({"nodes_min": 2}, err.ESLURM_INVALID_NODE_COUNT),
        ({"nodelist": "n7"}, err.ESLURM_INVALID_NODE_NAME),
        ({"relative": 1}, err.ESLURM_INVALID_NODE_COUNT),
        ({"exclude": "n0"}, err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE),
    ],
)
def test_what_can_never_fit_is_refused_at_once(one, fields, code):
    cluster, job = one
    with pytest.raises(Refused) as refusal:
        cluster.ask("step_create", job_id=job, argv=("true",), **fields)
    assert refusal.value.code == code


def test_tasks_are_spread_over_both_nodes_when_one_is_not_enough(two):
    cluster, job = two
    step(cluster, job, ntasks=6, exact=True)
    assert layout(cluster, job, 0) == {"n0": (3, 3), "n1": (3, 3)}


def test_without_sizes_a_step_gets_the_jobs_nodes(two):
    cluster, job = two
    step(cluster, job, ntasks_per_node=2)
    assert layout(cluster, job, 0) == {"n0": (2, 4), "n1": (2, 4)}


def test_relative_and_nodelist_choose_among_the_jobs_nodes(two):
    cluster, job = two
    step(cluster, job, ntasks=1, relative=1)
    step(cluster, job, ntasks=1, nodelist="n0", nodes_max=1)
    assert list(layout(cluster, job, 0)) == ["n1"]
    assert list(layout(cluster, job, 1)) == ["n0"]


def test_a_step_on_two_nodes_is_over_when_both_have_said_so_and_the_worst_counts(two):
    cluster, job = two
    client = step(cluster, job, ntasks=8)
    cluster.tell("n0", m.StepEnded(job, 0, 0, m.ExitRecord(3 << 8)))
    assert cluster.replies[client][-1][0] == "*"
    cluster.tell("n1", m.StepEnded(job, 0, 0, m.ExitRecord(1 << 8)))
    assert cluster.replies[client][-1] == ("=", f"5\t{3 << 8}\t")
    assert cluster.job(job).derived_exit == 3


def test_each_node_gets_its_own_ranks(two):
    cluster, job = two
    step(cluster, job, ntasks=6, exact=True)
    assert [(node, message.ranks) for node, message in cluster.sent if isinstance(message, m.LaunchStep)] == [
        ("n0", (0, 1, 2)),
        ("n1", (3, 4, 5)),
    ]


def test_gpus_of_a_step_are_its_own_while_it_runs():
    cluster = EngineCluster()
    cluster.node("n0", 4, gpus=4)
    job = a_job(cluster, ntasks=4, gres=("gpu:4",))
    for _ in range(2):
        step(cluster, job, ntasks=1, exact=True, gpus_per_task=("gpu:2",))
    first, second = (cluster.reactor.state.steps[(job, number)].allocs[0].gpus for number in (0, 1))
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)
    step(cluster, job, ntasks=1, exact=True, gpus_per_task=("gpu:1",))
    assert (job, 2) not in cluster.reactor.state.steps, "no GPU is left: it waits"


def test_a_retry_gets_the_same_step(one):
    cluster, job = one
    first = step(cluster, job, ntasks=1, request_id="aa" * 8)
    again = step(cluster, job, ntasks=1, request_id="aa" * 8)
    assert cluster.replies[again][0] == cluster.replies[first][0]
    assert len(cluster.reactor.state.steps) == 1


@pytest.mark.parametrize(
    ("room", "ntasks", "least", "most", "expected"),
    [
        ([4, 4], 3, 1, 2, [3, 0]),
        ([4, 4], 3, 2, 2, [2, 1]),
        ([1, 4], 4, 1, 1, [0, 4]),
        ([2, 2, 2], 5, 1, 3, [2, 2, 1]),
        ([2, 0, 2], 4, 1, 3, [2, 0, 2]),
        ([2, 2], 5, 1, 2, None),
        ([4, 4], 8, 1, 1, None),
    ],
)
def test_tasks_are_dealt_in_rounds_over_as_few_nodes_as_possible(room, ntasks, least, most, expected):
    assert spread_tasks(room, ntasks, least, most) == expected


@pytest.mark.parametrize(
    ("free", "fields", "tasks"),
    [
        (Free(8, 1000, ()), {}, 8),
        (Free(8, 1000, ()), {"mem_per_cpu_mib": 300}, 3),
        (Free(8, 1000, ()), {"mem_per_node_mib": 2000}, 0),
        (Free(8, 1000, ()), {"ntasks_per_node": 2}, 2),
        (Free(8, 1000, ("a", "b")), {"gpus_per_task": ("gpu:1",)}, 2),
        (Free(8, 1000, ("a",)), {"gres": ("gpu:2",)}, 0),
        (Free(8, 1000, ()), {"gpus": ("gpu:1",)}, 0),
    ],
)
def test_how_many_tasks_fit_on_a_node(free, fields, tasks):
    assert fit_node(free, StepRequest(job_id=1, **fields), 1) == tasks


def test_ranks_go_in_blocks_or_round_robin():
    allocs = (NodeAlloc("a", 2, 0, (), 2), NodeAlloc("b", 3, 0, (), 3))
    assert ranks_of(allocs, "") == [(0, 1), (2, 3, 4)]
    assert ranks_of(allocs, "cyclic") == [(0, 2), (1, 3, 4)]


def test_srun_cannot_shorten_the_kill_wait_of_a_cancelled_job():
    cluster = EngineCluster(n0=4)
    job = cluster.submit(ntasks=4)
    cluster.plan()
    cluster.open("step_create", job_id=job, ntasks=1, argv=["true"], address="unix:@x", key="00")
    cluster.ask("cancel", jobs=[str(job)])
    cluster.sent.clear()
    assert cluster.ask("step_kill", job_id=job, step_id=0, signal=9) == ""
    assert cluster.messages(m.Terminate) == []
