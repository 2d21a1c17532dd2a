"""What a row of the table is: what is measured, in which state of the cluster, and the bar that Penstock has to reach.

A row measures one `System` and returns a `Figure`; it knows neither which system that is nor how it is started.
"""

from collections.abc import Callable
from dataclasses import dataclass

from systems import System


@dataclass(frozen=True)
class Figure:
    """One measurement. `evidence` says what was counted to believe it; `faults` is what did not agree (an honest row has none)."""

    value: float
    evidence: str = ""
    faults: tuple[str, ...] = ()


Judge = Callable[[float, float | None], bool]
"""Penstock's figure and Slurm's (None where there is none) to: is the bar reached?"""


Measure = Callable[[System], Figure]


@dataclass(frozen=True)
class Row:
    key: str
    title: str
    unit: str
    bar: str
    judge: Judge
    measure: Measure
    repeat: int = 3
    """At most so many repetitions, whatever is asked for; the median counts."""
    pending: int = 0
    """The row needs so many pending jobs that cannot start (0: a fresh, empty cluster)."""
    penstock_only: bool = False
    digits: int = 0


def at_least(factor: float) -> Judge:
    """More is better: at least `factor` times Slurm's figure."""
    return lambda penstock, slurm: slurm is not None and penstock >= factor * slurm


def at_most(factor: float) -> Judge:
    """Less is better: at most `factor` times Slurm's figure."""
    return lambda penstock, slurm: slurm is not None and penstock <= factor * slurm


def floor(value: float) -> Judge:
    return lambda penstock, slurm: penstock >= value


def ceiling(value: float) -> Judge:
    return lambda penstock, slurm: penstock <= value
