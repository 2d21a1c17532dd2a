"""The standard files of a batch job as views show them: absolute, with every pattern filled in that is known without a node.

What depends on where a task runs (%N %n %s %t) stays as typed, and so does %a of a row that stands for several elements which have not
started, where Slurm shows 4294967294.
"""

from __future__ import annotations

from penstock.engine.state import NO_TASK, Job
from penstock.spec import arrays, patterns


def std_file(job: Job, which: str) -> str:
    """`which` is out, err or in; an allocation without a script has none: ""."""
    spec = job.spec
    if spec.interactive:
        return ""
    if which == "in":
        pattern = spec.std_in or patterns.STDIN_DEFAULT
    else:
        typed = (spec.std_err if which == "err" else "") or spec.std_out
        pattern = typed or (patterns.ARRAY_DEFAULT if job.array_job_id else patterns.BATCH_DEFAULT)
    if not pattern.startswith("/"):
        pattern = f"{spec.work_dir.rstrip('/')}/{pattern}"
    return patterns.fill(pattern, _names(job)) if "%" in pattern or "\\" in pattern else pattern


def _names(job: Job) -> dict[str, str]:
    names = {
        "A": str(job.array_job_id or job.id),
        "J": str(job.id),
        "j": str(job.id),
        "r": str(job.attempt),
        "u": job.spec.user,
        "x": job.spec.name,
    }
    task = job.array_task_id if job.array_task_id != NO_TASK else patterns.NO_TASK
    if arrays.count(job.pending_tasks) == 1:
        task = arrays.first(job.pending_tasks)
    elif job.pending_tasks:
        return names
    names["a"] = str(task)
    names["b"] = str(task % 10)
    return names
