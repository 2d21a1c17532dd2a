"""topology.conf and topology.yaml: what they make, and what is refused with file, line and what is allowed."""

import msgspec
import pytest

from penstock.config.lines import ConfigError
from penstock.config.reader import read
from penstock.config.yaml_subset import read_yaml
from penstock.engine.cluster_config import Topology
from penstock.engine.topology import levels_of
from penstock.spec.topology import Domain, address, block_levels, default_sizes, tree_levels

BASE = """ClusterName=test
NodeName=n[1-8] CPUs=8 RealMemory=16000
PartitionName=main Nodes=ALL Default=YES
"""
TREE = """SwitchName=s1 Nodes=n[1-2]
SwitchName=s2 Nodes=n[3-4] LinkSpeed=400
SwitchName=s3 Nodes=n[5-8]
SwitchName=pod Switches=s[1-2]
SwitchName=top Switches=pod,s3
"""
YAML = """---
# two fabrics
- topology: fabric
  cluster_default: true
  tree:
    switches:
      - switch: top          # the root
        children: s[1-2]
      - switch: s1
        nodes: n[1-4]
      - {second}
        nodes: "n[5-8]"
- topology: nvlink
  cluster_default: false
  block:
    block_sizes: [2, 4]
    blocks:
    - block: b1
      nodes: n[1-2]
    - block: b2
      nodes: n[3-4]
- topology: alike
  flat: true
""".replace("{second}", "switch: s2")


@pytest.fixture
def conf(tmp_path):
    def write(text=BASE, conf=None, yaml=None):
        (tmp_path / "slurm.conf").write_text(text)
        for name, content in (("topology.conf", conf), ("topology.yaml", yaml)):
            if content is not None:
                (tmp_path / name).write_text(content)
        return read(str(tmp_path))

    return write


def domains(topology):
    return [Domain(domain.name, domain.nodes, domain.children) for domain in topology.domains]


def test_a_tree(conf):
    (tree,) = conf(BASE + "TopologyPlugin=topology/tree\n", TREE).topologies
    assert (tree.name, tree.kind, tree.default) == ("default", "tree", True)
    assert [domain.link_speed for domain in tree.domains] == [1, 400, 1, 1, 1]
    assert tree_levels(domains(tree)) == (
        ("leaf", (("s1", ("n1", "n2")), ("s2", ("n3", "n4")), ("s3", ("n5", "n6", "n7", "n8")))),
        ("level1", (("s3", ("n5", "n6", "n7", "n8")), ("pod", ("n1", "n2", "n3", "n4")))),
        ("level2", (("top", ("n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8")),)),
    )


def test_blocks_and_their_sizes(conf):
    text = "BlockName=b1 Nodes=n[1-2]\nBlockName=b2 Nodes=n[3-4]\nBlockName=b3 Nodes=n[5-8]\nBlockSizes=2,4\n"
    (blocks,) = conf(BASE + "TopologyPlugin=topology/block\n", text).topologies
    assert blocks.block_sizes == (2, 4)
    levels = block_levels(domains(blocks), blocks.block_sizes)
    assert [(name, [domain for domain, _ in level]) for name, level in levels] == [
        ("block", ["b1", "b2", "b3"]),
        ("block4", ["b[1-2]", "b3"]),
        ("all", ["b[1-3]"]),
    ]


def test_block_sizes_that_nobody_gives_are_the_smallest_block_and_its_doubles():
    blocks = [Domain(f"b{number}", tuple(f"n{number}_{at}" for at in range(18 + number))) for number in range(5)]
    assert default_sizes(blocks) == (18, 36, 72)


def test_several_topologies_of_which_partitions_choose(conf):
    config = conf(BASE + "PartitionName=gpu Nodes=n[1-4] Topology=nvlink\n", yaml=YAML)
    assert [(topology.name, topology.kind, topology.default) for topology in config.topologies] == [
        ("fabric", "tree", True),
        ("nvlink", "block", False),
        ("alike", "flat", False),
    ]
    assert [partition.topology for partition in config.partitions] == ["", "nvlink"]
    assert config.topologies[0].domains[0].children == ("s1", "s2")
    assert config.topologies[1].block_sizes == (2, 4)


NAMED = {"  tree:\n": "  tree:\n    level_names: [rack]\n", "  block:\n": "  block:\n    level_names: [nvl72, pod]\n"}


def named(**names):
    text = YAML
    for place, line in NAMED.items():
        text = text.replace(place, names.get(place.strip(" :\n"), line))
    return text


def test_levels_are_called_as_the_file_says_and_the_others_by_themselves(conf):
    config = conf(yaml=named())
    found = [levels_of(msgspec.convert(msgspec.to_builtins(topology), Topology)) for topology in config.topologies]
    assert [[name for name, _ in levels] for levels in found] == [["rack", "level1"], ["nvl72", "pod"], []]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("[a, b, c]", "topology.yaml:6: 3 level names: there are 2 levels"),
        ("[a, a]", "two levels are called a"),
        ("[level1]", "two levels are called level1"),
        ("[prefer:a]", "invalid level name 'prefer:a': letters, digits, - and _ are allowed"),
        ("a", "expected a list of level_names"),
    ],
)
def test_level_names_that_do_not_fit_are_refused_with_their_place(conf, names, words):
    with pytest.raises(ConfigError) as caught:
        conf(yaml=named(tree=f"  tree:\n    level_names: {names}\n"))
    assert words in str(caught.value)


