"""The one thread that commits: while a batch is being made durable, the loop goes on and gathers the next.

A failed commit is fatal: the process exits, and its successor recovers from what is durable; so is a mistake of ours in this thread,
without which nobody would ever be answered again. A full disk alone has a path: the reserve is given to the store, the same batch is tried
again, and submissions are refused until there is room. Maintenance that fails for any other reason than the store's is put off.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable

from penstock.store.base import Batch, Store, StoreError, StoreFull

FULL_RETRY_S = 0.5
"""Between two tries of a batch on a disk that stays full."""
FATAL_EXIT = 70

log = logging.getLogger("penstock.controller")


class Committer:
    """`begin` returns at once; `done(seq)` is called through `call_soon` when the batch is durable."""

    def __init__(self, store: Store, call_soon: Callable[..., object], done: Callable[[int], None], full: Callable[[bool], None]) -> None:
        self._store = store
        self._call_soon = call_soon
        self._done = done
        self._full = full
        self._queue: queue.SimpleQueue[Batch | Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()

    def begin(self, batch: Batch) -> None:
        self._queue.put(batch)

    def maintain(self, work: Callable[[], object]) -> None:
        """Work on the store between two commits: pruning."""
        self._queue.put(work)

    def stop(self) -> None:
        """After what was begun is durable."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if isinstance(item, Batch):
                    self._commit(item)
                    self._call_soon(self._done, item.events[-1][0])
                else:
                    self._maintain(item)
            except Exception as error:
                log.critical("commit failed, exiting: %s", error, exc_info=not isinstance(error, StoreError))
                logging.shutdown()
                os._exit(FATAL_EXIT)

    def _maintain(self, work: Callable[[], object]) -> None:
        try:
            work()
        except StoreFull as error:
            log.warning("pruning was put off: %s", error)
        except StoreError:
            raise
        except Exception:
            log.exception("maintenance failed")

    def _commit(self, batch: Batch) -> None:
        told = False
        while True:
            try:
                self._store.commit(batch)
            except StoreFull as error:
                if not told:
                    log.error("%s", error)
                    self._call_soon(self._full, True)
                    told = True
                if not self._store.release_reserve():
                    time.sleep(FULL_RETRY_S)
            else:
                return
