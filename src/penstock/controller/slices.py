"""Long replies in slices: a view is made piece by piece between other work, and leaves as fast as its reader reads.

Guarantees: a view never holds the loop longer than SLICE_S and one piece; pieces leave when what they tell is durable; a reader that is
behind stops its own view and nobody else's; every view ends with one answer, also after a mistake of ours.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from penstock.controller.clients import Client
from penstock.controller.reading import Reading
from penstock.engine.reactor import Reactor
from penstock.spec.errors import SlurmError

SLICE_S = 0.001
"""Longest turn of a view before others are served."""

log = logging.getLogger("penstock.controller")


class ViewSlices:
    def __init__(self, reactor: Reactor, reading: Reading, loop: asyncio.AbstractEventLoop) -> None:
        self._reactor = reactor
        self._reading = reading
        self._loop = loop

    def start(self, client: Client, fields: dict[str, Any], now_ms: int) -> None:
        """Answer a reading request: at once, or with a view that goes on by itself."""
        try:
            client.view = self._reading.open(client, fields, now_ms)
        except SlurmError as error:
            client.write("!", _error(error))
            return
        if client.view is not None:
            client.resume = lambda: self._go_on(client)
            self._go_on(client)

    def _go_on(self, client: Client) -> None:
        """Pieces until the slice is over or the reader is behind."""
        view = client.view
        if view is None or not client.writable:
            return
        begun_s = time.perf_counter()
        try:
            while client.writable:
                chunk = next(view)
                if chunk:
                    self._reactor.answer(client.number, "+", chunk)
                if time.perf_counter() - begun_s > SLICE_S:
                    self._loop.call_soon(self._go_on, client)
                    return
        except StopIteration:
            self._end(client, "=", b"")
        except SlurmError as error:
            self._end(client, "!", _error(error))
        except Exception:  # a mistake of ours: the client is told instead of waiting for ever
            log.exception("a view for uid %d failed", client.caller.uid)
            self._end(client, "!", b"-1\tUnspecified error\tthe controller failed at this request; its log says where")

    def _end(self, client: Client, kind: str, payload: bytes) -> None:
        client.view = client.resume = None
        self._reactor.answer(client.number, kind, payload)
        client.go_on()


def _error(error: SlurmError) -> bytes:
    return f"{error.code}\t{error.text}\t{error.detail}".encode("utf-8", "surrogateescape")
