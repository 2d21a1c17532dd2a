"""What a job can tell of itself: its environment, its record in scontrol, and the fields of squeue and sacct."""

import itertools

from conftest import Cluster

NUMBERS = itertools.count()


def output_of(cluster: Cluster, command: str, *words: str) -> str:
    """Standard output and errors of a batch job that runs `command` to its end."""
    name = f"output-{next(NUMBERS)}"
    cluster.run("sbatch", "-Q", "--wait", "-o", name, *words, "--wrap", command)
    return (cluster.work / name).read_text()


def environment_of(cluster: Cluster, *words: str) -> dict[str, str]:
    """The environment of a batch job."""
    return variables(output_of(cluster, "env", *words))


def variables(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def record_of(cluster: Cluster, job: str) -> dict[str, str]:
    """`scontrol show job` as a dictionary."""
    return variables(cluster.run("scontrol", "-o", "show", "job", job).replace(" ", "\n"))


def held(cluster: Cluster, *words: str) -> dict[str, str]:
    """The record of a job that is submitted on hold with these options, and then removed."""
    job = cluster.submit("-H", *words, "--wrap", "true")
    record = record_of(cluster, job)
    cluster.run("scancel", job)
    return record


def queue(cluster: Cluster, job: str, format_: str, *words: str) -> list[str]:
    """Lines of squeue for one job."""
    return cluster.run("squeue", "-h", "-j", job, "-o", format_, *words).splitlines()
