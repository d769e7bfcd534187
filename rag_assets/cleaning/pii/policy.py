"""What is done about personal data that was found: count it, take it out, or keep all of it out."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from rag_assets.cleaning.edits import Edit, apply, edited
from rag_assets.cleaning.pii.find import Finding, find
from rag_assets.config import PiiConfig
from rag_assets.parsing.base import Parsed, Scalar, Unparseable


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


def guarded_attributes(
    title: str | None, metadata: str, problem: str | None, config: PiiConfig
) -> tuple[str | None, str, str | None]:
    """(title, metadata, problem) of a document, with what its source itself said of it.

    metadata: a JSON object. Redaction reaches its text values; in a source that blocks, personal
    data in the title or the metadata is a problem.
    """
    if config.mode == "redact":
        values = json.loads(metadata)
        clean = {
            k: redacted_text(v, config) if isinstance(v, str) else v for k, v in values.items()
        }
        if clean != values:
            metadata = json.dumps(clean, sort_keys=True, ensure_ascii=False)
        return None if title is None else redacted_text(title, config), metadata, problem
    if config.mode == "block" and problem is None:
        said = [title or "", *(v for v in json.loads(metadata).values() if isinstance(v, str))]
        found = {f.entity for text in said for f in find(text, config) if not f.is_secret}
        if found:
            listed = ", ".join(sorted(found))
            problem = f"blocked: its title or metadata holds personal data ({listed})"
    return title, metadata, problem


def leaks(texts: Iterable[str], config: PiiConfig) -> Counter[str]:
    """Kinds of data that still are in texts which should be free of them, with their numbers."""
    return Counter(finding.entity for text in texts for finding in find(text, config))


def _redacted(parsed: Parsed, findings: list[Finding], config: PiiConfig) -> Parsed:
    cleaned = edited(parsed, _edits(findings))
    return replace(
        cleaned,
        title=None if parsed.title is None else redacted_text(parsed.title, config),
        headings=tuple(replace(h, title=redacted_text(h.title, config)) for h in cleaned.headings),
        metadata=_redacted_values(parsed.metadata, config),
    )


def _redacted_values(values: Mapping[str, Scalar], config: PiiConfig) -> dict[str, Scalar]:
    return {
        key: redacted_text(value, config) if isinstance(value, str) else value
        for key, value in values.items()
    }


def _edits(findings: Iterable[Finding]) -> list[Edit]:
    return [Edit(found.start, found.end, f"[{found.entity.upper()}]") for found in findings]
