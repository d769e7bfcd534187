import json
from dataclasses import replace

import numpy as np
import pytest

from rag_assets.config import Gate
from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.gate import judge_quality, judge_regression
from rag_assets.evaluation.report import EvalReport, QueryResult, reports_as_json
from rag_assets.evaluation.spans import Span


def result(number, rank, error=None):
    """A query whose one relevant document came at `rank` (0: not at all)."""
    wanted = f"docs/{number}.md"
    query = EvalQuery(f"q{number}", f"question {number}", {wanted: 1})
    others = [f"docs/other-{place}.md" for place in range(10)]
    ranking = [*others[: rank - 1], wanted, *others][:10] if rank else others
    return QueryResult(query, query.relevant, tuple(ranking), (), 1.0, (), error)


def report(ranks, name="handbook", version=2):
    results = tuple(result(number, rank) for number, rank in enumerate(ranks))
    return EvalReport(version, name, "hash", results)


def nothing_to_find(number):
    query = EvalQuery(f"none{number}", f"nothing {number}", {})
    return QueryResult(query, {}, (), (), 1.0)


GATE = Gate(**{"recall@5": 0.75, "mrr@10": 0.6})


class TestQuality:
    def test_passes_and_names_the_narrowest_margin(self):
        outcome = judge_quality([report([1] * 16 + [2] * 2 + [0] * 2)], GATE)
        assert (outcome.passed, outcome.decided) == (True, True)
        assert (outcome.value, outcome.floor) == (0.9, 0.75)
        assert outcome.summary == "passed: recall@5 is 0.900, floor 0.750, the narrowest of 2"

    def test_refuses_with_the_reason(self):
        outcome = judge_quality([report([1] * 14 + [0] * 6)], GATE)
        assert not outcome.passed
        assert (outcome.value, outcome.floor) == (0.7, 0.75)
        assert outcome.summary == "refused because handbook: recall@5 is 0.700, floor 0.750"

    def test_one_bad_set_refuses(self):
        good, bad = report([1] * 20), report([0] * 20, "faq")
        outcome = judge_quality([good, bad], GATE)
        assert not outcome.passed
        assert "faq: mrr@10 is 0.000, floor 0.600" in outcome.summary

    def test_too_few_queries_cannot_tell(self):
        outcome = judge_quality([report([0] * 19)], GATE)
        assert (outcome.passed, outcome.decided) == (True, False)
        assert outcome.summary == "cannot tell: 19 judged queries, needs 20"

    def test_a_floor_exactly_reached_passes(self):
        assert judge_quality([report([1] * 15 + [0] * 5)], GATE).passed

    def test_failed_searches_score_nothing(self):
        results = tuple(result(number, 1, "RuntimeError: broken") for number in range(20))
        outcome = judge_quality([EvalReport(2, "handbook", "h", results)], GATE)
        assert not outcome.passed
        assert outcome.value == 0
        worst = outcome.details["handbook"]["worst"][0]
        assert worst["error"] == "RuntimeError: broken"

    def test_not_a_number_fails(self):
        class Broken(EvalReport):
            def metric(self, name):
                return float("nan")

        outcome = judge_quality([Broken(2, "handbook", "h", report([1] * 20).results)], GATE)
        assert not outcome.passed

    @pytest.mark.parametrize(
        ("reports", "gate"),
        [([], GATE), ([report([1] * 20)], Gate())],
        ids=["no sets", "no floors"],
    )
    def test_nothing_to_judge_by_says_so(self, reports, gate):
        outcome = judge_quality(reports, gate)
        assert (outcome.passed, outcome.decided) == (True, False)

    def test_stale_and_unanswerable_queries_are_left_out(self):
        gone = EvalQuery("gone", "?", {"docs/gone.md": 1})
        nothing = EvalQuery("nothing", "?", {})
        extra = (
            QueryResult(gone, {}, (), (), 1.0, ("docs/gone.md",)),
            QueryResult(nothing, {}, (), (), 1.0),
        )
        kept = EvalReport(2, "handbook", "h", report([1] * 20).results + extra)
        assert judge_quality([kept], GATE).value == 1.0
        shown = reports_as_json(2, [kept])["sets"]["handbook"]
        assert (shown["queries"], shown["judged"], shown["stale"], shown["unanswerable"]) == (
            22,
            20,
            1,
            1,
        )

    @pytest.mark.parametrize(
        ("silent", "passed", "decided"), [(9, True, True), (3, False, True), (5, True, False)]
    )
    def test_unanswerable_queries_are_to_be_left_unanswered(self, silent, passed, decided):
        extra = tuple(
            replace(nothing_to_find(number), abstained=number < silent) for number in range(10)
        )
        kept = EvalReport(2, "handbook", "h", report([1] * 20).results + extra)
        outcome = judge_quality([kept], Gate(**{"recall@5": 0.5}, abstention=0.7))
        assert (outcome.passed, outcome.decided) == (passed, decided)
        if not passed:
            assert outcome.summary == ("refused because handbook: abstention is 0.300, floor 0.700")
        elif not decided:
            assert "abstention is 0.500, floor 0.700 (10 queries, needs" in outcome.summary

    def test_a_set_of_unanswerable_queries_alone_refuses_too(self):
        asked = tuple(replace(nothing_to_find(number), abstained=False) for number in range(10))
        only = EvalReport(2, "traps", "h", asked)
        outcome = judge_quality([only], Gate(**{"recall@5": 0.5}, abstention=0.7))
        assert not outcome.passed
        assert outcome.summary == "refused because traps: abstention is 0.000, floor 0.700"
        silent = EvalReport(2, "traps", "h", tuple(replace(r, abstained=True) for r in asked))
        assert judge_quality([silent], Gate(abstention=0.7)).decided
        outcome = judge_quality([silent], Gate(**{"recall@5": 0.5}, abstention=0.7))
        assert (outcome.passed, outcome.decided) == (True, False)
        assert outcome.summary == "cannot tell: 0 judged queries, needs 20"

    def test_a_set_whose_documents_are_all_unknown_says_which(self):
        query = EvalQuery("q", "?", {"wrong/a.md": 1})
        results = tuple(
            QueryResult(replace(query, id=str(n)), {}, (), (), 1.0, ("wrong/a.md",))
            for n in range(30)
        )
        outcome = judge_quality([EvalReport(2, "handbook", "h", results)], GATE)
        assert not outcome.decided
        assert (
            "30 more expect only documents that the version does not hold, such as wrong/a.md"
            in (outcome.summary)
        )

    def test_one_question_asked_many_times_is_one_question(self):
        same = [
            replace(result(0, 0), query=replace(result(0, 0).query, id=f"q{n}")) for n in range(30)
        ]
        outcome = judge_quality([EvalReport(2, "handbook", "h", tuple(same))], GATE)
        assert (outcome.passed, outcome.decided) == (True, False)
        assert outcome.summary == (
            "cannot tell: 1 judged queries in 30 rows, the others repeat them, needs 20"
        )

    def test_a_small_set_beside_a_large_one_is_named(self):
        outcome = judge_quality([report([1] * 20), report([0] * 3, "faq")], GATE)
        assert outcome.summary.endswith("faq is not judged: 3 judged queries, needs 20")

    def test_an_answerer_that_never_answers_is_refused(self):
        silent = tuple(replace(r, abstained=True) for r in report([1] * 20).results)
        outcome = judge_quality([EvalReport(2, "handbook", "h", silent)], Gate(answered=0.8))
        assert not outcome.passed
        assert outcome.summary == "refused because handbook: answered is 0.000, floor 0.800"

    def test_passages_are_judged_where_queries_name_them(self):
        half = replace(
            result(0, 1),
            retrieved=(Span("docs/0.md", 0, 100),),
            expected=(Span("docs/0.md", 50, 150),),
        )
        kept = EvalReport(2, "handbook", "h", (half, *report([1] * 20).results[1:]))
        assert kept.metrics["span_recall@5"] == 0.5
        assert kept.ci95["span_iou@5"] == (pytest.approx(1 / 3), pytest.approx(1 / 3))
        outcome = judge_quality([kept], Gate(**{"span_recall@5": 0.6}))
        assert "span_recall@5 is 0.500, floor 0.600" in outcome.summary
        assert "span_recall@5" not in report([1] * 20).metrics

    def test_details_are_json(self):
        json.dumps(judge_quality([report([1, 0] * 10)], GATE).details, allow_nan=False)


