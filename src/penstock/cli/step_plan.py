"""What srun's options mean for a step: the fields of op `step_create`, and what srun itself does with input, output and ends.

Where input and output go (`--input`, `--output`, `--error`): `all` through srun, `none`, one task's number, or a file. A file whose name
holds %t, %n or %N is opened on each node, every other one here, by srun. Without --error, errors go where the output goes.

Inside an allocation the SLURM_* variables of the job are srun's own input variables. Those that describe the job and not the step are
left out where Slurm would refuse or serialise: memory and GPUs from the environment (a step has the job's unless it names its own, each
task the --gpus-per-task of the job), and SLURM_NNODES when fewer tasks or certain nodes are asked for.
"""

from __future__ import annotations

import os

from penstock.spec.options import FROM_COMMAND_LINE
from penstock.spec.patterns import NODE_LETTERS, fill, letters_in
from penstock.spec.request import build, settle
from penstock.spec.request_values import fail, number
from penstock.spec.submitter import describe_submitter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.spec.options import Options

PROGRAM = "srun"
STEP_FIELDS = (
    *("ntasks", "nodes_min", "nodes_max", "cpus_per_task", "ntasks_per_node", "mem_per_node_mib", "mem_per_cpu_mib", "gres", "gpus"),
    *(
        "gpus_per_node",
        "gpus_per_task",
        "nodelist",
        "exclude",
        "immediate_s",
        "time_limit_s",
        "work_dir",
        "umask",
        "rlimits",
        "submit_line",
    ),
)
NOT_FOR_ALLOCATIONS = ("std_out", "std_err", "std_in", "open_mode", "export")
OF_THE_JOB = ("mem", "mem_per_cpu", "mem_per_gpu", "cpus_per_gpu", "gres", "gpus", "gpus_per_node")
"""Options that a step takes from the command line only."""
DISTRIBUTIONS = ("*", "block", "cyclic")
WAIT_MAX_S = 65533


class Endpoint:
    """One of stdin, stdout, stderr: `word` for the node (wire.messages.TaskIo), `path` of a file here or ""."""

    __slots__ = ("path", "word")

    def __init__(self, word: str, path: str = "") -> None:
        self.word = word
        self.path = path


