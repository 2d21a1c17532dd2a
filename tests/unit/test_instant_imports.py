"""The language is imported by commands whose whole budget is 4 ms: it may pull in nothing that the interpreter lacks at its start."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
FOR_DAEMONS_ONLY = {"parameters", "topology"}  # may import what it likes: no command reads configuration
GRAMMARS = sorted({path.stem for path in (SOURCE / "penstock" / "spec").glob("*.py")} - FOR_DAEMONS_ONLY - {"__init__"})
BANNED = {
    *("re", "enum", "dataclasses", "typing", "collections", "collections.abc", "json", "datetime", "argparse", "functools", "subprocess"),
    *("logging", "socket", "abc", "contextlib", "inspect", "string", "shlex", "calendar", "random", "asyncio", "signal", "keyword"),
}
FREE = {  # loaded by site at every start, or small C modules that some builds keep in files of their own
    *("__future__", "os", "os.path", "posixpath", "genericpath", "stat", "_stat", "_collections_abc"),
    *("pwd", "grp", "select", "fcntl", "termios", "binascii", "math", "_socket", "_json"),
}


def loaded_by(code: str) -> set[str]:
    """Modules in sys.modules of a bare interpreter (no site packages, no user settings) after the code."""
    script = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {code}; print('\\n'.join(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, env={"LC_ALL": "C"}, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def start_set() -> set[str]:
    return loaded_by("pass")


@pytest.mark.parametrize("name", GRAMMARS)
def test_a_grammar_imports_only_built_in_modules(name, start_set):
    new = loaded_by(f"import penstock.spec.{name}") - start_set
    ours = {module for module in new if module == "penstock" or module.startswith("penstock.")}
    foreign = new - ours
    assert not foreign & BANNED
    assert foreign - FREE <= set(sys.builtin_module_names), "a module outside the interpreter's binary costs file look-ups"
    assert f"penstock.spec.{name}" in ours


def test_every_grammar_is_walked():
    wanted = "errors hostlist quantities times gres arrays dependency jobids states patterns signals options request"
    assert set(wanted.split(" ")) <= set(GRAMMARS)
