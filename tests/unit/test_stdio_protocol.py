"""The frames of terminal I/O: cutting, windows, acknowledgements, resumption."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.wire import stdio


@given(
    st.lists(st.tuples(st.sampled_from([stdio.OUT, stdio.ERR, stdio.NOTICE]), st.integers(0, 2**32 - 1), st.binary(max_size=300))),
    st.data(),
)
def test_frames_survive_any_cut_of_the_stream(frames, data):
    raw = b"".join(stdio.frame(*item) for item in frames)
    inbox = stdio.Inbox(at_client=True)
    got = []
    while raw:
        size = data.draw(st.integers(1, len(raw)))
        got += inbox.feed(raw[:size])
        raw = raw[size:]
    assert got == frames


@pytest.mark.parametrize(
    "raw",
    [
        b"Q" + bytes(8),
        stdio.frame(stdio.IN, 0, b"x"),  # only a client sends input
        b"o" + bytes(4) + (stdio.MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big"),
    ],
)
def test_a_stranger_cannot_make_us_wait_or_take_a_foreign_frame(raw):
    with pytest.raises(stdio.ProtocolError):
        stdio.Inbox(at_client=True).feed(raw)


def test_hello_carries_node_key_and_offset():
    ((kind, rank, payload),) = stdio.Inbox(at_client=True).feed(stdio.hello("n1", 3, b"\0key", 2**40))
    assert (kind, rank) == (stdio.HELLO, 3)
    assert stdio.parse_hello(payload) == ("n1", b"\0key", 2**40)


@pytest.mark.parametrize("payload", [b"", b"\x02" + bytes(12), b"\x01" + bytes(8) + b"\xff", b"\x01" + bytes(8) + b"\x00\xff\xfe"])
def test_a_malformed_hello_is_refused(payload):
    with pytest.raises(stdio.ProtocolError):
        stdio.parse_hello(payload)


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=30), st.data())
def test_nothing_is_lost_or_doubled_when_connections_break_anywhere(payloads, data):
    """Each connection carries a prefix of what is sent; whole frames count, the next connection resumes at the receiver's offset."""
    outbox = stdio.Outbox()
    expected = [(stdio.OUT, 0, payload) for payload in payloads]
    for item in expected:
        outbox.push(*item)
    received, got = 0, []
    for _ in range(200):
        inbox = stdio.Inbox(at_client=True)
        outbox.resume(received)
        chunk = outbox.chunk()
        outbox.advance(len(chunk))
        arrived = chunk[: data.draw(st.integers(0, len(chunk)))] if _ < 8 else chunk
        for frame in inbox.feed(arrived):
            got.append(frame)
            received += stdio.HEADER_BYTES + len(frame[2])
        if data.draw(st.booleans()):
            outbox.acknowledge(received)
        if received == outbox.end:
            break
    assert got == expected
    outbox.acknowledge(received)
    assert outbox.acknowledged == outbox.end
    assert not outbox.unsent


def test_a_full_window_asks_the_source_to_wait_until_it_is_acknowledged():
    outbox = stdio.Outbox()
    while not outbox.full:
        outbox.push(stdio.OUT, 0, bytes(stdio.MAX_PAYLOAD_BYTES))
    assert outbox.end <= stdio.WINDOW_BYTES + stdio.MAX_PAYLOAD_BYTES + stdio.HEADER_BYTES
    while outbox.unsent:
        outbox.advance(len(outbox.chunk()))
    outbox.acknowledge(outbox.end)
    assert not outbox.full


def test_an_acknowledgement_of_bytes_never_sent_is_refused():
    outbox = stdio.Outbox()
    outbox.push(stdio.OUT, 0, b"abc")
    with pytest.raises(stdio.ProtocolError):
        outbox.acknowledge(outbox.end)


def test_an_offset_that_was_given_up_cannot_be_resumed():
    outbox = stdio.Outbox()
    outbox.push(stdio.OUT, 0, b"abc")
    outbox.advance(len(outbox.chunk()))
    outbox.acknowledge(outbox.end)
    with pytest.raises(stdio.ProtocolError):
        outbox.resume(0)


def test_the_module_imports_nothing():
    import ast
    import inspect

    names = [node for node in ast.walk(ast.parse(inspect.getsource(stdio))) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [node.module for node in names if isinstance(node, ast.ImportFrom)] == ["__future__"]
    assert len(names) == 1
