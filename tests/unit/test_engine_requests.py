"""Requests: nothing leaves before it is durable, and whoever asks twice is answered twice the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from engine_cluster import ALICE, BOB, SCRIPT, EngineCluster, Refused

from penstock.spec import errors as err
from penstock.wire import messages as m

ID = "0123456789abcdef"


@pytest.fixture
def cluster():
    return EngineCluster(n0=4)


def test_an_answer_waits_for_the_disk(cluster):
    cluster.automatic = False
    client = cluster.open("submit", sections=[SCRIPT, b""])
    assert client not in cluster.replies
    cluster.durable()
    assert cluster.replies[client] == [("=", "1")]


def test_what_comes_during_a_commit_goes_into_the_next_all_of_it(cluster):
    cluster.automatic = False
    first = cluster.open("submit", sections=[SCRIPT, b""])
    others = [cluster.open("submit", sections=[SCRIPT, b""]) for _ in range(5)]
    cluster.durable()
    assert [client in cluster.replies for client in (first, *others)] == [True, *[False] * 5]
    cluster.reactor.flush()
    assert len(cluster.store.in_flight.events) == 5, "one commit for five requests"
    cluster.durable()
    assert [cluster.replies[client] for client in others] == [[("=", str(number))] for number in range(2, 7)]


def test_a_job_starts_only_when_its_start_is_durable_and_still_wanted(cluster):
    cluster.submit()
    cluster.submit()
    cluster.automatic = False
    cluster.plan()
    assert cluster.messages(m.Assign) == []
    cluster.open("cancel", jobs=["1"])
    cluster.durable()
    assert [message.job_id for message in cluster.messages(m.Assign)] == [2], "the first was cancelled meanwhile"


@pytest.mark.parametrize("durable", [False, True])
def test_a_retry_gets_the_first_answer_durable_or_not(cluster, durable):
    cluster.automatic = durable
    first = cluster.open("submit", request_id=ID, sections=[SCRIPT, b""])
    again = cluster.open("submit", request_id=ID, sections=[SCRIPT, b""])
    if not durable:
        cluster.durable()
    assert cluster.replies[first] == cluster.replies[again] == [("=", "1")]
    assert len(cluster.reactor.state.jobs) == 1


def test_a_retry_after_a_crash_gets_the_first_answer(cluster):
    cluster.open("submit", request_id=ID, sections=[SCRIPT, b""])
    cluster.crash()
    assert cluster.ask("submit", request_id=ID, sections=[SCRIPT, b""]) == "1"
    assert list(cluster.reactor.state.jobs) == [1]


@pytest.mark.parametrize("kept", [False, True])
def test_an_unanswered_request_is_done_once_whether_its_commit_survived_the_crash_or_not(cluster, kept):
    cluster.automatic = False
    cluster.open("submit", request_id=ID, sections=[SCRIPT, b""])
    cluster.automatic = True
    cluster.crash(keep_in_flight=kept)
    assert cluster.ask("submit", request_id=ID, sections=[SCRIPT, b""]) == "1"
    assert list(cluster.reactor.state.jobs) == [1]


def test_ids_go_on_after_a_crash_although_the_last_job_is_purged(cluster):
    last = cluster.submit()
    cluster.run(last)
    cluster.tick(cluster.config.min_job_age_s + 1)
    cluster.crash()
    assert cluster.submit() == last + 1


def test_an_id_is_its_users_own(cluster):
    assert cluster.ask("submit", ALICE, request_id=ID, sections=[SCRIPT, b""]) == "1"
    assert cluster.ask("submit", BOB, request_id=ID, sections=[SCRIPT, b""]) == "2"


@pytest.mark.parametrize("op", ["cancel", "hold", "requeue", "update_job"])
def test_a_change_that_is_asked_for_twice_happens_once(cluster, op):
    job = cluster.submit(time_limit_s=600)
    if op == "requeue":
        cluster.plan()
    fields = {"jobs": [str(job)], **({"keys": ["TimeLimit+=5"]} if op == "update_job" else {})}
    first = cluster.ask(op, request_id=ID, **fields)
    seq = cluster.reactor.state.seq
    assert cluster.ask(op, request_id=ID, **fields) == first
    assert cluster.reactor.state.seq == seq


def test_a_client_that_comes_back_takes_its_old_place_in_the_queue(cluster):
    first = cluster.open("allocate", request_id=ID, ntasks=2)
    cluster.reactor.requests.gone(first, cluster.now_ms)
    again = cluster.open("allocate", request_id=ID, ntasks=2)
    cluster.plan()
    assert cluster.replies[again][-1][1].startswith("1\tn0\tmain\n")
    assert list(cluster.reactor.state.jobs) == [1]


def test_an_allocation_that_nobody_waits_for_is_cancelled(cluster):
    cluster.submit(ntasks=4)
    cluster.plan()
    client = cluster.open("allocate", ntasks=4)
    cluster.reactor.requests.gone(client, cluster.now_ms)
    cluster.tick(59)
    assert cluster.word(2) == "PENDING"
    cluster.tick(2)
    assert cluster.word(2) == "CANCELLED"


@pytest.mark.parametrize(
    ("op", "fields", "code"),
    [
        ("fly", {}, err.ESLURM_NOT_SUPPORTED),
        ("cancel", {"jobs": ["1"], "signal": "x"}, err.ESLURM_NOT_SUPPORTED),
        ("job_info", {}, err.ESLURM_NOT_SUPPORTED),
        ("job_info", {"job_id": 77}, err.ESLURM_INVALID_JOB_ID),
        ("hold", {"jobs": ["1_2_3"]}, err.ESLURM_INVALID_JOB_ID),
        ("wait_job", {"job_id": 77}, err.ESLURM_INVALID_JOB_ID),
        ("update_node", {"nodes": ["n0"], "keys": ["State=RESUME"]}, err.ESLURM_ACCESS_DENIED),
    ],
)
def test_a_bad_request_is_refused_and_others_are_served(cluster, op, fields, code):
    cluster.submit()
    with pytest.raises(Refused) as refusal:
        cluster.ask(op, **fields)
    assert refusal.value.code == code, refusal.value
    assert cluster.submit() == 2


def test_strangers_may_not_touch_a_job(cluster):
    job = cluster.submit()
    for op in ("hold", "requeue"):
        with pytest.raises(Refused) as refusal:
            cluster.ask(op, BOB, jobs=[str(job)])
        assert refusal.value.code == err.ESLURM_ACCESS_DENIED
    assert str(err.ESLURM_ACCESS_DENIED) not in cluster.ask("cancel", jobs=[str(job)])


def test_wait_answers_with_the_highest_code_of_the_array(cluster):
    array = cluster.submit(array="0-1")
    client = cluster.open("wait_job", job_id=array)
    cluster.plan()
    cluster.end(cluster.element(array, 0).id, 7 << 8)
    assert client not in cluster.replies
    cluster.end(cluster.element(array, 1).id)
    assert cluster.replies[client] == [("=", "7")]


HISTORY = """
import hashlib, sys
from engine_cluster import ALICE, BOB, ROOT, EngineCluster
cluster = EngineCluster(n0=4, n1=4)
cluster.node("n2", 8, gpus=4)
for number in range(12):
    cluster.submit(ALICE if number % 2 else BOB, name=f"job{number % 3}", ntasks=number % 3 + 1, gres=("gpu:1",) if number % 4 == 0 else (),
                   dependency="singleton" if number > 6 else "", array="0-3%2" if number % 5 == 0 else "")
for turn in range(10):
    cluster.plan()
    for job in [job for job in cluster.reactor.state.jobs.values() if job.nodes_left][::2]:
        cluster.end(job.id, 256 if turn % 3 == 0 else 0)
    cluster.tick(20)
print(hashlib.sha256(repr((cluster.reactor.state.rows(), list(cluster.store.disk.events.items()))).encode()).hexdigest())
"""


def test_the_same_requests_give_the_same_rows_whatever_the_hash_seed():
    def rows(hash_seed: str) -> str:
        environment = dict(os.environ, PYTHONHASHSEED=hash_seed, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        return subprocess.run([sys.executable, "-c", HISTORY], env=environment, check=True, capture_output=True, text=True).stdout

    assert rows("1") == rows("2") != ""