class TestRegression:
    def test_the_same_results_pass(self):
        outcome = judge_regression(
            [report([1, 2, 0] * 10)], [report([1, 2, 0] * 10, version=1)], GATE
        )
        assert (outcome.passed, outcome.decided, outcome.value) == (True, True, 0)

    def test_a_large_drop_is_refused_and_shown(self):
        outcome = judge_regression([report([1] * 20 + [0] * 10)], [report([1] * 30)], GATE)
        assert not outcome.passed
        assert outcome.value == pytest.approx(-1 / 3)
        assert outcome.floor == -0.02
        assert "recall@5 changed by -0.333" in outcome.summary
        assert outcome.details["losses"][0]["expected"] == ["docs/20.md"]
        json.dumps(outcome.details, allow_nan=False)

    def test_a_drop_that_luck_explains_passes(self):
        # 3 of 30 lost and 1 won: a mean drop of 0.067, p 0.31.
        live = [1] * 29 + [0]
        candidate = [0] * 3 + [1] * 27
        outcome = judge_regression([report(candidate)], [report(live)], GATE)
        assert (outcome.passed, outcome.decided) == (True, False)
        assert outcome.value == pytest.approx(-2 / 30)
        assert outcome.summary.startswith("cannot tell: recall@5 changed by -0.067")
        assert outcome.summary.endswith("(30 queries, needs 180)")

    def test_a_significant_drop_within_the_tolerance_passes(self):
        # 12 of 1,000 drop from rank 1 to rank 2: significant, but -0.006 is within 0.02.
        outcome = judge_regression([report([2] * 12 + [1] * 988)], [report([1] * 1000)], GATE)
        assert outcome.passed
        assert outcome.details["changes"]["mrr@10"]["p_worse"] < 0.01

    def test_an_improvement_passes(self):
        assert judge_regression([report([1] * 30)], [report([0] * 30)], GATE).passed

    def test_too_few_common_queries_cannot_tell(self):
        outcome = judge_regression([report([0] * 19)], [report([1] * 40)], GATE)
        assert (outcome.passed, outcome.decided) == (True, False)
        assert outcome.summary == "cannot tell: 19 judged queries, needs 20"

    def test_queries_of_sets_with_other_names_are_not_mixed(self):
        outcome = judge_regression([report([0] * 30, "a")], [report([1] * 30, "b")], GATE)
        assert not outcome.decided

    def test_a_large_set_does_not_hide_what_a_small_one_loses(self):
        large, small = report([1] * 1000, "large"), report([1] * 40, "small")
        worse = report([0] * 12 + [1] * 28, "small")
        outcome = judge_regression([large, worse], [large, small], GATE)
        assert not outcome.passed
        assert outcome.summary.startswith("refused because recall@5 of small changed by -0.300")
        assert "recall@5 changed" not in outcome.summary  # of all: -0.012, within the tolerance
        assert [loss["id"] for loss in outcome.details["losses"][:2]] == ["q0", "q1"]

    def test_a_question_asked_many_times_is_no_evidence_of_its_own(self):
        def repeated(rank):
            same = (replace(result(0, rank).query, id=f"again{n}") for n in range(50))
            rows = tuple(replace(result(0, rank), query=query) for query in same)
            return EvalReport(2, "handbook", "h", (*report([1] * 30).results[1:], *rows))

        outcome = judge_regression([repeated(2)], [repeated(1)], GATE)
        assert outcome.passed
        assert outcome.details["changes"]["mrr@10"]["queries"] == 30
        assert outcome.details["changes"]["mrr@10"]["losses"] == 1

    def test_a_version_is_not_worse_for_holding_more_of_what_is_expected(self):
        # Each query expects a.md, which both find, and b.md, which came in and takes place 1 or 11.
        def asked(number, held, ranking):
            query = EvalQuery(f"q{number}", f"question {number}", {"a.md": 1, "b.md": 1})
            return QueryResult(query, dict.fromkeys(held, 1), tuple(ranking), (), 1.0)

        live = EvalReport(1, "s", "h", tuple(asked(n, ["a.md"], ["a.md"]) for n in range(40)))
        rankings = [["a.md"], ["b.md", "a.md"]]
        more = tuple(asked(n, ["a.md", "b.md"], rankings[n % 2]) for n in range(40))
        outcome = judge_regression([EvalReport(2, "s", "h", more)], [live], GATE)
        assert (outcome.passed, outcome.decided, outcome.value) == (True, True, 0)

    def test_a_version_is_not_better_for_holding_less_of_what_is_expected(self):
        def asked(number, held, ranking):
            query = EvalQuery(f"q{number}", f"question {number}", {"a.md": 1, "b.md": 1})
            return QueryResult(query, dict.fromkeys(held, 1), tuple(ranking), (), 1.0)

        before = tuple(asked(n, ["a.md", "b.md"], ["a.md"]) for n in range(40))
        after = tuple(asked(n, ["a.md"], ["a.md"] if n % 4 else ["x"]) for n in range(40))
        outcome = judge_regression(
            [EvalReport(2, "s", "h", after)], [EvalReport(1, "s", "h", before)], GATE
        )
        assert not outcome.passed
        assert outcome.details["changes"]["recall@5"]["mean"] == pytest.approx(-0.25)

    def test_without_a_live_version_there_is_nothing_to_compare(self):
        outcome = judge_regression([report([0] * 30)], [], GATE)
        assert (outcome.passed, outcome.decided) == (True, False)


def simulated(rng, queries, shift=0.0):
    """Ranks of two runs of one configuration, each moving half of the queries a little."""
    base = rng.choice([1, 1, 1, 2, 3, 5, 0], queries)

    def run(worse):
        moved = rng.random(queries) < 0.5
        ranks = np.where(moved & (base > 0), base + rng.integers(-1, 2, queries), base)
        ranks = np.where(ranks > 9, 0, np.maximum(ranks, (base > 0).astype(int)))
        return np.where(rng.random(queries) < worse, 0, ranks).tolist()

    return run(shift), run(0.0)


def refused(rng, queries, shift, trials):
    gate = Gate(**{"recall@5": 0.0, "mrr@10": 0.0}, max_regression=0.0)
    outcomes = [
        judge_regression([report(new)], [report(old)], gate)
        for new, old in (simulated(rng, queries, shift) for _ in range(trials))
    ]
    return sum(not outcome.passed for outcome in outcomes) / trials


def test_identical_configurations_are_refused_at_most_5_times_in_100():
    assert refused(np.random.default_rng(7), 100, 0.0, 120) <= 0.05


def test_a_real_loss_is_found():
    assert refused(np.random.default_rng(8), 100, 0.15, 40) >= 0.9
