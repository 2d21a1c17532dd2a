"""Dependencies: when a job may start after others, what is shown meanwhile, and what becomes of one that never can."""

from conftest import CANCELLED, Cluster, wait_for
from evidence import held, output_of, queue, record_of


def waiting(cluster: Cluster, *words: str) -> str:
    return cluster.submit("-o", "/dev/null", *words, "--wrap", "true")


def test_a_chain_of_successes(cluster: Cluster):
    first = waiting(cluster, "-H")
    second = waiting(cluster, f"--dependency=afterok:{first}")
    third = waiting(cluster, "-d", f"afterany:{second},after:{first}")
    assert queue(cluster, second, "%t|%r|%E") == [f"PD|Dependency|afterok:{first}(unfulfilled)"]
    assert record_of(cluster, third)["Dependency"] == f"afterany:{second}(unfulfilled),after:{first}(unfulfilled)"
    assert cluster.run("squeue", "--start", "-h", "-j", second, "-o", "%i %S %R").split() == [second, "N/A", "(Dependency)"]
    cluster.run("scontrol", "release", first)
    assert cluster.wait_state(third, "COMPLETED")
    assert cluster.state(second) == "COMPLETED"
    assert output_of(cluster, "printenv SLURM_JOB_DEPENDENCY", "-d", f"afterok:{second}") == f"afterok:{second}\n"


def test_success_and_failure_part_ways(cluster: Cluster):
    bad = cluster.submit("-H", "-o", "/dev/null", "--wrap", "exit 1")
    kinds = {kind: waiting(cluster, "-d", f"{kind}:{bad}") for kind in ("afterok", "afternotok", "afterany")}
    killed = waiting(cluster, "-d", f"afterok:{bad}", "--kill-on-invalid-dep=yes")
    either = waiting(cluster, "-d", f"afterok:{bad}?afternotok:{bad}")
    cluster.run("scontrol", "release", bad)
    for job in (kinds["afternotok"], kinds["afterany"], either):
        cluster.wait_state(job, "COMPLETED")
    cluster.wait_state(killed, "CANCELLED", "CANCELLED by 0", CANCELLED)
    assert queue(cluster, kinds["afterok"], "%t %r") == ["PD DependencyNeverSatisfied"]
    cluster.run("scancel", kinds["afterok"])


def test_after_starts_with_its_parent(cluster: Cluster):
    parent = cluster.submit("-o", "/dev/null", "--wrap", "until [ -e after ]; do sleep 0.05; done")
    child = cluster.submit("-o", "/dev/null", "-d", f"after:{parent}", "--wrap", "touch after")
    assert cluster.wait_state(child, "COMPLETED")
    assert cluster.wait_state(parent, "COMPLETED")


def test_elements_follow_their_counterparts(cluster: Cluster):
    first = cluster.submit("-H", "-a", "1-3", "-o", "/dev/null", "--wrap", "test $SLURM_ARRAY_TASK_ID != 2")
    second = cluster.submit("-a", "1-3", "-o", "/dev/null", "-d", f"aftercorr:{first}", "--wrap", "true")
    after_all = waiting(cluster, "-d", f"afterany:{first}")
    after_one = waiting(cluster, "-d", f"afterok:{first}_3")
    assert queue(cluster, after_all, "%E") == [f"afterany:{first}_*(unfulfilled)"]
    assert queue(cluster, after_one, "%E") == [f"afterok:{first}_3(unfulfilled)"]
    cluster.run("scontrol", "release", first)
    for job in (f"{second}_1", f"{second}_3", after_all, after_one):
        cluster.wait_state(job, "COMPLETED")
    assert wait_for(lambda: queue(cluster, second, "%K %r") == ["2 DependencyNeverSatisfied"], "the element whose parent failed")
    cluster.run("scancel", second)


def test_singletons_run_one_after_the_other(cluster: Cluster):
    first = waiting(cluster, "-H", "-J", "alone")
    second = waiting(cluster, "-J", "alone", "-d", "singleton")
    other = waiting(cluster, "-J", "another", "--dependency=singleton")
    cluster.wait_state(other, "COMPLETED")
    assert queue(cluster, second, "%r %E") == ["Dependency singleton(unfulfilled)"]
    cluster.run("scancel", first)
    assert cluster.wait_state(second, "COMPLETED")


def test_a_dependency_can_be_changed(cluster: Cluster):
    parent = waiting(cluster, "-H")
    child = waiting(cluster, "-d", f"afterok:{parent}")
    cluster.run("scontrol", "update", f"JobId={child}", "Dependency=")
    assert cluster.wait_state(child, "COMPLETED")
    cluster.run("scancel", parent)


def test_what_cannot_be_waited_for(cluster: Cluster):
    job = waiting(cluster, "-H")
    for text in ("afterok:999999", "afterok", "never:1", f"afterok:{job},afterany:{job}?singleton", "afterok:x"):
        done = cluster.attempt("sbatch", "-d", text, "--wrap", "true")
        assert (done.returncode, done.stdout) == (1, ""), text
        assert done.stderr.splitlines()[-1] == "sbatch: error: Batch job submission failed: Job dependency problem"
    child = waiting(cluster, "-d", f"afterok:{job}")
    done = cluster.attempt("scontrol", "update", f"JobId={job}", f"Dependency=afterok:{child}")
    assert (done.returncode, "Circular job dependency" in done.stderr) == (1, True)
    cluster.run("scancel", job, child)
    assert held(cluster, "--kill-on-invalid-dep=no")["Dependency"] == "(null)"
