"""Fixtures of the differential suite: each cluster is started once, all cases run on it, the tests compare what came of them."""

import os
from collections.abc import Iterator

import pytest
import two_clusters
from script_cases import CASES
from two_clusters import Outcome


@pytest.fixture(scope="session")
def slurm_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """What came of each case on a real Slurm. Skips where there is none; where CI is set, a missing package is a failure."""
    reason = two_clusters.why_no_slurm()
    if reason:
        if os.environ.get("CI") and reason.startswith("not installed"):
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    cluster = two_clusters.start_slurm(folder / "s")
    try:
        yield cluster.outcomes(CASES, folder / "cases")
    finally:
        two_clusters.stop_slurm(cluster)


@pytest.fixture(scope="session")
def penstock_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    """What came of each case on Penstock."""
    assert two_clusters.penstock(), "the command penstock is not installed in this environment"
    folder = tmp_path_factory.mktemp("penstock")
    cluster = two_clusters.start_penstock(folder / "p")
    try:
        yield cluster.outcomes(CASES, folder / "cases")
    finally:
        two_clusters.stop_penstock(cluster)
