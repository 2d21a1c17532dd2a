"""Reading slurm.conf and its companions: the grammar, the defaults, the warnings and the refusals."""

import msgspec
import pytest

from penstock.config import cluster, lines
from penstock.config.cluster import engine_settings
from penstock.config.gresconf import gpus_of
from penstock.config.lines import ConfigError
from penstock.config.reader import read
from penstock.engine.cluster_config import ClusterConfig, Partition

BASIC = """
ClusterName=test GresTypes=gpu
NodeName=n[1-4] CPUs=8 RealMemory=16000 Gres=gpu:a100:2 Feature=fast
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0
"""


@pytest.fixture
def conf(tmp_path):
    def write(text, **companions):
        (tmp_path / "slurm.conf").write_text(text)
        for name, content in companions.items():
            (tmp_path / f"{name}.conf").write_text(content)
        return str(tmp_path)

    return write


def refusal(directory):
    with pytest.raises(ConfigError) as caught:
        read(directory)
    return str(caught.value)


def test_a_small_cluster(conf):
    config = read(conf(BASIC))
    assert config.parameters["ClusterName"] == "test"
    assert config.parameters["KillWait"] == 30
    assert [node.name for node in config.nodes] == ["n1", "n2", "n3", "n4"]
    node = config.node("n3")
    assert (node.cpus, node.memory_mib, node.gres, node.features, node.weight) == (8, 16000, "gpu:a100:2", ("fast",), 1)
    (partition,) = config.partitions
    assert (partition.name, partition.default, partition.max_time_s, partition.nodes) == ("main", True, 86400, ("n1", "n2", "n3", "n4"))
    assert config.warnings == ()


def test_keys_in_any_case_comments_continuation_quotes_and_blanks(conf):
    config = read(
        conf(
            "clustername = test # the name\n"
            "KILLWAIT=5 MinJobAge=10\n"
            "NodeName=n1 \\\n  CPUs=2 \\\n  RealMemory=100\n"
            'DownNodes=n1 State=DOWN Reason="no power \\# today"\n'
            "   # nothing\n\n"
        )
    )
    assert (config.parameters["KillWait"], config.parameters["MinJobAge"]) == (5, 10)
    assert (config.node("n1").state, config.node("n1").reason) == ("DOWN", "no power # today")


def test_default_lines_hold_until_the_next_one(conf):
    config = read(
        conf(
            "ClusterName=t\nNodeName=DEFAULT CPUs=4 Weight=7\nNodeName=a\nNodeName=b CPUs=2\nNodeName=DEFAULT Weight=9\nNodeName=c\n"
            "PartitionName=DEFAULT MaxTime=60 State=DRAIN\nPartitionName=p Nodes=a\nPartitionName=q Nodes=b,c State=UP PriorityTier=3\n"
        )
    )
    assert [(node.cpus, node.weight) for node in config.nodes] == [(4, 7), (2, 7), (4, 9)]
    assert [(part.max_time_s, part.state, part.priority_tier) for part in config.partitions] == [(3600, "DRAIN", 1), (3600, "UP", 3)]


def test_include_is_read_in_its_place(conf, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "nodes.conf").write_text("NodeName=n[1-2]\nInclude parts.conf\n")
    (tmp_path / "more" / "parts.conf").write_text("PartitionName=p Nodes=n1\n")
    config = read(conf("ClusterName=t\ninclude more/nodes.conf\n"))
    assert config.partitions[0].nodes == ("n1",)


def test_include_loops_end(conf):
    assert f"more than {lines.MAX_INCLUDE_DEPTH} deep" in refusal(conf("Include slurm.conf\n"))


def test_cpu_topology(conf):
    config = read(
        conf(
            "ClusterName=t\nNodeName=a Sockets=2 CoresPerSocket=4 ThreadsPerCore=2\n"
            "NodeName=b CPUs=8 Boards=1 SocketsPerBoard=2 CoresPerSocket=4\nNodeName=c\n"
        )
    )
    assert [(n.cpus, n.sockets, n.cores_per_socket, n.threads_per_core) for n in config.nodes] == [
        (16, 2, 4, 2),
        (8, 2, 4, 1),
        (1, 1, 1, 1),
    ]
    assert "does not match" in refusal(conf("ClusterName=t\nNodeName=a CPUs=7 Sockets=2 CoresPerSocket=4\n"))


