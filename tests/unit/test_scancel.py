"""scancel: which request it sends, what it prints of the answer, and its exit status."""

import os
import pwd

import pytest
from stub_controller import StubController, frame

from penstock import SLURM_VERSION
from penstock.cli import scancel


@pytest.fixture
def run(monkeypatch, capfd):
    for name in list(os.environ):
        if name.startswith(("SCANCEL_", "SLURM_", "PENSTOCK_")):
            monkeypatch.delenv(name)

    def go(*arguments, answers=("",)):
        with StubController(*([frame("=", text)] for text in answers)) as controller:
            monkeypatch.setenv("PENSTOCK_DIR", str(controller.folder))
            status = scancel.main(list(arguments))
        out, err = capfd.readouterr()
        for request in controller.requests:
            if request.fields["op"] == "cancel":
                assert len(request.fields.pop("id")) == 32
        return status, out, err, [request.fields for request in controller.requests]

    return go


UNKNOWN = "99\tjob\t2017\tInvalid job id specified"
COMPLETING = "64\tjob\t2021\tJob/step already completing or completed"
DENIED = "5\tjob\t2002\tAccess/permission denied"
DONE = "12\tjob\t0\t"


def test_ids_of_every_form_are_sent_as_typed(run):
    assert run("12,13", "14_3", "15_[1-3]", "16.0") == (0, "", "", [{"op": "cancel", "jobs": ["12", "13", "14_3", "15_[1-3]", "16.0"]}])


@pytest.mark.parametrize("word", ["abc", "1.x", "1_x", "", "-"])
def test_an_id_that_is_none_is_refused(run, word):
    assert run(word)[:3] == (1, "", f"scancel: error: Invalid job id {word}\n")


def test_nothing_given_is_an_error(run):
    assert run() == (1, "", "scancel: error: No job identification provided\n", [])
    assert run("-s", "USR1")[0] == 1


def test_a_plain_cancel_of_an_unknown_job_is_silent(run):
    assert run("99", answers=(UNKNOWN,))[:3] == (0, "", "")
    assert run("64", answers=(COMPLETING,))[:3] == (0, "", "")


def test_verbose_tells_errors_of_unknown_jobs(run):
    expected = "scancel: Terminating job 99\nscancel: error: Kill job error on job id 99: Invalid job id specified\n"
    assert run("-v", "99", answers=(UNKNOWN,))[:3] == (0, "", expected)
    expected = "scancel: error: No active jobs match ALL job filters, including: job_name=x \n"
    assert run("-v", "-n", "x")[:3] == (0, "", expected)


def test_other_errors_are_told_and_fail(run):
    expected = "scancel: error: Kill job error on job id 5: Access/permission denied\n"
    assert run("5", answers=(f"{DONE}\n{DENIED}",))[:3] == (1, "", expected)
    expected = "scancel: error: Kill job error on job step id 9.0: Invalid job id specified\n"
    assert run("9.0", answers=("9.0\tstep\t2017\tInvalid job id specified",))[:3] == (1, "", expected)
    assert run("9.0", answers=("9.0\tjob\t2017\tInvalid job id specified",))[:3] == (1, "", expected)


def test_with_a_signal_or_a_filter_an_unknown_job_is_an_error(run):
    expected = "scancel: error: Kill job error on job id 99: Invalid job id specified\n"
    assert run("-s", "USR1", "99", answers=(UNKNOWN,))[:3] == (1, "", expected)
    assert run("-t", "RUNNING", "99", answers=(UNKNOWN,))[:3] == (1, "", expected)


def test_quiet_says_nothing(run):
    assert run("-Q", "-s", "USR1", "99", answers=(UNKNOWN,))[:3] == (1, "", "")


