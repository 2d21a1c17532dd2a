"""Signals to jobs: scancel in all its forms, --signal, suspend and resume, arrays in part."""

import time

from conftest import Cluster, processes_of, wait_for

TRAPS = """#!/bin/sh
for s in TERM USR1 USR2 CONT; do trap "echo shell $s" $s; done
{step}
echo ready
while :; do sleep 0.1; done
"""
STEP = """srun -o {file} sh -c 'for s in TERM USR1 USR2 CONT; do trap "echo step $s" $s; done; echo ready; while :; do sleep 0.1; done' &
"""


def start(cluster: Cluster, name: str, *words: str, step: bool = True) -> str:
    """A job whose shell and step write what they are sent to NAME.out and NAME.step; it runs when this returns."""
    script = cluster.work / f"{name}.sh"
    script.write_text(TRAPS.format(step=STEP.format(file=f"{name}.step") if step else ""))
    job = cluster.submit("-o", f"{name}.out", *words, str(script))
    cluster.wait_file(f"{name}.out", "ready")
    if step:
        cluster.wait_file(f"{name}.step", "ready")
    return job


def test_scancel_of_a_pending_job_ends_it_at_once(impatient: Cluster) -> None:
    job = impatient.submit("--hold", "--wrap", "true")
    impatient.run("scancel", job)
    assert impatient.state(job).startswith("CANCELLED by ")
    assert impatient.field(job, "ExitCode") == "0:0"


def test_scancel_sends_cont_and_term_and_after_kill_wait_kill(impatient: Cluster) -> None:
    job = start(impatient, "cancelled")
    began_s = time.monotonic()
    impatient.run("scancel", job)
    assert impatient.state(job).startswith("CANCELLED by ")
    wait_for(lambda: not processes_of(impatient, job), "its processes are gone")
    assert time.monotonic() - began_s > 0.9
    shell, step = (impatient.work / "cancelled.out").read_text(), (impatient.work / "cancelled.step").read_text()
    assert "shell CONT" in shell and "shell TERM" in shell and "step CONT" in step
    assert f"*** JOB {job} ON node" in shell and "CANCELLED AT 2" in shell
    assert wait_for(lambda: "RUNNING" not in impatient.run("sacct", "-nP", "-j", job, "-o", "State"), "all records closed")
    assert not impatient.live(job)


def test_a_signal_goes_to_the_steps_alone(impatient: Cluster) -> None:
    job = start(impatient, "steps")
    impatient.run("scancel", "-s", "USR1", job)
    impatient.wait_file("steps.step", "step USR1")
    impatient.run("scancel", "-s", "KILL", job)
    wait_for(lambda: impatient.run("sacct", "-nP", "-o", "ExitCode", "-j", f"{job}.0") == "0:9\n", "the step is killed")
    assert impatient.state(job) == "RUNNING"
    assert "shell USR1" not in (impatient.work / "steps.out").read_text()
    impatient.run("scancel", job)


def test_a_signal_with_b_goes_to_the_batch_shell_alone(impatient: Cluster) -> None:
    job = start(impatient, "batch")
    impatient.run("scancel", "-b", "-s", "USR2", job)
    impatient.wait_file("batch.out", "shell USR2")
    impatient.run("scancel", "-s", "USR1", job)
    impatient.wait_file("batch.step", "step USR1")
    assert "USR2" not in (impatient.work / "batch.step").read_text()
    impatient.run("scancel", job)


def test_a_signal_with_f_goes_to_the_shell_and_its_children(impatient: Cluster) -> None:
    (impatient.work / "full.sh").write_text(
        "#!/bin/bash\ntrap 'echo shell USR1' USR1\n(trap 'echo child USR1' USR1; echo ready; while :; do sleep 0.1; done) &\n"
        "while :; do sleep 0.1; done\n"
    )
    job = impatient.submit("-o", "full.out", "full.sh")
    impatient.wait_file("full.out", "ready")
    impatient.run("scancel", "-f", "-s", "USR1", job)
    impatient.wait_file("full.out", "shell USR1")
    impatient.wait_file("full.out", "child USR1")
    impatient.run("scancel", job)


def test_a_signal_to_a_pending_job_is_refused(impatient: Cluster) -> None:
    job = impatient.submit("--hold", "--wrap", "true")
    done = impatient.attempt("scancel", "-s", "USR1", job)
    assert done.returncode == 1
    assert f"Kill job error on job id {job}: " in done.stderr
    impatient.run("scancel", job)


