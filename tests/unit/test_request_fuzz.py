"""Whatever a stranger sends as a request, of any operation: an answer, or a place among those who wait, and never an exception.

Requests go through the gateway's own decoder, so that a value is what JSON can carry. Afterwards the controller serves the next one, and
load(rows) == replay(feed) == live.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import msgspec
import pytest
from engine_cluster import ALICE, BOB, ROOT, SCRIPT, EngineCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.controller.clients import parse_request
from penstock.controller.reading import Reading
from penstock.controller.views.operations import TABLES, TEXTS
from penstock.engine.request import SubmitRequest
from penstock.engine.requests import OPERATIONS
from penstock.engine.steps import StepRequest
from penstock.spec.errors import SlurmError

VIEWS = (*TABLES, *TEXTS, "sacct", "json_sacct", "ping", "batch_script", "status", "sstat", "why", "snapshot")
VIEW_KEYS = (
    *("jobs", "job", "names", "users", "states", "partitions", "nodes", "format", "fields", "sort", "start", "all", "details", "steps"),
    *("oneliner", "header", "noheader", "accounts", "from", "until", "long", "delimiter", "duplicates", "all_steps", "noconvert", "me"),
)
WORDS = st.sampled_from(
    (
        *("1", "2", "2_1", "2_[0-3]", "2_[0-999999999]", "1.0", "1.batch", "9" * 40, "-1", "n0", "n[0-9999999]", "n[", "ALL", "main", "a"),
        *("", "jobname=a", "Priority=0", "TimeLimit=UNLIMITED", "TimeLimit=-1", "StartTime=now", "Nice=-" + "9" * 30, "Partition="),
        *("Dependency=afterok:1", "Dependency=singleton", "Requeue=2", "ArrayTaskThrottle=x", "State=DRAIN", "Reason=r", "Features=,"),
        *("Weight=" + "9" * 30, "=", "afterok:1?afterany:2_*", "0-3:0", "1-10000000000", "gpu:1", "gpu:-1", "gpu:a:b:c", "now+1hour"),
        *("[x]&y", "\x00", "\xe9\u0663"),
    )
)
NUMBERS = st.integers(-3, 70) | st.integers() | st.sampled_from([2**31, 2**32 - 1, 2**53, 2**63, -(2**63), 10**40])
PLAIN = st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | WORDS | st.text(max_size=20)
VALUES = PLAIN | st.lists(PLAIN, max_size=4) | st.dictionaries(st.text(max_size=5), PLAIN, max_size=2) | st.just("x" * 2_000_000)
LISTS = st.lists(WORDS, max_size=3)
LIST_KEYS = ("jobs", "nodes", "keys", "states", "names")
EXAMPLES = 100
WRONG = (None, -1, 10**30, 1.5, True, [], [[]], {}, "\x00", "x" * 70_000)
HELD = ("allocate", "step_create", "wait_job")


def keys_of(op: str) -> tuple[str, ...]:
    if op in VIEWS:
        return VIEW_KEYS
    struct = OPERATIONS[op][0] or (StepRequest if op == "step_create" else SubmitRequest)
    return struct.__struct_fields__


@st.composite
def requests(draw):
    """(fields, sections): a few of the operation's own keys with values of any type, more often of nearly the right one."""
    op = draw(st.sampled_from((*OPERATIONS, *VIEWS)) | st.text(max_size=40))
    known = keys_of(op) if op in OPERATIONS or op in VIEWS else ("jobs",)
    fields = {"op": op}
    for key in draw(st.lists(st.sampled_from((*known, "unknown", "id", "jobs")), max_size=5)):
        likely = LISTS if key in LIST_KEYS else st.integers(0, 3) if key.endswith("_id") else PLAIN
        fields[key] = draw(likely | VALUES)
    if op == "submit_many" and draw(st.booleans()):
        one = st.dictionaries(st.sampled_from(SubmitRequest.__struct_fields__), VALUES, max_size=2)
        fields["requests"] = draw(st.lists(one, max_size=3))
    for key in ("job_id", "step_id", "jobs", "keys", "nodes"):  # what is required is mostly there
        if key in known and key not in fields and draw(st.integers(0, 3)):
            fields[key] = draw(LISTS if key in ("jobs", "keys", "nodes") else st.integers(0, 3))
    sections = draw(st.lists(st.sampled_from([b"", SCRIPT, b"A=1\0B", b"\xff" * 10]), max_size=3))
    return fields, sections


def through_the_gateway(fields, sections):
    head = json.dumps(fields).encode()
    return parse_request(b"".join(len(part).to_bytes(4, "big") + part for part in (head, *sections)))


def cluster():
    """A job with a step runs, an array waits, a job is held, one has ended."""
    made = EngineCluster(n0=4, n1=2)
    first = made.submit(ntasks=1, time_limit_s=600)
    made.submit(array="0-3", hold=True, name="a")
    ended = made.submit()
    made.plan()
    made.ask("step_create", job_id=first, argv=["true"])
    made.end(ended)
    return made


def read(reading, caller, fields):
    """A view to its end. What is wrong is a refusal, or a malformed request, when it is opened or while it is read."""
    client = SimpleNamespace(number=1, caller=caller)
    try:
        for _ in reading.open(client, fields, 1) or ():
            pass
    except (SlurmError, ValueError, msgspec.DecodeError):
        pass


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=st.lists(requests(), min_size=1, max_size=6), caller=st.sampled_from([ALICE, BOB, ROOT]))
def test_every_request_is_answered_or_held_and_nothing_breaks(asked, caller):
    made = cluster()
    reactor = made.reactor
    reading = Reading(reactor, made.store)
    for number, (fields, sections) in enumerate(asked, 1000):
        try:
            fields, sections = through_the_gateway(fields, sections)
        except (ValueError, msgspec.DecodeError):
            continue  # the gateway says "malformed" and closes the connection
        if isinstance(fields["op"], str) and reading.knows(fields["op"]):
            read(reading, caller, fields)
            continue
        op = fields["op"]
        reactor.requests.handle(number, caller, fields, sections, made.now_ms, None)
        reactor.flush()
        assert made.replies.get(number) or op in HELD, f"{op} got no answer"
        made.plan()
        made.tick()
    made.ask("cancel", ROOT, uid=ALICE.uid)
    assert made.submit() > 0
    made.check_law()


@pytest.mark.parametrize("op", OPERATIONS)
def test_each_field_of_each_operation_with_values_of_the_wrong_kind(op):
    made = cluster()
    needed = {"job_id": 1} if "job_id" in keys_of(op) else {}
    number = 1000
    for key in keys_of(op):
        for value in WRONG:
            number += 1
            fields, sections = through_the_gateway({"op": op, **needed, key: value}, [SCRIPT, b""])
            made.reactor.requests.handle(number, ALICE, fields, sections, made.now_ms, None)
            assert made.replies.get(number) or op in HELD or made.reactor.state.seq > made.reactor.durable_seq, f"{op} {key} got no answer"
    made.reactor.flush()
    made.check_law()
