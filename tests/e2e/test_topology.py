"""Switches and blocks on a living cluster: topology.yaml, --switches and --segment of sbatch, salloc and srun, what jobs and people see."""

from collections.abc import Iterator

import pytest
from conftest import Cluster, running
from evidence import environment_of, held, output_of, queue, record_of

SLURM_CONF = """\
ClusterName=near
NodeName=node[0-3] NodeHostname=localhost CPUs=2 RealMemory=2048
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE
PartitionName=racks Nodes=ALL MaxTime=INFINITE Topology=nvlink
"""
TOPOLOGY = """\
- topology: fabric
  cluster_default: true
  tree:
    level_names: [rack, hall]
    switches:
      - switch: left
        nodes: node[0-1]
      - switch: right
        nodes: node[2-3]
      - switch: top
        children: left,right
- topology: nvlink
  block:
    block_sizes: [2]
    blocks:
      - block: b0
        nodes: node[0-1]
      - block: b1
        nodes: node[2-3]
"""
NODES = "echo $SLURM_JOB_NODELIST"


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four nodes below two switches, and as two blocks of two."""
    with running(tmp_path_factory.mktemp("e2e") / "near", slurm_conf=SLURM_CONF, companions={"topology.yaml": TOPOLOGY}) as made:
        yield made


def nodes_of(cluster: Cluster, program: str, *words: str) -> str:
    """The node list of a job of this command."""
    if program == "sbatch":
        return output_of(cluster, NODES, *words).strip()
    return cluster.run(program, "-Q", *words, "sh", "-c", NODES).split("\n")[0]


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_switches_and_segments(near: Cluster, program: str):
    keeper = near.submit("-w", "node0", "-c2", "-o", "/dev/null", "--wrap", "sleep 300")
    near.wait_state(keeper, "RUNNING")
    try:
        for words, expected in (
            (["-N2", "--switches=1@1:00"], "node[2-3]"),
            (["-N3", "--switches=1"], "node[1-3]"),  # no two nodes of a switch are three: there is nothing to wait for
            (["-N2", "--segment=2", "-p", "racks"], "node[2-3]"),
            (["-N3", "--segment=1", "-p", "racks"], "node[1-3]"),
        ):
            assert nodes_of(near, program, "-c2", *words) == expected, words
    finally:
        near.run("scancel", keeper)


@pytest.mark.parametrize("program", ["sbatch", "salloc", "srun"])
def test_required_and_preferred_levels(near: Cluster, program: str):
    keeper = near.submit("-w", "node0", "-c2", "-o", "/dev/null", "--wrap", "sleep 300")
    near.wait_state(keeper, "RUNNING")
    try:
        for words, expected in (
            (["-N2", "--topology=rack"], "node[2-3]"),
            (["-N3", "--topology=hall"], "node[1-3]"),
            (["-N3", "--topology=prefer:rack@60:00"], "node[1-3]"),  # no rack has three nodes: there is nothing to wait for
            (["-N2", "--topology=block", "-p", "racks"], "node[2-3]"),
        ):
            assert nodes_of(near, program, "-c2", *words) == expected, words
    finally:
        near.run("scancel", keeper)


def test_the_environment_and_the_script_ask_for_levels_too(near: Cluster, monkeypatch: pytest.MonkeyPatch):
    script = near.work / "near.sh"
    script.write_text("#!/bin/bash\n#SBATCH -H -N2 --topology=prefer:rack@2:00\ntrue\n")
    assert record_of(near, near.run("sbatch", "--parsable", str(script)).strip())["Topology"] == "prefer:rack@00:02:00"
    done = near.attempt("env", "SBATCH_TOPOLOGY=hall", "sbatch", "--parsable", str(script))
    job = done.stdout.strip()
    assert record_of(near, job)["Topology"] == "hall"
    near.run("scontrol", "update", f"JobId={job}", "Topology=rack", "Switches=1@1:00")
    record = record_of(near, job)
    assert (record["Topology"], record["Switches"]) == ("rack", "1@00:01:00")
    near.run("scontrol", "update", f"JobId={job}", "Topology=")
    assert "Topology" not in record_of(near, job)
    near.run("scancel", "--me")


def test_why_tells_what_a_required_level_lacks(near: Cluster):
    keepers = [near.submit("-w", node, "-c2", "-t", "60", "-o", "/dev/null", "--wrap", "sleep 300") for node in ("node0", "node2")]
    for keeper in keepers:
        near.wait_state(keeper, "RUNNING")
    job = near.submit("-N2", "-c2", "-t", "30", "--topology=rack", "--wrap", "true")
    try:
        page = " ".join(near.run("penstock", "why", job).split())
        assert "no rack has 2 nodes with enough memory free; the best, left, has 1" in page
        assert f"held by job {keepers[0]}" in page
        assert "with --topology=hall: now" in page
    finally:
        near.run("scancel", "--me")


def test_what_jobs_and_people_see(near: Cluster):
    job = near.submit("-H", "-N2", "--switches=1@2:00", "--segment=2", "--wrap", "true")
    assert queue(near, job, "%i") == [job]
    assert near.run("squeue", "-h", "-j", job, "-O", "ReqSwitch,Wait4Switch").split() == ["1", "2:00"]
    assert near.run("sacct", "-n", "-X", "-j", job, "-o", "SegmentSize").split() == ["2"]
    near.run("scancel", job)
    record = held(near, "-N2", "--switches=1@2:00", "--segment=2")
    assert (record["Switches"], record["SegmentSize"]) == ("1@00:02:00", "2")
    environment = environment_of(near, "-w", "node2", "--segment=1")
    assert environment["SLURM_TOPOLOGY_ADDR"] == "top.right.node2"
    assert environment["SLURM_TOPOLOGY_ADDR_PATTERN"] == "switch.switch.node"
    assert environment["SLURM_JOB_SEGMENT_SIZE"] == "1"


def test_refusals(near: Cluster):
    for words, text in (
        (["-N3", "--segment=2", "-p", "racks"], "3 nodes are no multiple of the segment size 2"),
        (["-N4", "--segment=4", "-p", "racks"], "the segment size 4 is larger than a base block, which has 2 nodes"),
        (["-N3", "--topology=rack"], "no rack has 3 nodes; the best, left, has 2"),
        (["-N2", "--topology=row"], "no topology level is called row: the levels of partition main are rack, hall"),
        (["-N2", "--topology=prefer:rack@soon"], "Invalid --topology specification"),
        (["--switches=0"], 'Invalid numeric value "0" for --switches.'),
        (["--switches=1@soon"], "Invalid --switches specification"),
    ):
        done = near.attempt("sbatch", *words, "--wrap", "true")
        assert done.returncode in (1, 255) and text in done.stderr, done.stderr


def test_show_topology(near: Cluster):
    assert near.run("scontrol", "show", "topology").splitlines() == [
        "TopologyName=fabric Plugin=topology/tree Default=YES",
        "SwitchName=left Level=0 LinkSpeed=1 Nodes=node[0-1]",
        "SwitchName=right Level=0 LinkSpeed=1 Nodes=node[2-3]",
        "SwitchName=top Level=1 LinkSpeed=1 Nodes=node[0-3] Switches=left,right",
        "TopologyName=nvlink Plugin=topology/block Default=NO",
        "BlockName=b0 BlockIndex=0 Nodes=node[0-1] BlockSize=2",
        "BlockName=b1 BlockIndex=1 Nodes=node[2-3] BlockSize=2",
    ]
    assert near.run("scontrol", "show", "topology", "right").splitlines()[1].startswith("SwitchName=right ")
    done = near.attempt("scontrol", "show", "topology", "nowhere")
    assert (done.returncode, done.stderr) == (1, "No topology, switch, block or node is named nowhere\n")