class StepPlan:
    """Everything about the step but its job. `fields` are complete except job_id, argv, multi_prog, address and key."""

    def __init__(self, options: Options, words: Sequence[str], arguments: Sequence[str], now_s: int, *, in_allocation: bool) -> None:
        if in_allocation:
            _forget_the_job(options)
            for key in ("cpus_per_gpu", "mem_per_gpu"):
                if key in options:
                    name = key.replace("_", "-")
                    raise fail(PROGRAM, [f"--{name} is for jobs; a step has the job's CPUs and memory, or what -c and --mem name"], 1)
        request = build(options, PROGRAM, now_s)
        self.warnings: list[str] = [] if in_allocation else settle(request, PROGRAM)
        request.update(describe_submitter(options, PROGRAM, arguments))
        self.allocation = {key: value for key, value in request.items() if key not in NOT_FOR_ALLOCATIONS}
        fields = {key: request[key] for key in STEP_FIELDS if key in request}
        if options.text("gres").lower() == "none":
            fields["gres"] = ["none"]
        self._settle_nodes(options, fields, in_allocation)
        self._settle_tasks(fields)
        for flag in ("exact", "overlap", "whole"):
            if flag in options and options.values[flag] not in ("no", "0"):
                fields[flag] = True
        if "overcommit" in options:
            fields["overcommit"] = True
            self.allocation["ntasks"] = request.get("nodes_min", 1)
            self.allocation.pop("ntasks_per_node", None)
        if "exclusive" in options and in_allocation:
            fields["exclusive"] = True
        if "relative" in options:
            fields["relative"] = number(options.text("relative"), "--relative", PROGRAM, 0)
            if "nodelist" in fields:
                raise fail(PROGRAM, ["-r,--relative not allowed with -w,--nodelist."], 255)
        distribution = options.text("distribution").partition(",")[0].partition(":")[0]
        if distribution not in ("", *DISTRIBUTIONS):
            allowed = ", ".join(DISTRIBUTIONS)
            raise fail(PROGRAM, [f"Invalid --distribution specification: {distribution[:64]!r}, allowed are {allowed}"], 255)
        if distribution not in ("", "*"):
            fields["distribution"] = distribution
        self.name = _text(options.text("job_name")) if options.sources.get("job_name") == FROM_COMMAND_LINE or not in_allocation else ""
        self.name = self.name or _text(words[0].rpartition("/")[2])
        self.allocation["name"] = fields["name"] = self.name
        self.export = options.text("export")
        if self.export:
            fields["export"] = self.export
        work_dir = str(request["work_dir"])
        self.stdin = endpoint(options, "input", work_dir)
        self.stdout = endpoint(options, "output", work_dir)
        self.stderr = endpoint(options, "error", work_dir) if options.text("error") else self.stdout
        self.append = request.get("open_mode") == "append"
        fields.update(stdin=self.stdin.word, stdout=self.stdout.word, stderr=self.stderr.word, append=self.append)
        self.pty = "pty" in options and options.values["pty"] != "no"
        self.label = "label" in options
        self.unbuffered = "unbuffered" in options
        fields["unbuffered"] = self.unbuffered
        # None: as the cluster's configuration says, which comes with the step (KillOnBadExit, WaitTime)
        bad_exit = "kill_on_bad_exit" in options
        self.kill_on_bad_exit = _switch(options.values["kill_on_bad_exit"], "--kill-on-bad-exit") if bad_exit else None
        self.wait_s = number(options.text("wait"), "--wait", PROGRAM, 0, WAIT_MAX_S) if "wait" in options else None
        self.quit_on_interrupt = "quit_on_interrupt" in options
        self.disable_status = "disable_status" in options
        self.quiet = bool(options.text("quiet"))
        self.verbose = int(options.text("verbose") or "0")
        self.fields: dict[str, object] = fields

    def _settle_nodes(self, options: Options, fields: dict[str, object], in_allocation: bool) -> None:
        """SLURM_NNODES is the job's; it gives way to a smaller step."""
        ntasks, nodes = fields.get("ntasks"), fields.get("nodes_min")
        inherited = options.sources.get("nodes") != FROM_COMMAND_LINE
        if not isinstance(nodes, int) or not in_allocation or not inherited:
            if isinstance(ntasks, int) and isinstance(nodes, int) and ntasks < nodes:
                self.warnings.append(f"Warning: can't run {ntasks} processes on {nodes} nodes, setting nnodes to {ntasks}")
                fields["nodes_min"] = fields["nodes_max"] = ntasks
            return
        if "nodelist" in fields or "relative" in options or (isinstance(ntasks, int) and ntasks < nodes):
            del fields["nodes_min"], fields["nodes_max"]

    def _settle_tasks(self, fields: dict[str, object]) -> None:
        """More tasks than --ntasks-per-node allows, which happens when SLURM_NTASKS is the job's: Slurm warns and places them all."""
        ntasks, nodes, on_each = fields.get("ntasks"), fields.get("nodes_max"), fields.get("ntasks_per_node")
        if isinstance(ntasks, int) and isinstance(nodes, int) and isinstance(on_each, int) and ntasks > nodes * on_each:
            self.warnings.append(
                f"Warning: can't honor --ntasks-per-node set to {on_each} which doesn't match the requested tasks {ntasks} "
                f"with the number of requested nodes {nodes}. Ignoring --ntasks-per-node."
            )
            del fields["ntasks_per_node"]

    def set_programs(self, words: Sequence[str], *, multi_prog: bool) -> None:
        """The command, found through PATH as Slurm does, or the programs of --multi-prog. Raises MultiProgError."""
        if not multi_prog:
            self.fields["argv"] = [find_program(words[0]), *words[1:]]
            return
        from penstock.cli import multiprog

        ntasks = self.fields.get("ntasks") or self.fields.get("nodes_min") or 1
        assert isinstance(ntasks, int)
        programs = multiprog.read(words[0], ntasks)
        self.fields["ntasks"] = ntasks
        self.fields["argv"] = list(words)
        self.fields["multi_prog"] = [
            "\x1f".join([str(rank), find_program(program[0]), *program[1:]]) for rank, program in enumerate(programs)
        ]


def endpoint(options: Options, key: str, work_dir: str) -> Endpoint:
    """`all`, `none`, a task's number, a file on the nodes, a file here."""
    text = options.text(key)
    lowered = text.lower()
    if lowered in ("", "all"):
        return Endpoint("client")
    if lowered == "none":
        return Endpoint("none")
    if text.isascii() and text.isdigit() and len(text) < 8:
        return Endpoint(f"task:{int(text)}")
    if any(letter in NODE_LETTERS for letter in letters_in(text)):
        return Endpoint(os.path.join(work_dir, text))
    return Endpoint("client", text)


def for_the_nodes(word: str, names: dict[str, str]) -> str:
    """A file of the nodes with what is known here filled in: their own letters and percent signs are left for them."""
    if not word.startswith("/"):
        return word
    return fill(word.replace("%%", "%%%%"), {letter: value.replace("%", "%%") for letter, value in names.items()})


def find_program(name: str) -> str:
    """The full path of a command on PATH; the name as it is where there is none, or where it has a slash."""
    if "/" in name:
        return name
    for folder in os.environ.get("PATH", "").split(":"):
        candidate = os.path.join(folder or ".", name)
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return os.path.abspath(candidate)
    return name


def _forget_the_job(options: Options) -> None:
    for key in OF_THE_JOB:
        if options.sources.get(key, FROM_COMMAND_LINE) != FROM_COMMAND_LINE:
            del options.values[key], options.sources[key]
    names_gpus = any(key in options for key in ("gres", "gpus", "gpus_per_node"))
    if names_gpus and options.sources.get("gpus_per_task", FROM_COMMAND_LINE) != FROM_COMMAND_LINE:
        del options.values["gpus_per_task"], options.sources["gpus_per_task"]


def _switch(value: str | None, option: str) -> bool:
    """An option that may have `0` or `1` glued to it."""
    if value in (None, "", "1", "yes"):
        return True
    if value in ("0", "no"):
        return False
    raise fail(PROGRAM, [f"Invalid value {value!r} for {option}: 0 or 1 is allowed"], 255)


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
