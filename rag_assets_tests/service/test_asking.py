"""POST /v1/search, /v1/answer, /v1/feedback through a real server."""

import json

import httpx
import pytest

from rag_assets.knowledge_base import KnowledgeBase
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.service.conftest import SECRET, Base, events, refusal, until_text

QUESTION = "Who answers requests concerning payroll?"


def test_search_is_that_of_the_knowledge_base(ask: httpx.Client, built) -> None:
    reply = ask.post("/v1/search", json={"query": QUESTION, "k": 3, "explain": True})
    found = reply.json()
    with KnowledgeBase.open(built / "knowledge_base.yaml") as knowledge:
        hits = knowledge.search(QUESTION, k=3, explain=True)
    assert found["index_version"] == hits.index_version == 1
    assert [hit["chunk_id"] for hit in found["hits"]] == [hit.chunk_id for hit in hits]
    first = found["hits"][0]
    assert first | {"score": 0} == {
        "rank": 1,
        "score": 0,
        "uri": hits[0].uri,
        "doc_id": "docs/payroll.md",
        "chunk_id": hits[0].chunk_id,
        "source": "docs",
        "title": hits[0].title,
        "heading": list(hits[0].heading),
        "page": hits[0].page,
        "start": hits[0].start,
        "end": hits[0].end,
        "text": hits[0].text,
        "metadata": {"language": "en", "team": "office", "tenant": "*", "year": 2025},
        "signals": dict(hits[0].signals),
        "parts": dict(hits[0].parts),
    }
    assert reply.headers["x-index-version"] == "1"
    assert reply.headers["x-request-id"] == found["request_id"]


def test_options_reach_the_search(ask: httpx.Client) -> None:
    def sources(**options: object) -> set[str]:
        reply = ask.post("/v1/search", json={"query": "secret merger", "k": 50, **options})
        return {hit["source"] for hit in reply.json()["hits"]}

    assert sources() == {"docs", "board", "acme", "globex", "shared"}
    assert sources(where={"team": "board"}) == {"board"}
    assert sources(where={"$and": [{"year": {"$gte": 2025}}, {"team": "office"}]}) == {"docs"}
    assert sources(groups=[]) == {"docs", "acme", "globex", "shared"}
    assert sources(groups=["board"], where={"team": "board"}) == {"board"}
    assert sources(version=1, mode="lexical", where={"team": "board"}) == {"board"}
    assert sources(knowledge_base="small", where={"tenant": "acme"}) == {"acme"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_request", "query")),
        ({"query": ""}, (422, "invalid_request", "query")),
        ({"query": " \n\t"}, (422, "invalid_request", "query")),
        ({"query": "x" * 8001}, (422, "invalid_request", "query")),
        ({"query": 7}, (422, "invalid_request", "query")),
        ({"query": "\ud800"}, (422, "invalid_request", "query")),
        ({"query": "a", "k": 0}, (422, "invalid_request", "k")),
        ({"query": "a", "k": "5"}, (422, "invalid_request", "k")),
        ({"query": "a", "k": True}, (422, "invalid_request", "k")),
        ({"query": "a", "k": 1e99}, (422, "invalid_request", "k")),
        ({"query": "a", "kk": 1}, (422, "unknown_field", "kk")),
        ({"query": "a", "\ud800": 1}, (422, "invalid_request", None)),
        ({"query": "a", "mode": "fuzzy"}, (422, "invalid_request", "mode")),
        ({"query": "a", "where": {}}, (422, "invalid_request", "where")),
        ({"query": "a", "where": []}, (422, "invalid_request", "where")),
        ({"query": "a", "where": {"a": {"$near": 1}}}, (422, "invalid_request", "where")),
        ({"query": "a", "where": {"a": "\ud800"}}, (422, "invalid_request", "where")),
        ({"query": "a", "where": {"a": float("1e400")}}, (422, "invalid_request", "where")),
        ({"query": "a", "groups": "hr"}, (422, "invalid_request", "groups")),
        ({"query": "a", "version": 99}, (404, "version_not_found", "version")),
        (
            {"query": "a", "knowledge_base": "b"},
            (404, "knowledge_base_not_found", "knowledge_base"),
        ),
    ],
)
def test_bad_bodies_get_the_right_status_and_the_one_shape(
    ask: httpx.Client, body: dict, expected: tuple
) -> None:
    # In ASCII, with every escape that JSON has: httpx itself refuses to send lone surrogates.
    headers = {"Content-Type": "application/json"}
    reply = ask.post("/v1/search", content=json.dumps(body), headers=headers)
    assert refusal(reply) == expected


