"""What the text of one option means: the value that goes into the request, or Slurm's complaint.

Each function takes the text as typed and the program that complains. Guarantees: every number is checked against a named bound;
`InvalidOption` carries Slurm's words and exit status; a grammar is imported only by the option that needs it. What several options mean
together is `request`'s.
"""

from __future__ import annotations

from penstock.spec.options import InvalidOption, status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COUNT_MAX = 2**31 - 3
"""Largest count of nodes, tasks, CPUs or devices (Slurm's INT_MAX less the two reserved values)."""
MEMORY_MAX_MIB = 2**43
"""8 EiB: a larger memory request is a mistake."""
TIME_MAX_S = 60 * (2**31 - 3)
"""Largest time limit, 4,085 years; more is written UNLIMITED."""
NICE_MAX = 2147483645
SIGNAL_LEAD_MAX_S = 65535
STRING_MAX_BYTES = 1 << 20
"""Longest text of a request: Slurm's limit of the submit line."""
ITEMS_MAX = 65536
"""Longest list of a request (arguments of a script)."""
PATH_MAX_CHARACTERS = 4096
MAIL_TYPES = ("BEGIN", "END", "FAIL", "REQUEUE", "INVALID_DEPEND", "STAGE_OUT")
"""What --mail-type=ALL stands for."""
MAIL_TYPES_BESIDE = ("TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS")
NICE_DEFAULT = 100
"""The niceness that --nice adds when it stands alone."""


def fail(program: str, texts: Sequence[str], status: int) -> InvalidOption:
    return InvalidOption([f"{program}: error: {text}" for text in texts], status)


def malformed(option: str, program: str, detail: object = "") -> InvalidOption:
    text = f"Invalid --{option.replace('_', '-')} specification"
    return fail(program, [str(detail), text] if detail else [text], status_of(program))


def number(text: str | None, option: str, program: str, low: int = 1, high: int = COUNT_MAX) -> int:
    """A whole number within bounds; Slurm's complaint and exit status 1 otherwise."""
    stripped = (text or "").strip()
    digits = stripped[1:] if stripped[:1] == "+" else stripped
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(digits) <= high):
        raise fail(program, [f'Invalid numeric value "{(text or "")[:64]}" for {option}.'], 1)
    return int(digits)


def node_counts(text: str, program: str) -> tuple[int, int]:
    from penstock.spec.quantities import parse_node_count

    low, dash, high = text.partition("-")
    if dash and low.isdecimal() and high.isdecimal() and 0 < int(high[:20]) < int(low[:20]):
        raise fail(program, [f"Maximum node count {high} is less than minimum node count {low}"], status_of(program))
    try:
        return parse_node_count(text)
    except ValueError:
        raise fail(program, [f'"{text[:64]}" is not a valid node count'], status_of(program)) from None


def memory_mib(text: str, option: str, program: str) -> int:
    from penstock.spec.quantities import parse_memory

    try:
        return parse_memory(text, f"--{option.replace('_', '-')}")
    except ValueError as error:
        raise malformed(option, program, error) from None


def gres_items(text: str, option: str, program: str) -> list[str]:
    from penstock.spec.gres import parse_gpus, parse_gres

    name = f"--{option.replace('_', '-')}"
    try:
        return [str(item) for item in (parse_gres(text, name) if option == "gres" else parse_gpus(text, name))]
    except ValueError as error:
        raise fail(program, [str(error), "Invalid generic resource (gres) specification"], 1) from None


