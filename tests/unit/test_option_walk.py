"""The walk over the option tables: every option that works is used, for each command that has it, by a test that sees its effect.

Effects are seen by the end-to-end suite (real processes), by the golden suite (the real views behind the real commands), and for what
a command does by itself (help, terminals, what it prints) by the unit suite of that command. Tests that only parse do not count.
Refused options are walked in test_options: each must fail with its reason.

A test uses an option with a command when both stand among its words: its own, and those of the helpers and constants it names. Words of
a shell line that begins with a command are that command's alone.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from penstock.spec import options, options_control, options_submit, options_view

TESTS = Path(__file__).resolve().parents[1]
COMMANDS = ("sbatch", "salloc", "srun", "squeue", "sinfo", "sacct", "sstat", "sdiag", "scontrol", "scancel", "sattach")
PARSING_ONLY = ("test_request", "test_options", "test_option_walk")
TABLES = {
    **{program: options.entries(options_submit.OPTIONS, program) for program in ("sbatch", "salloc", "srun")},
    **{name.lower(): getattr(options_view, name) for name in ("SQUEUE", "SINFO", "SACCT", "SSTAT", "SDIAG")},
    **{name.lower(): getattr(options_control, name) for name in ("SCANCEL", "SCONTROL", "SATTACH")},
}
WORKING = [
    (program, entry)
    for program, table in TABLES.items()
    for entry in table
    if entry[options.STATUS] in (options.SUPPORTED, options.RECORDED)
]


class Module:
    """One test module: its top-level definitions by name, and the words that each one leads to."""

    def __init__(self, path: Path) -> None:
        self.stem = path.stem
        self.definitions: dict[str, ast.AST] = {}
        self.imports: list[str] = []
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    if isinstance(target, ast.Name):
                        self.definitions[target.id] = node
            elif isinstance(node, ast.ImportFrom) and node.module:
                self.imports.append(node.module)

    def words(self, name: str, modules: dict[str, "Module"], seen: set[str]) -> Iterator[tuple[str, str]]:
        """Every word of a string below the definition, with the command whose shell line it stands in (or nothing)."""
        seen.add(name)
        for node in ast.walk(self.definitions[name]):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for line in re.split(r"[;|&\n]", node.value):
                    found = line.replace("'", " ").split()
                    owner = found[0] if len(found) > 1 and found[0] in COMMANDS else ""
                    yield from ((owner, word) for word in found)
            elif isinstance(node, ast.Attribute) and node.attr == "submit":
                yield "", "sbatch"
            elif isinstance(node, ast.Name) and node.id not in seen:
                for module in (self, *(modules[name] for name in self.imports if name in modules)):
                    if node.id in module.definitions:
                        yield from module.words(node.id, modules, seen)
                        break


def _modules() -> dict[str, Module]:
    paths = [*(TESTS / "e2e").glob("*.py"), *(TESTS / "golden").glob("*.py"), *(TESTS / "unit").glob("test_*.py")]
    return {path.stem: Module(path) for path in paths if path.stem not in PARSING_ONLY and path.stem != "conftest"}


MODULES = _modules()
USES = {
    (module.stem, name): set(module.words(name, MODULES, {"Cluster"}))
    for module in MODULES.values()
    for name in module.definitions
    if name.startswith("test_")
}


def uses(words: Iterable[str], entry: tuple) -> bool:
    """Whether the option stands among the words: `--long`, `--long=x`, `-s`, `-sx`, or `-absc` where a, b and c are letters."""
    long, short = f"--{entry[options.LONG]}", entry[options.SHORT]
    for word in words:
        if word.partition("=")[0] == long:
            return True
        if short and word[:1] == "-" and word[1:2] != "-" and (word[1:2] == short or (short in word[1:] and word[1:].isalpha())):
            return True
    return False


def command_of(module: str) -> str:
    """Unit and golden modules are named by their command."""
    return module.removeprefix("test_").partition("_")[0]


def observers(program: str, entry: tuple) -> list[str]:
    """Tests that use the option with the command."""
    found = []
    for (module, name), words in USES.items():
        commands = {word for _, word in words} & set(COMMANDS) | {command_of(module)}
        if program in commands and uses((word for owner, word in words if owner in ("", program)), entry):
            found.append(f"{module}:{name}")
    return found


@pytest.mark.parametrize("program", COMMANDS)
def test_each_option_of_a_command_is_observed(program):
    unobserved = [f"--{entry[options.LONG]}" for name, entry in WORKING if name == program and not observers(name, entry)]
    assert not unobserved


def test_each_option_names_a_test_that_observes_it():
    """The evidence in the table is one of the observers for at least one of the option's commands."""
    wrong = []
    for program, entry in WORKING:
        evidence = entry[options.EVIDENCE]
        found = observers(program, entry)
        if not any(evidence in observers(other, same) for other, same in WORKING if same == entry):
            wrong.append(f"{program} --{entry[options.LONG]} names {evidence}, observed by {found[:3]}")
    assert not wrong


def test_the_walk_sees_what_is_missing():
    absent = ("no-such-option", "", options.NONE, "", "*", "", options.SUPPORTED, "test_squeue")
    assert not observers("squeue", absent)
    assert all(observers(program, TABLES[program][0]) for program in ("squeue", "sinfo"))
