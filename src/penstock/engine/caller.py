"""Who asks, as the kernel tells it."""

from __future__ import annotations


class Caller:
    """A user by number and name. `group` is the primary group, `groups` all that the system knows the user to be in."""

    __slots__ = ("gid", "group", "groups", "uid", "user")

    def __init__(self, uid: int, gid: int, user: str, group: str, groups: tuple[str, ...] = ()) -> None:
        self.uid = uid
        self.gid = gid
        self.user = user
        self.group = group
        self.groups = groups
