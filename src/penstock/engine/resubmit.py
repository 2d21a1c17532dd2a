"""`scontrol update JobId=` of sizes from which others follow: GPUs, CPUs a task, least CPUs of a node.

How many nodes, CPUs and MiB a job needs may follow from its GPUs (`engine.sizes`), so the job is sized again from what its user asked for,
with the one thing changed. Guarantee: an update that changes nothing leaves the request as it is; GPUs in forms that contradict each other
are refused as at submission.

Limits: a range of nodes (-N1-3) that GPUs narrowed stays narrowed. NumCPUs is told by the nodes: it needs their number.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from penstock.core.request import Request
from penstock.engine.request import SubmitRequest
from penstock.engine.sizes import resolve_request
from penstock.engine.state import NOT_GIVEN, JobSpec, State
from penstock.engine.submit import choose_partitions
from penstock.spec import errors as err
from penstock.spec import quantities
from penstock.spec.errors import SlurmError, SpecError
from penstock.spec.gres import parse_gres

KEYS = ("cpuspertask", "gres", "mincpusnode", "numcpus", "oversubscribe", "shared", "tresperjob", "trespernode")

SHARES = {"yes": True, "1": True, "no": False, "0": False}
"""Values of OverSubscribe (Shared is its old name): whether the job would share its CPUs with others, which no job does here. Whole nodes
are --exclusive, which no update gives or takes (nor does one in Slurm 22.05)."""


def changed(state: State, spec: JobSpec, key: str, value: str) -> JobSpec:
    """The spec with one of KEYS changed; SlurmError or SpecError for a value that is none."""
    if key in ("oversubscribe", "shared"):
        if value.lower() not in SHARES:
            raise SpecError(f"OverSubscribe={value[:64]}: {', '.join(SHARES)} are allowed")
        if SHARES[value.lower()]:
            raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=f"OverSubscribe={value}: no two jobs share a CPU here; no is allowed")
        return spec
    if key == "cpuspertask":
        count = quantities.parse_int(value, "CPUsPerTask", 1)
        return _again(state, _asking(spec, "cpus_per_task"), cpus_per_task=count, cpus_per_gpu=None)
    if key == "mincpusnode":
        return _again(state, spec, mincpus=quantities.parse_int(value, "MinCPUsNode", 1))
    if key == "numcpus":
        return _again(state, spec, mincpus=_on_each(spec.request, quantities.parse_int(value, "NumCPUs", 1)))
    counts = tuple(str(item) for item in parse_gres(_plain(value), key))
    if key == "tresperjob":
        if any(not item.startswith("gpu:") for item in counts):
            raise SpecError(f"TresPerJob={value[:64]}: gpus are allowed, such as gres:gpu:2")
        return _again(state, _asking(spec, "gpus"), gpus=counts)
    if spec.gpus_per_node and all(item.startswith("gpu:") for item in counts):
        others = tuple(item for item in _texts(spec.gres) if not item.startswith("gpu:"))
        return _again(state, spec, gres=others, gpus_per_node=counts)
    return _again(state, _asking(spec, "gres"), gres=counts, gpus_per_node=())


def also_asked(asked: tuple[str, ...], key: str) -> tuple[str, ...]:
    """The keys that the user gave himself, with one that he gives now."""
    return asked if key in asked else (*asked, key)


def _again(state: State, spec: JobSpec, **changes: object) -> JobSpec:
    """The spec of the same submission with these changes."""
    partitions = choose_partitions(state.config, ",".join(spec.partitions))
    before = spec.request
    submitted = as_submitted(spec)
    if before.cpus_per_node > resolve_request(state, partitions, submitted).cpus_per_node:  # more than the GPUs bring: --mincpus
        submitted = msgspec.structs.replace(submitted, mincpus=before.cpus_per_node)
    submitted = msgspec.structs.replace(submitted, **changes)
    request = replace(resolve_request(state, partitions, submitted), level=before.level, level_wait_s=before.level_wait_s)
    return msgspec.structs.replace(
        spec,
        request=request,
        ntasks_typed=0 if request.ntasks else submitted.ntasks or 0,
        cpus_per_gpu=submitted.cpus_per_gpu or 0,
        **{form: ",".join(getattr(submitted, form)) for form in ("gres", "gpus", "gpus_per_node")},
    )


def as_submitted(spec: JobSpec) -> SubmitRequest:
    """What was asked for, as far as sizes go. --mincpus is not in it: with CPUs that GPUs bring it is one number of the request."""
    request, asked = spec.request, spec.asked
    given = "nodes_min" in asked
    return SubmitRequest(
        nodes_min=request.nodes_min if given else None,
        nodes_max=(request.nodes_max or None) if given else None,
        ntasks=(spec.ntasks_typed or request.ntasks or None) if "ntasks" in asked else None,
        cpus_per_task=request.cpus_per_task if "cpus_per_task" in asked else None,
        ntasks_per_node=(request.ntasks_per_node or None) if "ntasks_per_node" in asked else None,
        ntasks_per_gpu=spec.ntasks_per_gpu or None,
        mem_per_node_mib=_given(spec.mem_per_node_mib),
        mem_per_cpu_mib=_given(spec.mem_per_cpu_mib),
        cpus_per_gpu=spec.cpus_per_gpu or None,
        mem_per_gpu_mib=spec.mem_per_gpu_mib or None,
        gres=_texts(spec.gres),
        gpus=_texts(spec.gpus),
        gpus_per_node=_texts(spec.gpus_per_node),
        gpus_per_task=_texts(spec.gpus_per_task),
        exclusive=request.exclusive,
        nodelist=",".join(request.required_nodes),
        exclude=",".join(request.excluded_nodes),
        constraint=request.constraint,
        prefer=request.prefer,
        contiguous=request.contiguous,
        switches=request.switches or None,
        segment=request.segment or None,
        licenses=spec.licenses,
    )


def _asking(spec: JobSpec, key: str) -> JobSpec:
    return msgspec.structs.replace(spec, asked=also_asked(spec.asked, key))


def _on_each(request: Request, cpus: int) -> int:
    """The CPUs of each node that make so many on all."""
    if request.nodes_min != request.nodes_max and request.ntasks != 1:
        text = f"NumCPUs={cpus}: how many nodes there will be is open; MinCPUsNode or CPUsPerTask is allowed"
        raise SlurmError(err.ESLURM_NOT_SUPPORTED, detail=text)
    return -(-cpus // request.nodes_min)


def _plain(text: str) -> str:
    """`gpu:2` of `gres:gpu:2` and of `gres/gpu:2`."""
    return ",".join([item.removeprefix("gres:").removeprefix("gres/") for item in text.split(",")])


def _texts(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _given(mib: int) -> int | None:
    return None if mib == NOT_GIVEN else mib
