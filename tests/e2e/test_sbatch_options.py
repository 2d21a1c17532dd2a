"""sbatch, option by option: what changes in the job that runs, or in what is shown of it."""

import time

import pytest
from conftest import Cluster
from evidence import environment_of, held, output_of, queue, record_of, variables


def test_sizes(cluster: Cluster):
    found = environment_of(cluster, "-N2", "-n3", "-c2", "--ntasks-per-node=2", "--mem=300", "-J", "sized", "-t", "5")
    assert {name: found[f"SLURM_{name}"] for name in ("JOB_NUM_NODES", "NTASKS", "CPUS_PER_TASK", "NTASKS_PER_NODE", "MEM_PER_NODE")} == {
        "JOB_NUM_NODES": "2",
        "NTASKS": "3",
        "CPUS_PER_TASK": "2",
        "NTASKS_PER_NODE": "2",
        "MEM_PER_NODE": "300",
    }
    assert (found["SLURM_TASKS_PER_NODE"], found["SLURM_JOB_CPUS_PER_NODE"], found["SLURM_CPUS_ON_NODE"]) == ("2,1", "4,2", "4")
    assert found["SLURM_JOB_NAME"] == "sized"
    assert int(found["SLURM_JOB_END_TIME"]) - int(found["SLURM_JOB_START_TIME"]) == 300
    record = held(cluster, "--nodes=2", "--ntasks=4", "--cpus-per-task=2", "--tasks-per-node=2", "--time=1:30:00")
    assert (record["NumNodes"], record["NumCPUs"], record["NumTasks"], record["CPUs/Task"]) == ("2-2", "8", "4", "2")
    assert (record["TimeLimit"], record["NtasksPerN:B:S:C"]) == ("01:30:00", "2:0:*:*")


def test_memory(cluster: Cluster):
    assert environment_of(cluster, "--mem-per-cpu=50M", "-c2")["SLURM_MEM_PER_CPU"] == "50"
    assert held(cluster, "--mem-per-cpu=50M", "-c2")["ReqTRES"] == "cpu=2,mem=100M,node=1,billing=2"
    assert held(cluster, "--mem=1G")["MinMemoryNode"] == "1G"
    assert environment_of(cluster, "--mem=0", "-w", "node1")["SLURM_MEM_PER_NODE"] == "0"


def test_words_are_recorded_and_shown(cluster: Cluster):
    words = ("--account=lab", "--qos=quick", "--wckey=key", "--comment=two words", "--job-name=named")
    job = cluster.submit(*words, "-o", "words", "--wrap", "env")
    cluster.wait_state(job, "COMPLETED")
    assert cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%a|%q|%w|%k|%j").strip() == "lab|quick|key|two words|named"
    assert cluster.run("sacct", "-nXPj", job, "-o", "Account,WCKey,Comment,JobName").strip() == "lab|key|two words|named"
    found = variables((cluster.work / "words").read_text())
    assert [found[f"SLURM_{name}"] for name in ("JOB_ACCOUNT", "JOB_QOS", "WCKEY", "JOB_NAME")] == ["lab", "quick", "key", "named"]


def test_a_reservation_that_does_not_exist_is_refused(cluster: Cluster):
    done = cluster.attempt("sbatch", "--reservation=none", "--wrap", "true")
    assert (done.returncode, done.stderr) == (1, "sbatch: error: Batch job submission failed: Requested reservation is invalid\n")


def test_files(cluster: Cluster):
    (cluster.work / "inside").mkdir()
    (cluster.work / "inside" / "given").write_text("from a file\n")
    command = "cat; pwd; echo $SLURM_SUBMIT_DIR; echo wrong >&2"
    words = ("--chdir=inside", "--output=%x-%j.out", "--error=%x.err", "--input=given", "-J", "files")
    job = cluster.submit("--wait", *words, "--wrap", command)
    folder = cluster.work / "inside"
    assert (folder / f"files-{job}.out").read_text() == f"from a file\n{folder}\n{cluster.work}\n"
    assert (folder / "files.err").read_text() == "wrong\n"


