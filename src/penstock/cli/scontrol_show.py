"""scontrol show, and ping: what there is, as text or JSON.

An entity is named in any case and shortened to a unique prefix. What Slurm's scontrol shows and this one does not is refused by name.
"""

from __future__ import annotations

import os
import time

from penstock.cli.table import Failed, check_json, id_texts, print_raw, say, write
from penstock.spec.errors import SpecError
from penstock.spec.outputfmt import fill_times, time_shower
from penstock.wire import lite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from penstock.spec.options import Options

PROGRAM = "scontrol"

SHOWN = {
    "config": "show_config",
    "job": "show_job",
    "licenses": "show_licenses",
    "node": "show_node",
    "partition": "show_partition",
    "step": "show_step",
    "topology": "show_topology",
}
JSON = {"show_job": "json_jobs", "show_node": "json_nodes", "show_partition": "json_partitions"}
LOADS = {
    "show_config": "slurm_load_ctl_conf error",
    "show_job": "slurm_load_jobs error",
    "show_licenses": "slurm_load_licenses error",
    "show_node": "slurm_load_node error",
    "show_partition": "slurm_load_partitions error",
    "show_step": "slurm_get_job_steps error",
    "show_topology": "slurm_load_topo error",
}
ENTITIES = (
    "config",
    "hostlist",
    "hostlistsorted",
    "hostnames",
    "jobs",
    "licenses",
    "nodes",
    "partitions",
    "steps",
    "jobid",
    "nodename",
    "partitionname",
    "stepid",
    "topology",
)
ABSENT_ENTITIES = {
    "aliases": "nodes have no aliases",
    "assoc_mgr": "there are no associations yet",
    "bbstat": "there are no burst buffers",
    "burstbuffer": "there are no burst buffers",
    "daemons": "see penstock status",
    "federations": "there are no federations yet",
    "reservations": "there are no reservations yet",
    "slurmd": "see penstock status",
    "topoconf": "use scontrol show topology, or read topology.yaml or topology.conf in the cluster's folder",
}


def show(given: Options, words: list[str]) -> int:
    entity, mark, value = words[0].partition("=")
    names = [value, *words[1:]] if mark else words[1:]
    kind = _entity(entity)
    if kind in ABSENT_ENTITIES:
        return say(given, f"{PROGRAM}: error: show {kind} is not supported by this version of Penstock ({ABSENT_ENTITIES[kind]})")
    if kind is None:
        return say(given, f"invalid entity:{entity} for keyword:show")
    if kind.startswith("host"):
        return _hosts(given, kind, names)
    if len(names) > 1:
        return say(given, "too many arguments for keyword:show")
    op = SHOWN[kind]
    if kind == "job":
        names = [text for name in names for text in id_texts(name)]
    request: dict[str, object] = {"names": names, "details": "details" in given, "oneliner": "oneliner" in given}
    try:
        if "json" in given:
            check_json(PROGRAM, given.values["json"])
            if op not in JSON:
                return say(given, f"{PROGRAM}: error: --json is supported for show job, node and partition")
            print_raw({"op": JSON[op], "jobs": names, "states": ["all"]} if kind == "job" else {"op": JSON[op], "names": names})
            return 0
        show = time_shower(os.environ.get("SLURM_TIME_FORMAT", ""), int(time.time()))
        lite.request({**request, "op": op}, on_chunk=lambda text: write(fill_times(text, show)))
        if kind == "config":
            write("\n")
            ping(given, [])
        return 0
    except lite.Refused as error:
        return say(given, error.text if error.number == 1 else f"{LOADS[op]}: {error.text}")
    except lite.Unreachable as error:
        return say(given, *([f"{PROGRAM}: error: {error.detail}"] if error.detail else []), f"{LOADS[op]}: {error.text}")


def _entity(word: str) -> str | None:
    """job, node, partition, step, config, one of the host words, an absent one, or None."""
    wanted = word.lower()
    known = [*ENTITIES, *ABSENT_ENTITIES]
    found = [name for name in known if name.startswith(wanted)] if wanted else []
    if wanted in known:
        found = [wanted]
    kinds = {_kind(name) for name in found}
    if len(kinds) > 1 and "hostlist" in kinds and wanted == "hostlist":
        kinds = {"hostlist"}
    if len(kinds) > 1:
        raise Failed(f"{PROGRAM}: error: show {word} is ambiguous: {', '.join(sorted(kinds))}")
    return kinds.pop() if kinds else None


def _kind(name: str) -> str:
    if name in ABSENT_ENTITIES or name.startswith("host") or name == "config":
        return name
    for kind in SHOWN:
        if name.startswith(kind):
            return kind
    return name


def _hosts(given: Options, kind: str, names: list[str]) -> int:
    from penstock.spec import hostlist

    text = names[0] if names else os.environ.get("SLURM_JOB_NODELIST") or os.environ.get("SLURM_NODELIST") or ""
    if len(names) > 1:
        return say(given, "too many arguments for keyword:show")
    if text.startswith("/"):
        try:
            with open(text, encoding="utf-8") as file:
                text = ",".join(file.read(hostlist.MAX_LENGTH).split())
        except OSError as error:
            return say(given, f"{PROGRAM}: error: the host list {text[:64]} cannot be read: {error.strerror}")
    try:
        hosts = hostlist.expand(text)
    except SpecError as error:
        return say(given, f"{PROGRAM}: error: Invalid hostlist: {error}")
    if not hosts:
        return say(given, f"{PROGRAM}: error: host list is empty")
    if kind == "hostnames":
        write("\n".join(hosts) + "\n")
    else:
        write((hostlist.compress(hosts) if kind == "hostlistsorted" else hostlist.compress_in_order(hosts)) + "\n")
    return 0


def ping(given: Options, words: list[str]) -> int:
    try:
        lite.request({"op": "ping"}, on_chunk=write, retry_for_s=0.0)
    except (lite.Unreachable, lite.Refused):
        write(f"Slurmctld(primary) at {os.uname().nodename.partition('.')[0]} is DOWN\n")
        return 1
    return 0
