"""The configuration read again while the cluster runs: what comes into force, what waits, what is refused."""

from __future__ import annotations

import msgspec
import pytest
from engine_cluster import ALICE, ROOT, EngineCluster, Refused

from penstock.config.folder import ClusterFile, ClusterFolder, NodeSpec
from penstock.controller.configuration import read_config, reread
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec.errors import SpecError

FILE = """ClusterName=test
KillWait=30
NodeName=n[0-1] NodeHostname=localhost CPUs=4 RealMemory=4096 Feature=old
PartitionName=main Nodes=ALL Default=YES
"""
TWO = (Partition("main", default=True), Partition("short"))


class Files:
    """A folder with a slurm.conf that changes."""

    def __init__(self, path):
        self.folder = ClusterFolder(str(path))
        self.folder.make()
        self.folder.write(ClusterFile(nodes=tuple(NodeSpec(f"n{i}", 4, 4096) for i in range(2))))
        self.write(FILE)
        self.running = read_config(self.folder)

    def write(self, text):
        with open(self.folder.slurm_conf, "w", encoding="ascii") as file:
            file.write(text)

    def change(self, old, new):
        assert old in FILE
        self.write(FILE.replace(old, new))
        return reread(self.folder, self.running)


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path / "cluster")


def test_an_unchanged_file_changes_nothing(files):
    assert reread(files.folder, files.running) == (files.running, [])


def test_what_the_table_lets_reload_comes_into_force(files):
    config, lines = files.change("KillWait=30", "KillWait=7")
    assert (config.kill_wait_s, config.shown["KillWait"], lines) == (7, "7", [])
    config, lines = files.change("Default=YES", "Default=YES MaxTime=60\nPartitionName=new Nodes=n1")
    assert [(p.name, p.max_time_s, p.nodes) for p in config.partitions] == [("main", 3600, ("n0", "n1")), ("new", 0, ("n1",))]
    assert lines == []


def test_what_is_fixed_stays_and_is_said(files):
    config, lines = files.change("ClusterName=test", "ClusterName=other\nFirstJobId=1000")
    assert (config.cluster_name, config.first_job_id, config.shown["ClusterName"]) == ("test", 1, "test")
    assert lines == [
        "ClusterName=other cannot be changed once the cluster has started; it stays test",
        "FirstJobId=1000 cannot be changed once the cluster has started; it stays 1",
    ]


def test_what_does_nothing_here_is_said_once_it_changes(files):
    _, (line,) = files.change("KillWait=30", "PriorityWeightAge=5")
    assert line.startswith("PriorityWeightAge=5 does nothing here:")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("KillWait=30", "SchedulerParameters=bf_min_prio_reserve=10,defer", ["bf_min_prio_reserve (slurm.conf:2)", "defer (slurm.conf:2)"]),
        ("Default=YES", "Default=YES OverSubscribe=EXCLUSIVE", ["OverSubscribe (slurm.conf:4): no effect, not supported"]),
        ("Default=YES", "Default=YES MinNodes=2 LLN=YES", ["MinNodes (slurm.conf:4)", "LLN (slurm.conf:4)"]),
        ("CPUs=4", "CPUs=4 CpuSpecList=1", ["CpuSpecList (slurm.conf:3)"]),
        ("KillWait=30", "KillWait=30\nKillWait=7", ["KillWait (slurm.conf:3): no effect, given before"]),
    ],
)
def test_a_word_of_a_line_that_does_nothing_is_said_when_it_is_new(files, old, new, words):
    config, lines = files.change(old, new)
    assert len(lines) == len(words)
    assert all(word in line for word, line in zip(words, lines, strict=True)), lines
    assert reread(files.folder, config) == (config, [])


def test_what_agents_were_started_with_needs_another_start(files):
    config, lines = files.change("n[0-1] NodeHostname=localhost CPUs=4", "n[0,2] NodeHostname=localhost CPUs=8")
    assert lines == [
        "node n2 is new: penstock up starts its agent",
        "node n1 is no longer named: penstock down and penstock up stop its agent",
        "node n0: CPUs 4 is to be 8 when its agent starts again (penstock down, penstock up)",
    ]
    assert config.partitions[0].nodes == ("n0", "n2")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("KillWait=30", "KillWait=soon", ["slurm.conf:2", "KillWait", "soon"]),
        ("KillWait=30", "KilWait=30", ["slurm.conf:2", "KilWait", "did you mean KillWait"]),
        ("Nodes=ALL", "Nodes=n7", ["slurm.conf:4", "n7"]),
        ("Default=YES", "Default=YES State=OPEN", ["slurm.conf:4", "OPEN", "UP, DOWN, DRAIN, INACTIVE"]),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(files, old, new, words):
    with pytest.raises(SpecError) as refused:
        files.change(old, new)
    assert all(word in str(refused.value) for word in words)


