"""A share of the questions goes to another version or model: who, how many, and how it compares."""

import json
import shutil
from math import sqrt
from typing import Any

import httpx
import pytest

from rag_assets.cli.canary_commands import canary as canary_command
from rag_assets.cli.canary_commands import promote as promote_command
from rag_assets.config import CanaryConfig, load_config
from rag_assets.errors import ConfigError
from rag_assets.evaluation.arms import Given, compare_arms
from rag_assets.index.versions import State, Versions
from rag_assets.service.canary import canary_version, share_of
from rag_assets_tests.answering.llm_server import llm_server
from rag_assets_tests.conftest import SUBJECTS, document
from rag_assets_tests.service.conftest import Base
from rag_assets_tests.service.test_operations import figures


@pytest.fixture
def two(base: Base) -> Base:
    """Version 2 is live, version 1 was before."""
    (base.root / "documents" / "vacation.md").write_text(document("vacation") + "\nA new line.\n")
    assert base.refresh()["promoted"]
    return base


def questions(count: int) -> list[str]:
    return [f"Question {n}: who answers requests concerning payroll?" for n in range(count)]


def test_assignment_is_even_deterministic_and_grows_with_the_share() -> None:
    drawn = [share_of("v7", "key:1", question) for question in questions(20_000)]
    assert drawn[0] == share_of("v7", "key:1", questions(1)[0])
    for share in (0.05, 0.3, 0.5):
        found = sum(one < share for one in drawn) / len(drawn)
        assert abs(found - share) < 4 * sqrt(share * (1 - share) / len(drawn))
    other = [share_of("v8", "key:1", question) for question in questions(20_000)]
    both = sum(a < 0.3 and b < 0.3 for a, b in zip(drawn, other, strict=True)) / 20_000
    assert abs(both - 0.09) < 0.01, "the next experiment is not borne by the same people"


def test_a_share_is_answered_by_the_version_before(
    two: Base, serve, capsys: pytest.CaptureFixture[str]
) -> None:
    share, asked = 0.4, questions(100)
    two.configure(canary={"share": share, "version": "previous"})
    client = serve(two)
    versions = {
        q: client.post("/v1/search", json={"query": q, "k": 1}).json()["index_version"]
        for q in asked
    }
    expected = {q: 1 if share_of("v1", "local", q) < share else 2 for q in asked}
    assert versions == expected
    canaries = sum(version == 1 for version in versions.values())
    assert abs(canaries / 100 - share) < 3 * sqrt(share * (1 - share) / 100)

    answers = [client.post("/v1/answer", json={"question": q}).json() for q in asked[:12]]
    assert [answer["index_version"] for answer in answers] == [expected[q] for q in asked[:12]]
    again = [client.post("/v1/answer", json={"question": q}).json() for q in asked[:12]]
    assert [a["index_version"] for a in again] == [a["index_version"] for a in answers]
    assert [a["cached"] for a in again] == [expected[q] == 2 for q in asked[:12]]
    on_canary = next(q for q in asked if expected[q] == 1)
    history = [
        {"role": "user", "content": on_canary},
        {"role": "assistant", "content": "Desk 3."},
    ]
    follow_up = {"question": "And laptops?", "history": history}
    assert client.post("/v1/answer", json=follow_up).json()["index_version"] == 1
    named = {"question": on_canary, "version": 2, "stream": True}
    assert '"index_version": 2' in client.post("/v1/answer", json=named).text
    streamed = client.post("/v1/answer", json={"question": on_canary, "stream": True}).text
    assert '"index_version": 1' in streamed

    canary, live = (next(a for a in answers if a["index_version"] == version) for version in (1, 2))
    for answer, rating in ((canary, "down"), (live, "up")):
        client.post("/v1/feedback", json={"request_id": answer["request_id"], "rating": rating})
    lines = [line for line in two.audit() if line["path"] == "/v1/answer"]
    assert {(line.get("arm"), line["index_version"]) for line in lines} == {
        ("canary", 1),
        ("live", 2),
        (None, 2),
    }
    assert {line["experiment"] for line in lines if "arm" in line} == {"v1"}
    made = sum(1 for q in asked[:12] if expected[q] == 1)
    counted = figures(client)
    arm = "arm=canary,index_version=1,knowledge_base=small,model=extractive"
    assert counted[f"rag_arm_answers_total{{{arm}}}"] == 2 * made + 2
    assert counted[f"rag_arm_answer_seconds_count{{{arm}}}"] == 2 * made + 2
    assert counted[f"rag_arm_confidence_count{{{arm}}}"] == 2 * made + 2
    arm = "arm=live,index_version=2,knowledge_base=small,model=extractive"
    assert counted[f"rag_arm_answers_total{{{arm}}}"] == 12 - made
    assert counted[f"rag_arm_abstentions_total{{{arm}}}"] == sum(
        a["abstained"] for a in answers if a["index_version"] == 2
    )

    canary_command(config=two.path, as_json=True)
    compared = json.loads(capsys.readouterr().out)
    assert compared["experiment"] == "v1"
    assert compared["questions"] == {"live": 12 - made, "canary": 2 * made + 2}
    judged = next(row for row in compared["figures"] if row["name"] == "judged good")
    assert judged["values"] == {"live": 1.0, "canary": 0.0}
    canary_command(config=two.path)
    assert "judged good" in capsys.readouterr().out