def test_the_yaml_file_counts_before_the_plug_in_and_says_so(conf):
    config = conf(BASE + "TopologyPlugin=topology/tree\n", TREE, YAML)
    assert len(config.topologies) == 3
    assert [(warning.name, warning.reason) for warning in config.warnings] == [("topology.conf", "topology.yaml counts")]


def test_a_flat_cluster_says_that_it_does_not_read_topology_conf(conf):
    config = conf(BASE, TREE)
    assert config.topologies == ()
    assert [(warning.name, warning.reason) for warning in config.warnings] == [("topology.conf", "TopologyPlugin is topology/flat")]


BAD_CONF = {
    "SwitchName=a Nodes=n1\nSwitchName=b Nodes=n[1-2]\n": "topology.conf:2: node n1 is in switches a and b",
    "SwitchName=a Nodes=n1,n1\n": "topology.conf:1: node n1 is in switches a twice",
    "SwitchName=a Nodes=n1\nSwitchName=a Nodes=n2\n": "topology.conf:2: switch a is defined twice, first at ",
    "SwitchName=a Switches=b\nSwitchName=b Switches=a\n": "hang below each other in a circle: a below b below a",
    "SwitchName=a Switches=a\n": "circle: a below a",
    "SwitchName=s0 Nodes=n1\nSwitchName=top Switches=s0,top\n": "conf:2: switches hang below each other in a circle: top below top",
    "SwitchName=a Switches=b\n": "topology.conf:1: switch a: no switch is named 'b'",
    "SwitchName=c Nodes=n1\nSwitchName=a Switches=c\nSwitchName=b Switches=c\n": "below b and below switch a: one parent is allowed",
    "SwitchName=a Nodes=n1 Switches=b\n": "switch a has both: expected either Nodes or Switches",
    "SwitchName=a\n": "switch a has neither",
    "SwitchName=a Nodes=n9\n": "topology.conf:1: a: no node is named 'n9'",
    "SwitchName=a Node=n1\n": "unknown parameter 'Node' (did you mean Nodes?): expected SwitchName, Nodes, Switches, LinkSpeed",
    "SwitchName=s[1-2] Nodes=n1\n": "invalid name 's[1-2]'",
    "BlockName=a Nodes=n1\n": "unknown parameter 'BlockName'",
    "SwitchName=a Nodes=n1 LinkSpeed=fast\n": "topology.conf:1: ",
    "": "a tree topology needs at least one switch",
}


@pytest.mark.parametrize("text", BAD_CONF)
def test_what_is_no_tree_is_refused(text, conf):
    with pytest.raises(ConfigError) as caught:
        conf(BASE + "TopologyPlugin=topology/tree\n", text)
    assert BAD_CONF[text] in str(caught.value)


BAD_BLOCKS = {
    "BlockName=a Nodes=n[1-2]\nBlockSizes=2,6\n": "topology.conf:2: block size 6 after 2: allowed are 2 times 2, 4, 8, ...",
    "BlockName=a Nodes=n[1-2]\nBlockSizes=2,2\n": "block size 2 after 2",
    "BlockName=a Nodes=n[1-2]\nBlockName=b Nodes=n3\nBlockSizes=2\n": "the first block size is 2: allowed are 1 to 1, the nodes of block b",
    "BlockName=a Nodes=n1\nBlockName=b Nodes=n1\n": "node n1 is in blocks a and b",
    "BlockName=a\n": "block a has no nodes",
    "BlockName=a Nodes=n1 BlockSizes=1\n": "expected a line that begins with BlockName=",
    "Nodes=n1\n": "expected a line with BlockName and Nodes, or one line with BlockSizes alone",
    "BlockName=a Nodes=n1\nBlockSizes=x\n": "topology.conf:2: ",
    "": "a block topology needs at least one block",
}


@pytest.mark.parametrize("text", BAD_BLOCKS)
def test_what_are_no_blocks_is_refused(text, conf):
    with pytest.raises(ConfigError) as caught:
        conf(BASE + "TopologyPlugin=topology/block\n", text)
    assert BAD_BLOCKS[text] in str(caught.value)


def test_several_problems_are_told_at_once(conf):
    with pytest.raises(ConfigError) as caught:
        conf(BASE + "TopologyPlugin=topology/tree\n", "SwitchName=a Nodes=n9\nSwitchName=b\nSwitchName=c Nodes=m1\n")
    assert [line.rpartition("/")[2].split(":")[1] for line in str(caught.value).splitlines()] == ["1", "3"]


def test_an_unknown_plug_in_names_the_known_ones(conf):
    with pytest.raises(
        ConfigError, match="invalid TopologyPlugin=topology/3d_torus: expected topology/tree, topology/block, topology/flat"
    ):
        conf(BASE + "TopologyPlugin=topology/3d_torus\n")


