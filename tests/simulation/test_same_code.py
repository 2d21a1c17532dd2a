"""The simulation and the daemons call the same functions, and no clock, socket or thread gets into the simulation."""

from __future__ import annotations

import ast
import pathlib

import penstock.agent.service
import penstock.controller.planner
import penstock.controller.service
import penstock.sim
from penstock.sim import controller, machine, simulation

IMPURE = {"time", "datetime", "os", "socket", "asyncio", "threading", "select", "subprocess", "logging", "secrets", "uuid"}
PROCESSES_AND_CLOCKS = ("__main__.py", "command.py")
"""The commands alone start processes and measure how long something took."""


def test_the_controllers_reactor_cycle_and_load_are_the_simulations():
    assert controller.Reactor is penstock.controller.service.Reactor is simulation.Parts().reactor
    assert controller.cycle is penstock.controller.planner.cycle
    assert simulation.load is penstock.controller.service.load is simulation.Parts().load


def test_the_agents_machine_is_the_simulations():
    assert machine.Reconcile is penstock.agent.service.Reconcile is simulation.Parts().reconcile


def imported(path: pathlib.Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


def test_nothing_but_the_seed_decides():
    files = [path for path in pathlib.Path(penstock.sim.__file__).parent.rglob("*.py") if path.name not in PROCESSES_AND_CLOCKS]
    assert len(files) > 10
    assert {path.name: imported(path) & IMPURE for path in files if imported(path) & IMPURE} == {}
