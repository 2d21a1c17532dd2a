"""From options to the submit request: every key, its unit, its bounds, Slurm's words for what is refused."""

import os
import time

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.engine.request import BOUNDS, SubmitRequest, refusal
from penstock.spec.errors import SlurmError
from penstock.spec.options import InvalidOption, entries, merge, parse
from penstock.spec.options_submit import OPTIONS
from penstock.spec.request import build
from penstock.spec.request_values import COUNT_MAX, ITEMS_MAX, MAIL_TYPES, NICE_MAX, STRING_MAX_BYTES
from penstock.spec.submitter import RLIMIT_NAMES, describe_submitter

NOW = 1_800_000_000


def options_of(*arguments, program="sbatch"):
    known = entries(OPTIONS, program)
    return merge(known, program, {}, parse(arguments, known, program)[0])


def requested(*arguments, program="sbatch"):
    """The request, checked against the engine's twin: it decodes, and it keeps every bound."""
    request = build(options_of(*arguments, program=program), program, NOW)
    decoded = msgspec.convert(request, SubmitRequest)
    assert refusal(decoded) == ""
    return request


def refused(*arguments, program="sbatch"):
    with pytest.raises(InvalidOption) as caught:
        requested(*arguments, program=program)
    return [line.removeprefix(f"{program}: error: ") for line in caught.value.lines], caught.value.status


def test_nothing_given_is_nothing_sent():
    assert requested() == {}


def test_words_are_kept_as_typed():
    words = {"partition": "a,b", "account": "lab", "qos": "q1,q2", "wckey": "w", "reservation": "r", "comment": "", "constraint": "a&b"}
    assert requested(*(f"--{name}={value}" for name, value in words.items())) == words


def test_a_malformed_value_is_an_error_although_a_later_one_wins():
    assert refused("--mem=abc", "--mem=1G")[0][-1] == "Invalid --mem specification"
    assert requested("--gpus-per-task=1", "-n2", "--gpus-per-task=3", "-n1") == {"ntasks": 1, "gpus_per_task": ["gpu:3"]}


def test_job_name():
    assert requested("-J", "a b") == {"name": "a b"}


def test_sizes():
    request = requested("-n", "8", "-c", "+2", "--ntasks-per-node= 4")
    assert request == {"ntasks": 8, "cpus_per_task": 2, "ntasks_per_node": 4}
    assert requested("--tasks-per-node=3") == {"ntasks_per_node": 3}


@pytest.mark.parametrize("value", ["abc", "0", "-5", "", "1.5", "1e3", "٣", str(COUNT_MAX + 1), "9" * 5000])
def test_absurd_counts_are_refused(value):
    lines, status = refused(f"--ntasks={value}")
    assert lines == [f'Invalid numeric value "{value[:64]}" for --ntasks.']
    assert status == 1


def test_node_counts():
    assert requested("-N2") == {"nodes_min": 2, "nodes_max": 2}
    assert requested("-N2-4") == {"nodes_min": 2, "nodes_max": 4}
    assert requested("-N1k")["nodes_max"] == 1024
    assert refused("-N3-1") == (["Maximum node count 1 is less than minimum node count 3"], 255)
    assert refused("-Nabc") == (['"abc" is not a valid node count'], 255)


def test_memory():
    assert requested("--mem=32GB") == {"mem_per_node_mib": 32768}
    assert requested("--mem=0") == {"mem_per_node_mib": 0}
    assert requested("--mem-per-cpu=1500") == {"mem_per_cpu_mib": 1500}
    assert requested("--mem=1K") == {"mem_per_node_mib": 1}
    for value in ("abc", "-1", "99999999999999T"):
        lines, status = refused(f"--mem={value}")
        assert (lines[-1], status) == ("Invalid --mem specification", 255)


