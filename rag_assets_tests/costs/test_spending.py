"""Money that is really asked for: embeddings and answers of paid models on local servers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import typer

from rag_assets.cli.operations_commands import costs
from rag_assets.costs.ledger import Entry, Ledger, now
from rag_assets.errors import Held
from rag_assets.knowledge_base import KnowledgeBase
from rag_assets.operations.metrics import exposition
from rag_assets.service.keys import KeyStore
from rag_assets.service.principals import Allowance
from rag_assets_tests.answering.llm_server import LlmServer, llm_server
from rag_assets_tests.conftest import SmallBase
from rag_assets_tests.embedding.service import EmbeddingService, running_service
from rag_assets_tests.notify.conftest import Receiver
from rag_assets_tests.operations.conftest import samples
from rag_assets_tests.service.conftest import serving, until_text

PROVEN = "Every request concerning payroll goes to desk 3 of the payroll office [1]."
MONTH = datetime.now(UTC).strftime("%Y-%m")


@pytest.fixture
def service() -> Iterator[EmbeddingService]:
    with running_service() as running:
        yield running


@pytest.fixture
def llm() -> Iterator[LlmServer]:
    with llm_server() as running:
        yield running


def paid(base: SmallBase, service: EmbeddingService, **more: Any) -> None:
    embedding = {
        "model": "openai/text-embedding-3-small",
        "dimensions": 8,
        "api_base": service.url,
        "api_key": "k",
        "usd_per_million_tokens": 1000.0,
    }
    base.configure(embedding=embedding, **more)


def embedded(ledger: Ledger) -> list[Entry]:
    """This month's entries of documents, by source."""
    found = [entry for entry in ledger.days(MONTH) if entry.kind == "embedding"]
    return sorted(found, key=lambda entry: entry.who)


def two_sources(base: SmallBase) -> None:
    other = base.root / "other"
    other.mkdir()
    (other / "boats.md").write_text("# Boats\n\nA page about boats and their sails.\n")
    source = {"name": "other", "type": "files", "path": "./other", "buckets": 1}
    base.settings["sources"] = [*base.settings["sources"], source]


def test_embeddings_are_charged_to_their_sources_and_what_is_kept_is_spared(
    small: SmallBase, service: EmbeddingService
) -> None:
    small.fill(3)
    two_sources(small)
    paid(small, service)
    receipt = small.refresh()
    ledger = Ledger(small.configure().storage)
    rows = {entry.who: entry for entry in embedded(ledger)}
    assert set(rows) == {"docs", "other"}
    assert (rows["other"].calls, rows["other"].tokens) == (1, 5)
    assert rows["other"].usd == pytest.approx(5 * 0.001)
    assert sum(row.usd for row in rows.values()) == pytest.approx(receipt["embeddings"]["usd"])
    assert sum(row.calls for row in rows.values()) == receipt["embeddings"]["computed"]
    before = sum(row.usd for row in rows.values())

    (small.documents / "vacation.md").rename(small.documents / "holidays.md")
    small.refresh()
    docs, other = embedded(ledger)
    assert docs.usd + other.usd == before, "a moved document costs nothing"
    assert docs.saved_calls == 4
    assert docs.saved_tokens > 0
    assert docs.saved_usd == pytest.approx(docs.saved_tokens * 0.001)

    found = samples(exposition([small.configure()]).decode())
    key = "kind=embedding,model=openai/text-embedding-3-small,who=docs"
    assert found[f"rag_cost_usd_total{{{key}}}"] == pytest.approx(docs.usd)
    assert found[f"rag_cost_saved_usd_total{{{key}}}"] == pytest.approx(docs.saved_usd)
    assert found["rag_budget_spent_usd"] == pytest.approx(ledger.spent(MONTH))
    queries = "kind=query,model=openai/text-embedding-3-small,who=evaluation"
    assert found[f"rag_cost_usd_total{{{queries}}}"] == pytest.approx(
        ledger.spent(MONTH) - docs.usd - other.usd
    )
    assert "rag_budget_usd" not in found


def test_a_refresh_that_would_pass_the_budget_asks_for_nothing(
    small: SmallBase, service: EmbeddingService
) -> None:
    small.fill(3)
    paid(small, service, costs={"budget_usd": 0.01})
    with pytest.raises(Held, match=r"costs\.budget_usd is \$0\.01 a month"):
        small.refresh()
    assert service.inputs == []
    small.configure(costs={"budget_usd": 1000.0})
    assert small.refresh()["promoted"]
    ledger = Ledger(small.configure().storage)
    ledger.add(Entry(now(), "answer", "m", "key", usd=1000.0))
    small.write("new.md", "# New\n\nNew words, to be paid for.\n")
    asked = len(service.inputs)
    with pytest.raises(Held, match="is spent"):
        small.refresh()
    assert len(service.inputs) == asked
    found = samples(exposition([small.configure()]).decode())
    assert found["rag_budget_spent_ratio"] >= 1
    assert found["rag_index_version"] == 1


