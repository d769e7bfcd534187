"""Documents pushed, deleted and read through HTTP."""

import httpx
import pytest

from rag_assets_tests.service.conftest import Base, refusal

PUSHED = {"name": "pushed", "type": "inbox", "buckets": 2}


def test_a_document_is_read_as_it_is_indexed(ask: httpx.Client, built) -> None:
    found = ask.get("/v1/documents/docs/payroll.md").json()
    assert (found["doc_id"], found["index_version"], found["title"]) == (
        "docs/payroll.md",
        1,
        "About payroll",
    )
    text = (built / "documents/payroll.md").read_text()
    for passage in found["passages"]:
        assert found["text"][passage["start"] : passage["end"]].strip() in text
    covered = sum(passage["end"] - passage["start"] for passage in found["passages"])
    assert covered >= len(found["text"]) - 2 * len(found["passages"])


def test_a_pushed_document_is_found_after_the_next_refresh_and_gone_after_its_deletion(
    base: Base, serve
) -> None:
    client = serve(base)
    body = {
        "text": "Umbrellas stand beside the door of room 7, free for everyone to borrow.",
        "title": "Umbrellas",
        "uri": "https://wiki.example/umbrellas",
        "metadata": {"team": "facilities"},
    }
    accepted = client.put("/v1/documents/pushed/wiki/umbrellas", json=body)
    assert accepted.status_code == 202
    assert accepted.json()["doc_id"] == "pushed/wiki/umbrellas"
    page = b"<html><title>Bikes</title><body><p>Bikes are kept in the cellar, behind a grille."
    headers = {"Content-Type": "text/html"}
    pushed = client.put("/v1/documents/pushed/bikes.html", content=page, headers=headers)
    assert pushed.status_code == 202
    assert base.refresh()["documents"]["added"] == 2

    def first(query: str) -> dict:
        return client.post("/v1/search", json={"query": query, "k": 1}).json()["hits"][0]

    hit = first("where are umbrellas?")
    assert (hit["doc_id"], hit["uri"], hit["title"]) == (
        "pushed/wiki/umbrellas",
        body["uri"],
        body["title"],
    )
    assert hit["metadata"]["team"] == "facilities"
    assert first("where are bikes kept?")["doc_id"] == "pushed/bikes.html"
    assert client.delete("/v1/documents/pushed/wiki/umbrellas").status_code == 202
    assert base.refresh()["documents"]["deleted"] == 1
    assert first("where are umbrellas?")["doc_id"] != "pushed/wiki/umbrellas"
    stored = [line["document"] for line in base.audit() if "document" in line]
    assert [entry["doc_id"] for entry in stored] == [
        "pushed/wiki/umbrellas",
        "pushed/bikes.html",
        "pushed/wiki/umbrellas",
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("PUT", "docs/a", {"text": "a"}, (409, "not_an_inbox", "source")),
        ("PUT", "none/a", {"text": "a"}, (404, "source_not_found", "source")),
        ("PUT", "No!/a", {"text": "a"}, (422, "invalid_request", "source")),
        ("PUT", "pushed/", {"text": "a"}, (422, "invalid_request", "id")),
        ("PUT", "pushed/%20a", {"text": "a"}, (422, "invalid_request", "id")),
        ("PUT", "pushed/a%00b", {"text": "a"}, (422, "bad_request", None)),
        ("PUT", "pushed/" + "x" * 513, {"text": "a"}, (422, "invalid_request", "id")),
        ("PUT", "pushed/a", {}, (422, "invalid_request", "text")),
        ("PUT", "pushed/a", {"text": " "}, (422, "invalid_request", "text")),
        ("PUT", "pushed/a", {"text": "a", "acl": "hr"}, (422, "invalid_request", "acl")),
        ("PUT", "pushed/a", {"text": "a", "txet": "a"}, (422, "unknown_field", "txet")),
        ("PUT", "pushed/a", {"text": "a", "uri": "no"}, (422, "invalid_request", "uri")),
        ("DELETE", "pushed/none", None, (404, "document_not_found", "id")),
        ("GET", "docs/none.md", None, (404, "document_not_found", "id")),
        ("GET", "docs/payroll.md?version=99", None, (404, "version_not_found", "version")),
        ("GET", "docs/payroll.md?version=x", None, (422, "invalid_request", "version")),
    ],
)
def test_bad_requests(ask: httpx.Client, method, path, body, expected) -> None:
    assert refusal(ask.request(method, f"/v1/documents/{path}", json=body)) == expected


def test_bad_content(ask: httpx.Client) -> None:
    def put(content: bytes, **headers: str) -> tuple:
        path = "/v1/documents/pushed/a"
        request = ask.build_request("PUT", path, content=content, headers=headers)
        return refusal(ask.send(request))[:2]

    assert put(b"{", **{"Content-Type": "application/json"}) == (400, "invalid_json")
    assert put(b"\xff", **{"Content-Type": "application/json"}) == (400, "invalid_json")
    assert put(b"bytes") == (415, "unsupported_media_type")


def test_documents_have_a_size_limit_of_their_own(base: Base, serve) -> None:
    base.configure(service={"limits": {"document_bytes": 2000, "request_bytes": 1024}})
    client = serve(base)
    headers = {"Content-Type": "text/plain"}
    path = "/v1/documents/pushed/a.txt"
    assert client.put(path, content=b"a" * 2000, headers=headers).status_code == 202
    reply = client.put(path, content=b"a" * 2001, headers=headers)
    assert refusal(reply)[:2] == (413, "request_too_large")
    long = {"query": "a" * 1024}
    assert refusal(client.post("/v1/search", json=long))[:2] == (413, "request_too_large")


def test_writing_needs_a_right_and_stays_within_the_tenant(base: Base, serve) -> None:
    _, reader = base.keys.create("reader", groups=["*"])
    _, acme = (
        base.keys.create("acme", tenant="acme", write=True)
        if False
        else base.keys.create("acme", tenant="acme", may_write=True)
    )
    _, globex = base.keys.create("globex", tenant="globex", may_write=True)
    client = serve(base)

    def send(method: str, key: str, path: str = "pushed/a", **body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"}
        return client.request(method, f"/v1/documents/{path}", json=body or None, headers=headers)

    assert refusal(send("PUT", reader, text="a"))[:2] == (403, "forbidden")
    assert refusal(send("DELETE", reader))[:2] == (403, "forbidden")
    text = "Anvils of the new series have a handle on either side."
    assert send("PUT", acme, text=text, metadata={"tenant": "globex"}).status_code == 202
    assert refusal(send("PUT", globex, text="mine"))[:2] == (403, "forbidden")
    assert refusal(send("DELETE", globex))[:2] == (403, "forbidden")
    base.refresh()
    assert send("GET", acme).json()["metadata"]["tenant"] == "acme"
    assert refusal(send("GET", globex))[:2] == (404, "document_not_found")
    assert send("DELETE", acme).status_code == 202