def test_several_nodes_on_one_host(conf):
    config = read(conf("ClusterName=t\nNodeName=n[1-2] NodeHostname=box NodeAddr=127.0.0.1\nNodeName=m[1-2] NodeHostname=h[8-9]\n"))
    assert [(n.hostname, n.address) for n in config.nodes] == [("box", "127.0.0.1")] * 2 + [("h8", "h8"), ("h9", "h9")]
    assert "3 hosts for 2 nodes" in refusal(conf("ClusterName=t\nNodeName=n[1-2] NodeHostname=h[1-3]\n"))


def test_partitions_name_node_sets(conf):
    config = read(
        conf(
            "ClusterName=t\nNodeName=n[1-2] Feature=gpu\nNodeName=n3\n"
            "NodeSet=g Feature=gpu\nNodeSet=x Nodes=n3\nPartitionName=p Nodes=x,g\n"
        )
    )
    assert config.partitions[0].nodes == ("n1", "n2", "n3")


def test_scheduler_parameters(conf):
    config = read(conf(BASIC + "SchedulerParameters=kill_invalid_depend,requeue_delay=5,bf_interval=10\n"))
    assert config.scheduler == {"kill_invalid_depend": "", "requeue_delay": "5", "bf_interval": "10"}
    assert [w.name for w in config.warnings] == ["SchedulerParameters=bf_interval"]
    assert "did you mean bf_interval?" in refusal(conf(BASIC + "SchedulerParameters=bf_intervall=1\n"))


def test_depth_window_and_grid_of_backfill_reach_the_engine(conf):
    words = "bf_window=1440,bf_resolution=60,bf_max_job_test=500,bf_max_job_user=20,bf_max_job_part=90,bf_reservations=7,bf_continue"
    config = read(conf(BASIC + f"SchedulerParameters={words}\n"))
    assert config.warnings == ()
    settings = engine_settings(config)
    assert [settings[name] for name in ("bf_window_s", "bf_resolution_s", "bf_reservations")] == [86_400, 60, 7]
    assert [settings[f"bf_max_job_{what}"] for what in ("test", "user", "part")] == [500, 20, 90]


def test_nothing_bounds_backfill_where_nothing_is_said(conf):
    settings = engine_settings(read(conf(BASIC)))
    assert [settings[name] for name in ("bf_window_s", "bf_resolution_s", "bf_reservations", "bf_max_job_test")] == [0, 1, 1, 0]


@pytest.mark.parametrize("word", ["bf_window=0", "bf_resolution=3601", "bf_max_job_test=many", "bf_reservations=-1", "bf_window"])
def test_a_number_of_backfill_out_of_range_is_refused_by_name(conf, word):
    assert word.partition("=")[0] in refusal(conf(BASIC + f"SchedulerParameters={word}\n"))


def test_known_parameters_without_effect_are_named(conf):
    config = read(conf(BASIC + "SlurmctldPort=7000\nPriorityWeightAge=1000\nSchedulerType=sched/backfill\nPriorityMaxAge=7-0\n"))
    assert [(w.name, w.where.rpartition(":")[2]) for w in config.warnings] == [("SlurmctldPort", "5"), ("PriorityWeightAge", "6")]
    assert "PriorityWeightAge does nothing here: not supported" in str(config.warnings[1])
    assert config.texts["SlurmctldPort"] == "7000"
    assert cluster.warning_lines(config) == [
        "no effect, Penstock keeps its sockets, logs and state in the cluster's directory: SlurmctldPort (slurm.conf:5)",
        "no effect, not supported by this version: PriorityWeightAge (slurm.conf:6)",
    ]


def test_a_parameter_given_twice_is_named(conf):
    config = read(conf(BASIC + "KillWait=3\nKillWait=4\n"))
    assert config.parameters["KillWait"] == 4
    assert [w.name for w in config.warnings] == ["KillWait"]