def node_list(text: str, program: str) -> str:
    """A hostlist, or the text of the file it names when it holds a slash."""
    from penstock.spec.hostlist import count

    if "/" in text and "[" not in text:
        text = read_node_file(text, program)
    try:
        count(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Invalid node name specified"], 1) from None
    return text


def read_node_file(path: str, program: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(STRING_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise fail(program, [f"Unable to read the node file {path}: {error}", "Invalid node name specified"], 1) from None
    if len(text) > STRING_MAX_BYTES:
        raise fail(program, [f"The node file {path} is longer than {STRING_MAX_BYTES} bytes", "Invalid node name specified"], 1)
    return ",".join(text.replace(",", " ").split())


def time_limit_s(text: str, option: str, program: str) -> int:
    from penstock.spec.times import parse_time_limit

    try:
        limit_s = parse_time_limit(text, f"--{option.replace('_', '-')}")
    except ValueError as error:
        raise malformed(option, program, error) from None
    if limit_s is not None and limit_s > TIME_MAX_S:
        raise malformed(option, program, f"{text[:64]} is longer than {TIME_MAX_S // 60} minutes, write UNLIMITED")
    return limit_s or 0


def moment_s(text: str, option: str, now_s: int, program: str) -> int:
    from penstock.spec.times import parse_time

    try:
        return parse_time(text, now_s)
    except ValueError as error:
        raise malformed(option, program, error) from None


def level(text: str, program: str) -> str:
    from penstock.spec.levels import parse_level

    try:
        parse_level(text)
    except ValueError as error:
        raise malformed("topology", program, error) from None
    return text


def niceness(text: str | None, program: str) -> int:
    if text is None:
        return NICE_DEFAULT
    stripped = text.strip()
    digits = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    if not (digits.isascii() and digits.isdigit()):
        raise fail(program, [f'Invalid numeric value "{text[:64]}" for --nice.'], 1)
    if len(digits) > 12 or int(digits) > NICE_MAX:
        raise fail(program, [f"Invalid --nice value, out of range (+/- {NICE_MAX})"], status_of(program))
    return int(stripped)


def requeue(value: str | None, program: str) -> bool:
    if value == "expedite":
        raise fail(program, ["option --requeue=expedite is not supported by this version of Penstock (use --requeue)"], 1)
    if value == "no":
        return False
    if value in (None, "", "yes", "1"):
        return True
    raise malformed("requeue", program)


def dependency(text: str, program: str) -> str:
    from penstock.spec.dependency import parse

    try:
        parse(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Job dependency problem"], 1) from None
    return text


def array(text: str, program: str) -> str:
    from penstock.spec.arrays import parse_array

    try:
        parse_array(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Invalid job array specification"], 1) from None
    return text


def yes_or_no(text: str, option: str, program: str) -> bool:
    if text.lower() in ("yes", "no"):
        return text.lower() == "yes"
    raise malformed(option, program, f"--{option}={text[:64]}: yes or no is allowed")


def file_pattern(text: str, option: str, program: str) -> str:
    if len(text) > PATH_MAX_CHARACTERS or "\n" in text:
        raise malformed(option, program, f"--{option} is a path of at most {PATH_MAX_CHARACTERS} characters in one line")
    return "/dev/null" if text.lower() == "none" else text


def open_mode(text: str, program: str) -> str:
    for mode in ("append", "truncate"):
        if text and mode.startswith(text.lower()):
            return mode
    raise malformed("open-mode", program, f"--open-mode={text[:64]}: append or truncate is allowed")


def mail_types(text: str, program: str) -> list[str]:
    types: list[str] = []
    for word in text.upper().split(","):
        if word == "NONE":
            types = []
        elif word == "ALL":
            types.extend(name for name in MAIL_TYPES if name not in types)
        elif word in MAIL_TYPES or word in MAIL_TYPES_BESIDE:
            if word not in types:
                types.append(word)
        else:
            allowed = " ".join(("NONE", "ALL", *MAIL_TYPES, *MAIL_TYPES_BESIDE))
            raise malformed("mail-type", program, f"--mail-type: {word[:64]!r} is unknown, allowed are {allowed}")
    return types


def check_login_timeout(text: str, program: str) -> None:
    """`--get-user-env[=SECONDS][S|L]`: checked; the bound on reading the login environment is the agent's."""
    if text and not (text.rstrip("SL").isdigit() or text in ("S", "L", "yes")):
        raise malformed("get-user-env", program)
