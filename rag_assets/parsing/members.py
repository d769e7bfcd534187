"""Documents inside documents: attachments of mails and members of archives."""

from collections.abc import Iterable
from contextvars import ContextVar

from rag_assets.parsing.base import Unparseable
from rag_assets.parsing.building import TextBuilder

DEEPEST = 3  # an archive in an archive in an archive
_depth: ContextVar[int] = ContextVar("depth", default=0)


def write_members(builder: TextBuilder, members: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Add each (name, bytes) as a section under its name.

    Returns what was left out, name → reason, for the metadata of the whole.
    Raises: Unparseable too_deep when documents nest more than `DEEPEST` levels.
    """
    from rag_assets.parsing.registry import parse

    depth = _depth.get()
    left_out: dict[str, str] = {}
    for name, data in members:
        if depth >= DEEPEST:
            raise Unparseable("too_deep", f"{name!r} in it lies more than {DEEPEST} levels deep")
        token = _depth.set(depth + 1)
        try:
            parsed = parse(data, name)
        except Unparseable as error:
            if error.reason == "too_deep":
                raise
            left_out[name] = error.reason
            continue
        finally:
            _depth.reset(token)
        builder.heading(1, name)
        builder.embed(parsed)
    return left_out


def described(left_out: dict[str, str]) -> str | None:
    """What was left out, as one line of metadata."""
    return "; ".join(f"{name} ({reason})" for name, reason in left_out.items()) or None
