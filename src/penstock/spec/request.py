"""From merged options to the submit request: the contract between the commands and the engine.

The request is one flat object of text, integers, booleans and lists of text. An absent key was not given; the controller fills in the
defaults. The decoded twin is `penstock.engine.request.SubmitRequest`: same keys, same types, a test holds them together.

key                 type   meaning and unit
------------------  -----  -----------------------------------------------------------------------------------------------------------------
name                text   job name: --job-name, else the script's base name, `sbatch` (stdin), `wrap`, or the command of salloc/srun
partition           text   comma list, as typed
account qos wckey reservation comment
                    text   as typed; recorded and shown, validated by the controller where it can
constraint prefer   text   feature expressions (spec.constraints), as typed; checked by the controller, which knows the features
switches            int    most leaf switches, 1 or more
switch_wait_s       int    how long the job waits for so few; absent = max_switch_wait of the configuration
segment             int    nodes that come together in a base block, 1 or more
topology            text   level within which the nodes lie (spec.levels), as typed; checked by the controller, which knows the levels
contiguous          bool   neighbours in the order of the nodes
nodes_min           int    1 or more; `-N 2` gives min and max, `-N 2-4` both, absent means "as many as the tasks need"
nodes_max           int    not below nodes_min
ntasks              int    1 or more
cpus_per_task       int    1 or more
ntasks_per_node     int    1 or more; with ntasks it is a maximum
ntasks_per_gpu      int    1 or more; the GPUs give the tasks, or ntasks the GPUs; excludes gpus_per_task and ntasks_per_node
mincpus             int    1 or more CPUs on each node
mem_per_node_mib    int    MiB a node, 0 = all memory of the node; excludes mem_per_cpu_mib
mem_per_cpu_mib     int    MiB a CPU, 0 = no limit is asked for
cpus_per_gpu        int    1 or more; excludes cpus_per_task
mem_per_gpu_mib     int    MiB a GPU, 1 or more; excludes the other two memory keys
gres                list   per node: `name:count` or `name:type:count`, count decimal (suffixes k m g t p are expanded)
gpus                list   of the job: `gpu:count` or `gpu:type:count`
gpus_per_node       list   same form, per node
gpus_per_task       list   same form, per task (ntasks or gpus is given too)
exclusive           bool   whole nodes
oversubscribe       bool   --oversubscribe was given: without an effect, of which the command warns
nodelist exclude    text   hostlists, as typed (files are read by the command); syntax checked, bounded
time_limit_s        int    seconds, a multiple of 60 (rounded up); 0 = unlimited asked for; absent = the partition's default
time_min_s          int    same form; the planner may lower the limit to it
begin_s             int    epoch seconds
deadline_s          int    epoch seconds; the job is to be over by then
licenses            text   as typed (spec.licenses); checked by the controller, which knows the licences
hold                bool   priority 0
nice                int    added to the niceness (--nice without a value: 100)
dependency          text   as typed, syntax checked; who and when are judged by the controller
kill_on_invalid_dep bool   yes/no
array               text   as typed, e.g. `0-9:2%4`; syntax checked, MaxArraySize is judged by the controller
requeue             bool   --requeue / --no-requeue; absent = JobRequeue of the configuration
signal_number       int    --signal: 1 to 64
signal_lead_s       int    seconds before the end, 60 if not typed
signal_batch        bool   `B:` only the batch shell; absent = only the steps
signal_reservation  bool   `R:` also when a reservation is about to overlap
immediate_s         int    salloc, srun: give up unless allocated in that many seconds (--immediate without a value: 1)
interactive         bool   salloc, srun: no script; the allocation ends with the connection
std_out std_err std_in
                    text   patterns as typed, relative to work_dir; absent = slurm-%j.out (slurm-%A_%a.out), the same, /dev/null
open_mode           text   `append` or `truncate`; absent = JobFileAppend of the configuration
work_dir            text   absolute
submit_dir          text   where the command was typed, when --chdir says otherwise
command             text   absolute path of the script (shown as Command=), absent for stdin and --wrap
argv                list   arguments of the script, without the script itself
mail_type           list   canonical names, e.g. BEGIN END FAIL TIME_LIMIT_80 ARRAY_TASKS; ALL is expanded, NONE is an empty request
mail_user           text   absent = the submitting user
export              text   `ALL` (also when absent), `NONE`, `NIL` or the list as typed: shown as SLURM_EXPORT_ENV. The environment section
                           of the frame is already filtered by it.
get_user_env        bool   the node adds the user's login environment under the sent one (also set for --export=NONE and lists without ALL)
submit_line         text   the command line as typed
alloc_node          text   host name of the submitting machine
alloc_sid           int    session id of the submitting shell
umask               int    of the submitter
rlimits             list   `NAME=soft`, NAME of submitter.RLIMIT_NAMES, soft a decimal or `unlimited`; only those to be propagated

These keys stand beside `op` and `id` in the frame's flat object, for the operations `submit` and `test_only`.
Frame sections of both: script bytes (empty for interactive requests), environment (`NAME=value` joined by NUL, raw bytes).

Guarantees: every number is checked against a named bound before it is sent; `InvalidOption` carries Slurm's words and exit status.
Assumes: `options.merge` merged the sources already. Only what was given is looked at, and a grammar is imported only if it is needed.
"""

