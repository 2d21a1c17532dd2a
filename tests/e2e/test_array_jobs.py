"""Job arrays: elements, their ids and variables, the limit of running ones, and what can be done to a part of one."""

from conftest import CANCELLED, Cluster, wait_for
from evidence import queue, record_of, variables


def test_each_element_knows_its_place(cluster: Cluster):
    job = cluster.submit("--wait", "--array=1-7:3,9", "-o", "element-%A_%a-%j", "--wrap", "env")
    seen = {}
    for path in cluster.work.glob(f"element-{job}_*"):
        found = variables(path.read_text())
        names = ("ARRAY_JOB_ID", "ARRAY_TASK_COUNT", "ARRAY_TASK_MIN", "ARRAY_TASK_MAX")
        seen[int(found["SLURM_ARRAY_TASK_ID"])] = tuple(found[f"SLURM_{name}"] for name in names)
        assert path.name == f"element-{job}_{found['SLURM_ARRAY_TASK_ID']}-{found['SLURM_JOB_ID']}"
        assert (found["SLURM_JOB_ID"] == job) == (found["SLURM_ARRAY_TASK_ID"] == "9"), "the array's id belongs to its last element"
    assert seen == dict.fromkeys((1, 4, 7, 9), (job, "4", "1", "9"))
    rows = cluster.run("sacct", "-nXP", "-j", job, "-o", "JobID,State").split()
    assert sorted(rows) == sorted(f"{job}_{task}|COMPLETED" for task in seen)
    assert cluster.run("sacct", "-nXP", "-j", f"{job}_4", "-o", "JobID").split() == [f"{job}_4"]


def test_the_limit_of_running_elements(cluster: Cluster):
    job = cluster.submit("-a", "0-5%2", "-o", "/dev/null", "--wrap", f"until [ -e go.{'limit'} ]; do sleep 0.05; done")
    wait_for(lambda: len(queue(cluster, job, "%i", "-t", "R")) == 2, "two running elements")
    assert queue(cluster, job, "%i %t %r", "-t", "PD") == [f"{job}_[2-5%2] PD JobArrayTaskLimit"]
    assert sorted(queue(cluster, job, "%i", "-r")) == [f"{job}_{task}" for task in range(6)]
    assert record_of(cluster, f"{job}_5")["ArrayTaskThrottle"] == "2"
    cluster.run("scontrol", "update", f"JobId={job}", "ArrayTaskThrottle=3")
    wait_for(lambda: len(queue(cluster, job, "%i", "-t", "R")) == 3, "three running elements")
    (cluster.work / "go.limit").touch()
    cluster.wait_state(job, "COMPLETED")


def test_a_held_array_is_one_line(cluster: Cluster):
    job = cluster.submit("--hold", "--array=3-9%2", "--wrap", "true")
    assert queue(cluster, job, "%i|%F|%K|%t|%R") == [f"{job}_[3-9%2]|{job}|3-9%2|PD|(JobHeldUser)"]
    cluster.run("scancel", f"{job}_[4-5]", f"{job}_9")
    assert queue(cluster, job, "%i") == [f"{job}_[3,6-8%2]"]
    assert cluster.run("sacct", "-nXP", "-j", f"{job}_4", "-o", "State").strip() == CANCELLED
    cluster.run("scontrol", "release", f"{job}_7")
    cluster.wait_state(f"{job}_7", "COMPLETED")
    assert queue(cluster, job, "%i") == [f"{job}_[3,6,8%2]"]
    cluster.run("scancel", job)
    assert queue(cluster, job, "%i") == []


def test_one_element_fails_and_is_run_again(cluster: Cluster):
    command = 'test "$SLURM_ARRAY_TASK_ID" != 1 || test -e again || exit 9'
    job = cluster.submit("-a", "0-2", "-o", "/dev/null", "--wrap", command)
    cluster.wait_state(job, "COMPLETED", "FAILED")
    rows = cluster.run("sacct", "-nXP", "-j", job, "-o", "JobID,State,ExitCode").split()
    assert sorted(rows) == [f"{job}_0|COMPLETED|0:0", f"{job}_1|FAILED|9:0", f"{job}_2|COMPLETED|0:0"]
    (cluster.work / "again").touch()
    cluster.run("scontrol", "requeue", f"{job}_1")
    cluster.run("scontrol", "update", f"JobId={job}_1", "StartTime=now")
    cluster.wait_state(f"{job}_1", "COMPLETED")


def test_a_signal_reaches_one_element(cluster: Cluster):
    command = 'trap "exit 12" USR1; touch up.$SLURM_ARRAY_TASK_ID; while :; do sleep 0.05; done'
    job = cluster.submit("-a", "0-1", "-o", "/dev/null", "--wrap", command)
    for task in "01":
        cluster.wait_file(f"up.{task}")
    cluster.run("scancel", "--batch", "-s", "USR1", f"{job}_1")
    cluster.wait_state(f"{job}_1", "FAILED")
    assert cluster.state(f"{job}_0") == "RUNNING"
    cluster.run("scancel", f"{job}_0")
    cluster.wait_state(f"{job}_0", CANCELLED)


def test_what_no_array_can_be(cluster: Cluster):
    for text in ("5-1", "a", "0-9999999", "-1"):
        done = cluster.attempt("sbatch", f"--array={text}", "--wrap", "true")
        assert (done.returncode, done.stdout) == (1, ""), text
        assert done.stderr.splitlines()[-1] == "sbatch: error: Batch job submission failed: Invalid job array specification"
