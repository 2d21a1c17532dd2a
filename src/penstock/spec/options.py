"""Command-line parsing for every command: what getopt_long accepts, over plain tables, without its import cost.

Rules: long options may be shortened to a unique prefix; `--x=y` and `--x y`; short values may be glued (`-n4`, `-I60`); an optional value
is taken only when glued; short flags may be bundled; `--` ends the options. Errors have getopt's words, then the nearest known name.

An entry of a table is a tuple of eight fields (the indices below):
  LONG         name without dashes, "" if there is none
  SHORT        letter, "" if there is none
  ARGUMENT     NONE, REQUIRED or OPTIONAL
  DESTINATION  key of the merged options, `key=value` for a flag that means a value, "" = the long name with underscores
  COMMANDS     letters of the commands that have it: b sbatch, a salloc, r srun; tables of a single command use "*"
  ENVIRONMENT  input variables, blank-separated; a command reads those that begin with one of its prefixes (PREFIXES)
  STATUS       SUPPORTED; RECORDED (kept and shown, decides nothing yet); WARNED (accepted, a warning says what does not happen);
               REFUSED (an error)
  EVIDENCE     SUPPORTED, RECORDED: `file:function` of the test that observes the effect; WARNED, REFUSED: the reason the user reads

Guarantees: no option is parsed and then ignored without a word; precedence is command line, environment, script; every failure is
`InvalidOption` with complete lines and the exit status that Slurm uses (255 for sbatch, salloc, srun; 1 elsewhere).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Final

    Entry = tuple[str, str, int, str, str, str, str, str]
    Setting = tuple[Entry, str | None]

LONG: Final = 0
SHORT: Final = 1
ARGUMENT: Final = 2
DESTINATION: Final = 3
COMMANDS: Final = 4
ENVIRONMENT: Final = 5
STATUS: Final = 6
EVIDENCE: Final = 7
NONE, REQUIRED, OPTIONAL = range(3)
SUPPORTED, RECORDED, WARNED, REFUSED = "supported", "recorded", "warned", "refused"

LETTERS = {"sbatch": "b", "salloc": "a", "srun": "r"}
PREFIXES = {
    "sbatch": ("SBATCH_", "SLURM_CLUSTERS"),
    "salloc": ("SALLOC_", "SLURM_CLUSTERS"),
    "srun": ("SLURM_", "SRUN_", "SLURMD_"),
    "squeue": ("SQUEUE_", "SLURM_CLUSTERS"),
    "sinfo": ("SINFO_", "SLURM_CLUSTERS"),
    "sacct": ("SACCT_",),
    "scancel": ("SCANCEL_", "SLURM_CLUSTERS"),
    "scontrol": ("SCONTROL_", "SLURM_CLUSTERS"),
}
FROM_SCRIPT, FROM_ENVIRONMENT, FROM_COMMAND_LINE = 1, 2, 3
ARGUMENTS_MAX = 65536
"""Most words of a command line or of a script's directives together."""

NEUTRAL = {
    "accel-bind": ("n",),
    "clusters": ("",),
    "compress": ("none",),
    "distribution": ("*", "block"),
    "hint": ("compute_bound", "multithread"),
    "mem-bind": ("none", "q", "quiet"),
    "mpi": ("none",),
    "no-kill": ("off", "no"),
    "oom-kill-step": ("0",),
    "profile": ("none",),
    "runtime": ("none",),
    "threads-per-core": ("2",),
    "wait-all-nodes": ("1",),
    "x11": ("none",),
}
"""Values of refused options that ask for what happens anyway: accepted."""

EXCLUSIVE_GROUPS = (("mem", "mem_per_cpu", "mem_per_gpu"), ("cpus_per_task", "cpus_per_gpu"))
"""Destinations of which one may be given; one from a stronger source replaces one from a weaker source."""


class InvalidOption(Exception):
    """The command cannot go on: `lines` are printed to stderr as they are, `status` is the exit status."""

    def __init__(self, lines: list[str], status: int) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.status = status