from __future__ import annotations

from penstock.spec.options import InvalidOption, Options, status_of

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

COPIED = ("partition", "account", "qos", "wckey", "reservation", "comment", "constraint", "prefer", "licenses", "mail_user")
COUNTED = ("ntasks", "cpus_per_task", "ntasks_per_node", "ntasks_per_gpu", "mincpus", "cpus_per_gpu")
FILES = (("output", "std_out"), ("error", "std_err"), ("input", "std_in"))
NODE_LISTS = (("nodelist", "nodelist"), ("exclude", "exclude"))
GRES = (("gres", "gres"), ("gpus", "gpus"), ("gpus_per_node", "gpus_per_node"), ("gpus_per_task", "gpus_per_task"))


def build(options: Options, program: str, now_s: int) -> dict[str, object]:
    """The request that the merged options ask for, without what only the command knows (`describe_submitter`, script and argv).

    Raises InvalidOption with Slurm's words: exit status 255 for a malformed value, 1 for a number or a combination.
    """
    for key, value in options.overridden:  # a malformed value is an error although a stronger source replaces it
        build(_alone(key, value), program, now_s)
    values = options.values
    request: dict[str, object] = {}
    for key in COPIED:
        if key in values:
            request[key] = values[key] or ""
    if "job_name" in values:
        request["name"] = values["job_name"] or ""
    for key in COUNTED:
        if key in values:
            request[key] = number(values[key], "--" + key.replace("_", "-"), program)
    if "switches" in values:
        _switches(options.text("switches"), request, program)
    if "segment" in values:
        request["segment"] = number(values["segment"], "--segment", program)
    if "topology" in values:
        request["topology"] = _level(options.text("topology"), program)
    if "nodes" in values:
        request["nodes_min"], request["nodes_max"] = _nodes(options.text("nodes"), program)
    for key, target in (("mem", "mem_per_node_mib"), ("mem_per_cpu", "mem_per_cpu_mib"), ("mem_per_gpu", "mem_per_gpu_mib")):
        if key in values:
            request[target] = _memory(options.text(key), key, program)
    if request.get("mem_per_gpu_mib") == 0:  # asks for nothing
        del request["mem_per_gpu_mib"]
    for key, target in GRES:
        if key in values:
            request[target] = _gres(options.text(key), key, program)
    if request.get("gpus_per_task") and "ntasks" not in request and not request.get("gpus"):
        text = "Failed to validate job spec. --gpus-per-task used without either --gpus or -n/--ntasks is not allowed."
        raise fail(program, [text, "Invalid generic resource (gres) specification"], 1)
    if "ntasks_per_gpu" in request:
        _tasks_by_gpus(request, program)
    if "exclusive" in values:
        _exclusive(values["exclusive"], request, program)
    for key in ("oversubscribe", "contiguous"):
        if key in values:
            request[key] = True
    for key, target in NODE_LISTS:
        if key in values:
            request[target] = _node_list(options.text(key), program)
    if "nodefile" in values and "nodelist" not in values:
        request["nodelist"] = _node_list(_read_node_file(options.text("nodefile"), program), program)
    for key, target in (("time", "time_limit_s"), ("time_min", "time_min_s")):
        if key in values:
            request[target] = _time_limit(options.text(key), key, program)
    if _longer(request.get("time_min_s"), request.get("time_limit_s")):
        text = "Batch job submission failed: Invalid time-min specification (exceeds job's time or other limits)"
        raise fail(program, [text], 1)
    for key, target in (("begin", "begin_s"), ("deadline", "deadline_s")):
        if key in values:
            request[target] = _moment(options.text(key), key, now_s, program)
    if _before(request.get("deadline_s"), request.get("begin_s")):
        raise fail(program, ["Incompatible begin and deadline time specification"], 1)
    if "hold" in values:
        request["hold"] = True
    if "nice" in values:
        request["nice"] = _nice(values["nice"], program)
    if "requeue" in values:
        request["requeue"] = _requeue(values["requeue"], program)
    if "signal" in values:
        _signal(options.text("signal"), request, program)
    if values.get("dependency"):
        request["dependency"] = _dependency(options.text("dependency"), program)
    if "kill_on_invalid_dep" in values:
        request["kill_on_invalid_dep"] = _yes_or_no(options.text("kill_on_invalid_dep"), "kill-on-invalid-dep", program)
    if "array" in values:
        request["array"] = _array(options.text("array"), program)
    if "immediate" in values:
        seconds = values["immediate"]
        request["immediate_s"] = 1 if seconds is None else number(seconds, "--immediate", program, 0, TIME_MAX_S)
    for key, target in FILES:
        if key in values:
            request[target] = _file(options.text(key), key, program)
    if "open_mode" in values:
        request["open_mode"] = _open_mode(options.text("open_mode"), program)
    if "mail_type" in values:
        request["mail_type"] = _mail_types(options.text("mail_type"), program)
    if "get_user_env" in values:
        _login_timeout(options.text("get_user_env"), program)
        request["get_user_env"] = True
    return request


