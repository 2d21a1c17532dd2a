"""Requests that no command of ours would make: a stranger at the socket gets an answer, and nothing else changes."""

from __future__ import annotations

import msgspec
import pytest
from engine_cluster import ALICE, BOB, ROOT, SCRIPT, EngineCluster, Refused

from penstock.controller import clients
from penstock.controller.clients import Client, Gateway
from penstock.engine.reactor import UNKEPT_MAX, BrokenEvent
from penstock.wire import messages as m

HUGE = 10**30


@pytest.fixture
def cluster() -> EngineCluster:
    return EngineCluster(n0=4)


def running(cluster: EngineCluster) -> int:
    job = cluster.submit(ntasks=2)
    cluster.plan()
    return job


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rlimits", ["NOFILE=" + "9" * 30]),
        ("rlimits", ["NOFILE=many"]),
        ("argv", ["a\0b"]),
        ("gres", ["gpu:" + "9" * 5000]),
        ("gres", ["gpu:9999999999999999999"]),
        ("gres", ["gpu:\u0663"]),
        ("nice", HUGE),
        ("alloc_sid", -1),
        ("comment", "x" * (2 << 20)),
        ("argv", ["x" * (1 << 20)] * 5),
        ("uid", 0),
    ],
)
def test_a_submission_beyond_a_bound_is_refused_and_the_next_one_served(cluster, key, value):
    with pytest.raises(Refused):
        cluster.ask("submit", sections=[SCRIPT, b""], **{key: value})
    assert cluster.submit() == 1
    cluster.check_law()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ntasks", -5),
        ("ntasks", 0),
        ("cpus_per_task", -1),
        ("cpus_per_task", 0),
        ("nodes_min", -1),
        ("nodes_max", 0),
        ("relative", -1),
        ("mem_per_node_mib", -HUGE),
        ("time_limit_s", HUGE),
        ("umask", 0o10000),
        ("rows", 1 << 20),
        ("rlimits", ["NOFILE=many"]),
        ("key", "zz"),
        ("multi_prog", ["x\x1fa"]),
        ("argv", ["a\0b"]),
    ],
)
def test_a_step_beyond_a_bound_is_refused_and_the_next_one_made(cluster, key, value):
    job = running(cluster)
    with pytest.raises(Refused):
        cluster.ask("step_create", job_id=job, **{"argv": ["true"], key: value})
    assert cluster.ask("step_create", job_id=job, argv=["true"]).startswith("created\t0\t")
    cluster.check_law()


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("release", {"status": HUGE}),
        ("release", {"status": -1}),
        ("cancel", {"signal": HUGE}),
        ("cancel", {"signal": 65}),
        ("step_kill", {"step_id": 0, "signal": HUGE}),
        (["submit"], {}),
    ],
)
def test_a_number_that_is_no_status_or_signal_is_refused(cluster, op, fields):
    job = running(cluster)
    cluster.ask("step_create", job_id=job, argv=["true"])
    with pytest.raises(Refused):
        cluster.ask(op, job_id=job, jobs=[str(job)], **fields)
    assert cluster.word(job) == "RUNNING"
    cluster.check_law()


@pytest.mark.parametrize(("key", "most"), [("name", 1024), ("comment", 1024), ("work_dir", 4096), ("exclude", 65_536)])
def test_texts_that_a_queue_shows_are_short(cluster, key, most):
    with pytest.raises(Refused, match=f"2012 .*other parameter too long {key} has {most + 1} characters, {most} are allowed"):
        cluster.ask("submit", sections=[SCRIPT, b""], **{key: "x" * (most + 1)})
    if key != "exclude":
        job = cluster.submit(**{key: "x" * most})
        with pytest.raises(Refused, match="JobName has 1025 characters"):
            cluster.ask("update_job", jobs=[str(job)], keys=["JobName=" + "x" * 1025])
        with pytest.raises(Refused, match="Reason has 1025 characters"):
            cluster.ask("update_node", ROOT, nodes=["n0"], keys=["State=DRAIN", "Reason=" + "x" * 1025])


