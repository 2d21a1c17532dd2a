"""What the submitting process brings along: folder, resource limits, mask, host, session, command line.

Guarantees: the keys and units of the submit request (`penstock.spec.request`); every text is valid UTF-8 or the command says which is not.
Assumes: Linux, where /proc/PID/limits tells the limits without an import; elsewhere none are propagated.
"""

from __future__ import annotations

import os

from penstock.spec.request_values import STRING_MAX_BYTES, fail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.spec.options import Options

RLIMIT_NAMES = ("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS")
RLIMIT_TITLES = {
    "Max cpu time": "CPU",
    "Max file size": "FSIZE",
    "Max data size": "DATA",
    "Max stack size": "STACK",
    "Max core file size": "CORE",
    "Max resident set": "RSS",
    "Max processes": "NPROC",
    "Max open files": "NOFILE",
    "Max locked memory": "MEMLOCK",
    "Max address space": "AS",
}
"""Lines of /proc/PID/limits."""

caller_pid = 0
"""The process that a worker of the command host speaks for (`penstock.cli.worker`); 0: this one."""


def describe_submitter(options: Options, program: str, arguments: Sequence[str]) -> dict[str, object]:
    """What the submitting process brings along: folder, limits, mask, host, session, command line."""
    try:
        here = os.getcwd()
    except OSError:
        raise fail(program, ["getcwd failed: the current directory is gone, use --chdir"], 1) from None
    mask = os.umask(0o077)
    os.umask(mask)
    wanted = os.environ.get("SLURM_UMASK", "")
    if wanted and len(wanted) <= 4 and not wanted.strip("01234567"):
        mask = int(wanted, 8) & 0o777
    work_dir = os.path.normpath(os.path.join(here, options.text("chdir")))
    elsewhere = {"submit_dir": here} if work_dir != here else {}
    return {
        "work_dir": work_dir,
        **elsewhere,
        "umask": mask,
        "rlimits": _limits(options.values.get("propagate") if "propagate" in options else "ALL", program),
        "alloc_node": os.uname().nodename.partition(".")[0],
        "alloc_sid": os.getsid(caller_pid),
        "submit_line": " ".join([program, *arguments]).encode("utf-8", "replace").decode()[: STRING_MAX_BYTES // 4],
    }


def _limits(chosen: str | None, program: str) -> list[str]:
    wanted: Sequence[str] = RLIMIT_NAMES
    if chosen and chosen.upper() != "ALL":
        wanted = [name.strip().upper().removeprefix("RLIMIT_") for name in chosen.split(",")]
        if wanted == ["NONE"]:
            return []
        for name in wanted:
            if name not in RLIMIT_NAMES:
                raise fail(program, [f"Bad rlimit name: {name[:64].lower()}", f"--propagate={chosen[:64]} is not valid."], 1)
    limits = []
    try:
        with open(f"/proc/{caller_pid or os.getpid()}/limits", "rb", 0) as file:
            lines = file.read(65536).decode().splitlines()
    except OSError:  # no /proc: nothing is propagated
        return []
    for line in lines:
        name = RLIMIT_TITLES.get(line[:26].rstrip(), "")
        if name in wanted:
            limits.append(f"{name}={line[26:].split(None, 1)[0]}")
    return limits
