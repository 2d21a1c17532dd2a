"""`penstock sim run`: figures for people and programs, refusals that name what is allowed."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from penstock.__main__ import main
from penstock.core.policies import POLICIES

KTH = str(pathlib.Path(__file__).parents[1] / "simulation" / "data" / "kth-sp2-3000.swf.gz")
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


def test_policies_are_listed(capsys):
    assert main(["sim", "policies"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(POLICIES)


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