@pytest.mark.parametrize("text", ["Comment=" + "x" * (2 << 20), "JobName=a\0b", "Nice=" + "9" * 30, "TimeLimit=" + "9" * 30])
def test_an_update_beyond_a_bound_changes_nothing(cluster, text):
    job = cluster.submit(name="quiet")
    with pytest.raises(Refused):
        cluster.ask("update_job", jobs=[str(job)], keys=[text])
    assert cluster.job(job).spec.name == "quiet"
    cluster.check_law()


def test_what_cannot_be_written_does_not_happen(cluster):
    from penstock.engine.events import SignalQueued

    seq = cluster.reactor.state.seq
    with pytest.raises(OverflowError):
        cluster.reactor.propose(SignalQueued(cluster.now_ms, HUGE, 1, 0, 9, "steps", ()))
    assert cluster.reactor.state.seq == seq
    assert issubclass(BrokenEvent, AssertionError)


@pytest.mark.parametrize("request_", [("hold", {}), ("update_job", {"keys": ["Priority=0"]}), ("requeue_hold", {})])
def test_a_user_does_not_take_an_administrators_hold_for_his_own(cluster, request_):
    op, fields = request_
    job = cluster.submit(ALICE)
    cluster.ask("hold", ROOT, jobs=[str(job)])
    cluster.open(op, ALICE, jobs=[str(job)], **fields)
    with pytest.raises(Refused):
        cluster.ask("release", ALICE, jobs=[str(job)])
    assert cluster.job(job).hold == "JobHeldAdmin"


@pytest.mark.parametrize("op", ["job_info", "release", "step_kill", "step_info", "step_attach", "step_create"])
def test_another_users_job_is_out_of_reach(cluster, op):
    job = running(cluster)
    cluster.ask("step_create", job_id=job, argv=["true"])
    fields = {"step_id": 0} if op in ("step_kill", "step_info", "step_attach") else {}
    if op == "step_attach":
        fields |= {"address": "\0here", "key": "00"}
    with pytest.raises(Refused, match="denied"):
        cluster.ask(op, BOB, job_id=job, **fields)
    assert cluster.word(job) == "RUNNING"


# --- the gateway ---


class Transport:
    """Collects what is written; reading is on or off."""

    def __init__(self) -> None:
        self.out = b""
        self.reading = True
        self.closed = False

    def write(self, data: bytes) -> None:
        self.out += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def connect(gateway: Gateway, uid: int = 4711) -> tuple[Client, Transport]:
    client, transport = gateway.connect(), Transport()
    client.caller = gateway.caller(uid, uid)
    client._transport = transport
    if gateway.admit(client):
        transport.close()
    return client, transport


def frame(size: int = 0) -> bytes:
    json = b'{"op":"x"}'
    body = len(json).to_bytes(4, "big") + json + size.to_bytes(4, "big") + bytes(size)
    return len(body).to_bytes(4, "big") + body


def test_a_client_that_does_not_read_his_answers_is_not_served_further():
    served = []

    def handle(client: Client, fields: dict, sections: list) -> None:
        served.append(client.number)
        if len(served) == 3:
            client.pause_writing()

    client, transport = connect(Gateway(handle, lambda number: None))
    client.data_received(frame() * 10)
    assert (len(served), transport.reading) == (3, False)
    client.resume_writing()
    assert (len(served), transport.reading) == (10, True)


def test_a_user_has_a_bounded_part_of_the_controllers_memory(monkeypatch):
    monkeypatch.setattr(clients, "MAX_UNSERVED_BYTES", 10_000)
    gateway = Gateway(lambda client, fields, sections: None, lambda number: None)
    first, _ = connect(gateway)
    first.data_received(frame(9_000)[:-1])
    second, transport = connect(gateway)
    second.data_received(frame(9_000)[:-1])
    assert transport.closed and b"4711 has more than 10000 bytes" in transport.out
    other, transport = connect(gateway, uid=4712)
    other.data_received(frame(9_000)[:-1])
    assert not transport.closed
    for client in (first, second, other):
        client.connection_lost(None)
    assert gateway._unserved_bytes == {} and gateway._connections == {}


