"""Nodes, tasks and GPUs of one job that must agree: `--gpus=8 --gpus-per-node=4` is two nodes, `-n1 --nodelist=a,b` is one.

`agreed` says what GPU counts in several forms mean together; the command asks it so that a contradiction is told in Slurm's words before
anything is sent, the controller asks it again for the request that it plans. `settle` is the command's part: nodes that cannot all run a
task are left out with Slurm's warning.

Facts come from a real Slurm 22.05 (tests/differential/cases/sizes.sh). More lenient than 22.05 on purpose: `--gpus=4 --gpus-per-task=1
-N2` is four tasks on two nodes; 22.05 takes -N2 for two tasks and refuses.

Assumes: counts are 1 or more and a list holds a key once (`spec.gres`).
"""

from __future__ import annotations

from penstock.spec.errors import SpecError
from penstock.spec.options import InvalidOption

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

Counts = dict[str, int]
"""Key (`gpu`, `gpu:a100`, `shard`) and count."""

JOB = "Failed to validate job spec"
REFUSED = "Invalid generic resource (gres) specification"
FORMS = ("gres", "gpus_per_node", "gpus_per_task", "gpus")


class Size:
    """Nodes and tasks: `nodes_max` 0 is no bound, `ntasks` 0 lets the nodes decide, `ntasks_per_node` 0 is no bound."""

    __slots__ = ("nodes_max", "nodes_min", "ntasks", "ntasks_per_node")

    def __init__(self, nodes_min: int = 1, nodes_max: int = 0, ntasks: int = 0, ntasks_per_node: int = 0) -> None:
        self.nodes_min = nodes_min
        self.nodes_max = nodes_max
        self.ntasks = ntasks
        self.ntasks_per_node = ntasks_per_node


def agreed(per_node: Counts, per_task: Counts, total: Counts, size: Size) -> tuple[Counts, Counts, Counts, Size]:
    """The counts with each key in one form only, and the size that follows. SpecError where they contradict each other.

    A count per node decides over one per task or in total, one per task over one in total: the other form then says how many nodes,
    tasks, or tasks a node. Fewer tasks than nodes are possible: the nodes follow from the GPUs.
    """
    _check_types(per_node, per_task, total)
    per_task, total = dict(per_task), dict(total)
    size = Size(size.nodes_min, size.nodes_max, size.ntasks, size.ntasks_per_node)
    for key, count in list(total.items()):
        if key in per_node:
            _spread(size, count, per_node[key])
        if key in per_task:
            _count_tasks(size, count, per_task[key])
        if key in per_node or key in per_task:
            del total[key]
        elif count < size.nodes_min:
            raise SpecError(f"{JOB}, --gpus < -N")
    for key, count in list(per_task.items()):
        if key in per_node:
            _fill_nodes(size, per_node[key], count)
            del per_task[key]
    return per_node, per_task, total, size


def _check_types(*forms: Counts) -> None:
    kinds: dict[str, bool] = {}
    for counts in forms:
        for key in counts:
            name, colon, _ = key.partition(":")
            if kinds.setdefault(name, bool(colon)) != bool(colon):
                raise SpecError("Invalid GRES specification (with and without type identification)")


def _spread(size: Size, total: int, each: int) -> None:
    """The nodes that GPUs in total and per node make together."""
    if total % each:
        raise SpecError(f"{JOB}, --gpus is not multiple of --gres=gpu/--gpus-per-node")
    nodes = total // each
    if not size.nodes_min <= nodes <= (size.nodes_max or nodes):
        most = f"max_nodes ({size.nodes_max}) boundaries" if size.nodes_max else "any number of them"
        raise SpecError(
            f"{JOB}. Based on --gpu and --gres=gpu/--gpus-per-node required nodes ({nodes}) doesn't fall between "
            f"min_nodes ({size.nodes_min}) and {most}."
        )
    size.nodes_min = size.nodes_max = nodes


def _count_tasks(size: Size, total: int, each: int) -> None:
    """The tasks that GPUs in total and per task make together."""
    if total % each:
        raise SpecError(f"{JOB}, --gpus not multiple of --gpus-per-task")
    tasks = total // each
    if size.ntasks not in (0, tasks) or tasks < size.nodes_min:
        raise SpecError(f"{JOB}. Based on --gpus and --gpus-per-task number of requested tasks differ from -n/--ntasks.")
    size.ntasks = tasks


