"""The commands' client against a real socket: frames, retries, and how it finds the cluster."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_controller import Request, StubController, frame

from penstock.wire import lite
from penstock.wire.lite import Refused, Unreachable, encode, request

SOURCE = str(Path(__file__).resolve().parents[2] / "src")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(lite, "RETRY_STEPS_S", (0.001,))


def test_fields_and_raw_sections_arrive_as_they_were_sent():
    with StubController([frame("=", "42\tlab")]) as controller:
        fields = {"op": "submit", "id": "ab", "name": 'q"\n', "n": -3, "hold": True, "requeue": False, "gone": None, "argv": ["a", "ü"]}
        assert request(fields, [b"#!/bin/sh\n\xff", b""], folder=str(controller.folder)) == "42\tlab"
        [got] = controller.requests
        assert got.fields == {key: value for key, value in fields.items() if value is not None}
        assert got.sections == [b"#!/bin/sh\n\xff", b""]


def test_chunks_and_notices_are_handed_on_in_order():
    seen = []
    with StubController([frame("~", "waiting"), frame("+", "a\x1fb"), frame("+", "c"), frame("=", "end")]) as controller:
        reply = request({"op": "x"}, on_chunk=seen.append, on_notice=seen.append, folder=str(controller.folder))
    assert (reply, seen) == ("end", ["waiting", "a\x1fb", "c"])


def test_a_frame_larger_than_the_buffer_arrives_whole():
    big = "x" * 3_000_000
    with StubController([frame("=", big)]) as controller:
        assert request({"op": "x"}, folder=str(controller.folder)) == big


def test_a_refusal_carries_number_text_and_detail():
    answer = [frame("!", "2000\tInvalid partition name specified\tinvalid partition specified: foo")]
    with StubController(answer) as controller, pytest.raises(Refused) as caught:
        request({"op": "x"}, folder=str(controller.folder))
    assert (caught.value.number, caught.value.text) == (2000, "Invalid partition name specified")
    assert caught.value.detail == "invalid partition specified: foo"


def test_a_lost_connection_is_tried_again_with_the_same_id():
    with StubController([], [frame("=", "7")]) as controller:
        assert request({"op": "submit", "id": "same"}, folder=str(controller.folder)) == "7"
        assert [got.fields["id"] for got in controller.requests] == ["same", "same"]


def test_a_controller_that_comes_back_within_the_time_is_waited_for(tmp_path):
    folder = tmp_path / "c"
    folder.mkdir()
    (folder / "socket").write_text("/nonexistent\n")
    with StubController([frame("=", "up")]) as controller:
        pauses = []

        def return_after_three(pause):
            pauses.append(pause)
            if len(pauses) == 3:
                (folder / "socket").write_text(str(controller.folder / "run"))

        lite_time = type("Clock", (), {"sleep": staticmethod(return_after_three), "monotonic": staticmethod(lambda: 0.0)})
        original, lite.time = lite.time, lite_time
        try:
            assert request({"op": "x"}, folder=str(folder)) == "up"
        finally:
            lite.time = original
    assert len(pauses) == 3


def test_tries_end_with_slurms_words(tmp_path):
    (tmp_path / "socket").write_text("/nonexistent\n")
    with pytest.raises(Unreachable) as caught:
        request({"op": "x"}, folder=str(tmp_path), retry_for_s=0.01)
    assert caught.value.text == "Unable to contact slurm controller (connect failure)"
    assert str(tmp_path) in caught.value.detail


def test_no_cluster_in_the_folder_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(lite.time, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(Unreachable) as caught:
        request({"op": "x"}, folder=str(tmp_path))
    assert f"penstock up --dir {tmp_path}" in caught.value.detail


def test_a_half_told_answer_is_not_repeated():
    seen = []
    with StubController([frame("+", "first")]) as controller:
        with pytest.raises(Unreachable):
            request({"op": "x"}, on_chunk=seen.append, folder=str(controller.folder))
        assert controller.connections == 1
    assert seen == ["first"]


def test_a_held_request_survives_a_restart_after_its_first_time_limit():
    with StubController([frame("~", "queued")], [], [frame("=", "0")]) as controller:
        assert request({"op": "wait_job", "job_id": 3}, held=True, folder=str(controller.folder), retry_for_s=5.0) == "0"
        assert controller.connections == 3


@pytest.mark.parametrize("length", [0, lite.MAX_FRAME_BYTES + 1])
def test_a_frame_of_impossible_length_is_a_lost_connection(length):
    with StubController([length.to_bytes(4, "big") + b"=x"]) as controller, pytest.raises(Unreachable) as caught:
        request({"op": "x"}, folder=str(controller.folder), retry_for_s=0.0)
    assert f"a frame of {length} bytes" in caught.value.detail


def test_text_that_is_no_utf8_names_its_key():
    with pytest.raises(ValueError, match=r"comment: invalid UTF-8 in .*udcff"):
        encode({"comment": "a\udcff"})


def test_a_request_over_the_bound_is_refused_before_it_is_sent():
    with pytest.raises(ValueError, match="at most 67108864 are allowed"):
        encode({"op": "x"}, [b"a" * (lite.MAX_FRAME_BYTES + 1)])


value = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(),
    st.booleans(),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), value), st.lists(st.binary(max_size=50), max_size=3))
def test_what_is_encoded_is_what_json_reads(fields, sections):
    data = encode(fields, sections)
    got = Request(data[4:])
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert got.fields == json.loads(json.dumps(fields))
    assert got.sections == sections


def test_the_variable_names_the_cluster_before_anything_else():
    assert lite.find_cluster({"PENSTOCK_DIR": "/c"}) == "/c"


def test_the_marker_of_an_ancestor_is_found_though_the_environment_was_cleaned():
    inner = f"import sys; sys.path.insert(0, {SOURCE!r}); from penstock.wire import lite; print(lite.find_cluster())"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}], env={{}}, check=True)"
    done = subprocess.run([sys.executable, "-c", outer], env={"PENSTOCK_DIR": "/of/the/step"}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "/of/the/step"


class Registry:
    """A home folder with registered clusters."""

    def __init__(self, home, monkeypatch):
        self.folder = home / ".local/state/penstock/clusters"
        self.folder.mkdir(parents=True)
        entry = pwd.struct_passwd(("u", "x", os.getuid(), os.getgid(), "", str(home), "/bin/sh"))
        monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
        monkeypatch.setattr(lite, "_marker_of_an_ancestor", str)

    def add(self, name, cluster):
        (self.folder / name).write_text(f"{cluster}\n")


@pytest.fixture
def registry(tmp_path, monkeypatch):
    return Registry(tmp_path, monkeypatch)


def test_a_single_registered_cluster_is_taken(registry):
    registry.add("one", "/somewhere")
    assert lite.find_cluster({}) == "/somewhere"


def test_of_several_registered_clusters_the_living_one_is_taken(registry):
    with StubController(None) as controller:
        registry.add("dead", "/nonexistent")
        registry.add("alive", controller.folder)
        assert lite.find_cluster({}) == str(controller.folder)


def test_several_living_clusters_are_an_error_that_lists_them(registry):
    with StubController(None) as first, StubController(None) as second:
        registry.add("a", first.folder)
        registry.add("b", second.folder)
        with pytest.raises(Unreachable) as caught:
            lite.find_cluster({})
    assert str(first.folder) in caught.value.detail
    assert str(second.folder) in caught.value.detail
    assert "PENSTOCK_DIR" in caught.value.detail


def test_no_registered_cluster_says_how_to_get_one(registry):
    with pytest.raises(Unreachable) as caught:
        lite.find_cluster({})
    assert "penstock up" in caught.value.detail
