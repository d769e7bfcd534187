"""Include and exclude patterns: globs over paths relative to a source's root.

`*` and `?` stay within one folder, `**` spans any number of folders, `[ab]` and `[!ab]` are
character classes. As in a .gitignore, a pattern without a slash matches that name in every folder.
As in a shell, an include pattern matches a hidden name only where it spells out the dot.
"""

import re
from collections.abc import Sequence


class Selection:
    """Which relative paths a source takes."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = _any_of(include, hidden=False)
        self._exclude = _any_of(exclude, hidden=True)
        self._hidden = any(
            part.startswith(".") for pattern in include for part in pattern.split("/")
        )

    def takes(self, path: str) -> bool:
        """Whether the file at this path is listed."""
        return bool(self._include.match(path)) and not self._exclude.match(path)

    def allows(self, path: str) -> bool:
        """Whether a path that was taken by other means is neither excluded nor hidden."""
        hidden = any(part.startswith(".") for part in path.split("/"))
        return not hidden and not self._exclude.match(path)

    def enters(self, folder: str) -> bool:
        """Whether anything below this folder could be listed."""
        hidden = folder.rpartition("/")[2].startswith(".")
        return (self._hidden or not hidden) and not self._exclude.match(folder)


def _any_of(patterns: Sequence[str], *, hidden: bool) -> re.Pattern[str]:
    parts = [_expression(pattern, hidden=hidden) for pattern in patterns]
    return re.compile(rf"(?:{'|'.join(parts)})\Z" if parts else "(?!)", re.DOTALL)


def _expression(pattern: str, *, hidden: bool) -> str:
    """One glob as a regular expression; naming a folder names what is below it."""
    anchored = pattern.strip("/")
    parts = anchored.split("/") if "/" in pattern.rstrip("/") else ["**", anchored]
    if hidden and len(parts) > 1 and parts[-1] == "**":
        parts.pop()  # the folder itself is not even entered
    dot = "" if hidden else r"(?!\.)"
    folders = rf"(?:{dot}[^/]+/)*"
    pieces = [folders if part == "**" else _component(part, dot) + "/" for part in parts[:-1]]
    last = rf"{folders}{dot}[^/]+" if parts[-1] == "**" else _component(parts[-1], dot)
    return rf"{''.join(pieces)}{last}(?:/{dot}[^/]+)*"


def _component(glob: str, dot: str) -> str:
    out = [] if glob.startswith(".") else [dot]
    rest = glob
    while rest:
        matched = re.match(r"\[(!?)(\]?[^\]/]*)\]", rest)
        if matched:
            negated, members = matched.groups()
            out.append(f"[{'^/' if negated else ''}{_members(members)}]")
            rest = rest[matched.end() :]
            continue
        head, rest = rest[0], rest[1:]
        out.append({"*": "[^/]*", "?": "[^/]"}.get(head) or re.escape(head))
    return "".join(out)


def _members(given: str) -> str:
    """The members of a character class, with only `-` left its meaning."""
    return re.sub(r"([\\\]\[^&~|])", r"\\\1", given)
