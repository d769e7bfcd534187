import json

import pytest

from rag_assets.sources.message import event_of


def event(**said):
    return event_of(json.dumps(said).encode())


def test_a_document_with_everything():
    found = event(
        id="a/b.md",
        version="2026-05-01T10:00:00Z",
        text="ä",
        title="T",
        metadata={"n": 1, "b": True},
        acl=["hr"],
        valid_until="2027-01-01",
    )
    assert (found.key, found.version, found.data) == ("a/b.md", 1777629600000000, "ä".encode())
    assert (found.title, found.metadata, found.acl) == ("T", {"n": 1, "b": True}, ("hr",))
    assert found.valid_until.isoformat() == "2027-01-01T00:00:00+00:00"
    assert event(id="a", version=1, base64="AAE=").data == b"\0\1"
    assert event(id="a", version=1, op="delete").deleted


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "expected a JSON object, found list"),
        (b'{"version": 1, "text": ""}', "id: expected"),
        (b'{"id": " a", "version": 1, "text": ""}', "id: expected 1 to 512 printable"),
        (b'{"id": "\\ud800", "version": 1, "text": ""}', "id: expected 1"),
        (b'{"id": "a", "text": ""}', "version: expected"),
        (b'{"id": "a", "version": true, "text": ""}', "version: expected"),
        (b'{"id": "a", "version": 9223372036854775808, "text": ""}', "version: expected"),
        (b'{"id": "a", "version": "soon", "text": ""}', "Invalid isoformat"),
        (b'{"id": "a", "version": 1}', "text, or one in base64"),
        (b'{"id": "a", "version": 1, "text": "", "base64": ""}', "text, or one in base64"),
        (b'{"id": "a", "version": 1, "text": 7}', "expected a string"),
        (b'{"id": "a", "version": 1, "base64": "?"}', "base64: "),
        (b'{"id": "a", "version": 1, "text": "\\ud800"}', "surrogates not allowed"),
        (b'{"id": "a", "version": 1, "op": "upsert", "text": ""}', "op: expected put or delete"),
        (b'{"id": "a", "version": 1, "text": "", "acl": "hr"}', "acl: expected a list"),
        (b'{"id": "a", "version": 1, "text": "", "metadata": {"a": []}}', "metadata: expected"),
        (b'{"id": "a", "version": 1, "text": "", "titel": "x"}', r"unknown keys \['titel'\]"),
    ],
)
def test_what_is_wrong_with_a_message_is_told(body, why):
    with pytest.raises(ValueError, match=why):
        event_of(body)