def test_a_user_has_a_bounded_number_of_connections(monkeypatch):
    monkeypatch.setattr(clients, "MAX_CLIENTS_PER_UID", 2)
    gateway = Gateway(lambda client, fields, sections: None, lambda number: None)
    assert [connect(gateway)[1].closed for _ in range(3)] == [False, False, True]
    assert [connect(gateway, uid=0)[1].closed for _ in range(3)] == [False, False, False]


def test_an_element_that_is_named_twice_is_cancelled_once(cluster):
    array = cluster.submit(array="1-4", hold=True)
    answer = cluster.ask("cancel", jobs=[f"{array}_1", f"{array}_1", f"{array}_[1-2]", f"{array}_2"])
    assert [line.split("\t")[2] for line in answer.split("\n")] == ["0", "2021", "0", "2021"]
    ended = [job.array_task_id for job in cluster.reactor.state.jobs.values() if job.finished]
    assert sorted(ended) == [1, 2]
    cluster.check_law()


def test_an_array_that_was_cancelled_whole_has_no_elements_left_to_cancel(cluster):
    array = cluster.submit(array="1-4", hold=True)
    answer = cluster.ask("cancel", jobs=[str(array), f"{array}_2"])
    assert [line.split("\t")[2] for line in answer.split("\n")] == ["0", "2021"]
    assert len(cluster.reactor.state.jobs) == 1
    cluster.check_law()


@pytest.mark.parametrize("text", ["Dependency=afterok:1", "StartTime=now+1hour", "Partition=main,other"])
def test_what_a_running_job_waits_for_cannot_be_changed(cluster, text):
    cluster.run(cluster.submit())
    job = running(cluster)
    with pytest.raises(Refused, match="no longer pending"):
        cluster.ask("update_job", jobs=[str(job)], keys=[text])


def test_an_allocation_is_no_array(cluster):
    with pytest.raises(Refused):
        cluster.ask("allocate", sections=[b""], array="1-4")


def test_of_answers_that_changed_nothing_the_latest_are_kept(cluster):
    for number in range(UNKEPT_MAX + 10):
        cluster.open("cancel", request_id=f"{number:032x}", jobs=["4711"])
    reactor = cluster.reactor
    assert not reactor._recent and not reactor._answers
    assert [reactor.recall(bytes.fromhex(f"{number:032x}"), ALICE.uid) is None for number in (0, 9, 10)] == [True, True, False]


def test_a_cancel_that_found_nothing_to_end_ends_nothing_when_it_is_sent_again(cluster):
    job = cluster.submit()
    cluster.run(job)
    asked = {"request_id": "ab" * 16, "jobs": [str(job)]}
    first = cluster.open("cancel", **asked)
    cluster.ask("requeue", jobs=[str(job)])
    again = cluster.open("cancel", **asked)
    assert cluster.replies[again] == cluster.replies[first]
    assert cluster.word(job) == "PENDING"


def test_answers_are_kept_no_longer_than_until_the_store_knows_them(cluster):
    cluster.automatic = False
    for number in range(10):
        cluster.open("submit", request_id=f"{number:032x}", sections=[SCRIPT, b""])
        if number:
            cluster.durable()
            cluster.reactor.flush()
    assert len(cluster.reactor._recent) + len(cluster.reactor._flying_recent) <= 2


def test_a_name_means_the_callers_own_jobs(cluster):
    mine, other = cluster.submit(ALICE, name="same"), cluster.submit(BOB, name="same")
    cluster.ask("hold", ALICE, jobs=["jobname=same", "jobname=same"])
    assert (cluster.job(mine).hold, cluster.job(other).hold) == ("JobHeldUser", "")
    cluster.ask("hold", ROOT, jobs=["jobname=same"])
    assert cluster.job(other).hold == "JobHeldAdmin"


@pytest.mark.parametrize("field", ["cpus", "memory_mib", "tmp_disk_mib"])
def test_a_node_that_claims_more_than_can_be_is_not_heard(field):
    hello = m.Hello(m.PROTOCOL_VERSION, "n0", "n0", "boot", "test", 4, 4000)
    m.decode_for_controller(m.encode(hello))
    claims = msgspec.structs.replace(hello, **{field: (1 << 31) + 1})
    with pytest.raises(msgspec.ValidationError, match=field):
        m.decode_for_controller(m.encode(claims))
