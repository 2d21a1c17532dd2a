"""Job logs of all formats become one kind of job, in order of submission, one by one; what is wrong is named."""

from __future__ import annotations

import gzip
from itertools import count, islice

import pytest

from penstock.sim.workload.job import TraceError, TraceJob
from penstock.sim.workload.limits import ROUND_S, limits_by
from penstock.sim.workload.reader import REORDERED_FEW, in_order, open_trace

SWF = "; MaxProcs: 100\n 7 100 5 60 4 -1 -1 8 3600 -1 1 3 3 -1 -1 -1 -1 -1\n 8 101 0 -1 1 -1 -1 1 60 -1 5 3 3 -1 -1 -1 -1 -1\n"
HELIOS = "job_id,arrival_s,service_sec,gpu_count\n9#0,5.0,172800.0,32\n9#1,6.5,10.4,1\n"
VENUS = "# a comment\njob_id,user,tenant,submit_time,num_chips,num_nodes,duration_s,final_status\nj1,ann,vc,2500000,8,1,3.6,Pass\n"
PHILLY = "timestamp,duration,num_gpus,gpu_time,cluster\n1970-01-02 00:00:01,66.0,2,66.0,vcB\n1970-01-01 00:00:10,5.0,1,5.0,vcA\n"

SACCT = """User|JobID|Submit|ElapsedRaw|TimelimitRaw|AllocCPUS|AllocTRES
ann|8|2026-11-22T10:00:05|3600|60|16|billing=16,cpu=16,gres/gpu=4,gres/gpu:a100=4,mem=64G,node=2
ann|8.0|2026-11-22T10:00:05|3600||16|cpu=16
bob|7|2026-11-22T10:00:01|30|UNLIMITED|1|cpu=1,mem=1G,node=1
bob|9|2026-11-22T10:00:09|0|5|0|
eve|10|Unknown|0|5|1|
"""


def read(tmp_path, name: str, text: str, **what) -> list[TraceJob]:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    with open_trace(str(path), **what) as jobs:
        return list(jobs)


@pytest.mark.parametrize("name", ["log.swf", "log.swf.gz"])
def test_swf_gives_requested_processors_limit_and_user_and_leaves_out_what_never_ran(tmp_path, name):
    assert read(tmp_path, name, SWF) == [TraceJob("7", 100, 60, 3600, 8, 0, "3")]


def test_tables_are_known_by_their_first_line(tmp_path):
    assert read(tmp_path, "a.csv", HELIOS) == [TraceJob("9#0", 5, 172_800, 0, 0, 32), TraceJob("9#1", 6, 10, 0, 0, 1)]
    assert read(tmp_path, "b.csv", VENUS) == [TraceJob("j1", 2, 4, 0, 0, 8, "ann")]


def test_a_table_out_of_order_is_read_in_order_of_submission(tmp_path):
    assert [job.submit_s for job in read(tmp_path, "p.csv", PHILLY)] == [10, 86_401]


def test_our_own_accounting_is_a_log(tmp_path):
    first_s = 1_795_341_601
    assert read(tmp_path, "jobs.txt", SACCT) == [
        TraceJob("7", first_s, 30, 0, 1, 0, "bob"),
        TraceJob("8", first_s + 4, 3_600, 3_600, 16, 4, "ann"),
    ]


def test_jobs_of_one_second_keep_the_order_of_the_log():
    jobs = [TraceJob(name, 5, 1, 0, 1, 0) for name in "cab"]
    assert [job.name for job in in_order(jobs, "log", 2)] == ["c", "a", "b"]


def test_a_log_without_end_is_read_as_far_as_it_is_needed():
    endless = (TraceJob(str(at), at, 1, 0, 1, 0) for at in count())
    assert [job.submit_s for job in islice(in_order(endless, "log", REORDERED_FEW), 3)] == [0, 1, 2]


def test_a_job_too_far_out_of_order_is_an_error():
    jobs = [TraceJob(str(at), at, 1, 0, 1, 0) for at in (10, 11, 12, 1)]
    with pytest.raises(TraceError, match="out of order"):
        list(in_order(jobs, "log", 1))


def test_a_window_and_a_number_cut_the_log(tmp_path):
    lines = "".join(f"{at} {at} 0 1 1 -1 -1 1 60 -1 1 3 3 -1 -1 -1 -1 -1\n" for at in range(20))
    assert [job.submit_s for job in read(tmp_path, "w.swf", lines, from_s=5, until_s=9, most=3)] == [5, 6, 7]


def test_the_length_of_a_log_is_known_once_it_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(HELIOS)
    with open_trace(str(path)) as jobs:
        next(jobs)
        assert jobs.total() >= 1
        list(jobs)
        assert jobs.total() == 2


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("log.swf", "1 2 3\n", r"log\.swf:1: 3 fields, SWF has 18"),
        ("log.swf", SWF.replace("100 5", "soon 5"), r"log\.swf:2: .*soon"),
        ("x.csv", "a,b\n1,2\n", "format is not known"),
        ("x.csv", HELIOS.replace("32", "many"), "row 2: .*many"),
        ("x.csv", HELIOS.replace(",gpu_count", ",gpus"), "no column gpu_count"),
        ("x.swf.gz", "", "x.swf.gz"),
        ("j.txt", "JobID|User\n1|ann\n", "no column Submit, ElapsedRaw"),
        ("j.txt", SACCT.replace("10:00:01", "soon"), r"j.txt:4: "),
    ],
)
def test_what_is_wrong_with_a_log_is_named(tmp_path, name, text, named):
    path = tmp_path / name
    path.write_text(text or "not compressed")
    with pytest.raises(TraceError, match=named), open_trace(str(path)) as jobs:
        list(jobs)


def test_a_missing_log_and_an_unknown_format_are_refused(tmp_path):
    with pytest.raises(TraceError, match="No such file"), open_trace(str(tmp_path / "none.swf")):
        pass
    (tmp_path / "a.swf").write_text(SWF)
    with pytest.raises(TraceError, match="swf, helios, venus, philly, sacct"), open_trace(str(tmp_path / "a.swf"), "pbs"):
        pass


JOB = TraceJob("j", 0, 1_000, 3_600, 1, 0)


def test_limits_come_from_the_log_or_from_one_of_three_models():
    assert limits_by("log", 0, 1)(JOB) == 3_600
    assert limits_by("log", 1_800, 1)(JOB) == 1_800
    assert limits_by("log", 7_200, 1)(JOB._replace(limit_s=0)) == 7_200
    assert limits_by("partition", 7_200, 1)(JOB) == 7_200
    assert limits_by("oracle", 7_200, 1)(JOB) == 1_000
    with pytest.raises(TraceError, match="modal"):
        limits_by("guess", 0, 1)


def test_modal_limits_are_round_never_below_the_run_time_and_fixed_by_the_seed():
    limit, again, other = (limits_by("modal", 86_400, seed) for seed in (1, 1, 2))
    jobs = [JOB._replace(run_s=at * 37) for at in range(1_000)]
    drawn = [limit(job) for job in jobs]
    assert drawn == [again(job) for job in jobs] != [other(job) for job in jobs]
    assert all(job.run_s <= limit_s for job, limit_s in zip(jobs, drawn, strict=True))
    assert set(drawn) <= {*ROUND_S, 86_400}
    assert 200 < drawn.count(86_400) < 500
