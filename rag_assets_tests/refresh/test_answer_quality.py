"""Answers of a real knowledge base, measured and judged by a model on a real server."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from rag_assets.cli import evaluation_commands  # noqa: F401
from rag_assets.cli.app import app
from rag_assets.errors import ConfigError
from rag_assets.refresh.answer_quality import evaluate_answers
from rag_assets.refresh.pipeline import Pipeline
from rag_assets_tests.conftest import SUBJECTS, SmallBase


@pytest.fixture
def base(small: SmallBase) -> SmallBase:
    small.fill(4)
    small.ask_about(list(SUBJECTS[:4]), min_queries=2)
    questions = small.root / "questions.jsonl"
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    rows[0]["answer"] = "Desk 3 of the vacation office."
    rows.append({"id": "no", "query": "Zebra stripes on Mars?", "relevant": []})
    questions.write_text("\n".join(map(json.dumps, rows)))
    small.refresh()
    return small


def test_answers_are_measured_offline_and_kept(base: SmallBase) -> None:
    printed = CliRunner().invoke(app, ["evaluate", "--answers", "--config", str(base.path)])
    assert printed.exit_code == 0, printed.output
    assert "answers of extractive to 5 queries, 0 failed" in printed.stdout
    kept = json.loads((base.root / "store/index/reports/000001-answers.json").read_text())
    metrics = kept["metrics"]
    assert (metrics["answered"]["mean"], metrics["answered"]["of"]) == (1.0, 4)
    assert metrics["quote_support"]["mean"] == 1.0
    assert metrics["citation_validity"]["mean"] == 1.0
    assert (metrics["abstention"]["mean"], metrics["abstention"]["of"]) == (1.0, 1)
    assert metrics["rouge_l"]["of"] == 1
    assert 0 < metrics["reference_recall"]["mean"] <= 1


def filled(schema: dict, root: dict) -> object:
    """The smallest value that fits a JSON schema: scores of 1, lists of one."""
    if "$ref" in schema:
        return filled(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    kind = schema.get("type")
    if kind == "object":
        return {name: filled(part, root) for name, part in schema["properties"].items()}
    if kind == "array":
        return [filled(schema["items"], root)]
    return {"integer": 1, "number": 1.0, "boolean": True}.get(kind, "vacation requests")


@contextmanager
def judge_server(*, broken: bool = False):
    """An OpenAI-compatible server that answers every request for structured output fittingly."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            message = {"role": "assistant", "content": None}
            if "tools" in body:
                function = body["tools"][0]["function"]
                value = filled(function["parameters"], function["parameters"])
                call = {"name": function["name"], "arguments": json.dumps(value)}
                message["tool_calls"] = [{"id": "c", "type": "function", "function": call}]
            else:
                text = "\n".join(m["content"] for m in body["messages"])
                start = text.index('{"', text.index("json_schema") if "json_schema" in text else 0)
                schema = json.JSONDecoder().raw_decode(text[start:])[0]
                message["content"] = json.dumps(filled(schema, schema))
            reply = {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
            data = json.dumps(reply).encode()
            self.send_response(500 if broken else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def judged_by(base: SmallBase, url: str, **judge) -> Pipeline:
    evaluation = base.settings["evaluation"] | {
        "answers": {"judge": {"model": "openai/judge", "api_base": url, "api_key": "k", **judge}}
    }
    return Pipeline(base.configure(evaluation=evaluation))


@pytest.mark.full
def test_a_model_judges_the_answers(base: SmallBase) -> None:
    pytest.importorskip("ragas")
    with judge_server() as (url, asked):
        report = evaluate_answers(judged_by(base, url, queries=2, repeats=2), 1)
    metrics = report.metrics
    assert (metrics["faithfulness"]["mean"], metrics["faithfulness"]["of"]) == (1.0, 2)
    assert metrics["rubric"]["mean"] == 0.0  # the lowest score of 1 to 5
    assert 0 <= metrics["answer_relevancy"]["mean"] <= 1
    assert all(row["failed"] == 0 for row in metrics.values())
    assert all(body["model"] == "judge" for body in asked)
    assert any("vacation" in json.dumps(body["messages"]) for body in asked)


@pytest.mark.full
def test_a_judge_that_is_down_gives_no_scores(base: SmallBase) -> None:
    pytest.importorskip("ragas")
    with judge_server(broken=True) as (url, _):
        report = evaluate_answers(judged_by(base, url, queries=1, repeats=1), 1)
    assert report.metrics["faithfulness"] == {"of": 0, "failed": 1}
    assert report.metrics["answered"]["mean"] == 1.0


def test_a_model_does_not_judge_itself(base: SmallBase) -> None:
    pipeline = judged_by(base, "http://127.0.0.1:1/v1")
    same = pipeline.config.llm.model_copy(update={"model": "openai/judge"})
    with pytest.raises(ConfigError, match="wrote the answers it would judge"):
        evaluate_answers(Pipeline(pipeline.config.model_copy(update={"llm": same})), 1)
