"""View commands whose reader goes away end quietly, whenever that happens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stub_controller import StubController, frame

SOURCE = Path(__file__).resolve().parents[2] / "src"
ROWS = 2_000


# The stub's thread finds its connection closed in the middle of an answer.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("chunks", [1, 200])
@pytest.mark.parametrize("program", ["squeue", "sacct"])
def test_a_closed_pipe_is_no_error(program, chunks):
    columns = 8 if program == "squeue" else 7
    chunk = "\x1e".join(["\x1f".join(["value"] * ROWS)] * columns)
    with StubController([frame("+", chunk)] * chunks + [frame("=")]) as controller:
        reader, writer = os.pipe()
        command = subprocess.Popen(
            [sys.executable, "-c", f"from penstock.cli.{program} import main; raise SystemExit(main([]))"],
            env={"PENSTOCK_DIR": str(controller.folder), "PYTHONPATH": str(SOURCE)},
            stdout=writer,
            stderr=subprocess.PIPE,
        )
        os.close(writer)
        os.read(reader, 1)
        os.close(reader)
        _, errors = command.communicate(timeout=20)
    assert errors == b""
    assert command.returncode == 141


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("chunks", [1, 200])
@pytest.mark.parametrize("program", ["squeue", "sacct"])
def test_an_output_on_a_full_disk_is_told_as_such(program, chunks):
    columns = 8 if program == "squeue" else 7
    chunk = "\x1e".join(["\x1f".join(["value"])] * columns)
    with StubController([frame("+", chunk)] * chunks + [frame("=")]) as controller, open("/dev/full", "wb") as full:
        command = subprocess.run(
            [sys.executable, "-c", f"from penstock.cli.{program} import main; raise SystemExit(main([]))"],
            env={"PENSTOCK_DIR": str(controller.folder), "PYTHONPATH": str(SOURCE)},
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert command.stderr.decode() == f"{program}: error: standard output cannot be written: No space left on device\n"
    assert command.returncode == 1
