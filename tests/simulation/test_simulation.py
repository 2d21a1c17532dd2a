"""The whole system from a seed: a thousand histories hold every rule, one seed gives one history, and planted bugs are seen.

PENSTOCK_SEEDS changes how many seeds run (default 1000), PENSTOCK_FIRST_SEED where they begin.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from planted import PLANTED

from penstock.sim.__main__ import Totals, reports
from penstock.sim.simulation import Simulation, simulate

SEEDS = int(os.environ.get("PENSTOCK_SEEDS", "1000"))
FIRST = int(os.environ.get("PENSTOCK_FIRST_SEED", "0"))
EVENTS_A_SEED, FAULTS_A_SEED = 300, 5
SEEDS_TO_FIND = 60
"""A planted bug has to be found within so many seeds."""


def test_every_rule_holds_in_every_seed(capsys):
    totals, failures = Totals(), []
    begun_s = time.monotonic()
    for report in reports(range(FIRST, FIRST + SEEDS), os.cpu_count() or 1):
        totals.add(report)
        if report.failure:
            failures.append("\n".join([f"seed {report.seed}: {report.failure}", *report.trace]))
    with capsys.disabled():
        print("\n" + totals.text(time.monotonic() - begun_s))
    assert not failures, "\n\n".join(failures[:3])
    assert totals.fewest_events >= EVENTS_A_SEED
    assert totals.fewest_faults >= FAULTS_A_SEED


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug):
    for seed in range(SEEDS_TO_FIND):
        if simulate(seed, PLANTED[bug]).failure:
            return
    pytest.fail(f"{bug}: not found in {SEEDS_TO_FIND} seeds")


HISTORY = """
import hashlib
from penstock.sim.simulation import Simulation
simulation = Simulation(7)
simulation.run()
history = repr((list(simulation.disk.events.items()), simulation.controller.reactor.state.rows()))
print(simulation.timeline.events, hashlib.sha256(history.encode()).hexdigest())
"""


def test_a_seed_gives_the_same_history_whatever_the_hash_seed():
    def history(hash_seed: str) -> str:
        environment = dict(os.environ, PYTHONHASHSEED=hash_seed, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
        return subprocess.run([sys.executable, "-c", HISTORY], env=environment, check=True, capture_output=True, text=True).stdout

    assert history("1") == history("2") != ""


def test_another_seed_gives_another_history():
    first, second = (Simulation(seed) for seed in (1, 2))
    first.run()
    second.run()
    assert first.disk.events != second.disk.events