def test_gpu_requests():
    assert requested("--gres=gpu:a100:2,shard:3") == {"gres": ["gpu:a100:2", "shard:3"]}
    assert requested("--gres=none") == {"gres": []}
    assert requested("-G", "a100:4") == {"gpus": ["gpu:a100:4"]}
    assert requested("--gpus-per-node=2") == {"gpus_per_node": ["gpu:2"]}
    assert requested("-n2", "--gpus-per-task=1")["gpus_per_task"] == ["gpu:1"]
    for option in ("--gres=:", "--gres=gpu:-1", "--gpus=a:b:c:d"):
        lines, status = refused(option)
        assert (lines[-1], status) == ("Invalid generic resource (gres) specification", 1)
    assert "without either --gpus or -n/--ntasks" in refused("--gpus-per-task=1")[0][0]


def test_tasks_follow_the_gpus_or_the_gpus_the_tasks():
    assert requested("--ntasks-per-gpu=2", "-G3") == {"ntasks_per_gpu": 2, "gpus": ["gpu:3"], "ntasks": 6}
    assert requested("--ntasks-per-gpu=2", "--gres=gpu:a100:2", "-N2")["ntasks"] == 8
    assert "ntasks" not in requested("--ntasks-per-gpu=2", "--gpus-per-node=1", "-N1-2")
    assert requested("--ntasks-per-gpu=2", "-n4") == {"ntasks_per_gpu": 2, "ntasks": 4}
    assert "has to be a multiple" in refused("--ntasks-per-gpu=2", "-n3")[0][0]
    assert "needs either" in refused("--ntasks-per-gpu=2")[0][0]
    assert requested("--ntasks-per-gpu=2", "-N2")["ntasks"] == 4
    for other in ("--ntasks-per-node=2", "--gpus-per-task=1"):
        lines, status = refused("--ntasks-per-gpu=2", "-G1", other)
        assert (status, f"{other.partition('=')[0]} is mutually exclusive" in lines[0]) == (1, True)


def test_exclusive():
    assert requested("--exclusive", "-s") == {"exclusive": True, "oversubscribe": True}
    assert refused("--exclusive=foo") == (["Invalid --exclusive specification"], 255)
    assert "--exclusive=user is not supported" in refused("--exclusive=user")[0][0]


def test_node_lists(tmp_path):
    assert requested("-w", "n[1-3]", "-x", "n2") == {"nodelist": "n[1-3]", "exclude": "n2"}
    file = tmp_path / "nodes"
    file.write_text("n1\nn2, n3\n")
    assert requested("-F", str(file)) == {"nodelist": "n1,n2,n3"}
    assert requested("-w", str(file)) == {"nodelist": "n1,n2,n3"}
    for value in ("n[1-3", "n[0-99999999]"):
        assert refused("-w", value)[0][-1] == "Batch job submission failed: Invalid node name specified"
    assert f"Unable to read the node file {file}.gone" in refused("-F", f"{file}.gone")[0][0]


def test_time_limits():
    assert requested("-t", "30:00") == {"time_limit_s": 1800}
    assert requested("-t", "0:01") == {"time_limit_s": 60}
    assert requested("-t", "1-2", "--time-min=10") == {"time_limit_s": 93600, "time_min_s": 600}
    assert requested("-t", "0") == requested("-t", "UNLIMITED") == {"time_limit_s": 0}
    assert refused("-t", "abc")[0][-1] == "Invalid --time specification"
    assert refused("-t", "1:2:3:4") == (refused("-t", "1:2:3:4")[0], 255)
    assert refused("--time-min=x")[0][-1] == "Invalid --time-min specification"


def test_the_lowest_time_limit_is_not_above_the_limit():
    text = "Batch job submission failed: Invalid time-min specification (exceeds job's time or other limits)"
    assert refused("--time-min=10", "-t5") == ([text], 1)
    assert refused("--time-min=0", "-t5") == ([text], 1)
    assert requested("--time-min=10", "-t0") == {"time_limit_s": 0, "time_min_s": 600}


def test_begin_becomes_epoch_seconds():
    assert requested("--begin=now+1hour") == {"begin_s": NOW + 3600}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(NOW + 86400))
    assert requested("-b", stamp) == {"begin_s": NOW + 86400}
    lines, status = refused("--begin=foo")
    assert (lines[-1], status) == ("Invalid --begin specification", 255)


