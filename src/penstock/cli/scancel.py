"""scancel: ends or signals jobs and steps.

The filters are evaluated by the controller. Operation `cancel`, fields (absent = not given):

  id           hex, one a command
  jobs         list: selectors as typed and checked: `12`, `12_3`, `12_[1-3]`, `12.0`
  account name nodelist partition qos reservation wckey      text
  uid          int, the user whose jobs are meant
  states       list of long state names, e.g. PENDING
  signal       int; absent = end the job (SIGCONT, SIGTERM, KillWait, SIGKILL)
  batch        bool: the batch shell only
  full         bool: the batch shell and all it started

The final reply has a line for each job or step looked at, joined by tabs: shown id, `job` or `step`, error number (0 = done), text.
Operation `cancel_list` takes the same fields, changes nothing, and replies a line each: shown id, `job` or `step`, name, partition.

Guarantees: texts and exit statuses are Slurm's. An unknown or finished job is no error unless filters or a signal were given.
"""

from __future__ import annotations

import os
import sys

from penstock.spec import options
from penstock.spec.options import InvalidOption, Options
from penstock.spec.options_control import SCANCEL
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = "scancel"
SELECTORS_MAX = 65536
"""Most ids of one command."""
GONE = ("2017", "2021", "2084")
"""Error numbers that a plain `scancel ID` keeps silent about: unknown, completing, finished."""
FILTERS = ("account", "name", "nodelist", "partition", "qos", "reservation", "wckey")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return cancel(arguments)
    except InvalidOption as error:
        _stderr("\n".join(error.lines))
        return error.status
    except (lite.Unreachable, lite.Refused) as error:
        if error.detail:
            _stderr(f"{PROGRAM}: error: {error.detail}")
        _stderr(f"{PROGRAM}: error: {error.text}")
        return 1
    except (ValueError, OSError) as error:
        _stderr(f"{PROGRAM}: error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def cancel(arguments: Sequence[str]) -> int:
    """Everything from the command line to the exit status; failures are exceptions."""
    known = options.entries(SCANCEL, PROGRAM)
    settings, words = options.parse(arguments, known, PROGRAM, permute=True)
    typed = {options.destination(entry) for entry, _ in settings}
    for key in ("help", "usage", "version"):
        if key in typed:
            from penstock.cli.manual import show

            show(PROGRAM, key, known)
            return 0
    merged = options.merge(known, PROGRAM, os.environ, settings)
    for warning in merged.warnings:
        _stderr(f"{PROGRAM}: warning: {warning}")
    fields = compose(merged, words)
    if "interactive" in merged:
        chosen = ask(fields)
        if not chosen:
            return 0
        fields = {key: fields[key] for key in ("signal", "batch", "full") if key in fields}
        fields["jobs"] = chosen
    reply = lite.request({"op": "cancel", "id": lite.new_id(), **fields})
    return report(reply, merged, plain=set(fields) == {"jobs"} and "interactive" not in merged, fields=fields)


def compose(merged: Options, words: Sequence[str]) -> dict[str, object]:
    """The fields of the request; InvalidOption in Slurm's words."""
    fields: dict[str, object] = {}
    jobs = [selector for word in words for selector in _selectors(word)]
    if len(jobs) > SELECTORS_MAX:
        raise _fail(f"{len(jobs)} job ids, at most {SELECTORS_MAX} are allowed")
    if jobs:
        fields["jobs"] = jobs
    for key in FILTERS:
        if key in merged:
            fields[key] = merged.text(key)
    if "nodelist" in merged:
        from penstock.spec.hostlist import count

        try:
            count(merged.text("nodelist"))
        except ValueError as error:
            raise _fail(str(error)) from None
    if "state" in merged:
        fields["states"] = _states(merged.text("state"))
    if "user" in merged:
        fields["uid"] = _uid(merged.text("user"))
    if "me" in merged:
        fields["uid"] = os.getuid()
    if not fields:
        raise _fail("No job identification provided")
    if "signal" in merged:
        fields["signal"] = _signal(merged.text("signal"))
    for key in ("batch", "full"):
        if key in merged:
            fields[key] = True
    return fields


def ask(fields: dict[str, object]) -> list[str]:
    """The ids that the user agrees to, one question each."""
    chosen = []
    for line in filter(None, lite.request({"op": "cancel_list", **fields}).split("\n")):
        shown, kind, name, partition = line.split("\t")
        os.write(1, f"Cancel {kind}_id={shown} name={name} partition={partition} [y/n]? ".encode("utf-8", "surrogateescape"))
        answer = _answer()
        if answer == "":  # end of input: nothing more is agreed to
            os.write(1, b"\n")
            break
        if answer[:1] in "yY":
            chosen.append(shown)
    return chosen


def report(reply: str, merged: Options, plain: bool, fields: dict[str, object]) -> int:
    """Prints the errors that matter (-v: also what was done), and gives the exit status."""
    quiet, verbose = bool(merged.text("quiet")), bool(merged.text("verbose"))
    status = 0
    lines = [line for line in reply.split("\n") if line]
    for line in lines:
        shown, kind, number, text = line.split("\t", 3)
        kind = "step" if "." in shown else kind  # a step of an unknown job comes back as a job
        if verbose:
            whole = "batch job" if "batch" in fields else "job"
            target = whole if kind == "job" else "step"
            _stderr(
                f"{PROGRAM}: "
                + (f"Signal {fields['signal']} to {target} {shown}" if "signal" in fields else f"Terminating {target} {shown}")
            )
        if number == "0":
            continue
        silent = plain and kind == "job" and number in GONE
        if not silent:
            status = 1
        if (not silent or verbose) and not quiet:
            what = "job id" if kind == "job" else "job step id"
            _stderr(f"{PROGRAM}: error: Kill job error on {what} {shown}: {text}")
    if not lines and verbose:
        filters = " ".join(
            f"{'job_name' if key == 'name' else key}={merged.text(key)}" for key in (*FILTERS, "state", "user") if key in merged
        )
        _stderr(f"{PROGRAM}: error: No active jobs match ALL job filters, including: {filters} ")
    return status


def _selectors(word: str) -> list[str]:
    """The ids of a comma list, each checked."""
    from penstock.spec.jobids import parse_job_ids

    try:
        selectors = [str(selector) for selector in parse_job_ids(word)]
    except ValueError:
        selectors = []
    if not selectors:
        raise _fail(f"Invalid job id {word[:64]}")
    return selectors


def _states(text: str) -> list[str]:
    from penstock.spec.states import job_state, parse_job_state

    try:
        return [job_state(parse_job_state(word)) for word in text.split(",")]
    except ValueError:
        lines = [f"Invalid job state specified: {text[:64]}", "Valid job states are PENDING, RUNNING, and SUSPENDED"]
        raise InvalidOption(lines, 1) from None


def _signal(text: str) -> int:
    from penstock.spec.signals import parse_signal

    try:
        return parse_signal(text)
    except ValueError:
        raise InvalidOption([f"Unknown job signal: {text[:64]}"], 1) from None


def _uid(text: str) -> int:
    import pwd

    try:
        return pwd.getpwnam(text).pw_uid
    except (KeyError, ValueError):
        if text.isascii() and text.isdigit() and len(text) <= 10:
            return int(text)
        raise _fail(f"Invalid user name: {text[:64]}") from None


def _answer() -> str:
    """A line of standard input, "" at its end."""
    line = b""
    while not line.endswith(b"\n") and len(line) < 4096:
        piece = os.read(0, 1)
        if not piece:
            break
        line += piece
    return line.decode("utf-8", "replace")


def _fail(text: str) -> InvalidOption:
    return InvalidOption([f"{PROGRAM}: error: {text}"], 1)


def _stderr(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:  # a closed stderr changes nothing of what was done
        pass
