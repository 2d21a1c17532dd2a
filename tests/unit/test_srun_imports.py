"""srun, salloc and sattach are instant: nothing is imported that the interpreter does not have at hand."""

from __future__ import annotations

import pytest
from test_instant_imports import BANNED, FREE, loaded_by

ALLOWED = FREE | {"time", "errno", "posix", "_operator", "_signal", "itertools"}


@pytest.mark.parametrize("name", ["srun", "salloc", "sattach", "multiprog"])
def test_a_command_imports_only_built_in_modules(name):
    import sys

    new = loaded_by(f"import penstock.cli.{name}") - loaded_by("pass")
    foreign = {module for module in new if module != "penstock" and not module.startswith("penstock.")}
    assert not foreign & BANNED
    assert foreign - ALLOWED <= set(sys.builtin_module_names)
