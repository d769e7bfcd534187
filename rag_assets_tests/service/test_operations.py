"""Versions, readiness, metrics, the cache, several knowledge bases, damaged files."""

import shutil
import sqlite3

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from rag_assets.index.versions import Versions
from rag_assets_tests.service.conftest import Base, refusal

QUESTION = {"question": "Who answers requests concerning payroll?"}


def figures(client: httpx.Client) -> dict[str, float]:
    """Every sample as `name{a=b,…}` → value."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_versions_come_with_their_figures(ask: httpx.Client) -> None:
    found = ask.get("/v1/versions").json()
    assert (found["knowledge_base"], found["live_version"]) == ("small", 1)
    [version] = found["versions"]
    assert (version["version"], version["state"], version["documents"]) == (1, "live", 10)
    assert version["metrics"]["questions"]["metrics"]["recall@5"] >= 0.5
    assert {check["name"] for check in version["checks"]} >= {
        "completeness",
        "index_integrity",
        "expected_documents",
        "known_items",
        "no_regression",
        "retrieval_quality",
    }
    assert refusal(ask.get("/v1/versions?knowledge_base=b"))[:2] == (
        404,
        "knowledge_base_not_found",
    )


def test_readiness_names_live_versions(ask: httpx.Client) -> None:
    assert ask.get("/healthz").json() == {"status": "ok"}
    assert ask.get("/readyz").json() == {
        "ready": True,
        "live_versions": {"small": 1},
        "problems": {},
    }


def test_metrics_count_what_was_done(base: Base, serve) -> None:
    client = serve(base)
    client.post("/v1/search", json={"query": "payroll"})
    client.post("/v1/answer", json=QUESTION)
    client.post("/v1/answer", json=QUESTION)
    client.post("/v1/answer", json={**QUESTION, "k": 3, "stream": True})
    client.post("/v1/answer", json={"question": ""})
    client.get("/nowhere/at/all")
    found = figures(client)
    assert found["rag_request_seconds_count{endpoint=/v1/search,status=200}"] == 1
    assert found["rag_request_seconds_count{endpoint=/v1/answer,status=200}"] == 3
    assert found["rag_request_seconds_count{endpoint=/v1/answer,status=422}"] == 1
    assert found["rag_request_seconds_count{endpoint=other,status=404}"] == 1
    assert found["rag_retrieval_seconds_count{knowledge_base=small}"] == 3
    both = "knowledge_base=small,model=extractive"
    assert found[f"rag_answers_total{{{both}}}"] == 2
    assert found[f"rag_generation_seconds_count{{{both}}}"] == 2
    assert found[f"rag_first_token_seconds_count{{{both}}}"] == 1
    assert found["rag_cache_total{knowledge_base=small,result=hit}"] == 1
    assert found["rag_cache_total{knowledge_base=small,result=miss}"] == 2
    assert found[f"rag_tokens_total{{kind=prompt,{both}}}"] > 0
    for name in ("abstentions", "degraded", "citation_failures"):
        assert f"rag_{name}_total{{knowledge_base=small}}" in found
    assert found["rag_index_version{knowledge_base=small}"] == 1
    assert found["rag_index_documents{knowledge_base=small}"] == 10
    assert found["rag_index_check_passed{check=retrieval_quality,knowledge_base=small}"] == 1
    metric = "rag_index_metric{eval_set=questions,knowledge_base=small,metric=recall@5}"
    assert found[metric] >= 0.5


def test_answers_are_repeated_for_the_same_principal_until_the_next_promotion(
    base: Base, serve
) -> None:
    _, plain = base.keys.create("plain")
    _, chair = base.keys.create("chair", groups=["board"])
    client = serve(base)

    def cached(key: str, **changes: object) -> bool:
        headers = {"Authorization": f"Bearer {key}"}
        reply = client.post("/v1/answer", json={**QUESTION, **changes}, headers=headers)
        return reply.json()["cached"]

    assert [cached(plain), cached(plain)] == [False, True]
    assert [cached(chair), cached(chair)] == [False, True]
    assert not cached(chair, groups=["board"]) or cached(chair)
    assert not cached(plain, k=2)
    assert not cached(plain, question="Who answers requests concerning vacation?")
    (base.root / "documents/kites.md").write_text("# Kites\n\nKites are flown on the roof.\n")
    assert base.refresh()["promoted"]
    assert [cached(plain), cached(plain)] == [False, True]
    Versions(base.storage).rollback()
    assert not cached(plain)
    assert [line["cached"] for line in base.audit()][:2] == [False, True]


def test_the_cache_can_be_off(base: Base, serve) -> None:
    base.configure(service={"cache": {"entries": 0}})
    client = serve(base)
    replies = [client.post("/v1/answer", json=QUESTION).json()["cached"] for _ in range(2)]
    assert replies == [False, False]


def test_several_knowledge_bases_side_by_side(base: Base, serve) -> None:
    other = Base(base.root.parent / "other")
    shutil.copytree(base.root, other.root)
    other.configure(name="other")
    (other.root / "documents/kites.md").write_text("# Kites\n\nKites are flown on the roof.\n")
    assert other.refresh()["live_version"] == 2
    client = serve(base, other)
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["small", "other"]

    def version(name: str | None) -> int:
        body = {"query": "kites", "knowledge_base": name}
        return client.post("/v1/search", json=body).json()["index_version"]

    assert (version(None), version("small"), version("other")) == (1, 1, 2)
    chat = {"model": "other", "messages": [{"role": "user", "content": "Where are kites flown?"}]}
    reply = client.post("/v1/chat/completions", json=chat).json()
    assert (reply["model"], reply["rag"]["index_version"]) == ("other", 2)
    assert "roof" in reply["choices"][0]["message"]["content"]
    assert client.get("/v1/versions?knowledge_base=other").json()["live_version"] == 2
    asked = [line["knowledge_base"] for line in base.audit() if "knowledge_base" in line]
    assert asked[:4] == ["small", "small", "other", "other"]


def test_a_request_whose_audit_line_cannot_be_written_is_counted(base: Base, serve) -> None:
    client = serve(base)
    (base.storage / "service/audit").write_text("in the way")
    assert client.post("/v1/search", json={"query": "a"}).status_code == 200
    assert figures(client)["rag_audit_failures_total{}"] == 1


def test_requests_that_cannot_be_counted_are_not_let_in(base: Base, serve) -> None:
    _, secret = base.keys.create("app")
    client = serve(base, key=secret)
    with sqlite3.connect(base.storage / "service/limits.sqlite3") as other:
        other.execute("DROP TABLE counters")
    assert refusal(client.get("/v1/models"))[:2] == (503, "storage_error")


def test_a_version_that_the_gate_refused_is_never_served(base: Base, serve) -> None:
    settings = yaml.safe_load(base.path.read_text())
    gate = {**settings["evaluation"]["gate"], "recall@5": 1.0}
    base.configure(evaluation={**settings["evaluation"], "gate": gate})
    for page in sorted((base.root / "documents").glob("*.md"))[:3]:
        page.write_text("# Nothing\n\nNothing is said here any more.\n")
    receipt = base.refresh()
    assert (receipt["version"], receipt["live_version"]) == (2, 1)
    client = serve(base)
    for path, body in (("search", {"query": "payroll"}), ("answer", QUESTION)):
        assert client.post(f"/v1/{path}", json={**body, "version": 1}).status_code == 200
        reply = client.post(f"/v1/{path}", json={**body, "version": 2})
        assert refusal(reply) == (409, "version_not_proven", "version")
