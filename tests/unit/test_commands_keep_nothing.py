"""A worker runs one command after the other in one interpreter: no command may leave anything in a module."""

import importlib
import os
import pkgutil
import sys
from types import ModuleType

import pytest
from stub_controller import StubController, frame

import penstock.cli
import penstock.spec
import penstock.wire
from penstock.cli.worker import HOSTED
from penstock.wire import lite

REFUSED = [frame("!", "2017\tInvalid job id specified")]
LINES = (
    *([name, "--help"] for name in HOSTED),
    *([name, "--version"] for name in HOSTED),
    *([name, "--nosuch"] for name in HOSTED),
    ["sbatch", "--hold", "-n4", "-t5", "--mem=1G", "--gres=gpu:1", "-a1-9:2%3", "-dafterok:1", "--wrap=true"],
    ["sbatch", "-t", "soon", "--wrap=true"],
    ["srun", "-n2", "--mem=1G", "-l", "true"],
    ["srun", "--jobid=7", "true"],
    ["squeue", "-o", "%i %.9j %T", "-S", "-p,i", "-t", "PD,R", "--me"],
    ["squeue", "-O", "JobID:9,Name", "-j", "1,2_[3-4]"],
    ["sinfo", "-N", "-l", "-o", "%N %t"],
    ["scancel", "-s", "USR1", "-b", "7"],
    ["scancel", "--state=PENDING", "-n", "x"],
    ["scontrol", "-o", "show", "job", "7"],
    ["scontrol", "show", "hostnames", "n[1-3]"],
    ["scontrol", "update", "JobId=7", "TimeLimit=5"],
    ["sacct", "-X", "-P", "-o", "JobID%9,State", "-S", "now-1hour"],
    ["sstat", "-j", "7", "-o", "JobID,MaxRSS"],
)


def modules() -> list[ModuleType]:
    packages = (penstock.spec, penstock.wire, penstock.cli)
    return [
        importlib.import_module(found.name)
        for package in packages
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + ".")
    ]


def state() -> dict[str, str]:
    """Every value of every module and class of the commands, as text."""
    values: dict[str, str] = {}
    for module in modules():
        for name, value in vars(module).items():
            if not name.startswith("__") and not isinstance(value, ModuleType) and not callable(value):
                values[f"{module.__name__}.{name}"] = repr(value)
            elif isinstance(value, type) and value.__module__ == module.__name__:
                for key, item in vars(value).items():
                    if not key.startswith("__") and not callable(item):
                        values[f"{module.__name__}.{name}.{key}"] = repr(item)
    return values


def run(line: list[str]) -> None:
    try:
        sys.modules[f"penstock.cli.{line[0]}"].main(line[1:])
    except SystemExit:
        pass


@pytest.mark.parametrize("answers", [[frame("=", "42")], REFUSED], ids=["accepted", "refused"])
def test_no_module_remembers_a_command(answers: list[bytes], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(lite, "RETRY_STEPS_S", (0.001,))
    for name in list(os.environ):
        if name.startswith(("SBATCH_", "SLURM_", "SQUEUE_")):
            monkeypatch.delenv(name)
    modules()
    before = state()
    descriptors = os.listdir("/proc/self/fd")
    with StubController(answers) as controller:
        monkeypatch.setenv("PENSTOCK_DIR", str(controller.folder))
        for line in LINES:
            run(line)
            assert state() == before, f"{line} leaves something behind"
    assert os.listdir("/proc/self/fd") == descriptors
    assert len(before) > 100
