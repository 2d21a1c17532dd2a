"""scontrol update, hold and suspend: who may, what a partition takes, and what becomes of an array of which some elements run."""

import pytest
from engine_cluster import ALICE, BOB, ROOT, EngineCluster, Refused

from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec import errors as err

VIP = Partition("vip", allow_groups=("stars",))
GOLD = Partition("gold", allow_accounts=("au",))
MAIN = Partition("main", default=True)


@pytest.fixture
def cluster() -> EngineCluster:
    partitions = (MAIN, VIP, GOLD, Partition("shut", state="DRAIN"), Partition("off", state="INACTIVE"), Partition("down", state="DOWN"))
    small = Partition("small", max_mem_per_node_mib=1000, max_mem_per_cpu_mib=400)
    return EngineCluster(ClusterConfig(partitions=(*partitions, small), over_time_limit_s=60), n0=2)


def rows(cluster, array):
    return cluster.reactor.indexes.rows_of(array)


def update(cluster, job, *keys, caller=ALICE):
    return cluster.ask("update_job", caller, jobs=[str(job)], keys=list(keys))


def refusal(cluster, job, *keys, caller=ALICE):
    with pytest.raises(Refused) as found:
        update(cluster, job, *keys, caller=caller)
    return found.value


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("vip", err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE),
        ("gold", err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE),
        ("main,vip", err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE),
        ("shut", err.ESLURM_PARTITION_NOT_AVAIL),
        ("off", err.ESLURM_PARTITION_NOT_AVAIL),
        ("nope", err.ESLURM_INVALID_PARTITION_NAME),
    ],
)
def test_a_waiting_job_gets_into_no_partition_that_would_not_have_taken_it(cluster, name, code):
    job = cluster.submit(hold=True)
    assert refusal(cluster, job, f"Partition={name}").code == code
    assert cluster.job(job).spec.partitions == ("main",)


def test_into_what_would_have_taken_it_a_job_may_go(cluster):
    job = cluster.submit(hold=True, account="au")
    update(cluster, job, "Partition=gold,down")
    assert cluster.job(job).spec.partitions == ("gold", "down")
    update(cluster, job, "Partition=vip", caller=ROOT)
    update(cluster, job, "TimeLimit=5", "NumTasks=2")
    assert cluster.job(job).spec.partitions == ("vip",)


def test_a_job_cannot_change_to_an_account_that_its_partition_excludes(cluster):
    job = cluster.submit(hold=True, account="au", partition="gold")
    assert refusal(cluster, job, "Account=fe").code == err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE
    update(cluster, job, "Account=fe", "Partition=main")


def test_memory_stays_within_what_the_partition_allows(cluster):
    job = cluster.submit(hold=True, partition="small", mem_per_node_mib=100)
    assert refusal(cluster, job, "MinMemoryNode=1001").code == err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE
    update(cluster, job, "MinMemoryCPU=800")
    request = cluster.job(job).spec.request
    assert (request.memory_per_cpu_mib, request.cpus_per_task) == (400, 2), "a CPU more instead, as at submit"
    large = cluster.submit(hold=True, mem_per_node_mib=1500)
    assert refusal(cluster, large, "Partition=small").code == err.ESLURM_REQUESTED_PART_CONFIG_UNAVAILABLE


def test_only_operators_suspend(cluster):
    job = cluster.submit()
    for op in ("suspend", "resume"):
        with pytest.raises(Refused) as found:
            cluster.ask(op, jobs=[str(job)])
        assert found.value.code == err.ESLURM_ACCESS_DENIED
    cluster.plan()
    cluster.ask("suspend", ROOT, jobs=[str(job)])
    assert cluster.word(job) == "SUSPENDED"


def test_the_one_user_of_a_cluster_operates_it():
    cluster = EngineCluster(ClusterConfig(single_user=ALICE.uid), n0=2)
    job = cluster.submit()
    cluster.plan()
    cluster.ask("suspend", jobs=[str(job)])
    cluster.ask("resume", jobs=[str(job)])
    assert cluster.word(job) == "RUNNING"


