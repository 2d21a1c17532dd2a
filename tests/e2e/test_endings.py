"""How jobs end that do what they like: memory, processes that run away, output without end, files that are closed."""

import os
import subprocess
from pathlib import Path

from conftest import Cluster, processes_of, wait_for

HOG = """
import sys, time
block = bytearray({size} << 20)
for at in range(0, len(block), 4096): block[at] = 1
time.sleep(30)
"""


def limited_by_cgroup(cluster: Cluster) -> bool:
    return "memory limits are enforced by polling" not in cluster.run("penstock", "doctor", "--dir", str(cluster.folder), status=None)


def hog(cluster: Cluster) -> str:
    path = cluster.work / "hog.py"
    path.write_text(HOG.format(size=400))
    return f"/usr/bin/env python3 {path}"


def gone(cluster: Cluster, job: str) -> None:
    wait_for(lambda: not processes_of(cluster, job), f"no process of job {job} is left: {processes_of(cluster, job)}")


def test_a_script_over_its_memory_is_ended_as_out_of_memory(cluster: Cluster) -> None:
    job = cluster.submit("--mem=100M", "-o", "oom.out", "--wrap", f"exec {hog(cluster)}")
    cluster.wait_state(job, "OUT_OF_MEMORY")
    assert cluster.field(job, "ExitCode") == "0:125"
    text = (cluster.work / "oom.out").read_text()
    assert f"slurmstepd: error: Detected 1 oom_kill event in StepId={job}.batch. Some of the step tasks have been OOM Killed." in text
    assert "Reason=OutOfMemory" in cluster.run("scontrol", "show", "job", job)
    gone(cluster, job)


def test_a_child_over_the_memory_marks_the_job_though_the_script_goes_on(cluster: Cluster) -> None:
    job = cluster.submit("--mem=100M", "-o", "child.out", "--wrap", f"{hog(cluster)}; echo after $?")
    cluster.wait_state(job, "OUT_OF_MEMORY")
    gone(cluster, job)


def test_a_step_over_its_memory_says_so_at_its_client(cluster: Cluster) -> None:
    job = cluster.submit("--mem=100M", "-o", "step_oom.out", "--wrap", f"srun {hog(cluster)}; echo srun $?")
    wait_for(lambda: cluster.state(job) not in ("PENDING", "RUNNING"), "the job is over")
    text = (cluster.work / "step_oom.out").read_text()
    assert f"Detected 1 oom_kill event in StepId={job}.0. Some of the step tasks have been OOM Killed." in text
    assert "task 0: Out Of Memory" in text
    if limited_by_cgroup(cluster):
        assert "srun 253" in text
    assert cluster.run("sacct", "-nP", "-o", "State", "-j", f"{job}.0") == "OUT_OF_MEMORY\n"
    gone(cluster, job)


def test_a_job_within_its_memory_is_left_alone(cluster: Cluster) -> None:
    path = cluster.work / "modest.py"
    path.write_text("block = bytearray(60 << 20)\nfor at in range(0, len(block), 4096): block[at] = 1\n")
    job = cluster.submit("--mem=150M", "-o", "/dev/null", "--wrap", f"exec /usr/bin/env python3 {path}")
    cluster.wait_state(job, "COMPLETED")


RUNAWAY = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
for fd in range(3): os.close(fd)
open(sys.argv[1], "w").write(str(os.getpid()))
{clean}
time.sleep(600)
"""


def test_what_forks_away_ends_with_its_job(impatient: Cluster) -> None:
    script = impatient.work / "runaway.py"
    script.write_text(RUNAWAY.format(clean=""))
    job = impatient.submit(
        "-o", "/dev/null", "--wrap", f"/usr/bin/env python3 {script} away.pid; while [ ! -s away.pid ]; do sleep 0.05; done"
    )
    impatient.wait_state(job, "COMPLETED")
    assert not Path(f"/proc/{impatient.wait_file('away.pid')}").exists()


def test_what_forks_away_and_cleans_its_environment_ends_with_a_cancelled_step(impatient: Cluster) -> None:
    script = impatient.work / "runaway2.py"
    clean = 'os.execve("/bin/sleep", ["sleep", "601"], {}) if len(sys.argv) > 2 else None'
    script.write_text(RUNAWAY.format(clean=clean))
    job = impatient.submit("-o", "/dev/null", "--wrap", f"srun sh -c '/usr/bin/env python3 {script} away2.pid clean; exec sleep 600'")
    pid = impatient.wait_file("away2.pid")
    impatient.run("scancel", job)
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the process that went away is killed")
    wait_for(lambda: not impatient.live(job), "the job has left")


def test_a_gigabyte_of_output_to_a_file_costs_the_daemons_nothing(cluster: Cluster) -> None:
    job = cluster.submit("-o", "big.out", "--wrap", "head -c 1073741824 /dev/zero")
    cluster.wait_state(job, "COMPLETED")
    big = cluster.work / "big.out"
    try:
        assert big.stat().st_size == 1 << 30
        assert resident_mib(cluster, "controller", "agent", "shepherd") < 300
    finally:
        big.unlink()


def resident_mib(cluster: Cluster, *roles: str) -> int:
    pages = 0
    for _, pid in cluster.processes(*roles):
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") >> 20


def test_a_long_stream_through_srun_arrives_whole_and_is_held_nowhere(cluster: Cluster) -> None:
    size = 200 << 20
    with cluster.start("srun", "head", "-c", str(size), "/dev/zero", text=False) as process:
        count, most_mib = 0, 0
        while piece := process.stdout.read(1 << 20):
            count += len(piece)
            if count % (40 << 20) < len(piece):
                most_mib = max(most_mib, resident_mib(cluster, "controller", "agent", "shepherd"))
    assert (process.returncode, count) == (0, size)
    assert most_mib < 300


def test_a_job_that_closes_its_output_runs_to_its_end(cluster: Cluster) -> None:
    job = cluster.submit("-o", "closed.out", "--wrap", "exec >&- 2>&- <&-; sleep 0.2; touch closed.done; exit 4")
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == "4:0"
    assert (cluster.work / "closed.done").exists()
    done = cluster.attempt("srun", "sh", "-c", "exec >&- 2>&- <&-; sleep 0.2; touch closed.step; exit 5")
    assert done.returncode == 5
    assert (cluster.work / "closed.step").exists()


def test_a_script_killed_by_a_signal_shows_the_pair(cluster: Cluster) -> None:
    job = cluster.submit("-o", "/dev/null", "--wrap", "kill -SEGV $$")
    cluster.wait_state(job, "FAILED")
    assert cluster.field(job, "ExitCode") == "0:11"


def test_no_process_of_a_finished_job_is_left_on_the_machine(cluster: Cluster) -> None:
    wrap = "(sleep 299.5 &) ; setsid sleep 299.5 & nohup sleep 299.5 & exit "
    for code in (0, 3):
        job = cluster.submit("-o", "/dev/null", "--wrap", f"{wrap}{code}")
        cluster.wait_state(job, "COMPLETED", "FAILED")
        gone(cluster, job)
    table = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 299.5" not in table.splitlines()
