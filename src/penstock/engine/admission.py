"""Which of the partitions that a job names take it, and what their memory limits make of its size.

Judged at submit time: a partition that is closed, or not open to the user's groups or to the account, drops out of a list of several; the
job is refused when none is left. root may use every partition (slurm.conf.5, AllowGroups). MaxMemPerNode refuses what is larger;
MaxMemPerCPU gives a job that asks for more memory a CPU more instead, until the memory a CPU is within the limit (as Slurm does).
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.request import GresCounts
from penstock.engine.caller import Caller
from penstock.engine.cluster_config import ClusterConfig, Partition
from penstock.spec import errors as err
from penstock.spec import licenses
from penstock.spec.errors import SlurmError, SpecError

CLOSED = ("DRAIN", "INACTIVE")
"""Partition states that take no new jobs; a partition that is DOWN takes them and starts none."""


def admitting(partitions: Sequence[Partition], caller: Caller, account: str) -> tuple[Partition, ...]:
    """The partitions that take the job, in order; the first one's refusal if none does."""
    refusals = [refusal(partition, caller, account) for partition in partitions]
    left = tuple(partition for partition, refused in zip(partitions, refusals, strict=True) if refused is None)
    if not left and refusals[0] is not None:
        raise refusals[0]
    return left


def refusal(partition: Partition, caller: Caller, account: str) -> SlurmError | None:
    """Why this partition does not take a job of this user and account."""
    name = partition.name
    if partition.state in CLOSED:
        return SlurmError(err.ESLURM_PARTITION_NOT_AVAIL, detail=f"partition {name} is in state {partition.state}")
    if caller.uid == 0:
        return None
    if partition.allow_groups and not any(group in partition.allow_groups for group in (caller.group, *caller.groups)):
        detail = f"{caller.user} is in none of the groups {','.join(partition.allow_groups)} of partition {name}"
        return SlurmError(err.ESLURM_JOB_MISSING_REQUIRED_PARTITION_GROUP, detail=detail)
    if partition.allow_accounts and account not in partition.allow_accounts:
        detail = f"partition {name} takes the accounts {','.join(partition.allow_accounts)}, not {account or 'a job without one'}"
        return SlurmError(err.ESLURM_INVALID_ACCOUNT, detail=detail)
    return None


class Memory:
    """Memory and CPUs of a job as far as they depend on each other: MiB a node or MiB a CPU (one is None), CPUs a task."""

    __slots__ = ("cpus_per_task", "per_cpu_mib", "per_node_mib")

    def __init__(self, per_node_mib: int | None, per_cpu_mib: int | None, cpus_per_task: int) -> None:
        self.per_node_mib = per_node_mib
        self.per_cpu_mib = per_cpu_mib
        self.cpus_per_task = cpus_per_task


def licenses_asked(config: ClusterConfig, text: str) -> tuple[GresCounts, bool]:
    """(name, count) pairs of --licenses and whether one of them is enough; ESLURM_INVALID_LICENSES for what can never be had."""
    try:
        asked, any_of = licenses.parse(text) if text else ((), False)
    except SpecError as error:
        raise SlurmError(err.ESLURM_INVALID_LICENSES, detail=str(error)) from error
    known = dict(config.licenses)
    short = [f"{name}: {count} asked, {known.get(name, 0)} is the most there can be" for name, count in asked if count > known.get(name, 0)]
    if short and (not any_of or len(short) == len(asked)):
        raise SlurmError(err.ESLURM_INVALID_LICENSES, detail="; ".join(short))
    return asked, any_of


def check_times(time_limit_s: int, time_min_s: int, deadline_s: int, begin_s: int, now_s: int) -> None:
    """SlurmError where limit, least limit, begin and deadline exclude each other. A limit that is too long for its deadline is accepted,
    as in Slurm: the job ends with the state DEADLINE."""
    if time_min_s and 0 < time_limit_s < time_min_s:
        detail = f"--time-min is {time_min_s} s, the time limit {time_limit_s} s"
        raise SlurmError(err.ESLURM_INVALID_TIME_MIN_LIMIT, detail=detail)
    if deadline_s and deadline_s <= max(now_s, begin_s):
        detail = "the deadline has passed" if deadline_s <= now_s else "the deadline is before the begin"
        raise SlurmError(err.ESLURM_INVALID_TIME_LIMIT, detail=detail)


def within_limits(
    config: ClusterConfig, partitions: Sequence[Partition], asked: Memory, tasks_on_node: int, cpus_per_node: int = 0
) -> Memory:
    """What the job asks for, within MaxMemPerNode and MaxMemPerCPU; ESLURM_INVALID_TASK_MEMORY if that cannot be."""
    bounds = [partition.max_mem_per_node_mib or config.max_mem_per_node_mib for partition in partitions]
    most_mib = 0 if 0 in bounds else max(bounds)
    if most_mib and asked.per_node_mib is not None and asked.per_node_mib > most_mib:
        raise SlurmError(err.ESLURM_INVALID_TASK_MEMORY, detail=f"{asked.per_node_mib} MiB a node asked, MaxMemPerNode is {most_mib} MiB")
    limits = [partition.max_mem_per_cpu_mib or config.max_mem_per_cpu_mib for partition in partitions]
    limit_mib = 0 if 0 in limits else max(limits)
    if not limit_mib:
        return asked
    if asked.per_cpu_mib is not None and asked.per_cpu_mib > limit_mib:
        times = -(-asked.per_cpu_mib // limit_mib)
        return Memory(None, -(-asked.per_cpu_mib // times), asked.cpus_per_task * times)
    if asked.per_node_mib:
        cpus = -(-asked.per_node_mib // limit_mib)
        if cpus <= cpus_per_node:
            return asked
        return Memory(asked.per_node_mib, None, max(asked.cpus_per_task, -(-cpus // max(1, tasks_on_node))))
    return asked