class Options:
    """Merged options: `values` by destination, where each came from (`sources`), the values that lost, and warnings for the user.

    A flag has the value "yes", an optional value that was left out is None, `verbose` and `quiet` count their uses in decimal.
    """

    __slots__ = ("overridden", "sources", "values", "warnings")

    def __init__(self) -> None:
        self.values: dict[str, str | None] = {}
        self.sources: dict[str, int] = {}
        self.overridden: list[tuple[str, str | None]] = []
        self.warnings: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def text(self, key: str) -> str:
        """The value, "" if it was not given."""
        return self.values.get(key) or ""


def status_of(program: str) -> int:
    """Exit status for a bad option."""
    return 255 if program in LETTERS else 1


def destination(entry: Entry) -> str:
    """The key that the entry sets in `Options.values`."""
    return _meaning(entry).partition("=")[0]


def entries(table: Sequence[Entry], program: str) -> list[Entry]:
    """The table's entries that `program` has."""
    letter = LETTERS.get(program, "*")
    return [entry for entry in table if letter in entry[COMMANDS]]


def parse(arguments: Sequence[str], known: Sequence[Entry], program: str, permute: bool = False) -> tuple[list[Setting], list[str]]:
    """Options in the order typed, and the other words. Without `permute` the first other word ends the options.

    `known` comes from `entries`. Raises InvalidOption, also for options that Slurm has and this version does not support.
    """
    if len(arguments) > ARGUMENTS_MAX:
        raise InvalidOption([f"{program}: error: {len(arguments)} arguments, at most {ARGUMENTS_MAX} are allowed"], status_of(program))
    settings: list[Setting] = []
    words: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        index += 1
        if word == "--":
            words.extend(arguments[index:])
            break
        if len(word) < 2 or word[0] != "-":
            words.append(word)
            if permute:
                continue
            words.extend(arguments[index:])
            break
        if word[1] == "-":
            name, glued, value = word[2:].partition("=")
            entry = _find_long(name, word, known, program)
            if entry[ARGUMENT] == NONE and glued:
                raise _usage_error(program, f"option '--{entry[LONG]}' doesn't allow an argument")
            if entry[ARGUMENT] == REQUIRED and not glued:
                if index == len(arguments):
                    raise _usage_error(program, f"option '--{entry[LONG]}' requires an argument")
                value = arguments[index]
                index += 1
                glued = "="
            settings.append((entry, value if glued else None))
            refuse(entry, value if glued else None, program)
            continue
        position = 1
        while position < len(word):
            letter = word[position]
            position += 1
            entry = _find_short(letter, known, program)
            value_or_none: str | None = None
            if entry[ARGUMENT] != NONE:
                if position < len(word):
                    value_or_none = word[position:]
                elif entry[ARGUMENT] == REQUIRED:
                    if index == len(arguments):
                        raise _usage_error(program, f"option requires an argument -- '{letter}'")
                    value_or_none = arguments[index]
                    index += 1
                position = len(word)
            settings.append((entry, value_or_none))
            refuse(entry, value_or_none, program)
    return settings, words


def refuse(entry: Entry, value: str | None, program: str, origin: str = "") -> None:
    """Raises InvalidOption for an option of Slurm that this version does not have; `origin` names the variable that set it."""
    if entry[STATUS] != REFUSED or value in NEUTRAL.get(entry[LONG], ()):
        return
    name = f"--{entry[LONG]}" if entry[LONG] else f"-{entry[SHORT]}"
    by = f"{origin}: " if origin else ""
    raise InvalidOption([f"{program}: error: {by}option {name} is not supported by this version of Penstock ({entry[EVIDENCE]})"], 1)


def merge(
    known: Sequence[Entry],
    program: str,
    environment: Mapping[str, str],
    command_line: Sequence[Setting],
    script: Sequence[Setting] = (),
) -> Options:
    """One value a destination: the command line's, else the environment's, else the script's; in one source the last one wins."""
    options = Options()
    for entry, value in script:
        _set(options, entry, value, FROM_SCRIPT)
    prefixes = PREFIXES.get(program, ())
    given = {name: value for name, value in environment.items() if name.startswith(prefixes)} if prefixes else {}
    if given:
        for entry in known:
            for name in entry[ENVIRONMENT].split():
                if name in given:
                    _set_from_environment(options, entry, name, given[name], program)
    for entry, value in command_line:
        _set(options, entry, value, FROM_COMMAND_LINE)
    for group in EXCLUSIVE_GROUPS:
        _keep_strongest(options, group, program)
    return options