def test_open_mode(cluster: Cluster):
    for mode, expected in (("truncate", "1\n"), ("append", "1\n1\n"), ("truncate", "1\n")):
        cluster.run("sbatch", "--wait", "-o", "mode", f"--open-mode={mode}", "--wrap", "echo 1")
        assert (cluster.work / "mode").read_text() == expected


def test_nodes_can_be_chosen(cluster: Cluster):
    (cluster.work / "names").write_text("node1\n")
    for words, node in (
        (("-w", "node1"), "node1"),
        (("-x", "node1"), "node0"),
        (("-F", "names"), "node1"),
        (("--exclude=node0",), "node1"),
    ):
        assert output_of(cluster, "echo $SLURM_JOB_NODELIST", *words) == f"{node}\n"
    assert held(cluster, "--nodelist=node0", "--exclude=node1")["ReqNodeList"] == "node0"


def test_exclusive_takes_the_whole_node(cluster: Cluster):
    assert environment_of(cluster, "--exclusive")["SLURM_CPUS_ON_NODE"] == "4"


def test_export(cluster: Cluster):
    (cluster.work / "variables").write_bytes(b"FROM_FILE=f\0TWO=2 3\0")
    environment = {**cluster.environment, "KEPT": "k", "OTHER": "o"}

    def exported(*words: str) -> tuple[str | None, ...]:
        process = cluster.start("sbatch", "-Q", "--wait", "-o", "exported", *words, "--wrap", "/usr/bin/env", env=environment)
        assert (*process.communicate(timeout=30), process.returncode) == ("", "", 0)
        found = variables((cluster.work / "exported").read_text())
        assert found["SLURM_JOB_ID"] and found["PENSTOCK_DIR"] == str(cluster.folder)
        return tuple(found.get(name) for name in ("KEPT", "OTHER", "NEW", "FROM_FILE", "TWO"))

    assert exported() == ("k", "o", None, None, None)
    assert exported("--export=NONE") == exported("--export=NIL") == (None,) * 5
    assert exported("--export=KEPT,NEW=n") == ("k", None, "n", None, None)
    assert exported("--export=ALL,NEW=n,KEPT=z") == ("z", "o", "n", None, None)
    assert exported("--export-file=variables", "--export=NIL") == (None, None, None, "f", "2 3")
    assert environment_of(cluster, "--get-user-env")["SLURM_GET_USER_ENV"] == "1"


def test_when_a_job_may_start(cluster: Cluster):
    record = held(cluster, "--nice=7", "--no-requeue")
    assert (record["Priority"], record["Reason"], record["Nice"], record["Requeue"]) == ("0", "JobHeldUser", "7", "0")
    assert held(cluster, "--requeue")["Requeue"] == "1"
    job = cluster.submit("--begin=now+1hour", "--wrap", "true")
    assert queue(cluster, job, "%t %r") == ["PD BeginTime"]
    assert time.strptime(record_of(cluster, job)["EligibleTime"], "%Y-%m-%dT%H:%M:%S") > time.localtime(time.time() + 3500)
    cluster.run("scancel", job)
    first, second = (cluster.submit("-H", f"--nice={nice}", "--wrap", "true") for nice in ("100000", "0"))
    cluster.run("scontrol", "release", f"{first},{second}")
    assert cluster.wait_state(first, "COMPLETED")


def test_limits_are_propagated(cluster: Cluster):
    def limit(*words: str) -> str:
        line = f"ulimit -Sn 777; exec sbatch -Q --wait -o limit {' '.join(words)} --wrap 'ulimit -Sn'"
        assert cluster.attempt("sh", "-c", line).returncode == 0
        return (cluster.work / "limit").read_text().strip()

    assert limit() == limit("--propagate=NOFILE") == "777"
    assert limit("--propagate=NONE") != "777"


