"""`penstock sim run`: figures for people and programs, refusals that name what is allowed."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import sys

import pytest

from penstock.__main__ import main
from penstock.core.policies import POLICIES
from penstock.sim.arrivals import PLACEMENTS

KTH = str(pathlib.Path(__file__).parents[1] / "simulation" / "data" / "kth-sp2-3000.swf.gz")
OPENB = pathlib.Path(__file__).parent / "openb"
FILL = ["sim", "run", "--trace", str(OPENB / "pods.csv"), "--cluster", str(OPENB / "nodes.csv"), "--seed", "42"]
RUN = ["sim", "run", "--trace", KTH, "--cluster", "1*sp2[cpu:100]", "--jobs", "40"]


def test_every_policy_runs_and_is_told_in_some_lines(capsys):
    assert main([*RUN, "--policy", ",".join(POLICIES), "--limits", "modal", "--max-limit", "3-0"]) == 0
    printed = capsys.readouterr().out
    for name in POLICIES:
        assert f"{name}, limits modal: 40 jobs on 100 CPUs" in printed


def test_the_same_run_gives_the_same_json(capsys):
    assert main([*RUN, "--policy", "easy,fifo", "--json"]) == 0
    first = capsys.readouterr().out
    assert main([*RUN, "--policy", "easy,fifo", "--json"]) == 0
    assert capsys.readouterr().out == first
    policies = json.loads(first)["policies"]
    assert list(policies) == ["easy", "fifo"]
    assert policies["easy"]["jobs"] == 40
    assert set(policies["easy"]["wait_s"]) == {"mean", "median", "p95", "p99", "most"}
    assert policies["easy"]["preemptions"] == 0


def test_means_come_with_intervals_and_policies_with_what_they_are_to_the_first(capsys):
    assert main([*RUN[:-2], "--jobs", "700", "--policy", "greedy,fifo", "--json"]) == 0
    policies = json.loads(capsys.readouterr().out)["policies"]
    low, high = policies["greedy"]["interval_95"]["wait_s"]
    assert low < policies["greedy"]["wait_s"]["mean"] < high
    assert policies["greedy"]["against_first"] == {}
    ratio, low, high = policies["fifo"]["against_first"]["jct_s"]
    assert ratio == pytest.approx(policies["fifo"]["jct_s"]["mean"] / policies["greedy"]["jct_s"]["mean"]) and low < ratio < high


@pytest.mark.parametrize("arguments", [["policies"], RUN[1:]])
def test_a_reader_that_goes_early_is_no_error(arguments):
    command = subprocess.Popen([sys.executable, "-m", "penstock", "sim", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command.stdout.close()
    assert command.wait() == 141
    with command.stderr as said:
        assert said.read() == b""


def test_an_interrupted_run_ends_without_a_traceback(capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.sim.experiment.Experiment.run", interrupted)
    assert main(RUN) == 130
    assert capsys.readouterr().err == ""


def test_policies_are_listed(capsys):
    assert main(["sim", "policies"]) == 0
    logs, openb = capsys.readouterr().out.split("placements for a list of openb:")
    assert [line.split()[0] for line in logs.splitlines() if line] == list(POLICIES)
    assert [line.split()[0] for line in openb.splitlines() if line] == list(PLACEMENTS)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--policy", "magic"], "magic"),
        (["--cluster", "100 nodes"], "COUNT\\*NAME"),
        (["--cluster", "0*n"], "0 nodes"),
        (["--cluster", "2*n[gpu:900]"], "gpu:900"),
        (["--cluster", "2*n[rack:1]"], "rack:1"),
        (["--cluster", "1*n,2*n"], "two groups"),
        (["--cluster", "1*tiny[cpu:2]"], "can never start"),
        (["--trace", "/nowhere/log.swf"], "/nowhere/log.swf"),
        (["--from", "999999999999"], "no job"),
        (["--max-limit", "soon"], "soon"),
        (["--policy", "fgd"], "fgd"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(capsys, change, named):
    assert main([*RUN, *change]) == 1
    error = capsys.readouterr().err
    assert error.startswith("penstock sim: error: ")
    assert re.search(named, error), error


def test_the_report_is_one_page_that_needs_no_network(tmp_path, capsys):
    page = tmp_path / "out.html"
    assert main([*RUN, "--policy", "fifo,easy", "--report", str(page)]) == 0
    text = page.read_text()
    assert "@" not in re.sub(r"@media", "", text), "a mark of the frame was not filled in"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", text)
    runs = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])["runs"]
    assert [run["name"] for run in runs] == ["fifo", "easy"]
    for run in runs:
        assert len({bar[5] for bar in run["bars"]}) == 40
        assert sum(bar[1] * (bar[3] - bar[2]) for bar in run["bars"]) == pytest.approx(sum(run["used"]) * run["width"], rel=0.02)
        assert run["wait"] == sorted(run["wait"]) and len(run["wait"]) == 200


def test_a_report_that_cannot_be_written_is_an_error(capsys):
    assert main([*RUN, "--report", "/nowhere/out.html"]) == 1
    assert "/nowhere/out.html" in capsys.readouterr().err


def test_twice_the_load_brings_the_same_jobs_in_half_the_time(capsys):
    assert main([*RUN, "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main([*RUN, "--load", "2", "--json"]) == 0
    half = json.loads(capsys.readouterr().out)
    assert half["settings"] == whole["settings"] | {"load": 2.0}
    before, after = whole["policies"]["easy"], half["policies"]["easy"]
    assert after["jobs"] == before["jobs"] and after["makespan_s"] < before["makespan_s"]
    assert after["wait_s"]["mean"] > before["wait_s"]["mean"]


@pytest.mark.parametrize("load", ["0", "-1", "101", "nan", "much"])
def test_a_load_that_makes_no_sense_is_bad_usage(capsys, load):
    with pytest.raises(SystemExit) as status:
        main([*RUN, f"--load={load}"])
    assert status.value.code == 2
    assert f"{load}: 0.01 to 100 are allowed" in capsys.readouterr().err


def test_every_placement_fills_the_cluster_of_an_openb_list(capsys):
    assert main([*FILL, "--policy", ",".join(PLACEMENTS), "--json"]) == 0
    filled = json.loads(capsys.readouterr().out)
    assert filled["settings"]["load"] == 1.3
    assert list(filled["policies"]) == list(PLACEMENTS)
    for found in filled["policies"].values():
        assert set(found["allocation"]) == {"100", "130"}
        assert 50 < found["allocation"]["100"] <= found["allocation"]["130"] <= 100
        assert 0 < found["failed"] < found["pods"]
    assert len({found["pods"] for found in filled["policies"].values()}) == 1


def test_a_smaller_load_is_told_where_it_ends(capsys):
    assert main([*FILL, "--load", "0.4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["policies"]["plain"]
    assert list(found["allocation"]) == ["40"]
    assert 30 < found["allocation"]["40"] <= 40


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["--policy", "easy"], "'easy': .*fgd, plain, scores are allowed"),
        (["--cluster", "96*n[gpu:8]"], r"96\*n\[gpu:8\].*list of nodes"),
        (["--cluster", str(OPENB / "pods.csv")], "no column sn, model"),
        (["--limits", "modal"], "--limits: no meaning"),
        (["--from", "5", "--report", "x.html"], "--from, --report: no meaning"),
    ],
)
def test_what_an_openb_list_cannot_mean_is_refused_by_name(capsys, change, named):
    assert main([*FILL, *change]) == 1
    assert re.search(named, capsys.readouterr().err)


def test_a_bar_is_drawn_on_a_terminal_and_nothing_elsewhere(capsys, monkeypatch):
    monkeypatch.setattr("penstock.sim.command.PROGRESS_EVERY_S", 0.0)
    assert main(RUN) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main(RUN) == 0
    drawn = capsys.readouterr().err
    assert re.search(r"\reasy +\[#{5,}\.+\] \d+ of about 40 jobs, \d+ in the system", drawn)
    assert drawn.endswith("\r\x1b[K"), "the bar is wiped out at the end"
