from rag_assets.config import RetrievalConfig, Weights
from rag_assets.evaluation.poisoning import find_takeovers, judge_poisoning
from rag_assets.retrieval import SearchRequest, search
from rag_assets_tests.retrieval.tiny import Doc, WordEncoder, make_version

SUBJECTS = [f"{kind}{n}" for n in range(8) for kind in ("lathe", "kiln", "press")]
BAIT = " ".join(SUBJECTS) + " question answer"
ENCODER = WordEncoder()


def found(tmp_path, docs):
    version = make_version(tmp_path, docs)
    settings = RetrievalConfig(duplicates=1.0, weights=Weights(feedback=0))
    rankings = {
        subject: search(version, ENCODER, SearchRequest(f"{subject} question", settings=settings))
        for subject in SUBJECTS
    }
    chunks = list({hit.chunk_id for hits in rankings.values() for hit in hits})
    vectors = dict(zip(chunks, version.vectors(chunks), strict=True))
    version.close()
    return judge_poisoning(find_takeovers(rankings, vectors), len(rankings))


def rules():
    return [Doc(f"docs/{s}", [f"The {s} stands in hall {n}."]) for n, s in enumerate(SUBJECTS)]


def test_a_flood_of_bait_is_reported(tmp_path):
    bait = [Doc(f"web/{n}", [f"{BAIT} {'!' * n}"]) for n in range(6)]
    outcome = found(tmp_path, rules() + bait)
    assert not outcome.passed
    assert outcome.value == 1.0
    assert outcome.summary.startswith(
        "5 near-identical passages of web/0, web/1, web/2 fill the top of 24 of 24 queries;"
    )
    assert outcome.details["takeovers"][0]["passages"] == 5


def test_ordinary_documents_and_a_few_copies_are_not(tmp_path):
    copies = [Doc(f"old/{n}", ["The lathe0 stands in hall 0."]) for n in range(2)]
    outcome = found(tmp_path, rules() + copies)
    assert outcome.passed
    assert 0 < outcome.value <= 0.1


def test_a_long_document_is_no_flood(tmp_path):
    long = Doc("docs/all", [f"{BAIT} {'!' * n}" for n in range(6)])
    assert found(tmp_path, [*rules(), long]).passed


def test_too_few_queries_tell_nothing():
    assert judge_poisoning([], 19).summary == "nothing to ask: 19 queries, of at least 20"