def test_a_file_that_went_away_is_no_configuration(files):
    import os

    os.unlink(files.folder.slurm_conf)
    with pytest.raises(SpecError, match="is gone"):
        reread(files.folder, files.running)


# --- the engine ---


def test_a_new_configuration_is_an_event_and_jobs_follow_it():
    cluster = EngineCluster(ClusterConfig(partitions=TWO), n0=4)
    long = cluster.submit(time_limit_s=7200)
    cluster.config = ClusterConfig(partitions=(msgspec.structs.replace(TWO[0], max_time_s=3600), TWO[1], Partition("new")))
    assert cluster.ask("reconfigure", ROOT) == "a line"
    cluster.plan()
    assert cluster.word(long) == "PENDING" and cluster.reason(long) == "PartitionTimeLimit"
    new = cluster.submit(partition="new")
    cluster.plan()
    assert cluster.word(new) == "RUNNING"
    cluster.check_law()


def test_a_partition_with_jobs_cannot_go_and_nothing_changes():
    cluster = EngineCluster(ClusterConfig(partitions=TWO), n0=4)
    job = cluster.submit(partition="short", hold=True)
    before = cluster.reactor.state.config
    cluster.config = ClusterConfig(partitions=TWO[:1], kill_wait_s=5)
    with pytest.raises(Refused, match="short is no longer there, but 1 jobs"):
        cluster.ask("reconfigure", ROOT)
    assert cluster.reactor.state.config is before
    cluster.ask("cancel", ALICE, jobs=[str(job)])
    cluster.ask("reconfigure", ROOT)
    assert cluster.reactor.state.config.kill_wait_s == 5


def test_only_an_administrator_may():
    cluster = EngineCluster(ClusterConfig(single_user=1001), n0=4)
    with pytest.raises(Refused, match="2002"):
        cluster.ask("reconfigure", ALICE)


def test_nodes_follow_what_the_file_changes_and_keep_what_an_administrator_set():
    config = ClusterConfig(node_features={"n0": ("old",), "n1": ("old",)}, node_weights={"n1": 3})
    cluster = EngineCluster(config, n0=4, n1=4)
    nodes = cluster.reactor.state.nodes
    cluster.ask("update_node", ROOT, nodes=["n0"], keys=["Weight=9", "Features=mine"])
    cluster.config = msgspec.structs.replace(config, node_features={"n0": ("old",), "n1": ("new",)})
    cluster.ask("reconfigure", ROOT)
    assert [(nodes[name].features, nodes[name].weight) for name in ("n0", "n1")] == [(("mine",), 9), (("new",), 3)]
    cluster.reactor.nodes.lost("n0", cluster.now_ms)
    cluster.node("n0")
    assert (nodes["n0"].features, nodes["n0"].weight) == (("mine",), 9)
    cluster.crash()
    cluster.node("n0")
    assert (cluster.reactor.state.nodes["n0"].features, cluster.reactor.state.nodes["n0"].weight) == (("mine",), 9)
    cluster.check_law()


def test_a_node_begins_in_the_state_that_the_file_declares_and_follows_when_that_changes():
    config = ClusterConfig(node_states={"n0": ("DRAIN", "bad fan"), "n1": ("DOWN", "")})
    cluster = EngineCluster(config, n0=4, n1=4)
    nodes = cluster.reactor.state.nodes
    assert (nodes["n0"].drain, nodes["n0"].reason, nodes["n1"].down) == (True, "bad fan", True)
    assert nodes["n1"].reason == "State=DOWN in the configuration"
    cluster.ask("update_node", ROOT, nodes=["n0"], keys=["State=RESUME"])
    cluster.node("n0")
    assert nodes["n0"].schedulable, "what an administrator said later counts"
    cluster.config = ClusterConfig()
    cluster.ask("reconfigure", ROOT)
    assert nodes["n1"].schedulable
    cluster.check_law()


def test_the_files_states_reach_the_engine(files):
    config, lines = files.change("Feature=old", "Feature=old\nDownNodes=n1 State=DRAIN Reason=fan")
    assert (config.node_states, lines) == ({"n1": ("DRAIN", "fan")}, [])
