"""GRES requests, node GRES and TRES strings."""

import pytest

from penstock.spec import gres
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpu", "gpu:1"),
        ("gpu:2", "gpu:2"),
        ("gpu:a100", "gpu:a100:1"),
        ("gpu:a100:4,shard:2", "gpu:a100:4,shard:2"),
        ("gres/gpu:4", "gpu:4"),
        ("gpu:a100=4", "gpu:a100:4"),
        ("mps:1k", "mps:1024"),
        ("gpu:3g.20gb:1", "gpu:3g.20gb:1"),
        ("gpu:3g.20gb", "gpu:3g.20gb:1"),
        ("none", ""),
        ("gpu:0", ""),
        ("gres:gpu:1", "gpu:1"),
        ("", ""),
    ],
)
def test_requests(text, shown):
    assert gres.format_gres(gres.parse_gres(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "gpu:",
        "gpu:-1",
        "gpu:a:b:c",
        ":2",
        "gpu,",
        "gpu:1,gpu:2",
        "gpu:1,gpu:a100:1",
        "gpu:a100:x",
        "g u:1",
        "gpu:99999999999999999999",
        ",".join(f"r{i}" for i in range(65)),
    ],
)
def test_refuses_requests(text):
    with pytest.raises(SpecError):
        gres.parse_gres(text)


def test_gpus():
    assert gres.parse_gpus("2") == [gres.Gres("gpu", "", 2)]
    assert gres.format_gres(gres.parse_gpus("volta:3,kepler:5")) == "gpu:volta:3,gpu:kepler:5"
    assert gres.parse_gpus("0") == []
    assert gres.format_tres_per(gres.parse_gpus("a100:4")) == "gres/gpu:a100:4"
    with pytest.raises(SpecError, match=r"\[type:\]count"):
        gres.parse_gpus("a:b:2")


def test_node_gres_drops_sockets():
    assert gres.format_gres(gres.parse_node_gres("gpu:a100:8(S:0-1),shard:64")) == "gpu:a100:8,shard:64"
    with pytest.raises(SpecError):
        gres.parse_node_gres("gpu:8(IDX:0)")


def test_tres_strings():
    counts = gres.parse_tres("billing=8,cpu=8,gres/gpu=4,mem=64G,node=1")
    assert counts == {"billing": 8, "cpu": 8, "gres/gpu": 4, "mem": 65536, "node": 1}
    assert gres.format_tres(counts) == "cpu=8,mem=64G,node=1,billing=8,gres/gpu=4"
    assert gres.format_tres(counts, by_name=True) == "billing=8,cpu=8,gres/gpu=4,mem=64G,node=1"
    assert gres.format_tres({"mem": 300}) == "mem=300M"
    with pytest.raises(SpecError):
        gres.parse_tres("cpu=1,cpu=2")


def test_typed_gpus_count_as_gpus_too():
    assert gres.gres_tres(gres.parse_gres("gpu:a100:4,gpu:h100:2,shard:1")) == {
        "gres/gpu": 6,
        "gres/gpu:a100": 4,
        "gres/gpu:h100": 2,
        "gres/shard": 1,
    }
