"""The parameter table: complete, consistent, and honest about what does nothing."""

import pytest

from penstock.spec import parameters as p
from penstock.spec.errors import SpecError

TABLES = {
    "slurm.conf": p.SLURM_CONF,
    "node": p.NODE_LINE,
    "partition": p.PARTITION_LINE,
    "down": p.DOWN_LINE,
    "set": p.NODE_SET_LINE,
    "gres.conf": p.GRES_CONF,
    "cgroup.conf": p.CGROUP_CONF,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_default_is_a_value_of_its_type(table):
    for row in table.values():
        row.default_value()
        for value in row.agrees:
            row.value(value)


def test_no_name_has_two_rows():
    with pytest.raises(AssertionError, match="killwait has two rows"):
        p._keyed(p._table("KillWait", p.INT), p._table("killwait", p.INT))
    assert len(p.SLURM_CONF) > 220
    assert len({*p.SCHEDULER_INERT, *p.SCHEDULER_HONOURED}) == len(p.SCHEDULER_INERT) + len(p.SCHEDULER_HONOURED)


@pytest.mark.parametrize(
    ("name", "default"),
    [
        ("KillWait", 30),
        ("MinJobAge", 300),
        ("MaxJobCount", 10000),
        ("MaxArraySize", 1001),
        ("FirstJobId", 1),
        ("SlurmdTimeout", 300),
        ("JobRequeue", True),
        ("MaxBatchRequeue", 5),
        ("ReturnToService", 0),
        ("OverTimeLimit", 0),
        ("PriorityDecayHalfLife", 604_800),
        ("SuspendTime", None),
        ("MaxStepCount", 40_000),
        ("MaxTasksPerNode", 512),
        ("TreeWidth", 16),
    ],
)
def test_defaults_are_slurms(name, default):
    assert p.find(p.SLURM_CONF, name.upper()).default_value() == default


def test_values_are_typed():
    assert p.convert(p.BOOL, "yes", "X") is True
    assert p.convert(p.BOOL, "0", "X") is False
    assert p.convert(p.MINUTES, "5", "X") == 300
    assert p.convert(p.MINUTES, "UNLIMITED", "X") is None
    assert p.convert(p.MIB, "16G", "X") == 16384
    assert p.convert(p.DURATION, "1-0", "X") == 86400
    assert p.convert(p.LIST, "a, b,,c", "X") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("type", "text"),
    [
        (p.BOOL, "maybe"),
        (p.INT, "-3"),
        (p.INT, "x"),
        (p.MIB, "1Z"),
        (p.DURATION, "1:2:3:4"),
        (p.SECONDS, "1m"),
        (p.GRES, "gpu:1,gpu:1"),
        (p.TRES, "cpu"),
    ],
)
def test_wrong_values_name_the_parameter(type, text):
    with pytest.raises(SpecError):
        p.convert(type, text, "KillWait")


def test_unknown_names_get_the_nearest_one():
    with pytest.raises(SpecError, match=r"unknown parameter 'KilWait' \(did you mean KillWait\?\)"):
        p.find(p.SLURM_CONF, "KilWait")
    with pytest.raises(SpecError, match=r"unknown parameter 'Xyzzy'$"):
        p.find(p.SLURM_CONF, "Xyzzy")


def test_inert_values_that_agree_are_silent():
    assert p.find(p.SLURM_CONF, "SchedulerType").is_silent("sched/backfill")
    assert not p.find(p.SLURM_CONF, "SchedulerType").is_silent("sched/builtin")
    assert p.find(p.SLURM_CONF, "KillWait").is_silent("7")