def _alone(key: str, value: str | None) -> Options:
    options = Options()
    options.values[key] = value
    if key == "gpus_per_task":  # which alone is malformed
        options.values["ntasks"] = "1"
    return options


def number(text: str | None, option: str, program: str, low: int = 1, high: int = COUNT_MAX) -> int:
    """A whole number within bounds; Slurm's complaint and exit status 1 otherwise."""
    stripped = (text or "").strip()
    digits = stripped[1:] if stripped[:1] == "+" else stripped
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and low <= int(digits) <= high):
        raise fail(program, [f'Invalid numeric value "{(text or "")[:64]}" for {option}.'], 1)
    return int(digits)


def fail(program: str, texts: Sequence[str], status: int) -> InvalidOption:
    return InvalidOption([f"{program}: error: {text}" for text in texts], status)


def _malformed(option: str, program: str, detail: object = "") -> InvalidOption:
    text = f"Invalid --{option.replace('_', '-')} specification"
    return fail(program, [str(detail), text] if detail else [text], status_of(program))


def _nodes(text: str, program: str) -> tuple[int, int]:
    from penstock.spec.quantities import parse_node_count

    low, dash, high = text.partition("-")
    if dash and low.isdecimal() and high.isdecimal() and 0 < int(high[:20]) < int(low[:20]):
        raise fail(program, [f"Maximum node count {high} is less than minimum node count {low}"], status_of(program))
    try:
        return parse_node_count(text)
    except ValueError:
        raise fail(program, [f'"{text[:64]}" is not a valid node count'], status_of(program)) from None