def test_what_was_paid_before_a_failure_is_in_the_ledger(
    small: SmallBase, service: EmbeddingService
) -> None:
    for number in range(120):
        small.write(f"{number}.md", f"# Page {number}\n\nWords of page {number}.\n")
    paid(small, service)
    service.moods = [(200, {}), (401, {})]
    with pytest.raises(Exception, match="401"):
        small.refresh()
    ledger = Ledger(small.configure().storage)
    assert sum(entry.calls for entry in embedded(ledger)) == 100
    small.refresh()
    assert sum(entry.calls for entry in embedded(ledger)) == 120


def test_answers_are_charged_and_an_empty_budget_quotes_instead(
    small: SmallBase, llm: LlmServer
) -> None:
    small.fill(3)
    model = {"model": "openai/gpt-4o-mini", "api_base": llm.url, "api_key": "k"}
    config = small.configure(llm=model, costs={"budget_usd": 5.0})
    small.refresh()
    question = "Who answers requests concerning payroll?"
    llm.reply = PROVEN
    with KnowledgeBase(config) as base:
        first = base.answer(question)
        assert first.model == "openai/gpt-4o-mini"
        assert first.cost_usd > 0
        [row] = [entry for entry in base.ledger.days(MONTH) if entry.kind == "answer"]
        assert (row.who, row.usd) == ("local", first.cost_usd)
        assert row.completion_tokens == first.usage.completion_tokens
        llm.reply = "Nothing that any passage says."
        withheld = base.answer(question)
        assert (withheld.model, withheld.cost_usd) == ("extractive", first.cost_usd)
        [row] = [entry for entry in base.ledger.days(MONTH) if entry.kind == "answer"]
        assert (row.calls, row.usd) == (2, 2 * first.cost_usd), "it was paid for all the same"
        base.ledger.add(Entry(now(), "embedding", "m", "docs", usd=5.0))
        asked = len(llm.requests)
        second = base.answer(question)
        *_, last = base.answer(question, stream=True)
        assert len(llm.requests) == asked, "nothing more was paid for"
        for answer in (second, last.answer):
            assert answer is not None
            assert (answer.model, answer.degraded) == ("extractive", True)
            assert "costs.budget_usd" in (answer.problem or "")
            assert answer.citations


def test_every_call_is_paid_for_whatever_becomes_of_its_reply(
    small: SmallBase, llm: LlmServer
) -> None:
    small.fill(3)
    model = {"model": "openai/gpt-4o-mini", "api_base": llm.url, "api_key": "k"}
    config = small.configure(llm=model, costs={"budget_usd": 5.0})
    small.refresh()
    llm.reply = PROVEN
    history = [{"role": "user", "content": "Who answers requests concerning payroll?"}]
    with KnowledgeBase(config) as base:

        def answers() -> Entry:
            [row] = [entry for entry in base.ledger.days(MONTH) if entry.kind == "answer"]
            return row

        parts = base.answer(history[0]["content"], stream=True)
        begun = next(parts)
        assert (begun.text, begun.index_version) == ("", 1)
        assert begun.passages[0].doc_id == "docs/payroll.md"
        assert next(parts).text
        parts.close()
        left = answers()
        assert (left.calls, left.completion_tokens < 10) == (1, True)
        assert left.usd > 0, "what was asked was read, and paid for"
        assert base.answer("And where are they?", history=history).standalone_question
        assert answers().calls == 3, "the question was rewritten, then answered"
        base.ledger.add(Entry(now(), "embedding", "m", "docs", usd=5.0))
        asked = len(llm.requests)
        assert base.answer("And where are they?", history=history).degraded
        assert len(llm.requests) == asked


