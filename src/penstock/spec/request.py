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

from penstock.spec.options import Options
from penstock.spec.request_values import (
    TIME_MAX_S,
    array,
    check_login_timeout,
    dependency,
    fail,
    file_pattern,
    gres_items,
    level,
    mail_types,
    malformed,
    memory_mib,
    moment_s,
    niceness,
    node_counts,
    node_list,
    number,
    open_mode,
    read_node_file,
    requeue,
    time_limit_s,
    yes_or_no,
)

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
        request["topology"] = level(options.text("topology"), program)
    if "nodes" in values:
        request["nodes_min"], request["nodes_max"] = node_counts(options.text("nodes"), program)
    for key, target in (("mem", "mem_per_node_mib"), ("mem_per_cpu", "mem_per_cpu_mib"), ("mem_per_gpu", "mem_per_gpu_mib")):
        if key in values:
            request[target] = memory_mib(options.text(key), key, program)
    if request.get("mem_per_gpu_mib") == 0:  # asks for nothing
        del request["mem_per_gpu_mib"]
    for key, target in GRES:
        if key in values:
            request[target] = gres_items(options.text(key), key, program)
    if "ntasks_per_gpu" in request:
        from penstock.spec.sizes import tasks_by_gpus

        tasks_by_gpus(request, program)
    if request.get("gpus_per_task") and "ntasks" not in request and not request.get("gpus"):
        text = "Failed to validate job spec. --gpus-per-task used without either --gpus or -n/--ntasks is not allowed."
        raise fail(program, [text, "Invalid generic resource (gres) specification"], 1)
    if "exclusive" in values:
        _exclusive(values["exclusive"], request, program)
    for key in ("oversubscribe", "contiguous"):
        if key in values:
            request[key] = True
    for key, target in NODE_LISTS:
        if key in values:
            request[target] = node_list(options.text(key), program)
    if "nodefile" in values and "nodelist" not in values:
        request["nodelist"] = node_list(read_node_file(options.text("nodefile"), program), program)
    for key, target in (("time", "time_limit_s"), ("time_min", "time_min_s")):
        if key in values:
            request[target] = time_limit_s(options.text(key), key, program)
    if _longer(request.get("time_min_s"), request.get("time_limit_s")):
        text = "Batch job submission failed: Invalid time-min specification (exceeds job's time or other limits)"
        raise fail(program, [text], 1)
    for key, target in (("begin", "begin_s"), ("deadline", "deadline_s")):
        if key in values:
            request[target] = moment_s(options.text(key), key, now_s, program)
    if _before(request.get("deadline_s"), request.get("begin_s")):
        raise fail(program, ["Incompatible begin and deadline time specification"], 1)
    if "hold" in values:
        request["hold"] = True
    if "nice" in values:
        request["nice"] = niceness(values["nice"], program)
    if "requeue" in values:
        request["requeue"] = requeue(values["requeue"], program)
    if "signal" in values:
        _signal(options.text("signal"), request, program)
    if values.get("dependency"):
        request["dependency"] = dependency(options.text("dependency"), program)
    if "kill_on_invalid_dep" in values:
        request["kill_on_invalid_dep"] = yes_or_no(options.text("kill_on_invalid_dep"), "kill-on-invalid-dep", program)
    if "array" in values:
        request["array"] = array(options.text("array"), program)
    if "immediate" in values:
        seconds = values["immediate"]
        request["immediate_s"] = 1 if seconds is None else number(seconds, "--immediate", program, 0, TIME_MAX_S)
    for key, target in FILES:
        if key in values:
            request[target] = file_pattern(options.text(key), key, program)
    if "open_mode" in values:
        request["open_mode"] = open_mode(options.text("open_mode"), program)
    if "mail_type" in values:
        request["mail_type"] = mail_types(options.text("mail_type"), program)
    if "get_user_env" in values:
        check_login_timeout(options.text("get_user_env"), program)
        request["get_user_env"] = True
    return request


def settle(request: dict[str, object], program: str) -> list[str]:
    """Sizes of a job (not of a step) that must agree, see `spec.sizes`: what to say on stderr of nodes that were left out, a line each."""
    nodes, ntasks = request.get("nodes_min"), request.get("ntasks")
    few = isinstance(nodes, int) and isinstance(ntasks, int) and ntasks < nodes
    forms = [target for _, target in GRES if target in request]
    alone = not forms or (len(forms) == 1 and not (forms == ["gpus"] and nodes))
    if not few and alone and "nodelist" not in request:
        return []
    from penstock.spec import sizes

    return sizes.settle(request, program)


def _alone(key: str, value: str | None) -> Options:
    options = Options()
    options.values[key] = value
    if key == "gpus_per_task":  # which alone is malformed
        options.values["ntasks"] = "1"
    return options


def _exclusive(value: str | None, request: dict[str, object], program: str) -> None:
    if value in ("user", "mcs", "topo"):
        raise fail(program, [f"option --exclusive={value} is not supported by this version of Penstock (only whole nodes)"], 1)
    if value not in (None, "", "yes", "exclusive", "node", "allocation"):
        raise malformed("exclusive", program)
    request["exclusive"] = True


def _longer(minimum_s: object, limit_s: object) -> bool:
    """Whether the lowest limit is above the limit; 0 is unlimited."""
    return isinstance(minimum_s, int) and isinstance(limit_s, int) and limit_s > 0 and (minimum_s == 0 or minimum_s > limit_s)


def _before(deadline_s: object, begin_s: object) -> bool:
    return isinstance(deadline_s, int) and isinstance(begin_s, int) and deadline_s < begin_s


def _switches(text: str, request: dict[str, object], program: str) -> None:
    """`COUNT[@TIME]`"""
    from penstock.spec.times import parse_duration

    count, at, wait = text.partition("@")
    request["switches"] = number(count, "--switches", program)
    if at:
        try:
            seconds = parse_duration(wait, "--switches")
        except ValueError as error:
            raise malformed("switches", program, error) from None
        request["switch_wait_s"] = TIME_MAX_S if seconds is None else min(seconds, TIME_MAX_S)


def _signal(text: str, request: dict[str, object], program: str) -> None:
    from penstock.spec.signals import parse_signal_option

    try:
        wanted = parse_signal_option(text)
    except ValueError as error:
        raise malformed("signal", program, error) from None
    request["signal_number"] = wanted.number
    request["signal_lead_s"] = wanted.lead_s
    if wanted.batch_only:
        request["signal_batch"] = True
    if wanted.for_reservation:
        request["signal_reservation"] = True