def test_a_tree_without_its_file_is_refused(conf):
    with pytest.raises(ConfigError, match=r"topology\.conf is missing: TopologyPlugin=topology/tree needs it"):
        conf(BASE + "TopologyPlugin=topology/tree\n")


def test_a_partition_with_an_unknown_topology_is_refused(conf):
    with pytest.raises(ConfigError, match=r"partition x has Topology=ib: allowed are fabric, nvlink, alike"):
        conf(BASE + "PartitionName=x Nodes=n1 Topology=ib\n", yaml=YAML)


BAD_YAML = {
    "- topology: a\n  tree:\n    switches:\n    - switch: s\n      nodes: n1\n- topology: a\n  flat: true\n": "two topologies are called a",
    "- topology: a\n  flat: true\n  tree:\n    switches: []\n": "topology a has tree and flat: expected one of tree, block, flat",
    "- topology: a\n": "topology a has no kind",
    "- topology: a\n  ring:\n    rings: []\n": "unknown key 'ring'",
    "- topology: a\n  flat: false\n": "topology.yaml:2: flat: expected true",
    "- topology: a\n  flat: perhaps\n": "topology.yaml:2: 'perhaps': expected true or false",
    "topology: a\n": "topology.yaml:1: expected a list of topologies",
    "- a\n": "topology.yaml:1: expected the keys topology, cluster_default, tree, block, flat",
    "": "topology.yaml:1: expected a list of topologies",
    "- topology: a\n  cluster_default: true\n  flat: true\n- topology: b\n  cluster_default: true\n  flat: true\n": "true of a and b",
    "- topology: a\n  tree:\n    switches:\n    - switch: s\n      nodes: n1\n    - switch: s2\n      nodes: n9\n": (
        "topology.yaml:6: s2: no node is named 'n9'"
    ),
    "- topology: a\n  tree:\n    switches:\n    - switch: s\n      children: s\n": "topology.yaml:4: switches hang below each other",
    "- topology: a\n  block:\n    block_sizes: [1, 3]\n    blocks:\n    - block: b\n      nodes: n1\n": (
        "topology.yaml:3: block size 3 after 1"
    ),
    "- topology: a\n\tflat: true\n": "topology.yaml:2: a tab in the indentation",
    "- topology: a\n   flat: true\n": "topology.yaml:2: indented more than what it belongs to",
    "- topology: a\n  topology: b\n": "topology.yaml:2: topology stands twice",
    "- topology: &x a\n  flat: true\n": "topology.yaml:1: cannot read '&x a': expected a plain word",
    "- topology: {a: b}\n": "expected a plain word",
    "- topology: 'a\n": "expected a quoted word",
    "- topology: a\n  flat: [true\n": "expected a list of words in brackets",
    "- topology: a\n  flat: true\n---\n- topology: b\n": "topology.yaml:3: a second document",
    "- topology: a\n  nonsense\n": "topology.yaml:2: cannot read 'nonsense'",
}


@pytest.mark.parametrize("text", BAD_YAML)
def test_a_bad_yaml_file_is_refused(text, conf):
    with pytest.raises(ConfigError) as caught:
        conf(BASE, yaml=text)
    assert BAD_YAML[text] in str(caught.value)


def test_the_yaml_subset_reads_what_yaml_means(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a:\n- 1\n-\n  - 'x # y'\n  - n[1-2],m3 # c\nb: []\nc: [p, \"q\"]\n'd e':\n    f: g\nh:\n")

    def plain(item):
        if isinstance(item.value, list):
            return [plain(entry) for entry in item.value]
        return {key: plain(entry) for key, entry in item.value.items()} if isinstance(item.value, dict) else item.value

    assert plain(read_yaml(str(path))) == {"a": ["1", ["x # y", "n[1-2],m3"]], "b": [], "c": ["p", "q"], "d e": {"f": "g"}, "h": ""}


def test_a_deep_yaml_file_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("- " * 40 + "a\n")
    with pytest.raises(ConfigError, match="nested more than 16 deep"):
        read_yaml(str(path))


def test_addresses_name_the_way_from_the_root():
    switches = [Domain("top", (), ("a", "b")), Domain("a", ("n1",)), Domain("b", ("n2",))]
    assert address("tree", switches, "n2") == ("top.b.n2", "switch.switch.node")
    assert address("block", [Domain("b7", ("n1", "n2"))], "n2") == ("b7.n2", "block.node")
    assert address("tree", switches, "n9") == ("n9", "node")


def test_the_engine_takes_the_topologies_as_they_are(conf):
    from penstock.engine.cluster_config import Topology

    config = conf(BASE, yaml=YAML)
    converted = msgspec.convert(config.topologies, tuple[Topology, ...], from_attributes=True)
    assert msgspec.to_builtins(converted[1])["block_sizes"] == (2, 4)
    assert converted[0].domains[1].nodes == ("n1", "n2", "n3", "n4")