def test_other_bad_requests(ask: httpx.Client) -> None:
    def posted(content: bytes, kind: str = "application/json") -> tuple:
        return refusal(ask.post("/v1/search", content=content, headers={"Content-Type": kind}))

    for unreadable in (b"{not json", '{"query": "café"}'.encode("latin-1"), b"[" * 100_000):
        assert posted(unreadable)[:2] == (400, "invalid_json")
    assert posted(b"")[:2] == (422, "invalid_request")
    assert posted(b"[1]")[:2] == (422, "invalid_request")
    assert posted(b'{"query": "a"}', "text/plain")[:2] == (422, "invalid_request")
    assert posted(b"\xff\xfe")[0] in (400, 422)
    assert posted(b"[" * 100_000)[0] in (400, 422)
    assert posted(b'{"query": "' + b"x" * 1_000_001 + b'"}')[:2] == (413, "request_too_large")
    assert refusal(ask.get("/v1/search"))[:2] == (405, "method_not_allowed")
    allowed = ask.request("POST", "/v1/documents/docs/a/b.md").headers["allow"]
    assert allowed == "DELETE, GET, PUT"
    assert refusal(ask.get("/v1/nothing"))[:2] == (404, "not_found")
    assert refusal(ask.post("/v1/search/", json={"query": "a"}))[:2] == (404, "not_found")


def test_a_body_larger_than_announced_is_refused_while_it_is_read(ask: httpx.Client) -> None:
    def chunks():
        for _ in range(40):
            yield b"x" * 50_000

    headers = {"Content-Type": "application/json"}
    assert refusal(ask.post("/v1/search", content=chunks(), headers=headers))[:2] == (
        413,
        "request_too_large",
    )


def test_a_follow_up_question_is_asked_with_its_topic(ask: httpx.Client) -> None:
    history = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Desk 7."}]
    body = {"question": "And where are they?", "history": history, "explain": True, "k": 2}
    found = ask.post("/v1/answer", json=body).json()
    assert found["standalone_question"] == f"{QUESTION} And where are they?"
    assert found["citations"][0]["doc_id"] == "docs/payroll.md"
    assert [passage["number"] for passage in found["passages"]] == [1, 2]
    assert set(found["passages"][0]["parts"]) >= {"dense", "lexical"}
    alone = ask.post("/v1/answer", json={"question": QUESTION, "history": history}).json()
    assert (alone["standalone_question"], alone["passages"]) == (None, [])


def test_weights_of_a_request_count_for_it_only(ask: httpx.Client) -> None:
    def scores(**options: object) -> list[dict]:
        reply = ask.post("/v1/search", json={"query": QUESTION, "explain": True, **options})
        return [hit["parts"] for hit in reply.json()["hits"]]

    before = scores()
    assert all(part["lexical"] == 0 for part in scores(weights={"lexical": 0.0}))
    assert scores() == before
    for wrong in ({"nothing": 1.0}, {"dense": 11.0}, {"dense": "1"}):
        reply = ask.post("/v1/search", json={"query": "a", "weights": wrong})
        assert refusal(reply)[0] == 422


def test_an_answer_names_its_sources(ask: httpx.Client) -> None:
    reply = ask.post("/v1/answer", json={"question": QUESTION, "k": 3})
    found = reply.json()
    assert found["index_version"] == 1
    assert (found["model"], found["degraded"], found["knowledge_base"]) == (
        "extractive",
        False,
        "small",
    )
    cited = found["citations"][0]
    assert f"[{cited['number']}]" in found["text"]
    document = ask.get(f"/v1/documents/{cited['doc_id']}").json()
    assert document["text"][cited["start"] : cited["end"]] == cited["quote"]
    # `query`, which a search calls it, is understood as well.
    assert ask.post("/v1/answer", json={"query": QUESTION, "k": 3}).json()["text"] == found["text"]


