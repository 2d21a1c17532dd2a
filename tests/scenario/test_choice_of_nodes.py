"""Which nodes a job may have: features in every form of --constraint, --prefer, --contiguous."""

from dsl import Scenario, cluster

from penstock.core.plan import Reason


def coloured() -> Scenario:
    """Two red nodes and two blue ones; the first of each is big."""
    return cluster("1*a[feature:red,feature:big]", "1*b[feature:red]", "1*c[feature:blue,feature:big]", "1*d[feature:blue]")


def test_any_of_two_features_will_do():
    coloured().pending("a: 3n has=red|blue", "b: 1n has=blue").expect("a→a0,b0,c0", "b→c0")


def test_operators_are_read_from_left_to_right():
    coloured().pending("a: 2n has=red|blue&big").expect("a→a0,c0")
    coloured().pending("a: 3n has=red&big|blue").expect("a→a0,c0,d0")


def test_parentheses_come_first():
    coloured().pending("a: 3n has=blue|(red&big)").expect("a→a0,c0,d0")


def test_all_nodes_carry_the_same_choice():
    coloured().running("r: b0 8cpu 1h").pending("a: 2n 8cpu has=[red|blue]").expect("a→c0,d0")
    coloured().pending("a: 3n has=[red|blue]").expect("a: BadConstraints")


def test_a_choice_waits_for_whichever_comes_first():
    loaded = coloured().running("r: a0,b0 8cpu 2h", "s: d0 8cpu 1h")
    loaded.pending("a: 2n 8cpu has=[red|blue]").expect("a: Resources", "a@1h→c0,d0")


def test_counts_ask_for_nodes_of_their_own():
    coloured().pending("a: 3n has=[red*2&blue*1]").expect("a→a0,b0,c0")
    coloured().pending("a: 2n has=[red*1&big*1]").running("r: c0,d0 8cpu 1h").expect("a→a0,b0")


def test_counts_are_met_exactly_where_nodes_overlap():
    coloured().running("r: b0 8cpu 1h").pending("a: 2n 8cpu has=[red*1&big*1]").expect("a→a0,c0")


def test_a_node_counts_once():
    assert coloured().pending("a: 4n has=[blue*2&red*2]").never("a") is None
    short = coloured().pending("a: 4n has=[big*2&red*2]").never("a")
    assert short == Reason("BadConstraints", "impossible", "nodes", 4, 3)


def test_nodes_beyond_the_counts_meet_one_of_them_in_brackets():
    assert coloured().pending("a: 4n has=[red*1&big*1]").never("a") == Reason("BadConstraints", "impossible", "nodes", 4, 3)
    coloured().pending("a: 4n has=red*2").expect("a→a0,b0,c0,d0")


def test_counted_nodes_carry_the_tasks_too():
    mixed = cluster("2*a[cpu:2,feature:red]", "1*b[cpu:8,feature:red]", "1*c[cpu:8,feature:blue]")
    mixed.pending("a: 2n 12t has=[red*1&blue*1]").expect("a→b0:8,c0:4")


def test_too_few_nodes_with_a_feature_are_named():
    assert coloured().pending("a: 3n has=red*3").never("a") == Reason("BadConstraints", "impossible", "nodes", 3, 2, ("red",))


def test_what_is_preferred_is_taken_where_the_job_can_start_at_once():
    coloured().pending("a: 8cpu prefer=blue", "b: 8cpu prefer=blue", "c: 8cpu prefer=blue").expect("a→c0", "b→d0", "c→a0")


def test_what_is_preferred_stands_in_for_the_constraint():
    coloured().pending("a: 8cpu has=red prefer=blue&big", "b: 8cpu has=red prefer=blue&big").expect("a→c0", "b→a0")


def test_nobody_waits_for_what_is_preferred():
    loaded = coloured().running("r: c0,d0 8cpu 1h", "s: a0,b0 8cpu 2h")
    loaded.pending("a: 8cpu has=red prefer=blue").expect("a: Resources", "a@2h→a0")


def test_an_array_fills_what_it_prefers_first():
    coloured().pending("a: 4cpu x6 prefer=blue").expect("a×6")
    coloured().pending("a: 4cpu x4 prefer=blue", "b: 8cpu has=blue").expect("a×4", "b: Resources")


def test_neighbours_only():
    cluster("5*n").running("r: n2 8cpu 1h").pending("a: 2n 8cpu beside").expect("a→n0,n1")
    cluster("5*n").running("r: n1 8cpu 1h").pending("a: 2n 8cpu beside").expect("a→n2,n3")


def test_neighbours_are_cut_from_the_shortest_run():
    cluster("6*n").running("r: n3 8cpu 1h").pending("a: 2n 8cpu beside", "b: 3n 8cpu beside").expect("a→n4,n5", "b→n0,n1,n2")


def test_neighbours_are_waited_for():
    cluster("4*n").running("r: n1 8cpu 1h", "s: n2 8cpu 2h").pending("a: 2n 8cpu beside").expect("a: Resources", "a@1h→n0,n1")


def test_neighbours_have_enough_for_all_tasks():
    cluster("2*a[cpu:2]", "3*b[cpu:4]").pending("a: 12t beside", "b: 2n 4t beside").expect("a→b0:4,b1:4,b2:4", "b→a0:2,a1:2")


def test_more_neighbours_than_there_are_is_impossible():
    never = cluster("3*n").partition("main: n0,n2").pending("a: 2n beside").never("a")
    assert never == Reason("BadConstraints", "impossible", "contiguous nodes", 2, 1)


def test_what_a_named_node_lacks_the_best_of_the_others_have_to_make_up():
    nodes = cluster("1*n[gpu:2]", "3*m[gpu:4]")
    never = nodes.pending("a: 2n 7gpu/job on=n0").never("a")
    assert never == Reason("BadConstraints", "impossible", "gpu", 7, 6)
    assert nodes.pending("b: 2n 6gpu/job on=n0").never("b") is None
    assert nodes.pending("c: 1n 3gpu/job on=n0").never("c") == Reason("BadConstraints", "impossible", "gpu", 3, 2)


def test_as_many_neighbours_as_can_be_had():
    cluster("6*n").running("r: n2 8cpu 1h").pending("a: 1-4n 8cpu beside").expect("a→n3,n4,n5")
