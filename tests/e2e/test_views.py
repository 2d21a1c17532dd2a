"""squeue, sinfo, sacct, sstat, scontrol, scancel and sattach on a living cluster: what they show, what they do, their words and codes.

Columns and formats are held by the golden suite; here the same job is seen by all of them.
"""

import json
import re

import pytest
from conftest import CANCELLED, Cluster, wait_for
from evidence import queue, record_of

FOREVER = "touch up.{name}; while :; do sleep 0.1; done"
SLOT = "while :; do sleep 0.1; done"


def test_one_running_job_in_every_view(cluster: Cluster):
    job = cluster.submit(
        "-n2",
        "-w",
        "node1",
        "-J",
        "seen",
        "--gres=gpu:1",
        "-t10",
        "--mem=100",
        "--wrap",
        "srun sh -c 'touch seen.$SLURM_PROCID; sleep 100'",
    )
    cluster.wait_file("seen.0")
    cluster.wait_file("seen.1")
    assert cluster.run("squeue", "--me", "-h", "-n", "seen", "-o", "%i %P %j %u %t %D %R %C %m %l").split() == [
        *(job, "main", "seen", cluster.run("id", "-un").strip(), "R", "1", "node1", "2", "100M", "10:00"),
    ]
    assert cluster.run("squeue", "-h", "-s", "-j", job, "-o", "%i %j").splitlines() == [f"{job}.0 sh", f"{job}.batch batch"]
    assert cluster.run("sinfo", "-h", "-n", "node1", "-o", "%t %C").split() == ["mix", "2/2/0/4"]
    assert cluster.run("sacct", "-nP", "-j", job, "-o", "JobID,State,AllocTRES").split() == [
        f"{job}|RUNNING|billing=2,cpu=2,gres/gpu=1,mem=100M,node=1",
        f"{job}.batch|RUNNING|cpu=2,gres/gpu=1,mem=100M,node=1",
        f"{job}.0|RUNNING|cpu=2,gres/gpu=1,mem=100M,node=1",
    ]
    steps = cluster.run("sstat", "-a", "-nP", "-j", job, "-o", "JobID,NTasks,MaxRSS").split()
    assert [line.split("|")[:2] for line in steps][-1] == [f"{job}.0", "2"]
    assert all(line.split("|")[2] not in ("", "0") for line in steps)
    pids = cluster.run("sstat", "-i", "-n", "-P", "-j", f"{job}.0").strip().split("|")
    assert pids[:2] == [f"{job}.0", "node1"] and all(pid.isdecimal() for pid in pids[2].split(","))
    record = record_of(cluster, job)
    assert (record["JobState"], record["NodeList"], record["TRES" if "TRES" in record else "AllocTRES"].split(",")[0]) == (
        "RUNNING",
        "node1",
        "cpu=2",
    )
    assert "GRES=gpu:h100:1(IDX:0)" in cluster.run("scontrol", "-d", "show", "job", job)
    assert f"StepId={job}.0 " in cluster.run("scontrol", "-o", "show", "step", f"{job}.0")
    assert "GresUsed=gpu:h100:1(IDX:0)" in cluster.run("scontrol", "-d", "-o", "show", "node", "node1")
    for command in (["squeue", "--json", "-j", job], ["sacct", "--json", "-j", job], ["scontrol", "show", "job", job, "--json"]):
        (entry,) = json.loads(cluster.run(*command))["jobs"]
        assert (str(entry["job_id"]), entry["name"]) == (job, "seen")
    cluster.run("scancel", job)
    cluster.wait_state(job, CANCELLED)


def test_sattach_reads_along(cluster: Cluster):
    job = cluster.submit("-n2", "--wrap", "srun -n2 sh -c 'until [ -e attached ]; do sleep 0.05; done; echo said'")
    wait_for(lambda: f"{job}.0" in cluster.run("squeue", "-h", "-s", "-j", job, "-o", "%i"), "the step")
    assert "2 tasks, 1 nodes" in cluster.run("sattach", "--layout", f"{job}.0")
    process = cluster.start("sattach", "--label", f"{job}.0")
    wait_for(lambda: process.poll() is not None or cluster.run("touch", "attached") == "", "its start")
    assert sorted(process.communicate(timeout=30)[0].splitlines()) in ([], ["0: said", "1: said"])
    cluster.wait_state(job, "COMPLETED")


