"""--cpus-per-gpu and --mem-per-gpu with --gpus, --mincpus: what each node gives follows its devices."""

from dsl import cluster

from penstock.core.plan import Plan, Reason


def held(plan: Plan) -> list[list[tuple[int, int]]]:
    """(CPUs, MiB) on each node of each start."""
    return [[(share.cpus, share.memory_mib) for share in start.shares] for start in plan.starts]


def test_cpus_follow_the_gpus_of_a_node():
    plan = cluster("2*n[cpu:8,gpu:2]").pending("a: 2n 4t 3gpu/job 2cpu/gpu").expect("a→n0:3,n1:1")
    assert held(plan) == [[(4, 0), (2, 0)]]


def test_tasks_may_need_more_cpus_than_the_gpus_bring():
    plan = cluster("1*n[cpu:8,gpu:2]").pending("a: 6t 2gpu/job 2cpu/gpu").expect("a→n0:6")
    assert held(plan) == [[(6, 0)]]


def test_memory_follows_the_gpus_of_a_node():
    plan = cluster("2*n[cpu:8,gpu:2]").pending("a: 2n 2t 3gpu/job 2G/gpu").expect("a→n0:1,n1:1")
    assert held(plan) == [[(1, 4096), (1, 2048)]]


def test_memory_per_cpu_counts_the_cpus_that_the_gpus_bring():
    plan = cluster("1*n[cpu:8,gpu:2]").pending("a: 1t 2gpu/job 3cpu/gpu 1G/cpu").expect("a→n0")
    assert held(plan) == [[(6, 6144)]]


def test_gpus_without_cpus_are_no_use():
    short = cluster("2*n[cpu:4,gpu:4]").running("r: n0 3cpu 1h")
    short.pending("a: 2t 4gpu/job 1cpu/gpu", "b: 4t 8gpu/job 1cpu/gpu").expect("a→n1", "b: Resources", "b@1h")
    never = cluster("2*n[cpu:2,gpu:4]").pending("a: 2n 2t 6gpu/job 1cpu/gpu").never("a")
    assert never == Reason("BadConstraints", "impossible", "gpu", 6, 4)


def test_gpus_spread_where_the_cpus_of_one_node_do_not_do():
    plan = cluster("2*n[cpu:4,gpu:4]").pending("a: 2t 4gpu/job 2cpu/gpu").expect("a→n0:1,n1:1")
    assert held(plan) == [[(4, 0), (4, 0)]]


def test_no_fewer_cpus_on_a_node_than_asked():
    plan = cluster("2*n[cpu:8]").pending("a: 2t 4cpu/node", "b: 2n 8cpu/node").expect("a→n0", "b: Resources", "b@1h")
    assert held(plan) == [[(4, 0)]]
    assert cluster("1*n[cpu:8]").pending("a: 9cpu/node").never("a") == Reason("BadConstraints", "impossible", "cpus", 9, 8)


def test_many_alike_are_counted_with_what_their_gpus_bring():
    cluster("2*n[cpu:8,gpu:4]").pending("a: 1t 1gpu/job 4cpu/gpu x10").expect("a×4", "a: Resources", "a@1h")