def test_a_signal_before_the_end(cluster: Cluster):
    command = 'trap "echo caught; exit 3" USR1; while :; do sleep 0.05; done'
    done = cluster.attempt("sbatch", "-Q", "--wait", "-o", "signalled", "--signal=B:USR1@58", "-t1", "--wrap", command)
    assert done.returncode == 3
    assert (cluster.work / "signalled").read_text() == "caught\n"


def test_what_sbatch_prints(cluster: Cluster):
    (cluster.work / "printed.sh").write_text("#!/bin/sh\n#SBATCH -J from-script -o printed\nexit $1\n")
    assert cluster.run("sbatch", "-o", "/dev/null", "printed.sh", "0").startswith("Submitted batch job ")
    assert cluster.submit("-o", "/dev/null", "printed.sh", "0").isdecimal()
    assert cluster.run("sbatch", "--quiet", "--wait", "-o", "/dev/null", "printed.sh", "7", status=7) == ""
    done = cluster.attempt("sbatch", "--test-only", "-n2", "--wrap", "true")
    assert "sbatch: Job " in done.stderr and " using 2 processors on nodes node" in done.stderr
    assert (done.returncode, done.stdout) == (0, "")
    assert cluster.run("sbatch", "--version").startswith("slurm ")
    assert "from-script" in record_of(cluster, cluster.submit("-v", "printed.sh", "0"))["JobName"]


def test_distribution(cluster: Cluster):
    def nodes(way: str) -> list[str]:
        text = output_of(cluster, "srun -l printenv SLURMD_NODENAME", "-N2", "-n4", "--ntasks-per-node=2", f"--distribution={way}")
        return [line.partition(": ")[2] for line in sorted(text.splitlines())]

    assert nodes("block") == ["node0", "node0", "node1", "node1"]
    assert nodes("cyclic") == ["node0", "node1", "node0", "node1"]


def test_partition_and_constraint(configured: Cluster):
    assert environment_of(configured, "--partition=short")["SLURM_JOB_PARTITION"] == "short"
    assert environment_of(configured)["SLURM_JOB_PARTITION"] == "main"
    for feature, node in (("left", "node0"), ("right", "node1"), ("right&fast", "node1")):
        assert output_of(configured, "echo $SLURM_JOB_NODELIST", f"--constraint={feature}") == f"{node}\n"
        assert held(configured, "-C", feature)["Features"] == feature
    for text in ("left&right", "nowhere", "left*2", "!left"):
        done = configured.attempt("sbatch", "-C", text, "--wrap", "true")
        assert (done.returncode, done.stdout) == (1, "")
        assert "Batch job submission failed: " in done.stderr


def test_mail_goes_through_mailprog(configured: Cluster):
    configured.run("sbatch", "--wait", "-J", "posted", "--mail-type=BEGIN,END", "--mail-user=ada", "-o", "/dev/null", "--wrap", "true")
    text = configured.wait_file("mail", "COMPLETED")
    assert "Name=posted Began, Queued time " in text
    assert "Name=posted Ended, Run time 00:00:00, COMPLETED, ExitCode 0" in text
    assert [line.split()[-1] for line in text.splitlines()] == ["ada", "ada"]


