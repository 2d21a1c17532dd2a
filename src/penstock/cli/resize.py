"""`scontrol update JobId=N NumNodes=M` of a running job, called inside a job: files that set the shell's variables anew.

Slurm's rules (22.05, tried): the files are slurm_job_N_resize.sh and .csh in the working directory, for their owner alone; they are written
wherever SLURM_JOBID is set, also where the number stayed; a variable is changed only where it is set now; what counts tasks is unset.
"""

from __future__ import annotations

import os

from penstock.wire import lite

SET = ("SLURM_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NNODES", "SLURM_JOB_NUM_NODES", "SLURM_JOB_CPUS_PER_NODE")
PLAIN = ("SLURM_NNODES", "SLURM_JOB_NUM_NODES")
"""Numbers, written without quotes."""
UNSET = ("SLURM_NPROCS", "SLURM_NTASKS", "SLURM_TASKS_PER_NODE")
FILE_MODE = 0o700


def write_files(job: str) -> tuple[list[str], str]:
    """(lines to say, error): both empty outside of a job. `job` is what the user called it."""
    if "SLURM_JOBID" not in os.environ:
        return [], ""
    try:
        variables = _variables(_number(job))
    except lite.Refused as error:
        return [], f"slurm_allocation_lookup: {error.text}"
    name = f"slurm_job_{job.partition('_')[0]}_resize"
    there = [(key, variables[key]) for key in SET if key in os.environ and key in variables]
    gone = [key for key in UNSET if key in os.environ]
    bash = [f"export {key}={value if key in PLAIN else _quoted(value)}\n" for key, value in there] + [f"unset {key}\n" for key in gone]
    csh = [f"setenv {key} {value if key in PLAIN else _quoted(value)}\n" for key, value in there] + [f"unsetenv {key}\n" for key in gone]
    for path, lines in ((f"{name}.sh", bash), (f"{name}.csh", csh)):
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE), "w", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            return [], f"Could not create file {path}: {error.strerror}"
    return [
        "To reset Slurm environment variables, execute",
        f"  For bash or sh shells:  . ./{name}.sh",
        f"  For csh shells:         source ./{name}.csh",
    ], ""


def _number(job: str) -> int:
    """The job id of `12` and of an array's element `12_3`."""
    if job.isdecimal():
        return int(job)
    seen: list[str] = []
    lite.request({"op": "show_job", "names": [job], "details": False, "oneliner": True}, on_chunk=seen.append)
    text = "".join(seen).partition("JobId=")[2].partition(" ")[0]
    return int(text) if text.isdecimal() else 0


def _variables(job_id: int) -> dict[str, str]:
    text = lite.request({"op": "job_info", "job_id": job_id})
    found: dict[str, str] = {}
    for item in text.partition("\n")[2].split("\0"):
        key, _, value = item.partition("=")
        found[key] = value
    return found


def _quoted(value: str) -> str:
    """Hostlists and counts hold nothing that a shell would expand within double quotes."""
    return f'"{value}"'