def test_a_word_of_the_scheduler_given_twice_is_named(conf):
    config = read(conf(BASIC + "SchedulerParameters=bf_window=10,bf_window=20\n"))
    assert config.scheduler == {"bf_window": "20"}
    assert [(w.name, w.reason) for w in config.warnings] == [("SchedulerParameters=bf_window", "given before; the last value counts")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("KilWait=3", "slurm.conf:5: unknown parameter 'KilWait' (did you mean KillWait?)"),
        ("KillWait=soon", "slurm.conf:5: invalid KillWait 'soon'"),
        ("KillWait", "cannot read 'KillWait'"),
        ("JobRequeue=2", "expected YES or NO"),
        ("NodeName=n9 CPU=3", "unknown parameter 'CPU' (did you mean CPUs?)"),
        ("NodeName=n[1-", "never closed"),
        ("NodeName=n1", "node n1 is defined twice"),
        ("NodeName=n9 State=BAD", "invalid State=BAD"),
        ("NodeName=n9 CPUs=2 CPUs=3", "stands twice"),
        ("NodeName=x[0-9999999]", "too many hosts"),
        ("PartitionName=main Nodes=n1", "partition main is defined twice"),
        ("PartitionName=p Nodes=n11", "no node or NodeSet is named 'n11' (did you mean n1?)"),
        ("PartitionName=p Default=YES", "more than one partition has Default=YES: main, p"),
        ("PartitionName=a,b", "invalid PartitionName='a,b'"),
        ("PartitionName=p State=OFF", "invalid State=OFF"),
        ("Include none.conf", "No such file or directory"),
        ('NodeName=n9 Reason="x', "cannot read"),
        ("KillWait=3 \\", "ends inside a continued line"),
        ("PartitionName=p PriorityTier=65536", "slurm.conf:5: invalid PriorityTier=65536: expected 0 to 65535"),
        ("PartitionName=p MaxTime=0", "slurm.conf:5: invalid MaxTime=0: expected 1 to 4294967295 minutes"),
        ("PartitionName=p MaxNodes=0", "slurm.conf:5: invalid MaxNodes=0: expected 1 to 4294967295"),
        ("NodeName=n9 CPUs=0", "slurm.conf:5: invalid CPUs=0: expected 1 to 65535"),
        ("NodeName=n9 Sockets=60000 CoresPerSocket=2", "are 120000 CPUs: 65535 are allowed"),
        ("NodeName=n9 RealMemory=3000T", "invalid RealMemory=3000T: expected 1 to 2147483648 MiB"),
        ("Licenses=fluent:1,fluent:2", "slurm.conf:5: invalid Licenses=fluent:1,fluent:2: each licence once"),
        ("TopologyPlugin=topology/foo", "slurm.conf:5: invalid TopologyPlugin=topology/foo"),
        ("PartitionName=p Nodes=n1 Topology=blocks", "slurm.conf:5: partition p has Topology=blocks"),
        ("DownNodes=n7 State=DOWN", "no node or NodeSet is named 'n7'"),
    ],
)
def test_refusals_name_file_line_and_what_is_allowed(conf, text, words):
    assert words in refusal(conf(BASIC + text))


def test_all_problems_are_reported_up_to_a_bound(conf):
    text = refusal(conf(BASIC + "\n".join(f"Bad{i}=1" for i in range(50))))
    assert text.count("unknown parameter") == lines.MAX_PROBLEMS
    assert text.endswith("... and 30 more")


def test_bytes_that_are_not_text_are_refused(conf, tmp_path):
    directory = conf("")
    (tmp_path / "slurm.conf").write_bytes(b"ClusterName=t\nKillWait=\xff\n")
    assert "slurm.conf:2: not UTF-8 text" in refusal(directory)
    (tmp_path / "slurm.conf").write_bytes(b"ClusterName=t\nKillWait=\0\n")
    assert "NUL" in refusal(directory)


def test_missing_file_and_missing_cluster_name(conf, tmp_path):
    assert "No such file" in refusal(str(tmp_path / "none"))
    assert "ClusterName is missing" in refusal(conf("KillWait=1\n"))


