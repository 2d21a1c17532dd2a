"""The commit thread: what it does with a store, or a caller, that fails."""

from __future__ import annotations

import os
import queue

import pytest

from penstock.controller.committer import FATAL_EXIT, Committer
from penstock.store.base import Batch, StoreFailed, StoreFull


class Store:
    """Each commit takes the next of `ends`: an exception, or None for a commit that is durable."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.committed = []

    def commit(self, batch):
        if self.ends and (error := self.ends.pop(0)) is not None:
            raise error
        self.committed.append(batch.events[-1][0])

    def release_reserve(self):
        return True


@pytest.fixture
def play(monkeypatch):
    """A committer over a store, and what it said: in the order in which it was said."""
    said = queue.SimpleQueue()
    made = []

    monkeypatch.setattr(os, "_exit", lambda status: said.put(("exit", status)))

    def start(store):
        committer = Committer(store, lambda callback, *arguments: callback(*arguments), said.put, said.put)
        made.append(committer)
        return committer, lambda: said.get(timeout=10)

    yield start
    for committer in made:
        committer.stop()


def batch(seq):
    return Batch(events=[(seq, b"event")])


@pytest.mark.parametrize("error", [StoreFailed("the disk is broken"), KeyError("a mistake")])
def test_a_commit_that_fails_ends_the_process_whatever_the_reason(play, error):
    committer, heard = play(Store(error))
    committer.begin(batch(1))
    assert heard() == ("exit", FATAL_EXIT)


def test_a_full_disk_is_told_and_the_same_batch_is_tried_again(play):
    store = Store(StoreFull("full"))
    committer, heard = play(store)
    committer.begin(batch(1))
    assert [heard(), heard()] == [True, 1]
    assert store.committed == [1]


def test_maintenance_that_fails_leaves_the_next_commit_alone(play):
    committer, heard = play(Store())

    def broken():
        raise TypeError("a mistake")

    committer.maintain(broken)
    committer.begin(batch(1))
    assert heard() == 1
