"""The answer of `penstock why` as text: one sentence a blocker, a page of at most 80 columns for a person.

The answer itself is a plain document (the object that `why --json` prints, see docs/design/explain.md); it is made where the planner is.
This module only words it: for the command, and for the replay of a snapshot without a cluster.

Guarantees: nothing is told that the document does not hold; lines are at most WIDTH columns unless a single word is longer.
"""

from __future__ import annotations

from penstock.spec import hostlist
from penstock.spec.levels import nearness
from penstock.spec.times import format_duration, format_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Fact = Mapping[str, object]

WIDTH = 80
INDENT = 11
"""Column at which the text behind a head word begins."""
NAMES_MAX = 8
"""Names that one sentence holds; more are counted."""
UNTIL_MAX_S = 300 * 86_400
"""What ends later has no time limit: the planner counts it as a year."""
HEADS = {"impossible": "CANNOT RUN", "policy": "HELD BACK", "waiting": "WAITS FOR", "about to start": "STARTS"}
"""First word of the dominant blocker's line, by tier."""
STARTS = {
    "now": "now: nothing is in the way",
    "reserved": "promised: nothing that starts later delays it, running jobs keep their limits",
    "unkept": "at the earliest: it is further ahead than bf_window, so nothing keeps it for the job",
    "estimated": "if everyone ahead of it uses its whole time limit",
    "delayed": "at the earliest: the obstacles above come first",
    "not before": "at the earliest: only the first {looked_at} of {ahead} jobs ahead were looked at",
}


def sentence(blocker: Fact) -> str:
    """What this blocker is, without times."""
    word, what, asked, most = str(blocker["word"]), str(blocker["what"]), blocker["asked"], blocker["most"]
    partition, names = blocker["partition"], listed(_texts(blocker["names"]))
    impossible = blocker["tier"] == "impossible"
    if word in ("PartitionDown", "PartitionInactive"):
        return f"partition {partition} is {word[9:].upper()}: nothing starts there"
    if word == "PartitionConfig":
        return f"there is no partition {partition} any more"
    if word == "PartitionTimeLimit":
        return f"its time limit {duration(asked)} is above the {duration(most)} that partition {partition} allows"
    if word == "PartitionNodeLimit":
        return f"{count(asked, 'node')} are asked, partition {partition} allows {most}"
    if what.endswith(" looked at in a pass"):
        whose = " of its user" if "of a user" in what else " of its partition" if "of a partition" in what else ""
        return f"it is number {asked} in the queue{whose}, and a pass looks at {most} jobs{whose and ' of each'}"
    if word == "Licenses":
        return f"{count(asked, 'licence')} {what} asked, {'there' if impossible else 'now there'} {'is' if most == 1 else 'are'} {most}"
    if word == "DeadLine":
        return f"it needs {duration(asked)} and its deadline is in {duration(most)}"
    if what == "features":
        return f"no node of partition {partition} has the feature {names}"
    if what == "nodes that are up":
        return f"{count(asked, 'node')} needed, {_only(most)} of those it may use {'is' if most == 1 else 'are'} up"
    there = "exist" if impossible else "would be left" if word == "Priority" else "free"
    if what == "topology":
        kept = word == "Priority"  # then the names are jobs
        scarce = unit(str(blocker["resource"])) if blocker["resource"] not in ("", what) else ""
        text = nearness([] if kept else _texts(blocker["names"]), _number(asked), _number(most), impossible, scarce)
        return text + _kept(word, names)
    if what in ("contiguous nodes", "nodes with features"):
        kind = f"nodes with {names}" if names else "neighbouring nodes"
        return f"{asked} {kind} needed, {_only(most)} {there}{'' if names else ' side by side'}"
    if what == "nodes" and names:
        return f"of the nodes it names, these do not suit it{'' if impossible else ' now'}: {names}"
    if what in ("nodes", "idle nodes"):
        kind = "idle node" if what == "idle nodes" else "node"
        scarce = f" with enough {unit(str(blocker['resource']))}" if blocker["resource"] not in ("", what) else ""
        return f"{count(asked, kind)}{scarce} needed, {_only(most)} {there}{_kept(word, names)}"
    if what == "tasks":
        return f"{count(asked, 'task')} asked, the nodes {'' if impossible else 'that are free '}hold {most}{_kept(word, names)}"
    if asked or most:
        where = "a node" if blocker["per"] == "node" else "all"
        if impossible:
            return f"{amount(what, asked)} asked on {where}; no more than {amount(what, most)} exist there"
        if word == "Priority":
            return f"{amount(what, asked)} asked on {where}; {amount(what, most)} would be left{_kept(word, names)}"
        return f"{amount(what, asked)} asked on {where}; at most {amount(what, most)} free{' on one' if where == 'a node' else ''}"
    if word == "Priority":
        return "there is room" + (_kept(word, names) if names else ", but a job of higher priority comes first")
    return f"{what or word}{f' ({names})' if names else ''}"