def is_true(value: str) -> bool:
    """Whether an input variable of a flag switches it on: empty, yes, or a number that is not zero."""
    lowered = value.strip().lower()
    if lowered.lstrip("+-").isdecimal():
        return int(lowered[:20]) != 0
    return lowered in ("", "y", "yes", "true")


def nearest(name: str, known: Sequence[Entry]) -> str:
    """The known long name with the smallest edit distance to `name`, "" if none is near."""
    name = name[:64]
    best, best_distance = "", max(2, len(name) // 2) + 1
    for entry in known:
        candidate = entry[LONG]
        if candidate and abs(len(candidate) - len(name)) < best_distance:
            distance = _edit_distance(name, candidate)
            if distance < best_distance:
                best, best_distance = candidate, distance
    return best


def _find_long(name: str, word: str, known: Sequence[Entry], program: str) -> Entry:
    matches = []
    for entry in known:
        if entry[LONG] == name:
            return entry
        if name and entry[LONG].startswith(name):
            matches.append(entry)
    if not matches:
        near = nearest(name, known)
        hint = [f"{program}: the nearest known option is '--{near}'"] if near else []
        raise _usage_error(program, f"unrecognized option '{word}'", hint)
    first = matches[0]
    if any(_meaning(entry) != _meaning(first) for entry in matches[1:]):
        names = " ".join(f"'--{entry[LONG]}'" for entry in matches)
        raise _usage_error(program, f"option '{word}' is ambiguous; possibilities: {names}")
    return first


def _meaning(entry: Entry) -> str:
    return entry[DESTINATION] or entry[LONG].replace("-", "_")


def _find_short(letter: str, known: Sequence[Entry], program: str) -> Entry:
    for entry in known:
        if entry[SHORT] == letter:
            return entry
    raise _usage_error(program, f"invalid option -- '{letter}'")


def _usage_error(program: str, text: str, hint: Sequence[str] = ()) -> InvalidOption:
    lines = [f"{program}: {text}", *hint]
    lines.append(f'Try "{program} --help" for more information')
    return InvalidOption(lines, status_of(program))


def _set(options: Options, entry: Entry, value: str | None, source: int) -> None:
    key, _, constant = _meaning(entry).partition("=")
    if entry[STATUS] == WARNED:
        warning = f"--{entry[LONG]}: {entry[EVIDENCE]}"
        if warning not in options.warnings:
            options.warnings.append(warning)
    if key in ("verbose", "quiet") and entry[ARGUMENT] == NONE:
        before = options.values.get(key) if options.sources.get(key) == source else None
        value = value if value is not None else str(int(before or "0") + 1)
    elif constant:
        value = constant
    elif entry[ARGUMENT] == NONE:
        value = "yes"
    if options.values.get(key, value) != value:
        options.overridden.append((key, options.values[key]))
    options.values[key] = value
    options.sources[key] = source


def _set_from_environment(options: Options, entry: Entry, name: str, value: str, program: str) -> None:
    if entry[ARGUMENT] == NONE:
        if entry[LONG] in ("verbose", "quiet"):
            if value.isdecimal() and len(value) < 4:
                _set(options, entry, value, FROM_ENVIRONMENT)
            return
        if not is_true(value):
            return
        refuse(entry, None, program, name)
        _set(options, entry, None, FROM_ENVIRONMENT)
        return
    argument = None if entry[ARGUMENT] == OPTIONAL and not value else value
    refuse(entry, argument, program, name)
    _set(options, entry, argument, FROM_ENVIRONMENT)


def _keep_strongest(options: Options, group: tuple[str, ...], program: str) -> None:
    given = [key for key in group if key in options.values]
    if len(given) < 2:
        return
    strongest = max(options.sources[key] for key in given)
    winners = [key for key in given if options.sources[key] == strongest]
    if len(winners) > 1:
        names = [f"--{key.replace('_', '-')}" for key in group]
        text = f"{', '.join(names[:-1])}{',' if len(names) > 2 else ''} and {names[-1]} are mutually exclusive."
        raise InvalidOption([f"{program}: fatal: {text}"], 1)
    for key in given:
        if key not in winners:
            options.overridden.append((key, options.values[key]))
            del options.values[key], options.sources[key]


def _edit_distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]
