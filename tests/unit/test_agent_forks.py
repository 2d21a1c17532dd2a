"""The agent and its launcher, where a real one would have to stand still."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from penstock.agent.forks import MAX_ASKED, ForkClient
from penstock.agent.shepherd.protocol import decode_for_launcher


def test_a_launcher_that_stands_still_is_not_asked_without_bound():
    sent: list[bytes] = []
    errors: list[str] = []

    async def play() -> None:
        client = ForkClient("/cluster", "/run", "n1", "/cluster/nodes/n1", errors.append)
        client._launcher = SimpleNamespace(send=sent.append)
        for _ in range(MAX_ASKED + 3):
            client.ask()
        await asyncio.sleep(0)
        assert len(sent) == MAX_ASKED
        assert errors == [f"the launcher has not answered {MAX_ASKED} forks"] * 3
        client.answered(decode_for_launcher(sent[0]).request, "")
        client.ask()
        assert len(sent) == MAX_ASKED + 1

    asyncio.run(play())