def _kept(word: str, names: str) -> str:
    return f" beside what is kept for job {names}" if word == "Priority" and names else ""


def _only(most: object) -> str:
    return "none" if most == 0 else f"only {most}"


def render(document: Fact) -> str:
    """The page, with a newline at the end of each line; times are local."""
    lines = [*_head(document)]
    if document["state"] != "PENDING":
        return "\n".join(lines) + "\n"
    blockers = _facts(document["blockers"])
    for at, blocker in enumerate(blockers):
        head = HEADS[str(document["tier"])] if at == 0 else "also"
        lines += ["", *_blocker(head, blocker)] if at == 0 else _blocker(head, blocker)
    lines += ["", *_place(document), *_start(document), *_array(document), *_changes(document)]
    return "\n".join(lines) + "\n"


def _head(document: Fact) -> list[str]:
    whose = (f" ({document['name']})" if document["name"] else "") + (f" of {document['user']}" if document["user"] else "")
    first = f"job {document['job']}{whose}: {document['state']}"
    lines = _wrap("", f"{first}, partition {document['partition']}", 0)
    lines += _wrap("", f"asks for {document['asks']}", 0)
    begun, ended = document["start_s"], document["end_s"]
    if document["state"] == "PENDING":
        submit_s = _number(document["submit_s"])
        return [*lines, *(_wrap("", f"submitted {format_time(submit_s)}", 0) if submit_s else ())]
    if not begun:
        return [*lines, *_wrap("", f"ended {format_time(_number(ended))}, before it could start", 0)]
    place = f"started {format_time(_number(begun))} on {document['nodes']}"
    if document["ended"]:
        place += f", ended {format_time(_number(ended))} ({document['reason']})" if ended else ""
    elif ended:
        place += f", its time limit ends it {format_time(_number(ended))}"
    return [*lines, *_wrap("", place, 0)]


def _blocker(head: str, blocker: Fact) -> list[str]:
    lines = _wrap(head, f"{blocker['word']}: {blocker['sentence']}")
    if blocker["until_s"]:
        lines += _wrap("", f"until {format_time(_number(blocker['until_s']))}")
    if blocker["configured"]:
        resource = str(blocker["resource"])
        lines += _wrap("", f"free: {amount(resource, blocker['free'])} of {amount(resource, blocker['configured'])} where it may run")
    down = _texts(blocker["down"])
    if down:
        lines += _wrap("", f"not available: {listed(down)}")
    for holder in _facts(blocker["holders"]):
        whose = f" of {holder['user']}" if holder["user"] else ""
        nodes = hostlist.compress(_texts(holder["nodes"]))
        until = _number(holder["until_s"])
        ends = f"until {format_time(until)}" if until else "without a time limit"
        held = amount(str(blocker["resource"]), holder["amount"]) + (f" on {nodes}" if nodes else "")
        lines += _wrap("", f"held by job {holder['job']}{whose}: {held}, {ends}")
    if blocker["more"]:
        lines += _wrap("", f"and by {count(blocker['more'], 'other job')}")
    return lines


def _place(document: Fact) -> list[str]:
    ahead = _fact(document["ahead"])
    jobs, elements = _number(ahead["jobs"]), _number(ahead["elements"])
    if not ahead["in_queue"]:
        return _wrap("place", f"not in the queue yet; {count(jobs, 'job')} of its partitions {'waits' if jobs == 1 else 'wait'}")
    if not jobs:
        return _wrap("place", "first in line in its partitions")
    first = _texts(ahead["first"])
    named = ", ".join(first) + (", ..." if jobs > len(first) else "")
    size = f" ({elements} with their array elements)" if elements > jobs else ""
    return _wrap("place", f"{count(jobs, 'job')} of its partitions {'is' if jobs == 1 else 'are'} ahead{size}: {named}")