def test_scancel_of_an_unknown_job(impatient: Cluster) -> None:
    silent = impatient.attempt("scancel", "9999999")
    assert (silent.returncode, silent.stderr) == (0, "")
    loud = impatient.attempt("scancel", "-s", "USR1", "9999999")
    assert loud.returncode == 1
    assert "Invalid job id" in loud.stderr and "9999999" in loud.stderr


def test_part_of_an_array_is_cancelled_in_one_command(impatient: Cluster) -> None:
    array = impatient.submit("--hold", "-a", "0-9", "-o", "/dev/null", "--wrap", "true")
    impatient.run("scancel", f"{array}_[1-3,7]")
    rows = impatient.run("squeue", "-h", "-r", "-t", "PD", "-j", array, "-o", "%K").split()
    assert sorted(map(int, rows)) == [0, 4, 5, 6, 8, 9]
    impatient.run("scancel", f"{array}_8")
    impatient.run("scontrol", "release", array)
    wait_for(lambda: not impatient.live(array), "the array has ended")
    records = impatient.run("sacct", "-nXP", "-o", "JobID,State", "-j", array)
    states = dict(line.split("|") for line in records.splitlines())
    cancelled = {name for name, state in states.items() if state.startswith("CANCELLED")}
    done = {name for name, state in states.items() if state == "COMPLETED"}
    assert done == {f"{array}_{task}" for task in (0, 4, 5, 6, 9)}
    assert sum(name.count("_") for name in cancelled) >= 1 and not cancelled & done


def test_a_running_element_is_cancelled_and_its_siblings_go_on(impatient: Cluster) -> None:
    array = impatient.submit("-a", "1-3", "-o", "element.%a", "--wrap", "echo ready; exec sleep 60")
    for task in (1, 2, 3):
        impatient.wait_file(f"element.{task}", "ready")
    impatient.run("scancel", f"{array}_2")
    wait_for(lambda: impatient.state(f"{array}_2").startswith("CANCELLED"), "element 2 is cancelled")
    assert impatient.state(f"{array}_1") == impatient.state(f"{array}_3") == "RUNNING"
    impatient.run("scancel", array)
    wait_for(lambda: not impatient.live(array), "all are gone")


def test_the_warning_signal_goes_to_the_steps_and_with_b_to_the_shell(impatient: Cluster) -> None:
    steps = start(impatient, "warned", "-t", "1", "--signal=USR1@57")
    shell = start(impatient, "warned_b", "-t", "1", "--signal=B:USR2@57")
    impatient.wait_file("warned.step", "step USR1")
    impatient.wait_file("warned_b.out", "shell USR2")
    assert "shell USR1" not in (impatient.work / "warned.out").read_text()
    assert "step USR2" not in (impatient.work / "warned_b.step").read_text()
    impatient.run("scancel", steps, shell)


def test_a_suspended_job_stands_still_and_its_clock_too(impatient: Cluster) -> None:
    (impatient.work / "ticks.sh").write_text("#!/bin/sh\nwhile :; do echo tick; sleep 0.1; done\n")
    job = impatient.submit("-t", "5", "-o", "ticks.out", "ticks.sh")
    impatient.wait_file("ticks.out", "tick\ntick\n")
    end_before = impatient.run("squeue", "-h", "-o", "%e", "-j", job).strip()
    impatient.run("scontrol", "suspend", job)
    assert impatient.state(job) == "SUSPENDED"
    wait_for(lambda: set(processes_of(impatient, job).values()) == {"T"}, "every process is stopped")
    size = (impatient.work / "ticks.out").stat().st_size
    elapsed = impatient.run("squeue", "-h", "-o", "%M", "-j", job)
    stopped_s = time.monotonic()
    wait_for(lambda: time.monotonic() - stopped_s > 1.1, "the clock of the others goes on")
    assert (impatient.work / "ticks.out").stat().st_size == size
    assert impatient.run("squeue", "-h", "-o", "%M", "-j", job) == elapsed
    impatient.run("scontrol", "resume", job)
    assert impatient.state(job) == "RUNNING"
    wait_for(lambda: (impatient.work / "ticks.out").stat().st_size > size, "it goes on")
    assert impatient.run("squeue", "-h", "-o", "%e", "-j", job).strip() > end_before
    assert impatient.attempt("scontrol", "resume", job).returncode == 1
    impatient.run("scancel", job)
