from rag_assets.evaluation.eval_set import EvalQuery
from rag_assets.evaluation.report import EvalReport, QueryResult
from rag_assets.refresh.report_tables import metric_rows, worst_queries


def report(name):
    queries = [EvalQuery(f"q{n}", f"question {n}", {f"docs/{n}": 1}) for n in range(2)]
    found = [("docs/0",), ("docs/x", "docs/1")]
    results = tuple(
        QueryResult(query, query.relevant, ranking, (), 1.0)
        for query, ranking in zip(queries, found, strict=True)
    )
    return EvalReport(2, name, "hash", results, ("mrr@10",))


def test_a_table_of_one_set_does_not_name_it_in_every_row():
    live = {"faq": {"metrics": {"mrr@10": 0.5}}}
    assert metric_rows([report("faq")], live) == (
        ["metric", "value", "95 % interval", "live"],
        [("mrr@10", 0.75, "0.500 to 1.000", 0.5)],
    )
    header, rows = metric_rows([report("faq"), report("wiki")], live)
    assert header[0] == "set"
    assert [(row[0], row[-1]) for row in rows] == [("faq", 0.5), ("wiki", None)]


def test_worst_queries_say_what_was_expected_and_what_came():
    assert worst_queries([report("faq")]) == (
        ["query", "expected", "came", "mrr@10"],
        [("question 1", "docs/1", "docs/x, docs/1", 0.5)],
    )