def test_gres_conf(conf):
    config = read(
        conf(
            BASIC,
            gres="AutoDetect=off\nName=gpu Type=a100 File=/dev/nvidia[0-1]\n"
            "NodeName=n[1-2] Name=shard Count=8\nName=gpu Count=2 File=/dev/dri/card[0-1]\n",
        )
    )
    assert [(g.name, g.type, g.count, g.files, g.nodes) for g in config.gres] == [
        ("gpu", "a100", 2, ("/dev/nvidia0", "/dev/nvidia1"), ()),
        ("shard", "", 8, (), ("n1", "n2")),
        ("gpu", "", 2, ("/dev/dri/card0", "/dev/dri/card1"), ()),
    ]
    assert "Count=3 does not match the 2 files" in refusal(conf(BASIC, gres="Name=gpu Count=3 File=/dev/nvidia[0-1]\n"))
    assert "gres.conf:1: a line of gres.conf needs Name" in refusal(conf(BASIC, gres="Count=3\n"))


def test_cgroup_conf(conf):
    config = read(conf(BASIC, cgroup="ConstrainRAMSpace=yes\nMaxRAMPercent=90\n"))
    assert config.cgroup["ConstrainRAMSpace"] is True
    assert [w.name for w in config.warnings] == ["MaxRAMPercent"]
    assert "did you mean ConstrainCores?" in refusal(conf(BASIC, cgroup="ConstrainCore=yes\n"))


def test_the_engine_takes_what_the_files_say(conf):
    config = read(conf(BASIC + "KillWait=7\nMaxMemPerNode=8G\nOverTimeLimit=2\nJobRequeue=0\nSchedulerParameters=requeue_delay=9\n"))
    settings = cluster.engine_settings(config)
    made = ClusterConfig(**settings, partitions=tuple(Partition(**cluster.partition_settings(part)) for part in config.partitions))
    assert (made.kill_wait_s, made.max_mem_per_node_mib, made.over_time_limit_s, made.job_requeue) == (7, 8192, 120, False)
    assert (made.requeue_delay_s, made.max_array_size, made.node_features["n1"]) == (9, 1001, ("fast",))
    assert made.partitions[0].max_time_s == 86400
    assert made.shown["KillWait"] == "7"


def test_every_engine_setting_has_a_parameter():
    fields = {field.name for field in msgspec.structs.fields(ClusterConfig)}
    fields = {name for name in fields if not name.startswith("bf_")}  # words of SchedulerParameters
    assert {*cluster.NUMBERS, *cluster.SWITCHES} <= fields
    assert fields - {*cluster.NUMBERS, *cluster.SWITCHES} == {
        *("cluster_name", "partitions", "requeue_delay_s", "kill_invalid_depend", "single_user"),
        *(
            "mail_prog",
            "node_features",
            "node_weights",
            "node_states",
            "scores",
            "shown",
            "licenses",
            "topologies",
            "max_switch_wait_s",
            "inert",
        ),
    }


def test_gres_types_list_what_nodes_have(conf):
    assert "GresTypes does not list gpu" in refusal(conf("ClusterName=t\nNodeName=a Gres=gpu:2\n"))
    assert "GresTypes does not list shard" in refusal(conf("ClusterName=t\nGresTypes=gpu\nNodeName=a Gres=gpu:2,shard:4\n"))


def test_shards_are_spread_evenly_over_the_gpus_of_their_node(conf):
    refused = refusal(conf("ClusterName=t\nGresTypes=gpu,shard\nNodeName=a Gres=gpu:2,shard:5\n"))
    assert "node a has Gres=gpu:2,shard:5: 5 shards cannot be spread evenly over 2 GPUs" in refused
    node = read(conf("ClusterName=t\nGresTypes=gpu,shard\nNodeName=a Gres=gpu:h100:2,shard:8\n")).nodes[0]
    assert gpus_of(node) == "h100:2,shard:8"


def test_placement_scores_have_names_and_bounded_weights(conf):
    config = read(conf("ClusterName=t\nSchedulerParameters=score_fragmentation=100,score_stranding=50\n"))
    assert cluster.engine_settings(config)["scores"] == (("fragmentation", 100), ("stranding", 50))
    for word, text in (
        ("score_fragmentation=-1", "SchedulerParameters=score_fragmentation"),
        ("score_best_fit=1001", "1000"),
        ("score_heat=1", "unknown word 'score_heat' in SchedulerParameters"),
    ):
        assert text in refusal(conf(f"ClusterName=t\nSchedulerParameters={word}\n"))
