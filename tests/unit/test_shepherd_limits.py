"""Time limits, warnings and suspension, without a clock."""

from __future__ import annotations

from penstock.agent.shepherd.limits import FIRST_WARNING_MS, TimeLimit, ending_line, oom_line


def test_the_limit_is_said_once_and_then_no_time_matters():
    limit = TimeLimit(1_000, 10)
    assert limit.next_ms() == 11_000 and limit.due(10_999) == (False, False)
    assert limit.due(11_000) == (False, True) and limit.due(12_000) == (False, False)
    assert limit.next_ms() is None


def test_the_warning_comes_before_the_limit():
    limit = TimeLimit(0, 100, 30)
    assert limit.next_ms() == 70_000
    assert limit.due(70_000) == (True, False)
    assert limit.next_ms() == 100_000
    assert limit.due(100_000) == (False, True)


def test_a_limit_shorter_than_the_warning_warns_as_soon_as_a_handler_can_be_there():
    limit = TimeLimit(5_000, 10, 60)
    assert limit.next_ms() == 5_000 + FIRST_WARNING_MS and limit.due(5_500) == (False, False)
    assert limit.due(5_000 + FIRST_WARNING_MS) == (True, False)


def test_suspended_time_does_not_count():
    limit = TimeLimit(0, 10)
    limit.suspend(4_000)
    assert limit.next_ms() is None and limit.due(60_000) == (False, False) and limit.run_ms(60_000) == 4_000
    limit.resume(64_000)
    assert limit.next_ms() == 70_000 and limit.run_ms(65_000) == 5_000


def test_a_changed_limit_counts_from_the_start_and_zero_is_none():
    limit = TimeLimit(0, 10)
    limit.change(20)
    assert limit.next_ms() == 20_000
    limit.change(0)
    assert limit.next_ms() is None and limit.due(10**9) == (False, False)


def test_slurms_lines():
    line = ending_line("STEP 5.0", "n1", 0, "DUE TO TIME LIMIT")
    assert line.startswith("slurmstepd: error: *** STEP 5.0 ON n1 CANCELLED AT 19") and line.endswith(" DUE TO TIME LIMIT ***")
    assert "Detected 1 oom_kill event in StepId=5.batch." in oom_line("StepId=5.batch", 1)
    assert "Detected 2 oom_kill events in" in oom_line("StepId=5.0", 2)
