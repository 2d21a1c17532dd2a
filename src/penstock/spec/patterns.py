"""Output file name patterns: `slurm-%A_%a.out`, `%x-%05j.log`.

`%A` array job, `%a` array task, `%b` array task modulo 10, `%J` job.step, `%j` job, `%N` short node name, `%n` node number in the job, `%r`
restart count, `%S` the job's SLUID, `%s` step, `%t` task rank, `%u` user, `%x` job name, `%%` a percent sign. A number between the percent
sign and a letter that stands for a number pads it with zeros, to at most MAX_PAD digits. A backslash anywhere turns substitution off:
single backslashes vanish, double ones become one.

Guarantees: pure text; what a letter stands for is the caller's (it knows whether this is a batch script, a step or one task), and letters
that the caller does not know stay in the name, as Slurm leaves them (without the percent sign where a number stands before them).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BATCH_DEFAULT = "slurm-%j.out"
ARRAY_DEFAULT = "slurm-%A_%a.out"
STDIN_DEFAULT = "/dev/null"
NO_TASK = 4_294_967_294  # what %a gives outside an array (Slurm's NO_VAL)
MAX_PAD = 10

NUMERIC = "AabJjnrst"
LETTERS = "AabJjNnrSstux"
NODE_LETTERS = "Nnt"  # names with these are opened on the node that runs the task, one file each


def fill(pattern: str, names: Mapping[str, str]) -> str:
    """The file name; `names` gives each letter's text."""
    if "\\" in pattern:
        return pattern.replace("\\\\", "\0").replace("\\", "").replace("\0", "\\")
    pieces = pattern.split("%")
    out = [pieces[0]]
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        index += 1
        if not piece:  # "%%", or the text ends with "%"
            out.append("%")
            if index < len(pieces):
                out.append(pieces[index])
                index += 1
            continue
        digits = 0
        while digits < len(piece) and piece[digits] in "0123456789":
            digits += 1
        letter = piece[digits : digits + 1]
        value = names.get(letter) if letter else None
        if value is None:
            out.append(piece if digits else "%" + piece)
            continue
        if digits and letter in NUMERIC:
            width = min(int(piece[:digits][:4]), MAX_PAD)
            number, point, rest = value.partition(".")
            value = number.zfill(width) + point + rest
        out.append(value)
        out.append(piece[digits + 1 :])
    return "".join(out)


def letters_in(pattern: str) -> str:
    """The letters that the pattern uses, each once; empty where substitution is off."""
    if "\\" in pattern:
        return ""
    found: dict[str, None] = {}
    text = pattern.replace("%%", "")
    start = text.find("%")
    while start >= 0:
        end = start + 1
        while end < len(text) and text[end] in "0123456789":
            end += 1
        if end < len(text) and text[end] in LETTERS:
            found[text[end]] = None
        start = text.find("%", end)
    return "".join(found)
