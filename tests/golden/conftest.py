"""Golden files: the complete output of a command, over a State that is built in Python, through the command's real code.

`pytest tests/golden --bless` writes what the commands print now; look at the difference before it is committed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from golden_cluster import Cluster, mixed_cluster

EXPECTED = Path(__file__).parent / "expected"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="write the golden files instead of comparing")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for name in [name for name in os.environ if name.startswith(("SQUEUE_", "SINFO_", "SACCT_", "SLURM_", "SCONTROL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    built = mixed_cluster()
    monkeypatch.setattr("penstock.wire.lite.request", built.request)
    monkeypatch.setattr("time.time", lambda: built.notes.now_ms / 1000)
    monkeypatch.setattr("time.strftime", _strftime(built.notes.now_ms // 1000))
    return built


def _strftime(now_s: int):
    real = time.strftime
    return lambda pattern, at=None: real(pattern, at or time.gmtime(now_s))


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    def check(name: str, text: str) -> None:
        path = EXPECTED / f"{name}.txt"
        if request.config.getoption("--bless", default=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            return
        assert path.exists(), f"no golden file {path.name}: run with --bless"
        assert text == path.read_text()

    return check
