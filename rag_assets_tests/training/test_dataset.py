"""Accepted answers become examples with their passages; what must stay out stays out."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from rag_assets.answering.prompt import instructions
from rag_assets.cli.training_commands import instruct_dataset
from rag_assets.config import AuditConfig
from rag_assets.evaluation.eval_set import EvalQuery, EvalSet
from rag_assets.index.live import LiveIndex
from rag_assets.index.passages import PassageStore
from rag_assets.refresh.forget import find_document, forget_document
from rag_assets.refresh.pipeline import Pipeline
from rag_assets.service.audit import AuditLog
from rag_assets.service.keys import KeyStore
from rag_assets.training.dataset import Dataset, make_dataset, read_dataset
from rag_assets.training.examples import LeftOut, Maker, side_of
from rag_assets.training.pairs import Pair, accepted_pairs
from rag_assets_tests.conftest import SUBJECTS, SmallBase, document
from rag_assets_tests.service.conftest import serving


def quote(subject: str) -> str:
    return f"goes to desk 3 of the {subject} office"


def question(subject: str, **more: Any) -> dict[str, Any]:
    return {
        "id": subject,
        "query": f"Where do requests concerning {subject} go?",
        "relevant": [f"docs/{subject}.md"],
        "passages": [quote(subject)],
        "answer": f"To desk 3 of the {subject} office.",
        "half": "tuning",
        **more,
    }


@pytest.fixture
def base(small: SmallBase) -> SmallBase:
    small.fill(8, paragraphs=2)
    return small


def export(base: SmallBase, questions: list[dict[str, Any]], **settings: Any) -> Dataset:
    write_questions(base, questions)
    base.configure(evaluation={"sets": ["q.jsonl"]}, instruct_dataset=settings)
    base.refresh()
    return make_dataset(Pipeline(base.configure()))


def write_questions(base: SmallBase, questions: list[dict[str, Any]]) -> None:
    (base.root / "q.jsonl").write_text("\n".join(map(json.dumps, questions)))


def test_reference_answers_with_their_passages_and_lineage(
    base: SmallBase, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject in SUBJECTS[:8]:
        header = f"---\nlicense: CC-BY-4.0\ntitle: On {subject}\n---\n"
        base.write(f"{subject}.md", header + document(subject, 2))
    unanswered = {**question("payroll"), "id": "none", "query": "And?", "answer": None}
    questions = [*map(question, SUBJECTS[:8]), unanswered]
    made = export(base, questions, held_out=0.4)
    sides = {subject: side_of(f"docs/{subject}.md", 0.4) for subject in SUBJECTS[:8]}
    assert {*sides.values()} == {"train", "held_out"}, "the subjects are on both sides"
    assert made.examples == {s: list(sides.values()).count(s) for s in ("train", "held_out")}
    assert (made.made, made.kept, made.left_out, made.origins) == (8, 0, {}, {"eval_sets": 8})
    assert made.licences == {"CC-BY-4.0": 8}

    folder = Path(made.directory)
    for side in ("train", "held_out"):
        lines = [json.loads(line) for line in (folder / f"{side}.jsonl").open()]
        assert lines == pl.read_parquet(folder / f"{side}.parquet").to_dicts()
        for line in lines:
            subject = line["origin_id"].removeprefix("q/")
            assert sides[subject] == side == line["split"]
            system, user, assistant = line["messages"]
            assert [m["role"] for m in line["messages"]] == ["system", "user", "assistant"]
            assert "using only the passages" in system["content"]
            assert f"Question: {line['question']}" in user["content"]
            assert quote(subject) in " ".join(user["content"].split())
            assert assistant["content"] == f"To desk 3 of the {subject} office. [1]"
            [passage] = line["passages"]
            assert passage["text"] in user["content"]
            assert (passage["doc_id"], passage["licence"]) == (f"docs/{subject}.md", "CC-BY-4.0")
            assert passage["uri"].endswith(f"{subject}.md")
            assert (line["index_version"], line["prompt_version"]) == (1, "answer_v2")
            assert (line["pii"], line["pii_kinds"]) == (False, [])
            store = PassageStore.open(Pipeline(base.configure()).versions.directory(1))
            [held] = store.passages([passage["chunk_id"]])
            assert (held.text, held.start) == (passage["text"], passage["start"])
            store.close()
    report = json.loads((folder / "REPORT.json").read_text())
    assert report["examples"] == made.examples

    instruct_dataset(config=base.path, as_json=True)
    again = json.loads(capsys.readouterr().out)
    assert (again["made"], again["kept"], again["written"]) == (0, 8, False)
    instruct_dataset(config=base.path)
    assert "0 made, 8 taken over, from index version 1." in capsys.readouterr().out


def test_only_what_changed_is_made_again(base: SmallBase) -> None:
    questions = [*map(question, SUBJECTS[:4])]
    assert export(base, questions, held_out=0.0).made == 4
    base.write("payroll.md", document("payroll", 2) + "\nOne line more.\n")
    again = export(base, questions, held_out=0.0)
    assert (again.made, again.kept, again.written) == (1, 3, True)
    rows = {row["origin_id"]: row for row in read_dataset(Path(again.directory)).to_dicts()}
    assert rows["q/payroll"]["index_version"] == 2
    assert rows["q/vacation"]["index_version"] == 1
    base.write("laptop.md", "# Laptops\n\nNothing is said of desks any more.\n")
    base.documents.joinpath("vacation.md").unlink()
    gone = export(base, questions, held_out=0.0)
    assert (gone.made, gone.kept) == (0, 2)
    assert gone.left_out == {"a document is gone": 1, "a passage was changed or removed": 1}


def test_what_must_not_be_trained_on_stays_out(base: SmallBase) -> None:
    open_to = {"licence": "MIT"}
    sources = [
        {**base.settings["sources"][0], "metadata": open_to},
        {"name": "board", "type": "files", "path": "./board", "acl": ["board"]},
        {"name": "acme", "type": "files", "path": "./acme", "metadata": {"tenant": "acme"}},
        {"name": "free", "type": "files", "path": "./free"},
    ]
    for folder in ("board", "acme", "free"):
        (base.root / folder).mkdir()
        (base.root / folder / "a.md").write_text(document(folder, 2))
    base.write("printer.md", document("printer", 2) + "\nWrite to bo.ek@example.org for toner.\n")
    base.configure(sources=sources)
    elsewhere = [question(n, relevant=[f"{n}/a.md"]) for n in ("board", "acme", "free")]
    printer = question("printer", passages=["Write to bo.ek@example.org for toner."])
    tested = question("parking", half="held_out")
    both = question("payroll", relevant=["docs/payroll.md", "docs/vacation.md"])
    questions = [question("laptop"), *elsewhere, printer, tested, both]
    made = export(base, questions, held_out=0.0, licences=["MIT"])
    assert made.examples == {"train": 3, "held_out": 0}
    assert made.left_out == {
        "a document is another tenant's": 1,
        "a document is not for these groups": 1,
        "a licence is not allowed": 1,
        "an eval set tests with it": 1,
    }
    [row] = read_dataset(Path(made.directory)).filter(origin_id="q/printer").to_dicts()
    assert (row["pii"], row["pii_kinds"], made.with_pii) == (True, ["email"], 1)
    assert "bo.ek" not in json.dumps(row)
    assert "Write to [EMAIL] for toner." in row["messages"][1]["content"]

    strict = export(base, questions, held_out=0.0, licences=["MIT"], pii="leave_out")
    assert strict.left_out["personal data"] == 1
    wide = export(base, questions, held_out=0.0, groups=["board"], tenant="acme", pii="keep")
    assert wide.examples["train"] == 6
    assert wide.licences == {"MIT": 3, "unknown": 3}
    assert wide.left_out == {"an eval set tests with it": 1}
    [row] = read_dataset(Path(wide.directory)).filter(origin_id="q/printer").to_dicts()
    assert row["pii"]
    assert "bo.ek@example.org" in row["messages"][1]["content"]


def test_pairs_about_both_sides_are_on_neither(base: SmallBase) -> None:
    subjects = {side_of(f"docs/{s}.md", 0.5): s for s in SUBJECTS[:8]}
    two = [f"docs/{subject}.md" for subject in subjects.values()]
    both = question(subjects["train"], relevant=two)
    testing = question(subjects["held_out"], half="held_out")
    made = export(base, [both, testing], held_out=0.5)
    assert made.left_out == {"its documents are on both sides of the split": 1}
    assert made.examples == {"train": 0, "held_out": 1}, "what tests may be tested with"


@pytest.fixture
def service(base: SmallBase) -> Iterator[httpx.Client]:
    """A service that keeps answers' texts, asked with the key of `one`."""
    base.configure(service={"audit": {"answers": "text"}})
    base.refresh()
    keys = KeyStore.at(base.configure().storage)
    secrets = {name: keys.create(name, groups=[])[1] for name in ("one", "other")}
    with serving([base.path]) as url, httpx.Client(base_url=url, timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {secrets['one']}"
        client.secrets = secrets  # type: ignore[attr-defined]
        yield client


def ask(client: httpx.Client, subject: str) -> dict[str, Any]:
    body = {"question": f"Where do requests concerning {subject} go?"}
    return client.post("/v1/answer", json=body).raise_for_status().json()


def judge(client: httpx.Client, answer: dict[str, Any], rating: str, who: str = "one") -> None:
    body = {"request_id": answer["request_id"], "rating": rating}
    headers = {"Authorization": f"Bearer {client.secrets[who]}"}  # type: ignore[attr-defined]
    client.post("/v1/feedback", json=body, headers=headers).raise_for_status()


def test_answers_that_the_asker_judged_good(base: SmallBase, service: httpx.Client) -> None:
    answers = {subject: ask(service, subject) for subject in SUBJECTS[:5]}
    assert not any(answer["abstained"] for answer in answers.values())
    judge(service, answers["vacation"], "up")
    judge(service, answers["payroll"], "up")
    judge(service, answers["payroll"], "down")
    judge(service, answers["laptop"], "up", who="other")
    judge(service, answers["printer"], "down")
    settings = {"held_out": 0.0, "sources": ["feedback"]}
    base.configure(instruct_dataset=settings)
    pipeline = Pipeline(base.configure())
    made = make_dataset(pipeline)
    [row] = read_dataset(Path(made.directory)).to_dicts()
    given = answers["vacation"]
    assert (row["origin"], row["origin_id"]) == ("feedback", given["request_id"])
    assert row["answer"] == given["text"] == row["messages"][2]["content"]
    assert [(p["number"], p["chunk_id"]) for p in row["passages"]] == [
        (c["number"], c["chunk_id"]) for c in given["citations"]
    ]
    for citation in given["citations"]:
        assert citation["quote"] in row["messages"][1]["content"]

    judge(service, answers["vacation"], "down")
    judge(service, answers["parking"], "up")
    again = make_dataset(pipeline)
    [row] = read_dataset(Path(again.directory)).to_dicts()
    assert (again.made, again.kept) == (1, 0)
    assert row["origin_id"] == answers["parking"]["request_id"]


def test_what_is_erased_leaves_the_dataset(base: SmallBase, service: httpx.Client) -> None:
    for subject in ("vacation", "parking"):
        judge(service, ask(service, subject), "up")
    base.configure(instruct_dataset={"held_out": 0.0})
    pipeline = Pipeline(base.configure())
    assert make_dataset(pipeline).examples["train"] == 2
    log = AuditLog(pipeline.storage, AuditConfig(answers="text"))
    assert log.erase(lambda text: "vacation" in text, {"event": "erasure"}) == 1
    assert "vacation" not in "".join(path.read_text() for path in log.directory.glob("*.jsonl"))
    assert make_dataset(pipeline).examples["train"] == 1

    known = find_document(pipeline, "docs/parking.md")
    assert forget_document(pipeline, known).removed["instruct_dataset"] == 2
    assert not (Path(pipeline.storage) / "instruct_dataset").exists()
    left = make_dataset(pipeline)
    assert (left.examples["train"], left.left_out) == (0, {"a passage was changed or removed": 1})


def test_a_quote_from_the_chunk_beside_brings_that_chunk_along(base: SmallBase) -> None:
    base.refresh()
    pipeline = Pipeline(base.configure())
    live = LiveIndex(pipeline.storage)
    with live.read() as version:
        first, second, *_ = version.passages(version.chunk_ids(["docs/payroll.md"]))
        last_words = " ".join(second.text.split()[-6:])
        pair = Pair("feedback", "r1", "Who?", "They [2].", cited={2: (first.chunk_id, last_words)})
        maker = Maker(version, pipeline.config.instruct_dataset, instructions(), "recipe")
        row = maker.example(pair, maker.fingerprint(pair))
        [passage] = row["passages"]
        assert (passage["number"], passage["chunk_id"]) == (2, first.chunk_id)
        assert (passage["start"], passage["end"]) == (first.start, second.end)
        assert last_words in " ".join(passage["text"].split())
        assert first.text.split()[:4] == passage["text"].split()[:4]
        lost = replace(pair, cited={1: (first.chunk_id, "words that stand in no document")})
        with pytest.raises(LeftOut, match="changed or removed"):
            maker.fingerprint(lost)
    live.close()


def test_a_question_that_one_set_holds_out_is_not_trained_on_by_another(tmp_path: Path) -> None:
    query = EvalQuery("q1", "How many days?", {"docs/a.md": 1}, answer="Thirty.", half="tuning")
    again = replace(query, id="q9", query="How many  DAYS?", half="held_out")
    sets = [EvalSet("one", "h", (query,)), EvalSet("two", "h", (again,))]
    [pair] = accepted_pairs(["eval_sets"], sets, tmp_path, tmp_path / "judged.json", "small")
    assert (pair.id, pair.for_testing) == ("one/q1", True)
