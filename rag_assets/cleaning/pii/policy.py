"""What is done about personal data that was found: count it, take it out, or keep all of it out."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from rag_assets.cleaning.edits import Edit, apply, edited
from rag_assets.cleaning.pii.find import Finding, find
from rag_assets.config import PiiConfig
from rag_assets.parsing.base import Parsed, Unparseable


def guarded(parsed: Parsed, config: PiiConfig) -> Parsed:
    """The document as its source's policy wants it.

    What was found is counted in the metadata: `pii_email`, …, and `secrets` whatever the mode.
    Redaction reaches the text, the title, the headings and the metadata; `[EMAIL]` and the like
    stand where data was, and every offset stays right.

    Raises: Unparseable blocked when the mode is `block` and there is personal data.
    """
    findings = find(parsed.text, config)
    counts = Counter("secrets" if f.is_secret else f"pii_{f.entity}" for f in findings)
    if config.mode == "block":
        personal = {key[4:]: n for key, n in sorted(counts.items()) if key.startswith("pii_")}
        if personal:
            listed = ", ".join(f"{n} {entity}" for entity, n in personal.items())
            raise Unparseable("blocked", f"it holds personal data ({listed}); its source blocks it")
    if config.mode == "redact":
        parsed = _redacted(parsed, findings, config)
    return replace(parsed, metadata={**parsed.metadata, **counts})


def redacted_text(text: str, config: PiiConfig) -> str:
    """A text (a title, a metadata value) without what the configuration wants out of it."""
    return apply(text, _edits(find(text, config))) if config.mode == "redact" else text


def leaks(texts: Iterable[str], config: PiiConfig) -> Counter[str]:
    """Kinds of data that still are in texts which should be free of them, with their numbers."""
    return Counter(finding.entity for text in texts for finding in find(text, config))


def _redacted(parsed: Parsed, findings: list[Finding], config: PiiConfig) -> Parsed:
    cleaned = edited(parsed, _edits(findings))
    return replace(
        cleaned,
        title=None if parsed.title is None else redacted_text(parsed.title, config),
        headings=tuple(replace(h, title=redacted_text(h.title, config)) for h in cleaned.headings),
        metadata={
            key: redacted_text(value, config) if isinstance(value, str) else value
            for key, value in parsed.metadata.items()
        },
    )


def _edits(findings: Iterable[Finding]) -> list[Edit]:
    return [Edit(found.start, found.end, f"[{found.entity.upper()}]") for found in findings]
