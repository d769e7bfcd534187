"""Finding personal data and secrets in a text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rag_assets.cleaning.pii.recognisers import RECOGNISERS
from rag_assets.cleaning.pii.secrets import SECRETS
from rag_assets.config import PiiConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """Characters start to end of a text are data of this kind; secrets are `secret_…`."""

    start: int
    end: int
    entity: str

    @property
    def is_secret(self) -> bool:
        """Whether it is a key, token or password rather than personal data."""
        return self.entity.startswith("secret_")


def find(text: str, config: PiiConfig) -> list[Finding]:
    """Secrets, and unless the mode is off the configured personal data, in order, not overlapping.

    Where two findings overlap, the earlier one counts, and of two that start together the longer.
    """
    found = [
        Finding(start, end, secret.entity) for secret in SECRETS for start, end in secret.find(text)
    ]
    if config.mode != "off":
        found += _personal(text, config)
    return list(_disjoint(found))


def _personal(text: str, config: PiiConfig) -> Iterator[Finding]:
    for entity in config.entities or list(RECOGNISERS):
        for recogniser in RECOGNISERS[entity]:
            for start, end in recogniser.find(text):
                yield Finding(start, end, entity)
        if entity == "phone" and config.region:
            for start, end in _phones(text, config.region):
                yield Finding(start, end, entity)


def _phones(text: str, region: str) -> Iterator[tuple[int, int]]:
    """Numbers that a country's numbering plan knows, written as its people write them."""
    try:
        from phonenumbers import Leniency, PhoneNumberMatcher
    except ImportError:
        return
    for match in PhoneNumberMatcher(text, region, Leniency.VALID, max_tries=1_000_000):
        yield match.start, match.end


def _disjoint(findings: Sequence[Finding]) -> Iterable[Finding]:
    end = 0
    for finding in sorted(findings, key=lambda found: (found.start, -found.end)):
        if finding.start >= end:
            yield finding
            end = finding.end