def test_nothing_unproven_is_an_arm(two: Base, serve) -> None:
    versions = Versions(two.storage)
    gate = {"recall@1": 1.0, "min_queries": 3}
    two.configure(evaluation={"sets": ["questions.jsonl"], "gate": gate})
    for subject in SUBJECTS[:6]:
        (two.root / "documents" / f"{subject}.md").write_text("# Nothing\n\nLorem ipsum dolor.\n")
    assert not two.refresh()["gate"]["passed"]
    assert versions.state(3) is State.REFUSED
    for wanted, found in ((3, None), ("candidate", None), (2, None), (9, None), (1, 1)):
        assert canary_version(versions, CanaryConfig(share=1.0, version=wanted)) == found
    two.configure(canary={"share": 1.0, "version": 3})
    client = serve(two)
    answer = client.post("/v1/answer", json={"question": "payroll?"}).json()
    assert answer["index_version"] == 2
    assert "arm" not in two.audit()[-1]


def test_a_candidate_waits_until_it_is_promoted(
    two: Base, serve, capsys: pytest.CaptureFixture[str]
) -> None:
    two.configure(canary={"share": 1.0, "version": "candidate"})
    client = serve(two)
    (two.root / "documents" / "payroll.md").write_text(document("payroll") + "\nA line more.\n")
    receipt = two.refresh()
    assert (receipt["promoted"], receipt["gate"]["passed"]) == (False, True)
    assert (receipt["version"], receipt["live_version"]) == (3, 2)
    again = two.refresh()
    assert (again["waits"], again["version"], again["gate"]["passed"]) == (3, 3, True)
    versions = Versions(two.storage)
    assert versions.state(3) is State.CANDIDATE
    assert versions.sealed() == [1, 2, 3], "what waits is not built again"
    body = {"question": "Who answers requests concerning payroll?"}
    assert client.post("/v1/answer", json=body).json()["index_version"] == 3

    promote_command(config=two.path)
    assert "Version 3 is live; it was version 2 before." in capsys.readouterr().out
    assert versions.live().version == 3
    assert client.post("/v1/answer", json=body).json()["index_version"] == 3
    unproven = {**body, "question": "Who else?"}
    client.post("/v1/answer", json=unproven)
    client.close()


def test_another_model_writes_for_a_share(two: Base, serve) -> None:
    with llm_server() as server:
        server.reply = "Every request concerning payroll goes to desk 3 of the payroll office [1]."
        model = {"model": "openai/ok", "api_base": server.url, "api_key": "k"}
        two.configure(canary={"share": 0.5, "by": "conversation", **model})
        client = serve(two)
        asked = questions(8)
        answers = [client.post("/v1/answer", json={"question": q}).json() for q in asked]
        on_canary = [share_of("openai/ok", "local", q) < 0.5 for q in asked]
        assert 0 < sum(on_canary) < 8
        assert [a["model"] for a in answers] == [
            "openai/ok" if canary else "extractive" for canary in on_canary
        ]
        assert {a["index_version"] for a in answers} == {2}
        assert len(server.requests) == sum(on_canary)
        arm = "arm=canary,index_version=2,knowledge_base=small,model=openai/ok"
        assert figures(client)[f"rag_arm_answers_total{{{arm}}}"] == sum(on_canary)


@pytest.mark.parametrize("stream", [False, True])
def test_where_the_canary_is_broken_the_live_version_answers(
    two: Base, serve, stream: bool
) -> None:
    two.configure(canary={"share": 1.0, "version": "previous"})
    shutil.rmtree(two.storage / "index" / "000001" / "lexical")
    (two.storage / "index" / "000001" / "passages.sqlite3").unlink()
    client = serve(two)
    body = {"question": "Who answers requests concerning payroll?", "stream": stream}
    reply = client.post("/v1/answer", json=body)
    assert reply.status_code == 200
    assert '"index_version":2' in reply.text.replace(" ", "")
    assert client.post("/v1/search", json={"query": "payroll"}).json()["index_version"] == 2
    found = figures(client)
    assert found["rag_arm_failures_total{arm=canary,knowledge_base=small}"] == 2
    assert two.audit()[0]["canary_failed"] is True


def test_the_difference_of_two_rates_has_its_published_interval() -> None:
    given = [Given("canary", abstained=n < 56) for n in range(70)]
    given += [Given("live", abstained=n < 48) for n in range(80)]
    found = {row.name: row for row in compare_arms(given)}
    abstained = found["abstained"]
    assert (abstained.values["canary"], abstained.values["live"]) == (0.8, 0.6)
    low, high = abstained.interval or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.0524, 0.3339)
    assert abstained.verdict == "worse"
    assert found["judged good"].difference is None
    assert found["confidence"].verdict == "unclear"


def test_means_and_tails_are_compared_with_their_intervals() -> None:
    def arm(name: str, pause: float) -> list[Given]:
        return [Given(name, seconds=pause + n % 20 / 100, confidence=0.5) for n in range(200)]

    found = {row.name: row for row in compare_arms([*arm("live", 0.5), *arm("canary", 0.2)])}
    for name in ("seconds, mean", "seconds, p95"):
        row = found[name]
        assert row.difference == pytest.approx(-0.3)
        low, high = row.interval or (0, 0)
        assert low < -0.3 < high < 0 or low == pytest.approx(-0.3)
        assert row.verdict == "better"
    assert found["confidence"].verdict == "unclear"
    few = compare_arms([*arm("live", 0.5)[:20], *arm("canary", 0.2)[:20]])
    assert {row.verdict for row in few} == {"unclear"}, "too few for a bootstrap"
    nothing: list[Any] = compare_arms([])
    assert {row.verdict for row in nothing} == {"unclear"}


def test_a_canary_needs_something_that_differs(base: Base) -> None:
    base.configure(canary={"share": 0.1})
    with pytest.raises(ConfigError, match="expected version or model"):
        load_config(base.path)


def test_without_a_canary_nothing_is_said_of_arms(ask: httpx.Client) -> None:
    ask.post("/v1/answer", json={"question": "payroll?"})
    assert not any(name.startswith("rag_arm_") and "{" in name for name in figures(ask))
