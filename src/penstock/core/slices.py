"""Work in slices: generators that yield between bounded pieces and return a result, as all long work of the planner is."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")
Pause = TypeVar("Pause")


def finish(work: Generator[object, None, Result]) -> Result:
    """The result, made without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result


def pausing(work: Generator[object, None, Result], pause: Pause) -> Generator[Pause, None, Result]:
    """The same work, which yields this in place of whatever it yields."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result
        yield pause
