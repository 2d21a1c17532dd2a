"""--dependency: what is accepted, what it means, how it is shown."""

import pytest

from penstock.spec import dependency as dep
from penstock.spec.errors import SpecError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("afterok:12", "afterok:12"),
        ("afterok:12:13,singleton", "afterok:12,afterok:13,singleton"),
        ("AfterAny:12_4?afternotok:13", "afterany:12_4?afternotok:13"),
        ("12", "afterany:12"),
        ("12_4", "afterany:12_4"),
        ("12:13", "afterany:12,afterany:13"),
        ("after:12+5:13", "after:12+5,after:13"),
        ("afterok:12_*", "afterok:12"),
        ("afterok:12,afterok:12", "afterok:12"),
        ("aftercorr:5", "aftercorr:5"),
        ("", ""),
        ("none", ""),
    ],
)
def test_reads_dependencies(text, shown):
    parsed = dep.parse(text)
    assert dep.format_dependency(parsed) == shown
    assert dep.parse(shown) == parsed


def test_any_and_all():
    assert dep.parse("afterok:1?afterok:2").any_of
    assert not dep.parse("afterok:1,afterok:2").any_of


def test_targets():
    (condition,) = dep.parse("after:12_3+5").conditions
    (target,) = condition.targets
    assert (condition.kind, target.job_id, target.task_id, target.minutes) == ("after", 12, 3, 5)
    assert dep.parse("afterok:12").conditions[0].targets[0].task_id is None
    assert dep.parent_ids("afterok:3:1,afterany:3,singleton") == (3, 1)


@pytest.mark.parametrize(
    "text",
    [
        "afterok",
        "afterok:",
        "afterok:a",
        "afterok:0",
        "afterok:1,afterok:2?afterok:3",
        "before:1",
        "afterok:1+5",
        "after:1+",
        "after:1+99999999",
        "singleton:1",
        ",",
        "afterok:1,",
        "expand:1",
        "afterok:1_",
        "-1",
        "after:²",
    ],
)
def test_refuses_other_texts(text):
    with pytest.raises(SpecError):
        dep.parse(text)


def test_refuses_more_jobs_than_the_bound():
    with pytest.raises(SpecError, match=str(dep.MAX_DEPENDENCIES)):
        dep.parse("afterok:" + ":".join(map(str, range(1, dep.MAX_DEPENDENCIES + 2))))


def test_shown_with_the_state_of_each_condition():
    parsed = dep.parse("afterok:12:13,after:14+5,singleton,afterany:15")
    shown = dep.format_shown(parsed, [dep.UNFULFILLED, dep.FAILED, dep.UNFULFILLED, dep.UNFULFILLED, dep.FULFILLED], {13})
    assert shown == "afterok:12(unfulfilled),afterok:13_*(failed),after:14+5(unfulfilled),singleton(unfulfilled)"
    assert dep.format_shown(dep.parse("afterok:1?afterok:2")) == "afterok:1(unfulfilled)?afterok:2(unfulfilled)"
