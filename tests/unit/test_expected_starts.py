"""squeue --start: a start for every waiting job, from the plan's own profile."""

from __future__ import annotations

from types import SimpleNamespace

from engine_cluster import ALICE, BEGIN_MS, EngineCluster

from penstock.controller.reading import Reading
from penstock.core import outlook

HOUR_MS = 3_600_000
CLIENT = SimpleNamespace(caller=ALICE, number=1)


def starts(cluster: EngineCluster, reading: Reading, **fields: object) -> dict[str, tuple[float, str]]:
    """Job -> (hours until its expected start, nodes); jobs without one are left out."""
    names = ["jobid", "starttime", "schednodes"]
    pieces = reading.open(CLIENT, {"op": "squeue", "fields": names, "states": ["PENDING"], **fields}, cluster.now_ms)
    rows = [column.split("\x1f") for column in b"".join(pieces).decode().split("\x1e")]
    return {job: ((int(start) * 1000 - BEGIN_MS) / HOUR_MS, nodes) for job, start, nodes in zip(*rows, strict=True) if start.isdecimal()}


def queue_of_four() -> tuple[EngineCluster, Reading]:
    """n0 is full for an hour; four jobs of an hour each, as large as the node, wait."""
    cluster = EngineCluster(n0=4)
    for _ in range(5):
        cluster.submit(ntasks=4, time_limit_s=3600)
    cluster.plan()
    return cluster, Reading(cluster.reactor, cluster.store)


def test_every_waiting_job_has_a_start_in_turn():
    cluster, reading = queue_of_four()
    assert starts(cluster, reading, start=True) == {str(job): (job - 1, "n0") for job in (2, 3, 4, 5)}


def test_other_views_show_what_is_promised_and_what_was_foreseen_lately():
    cluster, reading = queue_of_four()
    assert list(starts(cluster, reading)) == ["2"]
    starts(cluster, reading, start=True)
    assert list(starts(cluster, reading)) == ["2", "3", "4", "5"]
    cluster.tick(31)
    assert list(starts(cluster, reading)) == ["2"]


def test_a_change_is_foreseen_anew():
    cluster, reading = queue_of_four()
    starts(cluster, reading, start=True)
    cluster.ask("cancel", jobs=["3"])
    cluster.plan()
    assert starts(cluster, reading, start=True) == {"2": (1, "n0"), "4": (2, "n0"), "5": (3, "n0")}


def test_a_forecast_that_took_long_rests(monkeypatch):
    cluster, reading = queue_of_four()
    clock = SimpleNamespace(now_ns=0)

    def slow_forecast(*arguments, **named):
        clock.now_ns += 10**9
        return (yield from outlook.forecast(*arguments, **named))

    for name in ("perf_counter_ns", "thread_time_ns"):
        monkeypatch.setattr(f"penstock.controller.reading.{name}", lambda: clock.now_ns)
    monkeypatch.setattr("penstock.controller.reading.forecast", slow_forecast)
    first = starts(cluster, reading, start=True)
    new = cluster.submit(ntasks=4, time_limit_s=3600)
    cluster.plan()
    assert starts(cluster, reading, start=True) == first
    clock.now_ns += 10**10
    assert starts(cluster, reading, start=True) == {**first, str(new): (5, "n0")}


def test_nothing_is_computed_again_while_nothing_changes(monkeypatch):
    cluster, reading = queue_of_four()
    first = starts(cluster, reading, start=True)
    monkeypatch.setattr(outlook, "cycle", None)
    assert starts(cluster, reading, start=True) == first


def test_a_job_without_a_time_limit_counts_as_a_year():
    cluster = EngineCluster(n0=4)
    for _ in range(2):
        cluster.submit(ntasks=4)
    cluster.plan()
    assert starts(cluster, Reading(cluster.reactor, cluster.store), start=True) == {"2": (365 * 24, "n0")}