def _start(document: Fact) -> list[str]:
    start = _fact(document["start"])
    basis = str(start["basis"])
    if not basis:
        return _wrap("start", "not known: not as long as things are as they are")
    ahead = _fact(document["ahead"])
    note = STARTS[basis].format(looked_at=start["looked_at"], ahead=ahead["queued"])
    if not ahead["in_queue"]:
        note = "if it could join the end of the queue now"
    elif basis == "now":
        return _wrap("start", f"{note}, on {start['nodes']}")
    if basis == "now":
        return _wrap("start", f"now on {start['nodes']} in partition {start['partition']} ({note})")
    return _wrap("start", f"{format_time(_number(start['at_s']))} on {start['nodes']} in partition {start['partition']} ({note})")


def _array(document: Fact) -> list[str]:
    """How many elements start now, when the next and the last, and the one that was asked about."""
    array = _fact(document.get("array"))
    if not array or _fact(document["start"])["basis"] in ("", "delayed"):
        return []
    waiting, startable, now, seen = (_number(array[key]) for key in ("waiting", "startable", "now", "looked_at"))
    next_s, last_s = _number(array["next_s"]), _number(array["last_s"])
    words = [f"{waiting} wait"]
    if startable < waiting:
        words.append(f"the limit of the array lets {startable} of them start")
    words.append("all can start now" if now == waiting else f"{now or 'none'} can start now")
    if next_s:
        words.append(f"the next at {format_time(next_s)}")
    if seen > now + 1:
        words.append(f"{'the last' if seen == waiting else f'number {seen}'} at {format_time(last_s)}")
    lines = _wrap("elements", ", ".join(words))
    place = _number(array["place"])
    if place:
        when = "now" if place <= now else f"at {format_time(_number(array['own_s']))}" if array["own_s"] else "not known"
        lines += _wrap("", f"the one asked about is number {place} of them: {when}")
    return lines


def _changes(document: Fact) -> list[str]:
    lines: list[str] = []
    for change in _facts(document["sooner"]):
        option = f"with {change['option']}={change['value']}" if change["value"] else f"without {change['option']}"
        when = "now" if change["now"] else f"at {format_time(_number(change['at_s']))}"
        lines += _wrap("" if lines else "sooner", f"{option}: {when}, on {change['nodes']}")
    return lines


# --- words ---


def amount(what: str, value: object) -> str:
    """`8 gpu:h100`, `4 CPUs`, `64G`."""
    number = _number(value)
    if what == "memory_mib":
        return f"{number // 1024}G" if number % 1024 == 0 and number else f"{number}M"
    return f"{number} {unit(what, number)}"


def unit(what: str, number: int = 2) -> str:
    """What a resource is called: the planner's own word for GRES."""
    if what == "cpus":
        return "CPU" if number == 1 else "CPUs"
    return "memory" if what == "memory_mib" else what


def count(value: object, noun: str) -> str:
    number = _number(value)
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(value: object) -> str:
    seconds = _number(value)
    return "UNLIMITED" if seconds > UNTIL_MAX_S else format_duration(seconds)


def listed(names: Sequence[str]) -> str:
    """Nodes as a hostlist where they are many; at most NAMES_MAX pieces."""
    if len(names) <= 1:
        return "".join(names)
    if all(name.isdecimal() for name in names):
        shown = ", ".join(names[:NAMES_MAX])
        return f"{shown} and {len(names) - NAMES_MAX} others" if len(names) > NAMES_MAX else shown
    return hostlist.compress(names)


def _wrap(head: str, text: str, indent: int = INDENT) -> list[str]:
    """Lines of WIDTH columns; a `head` stands before the first one."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and indent + len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    before = [head, *[""] * (len(lines) - 1)]
    return [f"{first:<{indent}}{rest}" for first, rest in zip(before, lines, strict=True)]


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def _fact(value: object) -> Fact:
    return value if isinstance(value, dict) else {}


def _facts(value: object) -> list[Fact]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list | tuple) else []
