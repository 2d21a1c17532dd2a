"""Slices of GPUs (MIG) through every layer: names, files, devices of a node, allocations, steps, what programs and people are told."""

from __future__ import annotations

import pytest
from engine_cluster import EngineCluster, Refused
from hypothesis import given
from hypothesis import strategies as st

from penstock.agent.inventory import simulated_gpus
from penstock.agent.shepherd import environment
from penstock.cluster.up import Request, _gpu_words, _sizes, describe
from penstock.config.cluster import GresConfig, NodeConfig
from penstock.config.folder import ClusterFile, ClusterFolder, FolderError, NodeSpec
from penstock.config.gresconf import gpus_of, missing_gpus
from penstock.config.lines import ConfigError
from penstock.config.reader import read
from penstock.controller.views import node_facts, show
from penstock.core.slots import sevenths
from penstock.engine.step_devices import Free, bounded, chosen, fits, wish_of
from penstock.spec import errors as err
from penstock.spec.errors import SpecError
from penstock.spec.gres import format_gres, mig_slices, parse_gpus, parse_gres, parse_node_gres
from penstock.wire import messages as m

DEVICES = simulated_gpus("n0", "a100:1,1g.10gb:3,1g.10gb+me:1,3g.40gb:1")


@pytest.fixture
def cluster():
    cluster = EngineCluster()
    cluster.node("n0", cpus=8, devices=DEVICES)
    return cluster


def held(cluster, job):
    types = {gpu.uuid: gpu.type for gpu in DEVICES}
    return sorted(types[uuid] for alloc in cluster.job(job).allocs for uuid in alloc.gpus)


@pytest.mark.parametrize(
    ("kind", "slices"),
    [
        *(("1g.10gb", 1), ("3g.40gb", 3), ("7g.80gb", 7), ("1g.10gb+me", 1), ("1g.24gb-me", 1), ("2g.48gb+me.all", 2), ("4g.24gb+gfx", 4)),
        *(("1c.3g.40gb", 1), ("2c.7g.80gb", 2), ("a100_3g.20gb", 3), ("nvidia_a100-sxm4-40gb_1g.5gb", 1)),
        *(("a100", 0), ("h100-80gb", 0), ("g.10gb", 0), ("1g.gb", 0), ("1g", 0), ("10gb", 0), ("1x.10gb", 0), ("1.2.3.4", 0), ("", 0)),
    ],
)
def test_what_is_the_name_of_a_profile(kind, slices):
    assert mig_slices(kind) == slices


def test_a_slice_is_worth_what_it_is_of_a_device():
    assert [sevenths(pool) for pool in ("gpu", "gpu:a100", "gpu:3g.40gb", "gpu:a100_1g.5gb", "gpu:7g.80gb")] == [7, 7, 3, 1, 7]


def test_requests_and_nodes_name_profiles():
    assert format_gres(parse_gres("gpu:1g.10gb:2,gpu:1g.10gb+me:1")) == "gpu:1g.10gb:2,gpu:1g.10gb+me:1"
    assert format_gres(parse_gpus("3g.40gb:1,1g.10gb:4")) == "gpu:3g.40gb:1,gpu:1g.10gb:4"
    assert [item.count for item in parse_gres("gres:gpu:a100_3g.20gb:2")] == [2]
    assert format_gres(parse_node_gres("gpu:1g.10gb:7(S:0-1),gpu:3g.40gb:0")) == "gpu:1g.10gb:7"


def test_a_simulated_slice_says_that_it_is_one():
    assert [gpu.uuid for gpu in DEVICES] == ["GPU-simulated-n0-0", *(f"MIG-simulated-n0-{index}" for index in range(1, 6))]
    assert all(gpu.simulated for gpu in DEVICES)


