"""sbatch from its command line to the bytes on the socket, and from the reply to what the user sees."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stub_controller import StubController, frame

from penstock import SLURM_VERSION
from penstock.cli import sbatch
from penstock.spec.export import choose, split, unpack
from penstock.wire import lite

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED = [frame("=", "42")]


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("SBATCH_", "SLURM_", "PENSTOCK_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lite, "RETRY_STEPS_S", (0.001,))


@pytest.fixture
def run(monkeypatch, capfd):
    """Runs sbatch against a stub with the given answers: exit status, stdout, stderr, the requests."""

    def go(*arguments, answers=(ACCEPTED,)):
        with StubController(*answers) as controller:
            monkeypatch.setenv("PENSTOCK_DIR", str(controller.folder))
            status = sbatch.main(list(arguments))
            monkeypatch.delenv("PENSTOCK_DIR")
        out, err = capfd.readouterr()
        return status, out, err, controller.requests

    return go


def script(tmp_path, text="#!/bin/sh\ntrue\n", name="job.sh"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_script_is_submitted_with_its_directives(run, tmp_path):
    text = "#!/bin/sh\n#SBATCH -n 4 --mem=2G\n#SBATCH --time=10\necho $1\n#SBATCH --time=99\n"
    path = script(tmp_path, text)
    status, out, err, [request] = run("-n", "2", str(path), "a b", "-x")
    assert (status, out, err) == (0, "Submitted batch job 42\n", "")
    sent = request.fields
    assert (sent["op"], sent["ntasks"], sent["mem_per_node_mib"], sent["time_limit_s"]) == ("submit", 2, 2048, 600)
    assert (sent["name"], sent["command"], sent["argv"]) == ("job.sh", str(path), ["a b", "-x"])
    assert sent["submit_line"] == f"sbatch -n 2 {path} a b -x"
    assert len(sent["id"]) == 32
    assert request.sections[0] == text.encode()
    assert b"HOME" in unpack(request.sections[1])


def test_parsable(run):
    assert run("--parsable", "--wrap=true")[1] == "42\n"
    assert run("--parsable", "--wrap=true", answers=([frame("=", "42\tlab")],))[1] == "42;lab\n"
    assert run("--wrap=true", answers=([frame("=", "42\tlab")],))[1] == "Submitted batch job 42 on cluster lab\n"


def test_quiet_silences_parsable_too(run):
    assert run("-Q", "--parsable", "--wrap=true")[1] == ""


def test_quiet(run):
    assert run("-Q", "--wrap=true")[1:3] == ("", "")


def test_wrap(run):
    _, _, _, [request] = run("--wrap", "echo hi")
    assert request.sections[0] == b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\necho hi\n"
    assert request.fields["name"] == "wrap"
    assert "command" not in request.fields
    status, _, err, _ = run("--wrap=true", "script")
    assert (status, err) == (1, "sbatch: error: Script arguments not permitted with --wrap option\n")


def test_a_script_from_standard_input(run, monkeypatch):
    reader, writer = os.pipe()
    os.write(writer, b"#!/bin/sh\n#SBATCH -J piped\n")
    os.close(writer)
    monkeypatch.setattr(sbatch, "_read", lambda _, original=sbatch._read: original(reader))
    _, _, _, [request] = run()
    assert request.fields["name"] == "piped"
    os.close(reader)


def test_the_script_is_looked_for_here_and_then_in_path(run, tmp_path, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    script(tools, name="in_path.sh")
    monkeypatch.setenv("PATH", f"/nonexistent:{tools}")
    assert run("in_path.sh")[3][0].fields["command"] == str(tools / "in_path.sh")
    script(tmp_path, name="in_path.sh")
    assert run("in_path.sh")[3][0].fields["command"] == str(tmp_path / "in_path.sh")
    assert run("./in_path.sh")[3][0].fields["command"] == str(tmp_path / "in_path.sh")
    assert run("nowhere.sh")[:3] == (1, "", "sbatch: error: Unable to open file nowhere.sh\n")


def test_bad_scripts_and_directives(run, tmp_path):
    assert run(str(script(tmp_path, "")))[2] == "sbatch: error: Batch script is empty!\n"
    status, _, err, _ = run(str(script(tmp_path, "#!/bin/sh\n#SBATCH -H extra words\n")))
    assert (status, err) == (255, "sbatch: error: Invalid directive found in batch script: extra\n")
    status, _, err, _ = run(str(script(tmp_path, "#!/bin/sh\n#SBATCH --foo\n")))
    assert status == 255
    assert err.startswith("sbatch: unrecognized option '--foo'\n")
    status, _, err, _ = run(str(script(tmp_path, '#!/bin/sh\n#SBATCH "x\n')))
    assert status == 1
    assert err.startswith("sbatch: fatal: ")


def test_a_script_of_100_mb_is_refused_without_being_read(run, tmp_path):
    path = tmp_path / "big.sh"
    with path.open("wb") as file:
        file.write(b"#!/bin/sh\n")
        file.truncate(100 << 20)
    status, _, err, requests = run(str(path))
    assert (status, requests) == (1, [])
    assert "larger than 4194304 bytes" in err


def test_what_means_nothing_in_a_script_is_told(run, tmp_path):
    status, _, err, [request] = run(str(script(tmp_path, "#!/bin/sh\n#SBATCH --wrap=foo -J x\n")))
    assert (status, request.fields["name"]) == (0, "x")
    assert err == "sbatch: warning: --wrap means nothing inside a batch script\n"


def test_environment_beats_script(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "env")
    monkeypatch.setenv("SBATCH_NO_REQUEUE", "")
    _, _, _, [request] = run(str(script(tmp_path, "#!/bin/sh\n#SBATCH -p file --requeue\n")))
    assert (request.fields["partition"], request.fields["requeue"]) == ("env", False)


def test_a_refusal_prints_the_detail_and_slurms_text(run, monkeypatch):
    answer = [frame("!", "2000\tInvalid partition name specified\tinvalid partition specified: foo")]
    expected = (
        "sbatch: error: invalid partition specified: foo\nsbatch: error: Batch job submission failed: Invalid partition name specified\n"
    )
    assert run("-p", "foo", "--wrap=true", answers=(answer,))[:3] == (1, "", expected)
    monkeypatch.setenv("SLURM_EXIT_ERROR", "77")
    assert run("-p", "foo", "--wrap=true", answers=(answer,))[0] == 77


def test_a_lost_reply_is_asked_for_again_with_the_same_id(run):
    status, out, _, requests = run("--wrap=true", answers=([], ACCEPTED))
    assert (status, out) == (0, "Submitted batch job 42\n")
    assert requests[0].fields["id"] == requests[1].fields["id"]


def test_a_full_queue_is_tried_again(run, monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    full = [frame("!", "2007\tMaxJobCount limit reached")]
    status, out, err, requests = run("--wrap=true", answers=(full, full, ACCEPTED))
    assert (status, out, err) == (0, "Submitted batch job 42\n", "sbatch: error: Slurm job queue full, sleeping and retrying\n")
    assert pauses == [1, 2]
    assert len(requests) == 3
    pauses.clear()
    assert run("--wrap=true", answers=(full,))[0] == 1
    assert len(pauses) == sbatch.RETRIES_MAX - 1


def test_no_controller(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("PENSTOCK_DIR", str(tmp_path))
    assert sbatch.main(["--wrap=true"]) == 1
    assert "Batch job submission failed: Unable to contact slurm controller (connect failure)\n" in capfd.readouterr().err


def test_test_only(run):
    sentence = "Job 43 to start at 2026-01-01T10:00:00 a using 8 processors on nodes n1 in partition gpu"
    status, out, err, [first, request] = run("--test-only", "--wrap=true", answers=([frame("=")], [frame("=", sentence)]))
    assert first.fields == {"op": "foresee"}
    assert (status, out, err) == (0, "", f"sbatch: {sentence}\n")
    assert request.fields["op"] == "test_only"
    assert "id" not in request.fields
    answer = [frame("!", "2014\tRequested node configuration is not available")]
    status, _, err, _ = run("--test-only", "-N9", "--wrap=true", answers=([frame("=")], answer))
    assert (status, err) == (1, "allocation failure: Requested node configuration is not available\n")


def test_wait_gives_the_exit_status(run):
    status, out, _, requests = run("--wait", "--wrap=exit 3", answers=(ACCEPTED, [], [frame("=", "3")]))
    assert (status, out) == (3, "Submitted batch job 42\n")
    assert requests[1].fields == requests[2].fields == {"op": "wait_job", "job_id": 42}


def test_a_wait_that_fails_says_that_the_job_stays(run):
    status, out, err, _ = run("--wait", "--wrap=true", answers=(ACCEPTED, [frame("!", "2017\tInvalid job id specified\t")]))
    assert (status, out) == (1, "Submitted batch job 42\n")
    assert err == "sbatch: error: Unable to wait for job 42, which stays submitted: Invalid job id specified\n"


def test_verbose_lists_the_options(run):
    err = run("-v", "-H", "--wrap=true")[2].splitlines()
    assert err[0] == "sbatch: defined options"
    assert "sbatch: hold                : set" in err
    assert "sbatch: verbose             : 1" in err


def test_help_usage_version(capfd):
    assert sbatch.main(["--version"]) == sbatch.main(["-V"]) == 0
    assert capfd.readouterr().out == f"slurm {SLURM_VERSION}\n" * 2
    assert sbatch.main(["--help"]) == 0
    text = capfd.readouterr().out
    assert text.startswith("Usage: sbatch [OPTIONS...] [script [args...]]\n")
    assert "  -a, --array=INDICES " in text
    assert "--x11" in text.partition("Known from Slurm, not supported")[2]
    assert sbatch.main(["--usage"]) == 0
    assert "[-N MIN[-MAX]]" in capfd.readouterr().out


ENVIRONMENT = {b"A": b"1", b"B": b"\xff", b"SLURM_X": b"s", b"SPANK_Y": b"p"}
KEPT = {b"SLURM_X": b"s", b"SPANK_Y": b"p"}


@pytest.mark.parametrize(
    ("form", "chosen", "login"),
    [
        (None, ENVIRONMENT, False),
        ("ALL", ENVIRONMENT, False),
        ("all", ENVIRONMENT, False),
        ("NONE", KEPT, True),
        ("NIL", KEPT, False),
        ("A", {**KEPT, b"A": b"1"}, True),
        ("A=9,GONE", {**KEPT, b"A": b"9"}, True),
        ("ALL,A=9", {**ENVIRONMENT, b"A": b"9"}, False),
        ('C="x,y",A', {**KEPT, b"C": b"x,y", b"A": b"1"}, True),
        ("NIL,C=1", {**KEPT, b"C": b"1"}, False),
    ],
)
def test_export_forms(form, chosen, login):
    assert choose(ENVIRONMENT, form) == (chosen, login)


def test_export_reaches_the_request(run, monkeypatch):
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    monkeypatch.setenv("SLURM_X", "1")
    _, _, _, [request] = run("--wrap=true")
    assert (request.fields["export"], request.fields["get_user_env"]) == ("NONE", True)
    assert unpack(request.sections[1]) == {b"SLURM_X": b"1"}


def test_distribution_reaches_the_steps(run):
    _, _, _, [request] = run("-m", "cyclic:block", "--wrap=true")
    assert unpack(request.sections[1])[b"SLURM_DISTRIBUTION"] == b"cyclic:block"
    status, _, err, _ = run("-m", "plane=2", "--wrap=true")
    assert (status, err.splitlines()[-1]) == (255, "sbatch: error: Invalid --distribution specification")


def test_heterogeneous_jobs_are_refused(run):
    assert "heterogeneous jobs (:) are not supported" in run("-n1", ":", "-n2", "job.sh")[2]


def test_export_file(run, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_X", "1")
    (tmp_path / "env").write_bytes(b"A=x\ny\0B=2\0broken\0")
    _, _, _, [request] = run("--export-file=env", "--wrap=true")
    assert unpack(request.sections[1]) == {b"A": b"x\ny", b"B": b"2", b"SLURM_X": b"1"}
    status, _, err, _ = run("--export-file=/nonexistent", "--wrap=true")
    assert (status, err) == (1, "sbatch: error: Could not open user environment file /nonexistent\n")


def test_an_environment_beyond_the_bound_is_refused(run, monkeypatch):
    monkeypatch.setattr(lite, "ENVIRONMENT_MAX_BYTES", 10)
    status, _, err, requests = run("--wrap=true")
    assert (status, requests) == (1, [])
    assert "at most 10 are allowed (see --export)" in err


def test_text_that_is_no_utf8_is_a_clear_error(run):
    status, _, err, requests = run("--comment=\udcff", "--wrap=true")
    assert (status, requests) == (1, [])
    assert "comment: invalid UTF-8" in err


@settings(deadline=None)
@given(st.text())
def test_splitting_an_export_list_never_fails(form):
    assert all(token for token in split(form))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), arguments=st.lists(st.text(max_size=10), max_size=3))
def test_arbitrary_scripts_and_arguments_end_in_a_status(data, arguments, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(lite, "request", lambda *_, **__: "1")
    path = script(tmp_path, b"#!/bin/sh\n#SBATCH " + data)
    words = [word for word in arguments if "\0" not in word]
    assert sbatch.main([*words, str(path)]) in (0, 1, 255)
    assert "Traceback" not in capfd.readouterr().err


def test_the_installed_script_runs_the_command():
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/sbatch"), "--version"], env={"PYTHONPATH": str(ROOT / "src")}, capture_output=True, check=True
    )
    assert done.stdout.decode() == f"slurm {SLURM_VERSION}\n"
    assert (ROOT / "scripts/sbatch").read_bytes().startswith(b"#!python\n")


def test_closed_outputs_end_in_a_status_not_in_a_traceback():
    with StubController(ACCEPTED) as controller:
        command = f"{sys.executable} {ROOT}/scripts/sbatch --wrap=true"
        environment = {"PYTHONPATH": str(ROOT / "src"), "PENSTOCK_DIR": str(controller.folder)}
        done = subprocess.run(["sh", "-c", f"{command} >&-"], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "sbatch: error: [Errno 9] Bad file descriptor\n")
        assert subprocess.run(["sh", "-c", f"{command} 2>&-"], env=environment, capture_output=True, check=False).returncode == 0
