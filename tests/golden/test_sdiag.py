"""sdiag's text and options, over counters that were fed by hand and the State of the golden cluster."""

from __future__ import annotations

import json
import re

import pytest
from golden_cluster import MINUTE_MS, NOW_MS

from penstock.cli import sdiag
from penstock.controller.views import sdiag as view
from penstock.core.plan import Plan, Reason, Reservation
from penstock.engine.statistics import OPERATIONS_MAX, OTHERS, USERS_MAX, Statistics
from penstock.wire import lite

BLOCKED = Reason("Resources", "waiting")


def counted() -> Statistics:
    """Two passes (one met a blocked job and backfilled two elements), some requests."""
    statistics = Statistics(NOW_MS - 10 * MINUTE_MS)
    statistics.submitted, statistics.started_jobs, statistics.completed, statistics.failed = 12, 7, 4, 1
    statistics.pass_begins(3)
    statistics.started(1, 3)
    statistics.pass_ended(Plan(1, 0, tests=1), 900, NOW_MS - 2 * MINUTE_MS)
    statistics.pass_begins(9)
    statistics.started(1, 1)
    statistics.blocked(2, 5, BLOCKED)
    statistics.started(3, 2)
    statistics.pass_ended(Plan(2, 0, tests=6, reservations=(Reservation(2, "main", 1, 2, ()),)), 2100, NOW_MS - MINUTE_MS)
    statistics.served("submit", "ada", 1000, 300)
    statistics.served("squeue", "ada", 1000, 50)
    statistics.served("squeue", "root", 0, 90)
    statistics.served("sacct", "root", 0, 400)
    return statistics


@pytest.fixture
def asked(cluster, monkeypatch) -> Statistics:
    """sdiag's requests are answered by its view; the caller is not an administrator."""
    statistics = counted()

    def request(fields, *, on_chunk=None, **_):
        lite.encode(fields, ())
        op, known = fields["op"], {key: value for key, value in fields.items() if key != "op"}
        if op == "reset_sdiag":
            raise lite.Refused(2002, "Access/permission denied", "")
        function = {"sdiag": view.sdiag, "json_sdiag": view.json_sdiag}[op]
        for piece in function(cluster.state, cluster.notes, statistics, known):
            if piece:
                on_chunk(piece.decode())
        return ""

    monkeypatch.setattr("penstock.wire.lite.request", request)
    monkeypatch.setattr("time.ctime", lambda seconds: f"Thu Jan  1 {(seconds // 3600) % 24:02d}:{seconds // 60 % 60:02d}:00 2026")
    monkeypatch.setattr(view, "latency_us", lambda: 42)
    return statistics


def run(capfdbinary, *arguments: str) -> tuple[int, str, str]:
    status = sdiag.main(list(arguments))
    out, err = capfdbinary.readouterr()
    return status, out.decode(), err.decode()


def test_text(asked, golden, capfdbinary):
    status, out, err = run(capfdbinary)
    assert (status, err) == (0, "")
    golden("sdiag", out)
    assert run(capfdbinary, "--all") == run(capfdbinary, "-a") == (0, out, "")


def test_before_the_first_pass_there_are_no_means(asked, golden, capfdbinary):
    asked.__init__(NOW_MS)
    golden("sdiag_at_start", run(capfdbinary)[1])


def test_json(asked, golden, capfdbinary):
    status, out, _ = run(capfdbinary, "--json")
    document = json.loads(out)
    assert (status, document["errors"], document["meta"]["slurm"]["cluster"]) == (0, [], "lab")
    golden("json_sdiag", json.dumps(document["statistics"], indent=1) + "\n")


@pytest.mark.parametrize(
    ("option", "first"),
    [
        ("-a", "REQUEST_JOB_INFO"),
        ("-i", "SACCT"),
        ("--sort-by-id", "SACCT"),
        ("-t", "SACCT"),
        ("--sort-by-time", "SACCT"),
        ("-T", "SACCT"),
        ("--sort-by-time2", "SACCT"),
    ],
)
def test_calls_are_sorted(option, first, asked, capfdbinary):
    asked.served("squeue", "ada", 1000, 10)
    _, out, _ = run(capfdbinary, option)
    names = re.findall(r"^\t(\w+) +\( *\d+\) count", out, re.M)
    assert names[0] == first


def test_reset_is_for_administrators(asked, capfdbinary):
    assert run(capfdbinary, "-r") == (255, "", "slurm_reset_statistics: Access/permission denied\n")
    assert run(capfdbinary, "--reset")[0] == 255


def test_after_a_reset_only_the_last_figures_and_the_total_since_the_start_are_left():
    statistics = counted()
    statistics.reset(NOW_MS)
    assert (statistics.submitted, statistics.pass_us.count, statistics.pass_us.most, statistics.pass_us.last) == (0, 0, 0, 2100)
    assert (statistics.backfilled, statistics.backfilled_since_start) == (0, 2)
    assert not statistics.by_operation and not statistics.by_user


def test_names_are_bounded():
    statistics = Statistics()
    for number in range(USERS_MAX + 5):
        statistics.served(f"op{number}", f"user{number}", number, 1)
    assert (len(statistics.by_operation), len(statistics.by_user)) == (OPERATIONS_MAX + 1, USERS_MAX + 1)
    assert statistics.by_user[OTHERS][1].count == 5
