"""scontrol reconfigure on a cluster that runs: jobs go on, a wrong file changes nothing."""

import re
from pathlib import Path

from conftest import running, wait_for

CONF = """ClusterName=live
NodeName=node0 NodeHostname=localhost CPUs=4 RealMemory=4096
PartitionName=main Nodes=ALL Default=YES
"""


def test_a_changed_file_comes_into_force_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    with running(tmp_path / "live", slurm_conf=CONF) as live:
        conf = live.folder / "slurm.conf"
        job = live.submit("-o", "/dev/null", "--wrap", "until [ -e go ]; do sleep 0.05; done")
        wait_for(lambda: live.state(job) == "RUNNING", "the job runs")
        pid = live.processes("controller")

        conf.write_text(CONF + "KilWait=5\n")
        refused = live.attempt("scontrol", "reconfigure")
        assert refused.returncode == 1
        assert f"{conf}:4" in refused.stderr and "did you mean KillWait?" in refused.stderr
        assert "slurm_reconfigure error: The configuration is refused, the running one stays" in refused.stderr

        conf.write_text(CONF + "KillWait=5\nPartitionName=new Nodes=node0 MaxTime=10\n")
        assert live.attempt("scontrol", "reconfigure").stderr == ""
        assert re.search(r"KillWait\s+= 5\b", live.run("scontrol", "show", "config"))
        assert live.run("sinfo", "-h", "-o", "%R %l").split("\n")[:2] == ["main infinite", "new 10:00"]
        assert live.run("srun", "-p", "new", "echo", "here") == "here\n"
        wait_for(lambda: not live.run("squeue", "-h", "-p", "new"), "nothing is completing in it")

        conf.write_text(CONF.replace("CPUs=4", "CPUs=2"))
        noted = live.attempt("scontrol", "reconfigure")
        assert noted.returncode == 0
        assert "node node0: CPUs 4 is to be 2 when its agent starts again" in noted.stderr

        assert live.processes("controller") == pid
        (live.work / "go").touch()
        live.wait_state(job, "COMPLETED")


def test_srun_takes_what_the_cluster_says_unless_it_was_told_otherwise(tmp_path: Path) -> None:
    with running(tmp_path / "impatient", slurm_conf=CONF + "KillOnBadExit=1\n") as live:
        bad = ("sh", "-c", "test $SLURM_PROCID = 1 && exit 4; sleep 50")
        done = live.attempt("srun", "-n2", *bad)
        assert done.returncode in (4, 137, 143) and "task 1: Exited with exit code 4" in done.stderr
        assert live.attempt("srun", "-n2", "--kill-on-bad-exit=0", "sh", "-c", "test $SLURM_PROCID = 1 && exit 4; echo on").stdout == "on\n"

        (live.folder / "slurm.conf").write_text(CONF + "WaitTime=1\n")
        live.run("scontrol", "reconfigure")
        done = live.attempt("srun", "-n2", "sh", "-c", "test $SLURM_PROCID = 1 || sleep 50")
        assert "First task exited 1s ago" in done.stderr
