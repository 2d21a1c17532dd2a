"""Comparing the environments of jobs: which variables may differ between a real Slurm 22.05 and Penstock, and why.

Everything that is not named here must be there on both sides with the same value.
"""

MACHINERY = {
    "SLURM_CONF": "a path of that installation",
    "SLURM_WORKING_CLUSTER": "address and protocol of Slurm's controller",
    "SLURM_SRUN_COMM_HOST": "address of Slurm's own protocol between srun and slurmstepd",
    "SLURM_SRUN_COMM_PORT": "port of Slurm's own protocol between srun and slurmstepd",
    "SLURM_STEP_LAUNCHER_PORT": "port of Slurm's own protocol between srun and slurmstepd",
    "SLURM_LAUNCH_NODE_IPADDR": "address of Slurm's own protocol between srun and slurmstepd",
    "SLURM_TASK_PID": "a process id",
    "SLURM_CPU_BIND": "the oracle binds nothing (task/none)",
    "SLURM_CPU_BIND_LIST": "the oracle binds nothing (task/none)",
    "SLURM_CPU_BIND_TYPE": "the oracle binds nothing (task/none)",
    "SLURM_CPU_BIND_VERBOSE": "the oracle binds nothing (task/none)",
    "SLURM_JOB_ACCOUNT": "the oracle has accounts in its database",
    "SLURM_JOB_QOS": "the oracle has QOS in its database",
    "SLURM_DISTRIBUTION": "22.05 tells its own default, later versions only what was asked for",
    "SLURM_NODE_ALIASES": "only of cloud nodes since 23.02",
    "SLURM_JOB_CPUS_PER_NODE_PACK_GROUP_0": "old name of a variable of heterogeneous jobs, gone since",
    "SRUN_DEBUG": "verbosity between srun and slurmstepd",
}
"""Not compared: the name and why."""

NEWER = frozenset(
    {
        "SLURM_CPUS_PER_TASK",
        "SLURM_GET_USER_ENV",
        "SLURM_JOB_END_TIME",
        "SLURM_JOB_GROUP",
        "SLURM_JOB_RESERVATION",
        "SLURM_JOB_SEGMENT_SIZE",
        "SLURM_JOB_SLUID",
        "SLURM_JOB_START_TIME",
        "SLURM_MPI_TYPE",
        "SLURM_OOMKILLSTEP",
        "SLURM_RESTART_COUNT",
        "SLURM_SCRIPT_CONTEXT",
        "SLURM_TRES_PER_TASK",
        "SLURM_UMASK",
        "SRUN_CPUS_PER_TASK",
        # The oracle's GPUs are plain files, for which Slurm names no device.
        "CUDA_VISIBLE_DEVICES",
        "SLURM_JOB_GPUS",
        "SLURM_STEP_GPUS",
    }
)
"""Penstock may have these where Slurm 22.05 has not: later versions set them (reference: sbatch(1), srun(1) of 23.02 and later)."""


def read_environment(text: str) -> dict[str, str]:
    """The variables of an `env` output whose values have no line breaks."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def differences(slurm: str, penstock: str) -> list[str]:
    """One sentence for each variable that differs and may not."""
    theirs, ours = read_environment(slurm), read_environment(penstock)
    found = []
    for name in sorted((theirs.keys() | ours.keys()) - MACHINERY.keys() - {name for name in ours if name.startswith("PENSTOCK_")}):
        if name not in ours:
            found.append(f"{name} is missing, Slurm has {theirs[name]!r}")
        elif name not in theirs:
            if name not in NEWER:
                found.append(f"{name}={ours[name]!r} is not there in Slurm")
        elif theirs[name] != ours[name]:
            found.append(f"{name} is {ours[name]!r}, in Slurm {theirs[name]!r}")
    return found
