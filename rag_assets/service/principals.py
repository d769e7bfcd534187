"""Who is asking: a principal, and what it may see.

A principal's groups and tenant become filters on this side only; what a caller sends can make the
result smaller, never larger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EVERY_TENANT = "*"
"""A document whose metadata has `tenant: "*"` belongs to every tenant."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Limits of a key of its own; None leaves it to the service's configuration."""

    requests_per_minute: int | None = None
    requests_per_day: int | None = None
    usd_per_day: float | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    id: stable, for limits and the audit log. groups: None may read every document. tenant: None is
    not restricted to one. may_write: may push and delete documents.
    """

    id: str
    name: str
    groups: tuple[str, ...] | None
    tenant: str | None = None
    may_write: bool = False
    allowance: Allowance = field(default_factory=Allowance)

    def readable_groups(self, asked: Sequence[str] | None) -> list[str] | None:
        """The groups to search with: the principal's, or those of them that were asked for."""
        if asked is None:
            return None if self.groups is None else sorted(self.groups)
        if self.groups is None:
            return sorted(set(asked))
        return sorted(set(asked) & set(self.groups))

    def narrowed(self, where: Mapping[str, object] | None) -> Mapping[str, object] | None:
        """The caller's filter, within the documents of the principal's tenant."""
        if self.tenant is None:
            return where
        own = {"tenant": {"$in": [self.tenant, EVERY_TENANT]}}
        return own if where is None else {"$and": [own, where]}

    def owns(self, metadata: Mapping[str, object]) -> bool:
        """Whether a document with this metadata is of the principal's tenant, to be replaced."""
        return self.tenant is None or metadata.get("tenant") == self.tenant


LOCAL = Principal(id="local", name="local", groups=None, may_write=True)
"""Whoever is on this machine, while no principal is configured."""