@pytest.mark.parametrize("suspended", [False, True])
def test_a_started_job_gets_no_more_time_from_its_owner(cluster, suspended):
    job = cluster.submit(time_limit_s=3000)
    cluster.plan()
    if suspended:
        cluster.ask("suspend", ROOT, jobs=[str(job)])
    for value in ("TimeLimit=5000", "TimeLimit=UNLIMITED", "TimeLimit+=1", "TimeLimit=+1"):
        assert refusal(cluster, job, value).code == err.ESLURM_ACCESS_DENIED
    update(cluster, job, "TimeLimit=-10")
    assert cluster.job(job).spec.time_limit_s == 2400
    update(cluster, job, "TimeLimit=+10", caller=ROOT)
    assert cluster.job(job).spec.time_limit_s == 3000


def test_the_grace_beyond_the_limit_outlives_an_update_and_a_suspension(cluster):
    job = cluster.submit(time_limit_s=600)
    cluster.plan()
    begin_ms = cluster.job(job).start_ms
    assert cluster.job(job).end_limit_ms == begin_ms + 660_000
    update(cluster, job, "TimeLimit=5")
    assert cluster.job(job).end_limit_ms == begin_ms + 360_000
    cluster.ask("suspend", ROOT, jobs=[str(job)])
    cluster.now_ms += 7_000
    cluster.ask("resume", ROOT, jobs=[str(job)])
    assert cluster.job(job).end_limit_ms == begin_ms + 367_000


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["TimeLimit=foo"], "Invalid TimeLimit value\ninvalid TimeLimit 'foo'"),
        (["TimeLimit=-500"], "TimeLimit decrement larger than current time limit (500 > 10)"),
        (["Contiguous=maybe"], "Invalid Contiguous value: maybe"),
        (["Priority=abc"], "Invalid Priority value: abc"),
        (["Requeue=2"], "Invalid Requeue value: 2"),
    ],
)
def test_a_value_that_is_none_is_told_as_scontrol_does(cluster, keys, words):
    job = cluster.submit(hold=True, time_limit_s=600)
    found = refusal(cluster, job, *keys, caller=ROOT)
    assert found.code == err.SLURM_ERROR
    assert words in found.detail


def test_an_unlimited_time_has_nothing_to_add_to(cluster):
    job = cluster.submit(hold=True)
    assert refusal(cluster, job, "TimeLimit+=5").code == err.SLURM_ERROR


def test_a_wrong_dependency_says_which_words_there_are(cluster):
    found = refusal(cluster, cluster.submit(hold=True), "Dependency=foo")
    assert found.code == err.ESLURM_DEPENDENCY
    assert "afterok" in found.detail


def test_no_priority_frees_a_held_job(cluster):
    job = cluster.submit(hold=True)
    for caller in (ALICE, ROOT):
        assert refusal(cluster, job, "Priority=100", caller=caller).code == err.ESLURM_JOB_HELD
    assert cluster.job(job).hold == "JobHeldUser"


def test_whom_root_holds_the_owner_does_not_free(cluster):
    job = cluster.submit()
    update(cluster, job, "Priority=0", caller=ROOT)
    assert cluster.job(job).hold == "JobHeldAdmin"
    assert refusal(cluster, job, "Priority=0").code == err.ESLURM_ACCESS_DENIED
    with pytest.raises(Refused):
        cluster.ask("release_hold", jobs=[str(job)])


def test_a_running_job_that_is_held_waits_after_its_requeue(cluster):
    job = cluster.submit()
    cluster.plan()
    cluster.ask("hold", ROOT, jobs=[str(job)])
    assert cluster.word(job) == "RUNNING"
    cluster.ask("requeue_hold", jobs=[str(job)])
    cluster.end(job)
    assert (cluster.word(job), cluster.job(job).hold) == ("PENDING", "JobHeldAdmin")
    cluster.ask("release_hold", ROOT, jobs=[str(job)])
    assert not cluster.job(job).hold


