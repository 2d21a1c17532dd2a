"""Which variables a job gets: the forms of `--export`, and the file of `--export-file`.

  ALL (or nothing)     the caller's whole environment
  NONE                 SLURM_* and SPANK_* of the caller, and the user's login environment, which the node adds
  NIL                  SLURM_* and SPANK_* only
  A,B=x,...            as NONE, and the named ones
  ALL,A,B=x,...        as ALL, and the named ones: a value written here wins over the caller's

Values may hold quoted commas. Names and values are bytes and stay as they are. A named variable that the caller lacks is left out.
"""

from __future__ import annotations

from penstock.spec.directives import ScriptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

ALWAYS = (b"SLURM_", b"SPANK_")
EXPORT_FILE_MAX_BYTES = 8 << 20
"""Longest file of --export-file."""


def choose(
    environment: Mapping[bytes, bytes], form: str | None, base: Mapping[bytes, bytes] | None = None
) -> tuple[dict[bytes, bytes], bool]:
    """The variables to send, and whether the node adds the login environment. `base` are those of --export-file."""
    chosen = dict(base) if base is not None else {}
    if not form and base is not None:
        chosen.update(_always(environment))
        return chosen, False
    if not form or form.upper() == "ALL":
        chosen.update(environment)
        return chosen, False
    tokens = split(form)
    kinds = {token.upper() for token in tokens}
    if "ALL" in kinds:
        chosen.update(environment)
    else:
        chosen.update(_always(environment))
    for token in tokens:
        if token.upper() in ("ALL", "NONE", "NIL"):
            continue
        name, mark, value = token.partition("=")
        key = name.encode("utf-8", "surrogateescape")
        if mark:
            chosen[key] = value.encode("utf-8", "surrogateescape")
        elif key in environment:
            chosen[key] = environment[key]
    return chosen, not kinds & {"ALL", "NIL"}


def split(form: str) -> list[str]:
    """The tokens of a list; quotes of either kind protect commas and are taken away."""
    tokens = []
    token = ""
    quote = ""
    for char in form:
        if quote:
            if char == quote:
                quote = ""
            else:
                token += char
        elif char in "\"'":
            quote = char
        elif char == ",":
            tokens.append(token)
            token = ""
        else:
            token += char
    tokens.append(token)
    return [token for token in tokens if token and not token.startswith("=")]


def read_file(path: str) -> dict[bytes, bytes]:
    """`NAME=value` joined by NUL, from a file or from the descriptor whose number is given."""
    try:
        with open(int(path) if path.isdecimal() and len(path) < 6 else path, "rb") as file:
            data = file.read(EXPORT_FILE_MAX_BYTES + 1)
    except OSError:
        raise ScriptError([f"Could not open user environment file {path}"]) from None
    if len(data) > EXPORT_FILE_MAX_BYTES:
        raise ScriptError([f"The user environment file {path} is larger than {EXPORT_FILE_MAX_BYTES} bytes"])
    return unpack(data)


def pack(environment: Mapping[bytes, bytes]) -> bytes:
    """The frame section: `NAME=value` joined by NUL."""
    return b"\0".join([name + b"=" + value for name, value in environment.items()])


def unpack(data: bytes) -> dict[bytes, bytes]:
    """The inverse of `pack`; pieces without a name are left out."""
    pairs = (item.partition(b"=") for item in data.split(b"\0"))
    return {name: value for name, mark, value in pairs if mark and name}


def _always(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in environment.items() if name.startswith(ALWAYS)}