FILTERS = [
    (["--name=one"], {"one"}),
    (["--jobname", "one,two"], {"one", "two"}),
    (["-n", "two"], {"two"}),
    (["--account=lab"], {"one"}),
    (["-q", "quick"], {"two"}),
    (["--wckey=key"], {"three"}),
    (["--nodelist=node0"], {"one"}),
    (["-t", "PENDING"], {"three"}),
    (["--state=RUNNING"], {"one", "two"}),
    (["--partition=short"], {"three"}),
    (["-p", "main", "-w", "node1"], {"two"}),
    (["--me"], {"one", "two", "three"}),
    (["-u", "root", "--ctld"], {"one", "two", "three"}),
    (["--user=daemon", "-v"], set()),
    (["--reservation=none"], set()),
    (["-i", "--name=two"], {"two"}),
]


def test_every_filter_of_scancel(configured: Cluster):
    """Three jobs; each filter signals its own with USR1, which they count by lines in a file."""
    counting = 'trap "echo 1 >> counted.$SLURM_JOB_NAME" USR1; touch up.$SLURM_JOB_NAME; while :; do sleep 0.02; done'
    user = configured.run("id", "-un").strip()
    jobs = {
        "one": configured.submit("-J", "one", "-w", "node0", "-A", "lab", "-o", "/dev/null", "--wrap", counting),
        "two": configured.submit("-J", "two", "-w", "node1", "-q", "quick", "-o", "/dev/null", "--wrap", counting),
        "three": configured.submit("-H", "-J", "three", "-p", "short", "--wckey=key", "--wrap", counting),
    }
    for name in ("one", "two"):
        configured.wait_file(f"up.{name}")
    expected = {"one": 0, "two": 0}
    for words, hit in FILTERS:
        words = [user if word == "root" else word for word in words]
        done = configured.attempt("scancel", "--batch", "-s", "USR1", *words, stdin="y\n")
        for name in hit & expected.keys():
            expected[name] += 1
        if "three" in hit:
            assert (done.returncode, f"Kill job error on job id {jobs['three']}: Job is pending execution" in done.stderr) == (1, True), (
                words
            )
        else:
            assert done.returncode == 0, (words, done.stderr)

    def counted() -> dict[str, int]:
        files = {name: configured.work / f"counted.{name}" for name in expected}
        return {name: len(path.read_text().splitlines()) if path.exists() else 0 for name, path in files.items()}

    wait_for(lambda: all(count > 0 for count in counted().values()), "signals")
    assert all(counted()[name] <= most for name, most in expected.items())
    configured.run("scancel", "--full", "-s", "KILL", jobs["one"])
    configured.wait_state(jobs["one"], "FAILED", CANCELLED)
    configured.run("scancel", "--quiet", *jobs.values())
    configured.wait_state(jobs["two"], CANCELLED)
    assert configured.state(jobs["three"]) == CANCELLED


def test_operations_on_a_job(cluster: Cluster):
    job = cluster.submit("-H", "-o", "operated", "--wrap", "while [ ! -e operated.go ]; do sleep 0.05; done; echo done")
    changes = {"Name": "new", "Comment": "noted", "TimeLimit": "20", "Nice": "4"}
    cluster.run("scontrol", "update", f"JobId={job}", *(f"{key}={value}" for key, value in changes.items()))
    record = record_of(cluster, job)
    assert [record[key] for key in ("JobName", "Comment", "TimeLimit", "Nice")] == ["new", "noted", "00:20:00", "4"]
    cluster.run("scontrol", "release", job)
    cluster.wait_state(job, "RUNNING")
    cluster.run("scontrol", "suspend", job)
    assert queue(cluster, job, "%T") == ["SUSPENDED"]
    cluster.run("scontrol", "resume", job)
    assert queue(cluster, job, "%T") == ["RUNNING"]
    cluster.run("scontrol", "requeuehold", job)
    wait_for(lambda: queue(cluster, job, "%T %r") == ["PENDING JobHeldUser"], "the requeued job")
    cluster.run("scontrol", "hold", job)
    (cluster.work / "operated.go").touch()
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    cluster.run("scontrol", "release", job)
    cluster.wait_state(job, "COMPLETED")
    assert (cluster.work / "operated").read_text().endswith("done\n")
    assert cluster.run("scontrol", "write", "batch_script", job, "-") == "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n" + (
        "while [ ! -e operated.go ]; do sleep 0.05; done; echo done\n"
    )


