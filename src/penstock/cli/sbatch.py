"""sbatch: submits a batch script.

Guarantees: precedence is command line, SBATCH_* variables, #SBATCH lines; a lost reply does not double the job (one id a submission);
texts and exit statuses are Slurm's: 255 for a bad option, 1 (or SLURM_EXIT_ERROR) for everything else.
Assumes: the controller decides whatever needs its configuration; here only the grammar is checked.
"""

from __future__ import annotations

import os
import sys

from penstock.spec import options
from penstock.spec.directives import MAX_SCRIPT_BYTES, ScriptError, check, extract, invalid
from penstock.spec.export import choose, pack, read_file
from penstock.spec.options import InvalidOption, Options
from penstock.spec.options_submit import OPTIONS
from penstock.spec.request import build, settle
from penstock.spec.submitter import describe_submitter
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "sbatch"
RETRIES_MAX = 15
"""Tries while the queue is full; the n-th pause is n seconds."""
QUEUE_FULL, BACK_OFF = 2007, 1804


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return submit(arguments)
    except InvalidOption as error:
        _stderr("\n".join(error.lines))
        return error.status
    except ScriptError as error:
        _stderr("\n".join(f"{PROGRAM}: {error.severity}: {text}" for text in error.texts))
        return _exit_error() if error.status == 1 else error.status
    except lite.Unreachable as error:
        for line in filter(None, error.detail.split("\n")):
            _stderr(f"{PROGRAM}: error: {line}")
        _stderr(f"{PROGRAM}: error: Batch job submission failed: {error.text}")
        return _exit_error()
    except lite.Refused as error:
        for line in filter(None, error.detail.split("\n")):
            _stderr(f"{PROGRAM}: error: {line}")
        _stderr(f"{PROGRAM}: error: Batch job submission failed: {error.text}")
        return _exit_error()
    except (ValueError, OSError) as error:
        _stderr(f"{PROGRAM}: error: {error}")
        return _exit_error()
    except KeyboardInterrupt:
        return 130


def submit(arguments: Sequence[str]) -> int:
    """Everything from the command line to the exit status; failures are exceptions."""
    known = options.entries(OPTIONS, PROGRAM)
    settings, words = options.parse(arguments, known, PROGRAM)
    typed = {options.destination(entry): value for entry, value in settings}
    for key in ("help", "usage", "version"):
        if key in typed:
            from penstock.cli.manual import show

            show(PROGRAM, key, known)
            return 0
    script, name, path = load_script(typed, words)
    check(script)
    directives, complaints = extract(script, words[0] if words else name)
    for complaint in complaints:
        _stderr(f"{PROGRAM}: error: {complaint}")
    scripted, left = options.parse(directives, known, PROGRAM, permute=True)
    if left:
        raise invalid(left[0])
    merged = options.merge(known, PROGRAM, os.environ, settings, _without_meaningless(scripted))
    for warning in merged.warnings:
        _stderr(f"{PROGRAM}: warning: {warning}")
    fields, environment = compose(merged, arguments, words, name, path)
    if merged.text("verbose"):
        describe(merged)
    if "test_only" in merged:
        return test_only(fields, script, environment)
    job_id, cluster = send(fields, script, environment)
    quiet = bool(merged.text("quiet"))  # it silences --parsable too, as in Slurm
    if "parsable" in merged and not quiet:
        _stdout(f"{job_id};{cluster}" if cluster else job_id)
    elif not quiet:
        _stdout(f"Submitted batch job {job_id}" + (f" on cluster {cluster}" if cluster else ""))
    return wait(job_id) if "wait" in merged else 0


def load_script(typed: dict[str, str | None], words: Sequence[str]) -> tuple[bytes, str, str]:
    """The script's bytes, its name, and its absolute path ("" for --wrap and stdin)."""
    if "wrap" in typed:
        if words:
            raise ScriptError(["Script arguments not permitted with --wrap option"])
        command = (typed["wrap"] or "").encode("utf-8", "surrogateescape")
        return b"#!/bin/sh\n# This script was created by sbatch --wrap.\n\n" + command + b"\n", "wrap", ""
    if words[:1] == [":"]:
        raise ScriptError(["heterogeneous jobs (:) are not supported by this version of Penstock"])
    try:
        if not words:
            return _read(0), PROGRAM, ""
        path = find_script(words[0])
        with open(path, "rb", 0) as file:
            script = _read(file.fileno())
    except OSError:
        raise ScriptError([f"Unable to open file {words[0] if words else 'stdin'}"]) from None
    return script, os.path.basename(path), os.path.abspath(path)


def find_script(name: str) -> str:
    """As Slurm looks: the name itself when it begins with a dot or slash, the current folder, the folders of PATH."""
    if name[:1] in ("/", ".") and os.access(name, os.R_OK):
        return name
    if not name.startswith("/"):
        if os.path.isfile(name) and os.access(name, os.R_OK):
            return name
        for folder in os.environ.get("PATH", "").split(":"):
            candidate = os.path.join(folder or ".", name)
            if "/" not in name and os.path.isfile(candidate) and os.access(candidate, os.R_OK):
                return candidate
    raise FileNotFoundError(name)