def test_a_cluster_without_a_file_may_have_slices_too():
    words = Request(gpus="a100:1,1g.10gb:7", cpus=4, memory="1G")
    assert describe(ClusterFolder("/nowhere"), words).nodes[0].gpus == "a100:1,1g.10gb:7"
    assert describe(ClusterFolder("/nowhere"), Request(gpus="2,shard:4", cpus=4, memory="1G")).nodes[0].gpus == "sim:2,shard:4"
    assert _gpu_words("a100:1,1g.10gb:7") == "8 simulated GPUs (1 a100, 7 1g.10gb)"
    assert _gpu_words("h100:8,shard:32") == "8 simulated GPUs (h100, 32 shards)"
    for text in ("0", "a100:0,1g.10gb:0", "a100:2,1g.10gb:1,shard:4"):
        with pytest.raises((FolderError, SpecError), match="--gpus"):
            describe(ClusterFolder("/nowhere"), Request(gpus=text, cpus=4, memory="1G"))


def test_nodes_that_differ_are_told_apart():
    equal = ClusterFile(nodes=tuple(NodeSpec(f"n{i}", 4, 1000, "h100:2") for i in range(3)))
    assert _sizes(equal) == ["3 nodes, each with 4 CPUs, 1000 MiB, 2 simulated GPUs (h100)"]
    unequal = ClusterFile(nodes=(*equal.nodes[:2], NodeSpec("m0", 8, 1000)))
    assert _sizes(unequal) == ["n[0-1]: each with 4 CPUs, 1000 MiB, 2 simulated GPUs (h100)", "m0: 8 CPUs, 1000 MiB"]
    assert _sizes(ClusterFile(nodes=(NodeSpec("a", 1, 1000),))) == ["a: 1 CPUs, 1000 MiB"]


CONF = """
ClusterName=t GresTypes=gpu
NodeName=n[0-1] CPUs=4 RealMemory=1000 Gres=gpu:1g.10gb:2,gpu:3g.40gb:1
PartitionName=main Nodes=ALL
"""
SLICES = """
Name=gpu Type=1g.10gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap[30-31]
Name=gpu Type=1g.10gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap[39-40] Count=1
NodeName=n[0-1] Name=gpu Type=3g.40gb MultipleFiles=/dev/nvidia0,/dev/nvidia-caps/nvidia-cap[12-13]
"""


def files(tmp_path, gres, text=CONF):
    (tmp_path / "slurm.conf").write_text(text)
    (tmp_path / "gres.conf").write_text(gres)
    return str(tmp_path)


def test_the_files_of_a_slice_are_one_device(tmp_path):
    config = read(files(tmp_path, SLICES))
    assert [(line.type, line.count, len(line.files)) for line in config.gres] == [("1g.10gb", 1, 3), ("1g.10gb", 1, 3), ("3g.40gb", 1, 3)]
    assert not [warning for warning in config.warnings if warning.name == "MultipleFiles"]
    assert gpus_of(config.nodes[0], config.gres) == "1g.10gb:2,3g.40gb:1"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Name=gpu MultipleFiles=/dev/a,/dev/b File=/dev/c", "gres.conf:1: File and MultipleFiles exclude each other"),
        ("Name=gpu MultipleFiles=/dev/a,/dev/b Count=2", "gres.conf:1: Count=2: MultipleFiles=/dev/a,/dev/b is one device"),
        ("Name=gpu Type=1g.10gb Count=9", "node n0 has Gres=gpu:1g.10gb:2,gpu:3g.40gb:1, but gres.conf lists 0 of gpu:3g.40gb"),
        ("NodeName=n1 Name=gpu Type=1g.10gb\nNodeName=n1 Name=gpu Type=3g.40gb", "node n1 has Gres=gpu:1g.10gb:2,gpu:3g.40gb:1, but"),
    ],
)
def test_what_the_files_do_not_agree_on_is_refused(tmp_path, line, text):
    with pytest.raises(ConfigError) as caught:
        read(files(tmp_path, line))
    assert text in str(caught.value)


def test_files_that_say_nothing_about_the_number_are_believed(tmp_path):
    for gres in (
        "AutoDetect=nvml\nName=gpu Type=1g.10gb",
        "NodeName=n1 Name=gpu Count=3",
        "Name=gpu Count=8",
        "Name=shard Count=8 File=/dev/a",
    ):
        assert read(files(tmp_path, gres)).nodes


def test_devices_without_a_type_have_that_of_their_file():
    node = NodeConfig("n0", "n0", "n0", cpus=4, memory_mib=1, gres="gpu:3")
    lines = (GresConfig("gpu", "1g.10gb", 2), GresConfig("gpu", "3g.40gb", 1, (), ("n0",)), GresConfig("gpu", "x", 1, (), ("n1",)))
    assert gpus_of(node, lines) == "1g.10gb:2,3g.40gb:1"
    assert gpus_of(node, lines[:1]) == "sim:3"
    assert missing_gpus([node], lines[:1]) == "node n0 has Gres=gpu:3, but gres.conf lists 2 of gpu"


@pytest.mark.parametrize(
    ("gres", "types"),
    [
        (("gpu:1g.10gb:2",), ["1g.10gb", "1g.10gb"]),
        (("gpu:1g.10gb:1", "gpu:3g.40gb:1"), ["1g.10gb", "3g.40gb"]),
        (("gpu:a100:1", "gpu:1g.10gb+me:1"), ["1g.10gb+me", "a100"]),
        (("gpu:1",), ["a100"]),
        (("gpu:3",), ["1g.10gb", "3g.40gb", "a100"]),
        (("gpu:6",), ["1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb+me", "3g.40gb", "a100"]),
    ],
)
def test_a_job_holds_the_types_that_it_asked_for_and_without_a_type_the_largest_first(cluster, gres, types):
    job = cluster.submit(gres=gres)
    cluster.plan()
    assert held(cluster, job) == types


@pytest.mark.parametrize("gres", ["gpu:2g.20gb:1", "gpu:1g.10gb:4", "gpu:7"])
def test_slices_that_no_node_has_are_refused(cluster, gres):
    with pytest.raises(Refused) as refused:
        cluster.submit(gres=(gres,))
    assert refused.value.code == err.ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE


def test_steps_take_the_types_that_they_name(cluster):
    job = cluster.submit(gres=("gpu:1g.10gb:2", "gpu:3g.40gb:1"), ntasks=2)
    cluster.plan()
    for gres in ("gpu:3g.40gb:1", "gpu:1g.10gb:2"):
        cluster.open("step_create", job_id=job, argv=("true",), ntasks=1, cpus_per_task=1, gres=(gres,))
    found = [cluster.reactor.state.steps[job, number].allocs[0].gpus for number in range(2)]
    assert found == [("MIG-simulated-n0-5",), ("MIG-simulated-n0-1", "MIG-simulated-n0-2")]
    with pytest.raises(Refused):
        cluster.ask("step_create", job_id=job, argv=("true",), ntasks=1, gres=("gpu:a100:1",))


def test_a_step_waits_for_the_type_that_another_step_holds(cluster):
    job = cluster.submit(gres=("gpu:1g.10gb:1", "gpu:3g.40gb:1"), ntasks=2)
    cluster.plan()
    for _ in range(2):
        cluster.open("step_create", job_id=job, argv=("true",), ntasks=1, cpus_per_task=1, gres=("gpu:3g.40gb:1",))
    assert [key for key in cluster.reactor.state.steps if key[0] == job] == [(job, 0)]


def test_each_task_gets_one_of_each_type(cluster):
    job = cluster.submit(gpus_per_task=("gpu:1g.10gb:1",), ntasks=3)
    cluster.plan()
    cluster.open("step_create", job_id=job, argv=("true",), ntasks=3, gpus_per_task=("gpu:1g.10gb:1",))
    step = next(message for _, message in cluster.sent if isinstance(message, m.LaunchStep))
    seen = [environment.for_task({}, step, rank, DEVICES)[b"CUDA_VISIBLE_DEVICES"] for rank in range(3)]
    assert seen == [b"MIG-simulated-n0-1", b"MIG-simulated-n0-2", b"MIG-simulated-n0-3"]