def test_a_node_is_drained_and_comes_back(cluster: Cluster):
    cluster.run("scontrol", "update", "NodeName=node0", "State=DRAIN", "Reason=tests")
    try:
        assert cluster.run("sinfo", "-h", "-n", "node0", "-o", "%t").strip() == "drain"
        assert cluster.run("sinfo", "-h", "-R", "-o", "%E %N").split() == ["tests", "node0"]
        job = cluster.submit("-w", "node0", "--wrap", "true")
        wait_for(lambda: "ReqNodeNotAvail" in queue(cluster, job, "%r")[0], "the reason")
    finally:
        cluster.run("scontrol", "update", "NodeName=node0", "State=RESUME")
    assert cluster.wait_state(job, "COMPLETED")


def test_start_times_are_expected(cluster: Cluster):
    blocker = cluster.submit("-N2", "--exclusive", "-t5", "--wrap", "sleep 100")
    cluster.wait_state(blocker, "RUNNING")
    job = cluster.submit("-n8", "-t5", "--wrap", "true")
    try:
        expected = record_of(cluster, blocker)["EndTime"]
        wait_for(lambda: cluster.run("squeue", "--start", "-h", "-j", job, "-o", "%S").strip()[:17] == expected[:17], "the expected start")
        assert cluster.run("squeue", "--start", "-h", "-j", job, "-o", "%Y").strip() == "node[0-1]"
        text = cluster.attempt("sbatch", "--test-only", "-n8", "-t5", "--wrap", "true").stderr
        found = re.fullmatch(r"sbatch: Job \d+ to start at (\S+) a using 8 processors on nodes node\[0-1\] in partition main\n", text)
        assert found and found[1] > expected
    finally:
        cluster.run("scancel", blocker, job)
        cluster.wait_state(blocker, CANCELLED)


NOTHING = "9999999"
WORDS = [
    (["squeue", "-j", NOTHING], 1, "slurm_load_jobs error: Invalid job id specified\n"),
    (["squeue", "-h", "-j", f"{NOTHING},{NOTHING[1:]}"], 0, ""),
    (["scancel", NOTHING], 0, ""),
    (["scancel", "-s", "USR1", NOTHING], 1, f"scancel: error: Kill job error on job id {NOTHING}: Invalid job id specified\n"),
    (["scontrol", "show", "job", NOTHING], 1, "slurm_load_jobs error: Invalid job id specified\n"),
    (["scontrol", "show", "step", f"{NOTHING}.0"], 1, "slurm_get_job_steps error: Invalid job id specified\n"),
    (["scontrol", "show", "node", "nope"], 1, "Node nope not found\n"),
    (["scontrol", "show", "partition", "nope"], 1, "Partition nope not found\n"),
    (["scontrol", "requeue", NOTHING], 1, f"Invalid job id specified for job {NOTHING}\n"),
    (["scontrol", "bogus"], 1, "invalid keyword: bogus\n"),
    (["sacct", "-o", "nope"], 1, 'sacct: error: Invalid field requested: "nope"\n'),
    (["sinfo", "-h", "-p", "nope"], 0, ""),
    (["sbatch", "/no/such/file"], 1, "sbatch: error: Unable to open file /no/such/file\n"),
    (
        ["sbatch", "-p", "nope", "--wrap", "true"],
        1,
        "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified\n",
    ),
    (
        ["salloc", "-p", "nope", "true"],
        1,
        "salloc: error: invalid partition specified: nope\nsalloc: error: Job submit/allocate failed: Invalid partition name specified\n",
    ),
    (
        ["srun", "-p", "nope", "true"],
        1,
        "srun: error: invalid partition specified: nope\nsrun: error: Unable to allocate resources: Invalid partition name specified\n",
    ),
    (
        ["srun", f"--jobid={NOTHING}", "true"],
        1,
        f"srun: error: Unable to confirm allocation for job {NOTHING}: Invalid job id specified\n"
        f"srun: Check SLURM_JOB_ID environment variable. Expired or invalid job {NOTHING}\n",
    ),
]


@pytest.mark.parametrize(("words", "status", "text"), WORDS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_words_and_exit_status(cluster: Cluster, words: list[str], status: int, text: str):
    done = cluster.attempt(*words)
    assert (done.returncode, done.stderr or done.stdout) == (status, text)