def test_every_filter_reaches_the_controller(run):
    arguments = ["-A", "lab", "-n", "job", "-p", "gpu", "-q", "high", "-R", "resv", "-w", "n[1-2]", "--wckey=k", "--ctld", "-u", "root"]
    expected = {"op": "cancel", "account": "lab", "name": "job", "partition": "gpu", "qos": "high", "reservation": "resv",
                "nodelist": "n[1-2]", "wckey": "k", "uid": 0}  # fmt: skip
    assert run(*arguments)[3] == [expected]
    assert run("--me")[3] == [{"op": "cancel", "uid": os.getuid()}]
    assert run("--jobname=x")[3] == [{"op": "cancel", "name": "x"}]
    assert run("-u", "12345")[3] == [{"op": "cancel", "uid": 12345}]


def test_the_environment_gives_filters(run, monkeypatch):
    monkeypatch.setenv("SCANCEL_PARTITION", "gpu")
    monkeypatch.setenv("SCANCEL_USER", pwd.getpwuid(0).pw_name)
    assert run("-p", "cpu")[3] == [{"op": "cancel", "partition": "cpu", "uid": 0}]


def test_unknown_users_and_bad_node_lists_are_refused(run):
    assert run("-u", "no such user")[:3] == (1, "", "scancel: error: Invalid user name: no such user\n")
    assert run("-w", "n[1")[0] == 1


def test_states(run):
    assert run("-t", "pd,R")[3] == [{"op": "cancel", "states": ["PENDING", "RUNNING"]}]
    expected = "Invalid job state specified: FOO\nValid job states are PENDING, RUNNING, and SUSPENDED\n"
    assert run("-t", "FOO") == (1, "", expected, [])


def test_signals(run):
    assert run("12", "--signal", "SIGUSR1")[3] == [{"op": "cancel", "jobs": ["12"], "signal": 10}]
    assert run("-s", "9", "12")[3][0]["signal"] == 9
    assert run("-s", "FOO", "12") == (1, "", "Unknown job signal: FOO\n", [])


def test_batch_and_full(run):
    assert run("-b", "12")[3] == [{"op": "cancel", "jobs": ["12"], "batch": True}]
    assert run("-f", "12")[3] == [{"op": "cancel", "jobs": ["12"], "full": True}]
    assert run("-v", "-b", "-s", "USR2", "12", answers=(DONE,))[2] == "scancel: Signal 12 to batch job 12\n"


def test_interactive_asks_for_each_job(run, monkeypatch):
    answers = iter(["y\n", "n\n", ""])
    monkeypatch.setattr(scancel, "_answer", lambda: next(answers))
    listed = "69\tjob\twrap\tnormal\n70\tjob\tb\tnormal\n71.0\tstep\tc\tnormal"
    status, out, err, requests = run("-i", "-n", "x", "-s", "USR1", answers=(listed, "69\tjob\t0\t"))
    assert (status, err) == (0, "")
    assert out.startswith("Cancel job_id=69 name=wrap partition=normal [y/n]? Cancel job_id=70")
    assert "Cancel step_id=71.0 name=c partition=normal [y/n]? " in out
    assert requests == [{"op": "cancel_list", "name": "x", "signal": 10}, {"op": "cancel", "jobs": ["69"], "signal": 10}]


def test_interactive_without_a_yes_sends_nothing(run, monkeypatch):
    monkeypatch.setattr(scancel, "_answer", lambda: "n\n")
    assert [request["op"] for request in run("-i", "12", answers=("12\tjob\tx\tp",))[3]] == ["cancel_list"]


def test_a_warning_for_what_does_not_happen(run):
    assert run("-H", "12")[2] == "scancel: warning: --hurry: there is no burst buffer to stage out\n"


def test_no_controller(monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("PENSTOCK_DIR", str(tmp_path))
    assert scancel.main(["1"]) == 1
    assert capfd.readouterr().err.endswith("scancel: error: Unable to contact slurm controller (connect failure)\n")


def test_help_usage_version(capfd):
    assert scancel.main(["-V"]) == 0
    assert capfd.readouterr().out == f"slurm {SLURM_VERSION}\n"
    assert scancel.main(["--help"]) == 0
    text = capfd.readouterr().out
    assert "  -s, --signal=SIGNAL " in text
    assert "signal to send; without it the job is ended" in text
    assert scancel.main(["--usage"]) == 0
    assert capfd.readouterr().out.startswith("Usage: scancel [-A NAME]")
