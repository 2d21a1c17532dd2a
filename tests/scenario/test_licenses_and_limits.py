"""Licences, --time-min and --deadline in the planner."""

from dsl import NOW_S, cluster

from penstock.core.plan import Reason


def test_a_job_waits_for_its_licences():
    busy = cluster("2*n").licenses("fluent:4,matlab:2").running("r: n0 1cpu 1h lic=fluent:3")
    plan = busy.pending("a: lic=fluent:2", "b: lic=fluent:1 10m", "c: 1cpu").expect("a: Licenses", "a@1h", "b→n0", "c→n0")
    assert plan.reason_of(busy.job_ids["a"]) == Reason("Licenses", "waiting", "fluent", 2, 1)


def test_a_reservation_holds_licences_too():
    busy = cluster("2*n").licenses("a:2").running("r: n0 1cpu 1h lic=a:1")
    busy.pending("x: lic=a:2 1h", "y: lic=a:1 1h", "z: lic=a:1 2h").expect("x: Licenses", "x@1h", "y→n0", "z: Licenses")


def test_what_ends_before_the_reservation_may_have_them():
    busy = cluster("2*n").licenses("a:2").running("r: n0 1cpu 1h lic=a:1")
    busy.pending("x: lic=a:2 1h", "y: lic=a:1 59m").expect("x: Licenses", "y→n0")


def test_an_array_takes_as_many_as_there_are():
    cluster("2*n").licenses("a:5").pending("x: lic=a:2 x10").expect("x×2", "x: Licenses")


def test_all_of_several_or_one_of_several():
    two = cluster("2*n").licenses("a:1,b:1").running("r: n0 1cpu 1h lic=a:1")
    two.pending("x: lic=a:1,b:1", "y: lic=a:1|b:1 30m", "z: lic=a:1|b:1").expect("x: Licenses", "x@1h", "y→n0", "z: Licenses")


def test_more_licences_than_there_are():
    too_many = cluster("1*n").licenses("a:1").pending("x: lic=a:2", "y: lic=b:1", "z: lic=a:1")
    plan = too_many.expect("x: Licenses", "y: Licenses", "z→n0")
    assert plan.reason_of(too_many.job_ids["x"]) == Reason("Licenses", "impossible", "a", 2, 1)
    assert not plan.reservations


def test_jobs_without_licences_pass_by():
    busy = cluster("1*n[cpu:4]").licenses("a:1").running("r: n0 1cpu 1h lic=a:1")
    busy.pending("x: 2cpu lic=a:1 1h", "y: 2cpu 1h", "z: 1cpu 1h").expect("x: Licenses", "x@1h", "y→n0", "z→n0")


def test_a_limit_is_lowered_to_fit_before_a_reservation():
    busy = cluster("2*n").running("r: n0 8cpu 1h")
    busy.pending("a: 2n 8cpu", "b: 2h min=20m", "c: 2h min=61m", "d: 2h").expect("a@1h", "b→n1", "b=1h", "c: Priority", "d: Priority")


def test_a_limit_is_not_lowered_without_need():
    cluster("1*n").pending("a: 2h min=20m").expect("a→n0", "a=0s")


def test_a_lowered_limit_is_the_longest_that_fits():
    busy = cluster("3*n").running("r: n0 8cpu 1h", "s: n1 8cpu 2h").within(reservations=2)
    busy.pending("a: 2n 8cpu 1h", "b: 3n 8cpu 1h", "c: 8cpu 9h min=10m").expect("a@1h", "b@2h", "c→n2", "c=1h", "a: Resources")


def test_elements_of_an_array_get_limits_of_their_own():
    busy = cluster("3*n").running("r: n0 8cpu 1h")
    busy.pending("a: 2n 8cpu on=n0,n1", "b: 8cpu 2h min=30m x3").expect("a@1h", "b×2", "b=1h", "b=0s")


def test_who_may_be_shortened_waits_for_a_short_gap_only():
    busy = cluster("1*n").running("r: n0 8cpu 1h").within(reservations=2)
    busy.pending("a: 8cpu 2h min=30m", "b: 8cpu").expect("a: Resources", "a@1h", "b@90m")


def test_a_deadline_that_cannot_be_kept():
    late = cluster("1*n").pending("a: 2h by=1h", "b: 1h by=1h", "c: 2h min=1h by=90m")
    late.expect("a: DeadLine", "b→n0", "c→n0", "c=90m")


def test_a_job_without_a_limit_runs_until_its_deadline():
    cluster("1*n").pending("a: 365d by=90m").expect("a→n0", "a=90m")


def test_no_start_is_promised_behind_a_deadline():
    busy = cluster("1*n").running("r: n0 8cpu 2h")
    plan = busy.pending("a: 8cpu 1h by=150m", "b: 8cpu 1h by=3h").expect("a: Resources", "b: Priority", "b@2h")
    assert [entry.start_s for entry in plan.reservations] == [NOW_S + 7200]