def test_hold_nice_requeue():
    assert requested("-H", "--nice", "--no-requeue") == {"hold": True, "nice": 100, "requeue": False}
    assert requested("--nice=-5", "--requeue") == {"nice": -5, "requeue": True}
    assert refused("--nice=99999999999") == ([f"Invalid --nice value, out of range (+/- {NICE_MAX})"], 255)
    assert refused("--nice=abc") == (['Invalid numeric value "abc" for --nice.'], 1)
    assert "--requeue=expedite is not supported" in refused("--requeue=expedite")[0][0]


def test_signal():
    assert requested("--signal=USR1@90") == {"signal_number": 10, "signal_lead_s": 90}
    assert requested("--signal=B:SIGTERM") == {"signal_number": 15, "signal_lead_s": 60, "signal_batch": True}
    assert requested("--signal=RB:12@5")["signal_reservation"] is True
    for value in ("abc", "USR1@99999", "X:USR1", "USR1@", "0"):
        lines, status = refused(f"--signal={value}")
        assert (lines[-1], status) == ("Invalid --signal specification", 255)


def test_dependency_is_checked_and_kept():
    text = "afterok:12:13,afterany:14_2"
    assert requested("-d", text, "--kill-on-invalid-dep=yes") == {"dependency": text, "kill_on_invalid_dep": True}
    assert requested("-d", "singleton") == {"dependency": "singleton"}
    lines, status = refused("-d", "foo:1")
    assert (lines[-1], status) == ("Batch job submission failed: Job dependency problem", 1)
    assert refused("--kill-on-invalid-dep=maybe")[0][-1] == "Invalid --kill-on-invalid-dep specification"


def test_array_is_checked_and_kept():
    assert requested("-a", "0-9:2%4") == {"array": "0-9:2%4"}
    for value in ("abc", "1-", "", "5-1", "0-99999999999"):
        lines, status = refused(f"--array={value}")
        assert (lines[-1], status) == ("Batch job submission failed: Invalid job array specification", 1)


def test_immediate():
    assert requested("-I", program="salloc") == {"immediate_s": 1}
    assert requested("-I60", program="srun") == {"immediate_s": 60}
    assert refused("-Ix", program="salloc") == (['Invalid numeric value "x" for --immediate.'], 1)


def test_files_and_work_dir(tmp_path, monkeypatch):
    assert requested("-o", "%x-%j.out", "-e", "e", "-i", "none") == {"std_out": "%x-%j.out", "std_err": "e", "std_in": "/dev/null"}
    assert requested("--open-mode=a") == {"open_mode": "append"}
    assert refused("--open-mode=x")[0][-1] == "Invalid --open-mode specification"
    assert refused("-o", "a\nb")[0][-1] == "Invalid --output specification"
    monkeypatch.chdir(tmp_path)
    assert describe_submitter(options_of(), "sbatch", [])["work_dir"] == str(tmp_path)
    assert describe_submitter(options_of("-D", "sub/../x"), "sbatch", [])["work_dir"] == f"{tmp_path}/x"
    assert describe_submitter(options_of("-D", "/there"), "sbatch", [])["work_dir"] == "/there"


def test_mail():
    assert requested("--mail-type=end,TIME_LIMIT_80", "--mail-user=a@b") == {"mail_type": ["END", "TIME_LIMIT_80"], "mail_user": "a@b"}
    assert requested("--mail-type=BEGIN,ALL,ARRAY_TASKS")["mail_type"] == [*MAIL_TYPES, "ARRAY_TASKS"]
    assert requested("--mail-type=NONE") == {"mail_type": []}
    lines, status = refused("--mail-type=foo")
    assert (lines[-1], status) == ("Invalid --mail-type specification", 255)
    assert "ARRAY_TASKS" in lines[0]


def test_user_environment():
    assert requested("--get-user-env") == requested("--get-user-env=10L") == {"get_user_env": True}
    assert refused("--get-user-env=foo") == (["Invalid --get-user-env specification"], 255)