def test_a_stream_says_the_same_piece_by_piece(base: Base, serve) -> None:
    client = serve(base)
    reply = client.post("/v1/answer", json={"question": QUESTION, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    found = events(reply.text)
    assert [name for name, _ in found][-1] == "answer"
    assert {name for name, _ in found[:-1]} == {"text"}
    whole = found[-1][1]
    assert "".join(data["text"] for _, data in found[:-1]) == whole["text"]
    assert not whole["cached"]
    again = client.post("/v1/answer", json={"question": QUESTION, "stream": True})
    assert events(again.text)[-1][1]["cached"]


def test_what_fails_before_the_first_text_is_a_status(ask: httpx.Client) -> None:
    body = {"question": "a", "stream": True, "version": 99}
    assert refusal(ask.post("/v1/answer", json=body))[:2] == (404, "version_not_found")


def test_a_stream_that_breaks_off_says_so_and_is_audited(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/cut", "api_base": models.url, "api_key": "k"})
        body = {"question": QUESTION, "stream": True}
        with serve(base).stream("POST", "/v1/answer", json=body) as reply:
            lines = reply.iter_lines()
            until_text(lines)
            models.release.set()
            found = events("event: text\n" + "\n".join(lines))
    assert [name for name, _ in found][-1] == "error"
    error = found[-1][1]["error"]
    assert (error["type"], error["code"]) == ("server_error", "llm_error")
    assert "broke off half-way" in error["message"]
    [line] = base.audit()
    assert (line["status"], line["question"], line["error"]) == (200, QUESTION, error["message"])
    assert (line["outcome"], line["index_version"]) == ("failed", 1)


def test_a_caller_who_leaves_is_audited_and_stops_the_model(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/held", "api_base": models.url, "api_key": "k"})
        client = serve(base)
        body = {"question": QUESTION, "stream": True}
        with client.stream("POST", "/v1/answer", json=body) as reply:
            until_text(reply.iter_lines())
        # The next request is served after the gate has seen the first one's connection close.
        while not base.audit():
            client.get("/healthz")
        models.release.set()
    [line] = base.audit()
    assert (line["outcome"], line["question"]) == ("disconnected", QUESTION)
    assert (line["index_version"], line["model"]) == (1, "openai/held")
    assert line["chunk_ids"]
    assert line["prompt_tokens"] > line["completion_tokens"] > 0


def test_a_promotion_during_a_stream_finishes_on_the_old_version(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/held", "api_base": models.url, "api_key": "k"})
        client = serve(base)
        body = {"question": QUESTION, "stream": True}
        with client.stream("POST", "/v1/answer", json=body) as reply:
            lines = reply.iter_lines()
            until_text(lines)
            (base.root / "documents/new.md").write_text("# New\n\nA new document about kites.\n")
            assert base.refresh()["live_version"] == 2
            newer = client.post("/v1/search", json={"query": "kites"}).json()
            models.release.set()
            rest = "\n".join(lines)
    assert newer["index_version"] == 2
    assert events("event: text\n" + rest)[-1][1]["index_version"] == 1


def test_failing_models_degrade_to_quoting(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(llm={"model": "openai/401", "api_base": models.url, "api_key": "sk-hidden"})
        client = serve(base)
        reply = client.post("/v1/answer", json={"question": QUESTION})
        found = reply.json()
        again = client.post("/v1/answer", json={"question": QUESTION}).json()
    assert (found["degraded"], found["model"]) == (True, "extractive")
    assert reply.headers["x-degraded"] == "true"
    assert "sk-hidden" not in reply.text
    assert not again["cached"]


def test_feedback_joins_the_answer_by_its_request(base: Base, serve) -> None:
    client = serve(base)
    headers = {"X-Request-Id": "my-request"}
    answer = client.post("/v1/answer", json={"question": QUESTION}, headers=headers).json()
    assert answer["request_id"] == "my-request"
    body = {"request_id": "my-request", "rating": "down", "comment": "Not the payroll I meant"}
    assert client.post("/v1/feedback", json=body).json()["status"] == "recorded"
    asked, judged = base.audit()
    assert judged["feedback"] == body
    assert asked["request_id"] == "my-request"
    assert (
        'rag_feedback_total{knowledge_base="small",rating="down"} 1.0'
        in client.get("/metrics").text
    )


def test_the_audit_line_says_what_was_asked_found_and_judged(base: Base, serve) -> None:
    client = serve(base)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    client.post(
        "/v1/answer",
        json={"question": QUESTION, "k": 3, "where": {"team": "office"}},
        headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    client.post("/v1/search", json={"query": "x", "k": 0})
    line, refused = base.audit()
    assert (line["principal"], line["status"], line["outcome"]) == ("local", 200, "completed")
    assert (line["trace_id"], line["knowledge_base"]) == (trace, "small")
    assert (line["question"], line["index_version"]) == (QUESTION, 1)
    assert line["filters"] == {"k": 3, "where": {"team": "office"}}
    assert len(line["chunk_ids"]) == 3
    assert set(line["cited_chunk_ids"]) <= set(line["chunk_ids"])
    assert set(line["verdicts"]) == {
        "abstained",
        "confidence",
        "degraded",
        "dropped_citations",
        "needs_review",
        "removed_links",
        "unproven_claims",
    }
    assert {"search", "answer"} <= set(line["timings"])
    assert (line["model"], line["cost_usd"], line["cached"]) == ("extractive", 0.0, False)
    assert (refused["status"], refused["principal"]) == (422, "local")
    assert refused["error"].startswith("k: ")


def test_questions_can_be_kept_as_hashes_only(base: Base, serve) -> None:
    base.configure(service={"audit": {"questions": "hash"}})
    serve(base).post("/v1/search", json={"query": "my salary"})
    [line] = base.audit()
    assert "question" not in line
    assert len(line["question_sha256"]) == 64


def test_what_a_refusal_repeats_is_told_to_the_caller_only(base: Base, serve) -> None:
    base.configure(service={"audit": {"questions": "hash"}})
    reply = serve(base).post("/v1/search", json={"query": "my salary " * 900})
    assert "found 'my salary" in reply.json()["error"]["message"]
    [line] = base.audit()
    assert line["error"] == "query: String should have at most 8000 characters"


def test_without_an_index_it_says_what_to_do(base: Base, serve) -> None:
    (base.storage / "index/LIVE.json").unlink()
    client = serve(base)
    reply = client.post("/v1/search", json={"query": "a"})
    assert refusal(reply)[:2] == (503, "index_not_ready")
    assert "rag-assets refresh" in reply.json()["error"]["message"]
    assert refusal(client.post("/v1/answer", json={"question": "a"}))[0] == 503
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (503, False)


def test_a_request_that_takes_too_long_is_ended(base: Base, serve) -> None:
    with llm_server() as models:
        base.configure(
            llm={"model": "openai/slow", "api_base": models.url, "api_key": "k"},
            service={"limits": {"seconds": 0.5}},
        )
        client = serve(base)
        assert refusal(client.post("/v1/answer", json={"question": QUESTION}))[:2] == (
            504,
            "timeout",
        )
        body = {"question": QUESTION, "stream": True}
        assert refusal(client.post("/v1/answer", json=body))[:2] == (504, "timeout")


def test_groups_decide_what_is_found_whatever_the_caller_asks_for(base: Base, serve) -> None:
    _, clerk = base.keys.create("clerk")
    _, chair = base.keys.create("chair", groups=["board"])
    client = serve(base)

    def found(key: str, **options: object) -> bool:
        body = {"query": "Project Bluebird merger", "k": 50, **options}
        headers = {"Authorization": f"Bearer {key}"}
        searched = client.post("/v1/search", json=body, headers=headers)
        body = {"question": "What is the secret merger called?", **options}
        answered = client.post("/v1/answer", json=body, headers=headers)
        seen = {SECRET in searched.text, "Bluebird" in answered.text}
        assert len(seen) == 1
        return seen.pop()

    assert found(chair)
    assert found(chair, groups=["board", "other"])
    assert not found(chair, groups=[])
    assert not found(clerk)
    assert not found(clerk, groups=["board"])
    assert not found(clerk, where={"team": "board"})
    assert found(chair, where={"team": "board"})


def test_tenants_are_apart(base: Base, serve) -> None:
    _, acme = base.keys.create("acme", tenant="acme", groups=["*"])
    client = serve(base, key=acme)
    everything = client.post("/v1/search", json={"query": "ships in crates", "k": 100}).json()
    assert {hit["source"] for hit in everything["hits"]} == {"acme", "shared", "docs"}
    for where in ({"tenant": "globex"}, {"$or": [{"tenant": "globex"}, {"team": "board"}]}):
        assert client.post("/v1/search", json={"query": "a", "where": where}).json()["hits"] == []
    assert client.get("/v1/documents/acme/a.md").status_code == 200
    assert refusal(client.get("/v1/documents/globex/g.md"))[:2] == (404, "document_not_found")


def test_limits_answer_429_with_a_time_to_come_back(base: Base, serve) -> None:
    base.configure(service={"limits": {"requests_per_minute": 3}})
    _, secret = base.keys.create("app")
    client = serve(base, key=secret)
    statuses = [client.get("/v1/models").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    reply = client.get("/v1/models")
    assert refusal(reply)[:2] == (429, "rate_limit_exceeded")
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert [line["status"] for line in base.audit()] == [200, 200, 200, 429, 429, 429]


def test_keys_are_demanded_of_everything_that_tells_something(base: Base, serve) -> None:
    base.keys.create("app")
    client = serve(base)
    for path in ("/v1/models", "/v1/versions", "/v1/documents/docs/payroll.md", "/metrics"):
        reply = client.get(path)
        assert refusal(reply)[:2] == (401, "missing_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert refusal(client.post("/mcp", json={}))[0] == 401
    for path in ("/healthz", "/readyz", "/", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_other_origins_are_refused_unless_they_are_listed(base: Base, serve) -> None:
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    closed = serve(base)
    assert (
        "access-control-allow-origin" not in closed.options("/v1/search", headers=preflight).headers
    )
    base.configure(service={"cors": ["https://app.example"]})
    base.keys.create("app")
    opened = serve(base)
    reply = opened.options("/v1/search", headers=preflight)
    assert reply.headers["access-control-allow-origin"] == "https://app.example"
    other = opened.options("/v1/search", headers={**preflight, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers
