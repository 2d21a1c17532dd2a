"""What the forms of a request cost the planner: placements a second for jobs of four nodes on a large cluster.

    python benchmarks/requests.py [--nodes N] [--jobs N]

Half of the nodes are red, half blue, 8 GPUs each. All jobs of a row ask for the same but for their time limits, so that each is placed by
itself. CPU time of one pass on one core, without making the view.
"""

from __future__ import annotations

import argparse
import time

from penstock.core.columns import Columns, NodeRecord, PartitionRecord, PendingRecord
from penstock.core.cycle import plan_now
from penstock.core.request import Request

FORMS: dict[str, dict[str, object]] = {
    "plain": {},
    "-C red": {"constraint": "red"},
    "-C [red|blue]": {"constraint": "[red|blue]"},
    "-C [red*2&blue*2]": {"constraint": "[red*2&blue*2]"},
    "--prefer=blue": {"prefer": "blue"},
    "--contiguous": {"contiguous": True},
    "-L tool": {"licenses": (("tool", 1),)},
}
GPUS = (("gpu", 8),)
MEMORY_MIB = 1 << 20


def columns_of(nodes: int, jobs: int, form: dict[str, object]) -> Columns:
    columns = Columns()
    for index in range(nodes):
        features = ("red" if index < nodes // 2 else "blue",)
        columns.upsert_node(NodeRecord(f"n{index}", index, 64, MEMORY_MIB, GPUS, features=features))
    columns.upsert_partition(PartitionRecord("main", tuple(f"n{index}" for index in range(nodes))))
    columns.set_licenses({"tool": jobs})
    request = Request(nodes_min=4, nodes_max=4, gres_per_node=GPUS, **form)  # type: ignore[arg-type]
    for job_id in range(1, jobs + 1):
        columns.upsert_pending(PendingRecord(job_id, request, ("main",), 1, job_id, 60 * job_id))
    return columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--jobs", type=int, default=500)
    asked = parser.parse_args()
    print(f"{asked.nodes} nodes, {asked.jobs} jobs of 4 nodes with 8 GPUs each")
    for name, form in FORMS.items():
        view = columns_of(asked.nodes, asked.jobs, form).view(1, 1_000_000)
        began_s = time.process_time()
        plan = plan_now(view)
        cpu_s = time.process_time() - began_s
        print(f"{name:20} {len(plan.starts):5} starts {cpu_s * 1e3:7.0f} ms {len(plan.starts) / cpu_s:7.0f} a second")


if __name__ == "__main__":
    main()
