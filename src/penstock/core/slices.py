"""Work in slices: generators that yield between bounded pieces and return a result, as all long work of the planner is."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")


def finish(work: Generator[object, None, Result]) -> Result:
    """The result, made without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: Result = done.value
            return result
