"""Memory groups of a pure cgroup v2 machine, as several kernels make them: folders that stand for the kernel's."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from penstock.agent import cgroups
from penstock.agent.cgroups import Hierarchies, RunGroups

MIB = 1024 * 1024
FILES = {"cgroup.procs": "", "memory.max": "max", "memory.swap.max": "max", "memory.events": "low 0\noom 0\noom_kill 0\n"}


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A hierarchy whose new groups have the files of `files`; `refused` has the access with which a file cannot be opened."""
    kernel = SimpleNamespace(files=dict(FILES), refused={})
    mkdir, open_file = os.mkdir, os.open

    def make_group(path, mode=0o777):
        mkdir(path, mode)
        for name, text in kernel.files.items():
            with open(f"{path}/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def open_checked(path, flags, mode=0o777):
        if kernel.refused.get(os.path.basename(path), -1) == flags & os.O_ACCMODE:
            raise PermissionError(13, "Permission denied", path)
        return open_file(path, flags, mode)

    for name, text in {"cgroup.controllers": "cpu memory", "cgroup.procs": "", "cgroup.subtree_control": ""}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(cgroups, "_mounts", lambda: {"": str(tmp_path)})
    monkeypatch.setattr(cgroups, "_own_paths", lambda: {"": "/"})
    monkeypatch.setattr(os, "mkdir", make_group)
    monkeypatch.setattr(os, "open", open_checked)
    return kernel


def killed(groups: RunGroups, count: int) -> None:
    """The kernel killed so many processes of the group, ever."""
    with open(f"{groups.paths[-1]}/memory.events", "w", encoding="ascii") as file:
        file.write(f"low 0\noom 0\noom_kill {count}\n")


def peak(groups: RunGroups, mib: int) -> None:
    with open(f"{groups.paths[-1]}/memory.peak", "w", encoding="ascii") as file:
        file.write(str(mib * MIB))


def test_where_the_peak_can_be_reset_each_run_has_its_own(kernel):
    kernel.files["memory.peak"] = "0"
    groups = RunGroups(Hierarchies(), "berth")
    for mib in (30, 20):
        groups.reset(100)
        assert groups.limits_memory
        peak(groups, mib)
        assert groups.peak_kib() == mib * 1024
        groups.end_run()


def test_a_peak_that_can_only_be_read_counts_for_the_first_run_of_the_group_only(kernel):
    kernel.files["memory.peak"] = "0"
    kernel.refused["memory.peak"] = os.O_RDWR
    groups = RunGroups(Hierarchies(), "berth")
    groups.reset(100)
    peak(groups, 30)
    assert groups.peak_kib() == 30 * 1024
    groups.end_run()
    groups.reset(100)
    assert groups.peak_kib() == 0 and groups.limits_memory


def test_without_a_peak_memory_is_limited_and_kills_are_counted_for_the_run_they_belong_to(kernel):
    groups = RunGroups(Hierarchies(), "berth")
    groups.reset(100)
    with open(f"{groups.paths[-1]}/memory.max", encoding="ascii") as file:
        assert file.read() == str(100 * MIB)
    killed(groups, 2)
    assert (groups.ooms(), groups.peak_kib()) == (2, 0)
    groups.end_run()
    groups.reset(100)
    assert groups.ooms() == 0
    killed(groups, 3)
    assert groups.ooms() == 1


def test_a_group_that_may_not_pass_memory_on_is_said_and_looked_at_by_hand(kernel):
    kernel.refused["cgroup.subtree_control"] = os.O_WRONLY
    hierarchies = Hierarchies()
    assert hierarchies.warnings == ["no memory cgroup is writable: memory limits are enforced by polling once a second"]
    groups = RunGroups(hierarchies, "berth")
    groups.reset(100)
    assert not groups.limits_memory and groups.ooms() == groups.peak_kib() == 0