def test_a_caller_who_leaves_pays_for_what_was_written(small: SmallBase, llm: LlmServer) -> None:
    small.fill(3)
    config = small.configure(
        llm={"model": "openai/gpt-4o-mini", "api_base": llm.url, "api_key": "k"}
    )
    small.refresh()
    allowance = Allowance(usd_per_day=0.000001)
    _, secret = KeyStore.at(config.storage).create("team", groups=[], allowance=allowance)
    question = {"question": "Who answers requests concerning payroll?", "stream": True}
    llm.reply, llm.behaviour = PROVEN, "held"
    headers = {"authorization": f"Bearer {secret}"}
    with serving([small.path]) as url, httpx.Client(base_url=url, headers=headers) as client:
        with client.stream("POST", "/v1/answer", json=question, timeout=60) as reply:
            until_text(reply.iter_lines())
        status = 200
        while status == 200:  # the service has yet to see that the caller left
            status = client.get("/v1/models").status_code
        assert status == 429
        metrics = client.get("/metrics").text
        llm.release.set()
    kind = 'kind="prompt",knowledge_base="small",model="openai/gpt-4o-mini"'
    assert f"rag_tokens_total{{{kind}}}" in metrics


def test_a_front_end_s_own_prompts_are_paid_for_and_fall_back(
    small: SmallBase, llm: LlmServer
) -> None:
    small.fill(3)
    model = {"model": "openai/gpt-4o-mini", "api_base": llm.url, "api_key": "k"}
    config = small.configure(llm=model)
    small.refresh()
    task = {"messages": [{"role": "user", "content": "### Task:\nA title.\nUSER: payroll desks"}]}
    with serving([small.path]) as url, httpx.Client(base_url=url, timeout=60) as client:
        first = client.post("/v1/chat/completions", json=task).json()
        llm.behaviour = "401"
        second = client.post("/v1/chat/completions", json=task).json()
    [row] = [entry for entry in Ledger(config.storage).days(MONTH) if entry.kind == "answer"]
    assert (row.calls, row.tokens, row.completion_tokens) == (1, 70, 11)
    assert (first["rag"]["model"], first["rag"]["degraded"]) == ("openai/gpt-4o-mini", False)
    assert second["choices"][0]["message"]["content"] == "payroll desks"
    assert (second["rag"]["model"], second["rag"]["degraded"]) == ("extractive", True)


def test_the_service_charges_keys_and_notes_what_its_cache_spares(
    small: SmallBase, llm: LlmServer
) -> None:
    small.fill(3)
    config = small.configure(
        llm={"model": "openai/gpt-4o-mini", "api_base": llm.url, "api_key": "k"}
    )
    small.refresh()
    key, secret = KeyStore.at(config.storage).create("team", groups=[])
    question = {"question": "Who answers requests concerning payroll?"}
    headers = {"authorization": f"Bearer {secret}"}
    llm.reply = PROVEN
    with serving([small.path]) as url, httpx.Client(base_url=url, headers=headers) as client:
        first = client.post("/v1/answer", json=question)
        second = client.post("/v1/answer", json=question)
        streamed = client.post("/v1/answer", json={**question, "k": 2, "stream": True})
    assert (first.status_code, second.status_code, streamed.status_code) == (200, 200, 200)
    [row] = [e for e in Ledger(config.storage).days(MONTH) if e.who == f"key:{key.id}"]
    cost = first.json()["cost_usd"]
    assert (row.calls, row.saved_calls) == (2, 1)
    assert row.saved_usd == pytest.approx(cost)
    assert row.usd > cost
    assert row.model == "openai/gpt-4o-mini"


def test_costs_on_the_command_line_and_a_warning_once(
    small: SmallBase, receiver: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = {"webhook": {"url": receiver.url}, "quiet_minutes": 0, "events": ["budget"]}
    config = small.configure(costs={"budget_usd": 10.0}, notify=hook)
    ledger = Ledger(config.storage)
    ledger.add(Entry(now(), "embedding", "openai/x", "docs", 3, 400, 0, 8.5))
    ledger.add(Entry(now(), "answer", "openai/y", "key:1", 1, 50, 9, 0.5))
    small.fill(1)
    for _ in range(2):
        small.refresh()
    [told] = receiver.bodies
    assert told["title"] == f"the budget of {MONTH} is spent to 90%"
    ledger.add(Entry(now(), "answer", "openai/y", "key:1", 1, 50, 9, 2.0))
    small.refresh()
    assert receiver.bodies[1]["title"] == f"the budget of {MONTH} is spent; nothing more is paid"

    costs(config=small.path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["budget"]["state"] == "spent"
    assert found["by_source"]["docs"]["tokens"] > 400
    costs(config=small.path)
    said = capsys.readouterr().out
    assert "Budget: $11.0000 of $10 is spent this month (110%), $0.0000 is left." in said
    assert "  key:1 " in said
    with pytest.raises(typer.Exit) as usage:
        costs(config=small.path, month="11/2026")
    assert usage.value.exit_code == 2
