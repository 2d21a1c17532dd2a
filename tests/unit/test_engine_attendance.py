"""InactiveLimit: whose client is gone, for how long, and what is never ended for it."""

from __future__ import annotations

import pytest
from engine_cluster import ALICE, EngineCluster

from penstock.engine.attendance import GRACE_MS, LOOK_MS
from penstock.engine.cluster_config import ClusterConfig
from penstock.wire import messages as m

LIMIT_S = 30


@pytest.fixture
def cluster():
    made = EngineCluster(ClusterConfig(inactive_limit_s=LIMIT_S), n0=4)
    made.tick(GRACE_MS / 1000)
    return made


def allocate(cluster, **fields):
    """(job, the client that holds it)."""
    client = cluster.open("allocate", ALICE, **fields)
    cluster.plan()
    return max(cluster.reactor.state.jobs), client


def leave(cluster, client):
    cluster.reactor.requests.gone(client, cluster.now_ms)
    cluster.reactor.flush()


def later(cluster, seconds):
    for _ in range(seconds):
        cluster.tick(1)


def test_an_allocation_ends_when_its_client_was_gone_for_the_limit(cluster):
    job, client = allocate(cluster)
    later(cluster, 3 * LIMIT_S)
    assert cluster.word(job) == "RUNNING"
    leave(cluster, client)
    later(cluster, LIMIT_S - LOOK_MS // 1000)
    assert cluster.word(job) == "RUNNING"
    later(cluster, 2 * LOOK_MS // 1000)
    assert (cluster.word(job), cluster.job(job).reason) == ("TIMEOUT", "InactiveLimit")
    assert [one.job_id for one in cluster.messages(m.Terminate)] == [job]
    cluster.check_law()


def test_a_step_with_its_srun_keeps_the_allocation_and_without_it_does_not(cluster):
    job, client = allocate(cluster)
    srun = cluster.open("step_create", job_id=job, argv=["true"])
    leave(cluster, client)
    later(cluster, 3 * LIMIT_S)
    assert cluster.word(job) == "RUNNING"
    leave(cluster, srun)
    later(cluster, LIMIT_S + 2 * LOOK_MS // 1000)
    assert cluster.word(job) == "TIMEOUT"


def test_a_client_that_comes_back_keeps_its_allocation(cluster):
    client = cluster.open("allocate", ALICE, request_id="ab" * 16)
    cluster.plan()
    job = max(cluster.reactor.state.jobs)
    leave(cluster, client)
    later(cluster, LIMIT_S // 2)
    cluster.open("allocate", ALICE, request_id="ab" * 16)
    later(cluster, 3 * LIMIT_S)
    assert cluster.word(job) == "RUNNING"


def test_no_shell_batch_jobs_and_clusters_without_a_limit_are_left_alone(cluster):
    alone, client = allocate(cluster, unattended=True)
    leave(cluster, client)
    batch = cluster.submit()
    cluster.plan()
    later(cluster, 3 * LIMIT_S)
    assert (cluster.word(alone), cluster.word(batch)) == ("RUNNING", "RUNNING")
    free = EngineCluster(n0=4)
    job, client = allocate(free)
    leave(free, client)
    later(free, 100)
    assert free.word(job) == "RUNNING"


def test_a_new_controller_waits_for_the_clients(cluster):
    job, _ = allocate(cluster)
    cluster.crash()
    cluster.node("n0", runs=(m.RunReport(job, 0),))
    later(cluster, GRACE_MS // 1000 - 1)
    assert cluster.word(job) == "RUNNING"
    later(cluster, 2 * LOOK_MS // 1000)
    assert cluster.word(job) == "TIMEOUT"