def _memory(text: str, option: str, program: str) -> int:
    from penstock.spec.quantities import parse_memory

    try:
        return parse_memory(text, f"--{option.replace('_', '-')}")
    except ValueError as error:
        raise _malformed(option, program, error) from None


def _gres(text: str, option: str, program: str) -> list[str]:
    from penstock.spec.gres import parse_gpus, parse_gres

    name = f"--{option.replace('_', '-')}"
    try:
        return [str(item) for item in (parse_gres(text, name) if option == "gres" else parse_gpus(text, name))]
    except ValueError as error:
        raise fail(program, [str(error), "Invalid generic resource (gres) specification"], 1) from None


def _tasks_by_gpus(request: dict[str, object], program: str) -> None:
    each, ntasks = request["ntasks_per_gpu"], request.get("ntasks")
    others = [key for key in ("gpus_per_task", "ntasks_per_node") if request.get(key)]
    gpus = request.get("gpus") or request.get("gpus_per_node") or request.get("gres")
    if others:
        text = f"--ntasks-per-gpu is mutually exclusive with --{others[0].replace('_', '-')}"
    elif not gpus and isinstance(ntasks, int) and isinstance(each, int) and ntasks % each:
        text = "Failed to validate job spec, -n/--ntasks has to be a multiple of --ntasks-per-gpu."
    elif not gpus and not ntasks:
        text = "--ntasks-per-gpu needs either a GRES GPU specification or a node/ntask specification"
    else:
        if not ntasks and isinstance(each, int):
            nodes = 1 if request.get("gpus") else request.get("nodes_min", 1)
            tasks = each * _gpus(request.get("gpus") or request.get("gpus_per_node") or request.get("gres"))
            if isinstance(nodes, int) and tasks and request.get("nodes_max", nodes) == nodes:
                request["ntasks"] = tasks * nodes
        return
    raise fail(program, [text, "Invalid generic resource (gres) specification"], 1)


def _gpus(items: object) -> int:
    return sum([int(item.rpartition(":")[2]) for item in items if item.startswith("gpu:")]) if isinstance(items, list) else 0


def _exclusive(value: str | None, request: dict[str, object], program: str) -> None:
    if value in ("user", "mcs", "topo"):
        raise fail(program, [f"option --exclusive={value} is not supported by this version of Penstock (only whole nodes)"], 1)
    if value not in (None, "", "yes", "exclusive", "node", "allocation"):
        raise _malformed("exclusive", program)
    request["exclusive"] = True