def _fill_nodes(size: Size, on_node: int, each: int) -> None:
    """The tasks a node that GPUs per node and per task make together."""
    if on_node % each:
        raise SpecError(f"{JOB}, --gres=gpu/--gpus-per-node not multiple of --gpus-per-task.")
    tasks = on_node // each
    if size.ntasks_per_node not in (0, tasks):
        text = "Based on --gres=gpu/--gpus-per-node and --gpus-per-task requested number of tasks per node differ from --ntasks-per-node."
        raise SpecError(f"{JOB}. {text}")
    size.ntasks_per_node = tasks


# --- at the command ---


def settle(request: dict[str, object], program: str) -> list[str]:
    """Check the sizes of a job that is about to be submitted, and leave out nodes that have no task to run; returns what to say of it, a
    line each. InvalidOption, with Slurm's words, for sizes that exclude each other."""
    lines: list[str] = []
    named = _names(request)
    least, most, ntasks = (_number(request, key) for key in ("nodes_min", "nodes_max", "ntasks"))
    if most and len(named) > most:
        if program != "srun":
            raise InvalidOption([f"{program}: error: invalid number of nodes (-N {len(named)}-{most})"], 1)
        lines.append(
            f"error: Required nodelist includes more nodes than permitted by max-node count ({len(named)} > {most}). "
            "Eliminating nodes from the nodelist."
        )
        named = named[:most]
    if ntasks and ntasks < max(least, len(named)):
        lines.append(f"Warning: can't run {ntasks} processes on {max(least, len(named))} nodes, setting nnodes to {ntasks}")
        named = named[:ntasks]
        if least:
            request["nodes_min"] = least = min(least, ntasks)
            request["nodes_max"] = most = min(most, ntasks)
    if lines and named:
        request["nodelist"] = ",".join(named)
    if any(form in request for form in FORMS):
        gpus = {form: _counts(request.get(form)) for form in FORMS}
        size = Size(max(least, len(named), 1), most, ntasks, _number(request, "ntasks_per_node"))
        try:
            agreed({**gpus["gres"], **gpus["gpus_per_node"]}, gpus["gpus_per_task"], gpus["gpus"], size)
        except SpecError as error:
            raise InvalidOption([f"{program}: error: {text}" for text in (str(error), REFUSED)], 1) from None
    return lines


def tasks_by_gpus(request: dict[str, object], program: str) -> None:
    """--ntasks-per-gpu: the tasks that the GPUs make, where their number is known. InvalidOption as `settle`."""
    each, ntasks, nodes = (_number(request, key) for key in ("ntasks_per_gpu", "ntasks", "nodes_min"))
    for other in ("gpus_per_task", "ntasks_per_node"):
        if request.get(other):
            text = f"--{other.replace('_', '-')} is mutually exclusive with --ntasks-per-gpu and SLURM_NTASKS_PER_GPU"
            raise InvalidOption([f"{program}: fatal: {text}"], 1)
    fixed = nodes == _number(request, "nodes_max")
    counts = _counts(request.get("gpus") or request.get("gpus_per_node") or request.get("gres"))
    gpus = sum([count for key, count in counts.items() if key.partition(":")[0] == "gpu"])
    problem = ""
    if ntasks and not gpus and ntasks % each:
        problem = f"{JOB}, -n/--ntasks has to be a multiple of --ntasks-per-gpu."
    elif not ntasks and not gpus and not (nodes and fixed):
        problem = "--ntasks-per-gpu needs either a GRES GPU specification or a node/ntask specification"
    if problem:
        raise InvalidOption([f"{program}: error: {text}" for text in (problem, REFUSED)], 1)
    if not ntasks and (request.get("gpus") or fixed):
        request["ntasks"] = each * max(gpus, 1) * (1 if request.get("gpus") else max(nodes, 1))


def _names(request: Mapping[str, object]) -> list[str]:
    """The nodes of --nodelist, in the order of a hostlist; more than there may be nodes in one are the controller's to refuse."""
    text = request.get("nodelist")
    if not isinstance(text, str) or not text:
        return []
    from penstock.spec.hostlist import expand, sort

    return sort(list(dict.fromkeys(expand(text))))


def _number(request: Mapping[str, object], key: str) -> int:
    value = request.get(key)
    return value if isinstance(value, int) else 0


def _counts(items: object) -> Counts:
    """`gpu:2`, `gpu:a100:2` as key and count."""
    if not isinstance(items, (list, tuple)):
        return {}
    return {key: int(count) for key, _, count in (item.rpartition(":") for item in items)}
