import json
from dataclasses import replace

import numpy as np
import pytest

from rag_assets.errors import BadRequest, ConfigError
from rag_assets.evaluation.candidates import Candidate, from_model, from_templates
from rag_assets.evaluation.eval_set import HALVES, EvalQuery, EvalSet, half_of, load_eval_set
from rag_assets.evaluation.queue import Queue, accept, accepted, without_repeats
from rag_assets.index.base import Passage


def passage(text, heading=("Leave",), title="Handbook", language="en"):
    return Passage(
        chunk_id="docs/a#0",
        doc_id="docs/a",
        source="docs",
        uri="file:///a",
        title=title,
        heading=heading,
        start=0,
        end=len(text),
        page=None,
        text=text,
        tokens=9,
        ordinal=0,
        category=None,
        language=language,
        metadata={},
        acl=("everyone",),
        modified_at=None,
        valid_from=None,
        valid_until=None,
    )


ORIGIN = {"kind": "chunk", "author": "templates", "doc_id": "docs/a"}


@pytest.mark.parametrize(
    ("text", "heading", "query", "sentence"),
    [
        (
            "Hello. Staff receive at least 28 working days of leave a year.",
            ("Leave",),
            "How many working days are there for leave (Handbook)?",
            "Staff receive at least 28 working days of leave a year.",
        ),
        (
            "The approval form is kept for the whole of the year.",
            ("Travel",),
            "What is said about the approval form?",
            "The approval form is kept for the whole of the year.",
        ),
        (
            "Ask the lead before you book anything at all.",
            ("Booking",),
            "What applies to booking (Handbook)?",
            "Ask the lead before you book anything at all.",
        ),
        (
            "Ships on the Rhine carry much of what we send. Send it in time.",
            ("Rhine",),
            "What applies to Rhine (Handbook)?",
            "Ships on the Rhine carry much of what we send.",
        ),
        ("Yes, but ask first, and do so in time.", ("May I smoke?",), "May I smoke?", None),
    ],
)
def test_templates(text, heading, query, sentence):
    found = from_templates(passage(text, heading), 3)
    assert found.query == query
    assert found.relevant == ("docs/a",)
    assert sentence is None or found.passages == (sentence,)
    assert found.origin == ORIGIN | {"chunk_id": "docs/a#0", "index_version": "3"}


def test_what_no_template_fits_gives_nothing():
    assert from_templates(passage("| 1 | 2 |"), 1) is None
    german = passage("Alle Mitarbeiter erhalten mindestens 28 Tage frei.", language="de")
    assert from_templates(german, 1) is None


REPLY = {"question": "How long may I be away?", "answer": "28 days", "quote": "receive 28 days"}


def test_a_model_writes_a_question_with_a_quote_that_must_hold():
    asked = []

    def complete(messages):
        asked.append(messages)
        return f"Sure:\n```json\n{json.dumps(REPLY)}\n```"

    source = passage("Staff **receive 28\ndays** of leave.")
    found = from_model(source, 3, complete, "openai/ok")
    assert (found.query, found.answer) == ("How long may I be away?", "28 days")
    assert found.passages == ("receive 28 days",)
    assert found.origin["author"] == "openai/ok"
    assert "Staff **receive" in asked[0][1]["content"]


@pytest.mark.parametrize(
    "reply",
    ["no", "{broken", "[1]", json.dumps(REPLY | {"quote": "30 days"}), json.dumps({"quote": "x"})],
)
def test_replies_that_do_not_hold_are_dropped(reply):
    assert from_model(passage("Staff receive 28 days."), 1, lambda messages: reply, "m") is None


def test_the_same_question_in_other_words_is_left_out():
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 1, 2]]
    found = without_repeats(
        [
            Candidate("new?"),
            Candidate("known in other words?"),
            Candidate("again?"),
            Candidate("B"),
        ],
        vectors,
        ["known?", "b"],
        np.eye(3, dtype=np.float32)[[1, 2]] * 0.95,
    )
    assert [candidate.query for candidate in found] == ["new?"]


class TestQueue:
    def test_keeps_what_was_decided(self, tmp_path):
        queue = Queue(tmp_path)
        first, second = (
            Candidate("one?", ("docs/a",), ("p",), "1\u2028or 2", ORIGIN),
            Candidate("two?"),
        )
        queue.add([first, second])
        assert Queue(tmp_path).all() == [first, second]
        queue.decide(first.id, replace(first, status="rejected"))
        assert [c.status for c in queue.all()] == ["rejected", "pending"]
        assert queue.pending() == [second]
        with pytest.raises(BadRequest, match=f"{first.id}: no pending candidate"):
            queue.decide(first.id, first)

    @pytest.mark.parametrize("line", ["{}", "[", '{"query": 1}'])
    def test_a_line_spoilt_by_hand_is_named(self, tmp_path, line):
        queue = Queue(tmp_path)
        queue.add([Candidate("one?")])
        queue.path.write_text(queue.path.read_text() + line + "\n")
        with pytest.raises(ConfigError, match=r"queue\.jsonl:2"):
            queue.all()


def test_accepting_appends_a_row_that_can_be_read(tmp_path):
    file = tmp_path / "set.jsonl"
    file.write_text('{"id": "q002", "query": "old?", "relevant": ["docs/b"]}')  # no line end
    candidate = accepted(Candidate("new?", ("docs/a",), ("words",), "1", ORIGIN), None)
    accept(candidate, load_eval_set(file), file)
    old, new = load_eval_set(file).queries
    assert (old.id, new.id, new.query, dict(new.relevant)) == (
        "q002",
        "q003",
        "new?",
        {"docs/a": 1},
    )
    assert (new.passages, new.answer, new.tags) == (("words",), "1", ("chunk",))
    assert new.origin["candidate"] == candidate.id
    assert new.origin["author"] == "templates"


def test_a_logged_question_needs_a_persons_word(tmp_path):
    asked = Candidate("gym?", ("docs/a", "docs/b"), (), None, {"kind": "log"})
    with pytest.raises(BadRequest, match="--unanswerable"):
        accepted(asked, None)
    assert accepted(asked, ["docs/c"]).relevant == ("docs/c",)
    row = accept(accepted(asked, []), None, tmp_path / "new.jsonl")
    assert (row["id"], row["relevant"], row["tags"]) == ("q001", [], ["unanswerable"])
    # A person who names other documents also speaks of other passages.
    made = Candidate("q?", ("docs/a",), ("words",), "1", ORIGIN)
    assert accepted(made, ["docs/z"]).passages == ()


def test_halves_keep_a_document_together_and_do_not_move():
    queries = tuple(EvalQuery(f"q{n}", f"question {n}", {f"docs/{n // 2}": 1}) for n in range(400))
    halves = EvalSet("set", "h", queries).halves()
    assert list(halves) == list(HALVES)
    tuning, held_out = (half.queries for half in halves.values())
    assert 140 <= len(tuning) <= 260
    assert len(tuning) + len(held_out) == 400
    assert not {min(q.relevant) for q in tuning} & {min(q.relevant) for q in held_out}
    assert all(half_of(query) == half_of(queries[place ^ 1]) for place, query in enumerate(queries))
    assert half_of(replace(queries[0], half="tuning")) == "tuning"
    assert halves["tuning"].content_hash != halves["held_out"].content_hash