def gpu_variables(found: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if "GPU" in name or name == "CUDA_VISIBLE_DEVICES"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gres=gpu:1"], {"SLURM_GPUS_ON_NODE": "1"}),
        (["--gres=gpu:h100:2"], {"SLURM_GPUS_ON_NODE": "2"}),
        (["--gpus=2"], {"SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS": "2"}),
        (["-G", "h100:1"], {"SLURM_GPUS_ON_NODE": "1", "SLURM_GPUS": "h100:1"}),
        (["--gpus-per-node=h100:1", "-N2"], {"SLURM_GPUS_ON_NODE": "1", "SLURM_GPUS_PER_NODE": "h100:1"}),
        (["--gpus-per-task=1", "-n2", "-N1"], {"SLURM_GPUS_ON_NODE": "2", "SLURM_GPUS_PER_TASK": "1"}),
    ],
)
def test_gpus(cluster: Cluster, words: list[str], expected: dict[str, str]):
    found = gpu_variables(environment_of(cluster, *words))
    devices = "0" if expected["SLURM_GPUS_ON_NODE"] == "1" else "0,1"
    ordinal = {"GPU_DEVICE_ORDINAL": devices}
    assert found == {"CUDA_VISIBLE_DEVICES": devices, "SLURM_JOB_GPUS": devices, **ordinal, **expected}


def test_each_task_has_the_gpus_that_the_job_asked_for_it(cluster: Cluster):
    words = ("--gpus-per-task=1", "-n2", "-N1")
    assert sorted(output_of(cluster, "srun printenv CUDA_VISIBLE_DEVICES SLURM_LOCALID", *words).split()) == ["0", "0", "1", "1"]


def test_no_gpus_are_named_where_none_are_given(cluster: Cluster):
    assert gpu_variables(environment_of(cluster)) == {}
    for words, text in ((["--gres=gpu:a100:1"], "Requested node configuration is not available"), (["--gres=foo"], "(gres) specification")):
        done = cluster.attempt("sbatch", *words, "--wrap", "true")
        assert (done.returncode, text in done.stderr) == (1, True), done.stderr


def test_two_jobs_never_share_a_gpu(cluster: Cluster):
    command = "echo $SLURMD_NODENAME:$CUDA_VISIBLE_DEVICES; touch here.$SLURM_ARRAY_TASK_ID; while [ ! -e go ]; do sleep 0.05; done"
    job = cluster.submit("--gres=gpu:1", "-a", "0-3", "-o", "gpu-%a", "--wrap", command)
    for task in range(4):
        cluster.wait_file(f"here.{task}")
    (cluster.work / "go").touch()
    cluster.wait_state(job, "COMPLETED")
    assert {(cluster.work / f"gpu-{task}").read_text().strip() for task in range(4)} == {"node0:0", "node0:1", "node1:0", "node1:1"}


def test_sizes_per_gpu(cluster: Cluster):
    found = environment_of(cluster, "--gres=gpu:2", "--cpus-per-gpu=2", "--mem-per-gpu=100M")
    assert (found["SLURM_CPUS_ON_NODE"], found["SLURM_CPUS_PER_GPU"], found["SLURM_MEM_PER_GPU"]) == ("4", "2", "100")
    record = held(cluster, "--gpus=2", "--cpus-per-gpu=2", "--mem-per-gpu=100M")
    assert record["ReqTRES"].startswith("cpu=4,mem=200M,")
    assert (record["CpusPerTres"], record["MemPerTres"]) == ("gres/gpu:2", "gres/gpu:100")
    record = held(cluster, "-n2", "--gpus-per-task=1", "--cpus-per-gpu=2", "--mem-per-gpu=100M")
    assert (record["NumCPUs"], record["CPUs/Task"], record["ReqTRES"].split(",")[1]) == ("4", "2", "mem=200M")
    done = cluster.attempt("sbatch", "-n2", "--cpus-per-gpu=1", "--wrap", "true")
    assert (done.returncode, "--gpus-per-node" in done.stderr) == (1, True)
    assert cluster.attempt("sbatch", "--gres=gpu:1", "--cpus-per-gpu=1", "-c1", "--wrap", "true").returncode == 1


def test_options_without_an_effect_say_so(cluster: Cluster):
    done = cluster.attempt("sbatch", "-H", "--parsable", "--oversubscribe", "--wrap", "true")
    assert "sbatch: warning: --oversubscribe: CPUs are not shared" in done.stderr
    cluster.run("scancel", done.stdout.strip())