@pytest.mark.parametrize("text", ["{}", "{}_[0-5]"])
def test_an_array_is_held_and_freed_whether_elements_of_it_run_or_not(cluster, text):
    array = cluster.submit(array="0-5")
    cluster.plan()
    assert cluster.ask("hold", jobs=[text.format(array)]) == ""
    assert {row.hold for row in rows(cluster, array)} == {"JobHeldUser"}
    assert cluster.ask("release_hold", jobs=[text.format(array)]) == ""
    assert {row.hold for row in rows(cluster, array)} == {""}


def test_what_was_refused_of_an_array_stops_nothing_else_and_each_outcome_has_its_line(cluster):
    array = cluster.submit(array="0-6", time_limit_s=600)
    cluster.plan()
    told = cluster.ask("update_job", jobs=[f"{array}_[0-4,8-9]"], keys=["Partition=down"])
    assert told.splitlines() == [
        f"{array}_0-1: Job is no longer pending execution",
        f"{array}_2-4: No error",
        f"{array}_8-9: Invalid job id specified",
    ]
    assert cluster.element(array, 0).spec.partitions == ("main",)
    assert sorted(row.spec.partitions for row in rows(cluster, array) if row.pending_tasks) == [("down",), ("main",)]


def test_elements_that_an_array_does_not_have_are_told_by_their_numbers(cluster):
    array = cluster.submit(array="0-3")
    assert cluster.ask("hold", jobs=[f"{array}_9"]) == f"{array}_9: Invalid job id specified"
    for text in (f"{array + 50}_9", f"{array + 50}", f"{cluster.submit()}_1"):
        with pytest.raises(Refused) as found:
            cluster.ask("hold", jobs=[text])
        assert found.value.code == err.ESLURM_INVALID_JOB_ID


def test_an_array_that_is_refused_as_a_whole_is_not_split(cluster):
    array = cluster.submit(array="0-6")
    assert cluster.ask("update_job", jobs=[f"{array}_[3-4]"], keys=["Partition=nope"]) == f"{array}_3-4: Invalid partition name specified"
    assert len(rows(cluster, array)) == 1


def test_elements_that_were_cancelled_apart_before_they_started_are_no_longer_spoken_of(cluster):
    array = cluster.submit(array="0-6", hold=True)
    cluster.ask("cancel", jobs=[f"{array}_[4-5]"])
    assert cluster.ask("hold", jobs=[str(array)]) == ""
    told = cluster.ask("hold", jobs=[f"{array}_[3-5]"])
    assert told.splitlines() == [f"{array}_3: No error", f"{array}_4-5: Invalid job id specified"]


def test_an_array_that_was_cancelled_whole_has_finished(cluster):
    array = cluster.submit(array="0-6")
    cluster.plan()
    cluster.ask("cancel", jobs=[str(array)])
    for task in (0, 1):
        cluster.end(cluster.element(array, task).id)
    assert cluster.ask("hold", jobs=[str(array)]) == f"{array}_0-6: Job has already finished"


def test_a_stranger_is_told_once(cluster):
    array = cluster.submit(array="0-6")
    cluster.plan()
    with pytest.raises(Refused) as found:
        cluster.ask("hold", BOB, jobs=[str(array)])
    assert found.value.code == err.ESLURM_ACCESS_DENIED


def test_a_time_limit_below_the_least_is_refused(cluster):
    job = cluster.submit(hold=True, time_limit_s=6000, time_min_s=1200)
    assert refusal(cluster, job, "TimeLimit=10").code == err.ESLURM_INVALID_TIME_MIN_LIMIT
    update(cluster, job, "TimeLimit=30")


def test_a_weight_is_bounded_as_in_the_file(cluster):
    cluster.ask("update_node", ROOT, nodes=["n0"], keys=["Weight=4294967295"])
    with pytest.raises(Refused):
        cluster.ask("update_node", ROOT, nodes=["n0"], keys=["Weight=4294967296"])