def test_programs_see_slices_by_uuid_and_whole_gpus_by_index(cluster):
    job = cluster.submit(gres=("gpu:a100:1", "gpu:3g.40gb:1", "gpu:1g.10gb:1"))
    cluster.plan()
    assign = next(message for _, message in cluster.sent if isinstance(message, m.Assign) and message.job_id == job)
    seen = environment.for_batch(assign, node="n0", hostname="n0", cluster="c", berth="", gpus=DEVICES, login=None)
    assert seen[b"CUDA_VISIBLE_DEVICES"] == b"0,MIG-simulated-n0-1,MIG-simulated-n0-5"
    assert (seen[b"SLURM_JOB_GPUS"], seen[b"SLURM_GPUS_ON_NODE"]) == (b"0,1,5", b"3")


def test_people_see_slices_by_type(cluster):
    job = cluster.submit(gres=("gpu:1g.10gb:2",))
    cluster.plan()
    state = cluster.reactor.state
    occupied = node_facts.Occupancy()
    node_facts._add({"n0": occupied}, state.jobs[job])
    text = "gpu:a100:1(simulated),gpu:1g.10gb:3(simulated),gpu:1g.10gb+me:1(simulated),gpu:3g.40gb:1(simulated)"
    assert node_facts.gres_text(state.nodes["n0"]) == text
    assert "gpu:1g.10gb:2(IDX:1-2)(simulated)" in node_facts.gres_used_text(state.nodes["n0"], occupied)
    mine = ("MIG-simulated-n0-1", "MIG-simulated-n0-3", "MIG-simulated-n0-5")
    assert show.gres_of(state, "n0", mine) == "gpu:1g.10gb:2(IDX:1,3)(simulated),gpu:3g.40gb:1(IDX:5)(simulated)"


TYPES = st.sampled_from(["a", "b", "c"])
ITEMS = st.dictionaries(st.sampled_from(["", "a", "b"]), st.integers(1, 3), min_size=1)


@given(st.lists(TYPES, max_size=8), ITEMS)
def test_what_fits_is_what_is_chosen_task_by_task(kinds, wish):
    have = Free(8, 0, tuple(map(str, range(len(kinds)))), types={str(at): kind for at, kind in enumerate(kinds)})
    times = fits(have, wish)
    taken = chosen(have, wish, times)
    size = sum(wish.values())
    assert len(taken) == len(set(taken)) == times * size
    for turn in range(times):
        mine = [have.types[uuid] for uuid in taken[turn * size : (turn + 1) * size]]
        assert all(mine.count(kind) >= count for kind, count in wish.items() if kind)
    assert len(chosen(have, wish, times + 1)) < (times + 1) * size


@given(st.lists(st.lists(TYPES, max_size=4), max_size=3), ITEMS)
def test_a_total_is_taken_node_by_node_and_never_exceeded(nodes, wish):
    left = dict(wish)
    taken = []
    for kinds in nodes:
        have = Free(8, 0, tuple(map(str, range(len(kinds)))), types={str(at): kind for at, kind in enumerate(kinds)})
        taken += [have.types[uuid] for uuid in bounded(have, left)]
    assert min(left.values()) >= 0
    assert len(taken) + sum(left.values()) == sum(wish.values())
    assert all(taken.count(kind) >= wish[kind] - left[kind] for kind in wish if kind)


def test_wishes_for_other_resources_and_for_none_ask_for_no_gpu():
    assert wish_of(("gpu:2", "gpu:1g.10gb:1", "shard:3", "none")) == {"": 2, "1g.10gb": 1}
    assert wish_of(None) == {}
