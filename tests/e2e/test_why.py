"""penstock why, squeue --start, snapshot and replay, sdiag: on a living cluster."""

import json
import re

from conftest import Cluster, wait_for

SLOT = "while :; do sleep 0.1; done"


def test_why_a_job_waits_when_it_starts_and_what_would_start_now(cluster: Cluster):
    busy = [cluster.submit("-w", node, "-c3", "--gres=gpu:1", "-t60", "--wrap", SLOT) for node in ("node0", "node1")]
    for job in busy:
        cluster.wait_state(job, "RUNNING")
    waiting = cluster.submit("-J", "big", "-c4", "--gres=gpu:2", "-t30", "--wrap", "true")
    behind = cluster.submit("-J", "behind", "-c4", "-t30", "--wrap", "true")
    wait_for(lambda: cluster.run("squeue", "-h", "-o%r", "-j", waiting).strip() == "Resources", "its reason")

    text = cluster.run("penstock", "why", waiting)
    assert f"job {waiting} (big)" in text and "WAITS FOR  Resources: 4 CPUs asked on a node; at most 1 CPU free on one" in text
    assert re.search(rf"held by job {busy[0]} of \S+: 3 CPUs on node0, until 20", " ".join(text.split()))  # lines end at 80 columns
    assert "place      first in line in its partitions" in text and "promised" in text

    document = json.loads(cluster.run("penstock", "why", "--json", waiting))
    assert [blocker["what"] for blocker in document["blockers"]] == ["cpus", "memory_mib", "gpu"]
    assert {holder["job"] for holder in document["blockers"][2]["holders"]} <= set(busy)
    assert document["start"]["basis"] == "reserved" and document["start"]["nodes"] in ("node0", "node1")

    # squeue --start: the same start for it, and one for the job behind it that nobody promised anything
    starts = dict(line.split() for line in cluster.run("squeue", "--start", "-h", "-o%i %S", "-j", f"{waiting},{behind}").splitlines())
    assert starts[waiting] in text and re.fullmatch(r"20\d\d-.*", starts[behind])
    assert json.loads(cluster.run("penstock", "why", "--json", behind))["start"]["basis"] == "estimated"

    # What `why` says would start now does start now.
    change = next(change for change in json.loads(cluster.run("penstock", "why", "--json", behind))["sooner"] if change["now"])
    assert (change["option"], change["value"]) == ("--cpus-per-task", "1")
    smaller = cluster.submit(f"{change['option']}={change['value']}", "-t30", "-w", change["nodes"], "--wrap", SLOT)
    cluster.wait_state(smaller, "RUNNING")

    assert f"job {busy[0]} (wrap)" in cluster.run("penstock", "why", busy[0]) and "its time limit ends it" in cluster.run(
        "penstock", "why", busy[0]
    )
    cluster.run("scancel", waiting, behind, smaller, *busy)
    wait_for(lambda: "ended" in cluster.run("penstock", "why", busy[0]), "its end")
    refused = cluster.attempt("penstock", "why", "999999")
    assert (refused.returncode, refused.stderr) == (1, "slurm_load_jobs error: Invalid job id specified\n")


def test_a_snapshot_of_the_living_controller_plans_to_the_same_plan(cluster: Cluster):
    busy = cluster.submit("-N2", "-c4", "-t60", "--wrap", SLOT)
    cluster.wait_state(busy, "RUNNING")
    jobs = [cluster.submit("-c4", "-t10", "-a", "0-3", "--wrap", "true"), cluster.submit("-N2", "-c4", "--wrap", "true")]
    wait_for(lambda: cluster.run("squeue", "-h", "-o%r", "-j", jobs[0]).strip() == "Resources", "its reason")
    for name in ("input.json", "input.json.gz"):
        assert f"penstock sim replay {name}" in cluster.run("penstock", "snapshot", name)
        out = cluster.run("penstock", "sim", "replay", name, "--job", jobs[1])
        assert "the same as the controller's" in out and f"job {jobs[1]}: PENDING" in out

    # The plan in the file is the plan that the controller lives by.
    plan = json.loads(cluster.run("penstock", "sim", "replay", "input.json", "--json"))["plan"]
    (promised,) = [one for one in plan["reservations"] if one["job_id"] == int(jobs[0])]
    document = json.loads(cluster.run("penstock", "why", "--json", jobs[0]))
    assert (promised["start_s"], promised["nodes"]) == (document["start"]["at_s"], [document["start"]["nodes"]])
    cluster.run("scancel", busy, *jobs)
    text = (cluster.work / "input.json").read_text()
    assert str(cluster.work) not in text and "while :" not in text

    assert (
        cluster.attempt("penstock", "snapshot", "no/such/folder/x").stderr
        == "penstock snapshot: error: no/such/folder/x: No such file or directory\n"
    )


def test_sdiag_counts_what_was_done(cluster: Cluster):
    job = cluster.submit("--wrap", "true")
    cluster.wait_state(job, "COMPLETED")
    text = cluster.run("sdiag")
    figures = {key: int(value) for key, value in re.findall(r"^\s*([^:\n]+):\s+(\d+)$", text, re.M)}
    assert figures["Jobs submitted"] >= figures["Jobs started"] >= figures["Jobs completed"] >= 1
    assert figures["Total cycles"] >= 1 and figures["Last cycle"] >= 0
    assert re.search(r"^\tREQUEST_SUBMIT_BATCH_JOB +\( 4003\) count:[1-9]", text, re.M)
    assert re.match(r"\*{55}\nsdiag output at \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d 20\d\d \(\d+\)\nData since      ", text)
    statistics = json.loads(cluster.run("sdiag", "--json"))["statistics"]
    assert statistics["jobs_submitted"] >= 1 and statistics["schedule_cycle_total"] >= 1
    assert cluster.run("sdiag", "--reset") == "Reset scheduling statistics\n"
    assert json.loads(cluster.run("sdiag", "--json"))["statistics"]["jobs_submitted"] == 0
