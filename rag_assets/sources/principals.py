"""Who may read: several levels of permissions, all of which must hold, as one list of principals.

Principals are group names and `user:ACCOUNT`. A reader needs a principal of every level, as with a
page within a restricted page within a space; an `acl` is one list of which one is enough.
"""

from collections.abc import Callable, Iterable

EVERYONE = "everyone"
_USER = "user:"

Members = Callable[[str], set[str]]
"""The principals user:ACCOUNT of a group; empty where they cannot be told."""


def readable_by(levels: Iterable[set[str]], members: Members) -> set[str]:
    """The principals of which each one satisfies every level; nobody when there are none.

    Groups are opened into their members only where two levels name different ones, so that the
    result names as few people as possible and never more than may read.
    """
    allowed = {EVERYONE}
    for level in levels:
        allowed = _both(allowed, level, members)
    return allowed


def _both(first: set[str], second: set[str], members: Members) -> set[str]:
    if EVERYONE in first:
        return second
    if EVERYONE in second:
        return first
    shared = first & second
    people = _people(first - shared, members) & _people(second, members)
    people |= _people(second - shared, members) & _people(first, members)
    return shared | (people - _people(shared, members))


def _people(principals: set[str], members: Members) -> set[str]:
    """The users among principals, and those in the groups among them."""
    people = {one for one in principals if one.startswith(_USER)}
    for group in principals - people:
        people |= members(group)
    return people