def _node_list(text: str, program: str) -> str:
    """A hostlist, or the text of the file it names when it holds a slash."""
    from penstock.spec.hostlist import count

    if "/" in text and "[" not in text:
        text = _read_node_file(text, program)
    try:
        count(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Invalid node name specified"], 1) from None
    return text


def _read_node_file(path: str, program: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(STRING_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise fail(program, [f"Unable to read the node file {path}: {error}", "Invalid node name specified"], 1) from None
    if len(text) > STRING_MAX_BYTES:
        raise fail(program, [f"The node file {path} is longer than {STRING_MAX_BYTES} bytes", "Invalid node name specified"], 1)
    return ",".join(text.replace(",", " ").split())


def _time_limit(text: str, option: str, program: str) -> int:
    from penstock.spec.times import parse_time_limit

    try:
        limit_s = parse_time_limit(text, f"--{option.replace('_', '-')}")
    except ValueError as error:
        raise _malformed(option, program, error) from None
    if limit_s is not None and limit_s > TIME_MAX_S:
        raise _malformed(option, program, f"{text[:64]} is longer than {TIME_MAX_S // 60} minutes, write UNLIMITED")
    return limit_s or 0


def _longer(minimum_s: object, limit_s: object) -> bool:
    """Whether the lowest limit is above the limit; 0 is unlimited."""
    return isinstance(minimum_s, int) and isinstance(limit_s, int) and limit_s > 0 and (minimum_s == 0 or minimum_s > limit_s)


def _before(deadline_s: object, begin_s: object) -> bool:
    return isinstance(deadline_s, int) and isinstance(begin_s, int) and deadline_s < begin_s


def _moment(text: str, option: str, now_s: int, program: str) -> int:
    from penstock.spec.times import parse_time

    try:
        return parse_time(text, now_s)
    except ValueError as error:
        raise _malformed(option, program, error) from None


def _switches(text: str, request: dict[str, object], program: str) -> None:
    """`COUNT[@TIME]`"""
    from penstock.spec.times import parse_duration

    count, at, wait = text.partition("@")
    request["switches"] = number(count, "--switches", program)
    if at:
        try:
            seconds = parse_duration(wait, "--switches")
        except ValueError as error:
            raise _malformed("switches", program, error) from None
        request["switch_wait_s"] = TIME_MAX_S if seconds is None else min(seconds, TIME_MAX_S)


def _level(text: str, program: str) -> str:
    from penstock.spec.levels import parse_level

    try:
        parse_level(text)
    except ValueError as error:
        raise _malformed("topology", program, error) from None
    return text


def _nice(text: str | None, program: str) -> int:
    if text is None:
        return NICE_DEFAULT
    stripped = text.strip()
    digits = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    if not (digits.isascii() and digits.isdigit()):
        raise fail(program, [f'Invalid numeric value "{text[:64]}" for --nice.'], 1)
    if len(digits) > 12 or int(digits) > NICE_MAX:
        raise fail(program, [f"Invalid --nice value, out of range (+/- {NICE_MAX})"], status_of(program))
    return int(stripped)


def _requeue(value: str | None, program: str) -> bool:
    if value == "expedite":
        raise fail(program, ["option --requeue=expedite is not supported by this version of Penstock (use --requeue)"], 1)
    if value == "no":
        return False
    if value in (None, "", "yes", "1"):
        return True
    raise _malformed("requeue", program)


def _signal(text: str, request: dict[str, object], program: str) -> None:
    from penstock.spec.signals import parse_signal_option

    try:
        wanted = parse_signal_option(text)
    except ValueError as error:
        raise _malformed("signal", program, error) from None
    request["signal_number"] = wanted.number
    request["signal_lead_s"] = wanted.lead_s
    if wanted.batch_only:
        request["signal_batch"] = True
    if wanted.for_reservation:
        request["signal_reservation"] = True


def _dependency(text: str, program: str) -> str:
    from penstock.spec.dependency import parse

    try:
        parse(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Job dependency problem"], 1) from None
    return text


def _array(text: str, program: str) -> str:
    from penstock.spec.arrays import parse_array

    try:
        parse_array(text)
    except ValueError as error:
        raise fail(program, [str(error), "Batch job submission failed: Invalid job array specification"], 1) from None
    return text


def _yes_or_no(text: str, option: str, program: str) -> bool:
    if text.lower() in ("yes", "no"):
        return text.lower() == "yes"
    raise _malformed(option, program, f"--{option}={text[:64]}: yes or no is allowed")


def _file(text: str, option: str, program: str) -> str:
    if len(text) > PATH_MAX_CHARACTERS or "\n" in text:
        raise _malformed(option, program, f"--{option} is a path of at most {PATH_MAX_CHARACTERS} characters in one line")
    return "/dev/null" if text.lower() == "none" else text


def _open_mode(text: str, program: str) -> str:
    for mode in ("append", "truncate"):
        if text and mode.startswith(text.lower()):
            return mode
    raise _malformed("open-mode", program, f"--open-mode={text[:64]}: append or truncate is allowed")


def _mail_types(text: str, program: str) -> list[str]:
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
            raise _malformed("mail-type", program, f"--mail-type: {word[:64]!r} is unknown, allowed are {allowed}")
    return types


def _login_timeout(text: str, program: str) -> None:
    """`--get-user-env[=SECONDS][S|L]`: checked; the bound on reading the login environment is the agent's."""
    if text and not (text.rstrip("SL").isdigit() or text in ("S", "L", "yes")):
        raise _malformed("get-user-env", program)