def compose(
    merged: Options, arguments: Sequence[str], words: Sequence[str], name: str, path: str
) -> tuple[dict[str, object], dict[bytes, bytes]]:
    """The fields of the request and the job's environment."""
    import time

    fields: dict[str, object] = {"name": name.encode("utf-8", "replace").decode()}
    fields.update(build(merged, PROGRAM, int(time.time())))
    for line in settle(fields, PROGRAM):
        if not merged.text("quiet"):
            _stderr(f"{PROGRAM}: {line}")
    fields.update(describe_submitter(merged, PROGRAM, arguments))
    if path:
        fields["command"] = path
        fields["argv"] = list(words[1:])
    form = merged.text("export")
    base = read_file(merged.text("export_file")) if "export_file" in merged else None
    environment, login = choose(os.environb, form, base)
    if "distribution" in merged:
        environment[b"SLURM_DISTRIBUTION"] = distribution(merged.text("distribution")).encode()
    if merged.text("dependency"):
        environment[b"SLURM_JOB_DEPENDENCY"] = merged.text("dependency").encode("utf-8", "surrogateescape")
    if form:
        fields["export"] = form
    if login:
        fields["get_user_env"] = True
    return fields, environment


def distribution(text: str) -> str:
    """-m is for the job's steps, which find it in their environment; the levels below nodes are not placed yet."""
    levels = text.split(":")
    if (
        levels[0] not in ("block", "cyclic", "*")
        or any(level not in ("*", "block", "cyclic", "fcyclic") for level in levels)
        or len(levels) > 3
    ):
        detail = f"--distribution={text[:64]}: block or cyclic is supported"
        raise InvalidOption([f"{PROGRAM}: error: {detail}", f"{PROGRAM}: error: Invalid --distribution specification"], 255)
    return text


def send(fields: dict[str, object], script: bytes, environment: dict[bytes, bytes]) -> tuple[str, str]:
    """Job id and, where the controller names it, cluster. While the queue is full it tries again, as sbatch does."""
    import time

    for attempt in range(1, RETRIES_MAX + 1):
        try:
            reply = lite.request({"op": "submit", "id": lite.new_id(), **fields}, _sections(script, environment))
            job_id, _, cluster = reply.partition("\t")
            return job_id, cluster
        except lite.Refused as error:
            if error.number not in (QUEUE_FULL, BACK_OFF) or attempt == RETRIES_MAX:
                raise
            if attempt == 1:
                _stderr(f"{PROGRAM}: error: Slurm job queue full, sleeping and retrying")
            time.sleep(attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def test_only(fields: dict[str, object], script: bytes, environment: dict[bytes, bytes]) -> int:
    """Prints when and where the job would start; nothing is submitted."""
    try:
        lite.request({"op": "foresee"})
        sentence = lite.request({"op": "test_only", **fields}, _sections(script, environment))
    except lite.Refused as error:
        for line in filter(None, error.detail.split("\n")):
            _stderr(f"{PROGRAM}: error: {line}")
        _stderr(f"allocation failure: {error.text}")
        return _exit_error()
    _stderr(f"{PROGRAM}: {sentence}")
    return 0


def wait(job_id: str) -> int:
    """The job's exit status (1 for a signal, the highest of an array), once it ended."""
    try:
        return int(lite.request({"op": "wait_job", "job_id": int(job_id)}, held=True)) & 0xFF
    except (lite.Refused, lite.Unreachable) as error:
        _stderr(f"{PROGRAM}: error: Unable to wait for job {job_id}, which stays submitted: {error.text}")
        return _exit_error()


def describe(merged: Options) -> None:
    """-v: what was understood, in sbatch's own layout."""
    lines = ["defined options", "-------------------- --------------------"]
    for key in sorted(merged.values):
        value = merged.values[key]
        shown = "set" if value in (None, "yes") else value
        lines.append(f"{key.replace('_', '-'):<20}: {shown}")
    lines += ["-------------------- --------------------", "end of defined options"]
    _stderr("\n".join(f"{PROGRAM}: {line}" for line in lines))


def _sections(script: bytes, environment: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    packed = pack(environment)
    if len(packed) > lite.ENVIRONMENT_MAX_BYTES:
        raise ScriptError([f"The environment has {len(packed)} bytes, at most {lite.ENVIRONMENT_MAX_BYTES} are allowed (see --export)"])
    return script, packed


def _without_meaningless(settings: Sequence[options.Setting]) -> list[options.Setting]:
    kept = []
    for entry, value in settings:
        if options.destination(entry) in ("wrap", "help", "usage", "version"):
            _stderr(f"{PROGRAM}: warning: --{entry[options.LONG]} means nothing inside a batch script")
        else:
            kept.append((entry, value))
    return kept


def _read(descriptor: int) -> bytes:
    """At most one byte more than a script may have."""
    pieces = []
    left = MAX_SCRIPT_BYTES + 1
    while left > 0:
        piece = os.read(descriptor, min(left, 1 << 20))
        if not piece:
            break
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _exit_error() -> int:
    text = os.environ.get("SLURM_EXIT_ERROR", "")
    return int(text) & 0xFF if text.isdecimal() and len(text) < 4 and int(text) else 1


def _stdout(text: str) -> None:
    os.write(1, text.encode("utf-8", "surrogateescape") + b"\n")


def _stderr(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:  # a closed stderr changes nothing of what was done
        pass
