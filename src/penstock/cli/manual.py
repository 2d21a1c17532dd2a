"""--help, --usage and --version of the commands, made from the option tables.

Guarantees: --help lists every option that works, then by name those of Slurm that are refused, so that nobody finds out by trying.
"""

from __future__ import annotations

import os

from penstock import SLURM_VERSION
from penstock.spec import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH = 100
"""Columns of the text."""
INDENT = 32
"""Column of the descriptions."""

SYNOPSES = {
    "sbatch": "[OPTIONS...] [script [args...]]",
    "salloc": "[OPTIONS...] [command [args...]]",
    "srun": "[OPTIONS...] executable [args...]",
    "squeue": "[OPTIONS...]",
    "sinfo": "[OPTIONS...]",
    "sacct": "[OPTIONS...]",
    "sstat": "[OPTIONS...] -j job[.step]",
    "sdiag": "[OPTIONS...]",
    "scancel": "[OPTIONS...] [job_id[_array_id][.step_id]...]",
    "scontrol": "[OPTIONS...] [command...]",
    "sattach": "[OPTIONS...] jobid.stepid",
}


def show(program: str, which: str, known: Sequence[options.Entry]) -> None:
    """Prints what the option `which` (help, usage or version) asks for to stdout."""
    texts = {"version": version, "usage": usage, "help": manual}
    data = texts[which](program, known).encode()
    while data:
        data = data[os.write(1, data) :]


def version(_program: str, _known: Sequence[options.Entry]) -> str:
    return f"slurm {SLURM_VERSION}\n"


def usage(program: str, known: Sequence[options.Entry]) -> str:
    """The synopsis and every working option in brackets."""
    from penstock.spec.options_help import HELP

    words = [f"Usage: {program}"]
    for entry in _working(known):
        value = _value(entry, _described(program, entry, HELP)[0])
        words.append(
            f"[-{entry[options.SHORT]}{value.replace('=', ' ', 1)}]" if entry[options.SHORT] else f"[--{entry[options.LONG]}{value}]"
        )
    words.append(SYNOPSES[program].replace("[OPTIONS...] ", ""))
    return _wrap(words, len(program) + 8) + "\n"


def manual(program: str, known: Sequence[options.Entry]) -> str:
    """The synopsis and a line or two an option."""
    from penstock.spec.options_help import HELP

    lines = [f"Usage: {program} {SYNOPSES[program]}", "", "Options:"]
    for entry in _working(known):
        value_name, text = _described(program, entry, HELP)
        short = f"-{entry[options.SHORT]}," if entry[options.SHORT] else "   "
        head = f"  {short} --{entry[options.LONG]}{_value(entry, value_name)}"
        if entry[options.STATUS] == options.WARNED:
            text = f"accepted: {entry[options.EVIDENCE]}"
        wrapped = _wrap(["", *text.split()], INDENT).lstrip()
        lines.append(f"{head:<{INDENT}}{wrapped}" if len(head) < INDENT else f"{head}\n{'':<{INDENT}}{wrapped}")
    refused = [f"--{entry[options.LONG]}" for entry in known if entry[options.STATUS] == options.REFUSED]
    if refused:
        lines += ["", "Known from Slurm, not supported by this version (an error):", _wrap(["", *refused], 2)]
    return "\n".join(lines) + "\n"


def _working(known: Sequence[options.Entry]) -> list[options.Entry]:
    return [entry for entry in known if entry[options.STATUS] != options.REFUSED]


def _described(program: str, entry: options.Entry, texts: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    key = options.destination(entry)
    for name in (f"{program}.{key}", entry[options.LONG].replace("-", "_"), key):
        if name in texts:
            return texts[name]
    return "VALUE", ""


def _value(entry: options.Entry, value_name: str) -> str:
    if entry[options.ARGUMENT] == options.NONE or not value_name:
        return ""
    return f"={value_name}" if entry[options.ARGUMENT] == options.REQUIRED else f"[={value_name}]"


def _wrap(words: Sequence[str], indent: int) -> str:
    lines: list[str] = []
    line = words[0] if words[0] else " " * (indent - 1)
    for word in words[1:]:
        if len(line) + 1 + len(word) > WIDTH and line.strip():
            lines.append(line)
            line = " " * (indent - 1)
        line += " " + word
    lines.append(line)
    return "\n".join(lines)
