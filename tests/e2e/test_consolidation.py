"""`penstock consolidate` on a living cluster: two nodes with GPUs in pieces, a job that needs one of them whole, one that may move."""

import getpass
import json
from collections.abc import Iterator

import pytest
from conftest import Cluster, running, wait_for

SLURM_CONF = """\
ClusterName=pieces
GresTypes=gpu
KillWait=5
NodeName=node[0-1] NodeHostname=localhost CPUs=8 RealMemory=2048 Gres=gpu:4
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
PartitionName=spot Nodes=ALL MaxTime=INFINITE PreemptMode=REQUEUE
"""
USER = getpass.getuser()
SLEEP = "echo $SLURM_RESTART_COUNT at $SLURM_JOB_NODELIST; sleep 300"


@pytest.fixture
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("e2e") / "pieces", slurm_conf=SLURM_CONF) as made:
        yield made


def start(cluster: Cluster, *words: str) -> str:
    job = cluster.submit("--mem=100", "-t60", "-o", "%x.out", "--open-mode=append", *words, "--wrap", SLEEP)
    cluster.wait_state(job, "RUNNING")
    return job


def nodes_of(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "-h", "-o", "%N", "-j", job).strip()


def crowd(cluster: Cluster, *words: str) -> tuple[str, str, str]:
    """(a job that stays on node1, one that may move on node0, one that needs a whole node)"""
    filler = start(cluster, "-Jfiller", "-wnode1", "--gres=gpu:2")
    stays = start(cluster, "-Jstays", "-wnode1", "--gres=gpu:2")
    moves = start(cluster, "-Jmoves", "-pspot", "--gres=gpu:2", *words)
    needs = cluster.submit("--mem=100", "-t5", "-Jneeds", "--gres=gpu:4", "-o", "/dev/null", "--wrap", "sleep 300")
    cluster.run("scancel", filler)
    wait_for(lambda: not cluster.live(filler), "the filler is gone")
    return stays, moves, needs


def test_the_plan_is_printed_and_nothing_is_done(pieces: Cluster):
    stays, moves, needs = crowd(pieces)
    told = pieces.run("penstock", "consolidate")
    assert told.startswith(f"Job {needs} (needs, "), told
    assert "starts on node0 at once if 1 job moves; otherwise: " in told
    assert [line.split()[:7] for line in told.splitlines() if "moves" in line][1:] == [[moves, "moves", USER, "node0", "node1", "1", "2"]]
    plan = json.loads(pieces.run("penstock", "consolidate", needs, "--json"))
    assert [(move["job"], move["from"], move["to"], move["gpus"]) for move in plan["moves"]] == [(moves, "node0", "node1", 2)]
    assert pieces.state(moves) == "RUNNING"

    told = pieces.run("penstock", "consolidate", needs, "--execute")
    assert told.endswith("Done: these jobs end and start again.\n")
    pieces.wait_state(needs, "RUNNING")
    pieces.wait_state(moves, "RUNNING")
    assert (nodes_of(pieces, needs), nodes_of(pieces, moves), nodes_of(pieces, stays)) == ("node0", "node1", "node1")
    runs = pieces.run("sacct", "-n", "-X", "-D", "-P", "-o", "State,NodeList,Restarts", "-j", moves).split()
    assert runs == ["PREEMPTED|node0|0", "RUNNING|node1|1"]
    log = (pieces.work / "moves.out").read_text()
    assert "DUE TO PREEMPTION ***" in log
    assert log.endswith("1 at node1\n")
    assert pieces.state(stays) == "RUNNING"
    again = pieces.attempt("penstock", "consolidate")
    assert (again.returncode, again.stdout) == (1, "No plan: nobody waits for room that moves could make.\n1 running job may be moved.\n")


def test_refusals(pieces: Cluster):
    none = pieces.attempt("penstock", "consolidate", "99")
    assert none.returncode == 1
    assert "Invalid job id specified" in none.stderr
    _, moves, needs = crowd(pieces, "--no-requeue")
    told = pieces.attempt("penstock", "consolidate", needs)
    assert told.returncode == 1
    assert told.stdout.startswith(f"Job {needs}: it would not have room even if every job that may be moved were gone.\nNo running job may")
    pieces.run("scontrol", "update", f"JobId={moves}", "Requeue=1")
    assert json.loads(pieces.run("penstock", "consolidate", "--json"))["number"]
    late = pieces.attempt("penstock", "consolidate", needs, "--execute", "--json")
    assert late.returncode == 0, late.stderr
