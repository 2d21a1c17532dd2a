"""States: the word that is shown, and the words that filters take."""

import pytest

from penstock.spec import states as s
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("state", "long", "short"),
    [
        (s.PENDING, "PENDING", "PD"),
        (s.RUNNING, "RUNNING", "R"),
        (s.OUT_OF_MEMORY, "OUT_OF_MEMORY", "OOM"),
        (s.CANCELLED | s.COMPLETING, "COMPLETING", "CG"),
        (s.RUNNING | s.CONFIGURING, "CONFIGURING", "CF"),
        (s.PENDING | s.REQUEUED | s.COMPLETING, "COMPLETING", "CG"),
        (s.PENDING | s.REQUEUE_HOLD, "REQUEUE_HOLD", "RH"),
        (s.PENDING | s.SPECIAL_EXIT | s.REQUEUE_HOLD, "REQUEUE_HOLD", "RH"),
        (s.RUNNING | s.EXPEDITING, "EXPEDITING", "R"),
        (s.PENDING | s.UPDATE_DB, "PENDING", "PD"),
    ],
)
def test_one_word_is_shown_of_a_job(state, long, short):
    assert s.job_state(state) == long
    assert s.job_state_compact(state) == short


def test_all_words_are_shown_in_json():
    assert s.job_state_list(s.RUNNING | s.COMPLETING | s.UPDATE_DB) == ["RUNNING", "COMPLETING", "UPDATE_DB"]


def test_numbers_are_those_of_slurm():
    assert (s.PENDING, s.COMPLETED, s.TIMEOUT, s.OUT_OF_MEMORY) == (0, 3, 6, 11)
    assert len(s.JOB_BASES) == 12


@pytest.mark.parametrize("name", [word for pair in s.JOB_BASES for word in pair])
def test_filters_take_long_and_short_names(name):
    number = s.parse_job_state(name.lower())
    assert name in s.JOB_BASES[number]


def test_filters_take_flags():
    assert s.job_matches(s.CANCELLED | s.COMPLETING, s.parse_job_state("cg"))
    assert not s.job_matches(s.CANCELLED, s.parse_job_state("cg"))
    assert s.job_matches(s.CANCELLED | s.COMPLETING, s.parse_job_state("CA"))
    with pytest.raises(SpecError, match="Invalid job state specified: foo"):
        s.parse_job_state("foo")


def test_finished():
    assert [s.is_finished(n) for n in range(4)] == [False, False, False, True]
    assert s.is_finished(s.CANCELLED | s.COMPLETING)


def test_accounting_names_who_cancelled():
    assert s.accounting_state(s.CANCELLED, 1000) == "CANCELLED by 1000"
    assert s.accounting_state(s.CANCELLED) == "CANCELLED"
    assert s.accounting_state(s.FAILED | s.COMPLETING, 1000) == "FAILED"


@pytest.mark.parametrize(
    ("state", "long", "short"),
    [
        (s.NODE_IDLE, "idle", "idle"),
        (s.NODE_ALLOCATED, "allocated", "alloc"),
        (s.NODE_MIXED, "mixed", "mix"),
        (s.NODE_IDLE | s.NODE_DRAIN, "drained", "drain"),
        (s.NODE_MIXED | s.NODE_DRAIN, "draining", "drng"),
        (s.NODE_IDLE | s.NODE_DRAIN | s.NODE_COMPLETING, "draining", "drng"),
        (s.NODE_DOWN | s.NODE_NOT_RESPONDING, "down*", "down*"),
        (s.NODE_IDLE | s.NODE_DRAIN | s.NODE_NOT_RESPONDING, "drained*", "drain*"),
        (s.NODE_IDLE | s.NODE_COMPLETING, "completing", "comp"),
        (s.NODE_ALLOCATED | s.NODE_COMPLETING, "allocated+", "alloc+"),
        (s.NODE_MIXED | s.NODE_PLANNED, "mixed-", "mix-"),
        (s.NODE_IDLE | s.NODE_PLANNED, "planned", "plnd"),
        (s.NODE_IDLE | s.NODE_RESERVED, "reserved", "resv"),
        (s.NODE_IDLE | s.NODE_MAINTENANCE | s.NODE_NOT_RESPONDING, "maint*", "maint*"),
        (s.NODE_ALLOCATED | s.NODE_MAINTENANCE, "allocated$", "alloc$"),
        (s.NODE_IDLE | s.NODE_REBOOT_ISSUED, "reboot^", "boot^"),
        (s.NODE_IDLE | s.NODE_POWERED_DOWN | s.NODE_NOT_RESPONDING, "idle~", "idle~"),
        (s.NODE_MIXED | s.NODE_FAIL_FLAG, "failing", "failg"),
        (s.NODE_UNKNOWN, "unknown", "unk"),
        (s.NODE_FUTURE, "future", "futr"),
    ],
)
def test_one_word_is_shown_of_a_node(state, long, short):
    assert s.node_state(state) == long
    assert s.node_state_compact(state) == short


def test_scontrol_shows_all_words_of_a_node():
    assert s.node_state_complete(s.NODE_IDLE | s.NODE_NOT_RESPONDING | s.NODE_DRAIN) == "IDLE+DRAIN+NOT_RESPONDING"


def test_node_filters():
    assert s.parse_node_state("drain") == s.parse_node_state("DRAINED") == s.NODE_DRAIN
    assert s.parse_node_state("alloc") == s.NODE_ALLOCATED
    with pytest.raises(SpecError):
        s.parse_node_state("foo")


def test_exit_codes():
    assert s.format_exit(*s.split_wait_status(9)) == "0:9"
    assert s.format_exit(*s.split_wait_status(0x8B)) == "0:11"
    assert s.format_exit(*s.split_wait_status(3 << 8)) == "3:0"
    assert s.parse_exit("0:9") == (0, 9)
    assert s.parse_exit("7") == (7, 0)
    with pytest.raises(SpecError):
        s.parse_exit("a:b")
