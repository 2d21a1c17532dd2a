"""What the filters and switches of the view commands change, on the cluster of the golden files: which jobs, nodes or fields are left."""

from __future__ import annotations

import pytest

from penstock import SLURM_VERSION
from penstock.cli import sacct, scontrol, sdiag, sinfo, squeue, sstat

MAIN = {
    "squeue": squeue.main,
    "sinfo": sinfo.main,
    "sacct": sacct.main,
    "scontrol": scontrol.main,
    "sstat": sstat.main,
    "sdiag": sdiag.main,
}
EVERY_JOB = "5_[4-19:3%2] 7 8 4 2 9 3"


def run(line: str, capfd) -> str:
    """Runs a command that succeeds and says nothing on stderr; its output."""
    program, *arguments = line.split()
    status = MAIN[program](arguments)
    out, err = capfd.readouterr()
    assert (status, err) == (0, "")
    return out


@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        ("squeue", EVERY_JOB),
        ("squeue --all", EVERY_JOB),
        ("squeue --jobs=2,7", "7 2"),
        ("squeue --job=2", "2"),
        ("squeue -j 3", "3"),
        ("squeue --user=1001", "4"),
        ("squeue --users=1001", "4"),
        ("squeue --name=sweep,held", "5_[4-19:3%2] 4"),
        ("squeue --partition=big", "3"),
        ("squeue --nodelist=n3", "9"),
        ("squeue --nodes=n1", "2"),
        ("squeue --accounts=nobody", ""),
        ("squeue --qos=none-such", ""),
        ("squeue --reservation=none-such", ""),
        ("squeue --me", ""),
        ("squeue --notme", EVERY_JOB),
        ("squeue --states=R", "2"),
    ],
)
def test_squeue_filters(line, jobs, cluster, capfd):
    assert run(f"{line} -h -o %i", capfd).split() == jobs.split()


@pytest.mark.parametrize(
    ("line", "nodes"),
    [
        ("sinfo", "n1 n2 n3 n4 n5"),
        ("sinfo --all", "n1 n2 n3 n4 n5"),
        ("sinfo --noconvert", "n1 n2 n3 n4 n5"),
        ("sinfo --dead", "n5"),
        ("sinfo --responding", "n1 n2 n3 n4"),
        ("sinfo --sort=-N", "n5 n4 n3 n2 n1"),
    ],
)
def test_sinfo_filters(line, nodes, cluster, capfd):
    assert run(f"{line} -N -h -p main -o %N", capfd).split() == nodes.split()


@pytest.mark.parametrize(
    ("line", "jobs"),
    [
        ("sacct --allusers", "1 2 3 4 5_[4-19:3%2] 5_1 7 8 9 10 11 12"),
        ("sacct --user=1001", "4"),
        ("sacct --uid=1001", "4"),
        ("sacct --gid=1000 --user=1001", "4"),
        ("sacct --group=4242", ""),
        ("sacct --name=done,oom", "1 11"),
        ("sacct --partition=big", "3"),
        ("sacct --nodelist=n3", "5_1 9"),
        ("sacct --accounts=nobody", ""),
        ("sacct --qos=none-such", ""),
        ("sacct --wckeys=none-such", ""),
        ("sacct --duplicates -j 12", "12"),
    ],
)
def test_sacct_filters(line, jobs, cluster, capfd):
    assert run(f"{line} -nXP -o jobid", capfd).split() == jobs.split()


def test_sizes_keep_their_unit_with_noconvert(cluster, capfd):
    assert run("sacct -nXP -j 2 -o reqmem", capfd) == run("sacct --noconvert -nXP -j 2 -o reqmem", capfd) == "4000M\n"
    assert run("sacct -nP -j 1.0 -o maxrss", capfd) == "1G\n"
    assert run("sacct --noconvert -nP -j 1.0 -o maxrss", capfd) == "1048576K\n"
    assert run("sstat --noconvert --noheader --parsable -j 2 -o maxrss", capfd) == "20480K|\n"


def test_the_fields_that_can_be_printed_are_listed(cluster, capfd):
    assert {"JobID", "MaxRSS", "ReqTRES"} <= set(run("sacct --helpformat", capfd).split())
    assert {"JobID", "MaxRSS", "Pids"} <= set(run("sstat --helpformat", capfd).split())


def test_sstat_of_named_steps(cluster, capfd):
    assert run("sstat --steps=2.0 -n -P -o jobid", capfd) == "2.0\n"


@pytest.mark.parametrize("lines", ["squeue --help --usage --version", "sinfo --help --usage --version", "sacct --help --usage --version",
                                   "sstat --help --usage --version", "sdiag --help --usage --version",
                                   "scontrol --help --usage --version"])  # fmt: skip
def test_help_usage_and_version(lines, capfd):
    program, *options = lines.split()
    texts = {option: run(f"{program} {option}", capfd) for option in options}
    assert texts["--version"] == f"slurm {SLURM_VERSION}\n"
    assert texts["--help"].startswith(f"Usage: {program} [OPTIONS...]")
    assert texts["--usage"].startswith(f"Usage: {program} [")


@pytest.mark.parametrize("line", ["squeue --iterate=7 -h -o %P", "sinfo --iterate=7 -h -o %P"])
def test_iterate_prints_again_until_it_is_stopped(line, cluster, monkeypatch, capfd):
    pauses = []

    def stop_after_two(pause):
        pauses.append(pause)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", stop_after_two)
    program, *arguments = line.split()
    assert MAIN[program](arguments) == 130
    assert pauses == [7, 7]
    assert capfd.readouterr().out.count("big") >= 2


def test_scontrol_shows_everything_with_all_and_is_silent_with_quiet(cluster, capfd):
    assert run("scontrol --all show partition", capfd) == run("scontrol show partition", capfd)
    status = scontrol.main(["--quiet", "show", "job", "99"])
    assert (status, capfd.readouterr().err) == (1, "")
