"""srun and salloc, option by option: as jobs of their own, and as steps inside one allocation."""

import os
import pty
import re

import pytest
from conftest import CANCELLED, Cluster, wait_for
from evidence import environment_of, output_of, record_of, variables

ALLOCATION_FACTS = ["NodeList", "NumNodes", "NumCPUs", "JobName", "Account", "QOS", "WCKey", "Comment", "Nice", "Partition", "TimeLimit"]


def tasks(text: str) -> list[tuple[int, str]]:
    """(rank, text) of labelled lines, by rank."""
    return sorted((int(rank), line) for rank, _, line in (line.partition(": ") for line in text.splitlines()))


def inside(cluster: Cluster, script: str, *words: str) -> str:
    """What a shell in an allocation of these options prints."""
    return cluster.run("salloc", "-Q", *words, "sh", "-c", script)


def test_srun_makes_a_job_of_its_size(cluster: Cluster):
    words = ("-N2", "-n4", "-c1", "--ntasks-per-node=2", "--mem=200", "-t3", "-J", "sized", "--label", "--nodelist=node[0-1]")
    found = tasks(
        cluster.run("srun", *words, "sh", "-c", "echo $SLURMD_NODENAME $SLURM_PROCID $SLURM_LOCALID $SLURM_NTASKS $SLURM_JOB_NAME")
    )
    assert found == [(0, "node0 0 0 4 sized"), (1, "node0 1 1 4 sized"), (2, "node1 2 0 4 sized"), (3, "node1 3 1 4 sized")]
    environment = variables(cluster.run("srun", "-n1", "-c2", "--mem-per-cpu=50", "--exclude=node0", "--tasks-per-node=1", "env"))
    names = ("SLURM_CPUS_PER_TASK", "SLURM_MEM_PER_CPU", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID")
    assert [environment[name] for name in names] == ["2", "50", "node1", "1", "0"]


def facts(cluster: Cluster, command: str, *words: str) -> dict[str, str]:
    """The record of the job that runs `scontrol show job` of itself."""
    text = cluster.run(command, "-Q", *words, "sh", "-c", "exec scontrol -o show job $SLURM_JOB_ID")
    record = variables(text.replace(" ", "\n"))
    return {name: record[name] for name in ALLOCATION_FACTS if name in record}


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_words_of_the_job_are_recorded(cluster: Cluster, command: str):
    words = ("--account=lab", "--qos=quick", "--wckey=key", "--comment=noted", "--job-name=named", "--nice=3", "--time=7")
    record = facts(cluster, command, *words, "--partition=main", "--nodes=2", "--ntasks=2" if command == "salloc" else "--ntasks=1", "-N1")
    assert record["JobName"] == "named"
    assert [record[name] for name in ("Account", "QOS", "Comment", "Nice", "TimeLimit", "Partition")] == [
        *("lab", "quick", "noted", "3", "00:07:00", "main"),
    ]
    done = cluster.attempt(command, "--reservation=none", "true")
    assert (done.returncode, "Requested reservation is invalid" in done.stderr) == (1, True)


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_nodes_of_the_job(configured: Cluster, command: str):
    (configured.work / "names").write_text("node1")
    for words in (["-w", "node1"], ["-x", "node0"], ["-F", "names"], ["-C", "right"]):
        assert facts(configured, command, *words)["NodeList"] == "node1"
    assert facts(configured, command, "--exclusive", "-n1")["NumCPUs"] == "4"
    assert facts(configured, command, "-p", "short", "-c2", "--mem-per-cpu=10", "--tasks-per-node=2", "-N1")["NumCPUs"] == "4"


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_gpus_of_the_job(cluster: Cluster, command: str):
    script = "echo $CUDA_VISIBLE_DEVICES $SLURM_GPUS_ON_NODE"
    for words in (["--gres=gpu:2"], ["--gpus=2"], ["--gpus-per-node=h100:2"], ["--gpus-per-task=2", "-n1"]):
        sized = [*words, "--cpus-per-gpu=1", "--mem-per-gpu=100M"]
        if command == "salloc":
            assert cluster.run("salloc", "-Q", *sized, "srun", "-n1", "sh", "-c", script) == "0,1 2\n"
        else:
            assert cluster.run("srun", *sized, "sh", "-c", script) == "0,1 2\n"


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_immediate_gives_up(cluster: Cluster, command: str):
    blocker = cluster.submit("-N2", "--exclusive", "--wrap", "sleep 60")
    cluster.wait_state(blocker, "RUNNING")
    done = cluster.attempt(command, "--immediate=1", "--mem=0", "true")
    cluster.run("scancel", blocker)
    assert (done.returncode, "error: Unable to allocate resources: " in done.stderr or "Job submit/allocate failed" in done.stderr) == (
        1,
        True,
    )
    cluster.wait_state(blocker, CANCELLED)


def test_output_files(cluster: Cluster):
    (cluster.work / "down").mkdir()
    (cluster.work / "given").write_text("in\n")
    command = ("sh", "-c", "cat; pwd; echo e$SLURM_PROCID >&2")
    cluster.run("srun", "-n2", "-D", "down", "-o", "out-%t", "-e", "err-%t", "-i", str(cluster.work / "given"), *command)
    for rank in "01":
        assert (cluster.work / "down" / f"out-{rank}").read_text() == f"in\n{cluster.work / 'down'}\n"
        assert (cluster.work / "down" / f"err-{rank}").read_text() == f"e{rank}\n"
    for mode, text in (("truncate", "x\n"), ("append", "x\nx\n")):
        cluster.run("srun", "-o", "moded", f"--open-mode={mode}", "echo", "x")
        assert (cluster.work / "moded").read_text() == text


def test_export(cluster: Cluster):
    environment = {**cluster.environment, "KEPT": "k"}
    for form, value in (("ALL", "k"), ("NONE", ""), ("KEPT", "k"), ("OTHER=1", "")):
        process = cluster.start("srun", f"--export={form}", "/bin/sh", "-c", "echo $KEPT", env=environment)
        assert process.communicate(timeout=30) == (f"{value}\n", "")


def test_input_reaches_the_tasks(cluster: Cluster):
    assert sorted(cluster.attempt("srun", "-n2", "-l", "cat", stdin="hello\n").stdout.splitlines()) == ["0: hello", "1: hello"]
    assert cluster.attempt("srun", "-n2", "-l", "-i1", "cat", stdin="hello\n").stdout == "1: hello\n"
    assert cluster.attempt("srun", "--input=none", "--unbuffered", "cat", stdin="hello\n").stdout == ""


def test_exit_codes_and_their_words(cluster: Cluster):
    for script, status, words in (
        ("exit 3", 3, "srun: error: node0: task 0: Exited with exit code 3"),
        ("kill -9 $$", 137, "srun: error: node0: task 0: Killed"),
        ("kill -TERM $$", 143, "srun: error: node0: task 0: Terminated"),
    ):
        done = cluster.attempt("srun", "-w", "node0", "sh", "-c", script)
        assert (done.returncode, done.stderr.splitlines()[0]) == (status, words)
    done = cluster.attempt("srun", "-w", "node0", "-n3", "sh", "-c", "exit $SLURM_PROCID")
    assert done.returncode == 2
    assert set(done.stderr.splitlines()) >= {f"srun: error: node0: task {n}: Exited with exit code {n}" for n in (1, 2)}
    assert cluster.attempt("srun", "-Q", "/no/such/command").returncode == 2


def test_a_bad_exit_or_the_first_end_ends_the_step(cluster: Cluster):
    for words in (["--kill-on-bad-exit"], ["--kill-on-bad-exit=0", "--wait=1"]):
        done = cluster.attempt("srun", "-n2", *words, "sh", "-c", "test $SLURM_PROCID = 1 && exit 4; sleep 50")
        assert done.returncode in (4, 137, 143)
        assert "task 1: Exited with exit code 4" in done.stderr


def test_multi_prog(cluster: Cluster):
    (cluster.work / "programs").write_text("0 echo first\n1-2 echo task %t offset %o\n")
    assert tasks(cluster.run("srun", "-l", "-n3", "--multi-prog", "programs")) == [
        (0, "first"),
        (1, "task 1 offset 0"),
        (2, "task 2 offset 1"),
    ]


def test_pty(cluster: Cluster):
    master, slave = pty.openpty()
    with os.fdopen(master, "rb", buffering=0) as screen:
        process = cluster.start("srun", "--pty", "sh", "-c", "test -t 0 && tty && exit 6", stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        assert process.wait(30) == 6
        assert re.search(rb"/dev/pts/\d+", screen.read(4096))


def test_steps_share_an_allocation(cluster: Cluster):
    script = """
    for n in 1 2 3 4; do
        srun -n1 --exact sh -c 'touch in.'$n'; until [ -e in.1 -a -e in.2 -a -e in.3 -a -e in.4 ]; do sleep 0.02; done' &
    done
    wait
    srun -n4 --exact --whole sh -c 'until [ -e beside ]; do sleep 0.02; done' &
    srun --overlap -n1 sh -c 'echo $SLURM_STEP_ID; touch beside'
    wait
    srun -n1 --exclusive true
    """
    assert inside(cluster, script, "-N1", "-n4", "--mem=400").strip() in ("4", "5")


def test_a_step_may_have_its_own_place(cluster: Cluster):
    script = "srun -r1 -n1 printenv SLURMD_NODENAME; srun -w node0 -n1 printenv SLURMD_NODENAME; srun -x node0 -n1 printenv SLURMD_NODENAME"
    assert inside(cluster, script, "-N2", "-n2").split() == ["node1", "node0", "node1"]
    script = "for way in block cyclic; do srun -n4 -m $way -l printenv SLURMD_NODENAME | sort | cut -c 4- | tr '\\n' ' '; done"
    assert inside(cluster, script, "-N2", "-n4", "--ntasks-per-node=2").split() == [
        *("node0", "node0", "node1", "node1"),
        *("node0", "node1", "node0", "node1"),
    ]


def test_overcommit(cluster: Cluster):
    assert len(cluster.run("srun", "-O", "-n6", "-N1", "echo", "here").splitlines()) == 6
    assert len(inside(cluster, "srun --overcommit -n5 echo here", "-n1").splitlines()) == 5
    assert "More processors requested than permitted" in cluster.attempt("salloc", "-n1", "srun", "-n5", "true").stderr


def test_steps_with_exact_have_gpus_of_their_own(cluster: Cluster):
    script = """
    for n in 0 1; do
        srun --exact -n1 --gpus=1 --mem=100 sh -c 'echo $CUDA_VISIBLE_DEVICES $SLURM_STEP_GPUS; touch gpu.'$n'
            until [ -e gpu.0 -a -e gpu.1 ]; do sleep 0.02; done' &
    done
    wait
    """
    found = inside(cluster, script, "-N1", "-n2", "--gres=gpu:2", "--mem=400")
    assert sorted(found.splitlines()) == ["0 0", "1 1"]
    script = "srun -l -n2 --gpus-per-task=1 printenv CUDA_VISIBLE_DEVICES; srun -n1 --gres=none env"
    text = inside(cluster, script, "-N1", "-n2", "--gpus-per-task=1")
    assert tasks("\n".join(text.splitlines()[:2])) == [(0, "0"), (1, "1")]
    assert not {"CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS"} & variables(text).keys()


def test_jobid_enters_another_job(cluster: Cluster):
    job = cluster.submit("-n1", "-o", "/dev/null", "--wrap", "until [ -e entered ]; do sleep 0.05; done")
    cluster.wait_state(job, "RUNNING")
    assert cluster.run("srun", f"--jobid={job}", "--overlap", "sh", "-c", "echo $SLURM_JOB_ID; touch entered") == f"{job}\n"
    cluster.wait_state(job, "COMPLETED")


def test_srun_in_a_batch_script_uses_the_whole_job(cluster: Cluster):
    text = output_of(cluster, "srun -l printenv SLURM_STEP_NODELIST", "-N2", "-n3")
    assert tasks(text) == [(rank, "node[0-1]") for rank in range(3)]
    environment = environment_of(cluster, "-N2", "-n3")
    assert environment["SLURM_TASKS_PER_NODE"] == "2,1"


def test_salloc_tells_its_way_and_gives_the_code_on(cluster: Cluster):
    done = cluster.attempt("salloc", "-n1", "sh", "-c", "echo $SLURM_JOB_ID; exit 5")
    job = done.stdout.strip()
    assert done.returncode == 5
    lines = done.stderr.splitlines()
    assert lines[0] == f"salloc: Granted job allocation {job}"
    assert lines[-1] == f"salloc: Relinquishing job allocation {job}"
    assert cluster.wait_state(job, "COMPLETED", "FAILED")


def test_salloc_without_a_shell_leaves_the_allocation(cluster: Cluster):
    done = cluster.attempt("salloc", "--no-shell", "-n1", "-D", "/tmp", "-J", "standing")
    job = re.search(r"allocation (\d+)", done.stderr).group(1)
    assert record_of(cluster, job)["JobState"] == "RUNNING"
    assert cluster.run("srun", "--jobid", job, "printenv", "SLURM_JOB_NAME").strip() in ("standing", "printenv")
    cluster.run("scancel", job)
    wait_for(lambda: record_of(cluster, job)["JobState"] in ("CANCELLED", "COMPLETED"), "the end of the allocation")


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_what_keeps_it_waiting(cluster: Cluster, command: str):
    first = cluster.submit("-H", "-J", "one", "--wrap", "true")
    cases = {"BeginTime": ["--begin=now+1hour"], "JobHeldUser": ["--hold"], "Dependency": ["--dependency=singleton", "-J", "one"]}
    processes = {reason: cluster.start(command, f"--comment={reason}", *words, "true") for reason, words in cases.items()}

    def rows() -> list[list[str]]:
        lines = cluster.run("squeue", "-h", "-o", "%i %k %r").splitlines()
        return [line.split() for line in lines if line.split()[1] in cases]

    for job, comment, reason in wait_for(lambda: len(found := rows()) == len(cases) and found, "the jobs"):
        assert comment == reason
        cluster.run("scancel", job)
        out, err = processes[reason].communicate(timeout=30)
        assert (processes[reason].returncode, out) == (1, "")
        assert f"{command}: job {job} queued and waiting for resources" in err
    cluster.run("scancel", first)


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_a_dependency_that_can_never_be_met_ends_the_waiting(cluster: Cluster, command: str):
    bad = cluster.submit("-H", "-o", "/dev/null", "--wrap", "exit 1")
    process = cluster.start(command, "--kill-on-invalid-dep=yes", f"--dependency=afterok:{bad}", "true")
    wait_for(lambda: "Dependency" in cluster.run("squeue", "-h", "-o", "%r"), "the job")
    cluster.run("scontrol", "release", bad)
    assert process.communicate(timeout=30)[0] == ""
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_mail(configured: Cluster, command: str):
    configured.run(command, "-Q", "--mail-type=END", f"--mail-user={command}@here", "-J", f"by-{command}", "true")
    text = configured.wait_file("mail", f"to {command}@here")
    assert f"Name=by-{command} Ended, Run time 00:00:00, COMPLETED, ExitCode 0 to {command}@here\n" in text


def test_a_signal_before_the_end(cluster: Cluster):
    task = ("sh", "-c", 'trap "echo caught; exit 4" USR1; while :; do sleep 0.05; done')
    alone = cluster.start("srun", "-Q", "--signal=USR1@57", "-t1", *task)
    inside = cluster.start("salloc", "-Q", "--signal=USR1@57", "-t1", "-n1", "srun", "-Q", *task)
    for process in (alone, inside):
        assert (process.communicate(timeout=30)[0], process.returncode) == ("caught\n", 4)


def test_limits_are_propagated(cluster: Cluster):
    for words, limit in ((["--propagate=NOFILE"], "777\n"), (["--propagate"], "777\n")):
        line = f"ulimit -Sn 777; exec srun {' '.join(words)} sh -c 'ulimit -Sn'"
        assert cluster.attempt("sh", "-c", line).stdout == limit
    assert cluster.attempt("sh", "-c", "ulimit -Sn 777; exec srun --propagate=NONE sh -c 'ulimit -Sn'").stdout != "777\n"


@pytest.mark.parametrize("command", ["srun", "salloc"])
def test_what_srun_and_salloc_print(cluster: Cluster, command: str):
    assert cluster.run(command, "--version").startswith("slurm ")
    assert "--ntasks" in cluster.run(command, "--help")
    assert cluster.run(command, "--usage").startswith(f"Usage: {command} ")
    assert cluster.attempt(command, "-Q", "true").stderr == ""
    said = cluster.attempt(command, "-v", *(["--no-bell"] if command == "salloc" else []), "true")
    assert said.stderr.startswith(f"{command}: ")
    assert "\a" not in said.stdout + said.stderr