def test_limits_to_propagate():
    every = describe_submitter(options_of(), "sbatch", [])["rlimits"]
    assert [limit.partition("=")[0] for limit in every] == sorted(RLIMIT_NAMES, key=RLIMIT_NAMES.index)
    one = describe_submitter(options_of("--propagate=NOFILE"), "sbatch", [])["rlimits"]
    assert one == [limit for limit in every if limit.startswith("NOFILE=")]
    assert int(one[0].partition("=")[2]) == os.sysconf("SC_OPEN_MAX")
    assert describe_submitter(options_of("--propagate=NONE"), "sbatch", [])["rlimits"] == []
    assert describe_submitter(options_of("--propagate"), "sbatch", [])["rlimits"] == every
    with pytest.raises(InvalidOption, match="Bad rlimit name: foo"):
        describe_submitter(options_of("--propagate=foo"), "sbatch", [])


def test_the_submitter_is_described(monkeypatch):
    monkeypatch.setenv("SLURM_UMASK", "0027")
    found = describe_submitter(options_of(), "sbatch", ["-n", "1", "job.sh", "\udcff"])
    assert found["submit_line"] == "sbatch -n 1 job.sh ?"
    assert found["umask"] == 0o027
    assert found["alloc_sid"] == os.getsid(0)
    assert refusal(msgspec.convert(found, SubmitRequest)) == ""


def test_contract_and_twin_have_the_same_keys():
    from penstock.spec import request

    table = request.__doc__.partition("------------------")[2].partition("These keys")[0]
    rows = [line for line in table.splitlines() if line[:1].isalpha()]
    typed = [line[:20] if line[20:24].strip() in ("text", "int", "bool", "list") else line for line in rows]
    documented = {key for line in typed for key in line.split()}
    assert {"account", "std_err", "nodelist", "rlimits"} <= documented
    assert documented == set(SubmitRequest.__struct_fields__)


@pytest.mark.parametrize("key", sorted(BOUNDS))
def test_the_engine_checks_every_bound_again(key):
    low, high = BOUNDS[key]
    assert refusal(SubmitRequest(**{key: low})) == ""
    assert refusal(SubmitRequest(**{key: low - 1})).startswith(f"{key}={low - 1} is out of range")
    assert refusal(SubmitRequest(**{key: high + 1})).startswith(f"{key}={high + 1} is out of range")


def test_the_engine_refuses_texts_and_lists_beyond_their_bounds():
    with pytest.raises(SlurmError) as refused:
        refusal(SubmitRequest(submit_line="a" * (STRING_MAX_BYTES + 1)))
    assert refused.value.detail == "submit_line has 1048577 characters, 1048576 are allowed"
    assert "NUL" in refusal(SubmitRequest(name="a\0b"))
    assert f"{ITEMS_MAX} are allowed" in refusal(SubmitRequest(argv=("",) * (ITEMS_MAX + 1)))
    assert "nodes_max=1 is less" in refusal(SubmitRequest(nodes_min=2, nodes_max=1))
    assert "open_mode" in refusal(SubmitRequest(open_mode="x"))
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"nodes": 1}, SubmitRequest)


LONGS = [entry[0] for entry in entries(OPTIONS, "sbatch") if entry[2] and entry[6] in ("supported", "recorded") and entry[0] != "nodefile"]


@settings(deadline=None)
@example([("mem-per-gpu", "0")])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(LONGS), st.one_of(st.text(max_size=20), st.sampled_from(["0", "-1", "1-2", "9" * 30, "1:2", "gpu:1", "a@b"]))
        )
    )
)
def test_any_values_give_a_request_or_a_defined_error(pairs):
    try:
        request = build(options_of(*(f"--{name}={value}" for name, value in pairs)), "sbatch", NOW)
    except InvalidOption as error:
        assert error.lines
        assert error.status in (1, 255)
    else:
        assert "out of range" not in refusal(msgspec.convert(request, SubmitRequest))
