"""Why one job waits: its blockers with evidence, its start, and what would start sooner."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dsl import NOW_S, Scenario, cluster

from penstock.core.cycle import Budget, cycle
from penstock.core.elements import ELEMENTS_MAX
from penstock.core.evidence import TOGETHER
from penstock.core.explain import Explanation, explain
from penstock.core.outlook import batch_at, forecast
from penstock.core.plan import Plan
from penstock.core.view import Batch, View
from penstock.core.what_if import CHANGES_MAX, PROBES_MAX, Asking

HOUR_S = 3600


def finish(work):
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def view_of(scenario: Scenario) -> View:
    if not scenario.partitions:
        scenario.partition("main: *")
    return scenario.columns.view(1, NOW_S)


def why(scenario: Scenario, name: str, *others: str) -> Explanation:
    view = view_of(scenario)
    row = view.pending.job_id.tolist().index(scenario.job_ids[name])
    return finish(explain(view, scenario.job_ids[name], batch_at(view, row), others))


def told(found: Explanation) -> list[tuple[str, str, int, int]]:
    return [(one.reason.word, one.reason.what, one.reason.asked, one.reason.most) for one in found.blockers]


def changes(found: Explanation) -> list[str]:
    """``--gpus-per-node=2 now``, ``without --nodelist +3600``."""
    lines = []
    for change in found.changes:
        option = f"{change.option}={change.value}" if change.value else f"without {change.option}"
        after_s = change.start.start_s - NOW_S
        lines.append(f"{option} {f'+{after_s}' if after_s else 'now'}")
    return lines


def busy_pair() -> Scenario:
    """n0 has two GPUs free and six for an hour, n1 none for two hours."""
    return cluster("2*n[gpu:8]").running("r: n0 1cpu 6gpu 1h", "s: n1 1cpu 8gpu 2h")


# --- evidence ---


def test_who_holds_what_is_missing_and_until_when():
    scenario = busy_pair().pending("a: 8gpu 4h")
    found = why(scenario, "a")
    (blocker,) = found.blockers
    assert (found.tier, told(found)) == ("waiting", [("Resources", "gpu", 8, 2)])
    assert (blocker.free, blocker.configured) == (2, 16)
    assert [(one.job_id, one.end_s - NOW_S, one.amount, one.nodes) for one in blocker.holders] == [
        (scenario.job_ids["r"], HOUR_S, 6, ("n0",))
    ]


def test_every_quantity_that_falls_short_is_told():
    found = why(cluster("1*n[gpu:2]").running("r: n0 8cpu 1gpu 63G 1h").pending("a: 2cpu 2gpu 2G 1h"), "a")
    assert told(found) == [("Resources", "cpus", 2, 0), ("Resources", "memory_mib", 2048, 1024), ("Resources", "gpu", 2, 1)]


def test_a_gang_is_told_which_resource_the_nodes_lack():
    found = why(cluster("4*n[gpu:8]").running("r: n0,n1,n2 1cpu 1gpu 1h").pending("a: 2n 8gpu"), "a")
    assert told(found) == [("Resources", "nodes", 2, 1)]
    assert (found.blockers[0].what, found.blockers[0].free) == ("gpu", 29)


def test_a_start_beyond_the_window_is_no_promise():
    scenario = busy_pair().pending("big: 2n 8gpu 10m", "small: 2gpu 9h")
    view = view_of(scenario)
    found = finish(explain(view, scenario.job_ids["big"], batch_at(view, 0), budget=Budget(window_s=60)))
    assert (found.basis, found.start.start_s) == ("unkept", NOW_S + 2 * HOUR_S)
    assert finish(explain(view, scenario.job_ids["big"], batch_at(view, 0))).basis == "reserved"


def test_nobody_says_when_a_pass_looks_so_far():
    scenario = busy_pair().pending("big: 2n 8gpu 10m", "small: 1gpu 30m")
    view = view_of(scenario)
    found = finish(explain(view, scenario.job_ids["small"], batch_at(view, 1), budget=Budget(max_jobs=1)))
    assert (found.tier, found.start, found.basis, found.changes) == ("policy", None, "", ())


def test_strict_order_lets_nothing_pass():
    scenario = cluster("2*n").running("r: n0 8cpu 1h").pending("a: 2n 8cpu", "b: 1cpu 1h")
    view = view_of(scenario)
    shape = view.shapes[view.pending.shape[1]]
    found = finish(explain(view, scenario.job_ids["b"], Batch(shape.request, shape.partitions, HOUR_S), budget=Budget(strict=True)))
    assert (found.tier, told(found), found.start) == ("waiting", [("Priority", TOGETHER, 0, 0)], None)


def test_room_that_is_kept_names_the_job_that_it_is_kept_for():
    scenario = busy_pair().pending("a: 2n 8gpu 4h", "b: 2gpu 4h")
    found = why(scenario, "b")
    assert told(found) == [("Priority", "gpu", 2, 0)]
    assert found.blockers[0].reason.names == (str(scenario.job_ids["a"]),)


def test_licences_and_who_holds_them():
    scenario = cluster("2*n").licenses("fluent:4").running("r: n0 1cpu 1h lic=fluent:3").pending("a: lic=fluent:2")
    found = why(scenario, "a")
    (blocker,) = found.blockers
    assert (found.tier, told(found)) == ("waiting", [("Licenses", "fluent", 2, 1)])
    assert (blocker.free, blocker.configured, blocker.holders[0][:3]) == (1, 4, (scenario.job_ids["r"], NOW_S + HOUR_S, 3))
    assert changes(found) == ["without --licenses now"]


def test_a_deadline_that_cannot_be_kept():
    found = why(cluster("1*n").running("r: n0 8cpu 1h").pending("a: 2h by=1h"), "a")
    assert (found.tier, told(found)[0]) == ("policy", ("DeadLine", "deadline", 2 * HOUR_S, HOUR_S))


def test_nodes_that_are_down_are_named():
    found = why(cluster("2*n[gpu:8]").down("n1").pending("a: 2n 8gpu"), "a")
    assert told(found) == [("Resources", "nodes that are up", 2, 1)]
    assert (found.blockers[0].down, found.start) == (("n1",), None)


def test_a_required_node_that_is_down_has_slurms_word():
    assert told(why(cluster("2*n").down("n1").pending("a: on=n1"), "a")) == [("ReqNodeNotAvail", "nodes that are up", 1, 0)]


@pytest.mark.parametrize(
    ("partition", "job", "tier", "expected"),
    [
        ("p: n0 max=1h", "a: 2h in=p", "policy", ("PartitionTimeLimit", "time_limit_s", 7200, 3600)),
        ("p: n0 state=DOWN", "a: in=p", "policy", ("PartitionDown", "partition", 0, 0)),
        ("p: * nodes=1", "a: 2n in=p", "policy", ("PartitionNodeLimit", "nodes", 2, 1)),
        ("p: *", "a: in=p has=fast", "impossible", ("BadConstraints", "features", 0, 0)),
        ("p: *", "a: in=p 9cpu", "impossible", ("BadConstraints", "cpus", 9, 8)),
    ],
)
def test_limits_and_impossible_requests(partition, job, tier, expected):
    found = why(cluster("2*n").partition(partition).pending(job), "a")
    assert (found.tier, told(found)[0]) == (tier, expected)


def test_of_several_partitions_the_one_where_it_will_start_comes_first():
    found = why(cluster("2*n").partition("p: n0 state=DOWN", "q: n1").running("r: n1 8cpu 1h").pending("a: 1cpu in=p,q"), "a")
    assert [(one.partition, one.reason.word) for one in found.blockers] == [("q", "Resources"), ("p", "PartitionDown")]
    assert found.tier == "waiting"


def test_a_job_that_the_next_pass_starts_has_no_blocker():
    found = why(cluster("1*n").pending("a: 1cpu"), "a")
    assert (found.tier, found.blockers, found.basis, found.changes) == ("about to start", (), "now", ())


def test_a_job_behind_the_depth_of_a_pass_is_told_so():
    scenario = cluster("2*n").pending("a: 1cpu", "b: 1cpu", "c: 1cpu")
    view = view_of(scenario)
    shape = view.shapes[view.pending.shape[2]]
    found = finish(explain(view, scenario.job_ids["c"], Batch(shape.request, shape.partitions, HOUR_S), budget=Budget(max_jobs=2)))
    assert (found.tier, told(found)) == ("policy", [("Priority", "jobs looked at in a pass", 3, 2)])


# --- place and start ---


def test_the_start_is_the_planners_reservation():
    scenario = busy_pair().pending("a: 8gpu 4h")
    found = why(scenario, "a")
    assert (found.basis, found.start) == ("reserved", scenario.plan().reservations[0])


def test_behind_the_reservations_of_all_ahead():
    scenario = cluster("1*n").running("r: n0 8cpu 1h").pending("a: 8cpu 2h", "b: 8cpu 3h", "c: 8cpu 1h")
    found = why(scenario, "c")
    assert (found.basis, found.start.start_s - NOW_S) == ("estimated", 6 * HOUR_S)
    assert (found.ahead, found.first) == (2, (scenario.job_ids["a"], scenario.job_ids["b"]))


def test_jobs_of_other_partitions_are_not_ahead():
    scenario = cluster("2*n").partition("p: n0", "q: n1").running("r: n0,n1 8cpu 1h").pending("a: in=p", "b: in=q x5", "c: in=q")
    found = why(scenario, "c")
    assert (found.ahead, found.elements, found.first) == (1, 5, (scenario.job_ids["b"],))


def test_the_forecast_starts_everything_in_turn_and_keeps_the_promised_starts():
    scenario = (
        cluster("2*n")
        .partition("p: n0", "q: n0,n1")
        .running("r: n0,n1 8cpu 1h")
        .pending("a: 8cpu in=p 2h", "b: 8cpu in=p 1h", "c: 2n 8cpu in=q 1h")
    )
    view = view_of(scenario)
    plan = finish(cycle(view))
    assert [one.job_id for one in plan.reservations] == [scenario.job_ids["a"], scenario.job_ids["c"]]
    starts = {one.job_id: one.start_s - NOW_S for one in finish(forecast(view, plan.reservations)).reservations}
    assert starts == {scenario.job_ids["a"]: HOUR_S, scenario.job_ids["c"]: 3 * HOUR_S, scenario.job_ids["b"]: 4 * HOUR_S}
    assert all(starts[one.job_id] == one.start_s - NOW_S for one in plan.reservations)


def test_the_forecast_says_when_a_bound_ended_it():
    scenario = cluster("1*n").running("r: n0 8cpu 1h").pending("a: 8cpu", "b: 8cpu", "c: 8cpu")
    short: Plan = finish(forecast(view_of(scenario), records=2))
    assert (len(short.reservations), short.complete) == (2, False)
    assert finish(forecast(view_of(scenario))).complete


# --- what would start sooner ---


def test_fewer_gpus_start_now():
    assert "--gpus-per-node=2 now" in changes(why(busy_pair().pending("a: 8gpu 4h"), "a"))


def test_the_most_that_starts_now_is_found_not_only_a_half():
    scenario = cluster("1*n[gpu:8]").running("r: n0 1gpu 1h")
    assert changes(why(scenario.pending("a: 8gpu"), "a")) == ["--gpus-per-node=7 now"]


def test_a_shorter_time_limit_starts_before_what_is_reserved():
    assert "--time=02:00:00 now" in changes(why(busy_pair().pending("a: 2n 8gpu 4h", "b: 2gpu 4h"), "b"))


def test_fewer_nodes_start_sooner():
    scenario = cluster("2*n").running("r: n0 8cpu 1h", "s: n1 8cpu 2h").pending("a: 2n 8cpu")
    assert "--nodes=1 +3600" in changes(why(scenario, "a"))


def test_of_what_can_never_start_the_most_that_could():
    assert "--nodes=2 now" in changes(why(cluster("4*n").down("n3").running("r: n2 8cpu 1h").pending("a: 4n 8cpu"), "a"))
    assert "--nodes=3 +3600" in changes(why(cluster("4*n").down("n3").running("r: n0,n1,n2 8cpu 1h").pending("a: 4n 8cpu"), "a"))


def test_less_memory_in_whole_gibibytes():
    assert changes(why(cluster("1*n").running("r: n0 20G 1h").pending("a: 60G"), "a")) == ["--mem=44G now"]


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("on=n0", "without --nodelist now"),
        ("not=n1", "without --exclude now"),
        ("has=old", "without --constraint now"),
        ("excl on=n1", "without --exclusive now"),
    ],
)
def test_without_a_restriction(word, change):
    scenario = cluster("1*n[feature:old]").running("r: n0 8cpu 1h")
    scenario.add_node("n1", "")
    scenario.partition("main: *").running("t: n1 1cpu 2h").pending(f"a: 1cpu {word}")
    assert change in changes(why(scenario, "a"))


def test_another_partition_and_the_limit_of_its_own():
    scenario = cluster("2*n").partition("p: n0 max=1h", "q: n0,n1").running("r: n0 8cpu 1h").pending("a: 1cpu 3h in=p")
    assert changes(why(scenario, "a", "p", "q")) == ["--partition=q now", "--time=01:00:00 +3600"]


def test_what_gains_nothing_is_not_told():
    found = why(cluster("1*n[gpu:8]").running("r: n0 8cpu 8gpu 1h").pending("a: 2cpu 8gpu 8G 4h"), "a")
    assert changes(found) == []


def test_every_change_is_what_the_planner_does_with_it():
    """Submitted with the change instead, the job starts in the next plan."""
    scenario = busy_pair().pending("a: 2n 8gpu 4h", "b: 2cpu 4gpu 2h")
    found = why(scenario, "b")
    now = {change.option: change for change in found.changes if change.start.start_s == NOW_S}
    assert list(now) == ["--gpus-per-node"]
    changed = busy_pair().pending("a: 2n 8gpu 4h", f"b: 2cpu {now['--gpus-per-node'].value}gpu 2h")
    assert any(start.job_id == changed.job_ids["b"] for start in changed.plan().starts)


def test_questions_are_bounded():
    found = why(cluster("4*n[gpu:8]").running("r: n0,n1,n2,n3 8cpu 8gpu 60G 1h").pending("a: 4n 2cpu 4t/n 8gpu 60G 8h"), "a")
    assert len(found.changes) <= CHANGES_MAX
    asking = Asking(NOW_S, None, None, None)
    asking.probes = PROBES_MAX
    assert finish(asking.ask("--time", "1", None)) == []


# --- the same answer always ---


def test_the_view_is_not_changed_and_the_answer_is_the_same_again():
    scenario = busy_pair().pending("a: 2n 8gpu 4h", "b: 2gpu 4h")
    assert why(scenario, "b") == why(scenario, "b")


def test_a_job_that_is_not_in_the_queue_is_explained_as_if_it_came_last():
    scenario = busy_pair().pending("a: 2n 8gpu 4h")
    shape = next(shape for shape in view_of(scenario).shapes if shape is not None)
    found = finish(
        explain(view_of(scenario), 99, Batch(replace(shape.request, nodes_min=1, nodes_max=1), ("main",), HOUR_S), budget=Budget())
    )
    assert (found.ahead, found.start.start_s - NOW_S) == (1, HOUR_S)


def test_whole_gpus_are_counted_as_devices_where_jobs_share_them():
    scenario = cluster("1*n[gpu:3/10]").running("r: n0 1gpu#00", "s: n0 6gpu#01 2h", "t: n0 10gpu#02 3h").pending("a: 1gpu")
    (blocker,) = why(scenario, "a").blockers
    assert (blocker.what, blocker.free, blocker.configured) == ("gpu", 0, 3)
    assert [(holder.job_id, holder.amount) for holder in blocker.holders] == [(scenario.job_ids["r"], 1)]


def test_parts_are_counted_in_shards():
    scenario = cluster("1*n[gpu:2/10]").running("r: n0 6gpu#00", "s: n0 7gpu#01 2h").pending("a: 5shard")
    (blocker,) = why(scenario, "a").blockers
    assert (blocker.what, blocker.free, blocker.configured, blocker.reason.most) == ("shard", 7, 20, 4)


# --- arrays ---


def starts(found: Explanation) -> tuple[int, list[int]]:
    """(elements that start now, seconds until the next ones do)"""
    assert found.array is not None
    return found.array.now, [start_s - NOW_S for start_s in found.array.later_s]


def test_of_an_array_it_is_told_how_many_start_now_and_when_the_others_do():
    scenario = busy_pair().pending("a: 1cpu 2gpu x5 1h")
    assert starts(why(scenario, "a")) == (1, [HOUR_S] * 4)


def test_the_elements_start_behind_those_that_are_ahead_of_them():
    scenario = busy_pair().pending("first: 1cpu 8gpu 1h", "a: 1cpu 2gpu x5 2h")
    assert starts(why(scenario, "a")) == (0, [2 * HOUR_S] * 5)


def test_the_limit_of_an_array_bounds_what_is_told_of_it():
    found = why(busy_pair().pending("a: 1cpu 2gpu x5 %2 1h"), "a")
    assert (found.array.waiting, found.array.startable) == (5, 2)
    assert starts(found) == (1, [HOUR_S])


def test_of_a_large_array_the_first_elements_are_told():
    found = why(cluster("1*n[cpu:1]").running("r: n0 1cpu 1h").pending("a: 1cpu x1000000 1m"), "a")
    assert starts(found) == (0, [HOUR_S + 60 * number for number in range(ELEMENTS_MAX)])


def test_a_single_job_has_no_elements():
    assert why(busy_pair().pending("a: 1cpu 2gpu 1h"), "a").array is None
