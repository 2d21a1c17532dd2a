"""Whatever stands in slurm.conf, reading it gives a configuration or a ConfigError that names the file."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config.cluster import SlurmConfig
from penstock.config.lines import ConfigError
from penstock.config.reader import read
from penstock.spec import parameters as p

keys = st.sampled_from(
    [row.name for table in (p.SLURM_CONF, p.NODE_LINE, p.PARTITION_LINE) for row in table.values()]
    + ["Include", "DownNodes", "NodeSet", "Bad"]
)
values = st.one_of(
    st.sampled_from(
        [
            "n1",
            "n[1-3]",
            "ALL",
            "YES",
            "NO",
            "UNLIMITED",
            "5",
            "-1",
            "16G",
            "1-0",
            "DEFAULT",
            "gpu:a100:2",
            '"a b"',
            "",
            "kill_invalid_depend",
            "UP",
        ]
    ),
    st.text(max_size=12),
)
pairs = st.builds("{}={}".format, keys, values)
texts = st.lists(st.one_of(st.lists(pairs, min_size=1, max_size=4).map(" ".join), st.text(max_size=30)), max_size=6).map("\n".join)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        texts.map(str.encode), texts.map(lambda text: ("ClusterName=t\n" + text).encode("utf-8", "surrogatepass")), st.binary(max_size=60)
    )
)
def test_any_text_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "slurm.conf").write_bytes(content)
        try:
            config = read(directory)
        except ConfigError as error:
            assert all(directory in line or line.startswith("... and") for line in str(error).splitlines() if line)
        else:
            assert isinstance(config, SlurmConfig)
            names = {node.name for node in config.nodes}
            assert all(names.issuperset(part.nodes) for part in config.partitions)


@given(st.dictionaries(st.sampled_from(["KillWait", "MinJobAge", "MaxJobCount", "SlurmdTimeout"]), st.integers(0, 1 << 32)))
def test_numbers_arrive_as_they_stand(numbers):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "slurm.conf").write_text("ClusterName=t\n" + "\n".join(f"{name} = {value}" for name, value in numbers.items()))
        try:
            config = read(directory)
        except ConfigError:
            assert max(numbers.values()) > p.MAX_INT
        else:
            assert {name: config.parameters[name] for name in numbers} == numbers
