"""Time limits with real clocks. The shortest limit is a minute, so the jobs are submitted when the session begins (`timed` in conftest)
and looked at here, which is late in the alphabet."""

import time

from conftest import Cluster, Timed, processes_of, wait_for

LIMIT_S = 60
MIN_KILL_WAIT_S = 5
"""After SIGTERM at a limit, whatever KillWait says (Slurm's rule)."""


def wait_until_over(cluster: Cluster, job: str) -> None:
    wait_for(lambda: not cluster.live(job), f"the end of job {job}", 90)


def test_a_job_over_its_limit_gets_term_and_ends_as_timeout(impatient: Cluster, timed: Timed) -> None:
    wait_until_over(impatient, timed.polite)
    assert impatient.field(timed.polite, "State,ExitCode") == "TIMEOUT|0:0"
    text = (impatient.work / "polite.out").read_text()
    assert f"slurmstepd: error: *** JOB {timed.polite} ON node" in text
    assert text.count("DUE TO TIME LIMIT ***\n") == 1
    assert "got TERM" in text
    start, end = impatient.run("sacct", "-nXP", "-o", "Start,End", "-j", timed.polite).strip().split("|")
    ran_s = time.mktime(time.strptime(end, "%Y-%m-%dT%H:%M:%S")) - time.mktime(time.strptime(start, "%Y-%m-%dT%H:%M:%S"))
    assert LIMIT_S - 1 <= ran_s <= LIMIT_S + MIN_KILL_WAIT_S


def test_a_job_that_ignores_term_is_killed_after_kill_wait(impatient: Cluster, timed: Timed) -> None:
    wait_until_over(impatient, timed.stubborn)
    assert impatient.field(timed.stubborn, "State,ExitCode") == "TIMEOUT|0:0"
    assert not processes_of(impatient, timed.stubborn)
    beats = (impatient.work / "stubborn.out").read_text().split("\n")
    limit_at = next(number for number, line in enumerate(beats) if "DUE TO TIME LIMIT" in line)
    assert beats[limit_at + 1 :].count("beat") >= 2, "it went on for a while after SIGTERM"


def test_a_step_in_a_job_over_its_limit_is_cancelled(impatient: Cluster, timed: Timed) -> None:
    wait_until_over(impatient, timed.step)
    states = dict(line.split("|") for line in impatient.run("sacct", "-nP", "-o", "JobID,State", "-j", timed.step).splitlines())
    assert states[timed.step] == "TIMEOUT"
    assert states[f"{timed.step}.0"].startswith("CANCELLED")
    assert f"STEP {timed.step}.0 ON" in (impatient.work / "step.out").read_text()


def test_srun_of_its_own_over_its_limit_says_so(impatient: Cluster, timed: Timed) -> None:
    _, errors = timed.srun.communicate(timeout=90)
    assert timed.srun.returncode != 0
    assert "DUE TO TIME LIMIT" in errors, errors


def test_the_clock_of_a_suspended_job_stood_still(impatient: Cluster, timed: Timed) -> None:
    """It slept longer than its limit; the time for which it was suspended meanwhile does not count."""
    wait_until_over(impatient, timed.suspended)
    assert impatient.field(timed.suspended, "State") == "COMPLETED"
