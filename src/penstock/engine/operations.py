"""What each operation may say: one bounded struct for every request but submissions and steps, which have `request.py` and `steps.py`.

A sender is a stranger: decoding refuses unknown fields, wrong types, numbers out of range and lists or texts that are too long, before
anything looks at them. What passes here is bounded; whether it makes sense (is there such a job?) is the operation's to say.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from penstock.engine.steps import KEY_MAX_BYTES
from penstock.spec.request_values import COUNT_MAX, STRING_MAX_BYTES

IDS_MAX = 100_000
"""Job ids of one command."""
ID_MAX_CHARACTERS = 4_096
"""One id with its elements: `123_[1-5,7]`; or `jobname=` and a name."""
NAMES_MAX = 1_000
"""States, or hostlists of nodes, of one command."""
KEYS_MAX = 256
"""`Key=value` texts of one update."""
WAIT_STATUS_MAX = 0xFFFF
MAX_SIGNAL = 64
JOB_ID_MAX = 2**53
ADDRESS_MAX_CHARACTERS = 256

JobId = Annotated[int, Meta(ge=0, le=JOB_ID_MAX)]
StepId = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
SignalNumber = Annotated[int, Meta(ge=0, le=MAX_SIGNAL)]
Text = Annotated[str, Meta(max_length=STRING_MAX_BYTES)]
Ids = Annotated[tuple[Annotated[str, Meta(max_length=ID_MAX_CHARACTERS)], ...], Meta(max_length=IDS_MAX)]
Keys = Annotated[tuple[Text, ...], Meta(max_length=KEYS_MAX)]
Names = Annotated[tuple[Text, ...], Meta(max_length=NAMES_MAX)]


class Operation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all; without fields it is the request of an operation that needs none."""


class OneJob(Operation, frozen=True):
    """job_info, wait_job"""

    job_id: JobId


class Release(Operation, frozen=True):
    """The owner gives the allocation back."""

    job_id: JobId
    status: Annotated[int, Meta(ge=0, le=WAIT_STATUS_MAX)] = 0
    """Wait status of its command."""


class Jobs(Operation, frozen=True):
    """release, requeue, suspend, resume"""

    jobs: Ids


class Hold(Operation, frozen=True):
    jobs: Ids
    user_hold: bool = False


class RequeueHold(Operation, frozen=True):
    jobs: Ids
    special: bool = False


class UpdateJob(Operation, frozen=True):
    jobs: Ids
    keys: Keys


class UpdateNode(Operation, frozen=True):
    nodes: Names
    keys: Keys


class Cancel(Operation, frozen=True):
    """scancel: ids and filters, joined by AND. None or empty: not given."""

    jobs: Ids | None = None
    uid: Annotated[int, Meta(ge=0, le=2**32)] | None = None
    states: Names | None = None
    name: Text = ""
    account: Text | None = None
    qos: Text | None = None
    wckey: Text | None = None
    reservation: Text | None = None
    partition: Text = ""
    nodelist: Text = ""
    signal: SignalNumber | None = None
    batch: bool = False
    full: bool = False


class KillStep(Operation, frozen=True):
    job_id: JobId
    step_id: StepId
    signal: SignalNumber = 9


class OneStep(Operation, frozen=True):
    """step_info"""

    job_id: JobId
    step_id: StepId


class Attach(Operation, frozen=True):
    job_id: JobId
    step_id: StepId
    address: Annotated[str, Meta(max_length=ADDRESS_MAX_CHARACTERS)]
    key: Annotated[str, Meta(max_length=2 * KEY_MAX_BYTES, pattern="^([0-9a-fA-F]{2})*$")]


class Consolidate(Operation, frozen=True):
    """Carry out a plan that was made."""

    number: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class SubmitMany(Operation, frozen=True):
    """Each request is checked as the one of a submission."""

    requests: Annotated[tuple[dict[str, object], ...], Meta(max_length=COUNT_MAX)]
